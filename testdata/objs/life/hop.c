/* A module whose kernel thread starts its successor and ends, again and again: never
 * does a thread stay inside, and never is nobody inside. Its FINI does not end. */
#include <sys/param.h>
#include <sys/module.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/kthread.h>
#include <sys/errno.h>
#include <sys/proc.h>

MODULE(MODULE_CLASS_MISC, hop, NULL);

static void
body(void *arg)
{
	for (volatile int i = 0; i < 20000; i++)
		continue;
	while (kthread_create(PRI_NONE, 0, NULL, body, arg, NULL, "hop") != 0)
		continue;	/* all threads of the pool are in calls */
	kthread_exit(0);
}

static int
hop_modcmd(modcmd_t cmd, void *arg)
{
	(void)arg;
	switch (cmd) {
	case MODULE_CMD_INIT:
		return kthread_create(PRI_NONE, 0, NULL, body, NULL, NULL, "hop");
	case MODULE_CMD_FINI:
		for (;;)
			kpause("fini", false, hz, NULL);
	default:
		return ENOTTY;
	}
}
