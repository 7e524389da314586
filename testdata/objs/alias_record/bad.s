	.text
	.globl	bad_impl
	.type	bad_impl, %function
bad_impl:
	ret
	.size	bad_impl, .-bad_impl
	.section .klink.aliasstr,"",%progbits
1:	.asciz	"refined"
	.section .klink.alias,"",%progbits
	.quad	1b
	.quad	bad_impl
	.quad	9
	.section .note.GNU-stack,"",%progbits
