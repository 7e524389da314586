/* One of two modules that call each other, each the other's only provider. FINI returns
 * CIRCLE_ENDS. */
#include <sys/param.h>
#include <sys/module.h>
#include <sys/systm.h>
#include <sys/errno.h>

#define PASTE(a, b) a##b
#define JOIN(a, b) PASTE(a, b)
#define DECLARE(name) MODULE(MODULE_CLASS_MISC, name, NULL)
DECLARE(CIRCLE_NAME);

int JOIN(CIRCLE_NEXT, _steps)(int);
int JOIN(CIRCLE_NAME, _steps)(int);

/* n, by way of n calls to and fro. */
int
JOIN(CIRCLE_NAME, _steps)(int n)
{
	return n > 0 ? JOIN(CIRCLE_NEXT, _steps)(n - 1) + 1 : 0;
}

static int
JOIN(CIRCLE_NAME, _modcmd)(modcmd_t cmd, void *arg)
{
	(void)arg;
	switch (cmd) {
	case MODULE_CMD_INIT:
	case MODULE_CMD_CATCH:
		return 0;
	case MODULE_CMD_UNCATCH:
		printf("%s: UNCATCH\n", __XSTRING(CIRCLE_NAME));
		return 0;
	case MODULE_CMD_FINI:
		printf("%s: FINI\n", __XSTRING(CIRCLE_NAME));
		return CIRCLE_ENDS;
	default:
		return ENOTTY;
	}
}
