/*
 * arm64_atomics.S: what gcc calls for atomic operations with -moutline-atomics, its
 * default: __aarch64_OPSIZE_ORDER for a value of SIZE bytes. Nothing is shared but what
 * the caller passes.
 *
 *	swp, ldadd, ldclr, ldeor, ldset		w0/x0 operand, x1 address
 *	cas					w0/x0 expected, w1/x1 desired, x2 address
 *	cas16					x0:x1 expected, x2:x3 desired, x4 address
 *
 * They return what was there before, and change x15-x17 and the flags beside. Loops of
 * exclusive loads and stores (LL/SC) run on every aarch64.
 *
 * Orders: relax; acq loads with acquire; rel stores with release; acq_rel does both;
 * sync is acq_rel and a barrier behind it, as the __sync builtins want.
 */

	.text

/* The operations: what is stored, in register 17, of what was loaded, 0, and the
 * operand, 16. \r is x or w. */
.macro	new_swp r
	mov	\r\()17, \r\()16
.endm
.macro	new_ldadd r
	add	\r\()17, \r\()0, \r\()16
.endm
.macro	new_ldclr r
	bic	\r\()17, \r\()0, \r\()16
.endm
.macro	new_ldeor r
	eor	\r\()17, \r\()0, \r\()16
.endm
.macro	new_ldset r
	orr	\r\()17, \r\()0, \r\()16
.endm

.macro	begin name
	.globl	\name
	.type	\name, %function
	.p2align 4
\name:
	.cfi_startproc
.endm

.macro	end name
	ret
	.cfi_endproc
	.size	\name, .-\name
.endm

/* \a and \l are the letters of acquire and release, \b of the size; \sync is 1 for sync. */
.macro	operation op, size, order, r, b, a, l, sync
	begin	__aarch64_\op\size\()_\order
	mov	\r\()16, \r\()0
1:	ld\a\()xr\b	\r\()0, [x1]
	new_\op	\r
	st\l\()xr\b	w15, \r\()17, [x1]
	cbnz	w15, 1b
	.if	\sync
	dmb	ish
	.endif
	end	__aarch64_\op\size\()_\order
.endm

/* What is expected counts in its own width: \extend clears the rest. */
.macro	compare size, order, r, b, a, l, sync
	begin	__aarch64_cas\size\()_\order
	.ifc	\b,b
	and	w16, w0, #0xff
	.else
	.ifc	\b,h
	and	w16, w0, #0xffff
	.else
	mov	\r\()16, \r\()0
	.endif
	.endif
1:	ld\a\()xr\b	\r\()0, [x2]
	cmp	\r\()0, \r\()16
	b.ne	2f
	st\l\()xr\b	w15, \r\()1, [x2]
	cbnz	w15, 1b
2:	.if	\sync
	dmb	ish
	.endif
	end	__aarch64_cas\size\()_\order
.endm

/* A pair is loaded at once only if it is stored again: hence the store of what was there. */
.macro	compare_pair order, a, l, sync
	begin	__aarch64_cas16_\order
	mov	x16, x0
	mov	x17, x1
1:	ld\a\()xp	x0, x1, [x4]
	cmp	x0, x16
	ccmp	x1, x17, #0, eq
	b.ne	2f
	st\l\()xp	w15, x2, x3, [x4]
	cbnz	w15, 1b
	b	3f
2:	st\l\()xp	w15, x0, x1, [x4]
	cbnz	w15, 1b
3:	.if	\sync
	dmb	ish
	.endif
	end	__aarch64_cas16_\order
.endm

.macro	sizes order, a, l, sync
	.irp	op, swp, ldadd, ldclr, ldeor, ldset
	operation \op, 1, \order, w, b, \a, \l, \sync
	operation \op, 2, \order, w, h, \a, \l, \sync
	operation \op, 4, \order, w, , \a, \l, \sync
	operation \op, 8, \order, x, , \a, \l, \sync
	.endr
	compare 1, \order, w, b, \a, \l, \sync
	compare 2, \order, w, h, \a, \l, \sync
	compare 4, \order, w, , \a, \l, \sync
	compare 8, \order, x, , \a, \l, \sync
	compare_pair \order, \a, \l, \sync
.endm

	sizes	relax, , , 0
	sizes	acq, a, , 0
	sizes	rel, , l, 0
	sizes	acq_rel, a, l, 0
	sizes	sync, a, l, 1

	.section .note.GNU-stack, "", %progbits
