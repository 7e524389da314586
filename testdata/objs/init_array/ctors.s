	.text
	.globl	ctor_old
	.type	ctor_old, %function
ctor_old:
	ret
	.size	ctor_old, .-ctor_old
	.section .ctors,"aw",%progbits
	.balign	8
	.quad	ctor_old
	.section .dtors,"aw",%progbits
	.balign	8
	.quad	ctor_old
	.section .note.GNU-stack,"",%progbits
