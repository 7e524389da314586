// Branches of short range to a name that the module itself gives (weak, so
// that the assembler leaves them), and to one that others give.
	.text
	.globl	short_own
	.type	short_own, %function
short_own:
	cbz	x0, own				// CONDBR19
	cbnz	w1, own
	b.eq	own
	b.ne	own
	tbz	x0, #3, own			// TSTBR14
	tbnz	x0, #40, own
	b	own				// JUMP26
	.size	short_own, .-short_own
	.weak	own
	.type	own, %function
own:	ret
	.size	own, .-own
	.section .note.GNU-stack,"",%progbits
