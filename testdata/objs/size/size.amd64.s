# Sizes of symbols, as 32- and 64-bit fields. The types are spelled out: the
# assembler knows the size.
	.text
	.globl	size_user, size_object
	.type	size_user, @function
size_user:
	.byte	0xb8				# movl $size_object@SIZE, %eax
	.reloc	., R_X86_64_SIZE32, size_object
	.long	0
	.byte	0x48, 0xb9			# movabsq $size_object@SIZE, %rcx
	.reloc	., R_X86_64_SIZE64, size_object
	.quad	0
	ret
	.size	size_user, .-size_user
	.data
	.type	size_object, @object
size_object:
	.zero	24
	.size	size_object, .-size_object
	.reloc	., R_X86_64_SIZE32, size_object
	.long	0
	.reloc	., R_X86_64_SIZE64, size_object+8
	.quad	0
	.section .note.GNU-stack,"",@progbits
