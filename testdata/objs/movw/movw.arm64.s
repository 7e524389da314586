// Every move-wide form, and the PC-relative loads and addresses.
	.text
	.globl	movw
	.type	movw, %function
movw:
	movz	x0, #:abs_g3:variable
	movk	x0, #:abs_g2_nc:variable
	movk	x0, #:abs_g1_nc:variable
	movk	x0, #:abs_g0_nc:variable
	movz	x1, #:abs_g1:low32
	movk	x1, #:abs_g0_nc:low32
	movz	x1, #:abs_g0:low16
	movz	x1, #:abs_g2:low32
	movz	x2, #:abs_g1_s:low32
	movz	x2, #:abs_g1_s:negative
	movz	x2, #:abs_g0_s:negative16
	movz	x2, #:abs_g2_s:negative
	movz	x3, #:prel_g3:own
	movk	x3, #:prel_g2_nc:own
	movk	x3, #:prel_g1_nc:own
	movk	x3, #:prel_g0_nc:own
	movz	x4, #:prel_g2:own
	movz	x4, #:prel_g1:own
	movz	x4, #:prel_g0:own
	adr	x5, own
	ldr	x6, own
	ldrsw	x7, own
	adrp	x8, variable
	adrp	x9, :pg_hi21_nc:variable
	ret
	.size	movw, .-movw
	.weak	low32, low16, negative, negative16, own
	.set	low32, 0x12345678
	.set	low16, 0x1234
	.set	negative, -0x1234567
	.set	negative16, -0x1234
	.balign	8
own:	.quad	0
	.section .note.GNU-stack,"",%progbits
