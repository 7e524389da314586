/*
 * A module of the trials.
 *
 *	-DNAME=over	its name
 *	-DINDEX=1	which it is in struct trial; its number is one more
 *	-DOVER		gives trial_f
 *	-DREFINE	gives trial_f as a layer, by __refine_alias
 *	-DLAYER		gives trial_f as a layer, in the mail's own way
 *	-DBASE		gives trial_g and, as a default, trial_h, which nobody else does
 *	-DUSER		calls trial_g, and is a layer of trial_h
 *	-DPLAIN		no modcmd and no gate, but a constructor and a destructor
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/errno.h>
#include <sys/kernel.h>
#include <sys/module.h>
#include <klink/gate.h>
#include "trial.h"

#define PASTE(a, b)	a##b
#define JOIN(a, b)	PASTE(a, b)
#define OWN		JOIN(NAME, _own)
#define NUMBER		(INDEX + 1)

#ifdef PLAIN
#define ENTER()
#define EXIT()
#else
static struct gate gate;
#define ENTER()		gate_enter(&gate)
#define EXIT()		gate_exit(&gate)
#endif

/* A name of its own, called by that name and by its entry. */
long
OWN(long value)
{
	return value * 10 + NUMBER;
}
static long (*volatile own)(long) = OWN;

static __always_inline void
act(long how)
{
	u_int call = how % TRIAL_CALLS;

	switch (how >> 8 & 0xff) {
	case TRIAL_GATED:
		trial_sleep(call, 1, INDEX);
		return;
	case TRIAL_ASLEEP:
		EXIT();
		trial_sleep(call, 0, INDEX);
		ENTER();
		return;
	case TRIAL_RUNS:
		EXIT();
		__atomic_add_fetch(&trial.inside, 1, __ATOMIC_SEQ_CST);
		while (!*(volatile u_int *)&trial.go[call])
			continue;
		trial.go[call] = 0;
		ENTER();
		return;
	}
}

#define FUNCTION(f, below)						\
	static __used long						\
	f(long how)							\
	{								\
		long v;							\
									\
		ENTER();						\
		if (how >> 16 == NUMBER)				\
			act(how);					\
		v = below;						\
		EXIT();							\
		return how & 1 ? own(v) : OWN(v);			\
	}

#ifdef OVER
FUNCTION(impl_f, 0)
__strong_alias(trial_f, impl_f)
#endif
#ifdef REFINE
FUNCTION(impl_f, super_trial_f(how))
__refine_alias(trial_f, impl_f)
static long (*volatile below)(long) __attribute__((__used__)) = super_trial_f;
#endif
#ifdef LAYER
FUNCTION(impl_f, super_trial_f(how))
__weak_alias(trial_f, impl_f)
#endif
#ifdef BASE
FUNCTION(impl_h, 0)
__weak_alias(trial_h, impl_h)
FUNCTION(impl_g, 0)
__strong_alias(trial_g, impl_g)
#endif
#ifdef USER
FUNCTION(impl_h, super_trial_h(how))
__refine_alias(trial_h, impl_h)

long
trial_use_g(long how)
{
	return trial_g(how) * 10 + NUMBER;
}
#endif

#ifdef PLAIN
static void __attribute__((__constructor__))
begin(void)
{
	trial_told(INDEX, MODULE_CMD_INIT);
}

static void __attribute__((__destructor__))
end(void)
{
	trial_told(INDEX, MODULE_CMD_FINI);
}
#else
#define DECLARE(name)	MODULE(MODULE_CLASS_MISC, name, NULL)
DECLARE(NAME);

static int
fini(void)
{
	int error;

	trial_wake(INDEX, 1);
	error = gate_drain(&gate, 3600 * hz);	/* klink ends it at its own limit */
	trial_wake(INDEX, 0);
	if (error != 0)
		return error;
	gate_destroy(&gate);
	return 0;
}

static int
JOIN(NAME, _modcmd)(modcmd_t cmd, void *arg)
{
	int error = trial_told(INDEX, cmd);

	(void)arg;
	if (error != 0)
		return error < 0 ? 0 : error;
	switch (cmd) {
	case MODULE_CMD_INIT:
		gate_init(&gate, __XSTRING(NAME));
		return 0;
	case MODULE_CMD_CATCH:
		gate_catch(&gate);
		return 0;
	case MODULE_CMD_UNCATCH:
		gate_open(&gate);
		return 0;
	case MODULE_CMD_FINI:
		return fini();
	default:
		return ENOTTY;
	}
}
#endif
