/*
 * A module whose kernel threads start one another, and whose FINI says that all is well:
 * there is never a moment without one inside.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/errno.h>
#include <sys/kthread.h>
#include <sys/module.h>
#include <sys/proc.h>
#include "trial.h"

MODULE(MODULE_CLASS_MISC, chain, NULL);

static void
link(void *arg)
{
	trial.calls++;
	if (!*(volatile u_int *)&trial.stop)
		while (kthread_create(PRI_NONE, KTHREAD_MPSAFE, NULL, link, arg, NULL, "link") != 0)
			continue;
	kthread_exit(0);
}

static int
chain_modcmd(modcmd_t cmd, void *arg)
{
	(void)arg;
	switch (cmd) {
	case MODULE_CMD_INIT:
		return kthread_create(PRI_NONE, KTHREAD_MPSAFE, NULL, link, NULL, NULL, "link");
	case MODULE_CMD_FINI:
		return 0;
	default:
		return ENOTTY;
	}
}
