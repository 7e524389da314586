/*
 * kpi.h: what the kernel object's files know of one another.
 *
 *	log.c		printf and panic: lines into the log
 *	format.c	formats
 *	kmem.c		memory
 *	mutex.c		mutexes, the kernel object's own locks
 *	condvar.c	condition variables
 *	kthread.c	kernel threads, tsleep, kpause
 *	gate.c		gates
 *	share.c		memory that other programs may map
 *	settle.c	what is done for a call that was given up
 *	time.c		clocks, delays, sleeping
 *	string.c	strings, memory, numbers
 *	atomic.c	sys/atomic.h as functions
 *	compiler.c	what compilers call on their own
 *	MACHINE_sleep.S	sleeping such that the sleeper can be read; the ends of a call
 *	arm64_atomics.S	gcc's outline atomics
 *
 * All of it runs on threads of the runner, as does module code, and module code may
 * write all of its memory: it protects modules from mistakes, not the host from
 * modules.
 *
 * A call may be given up at any instruction (a fault, its time limit), and its thread
 * then runs klink_settle and goes on to other calls. So whatever two threads share is
 * changed between critical_enter and critical_exit: there a time limit is put off, and
 * a fault is the end of the runner. In between nobody sleeps, and no memory of a module
 * is touched that was not looked at before, so that a bad pointer is a fault of the
 * call that passed it.
 *
 * Names that modules may use are in ../names.txt; all others become local when the
 * objects are joined.
 */
#ifndef KPI_H
#define KPI_H

#include "control.h"

#include <sys/condvar.h>
#include <sys/errno.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/kthread.h>
#include <sys/lwp.h>
#include <sys/mutex.h>
#include <sys/param.h>
#include <sys/proc.h>
#include <sys/systm.h>
#include <sys/time.h>
#include <klink/gate.h>

#if defined(__x86_64__)
#include "amd64.h"
#elif defined(__aarch64__)
#include "arm64.h"
#else
#error "the kernel object knows x86-64 and aarch64"
#endif

#define NSEC		1000000000ul
typedef unsigned short u16;

#define HZ		1000
#define THREADS_MOST	1024

/* What a thread keeps for the kernel object: klink_thread.kernel. Only the thread
 * itself writes it, but for ident, which wake-ups clear, and word, which they raise. */
struct mine {
	struct lwp *lwp;	/* of the kernel thread that it is; NULL: none */
	u64 cv;			/* address of the condition variable that it waits for */
	u64 ident;		/* what it sleeps for in tsleep; 0: it was woken */
	u64 mutex;		/* address of the mutex that it waits for */
	u64 gate;		/* address of the gate's state that it is about to look at again */
	u32 word;		/* futex of tsleep and kpause */
	u32 midline;		/* number of the call that left off in the middle of a line; 0: none */
	struct lwp call;	/* curlwp of a call that is no kernel thread */
};
_Static_assert(sizeof(struct mine) <= sizeof(((struct klink_thread *)0)->kernel), "mine");

static inline struct mine *mine(struct klink_thread *t)
{
	return (struct mine *)t->kernel;
}

static inline struct klink_config *config(struct klink_thread *t)
{
	return (struct klink_config *)t->control;
}

static inline struct klink_mail *mail(struct klink_thread *t)
{
	return (struct klink_mail *)(t->control + KLINK_MAIL_OFF);
}

static inline u32 nthreads(struct klink_thread *t)
{
	u32 n = config(t)->threads;

	return n < THREADS_MOST ? n : THREADS_MOST;
}

static inline struct klink_thread *thread_block(struct klink_thread *t, u32 i)
{
	return (struct klink_thread *)(t->control + KLINK_THREADS_OFF + (u64)i * KLINK_THREAD_SIZE);
}

/* Words that other threads change. */
#define load(p)		__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define fence()		__atomic_thread_fence(__ATOMIC_SEQ_CST)
#define swap(p, v)	__atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define cas(p, was, v)	__extension__({						\
	__typeof__(*(p) + 0) was_ = (was);					\
	__atomic_compare_exchange_n((p), &was_, (v), 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
})

/* Only the thread itself and its signal handlers look: order in the program is enough. */
static inline void critical_enter(struct klink_thread *t)
{
	*(volatile u32 *)&t->critical += 1;
	__insn_barrier();
}

static inline void critical_exit(struct klink_thread *t)
{
	__insn_barrier();
	*(volatile u32 *)&t->critical -= 1;
}

/* FUTEX_WAKE of the form that is shared between processes. The word need not exist
 * any more: its address is all that is used. */
static inline void futex_wake(const volatile void *word, u32 most)
{
	syscall4(SYS_futex, (u64)word, 1, most, 0);
}
#define EVERYBODY	0x7fffffffu

/* The host looks at what was stored before: it says that it waits before it looks a
 * last time, so one of both sees the other. */
static inline void tell_host(struct klink_thread *t)
{
	__atomic_add_fetch(&mail(t)->events, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&mail(t)->host_waits, __ATOMIC_SEQ_CST))
		futex_wake(&mail(t)->events, EVERYBODY);
}

/* MACHINE_sleep.S. klink_sleep returns what the system call did. */
i64 klink_sleep(const volatile u32 *word, u32 seen, const struct timespec *deadline, struct klink_thread *t);
void klink_abort(void) __dead;
void klink_end_call(void (*last)(void *), void *arg) __dead;

/* time.c */
u64 klink_now(void);
u64 klink_deadline(int timo);
bool klink_wait(const volatile u32 *word, u32 seen, u64 deadline, const volatile void *on, const char *why);

/* format.c: put gets pieces of text. */
struct sink { void (*put)(struct sink *, const char *, size_t); };
u64 klink_format(struct sink *, const char *fmt, va_list ap);

/* log.c */
void klink_line_end(struct klink_thread *t);
void klink_give_up(const char *fmt, ...) __dead __printflike(1, 2);

/* mutex.c: a lock of the kernel object's own. Who holds it is in a critical section. */
struct lock { u32 word; };
void klink_lock(struct lock *l);
void klink_unlock(struct lock *l);
void klink_mutex_enter(struct klink_thread *t, kmutex_t *m);
void klink_mutex_exit(struct klink_thread *t, kmutex_t *m);
void klink_mutex_settle(struct klink_thread *t);

/* condvar.c */
u32 klink_cv_prepare(kcondvar_t *cv);
void klink_cv_forget(void);
void klink_cv_settle(struct klink_thread *t);
bool klink_cv_sleep(kcondvar_t *cv, u32 seen, u64 deadline, const void *on, const char *why);

/* gate.c, kthread.c */
void klink_gate_settle(struct klink_thread *t);
void klink_kthread_settle(struct klink_thread *t);
u64 klink_kthread_main(struct lwp *l);

/* settle.c */
void klink_settle(void);

#endif
