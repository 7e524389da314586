// An addend into a function of somebody else: to be refused.
	.text
	.globl	user
	.type	user, %function
user:
	bl	inside+4
	adrp	x0, inside+4
	add	x0, x0, :lo12:inside+4
	ret
	.size	user, .-user
	.data
	.quad	inside+4
	.section .note.GNU-stack,"",%progbits
