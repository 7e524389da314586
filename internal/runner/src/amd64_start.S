/*
 * amd64_start.S: what has no stack yet, changes it, or must be exact about registers.
 * Nothing here decides anything.
 */
#include "control.h"

	.text

/* The kernel enters here with argc at rsp (System V psABI, 3.4.1). */
	.globl	_start
	.type	_start, @function
_start:
	xorl	%ebp, %ebp
	andq	$-16, %rsp
	call	klink_main		/* does not return */
	ud2
	.size	_start, .-_start

/*
 * u64 klink_enter(u64 fn, const u64 *arg, u64 *enter_sp)
 * calls fn with eight arguments and returns its rax. While it runs, *enter_sp is the
 * stack pointer at which the address of the way back lies: control.h, enter_sp.
 */
	.globl	klink_enter
	.type	klink_enter, @function
klink_enter:
	pushq	%rbp
	pushq	%rbx
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15			/* rsp is a multiple of 16 less 8: the return address and six */
	leaq	.Lback(%rip), %rax
	pushq	%rax
	movq	%rsp, (%rdx)
	pushq	56(%rsi)		/* arguments 7 and 8: psABI, 3.2.3 */
	pushq	48(%rsi)
	movq	%rdi, %r11
	movq	40(%rsi), %r9
	movq	32(%rsi), %r8
	movq	24(%rsi), %rcx
	movq	16(%rsi), %rdx
	movq	(%rsi), %rdi
	movq	8(%rsi), %rsi
	xorl	%eax, %eax		/* a variadic function: no vector arguments */
	xorl	%ebp, %ebp		/* the end of a chain of frames */
	call	*%r11
	addq	$16, %rsp
.Lback:	addq	$8, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.size	klink_enter, .-klink_enter

/*
 * void klink_wipe(u64 lo)
 * writes 0 over the stack below the caller's frame, down to lo or to where 4 KiB of it
 * are 0. It has no frame: what it left out a later frame could leave as it is.
 */
	.globl	klink_wipe
	.type	klink_wipe, @function
klink_wipe:
	movq	%rsp, %rax		/* the way back is there */
	xorl	%ecx, %ecx		/* words in a row that were 0 */
1:	subq	$8, %rax
	cmpq	%rdi, %rax
	jb	3f
	incl	%ecx
	cmpq	$0, (%rax)
	je	2f
	movq	$0, (%rax)
	xorl	%ecx, %ecx
2:	cmpl	$512, %ecx
	jb	1b
3:	ret
	.size	klink_wipe, .-klink_wipe

/*
 * void klink_again(u32 i, u32 how): where fault.c sends a thread whose call is over,
 * with an empty stack. Vector and x87 state are still the module's; its control bits
 * become those that a process starts with (psABI, 3.4.1).
 */
	.globl	klink_again
	.type	klink_again, @function
klink_again:
	cld
	fninit
	ldmxcsr	.Lmxcsr(%rip)
	call	klink_pool		/* does not return */
	ud2
	.size	klink_again, .-klink_again

/*
 * i64 klink_clone(u64 flags, u64 stack, u32 *tid, u64 tls, u32 i): clone(2), whose
 * order is flags, stack, parent_tid, child_tid, tls here. The child has registers
 * of its own from the start and runs klink_thread_start(i) on stack.
 */
	.globl	klink_clone
	.type	klink_clone, @function
klink_clone:
	movq	%r8, %r9		/* i: survives the call, as all but rcx and r11 do */
	movq	%rcx, %r8
	xorl	%r10d, %r10d
	movl	$56, %eax		/* SYS_clone */
	syscall
	testq	%rax, %rax
	jz	1f
	ret
1:	xorl	%ebp, %ebp
	movl	%r9d, %edi
	call	klink_thread_start	/* does not return */
	ud2
	.size	klink_clone, .-klink_clone

/* A handler returns here; the kernel's frame is at rsp. */
	.globl	klink_restorer
	.type	klink_restorer, @function
klink_restorer:
	movl	$15, %eax		/* SYS_rt_sigreturn */
	syscall
	ud2
	.size	klink_restorer, .-klink_restorer

	.section .rodata
	.balign	4
.Lmxcsr: .long	0x1f80			/* all exceptions masked, round to nearest */

	.section .note.GNU-stack, "", @progbits
