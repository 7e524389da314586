// An addend into a function can only mean the definition beside it.
	.text
	.globl	user
	.type	user, %function
user:
	bl	inside+4
	adrp	x0, inside+4
	add	x0, x0, :lo12:inside+4
	ret
	.size	user, .-user
	.globl	inside
	.type	inside, @function
inside:
	nop
	nop
	nop
	ret
	.size	inside, .-inside
	.data
	.quad	inside+4
	.section .note.GNU-stack,"",%progbits
