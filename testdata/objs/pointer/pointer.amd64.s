# Immediates and 32-bit fields, zero-extended (32) and sign-extended (32S).
	.text
	.globl	immediates
	.type	immediates, @function
immediates:
	movl	$callee, %eax			# 32
	movq	$callee, %rcx			# 32S
	movabsq	$callee, %rdx			# 64
	leaq	callee(%rip), %rsi		# PC32, not a branch
	cmpq	$callee, %rsi			# 32S
	call	*table(,%rax,8)			# 32S
	pushq	$callee				# 32S
	ret
	.size	immediates, .-immediates
	.section .rodata
	.globl	table
	.type	table, @object
table:	.quad	callee
	.long	callee				# 32
	.long	callee - .			# PC32
	.quad	callee - .			# PC64
	.size	table, .-table
	.section .note.GNU-stack,"",@progbits
