/* arm64.h: what the kernel object needs of aarch64 beside C. */
#ifndef KPI_ARM64_H
#define KPI_ARM64_H

/* include/uapi/asm-generic/unistd.h: all that is ever called. */
#define SYS_futex		98
#define SYS_clock_gettime	113
#define SYS_sched_yield		124
#define SYS_membarrier		283

/* The thread pointer is the block's address. */
static inline struct klink_thread *self(void)
{
	struct klink_thread *t;

	__asm__("mrs %0, tpidr_el0" : "=r"(t));
	return t;
}

/* arch/arm64/kernel/entry.S: number in x8, arguments from x0, result in x0; all else is kept. */
static inline i64 syscall4(u64 nr, u64 a, u64 b, u64 c, u64 d)
{
	register u64 x8 __asm__("x8") = nr;
	register u64 x0 __asm__("x0") = a;
	register u64 x1 __asm__("x1") = b;
	register u64 x2 __asm__("x2") = c;
	register u64 x3 __asm__("x3") = d;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3)
			 : "memory", "cc");
	return (i64)x0;
}

static inline void pause_cpu(void)
{
	__asm__ volatile("yield" : : : "memory");
}

#endif
