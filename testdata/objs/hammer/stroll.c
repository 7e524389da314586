/*
 * The soak's callers: they call for some time, then sleep for a tick, so that loads and
 * unloads do not wait for a processor and there can be many of them.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/proc.h>
#include "hammer.h"

#define PASSES	4	/* over all sites between two sleeps */
#define PACKETS	2000

extern u64 hammer_run(u64 slot, u64 passes);
extern unsigned long net_traffic(unsigned int unit, unsigned long n);
extern struct hammer hammer;

/* hammer_stroll is hammer_run until hammer.stop, with sleeps. */
u64
hammer_stroll(u64 slot)
{
	u64 wrong;

	do {
		wrong = hammer_run(slot, PASSES);
		kpause("stroll", false, 1, NULL);
	} while (!__atomic_load_n(&hammer.stop, __ATOMIC_RELAXED));
	return wrong;
}

/* net_stroll is net_traffic until hammer.stop, with sleeps. */
unsigned long
net_stroll(unsigned int unit)
{
	unsigned long wrong;

	do {
		wrong = net_traffic(unit, PACKETS);
		kpause("stroll", false, 1, NULL);
	} while (!__atomic_load_n(&hammer.stop, __ATOMIC_RELAXED));
	return wrong;
}
