/*
 * sys/cdefs.h: words that hide the compiler, and the three kinds of alias.
 *
 *	__weak_alias(sym, impl)		sym is impl unless somebody offers better
 *	__strong_alias(sym, impl)	sym is impl: overrides defaults
 *	__refine_alias(sym, impl)	impl is a layer over whatever sym is now,
 *					which it calls as super_sym
 *
 * The first two are NetBSD's, and assembler aliases: impl has to be defined in
 * the same file, since the assembler drops an alias of an undefined name. The
 * third is klink's: a record that only the kernel linker reads; impl may be
 * defined in another file of the module. An impl that is static needs __used.
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
#ifndef _SYS_CDEFS_H_
#define _SYS_CDEFS_H_

#define __klink__		1

#ifdef __cplusplus
#define __BEGIN_DECLS		extern "C" {
#define __END_DECLS		}
#define __CAST(t, v)		(static_cast<t>(v))
#else
#define __BEGIN_DECLS
#define __END_DECLS
#define __CAST(t, v)		((t)(v))
#endif

#define __P(protos)		protos
#define ___CONCAT(x, y)		x ## y
#define __CONCAT(x, y)		___CONCAT(x, y)
#define ___STRING(x)		#x
#define __STRING(x)		#x
#define __XSTRING(x)		___STRING(x)

#define __GNUC_PREREQ__(x, y) \
	(__GNUC__ > (x) || (__GNUC__ == (x) && __GNUC_MINOR__ >= (y)))

/* Attributes. */
#define __dead			__attribute__((__noreturn__))
#define __pure			__attribute__((__pure__))
#define __constfunc		__attribute__((__const__))
#define __noinline		__attribute__((__noinline__))
#define __always_inline		__inline __attribute__((__always_inline__))
#define __unused		__attribute__((__unused__))
#define __diagused		__unused
#define __debugused		__unused
#define __used			__attribute__((__used__))
#define __packed		__attribute__((__packed__))
#define __aligned(x)		__attribute__((__aligned__(x)))
#define __section(x)		__attribute__((__section__(x)))
#define __weak			__attribute__((__weak__))
#define __returns_twice		__attribute__((__returns_twice__))
#define __nonnull(x)		__attribute__((__nonnull__ x))
#define __malloc		__attribute__((__malloc__))
#define __warn_unused_result	__attribute__((__warn_unused_result__))
#define __printflike(f, a)	__attribute__((__format__(__printf__, f, a)))
#define __format_arg(f)		__attribute__((__format_arg__(f)))
#define __strong		__attribute__((__visibility__("default")))
#define __hidden		__attribute__((__visibility__("hidden")))
#define __fallthrough		__attribute__((__fallthrough__))
#define __restrict		__restrict__
#define __cacheline_aligned	__aligned(64)
#define __read_mostly
#define __predict_true(e)	__builtin_expect((e) != 0, 1)
#define __predict_false(e)	__builtin_expect((e) != 0, 0)
#define __USE(v)		((void)(v))
#define __insn_barrier()	__asm__ __volatile__("" : : : "memory")

/* Sizes, bits, casts. */
#define __arraycount(a)		(sizeof(a) / sizeof((a)[0]))
#define __BIT(n)		(1UL << (n))
#define __BITS(hi, lo)		((__BIT(hi) | (__BIT(hi) - 1)) & ~(__BIT(lo) - 1))
#define __LOWEST_SET_BIT(mask)	((((mask) - 1) & (mask)) ^ (mask))
#define __SHIFTOUT(x, mask)	(((x) & (mask)) / __LOWEST_SET_BIT(mask))
#define __SHIFTIN(x, mask)	((x) * __LOWEST_SET_BIT(mask))
#define __SHIFTOUT_MASK(mask)	__SHIFTOUT((mask), (mask))
#define __UNCONST(a)		((void *)(unsigned long)(const void *)(a))
#define __UNVOLATILE(a)		((void *)(unsigned long)(volatile void *)(a))
#define __type_mask(t)		(sizeof(t) < 8 ? (~((1ULL << (sizeof(t) * 8)) - 1)) : 0ULL)

#ifndef offsetof
#define offsetof(TYPE, MEMBER) __builtin_offsetof (TYPE, MEMBER)
#endif
#ifndef NULL
#ifdef __cplusplus
#define NULL			__null
#else
#define NULL			((void *)0)
#endif
#endif

#ifdef __cplusplus
#define __CTASSERT(x)		static_assert(x, #x)
#else
#define __CTASSERT(x)		_Static_assert(x, #x)
#endif

/* Version strings of source files: kept out of the object. A semicolon follows. */
#define __nothing_here		struct __klink_nothing
#define __RCSID(s)		__nothing_here
#define __KERNEL_RCSID(n, s)	__nothing_here
#define __COPYRIGHT(s)		__nothing_here

/* Aliases; see above. */
#define __weak_alias(sym, impl)						\
	__asm__(".weak " ___STRING(sym) "\n"				\
	    ___STRING(sym) " = " ___STRING(impl));

#define __strong_alias(sym, impl)					\
	__asm__(".globl " ___STRING(sym) "\n"				\
	    ___STRING(sym) " = " ___STRING(impl));

#define KLINK_ALIAS_DEFAULT	1
#define KLINK_ALIAS_OVERRIDE	2
#define KLINK_ALIAS_REFINEMENT	3

#define __alias_record(sym, impl, kind)					\
	__asm__(".pushsection .klink.aliasstr,\"\",%progbits\n"	\
	    "77701:	.asciz \"" ___STRING(sym) "\"\n"		\
	    ".popsection\n"						\
	    ".pushsection .klink.alias,\"\",%progbits\n"		\
	    ".balign 8\n"						\
	    ".quad 77701b\n"						\
	    ".quad " ___STRING(impl) "\n"				\
	    ".quad " __XSTRING(kind) "\n"				\
	    ".popsection");

#define __refine_alias(sym, impl)					\
	__alias_record(sym, impl, KLINK_ALIAS_REFINEMENT)

/*
 * Link sets: pointers that each file of a module adds to, gathered by the
 * linker between __start_link_set_X and __stop_link_set_X.
 */
#define __link_set_make_entry(set, sym)					\
	static void const * const __CONCAT(__link_set_##set##_sym_, sym) \
	    __section("link_set_" #set) __used = (const void *)&sym
#define __link_set_add_text(set, sym)	__link_set_make_entry(set, sym)
#define __link_set_add_rodata(set, sym)	__link_set_make_entry(set, sym)
#define __link_set_add_data(set, sym)	__link_set_make_entry(set, sym)
#define __link_set_add_bss(set, sym)	__link_set_make_entry(set, sym)
#define __link_set_decl(set, ptype)					\
	extern ptype * const __start_link_set_##set[] __weak;		\
	extern ptype * const __stop_link_set_##set[] __weak
#define __link_set_start(set)	(__start_link_set_##set)
#define __link_set_end(set)	(__stop_link_set_##set)
#define __link_set_count(set)	(__link_set_end(set) - __link_set_start(set))
#define __link_set_foreach(pvar, set)					\
	for ((pvar) = __link_set_start(set); (pvar) < __link_set_end(set); (pvar)++)

#endif
