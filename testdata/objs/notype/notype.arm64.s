// Hand-written functions without .type: NOTYPE in executable text.
	.text
	.globl	bare, bare_weak
	.weak	bare_weak
bare:
	str	x30, [sp, #-16]!
	bl	bare_callee
	ldr	x30, [sp], #16
	b	bare_weak
bare_weak:
	mov	w0, #0
	ret
	.data
	.globl	bare_data
bare_data:
	.quad	bare, bare_callee
	.section .note.GNU-stack,"",%progbits
