/* One of several modules that require one another: CHAIN_NAME requires those of
 * CHAIN_REQUIRED, names with commas between them and without quotes. */
#include <sys/param.h>
#include <sys/module.h>
#include <sys/errno.h>

#ifdef CHAIN_REQUIRED
#define QUOTE(...)	#__VA_ARGS__
#define QUOTED(...)	QUOTE(__VA_ARGS__)
#define REQUIRED	QUOTED(CHAIN_REQUIRED)
#else
#define REQUIRED	NULL
#endif

#define DECLARE(name) MODULE(MODULE_CLASS_MISC, name, REQUIRED)
DECLARE(CHAIN_NAME);
#define PASTE(a, b) a##b
#define JOIN(a, b) PASTE(a, b)

static int
JOIN(CHAIN_NAME, _modcmd)(modcmd_t cmd, void *arg)
{
	return cmd == MODULE_CMD_INIT || cmd == MODULE_CMD_FINI ? 0 : ENOTTY;
}
