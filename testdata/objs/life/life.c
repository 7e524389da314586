/* A module that says what is done with it, and does one thing wrong if LIFE_ says so:
 * the modcmd command of that number fails in the way of that number. */
#include <sys/param.h>
#include <sys/module.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/errno.h>
#include <sys/proc.h>

#ifndef LIFE_NAME
#define LIFE_NAME life
#endif
/* LIFE_REQUIRED is the name of a module, without quotes. */
#ifdef LIFE_REQUIRED
#define REQUIRED __XSTRING(LIFE_REQUIRED)
#else
#define REQUIRED NULL
#endif

/* MODULE pastes its argument, so the name goes through a macro first. */
#define DECLARE(name) MODULE(MODULE_CLASS_MISC, name, REQUIRED)
DECLARE(LIFE_NAME);
#define PASTE(a, b) a##b
#define JOIN(a, b) PASTE(a, b)

#ifdef LIFE_AT
static volatile int *volatile nowhere;

static int
fail(void)
{
	switch (LIFE_HOW) {
	case 1:
		return ENOMEM;
	case 2:
		*nowhere = 1;
		return 0;
	case 3:
		for (volatile long i = 0;; i++)
			continue;
	case 4:
		for (;;)
			kpause("forever", false, 1000 * hz, NULL);
	}
	return -1;
}
#endif

static const char *const names[] = { "INIT", "FINI", "STAT", "AUTOUNLOAD", "CATCH", "UNCATCH" };

static int
JOIN(LIFE_NAME, _modcmd)(modcmd_t cmd, void *arg)
{
	(void)arg;
	printf("%s: %s\n", __XSTRING(LIFE_NAME), names[cmd]);
#ifdef LIFE_AT
	if (cmd == LIFE_AT)
		return fail();
#endif
	switch (cmd) {
	case MODULE_CMD_INIT:
	case MODULE_CMD_FINI:
		return 0;
#ifdef LIFE_CATCHES
	case MODULE_CMD_CATCH:
	case MODULE_CMD_UNCATCH:
		return 0;
#endif
	default:
		return ENOTTY;
	}
}
