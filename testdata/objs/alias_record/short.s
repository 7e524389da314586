	.section .klink.aliasstr,"",%progbits
1:	.asciz	"refined"
	.section .klink.alias,"",%progbits
	.quad	1b
	.long	0
	.section .note.GNU-stack,"",%progbits
