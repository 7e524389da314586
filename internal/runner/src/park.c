/*
 * park.c: a thread holds still so that the host can read where it is. It changes
 * nothing but its own record, and goes on as if nothing had been.
 */
#include "runner.h"

void on_park(i32 signo, struct siginfo *info, struct context *c)
{
	sane_flags();
	(void)signo, (void)info;

	u32 i = thread_here();

	if (i == NOBODY)
		return;

	struct klink_thread *t = thread_block(i);
	u32 park = load(&t->park), unpark;

	if (load(&t->parked) == park)
		return;		/* of a look that is over */
	save_regs(&t->park_regs, c);
	store(&t->parked, park);
	tell_host();
	while ((unpark = load(&t->unpark)) != park)
		futex_wait(&t->unpark, unpark);
}
