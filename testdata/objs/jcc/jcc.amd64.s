# Conditional jumps to global names, one of each condition, and the same with
# the older type PC32 in place of PLT32.
	.text
	.globl	conditions
	.type	conditions, @function
conditions:
	testl	%edi, %edi
	jo	callee
	jno	callee
	jb	callee
	jae	callee
	je	callee
	jne	callee
	jbe	callee
	ja	callee
	js	callee
	jns	callee
	jp	callee
	jnp	callee
	jl	callee
	jge	callee
	jle	callee
	jg	callee
	ret
	.size	conditions, .-conditions

	.globl	old_types
	.type	old_types, @function
old_types:
	.byte	0xe8			# call callee
	.reloc	., R_X86_64_PC32, callee-4
	.long	0
	.byte	0x0f, 0x84		# je callee
	.reloc	., R_X86_64_PC32, callee-4
	.long	0
	.byte	0xe9			# jmp callee
	.reloc	., R_X86_64_PC32, callee-4
	.long	0
	.size	old_types, .-old_types
	.section .note.GNU-stack,"",@progbits
