/* A layer made with __refine_alias: it counts, and defines no bus_space name. */
#include "klink_alias.h"
#include "bus_space.h"

unsigned long bus_space_count_reads;

static __attribute__((used)) uint32_t
count_bus_space_read_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o)
{
	bus_space_count_reads++;
	return super_bus_space_read_4(t, h, o);
}

__refine_alias(bus_space_read_4, count_bus_space_read_4)
