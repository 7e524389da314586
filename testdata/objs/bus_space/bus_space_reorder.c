/* Delays each write until the next access: reads may pass one write. */
#include "klink_alias.h"
#include "bus_space.h"

static struct {
	bus_space_tag_t		 t;
	bus_space_handle_t	 h;
	bus_size_t		 o;
	uint32_t		 v;
	int			 full;
} delayed;

/* Do the write that waits, if one does. */
void
bus_space_reorder_flush(void)
{
	if (!delayed.full)
		return;
	delayed.full = 0;
	super_bus_space_write_4(delayed.t, delayed.h, delayed.o, delayed.v);
}

uint32_t
reorder_bus_space_read_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o)
{
	uint32_t v;

	/* A read of what waits must see it. */
	if (delayed.full && delayed.h == h && delayed.o == o)
		bus_space_reorder_flush();
	v = super_bus_space_read_4(t, h, o);
	bus_space_reorder_flush();
	return v;
}

void
reorder_bus_space_write_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o, uint32_t v)
{
	bus_space_reorder_flush();
	delayed.t = t;
	delayed.h = h;
	delayed.o = o;
	delayed.v = v;
	delayed.full = 1;
}

__weak_alias(bus_space_read_4, reorder_bus_space_read_4)
__weak_alias(bus_space_write_4, reorder_bus_space_write_4)
