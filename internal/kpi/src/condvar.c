/*
 * condvar.c: condition variables.
 *
 * Shared: each one's word. Bit 0 says that somebody may wait; above it stands a number
 * that each wake-up raises. A waiter reads the word before it lets go of the mutex and
 * sleeps only while the word is unchanged, so no wake-up in between is lost. It leaves
 * nothing behind: one that is given up is not missed, and one that was woken does not
 * look at the condition variable, which may be gone.
 */
#include "kpi.h"

#define MAGIC	0x43766172u	/* "Cvar" */
#define DEAD	0x64656164u	/* "dead" */
#define WAITING	1u
#define STEP	2u

static void check(const kcondvar_t *cv, const char *what)
{
	if (__predict_false(cv->cv_magic != MAGIC))
		panic("%s: %p is no condition variable: %s", what, cv,
		    cv->cv_magic == DEAD ? "it was destroyed" : "it was never initialised");
}

void cv_init(kcondvar_t *cv, const char *wmesg)
{
	cv->cv_word = 0;
	cv->cv_wmesg = wmesg;
	cv->cv_magic = MAGIC;
}

/* Whoever still waits wakes up, and finds it destroyed if it waits again. */
void cv_destroy(kcondvar_t *cv)
{
	check(cv, "cv_destroy");
	cv_broadcast(cv);
	cv->cv_magic = DEAD;
}

bool cv_is_valid(kcondvar_t *cv)
{
	return cv->cv_magic == MAGIC;
}

/* klink_cv_prepare returns what klink_cv_sleep wants: wake-ups from now on count. */
u32 klink_cv_prepare(kcondvar_t *cv)
{
	mine(self())->cv = (u64)cv;
	return __atomic_or_fetch(&cv->cv_word, WAITING, __ATOMIC_SEQ_CST);
}

/* klink_cv_forget: it does not sleep, after all. */
void klink_cv_forget(void)
{
	mine(self())->cv = 0;
}

/* klink_cv_sleep sleeps for a wake-up; false: the deadline passed first. */
bool klink_cv_sleep(kcondvar_t *cv, u32 seen, u64 deadline, const void *on, const char *why)
{
	bool woken = klink_wait(&cv->cv_word, seen, deadline, on, why);

	mine(self())->cv = 0;
	return woken;
}

static int wait(kcondvar_t *cv, kmutex_t *m, u64 deadline, const char *what)
{
	check(cv, what);
	if (!mutex_owned(m))
		panic("%s: %p (%s): thread %u does not hold mutex %p", what, cv, cv->cv_wmesg, self()->index, m);
	const char *why = cv->cv_wmesg;
	u32 seen = klink_cv_prepare(cv);

	mutex_exit(m);
	bool woken = klink_cv_sleep(cv, seen, deadline, cv, why);

	mutex_enter(m);
	return woken ? 0 : EWOULDBLOCK;
}

void cv_wait(kcondvar_t *cv, kmutex_t *m)
{
	wait(cv, m, 0, "cv_wait");
}

int cv_wait_sig(kcondvar_t *cv, kmutex_t *m)
{
	return wait(cv, m, 0, "cv_wait_sig");
}

int cv_timedwait(kcondvar_t *cv, kmutex_t *m, int timo)
{
	return wait(cv, m, klink_deadline(timo), "cv_timedwait");
}

int cv_timedwait_sig(kcondvar_t *cv, kmutex_t *m, int timo)
{
	return wait(cv, m, klink_deadline(timo), "cv_timedwait_sig");
}

void cv_broadcast(kcondvar_t *cv)
{
	struct klink_thread *t = self();

	check(cv, "cv_broadcast");
	fence();	/* what the caller changed, before it looks for waiters */
	u32 word = load(&cv->cv_word);

	if (!(word & WAITING))
		return;
	critical_enter(t);
	while (!cas(&cv->cv_word, word, (word + STEP) & ~WAITING))
		word = load(&cv->cv_word);
	futex_wake(&cv->cv_word, EVERYBODY);
	critical_exit(t);
}

void cv_signal(kcondvar_t *cv)
{
	struct klink_thread *t = self();

	check(cv, "cv_signal");
	fence();
	if (!(load(&cv->cv_word) & WAITING))
		return;
	critical_enter(t);
	u32 word = __atomic_add_fetch(&cv->cv_word, STEP, __ATOMIC_SEQ_CST);

	/* Nobody was asleep. Those on their way there see the new number. So the bit may go,
	 * and who fell asleep meanwhile, with the bit, is woken for no reason. */
	if (syscall4(SYS_futex, (u64)&cv->cv_word, 1, 1, 0) == 0 &&
	    cas(&cv->cv_word, word, (word + STEP) & ~WAITING))
		futex_wake(&cv->cv_word, EVERYBODY);
	critical_exit(t);
}

/* Waiters are looked for where they say so themselves. One that was signalled counts
 * until it runs. */
bool cv_has_waiters(kcondvar_t *cv)
{
	struct klink_thread *t = self();

	check(cv, "cv_has_waiters");
	if (!(load(&cv->cv_word) & WAITING))
		return false;
	for (u32 i = 0, n = nthreads(t); i < n; i++)
		if (load(&mine(thread_block(t, i))->cv) == (u64)cv)
			return true;
	return false;
}

/* klink_cv_settle passes on a wake-up that the thread may have had and not used. */
void klink_cv_settle(struct klink_thread *t)
{
	if (mine(t)->cv == 0)
		return;
	futex_wake((void *)mine(t)->cv, 1);
	mine(t)->cv = 0;
}
