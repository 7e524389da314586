# An addend into a function of somebody else: to be refused.
	.text
	.globl	user
	.type	user, @function
user:
	call	inside+4
	leaq	inside+4(%rip), %rax
	ret
	.size	user, .-user
	.data
	.quad	inside+4
	.section .note.GNU-stack,"",@progbits
