/* A MODULE record as each compiler makes it, among other strings and addresses. */
#include <sys/param.h>
#include <sys/module.h>
#include <sys/errno.h>

MODULE(MODULE_CLASS_DRIVER, record, "first,second");

const char *const record_strings[] = { "record", "first,second", "second" };

int
record_before(void)
{
	return 1;
}

static int
record_modcmd(modcmd_t cmd, void *arg)
{
	return cmd == MODULE_CMD_INIT || cmd == MODULE_CMD_FINI ? 0 : ENOTTY;
}
