/*
 * arm64_sleep.S: sleeping such that the sleeper can be read, and the ends of a call.
 * Nothing is shared here but the thread's own block.
 */
#include "control.h"

#define ENTER_SP	0x100
#define SLEEP		0x140
#define REGS		0x160			/* sleep_regs: pc, sp, flags, r[] */
#define REG(n)		(REGS + 24 + 8 * (n))
#define SYS_futex	98
#define FUTEX_WAIT_BITSET 9

	.text

/*
 * i64 klink_sleep(const volatile u32 *word, u32 seen, const struct timespec *deadline, struct klink_thread *t)
 *
 * futex(word, FUTEX_WAIT_BITSET, seen, deadline, -, all bits): sleeps while *word is
 * seen; deadline is absolute, CLOCK_MONOTONIC. While t->sleep is odd the registers in
 * t->sleep_regs are the thread's and its stack from sp up does not change: the first
 * store of sleep is behind those of the registers, the second is before all others.
 */
	.globl	klink_sleep
	.type	klink_sleep, %function
	.p2align 2
klink_sleep:
	.cfi_startproc
	mov	x9, x3			/* t: the call keeps all registers but x0 */
	mov	x3, x2
	mov	w2, w1
	mov	x1, #FUTEX_WAIT_BITSET
	mov	w5, #-1
	adr	x10, .Lasleep
	mov	x11, sp
	stp	x10, x11, [x9, #REGS]
	add	x10, x9, #REG(19)
	stp	x19, x20, [x10]
	stp	x21, x22, [x10, #16]
	stp	x23, x24, [x10, #32]
	stp	x25, x26, [x10, #48]
	stp	x27, x28, [x10, #64]
	stp	x29, x30, [x10, #80]
	add	x10, x9, #SLEEP
	ldr	w11, [x10]
	add	w11, w11, #1
	stlr	w11, [x10]
	mov	x8, #SYS_futex
	svc	#0
.Lasleep:
	add	w11, w11, #1
	str	w11, [x10]
	dmb	ish
	ret
	.cfi_endproc
	.size	klink_sleep, .-klink_sleep

/* void klink_abort(void): ends the call with a fault. */
	.globl	klink_abort
	.type	klink_abort, %function
	.p2align 2
klink_abort:
	.cfi_startproc
	udf	#0x4b4b
	.cfi_endproc
	.size	klink_abort, .-klink_abort

/*
 * void klink_end_call(void (*last)(void *), void *arg): forgets the stack of the call,
 * calls last(arg), and returns 0 from the call (control.h, enter_sp).
 */
	.globl	klink_end_call
	.type	klink_end_call, %function
	.p2align 2
klink_end_call:
	.cfi_startproc
	.cfi_undefined x30
	mrs	x9, tpidr_el0
	ldr	x19, [x9, #ENTER_SP]
	mov	x9, x0
	mov	x0, x1
	and	x10, x19, #-16
	mov	sp, x10
	blr	x9
	mov	sp, x19
	mov	x0, #0
	ldr	x9, [x19]
	br	x9
	.cfi_endproc
	.size	klink_end_call, .-klink_end_call

	.section .note.GNU-stack, "", %progbits
