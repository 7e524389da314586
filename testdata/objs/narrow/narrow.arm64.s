// 16- and 32-bit fields of data. The types are spelled out: the assembler
// would fill the fields in.
	.weak	abs16, here, abs32
	.set	abs16, 0x1234
	.set	abs32, 0x12345678
	.data
	.globl	narrow
narrow:
	.reloc	., R_AARCH64_ABS16, abs16
	.hword	0
	.reloc	., R_AARCH64_PREL16, here
	.hword	0
	.reloc	., R_AARCH64_ABS32, abs32
	.word	0
	.reloc	., R_AARCH64_PREL32, here
	.word	0
	.balign	8
	.reloc	., R_AARCH64_PREL64, here
	.xword	0
here:	.reloc	., R_AARCH64_ABS64, here
	.xword	0
	.section .note.GNU-stack,"",%progbits
