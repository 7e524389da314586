	.globl	abs_small, abs_large
	.set	abs_small, 0x1234
	.set	abs_large, 0x123456789a
	.section .note.GNU-stack,"",%progbits
