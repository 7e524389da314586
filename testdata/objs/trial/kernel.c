/* The kernel of the trials: the default, a thread that calls, and a place to sleep. */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/atomic.h>
#include <sys/condvar.h>
#include <sys/errno.h>
#include <sys/mutex.h>
#include "trial.h"

struct trial trial __attribute__((__aligned__(64)));
static kmutex_t lock;
static kcondvar_t cv;
static volatile int *volatile nowhere;

static __used long
kernel_f(long how)
{
	(void)how;
	return 0;
}
__weak_alias(trial_f, kernel_f)

static long (*volatile by_entry)(long) = trial_f;

void
trial_init(void)
{
	mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
	cv_init(&cv, "trial");
}

/* Sleep until the call is let go, or those in the module's gate are. */
void
trial_sleep(u_int call, int gated, u_int module)
{
	mutex_enter(&lock);
	trial.inside++;
	while (!trial.go[call] && !(gated && trial.ends[module]))
		cv_wait(&cv, &lock);
	trial.go[call] = 0;
	mutex_exit(&lock);
}

/* FINI has those end that sleep in the module's gate; or no more. */
void
trial_wake(u_int module, int ends)
{
	mutex_enter(&lock);
	trial.ends[module] = ends;
	cv_broadcast(&cv);
	mutex_exit(&lock);
}

void
trial_go(u_int call)
{
	mutex_enter(&lock);
	trial.go[call] = 1;
	cv_broadcast(&cv);
	mutex_exit(&lock);
}

/* What held commands wait for. */
void
trial_go_on(void)
{
	mutex_enter(&lock);
	trial.hold = 0;
	cv_broadcast(&cv);
	mutex_exit(&lock);
}

/* A module was told a command: 0, it goes on; an errno; or -1, it says that all is well. */
int
trial_told(u_int module, u_int cmd)
{
	u_int how = trial.how[module][cmd];

	atomic_inc_uint(&trial.told[module][cmd]);
	trial.log[(atomic_inc_uint_nv(&trial.order) - 1) % sizeof trial.log] = module << 4 | cmd;
	switch (how) {
	case TRIAL_ERRNO:
		return ENOMEM;
	case TRIAL_FAULT:
		*nowhere = 1;
		return 0;
	case TRIAL_LOOP:
		for (volatile long i = 0;; i++)
			continue;
	case TRIAL_HOLD:
		mutex_enter(&lock);
		while (trial.hold)
			cv_wait(&cv, &lock);
		mutex_exit(&lock);
		return 0;
	case TRIAL_LIE:
		return -1;
	case TRIAL_ENOTTY:
		return ENOTTY;
	}
	return 0;
}

/* A call through a site, and one through the entry. */
long
trial_call(long how)
{
	return trial_f(how) + 0;
}

long
trial_call_entry(long how)
{
	return by_entry(how) + 0;
}

static void
look(long value)
{
	volatile u_int *good = trial.good;

	trial.calls++;
	for (u_int i = 0; i < 4; i++)
		if (good[i] == value + 1)
			return;
	trial.bad = value;
	trial.wrong++;
}

/* Calls until it is stopped, and returns how many went wrong. */
long
trial_traffic(void)
{
	while (!*(volatile u_int *)&trial.stop) {
		look(trial_call(0));
		look(trial_call_entry(0));
	}
	return trial.wrong;
}
