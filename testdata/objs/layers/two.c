/* Layer 2, with the new kind of alias. It has no modcmd. */
#include <sys/cdefs.h>
#include "layers.h"

static volatile u32 digit = 2;

static __used uint32_t
two_read_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o)
{
	return super_bus_space_read_4(t, h, o) * 10 + digit;
}

static __used void
two_write_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o, uint32_t v)
{
	super_bus_space_write_4(t, h, o, v * 10 + digit);
}

__refine_alias(bus_space_read_4, two_read_4)
__refine_alias(bus_space_write_4, two_write_4)

static __attribute__((__destructor__)) void
two_end(void)
{
	digit = LAYERS_GONE;
}
