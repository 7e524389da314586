/*
 * amd64_sleep.S: sleeping such that the sleeper can be read, and the ends of a call.
 * Nothing is shared here but the thread's own block.
 */
#include "control.h"

#define ENTER_SP	0x100
#define SLEEP		0x140
#define REGS		0x160			/* sleep_regs: pc, sp, flags, r[] */
#define REG(n)		REGS + 24 + 8 * n	/* by ModRM number */
#define SYS_futex	202
#define FUTEX_WAIT_BITSET 9

	.text

/*
 * i64 klink_sleep(const volatile u32 *word, u32 seen, const struct timespec *deadline, struct klink_thread *t)
 *
 * futex(word, FUTEX_WAIT_BITSET, seen, deadline, -, all bits): sleeps while *word is
 * seen; deadline is absolute, CLOCK_MONOTONIC. While t->sleep is odd the registers in
 * t->sleep_regs are the thread's and its stack from sp up does not change. Stores are
 * not reordered here (Intel SDM volume 3, 9.2.2).
 */
	.globl	klink_sleep
	.type	klink_sleep, @function
klink_sleep:
	.cfi_startproc
	movq	%rcx, %r8		/* t: the call keeps r8, and does not look at it */
	movq	%rdx, %r10
	movl	%esi, %edx
	movl	$FUTEX_WAIT_BITSET, %esi
	movl	$-1, %r9d
	leaq	.Lasleep(%rip), %rax
	movq	%rax, REGS(%r8)
	movq	%rsp, REGS + 8(%r8)
	movq	%rbx, REG(3)(%r8)
	movq	%rsp, REG(4)(%r8)
	movq	%rbp, REG(5)(%r8)
	movq	%r12, REG(12)(%r8)
	movq	%r13, REG(13)(%r8)
	movq	%r14, REG(14)(%r8)
	movq	%r15, REG(15)(%r8)
	incl	SLEEP(%r8)
	movl	$SYS_futex, %eax
	syscall
.Lasleep:
	incl	SLEEP(%r8)
	ret
	.cfi_endproc
	.size	klink_sleep, .-klink_sleep

/* void klink_abort(void): ends the call with a fault. */
	.globl	klink_abort
	.type	klink_abort, @function
klink_abort:
	.cfi_startproc
	ud2
	.cfi_endproc
	.size	klink_abort, .-klink_abort

/*
 * void klink_end_call(void (*last)(void *), void *arg): forgets the stack of the call,
 * calls last(arg), and returns 0 from the call (control.h, enter_sp).
 */
	.globl	klink_end_call
	.type	klink_end_call, @function
klink_end_call:
	.cfi_startproc
	.cfi_undefined rip
	movq	%fs:ENTER_SP, %rbx
	movq	%rdi, %rax
	movq	%rsi, %rdi
	movq	%rbx, %rsp
	andq	$-16, %rsp
	call	*%rax
	movq	%rbx, %rsp
	xorl	%eax, %eax
	jmp	*(%rsp)
	.cfi_endproc
	.size	klink_end_call, .-klink_end_call

	.section .note.GNU-stack, "", @progbits
