/* Layer 3: records in this file, the functions in another of the module (three_impl.c). */
#include <sys/param.h>
#include <sys/module.h>
#include "layers.h"

extern volatile u32 three_digit;

__refine_alias(bus_space_read_4, three_read_4)
__refine_alias(bus_space_write_4, three_write_4)

MODULE(MODULE_CLASS_MISC, three, NULL);

static int
three_modcmd(modcmd_t cmd, void *arg)
{
	(void)arg;
	switch (cmd) {
	case MODULE_CMD_INIT:
	case MODULE_CMD_CATCH:
	case MODULE_CMD_UNCATCH:
		return 0;
	case MODULE_CMD_FINI:
		three_digit = LAYERS_GONE;
		return 0;
	default:
		return ENOTTY;
	}
}
