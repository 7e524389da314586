/*
 * arm64_start.S: what has no stack yet, changes it, or must be exact about registers.
 * Nothing here decides anything.
 */
#include "control.h"

	.text

/* The kernel enters here with argc at sp, 16-aligned. */
	.globl	_start
	.type	_start, %function
_start:
	mov	x29, #0
	mov	x30, #0
	bl	klink_main		/* does not return */
	udf	#0
	.size	_start, .-_start

/*
 * u64 klink_enter(u64 fn, const u64 *arg, u64 *enter_sp)
 * calls fn with eight arguments and returns its x0. While it runs, *enter_sp is the
 * stack pointer at which the address of the way back lies: control.h, enter_sp.
 * v8..v15 are the callee's to preserve too (AAPCS64, 6.1.2), but nothing in the
 * runner uses them.
 */
	.globl	klink_enter
	.type	klink_enter, %function
klink_enter:
	stp	x29, x30, [sp, #-96]!
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	adr	x9, .Lback
	stp	x9, xzr, [sp, #-16]!
	mov	x9, sp
	str	x9, [x2]
	mov	x16, x0
	mov	x17, x1
	ldp	x0, x1, [x17]
	ldp	x2, x3, [x17, #16]
	ldp	x4, x5, [x17, #32]
	ldp	x6, x7, [x17, #48]
	mov	x29, #0			/* the end of a chain of frames */
	blr	x16
.Lback:	add	sp, sp, #16
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	x29, x30, [sp], #96
	ret
	.size	klink_enter, .-klink_enter

/*
 * void klink_wipe(u64 lo)
 * writes 0 over the stack below the caller's frame, down to lo or to where 4 KiB of it
 * are 0. It has no frame: what it left out a later frame could leave as it is.
 */
	.globl	klink_wipe
	.type	klink_wipe, %function
klink_wipe:
	mov	x1, sp
	mov	w2, #0			/* words in a row that were 0 */
1:	sub	x1, x1, #8
	cmp	x1, x0
	b.lo	3f
	add	w2, w2, #1
	ldr	x3, [x1]
	cbz	x3, 2f
	str	xzr, [x1]
	mov	w2, #0
2:	cmp	w2, #512
	b.lo	1b
3:	ret
	.size	klink_wipe, .-klink_wipe

/*
 * void klink_again(u32 i, u32 how): where fault.c sends a thread whose call is over,
 * with an empty stack. Vector state is still the module's; its control bits become
 * those that a process starts with: round to nearest, no exceptions.
 */
	.globl	klink_again
	.type	klink_again, %function
klink_again:
	msr	fpcr, xzr
	msr	fpsr, xzr
	bl	klink_pool		/* does not return */
	udf	#0
	.size	klink_again, .-klink_again

/*
 * i64 klink_clone(u64 flags, u64 stack, u32 *tid, u64 tls, u32 i): clone(2), whose
 * order is flags, stack, parent_tid, tls, child_tid here (CONFIG_CLONE_BACKWARDS). The
 * child has registers of its own from the start and runs klink_thread_start(i) on stack.
 */
	.globl	klink_clone
	.type	klink_clone, %function
klink_clone:
	mov	w9, w4			/* i: survives the call, as all but x0 do */
	mov	x4, #0
	mov	x8, #220		/* SYS_clone */
	svc	#0
	cbz	x0, 1f
	ret
1:	mov	x29, #0
	mov	x30, #0
	mov	w0, w9
	bl	klink_thread_start	/* does not return */
	udf	#0
	.size	klink_clone, .-klink_clone

/* A handler returns here; the kernel's frame is at sp. */
	.globl	klink_restorer
	.type	klink_restorer, %function
klink_restorer:
	mov	x8, #139		/* SYS_rt_sigreturn */
	svc	#0
	udf	#0
	.size	klink_restorer, .-klink_restorer

	.section .note.GNU-stack, "", %progbits
