/*
 * runner.h: what the runner's files know of one another.
 *
 *	main.c		the start: mapping, threads, walls, in their order
 *	walls.c		what is taken from this process before module code runs
 *	signals.c	which handler serves which signal; who is it that got one
 *	service.c	the main thread afterwards: barriers
 *	pool.c		the pool's threads: calls, and the table of their results
 *	trap.c		a thread met a switch
 *	fault.c		a call that cannot go on; the way out of it
 *	park.c		a thread holds still to be looked at
 *	MACHINE.h	system calls, signal frames, caches
 *	MACHINE_forms.c	what each form of site does
 *	MACHINE_start.S	everything that has no stack, or changes it
 *
 * Rules of all files: there is no libc; nothing is allocated; handlers use general
 * registers only; what a handler decides by is read from `fixed` and the tables,
 * which nobody in this process can write, and a word of control memory only where
 * it concerns nobody but the thread itself.
 */
#ifndef RUNNER_H
#define RUNNER_H

#include "control.h"

/* Signals: include/uapi/asm-generic/signal.h; x86-64's are the same. */
#define SIGILL	4
#define SIGTRAP	5
#define SIGBUS	7
#define SIGFPE	8
#define SIGSEGV	11
#define SIGSYS	31

#if defined(__x86_64__)
#include "amd64.h"
#elif defined(__aarch64__)
#include "arm64.h"
#else
#error "the runner knows x86-64 and aarch64"
#endif

/* The largest page of any machine: what is aligned to it has its pages alone. */
#define LARGEST_PAGE	0x10000

#define THREADS_MOST	1024	/* of a pool */
#define NOBODY		(~0u)	/* index of no pool thread: the service thread */

/*
 * All of the runner's own memory. The start writes it; before module code runs it
 * becomes read-only, and no other writable memory of the runner's exists but stacks.
 */
struct fixed {
	struct klink_config config;	/* as it was when it was checked */
	struct klink_config *shared;	/* the control memory's beginning */
	struct klink_mail *mail;
	u32 up;				/* futex: threads of the pool that have started */
	i32 thread_error;		/* of one that could not, negative */
	i32 barrier_error;		/* negative: barriers answer with it */
};
extern struct fixed fixed;

/* Words that others change are read and written whole, in this order. */
#define load(p)		__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)

/* System calls by name, with up to six arguments. */
#define SYS(...)	SYS_(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define SYS_(nr, a, b, c, d, e, f, ...) \
	syscall6(nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e), (u64)(f))

/* Errors: include/uapi/asm-generic/errno-base.h, errno.h. */
#define ESRCH	3
#define EEXIST	17
#define EINVAL	22
#define ENOSYS	38

/*
 * futex_wait sleeps while *word is seen, and may return for no reason: the caller
 * loops on the word. The host is another process: no FUTEX_PRIVATE_FLAG.
 * include/uapi/linux/futex.h: FUTEX_WAIT 0, FUTEX_WAKE 1.
 */
static inline void futex_wait(u32 *word, u32 seen)
{
	SYS(SYS_futex, word, 0, seen, 0);
}

static inline void futex_wake(u32 *word)
{
	SYS(SYS_futex, word, 1, 0x7fffffff);
}

/* tell_host makes it look at what was stored before. It says that it waits before it
 * looks a last time, so one of both sees the other. */
static inline void tell_host(void)
{
	__atomic_add_fetch(&fixed.mail->events, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&fixed.mail->host_waits, __ATOMIC_SEQ_CST))
		futex_wake(&fixed.mail->events);
}

/* Thread i's block. */
static inline struct klink_thread *thread_block(u32 i)
{
	return (void *)(fixed.config.control + KLINK_THREADS_OFF + (u64)i * KLINK_THREAD_SIZE);
}

/* Where thread i's stack begins and ends. */
static inline u64 stack_hi(u32 i)
{
	return fixed.config.stacks + ((u64)i + 1) * fixed.config.stack_stride;
}

static inline u64 stack_lo(u32 i)
{
	return stack_hi(i) - fixed.config.stack_size;
}

/* Do n bytes at addr lie in thread i's stack? n is at most its size. */
static inline int in_stack(u32 i, u64 addr, u64 n)
{
	return addr >= stack_lo(i) && addr <= stack_hi(i) - n;
}

/* What a system call's siginfo holds, as far as it is used here:
 * include/uapi/asm-generic/siginfo.h, siginfo_t with _sigfault and _sigsys. */
struct siginfo {
	i32 signo, error, code, pad;
	u64 addr;	/* si_addr, si_call_addr; for code <= 0 who sent it */
	i32 nr;		/* si_syscall */
	u32 arch;	/* si_arch */
};

/* main.c */
_Noreturn void klink_main(void);

/* walls.c: each returns its bit of config.walls, 0 if the system lacks it, or an error */
i64 walls_limits(void);
i64 walls_mdwe(void);
i64 walls_seccomp(void);

/* signals.c */
i64 signals_install(void);
i64 signals_block(u64 set);
u32 thread_here(void);

/* service.c */
_Noreturn void service(void);
int in_tables(u64 addr, u64 n);

/* pool.c: how is how the call before it ended, or FRESH */
#define FRESH	(~0u)
_Noreturn void klink_pool(u32 i, u32 how);
_Noreturn void klink_thread_start(u32 i);

/* trap.c, fault.c, park.c: handlers */
void on_trap(i32 signo, struct siginfo *info, struct context *c);
void on_fault(i32 signo, struct siginfo *info, struct context *c);
void on_limit(i32 signo, struct siginfo *info, struct context *c);
void on_park(i32 signo, struct siginfo *info, struct context *c);
void fault(u32 i, const struct siginfo *info, struct context *c);

/* MACHINE_forms.c: what the branch at site does, done to a context. */
enum outcome {
	WENT,		/* c is behind the branch */
	NOBODY_THERE,	/* it leads to 0 */
	NO_STACK,	/* a call has no room for its return address */
};
enum outcome go(struct context *c, u32 i, u64 site, u32 form, u64 target);

/* MACHINE_start.S */
u64 klink_enter(u64 fn, const u64 *arg, u64 *enter_sp);
void klink_wipe(u64 lo);
i64 klink_clone(u64 flags, u64 stack, u32 *tid, u64 tls, u32 i);
void klink_restorer(void);
void klink_again(void);

#endif
