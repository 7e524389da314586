/* amd64.h: what the kernel object needs of x86-64 beside C. */
#ifndef KPI_AMD64_H
#define KPI_AMD64_H

/* arch/x86/entry/syscalls/syscall_64.tbl: all that is ever called. */
#define SYS_sched_yield		24
#define SYS_futex		202
#define SYS_clock_gettime	228
#define SYS_membarrier		324

/* The block begins with its own address, so one load from %fs gives it. */
static inline struct klink_thread *self(void)
{
	struct klink_thread *t;

	__asm__("movq %%fs:0, %0" : "=r"(t));
	return t;
}

/* System V psABI, A.2.1. */
static inline i64 syscall4(u64 nr, u64 a, u64 b, u64 c, u64 d)
{
	register u64 r10 __asm__("r10") = d;
	i64 ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

/* A thread that spins lets its sibling on the core go first. */
static inline void pause_cpu(void)
{
	__asm__ volatile("pause" : : : "memory");
}

#endif
