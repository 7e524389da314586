// Users of _GLOBAL_OFFSET_TABLE_: the small PIC model's page, then a slot from it.
	.text
	.globl	got_user
	.type	got_user, %function
got_user:
	adrp	x0, _GLOBAL_OFFSET_TABLE_
	ldr	x1, [x0, #:gotpage_lo15:callee]
	ldr	x2, [x0, #:gotpage_lo15:variable]
	adrp	x3, :got:callee
	ldr	x3, [x3, #:got_lo12:callee]
	ldr	x4, :got:callee
	ret
	.size	got_user, .-got_user
	.section .note.GNU-stack,"",%progbits
