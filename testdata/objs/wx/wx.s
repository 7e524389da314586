	.section .wx,"awx",%progbits
	.globl	wx_function
	.type	wx_function, %function
wx_function:
	ret
	.size	wx_function, .-wx_function
	.section .note.GNU-stack,"",%progbits
