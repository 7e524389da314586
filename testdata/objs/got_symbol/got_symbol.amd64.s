# Users of _GLOBAL_OFFSET_TABLE_ and of offsets from it.
	.text
	.globl	got_user
	.type	got_user, @function
got_user:
	leaq	_GLOBAL_OFFSET_TABLE_(%rip), %rbx		# GOTPC32
	movabsq	$_GLOBAL_OFFSET_TABLE_-got_user, %rax	# GOTPC64
	movabsq	$callee@GOT, %rcx				# GOT64
	movabsq	$callee@GOTOFF, %rdx				# GOTOFF64
	movabsq	$own@GOTOFF, %rsi				# GOTOFF64
	movabsq	$callee@PLTOFF, %rdi				# PLTOFF64
	movq	$callee@GOT, %r8				# GOT32
	.byte	0x49, 0xb9					# movabsq $callee@GOTPCREL64, %r9
	.reloc	., R_X86_64_GOTPCREL64, callee
	.quad	0
	ret
	.size	got_user, .-got_user
	.globl	own
	.type	own, @function
own:	ret
	.size	own, .-own
	.section .note.GNU-stack,"",@progbits
