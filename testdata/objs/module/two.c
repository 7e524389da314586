/* Two records in one object: refused. */
#include <sys/param.h>
#include <sys/module.h>

MODULE(MODULE_CLASS_MISC, one, NULL);
MODULE(MODULE_CLASS_MISC, two, NULL);

static int
one_modcmd(modcmd_t cmd, void *arg)
{
	return 0;
}

static int
two_modcmd(modcmd_t cmd, void *arg)
{
	return 0;
}
