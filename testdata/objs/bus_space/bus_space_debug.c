/* Records every access in a ring buffer, then lets the layer below do it. */
#include "klink_alias.h"
#include "bus_space.h"

#define NRECORDS	256

enum { RECORD_READ = 1, RECORD_WRITE = 2 };

struct record {
	uint32_t	 type, width, value, pad;
	unsigned long	 address;
};

struct {
	unsigned long	 head;		/* records ever made */
	struct record	 ring[NRECORDS];
} bus_space_debug_ring;

static void
record(uint32_t type, bus_space_handle_t h, bus_size_t o, uint32_t v)
{
	struct record *r;

	r = &bus_space_debug_ring.ring[bus_space_debug_ring.head++ % NRECORDS];
	r->type = type;
	r->width = 4;
	r->value = v;
	r->address = (unsigned long)h + o;
}

uint32_t
debug_bus_space_read_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o)
{
	uint32_t v = super_bus_space_read_4(t, h, o);

	record(RECORD_READ, h, o, v);
	return v;
}

void
debug_bus_space_write_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o, uint32_t v)
{
	record(RECORD_WRITE, h, o, v);
	super_bus_space_write_4(t, h, o, v);
}

__weak_alias(bus_space_read_4, debug_bus_space_read_4)
__weak_alias(bus_space_write_4, debug_bus_space_write_4)
