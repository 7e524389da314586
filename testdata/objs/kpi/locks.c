/* Mutexes and condition variables under calls that return, fault and are stopped. */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/mutex.h>
#include <sys/condvar.h>
#include <sys/kmem.h>
#include <sys/kernel.h>
#include <sys/proc.h>
#include <sys/time.h>
#include <sys/atomic.h>

kmutex_t lock, other;
kcondvar_t cv, here;
volatile unsigned long counter;
static unsigned turn;
unsigned long waiting;
static volatile unsigned long *volatile nowhere = (volatile unsigned long *)8;

void
locks_init(void)
{
	mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
	mutex_init(&other, MUTEX_SPIN, IPL_VM);
	cv_init(&cv, "turn");
	cv_init(&here, "here");
	counter = turn = waiting = 0;
}

/* Add 1 n times, not atomically. */
unsigned long
count(unsigned long n)
{
	for (unsigned long i = 0; i < n; i++) {
		mutex_enter(&lock);
		counter = counter + 1;
		mutex_exit(&lock);
	}
	return counter;
}

/* The same with a try first, and a pause inside now and then. */
unsigned long
count_try(unsigned long n)
{
	unsigned long tries = 0;

	for (unsigned long i = 0; i < n; i++) {
		while (!mutex_tryenter(&lock)) {
			tries++;
			yield();
		}
		KASSERT(mutex_owned(&lock));
		counter = counter + 1;
		if (i % 512 == 0)
			kpause("pause", false, 1, NULL);
		mutex_exit(&lock);
		KASSERT(!mutex_owned(&lock));
	}
	return tries;
}

/* Two threads, who 0 and 1, take turns n times. */
unsigned long
take_turns(unsigned who, unsigned long n)
{
	mutex_enter(&lock);
	for (unsigned long i = 0; i < n; i++) {
		while (turn % 2 != who)
			cv_wait(&cv, &lock);
		turn++;
		cv_signal(&cv);
	}
	mutex_exit(&lock);
	return turn;
}

/* Wait for go_on. */
unsigned long
wait_here(void)
{
	mutex_enter(&lock);
	waiting++;
	while (waiting != 0)
		cv_wait(&here, &lock);
	mutex_exit(&lock);
	return 7;
}

unsigned long
go_on(void)
{
	unsigned long n;

	mutex_enter(&lock);
	n = waiting;
	waiting = 0;
	cv_broadcast(&here);
	mutex_exit(&lock);
	return n;
}

unsigned long
has_waiters(void)
{
	return cv_has_waiters(&here);
}

/* The condition variable goes away as soon as its waiters were woken. */
static struct passing {
	kmutex_t lock;
	kcondvar_t cv;
	int gone;
} *passing;
static volatile int left;

void
passing_init(void)
{
	passing = kmem_zalloc(sizeof *passing, KM_SLEEP);
	mutex_init(&passing->lock, MUTEX_DEFAULT, IPL_NONE);
	cv_init(&passing->cv, "passing");
	left = 0;
}

unsigned long
pass(void)
{
	struct passing *p = passing;

	mutex_enter(&lock);
	while (!left)
		cv_wait(&p->cv, &lock);
	mutex_exit(&lock);
	return 1;
}

unsigned long
pass_all(void)
{
	mutex_enter(&lock);
	left = 1;
	cv_broadcast(&passing->cv);
	cv_destroy(&passing->cv);
	memset(passing, 0xff, sizeof *passing);
	kmem_free(passing, sizeof *passing);
	mutex_exit(&lock);
	return 0;
}

/* What cv_timedwait returns after ticks, and how many ns it took. */
unsigned long
timed(int ticks, unsigned long *ns)
{
	struct timespec a, b;
	int error;

	nanouptime(&a);
	mutex_enter(&lock);
	do
		error = cv_timedwait(&here, &lock, ticks);
	while (error == 0);
	KASSERT(mutex_owned(&lock));
	mutex_exit(&lock);
	nanouptime(&b);
	timespecsub(&b, &a, &b);
	*ns = b.tv_sec * 1000000000ul + b.tv_nsec;
	return error;
}

unsigned long
hold_and_fault(void)
{
	mutex_enter(&other);
	mutex_enter(&lock);
	return *nowhere;
}

unsigned long
hold_for_ever(void)
{
	mutex_enter(&lock);
	counter = 1;
	for (;;)
		;
}

/* Hold the lock until the host says so. */
volatile unsigned long let_go;

unsigned long
hold_until(void)
{
	mutex_enter(&lock);
	counter = 2;
	while (!let_go)
		yield();
	mutex_exit(&lock);
	return 1;
}

unsigned long
enter(void)
{
	mutex_enter(&lock);
	mutex_exit(&lock);
	return 3;
}

unsigned long
try_enter(void)
{
	if (!mutex_tryenter(&lock))
		return 0;
	mutex_exit(&lock);
	return 1;
}

/* Fault with a pointer that is none, in the kernel object. */
unsigned long
enter_nothing(void)
{
	mutex_enter((kmutex_t *)16);
	return 0;
}

unsigned long
enter_twice(void)
{
	mutex_enter(&lock);
	mutex_enter(&lock);
	return 0;
}

unsigned long
exit_other(void)
{
	mutex_exit(&lock);
	return 0;
}

unsigned long
enter_raw(void)
{
	static kmutex_t raw;

	mutex_enter(&raw);
	return 0;
}

unsigned long
wait_without(void)
{
	cv_wait(&cv, &lock);
	return 0;
}

static kmutex_t many[40];

unsigned long
hold_many(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		mutex_init(&many[i], MUTEX_DEFAULT, IPL_NONE);
		mutex_enter(&many[i]);
	}
	for (unsigned i = n; i-- > 0;) {
		mutex_exit(&many[i]);
		mutex_destroy(&many[i]);
	}
	return n;
}

unsigned long
assertion(int v)
{
	KASSERTMSG(v == 3, "v is %d", v);
	return 1;
}

unsigned long
destroy(void)
{
	mutex_destroy(&lock);
	mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
	return 1;
}
