/*
 * trial.h: what the kernel of the trials, its modules and the tests share. The tests
 * (internal/kernel) say in here how each module is to behave, and read what happened.
 */
#ifndef TRIAL_H
#define TRIAL_H

#include <sys/types.h>

#define TRIAL_MODULES	8
#define TRIAL_COMMANDS	8	/* modcmd's, by their numbers */
#define TRIAL_CALLS	32	/* long calls */

/* How a module does what it is told; 0: as it should. */
#define TRIAL_ERRNO	1	/* it returns ENOMEM */
#define TRIAL_FAULT	2
#define TRIAL_LOOP	3	/* for ever */
#define TRIAL_HOLD	4	/* as it should, when hold is 0 again */
#define TRIAL_LIE	5	/* it says that all is well and does nothing */
#define TRIAL_ENOTTY	6

/*
 * What trial_f and trial_h do in the module that their argument names: sleep inside of its
 * gate, until they are let go or FINI ends it; sleep, or run, in no gate until they are let go.
 */
#define TRIAL_CALL(module, what, call)	((module) << 16 | (what) << 8 | (call))
#define TRIAL_GATED	1
#define TRIAL_ASLEEP	2
#define TRIAL_RUNS	3

struct trial {
	/* 0x000: written by the tests */
	u_int	how[TRIAL_MODULES][TRIAL_COMMANDS];
	/* 0x100: how often each module was told each command */
	u_int	told[TRIAL_MODULES][TRIAL_COMMANDS];
	/* 0x200 */
	u_int	hold, stop;
	/* 0x208: 1 + the values that calls of the traffic may return now */
	u_int	good[4];
	u_int	pad[2];
	/* 0x220 */
	u_long	calls, wrong, bad;	/* the traffic's; bad is a wrong value */
	u_long	inside;			/* long calls that have begun to wait */
	/* 0x240 */
	u_int	go[TRIAL_CALLS];	/* a long call ends */
	u_int	ends[TRIAL_MODULES];	/* those in the module's gate do */
	/* 0x2e0: what was told, in order: 16 * module + command */
	u_int	order;			/* how many */
	u_char	log[60];
};

#define TRIAL_AT(field, off) _Static_assert(__builtin_offsetof(struct trial, field) == (off), #field)
TRIAL_AT(told, 0x100);
TRIAL_AT(hold, 0x200);
TRIAL_AT(good, 0x208);
TRIAL_AT(calls, 0x220);
TRIAL_AT(inside, 0x238);
TRIAL_AT(go, 0x240);
TRIAL_AT(order, 0x2e0);

extern struct trial trial;

/* 0 for the kernel; each module multiplies what the layer below returns by ten and adds its own number. */
long trial_f(long), trial_g(long), trial_h(long), super_trial_f(long), super_trial_h(long);

void trial_sleep(u_int call, int gated, u_int module);
void trial_wake(u_int module, int ends);
int trial_told(u_int module, u_int cmd);

#endif
