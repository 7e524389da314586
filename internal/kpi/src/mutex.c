/*
 * mutex.c: mutexes.
 *
 * Shared: each mutex's word. 0 is free; else it holds its owner's number plus 1, WAITERS
 * if somebody may sleep for it, ABANDONED if the owner's call was given up. Owning a
 * mutex and having it in the thread's list (klink_thread.held) begin and end in one
 * critical section, so a call that is given up has in its list exactly what it owns.
 * A waiter that is given up may have been the one that was woken: klink_mutex_settle
 * wakes another in its place.
 */
#include "kpi.h"

#define MAGIC		0x4d757478u	/* "Mutx" */
#define DEAD		0x64656164u	/* "dead" */
#define OWNER		0x0000ffffu
#define ABANDONED	0x40000000u
#define WAITERS		0x80000000u
#define LOOKS		200		/* before the first sleep */

static u32 owner_of(u32 word) { return (word & OWNER) - 1; }
static u32 me(struct klink_thread *t) { return t->index + 1; }

/*
 * The kernel object's own locks: held for some instructions, in a critical section, by
 * threads that run. A thread that waits for one is in no critical section.
 */
void klink_lock(struct lock *l)
{
	struct klink_thread *t = self();

	for (u32 looks = 1;;) {
		critical_enter(t);
		if (swap(&l->word, 1) == 0)
			return;
		critical_exit(t);
		while (load(&l->word) != 0) {
			if (looks++ % 64 == 0)	/* whoever holds it may not be running */
				syscall4(SYS_sched_yield, 0, 0, 0, 0);
			else
				pause_cpu();
		}
	}
}

void klink_unlock(struct lock *l)
{
	store(&l->word, 0);
	critical_exit(self());
}

/* check looks at a mutex before anything is done with it: a bad pointer faults here. */
static void check(const kmutex_t *m, const char *what)
{
	if (__predict_false(m->mtx_magic != MAGIC))
		panic("%s: %p is no mutex: %s", what, m, m->mtx_magic == DEAD ? "it was destroyed" : "it was never initialised");
}

void mutex_init(kmutex_t *m, kmutex_type_t type __unused, int ipl __unused)
{
	m->mtx_word = 0;
	m->mtx_magic = MAGIC;
}

void mutex_destroy(kmutex_t *m)
{
	check(m, "mutex_destroy");
	u32 word = load(&m->mtx_word);

	if (word != 0 && !(word & ABANDONED))
		panic("mutex_destroy: %p is held by thread %u", m, owner_of(word));
	m->mtx_magic = DEAD;
}

static void abandoned(const kmutex_t *m, u32 word)
{
	klink_give_up("mutex %p is abandoned: a call of thread %u ended while it held it; so this call of thread %u ends\n",
	    m, owner_of(word), self()->index);
}

/* take makes a free mutex the thread's. It stays in the critical section if it could. */
static bool take(struct klink_thread *t, kmutex_t *m, u32 bits)
{
	u32 i = 0;

	while (i < KLINK_HELD && t->held[i] != 0)
		i++;
	if (__predict_false(i == KLINK_HELD))
		klink_give_up("mutex_enter: this call of thread %u holds %u mutexes already, so it ends\n", t->index, i);
	critical_enter(t);
	if (cas(&m->mtx_word, 0, me(t) | bits)) {
		t->held[i] = (u64)m;
		return true;
	}
	critical_exit(t);
	return false;
}

/* wait_and_take is take for a mutex that was not free. */
static void wait_and_take(struct klink_thread *t, kmutex_t *m)
{
	u32 looks = 0, bits = 0;

	mine(t)->mutex = (u64)m;
	for (;;) {
		u32 word = load(&m->mtx_word);

		if (word == 0) {
			/* Having slept, it does not know who else does. */
			if (take(t, m, bits))
				break;
			continue;
		}
		if (word & ABANDONED) {
			mine(t)->mutex = 0;
			abandoned(m, word);
		}
		if (owner_of(word) == t->index)
			panic("mutex_enter: locking against myself: %p, thread %u", m, t->index);
		if (looks++ < LOOKS) {
			pause_cpu();
			continue;
		}
		if (!(word & WAITERS) && !cas(&m->mtx_word, word, word | WAITERS))
			continue;
		klink_wait(&m->mtx_word, word | WAITERS, 0, m, "mutex");
		bits = WAITERS;
	}
	mine(t)->mutex = 0;
}

/* klink_mutex_enter is mutex_enter for the kernel object: it returns in a critical section. */
void klink_mutex_enter(struct klink_thread *t, kmutex_t *m)
{
	if (__predict_false(!take(t, m, 0)))
		wait_and_take(t, m);
}

/* klink_mutex_exit lets go of a mutex that t owns, and leaves the critical section. The
 * mutex may be gone as soon as its word is 0. */
void klink_mutex_exit(struct klink_thread *t, kmutex_t *m)
{
	for (u32 i = 0; i < KLINK_HELD; i++)
		if (t->held[i] == (u64)m) {
			t->held[i] = 0;
			break;
		}
	if (swap(&m->mtx_word, 0) & WAITERS)
		futex_wake(&m->mtx_word, 1);
	critical_exit(t);
}

void mutex_enter(kmutex_t *m)
{
	struct klink_thread *t = self();

	check(m, "mutex_enter");
	klink_mutex_enter(t, m);
	critical_exit(t);
}

int mutex_tryenter(kmutex_t *m)
{
	struct klink_thread *t = self();

	check(m, "mutex_tryenter");
	if (!take(t, m, 0)) {
		u32 word = load(&m->mtx_word);

		if (word & ABANDONED)
			abandoned(m, word);
		return 0;
	}
	critical_exit(t);
	return 1;
}

int mutex_owned(const kmutex_t *m)
{
	return (load(&m->mtx_word) & ~WAITERS) == me(self());
}

int mutex_ownable(const kmutex_t *m)
{
	if (mutex_owned(m))
		panic("mutex_ownable: locking against myself: %p", m);
	return 1;
}

void mutex_exit(kmutex_t *m)
{
	struct klink_thread *t = self();

	check(m, "mutex_exit");
	u32 word = load(&m->mtx_word);

	if (__predict_false((word & ~WAITERS) != me(t))) {
		if (word == 0)
			panic("mutex_exit: %p is held by nobody", m);
		panic("mutex_exit: %p is held by thread %u, not by %u", m, owner_of(word), t->index);
	}
	critical_enter(t);
	klink_mutex_exit(t, m);
}

void mutex_spin_enter(kmutex_t *m) { mutex_enter(m); }
void mutex_spin_exit(kmutex_t *m) { mutex_exit(m); }

/* klink_mutex_settle abandons what the thread holds, and passes a wake-up on. */
void klink_mutex_settle(struct klink_thread *t)
{
	for (u32 i = 0; i < KLINK_HELD; i++) {
		kmutex_t *m = (kmutex_t *)t->held[i];

		if (m == NULL)
			continue;
		t->held[i] = 0;
		u32 word = load(&m->mtx_word);

		if ((word & ~WAITERS) != me(t) || m->mtx_magic != MAGIC)
			continue;	/* its memory is something else by now */
		__atomic_or_fetch(&m->mtx_word, ABANDONED, __ATOMIC_SEQ_CST);
		futex_wake(&m->mtx_word, EVERYBODY);
		printf("mutex %p is abandoned: a call of thread %u ended while it held it\n", m, t->index);
	}
	if (mine(t)->mutex != 0) {
		futex_wake((void *)mine(t)->mutex, 1);
		mine(t)->mutex = 0;
	}
}
