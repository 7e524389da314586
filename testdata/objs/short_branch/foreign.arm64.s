// Branches of short range to what another module provides: through a veneer.
	.text
	.globl	short_foreign
	.type	short_foreign, %function
short_foreign:
	cbz	x0, callee			// CONDBR19
	b.lt	callee
	tbz	x0, #3, callee			// TSTBR14
	ret
	.size	short_foreign, .-short_foreign
	.section .note.GNU-stack,"",%progbits
