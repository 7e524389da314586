// References by distance to a weak symbol that nobody defines mean the place itself
// (aaelf64 5.6.1): each distance is its addend. What is no distance is 0 + A.
	.weak	absent

	.text
	.global	where
	.type	where, %function
where:
	adr	x0, absent
	adr	x0, absent + 8
	adrp	x1, absent
	adrp	x1, :pg_hi21_nc:absent
	ldr	x2, absent
	movz	x3, #:prel_g0:absent
	movz	x3, #:prel_g1:absent + 0x50000
	movk	x3, #:prel_g0_nc:absent + 4
	adrp	x4, :got:absent
	ldr	x4, [x4, :got_lo12:absent]
	movz	x5, #:abs_g0:absent + 6
	add	x6, x6, :lo12:absent
	bl	absent
	b.eq	absent
	ret
	.size	where, . - where

	.data
	.balign	8
	.xword	absent
	.xword	absent - .
	.word	absent - . + 16
	.hword	absent - . + 2
