/*
 * klink_alias.h: the three kinds of alias, for objects that link against a
 * kernel through klink.
 *
 *	__weak_alias(sym, impl)		sym is impl unless somebody offers better
 *	__strong_alias(sym, impl)	sym is impl: overrides defaults
 *	__refine_alias(sym, impl)	impl is a layer over whatever sym is now,
 *					which it calls as super_sym
 *
 * The first two are assembler aliases, so impl has to be defined in the same
 * file: the assembler drops an alias of an undefined name. The third is a record
 * that only the kernel linker reads; impl may be defined in another file of
 * the module. An impl that is static needs __attribute__((used)).
 *
 * Record format. The section .klink.alias (SHT_PROGBITS, not allocated) is an
 * array of 24-byte records, aligned to 8, each three little-endian words:
 *
 *	offset 0   u64 name	address of a NUL-terminated string in the section
 *				.klink.aliasstr (not allocated either): a
 *				64-bit absolute relocation against that section
 *	offset 8   u64 impl	a 64-bit absolute relocation against the symbol
 *				that implements, or its section and offset
 *	offset 16  u64 kind	1 default, 2 override, 3 refinement
 *
 * The relocations are R_X86_64_64 or R_AARCH64_ABS64; the words themselves are
 * 0 in the file.
 */
#ifndef KLINK_ALIAS_H
#define KLINK_ALIAS_H

#define KLINK_ALIAS_DEFAULT	1
#define KLINK_ALIAS_OVERRIDE	2
#define KLINK_ALIAS_REFINEMENT	3

#define KLINK__STRING(x)	#x
#define KLINK__XSTRING(x)	KLINK__STRING(x)

#define __weak_alias(sym, impl)						\
	__asm__(".weak " KLINK__STRING(sym) "\n"			\
	    KLINK__STRING(sym) " = " KLINK__STRING(impl));

#define __strong_alias(sym, impl)					\
	__asm__(".globl " KLINK__STRING(sym) "\n"			\
	    KLINK__STRING(sym) " = " KLINK__STRING(impl));

#define __alias_record(sym, impl, kind)					\
	__asm__(".pushsection .klink.aliasstr,\"\",%progbits\n"	\
	    "77701:	.asciz \"" KLINK__STRING(sym) "\"\n"		\
	    ".popsection\n"						\
	    ".pushsection .klink.alias,\"\",%progbits\n"		\
	    ".balign 8\n"						\
	    ".quad 77701b\n"						\
	    ".quad " KLINK__STRING(impl) "\n"				\
	    ".quad " KLINK__XSTRING(kind) "\n"				\
	    ".popsection");

#define __refine_alias(sym, impl)					\
	__alias_record(sym, impl, KLINK_ALIAS_REFINEMENT)

#endif
