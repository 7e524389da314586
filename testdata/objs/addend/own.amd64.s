# An addend into a function can only mean the definition beside it.
	.text
	.globl	user
	.type	user, @function
user:
	call	inside+4
	leaq	inside+4(%rip), %rax
	ret
	.size	user, .-user
	.globl	inside
	.type	inside, @function
inside:
	nop
	nop
	nop
	nop
	nop
	ret
	.size	inside, .-inside
	.data
	.quad	inside+4
	.section .note.GNU-stack,"",@progbits
