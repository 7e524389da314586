/* A module whose FINI leaves its kernel thread alone, which sleeps in the kernel and
 * will come back. */
#include <sys/param.h>
#include <sys/module.h>
#include <sys/systm.h>
#include <sys/kthread.h>
#include <sys/errno.h>

void stay_init(void);
void stay_here(void);

MODULE(MODULE_CLASS_MISC, stay, NULL);

static void
stay_body(void *arg)
{
	(void)arg;
	printf("stay: here\n");
	stay_here();
	printf("stay: gone\n");
	kthread_exit(0);
}

static int
stay_modcmd(modcmd_t cmd, void *arg)
{
	(void)arg;
	switch (cmd) {
	case MODULE_CMD_INIT:
		stay_init();
		return kthread_create(PRI_NONE, KTHREAD_MPSAFE, NULL, stay_body, NULL, NULL, "stay");
	case MODULE_CMD_FINI:
		return 0;
	default:
		return ENOTTY;
	}
}

/* A call that sleeps in the kernel, too. */
int
stay_call(int x)
{
	stay_here();
	return x + 1;
}
