# Hand-written functions without .type: NOTYPE in executable text.
	.text
	.globl	bare, bare_weak
	.weak	bare_weak
bare:
	call	bare_callee
	jmp	bare_weak
bare_weak:
	xorl	%eax, %eax
	ret
	.data
	.globl	bare_data
bare_data:
	.quad	bare, bare_callee
	.section .note.GNU-stack,"",@progbits
