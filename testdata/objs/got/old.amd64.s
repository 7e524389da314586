# GOT references that assemblers make without -mrelax-relocations, and the
# forms that a linker may not relax.
	.text
	.globl	old
	.type	old, @function
old:
	movq	callee@GOTPCREL(%rip), %rax		# REX_GOTPCRELX
	cmpq	variable@GOTPCREL(%rip), %rax		# REX_GOTPCRELX, not a mov
	testq	%rax, variable@GOTPCREL(%rip)
	pushq	variable@GOTPCREL(%rip)			# GOTPCREL
	movl	variable@GOTPCREL+4(%rip), %ecx		# upper half of the slot: GOTPCREL
	.byte	0x48, 0x8b, 0x15			# mov callee@GOTPCREL(%rip), %rdx
	.reloc	., R_X86_64_GOTPCREL, callee-4
	.long	0
	.byte	0xff, 0x15				# call *callee@GOTPCREL(%rip)
	.reloc	., R_X86_64_GOTPCREL, callee-4
	.long	0
	call	*callee@GOTPCREL(%rip)			# GOTPCRELX
	jmp	*callee@GOTPCREL(%rip)			# GOTPCRELX
	.size	old, .-old
	.section .note.GNU-stack,"",@progbits
