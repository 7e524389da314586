// A GOT slot that holds S + A: one for each addend (aaelf64 before 2021; since then
// compilers add it themselves).
	.text
	.globl	got_addend
got_addend:
	adrp	x0, :got:ext_object+8
	ldr	x0, [x0, :got_lo12:ext_object+8]
	adrp	x1, :got:ext_object
	ldr	x1, [x1, :got_lo12:ext_object]
	adrp	x2, :got:own_object+16
	ldr	x2, [x2, :got_lo12:own_object+16]
	ret
	.data
	.globl	own_object
own_object:
	.zero	24
	.section .note.GNU-stack,"",%progbits
