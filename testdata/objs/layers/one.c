/* Layer 1, the mail's own way: weak aliases in a module that names super_S. */
#include <sys/param.h>
#include <sys/module.h>
#include "layers.h"

static volatile u32 digit = 1;

uint32_t
one_read_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o)
{
	return super_bus_space_read_4(t, h, o) * 10 + digit;
}

void
one_write_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o, uint32_t v)
{
	super_bus_space_write_4(t, h, o, v * 10 + digit);
}

__weak_alias(bus_space_read_4, one_read_4)
__weak_alias(bus_space_write_4, one_write_4)

MODULE(MODULE_CLASS_MISC, one, NULL);

static int
one_modcmd(modcmd_t cmd, void *arg)
{
	(void)arg;
	switch (cmd) {
	case MODULE_CMD_INIT:
		return 0;
	case MODULE_CMD_FINI:
		digit = LAYERS_GONE;
		return 0;
	default:
		return ENOTTY;
	}
}
