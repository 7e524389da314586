/* A module whose constructors, modcmd and destructors say when they run: 1 to 4, 10 and
 * 20, and the same as the constructors with 30 added. */
#include <sys/param.h>
#include <sys/module.h>
#include <sys/errno.h>

void order_note(int);

#define BOTH(how, n)							\
	__attribute__((constructor how)) static void up##n(void) { order_note(n); }	\
	__attribute__((destructor how)) static void down##n(void) { order_note(30 + n); }

BOTH(, 3)
BOTH((200), 2)
BOTH(, 4)
BOTH((101), 1)

MODULE(MODULE_CLASS_MISC, order, NULL);

static int
order_modcmd(modcmd_t cmd, void *arg)
{
	(void)arg;
	switch (cmd) {
	case MODULE_CMD_INIT:
		order_note(10);
		return 0;
	case MODULE_CMD_FINI:
		order_note(20);
		return 0;
	default:
		return ENOTTY;
	}
}
