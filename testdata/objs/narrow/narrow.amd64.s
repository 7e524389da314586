# 8- and 16-bit fields. The absolute ones hold small absolute symbols, the
# relative ones reach within the section. The types are spelled out: the
# assembler would fill the fields in.
	.weak	abs8, abs16, here
	.set	abs8, 0x42
	.set	abs16, 0x1234
	.data
	.globl	narrow
narrow:
	.reloc	., R_X86_64_8, abs8
	.byte	0
	.reloc	., R_X86_64_8, abs8+1
	.byte	0
	.reloc	., R_X86_64_16, abs16
	.short	0
	.reloc	., R_X86_64_PC8, here
	.byte	0
	.byte	0
	.reloc	., R_X86_64_PC16, here
	.short	0
here:	.quad	0
	.text
	.globl	narrow_jump
	.type	narrow_jump, @function
narrow_jump:
	jrcxz	near				# PC8
	ret
	.size	narrow_jump, .-narrow_jump
	.weak	near
	.type	near, @function
near:	ret
	.size	near, .-near
	.section .note.GNU-stack,"",@progbits
