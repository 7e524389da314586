/* The kernel: the default bus_space(9) and users that read and write in loops. */
#include "klink_alias.h"
#include "bus_space.h"

volatile uint32_t bus_registers[64] = { 1, 2, 3, 4 };

uint32_t
_bus_space_read_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o)
{
	(void)t;
	return h[o / 4];
}

void
_bus_space_write_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o, uint32_t v)
{
	(void)t;
	h[o / 4] = v;
}

__weak_alias(bus_space_read_4, _bus_space_read_4)
__weak_alias(bus_space_write_4, _bus_space_write_4)

/* The sum of the first n registers. */
unsigned long
bus_sum(unsigned n)
{
	unsigned long sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += bus_space_read_4(0, bus_registers, 4 * (i % 64));
	return sum;
}

/* Write v to the first n registers and read the last one back. */
uint32_t
bus_fill(unsigned n, uint32_t v)
{
	for (unsigned i = 0; i < n; i++)
		bus_space_write_4(0, bus_registers, 4 * (i % 64), v);
	return n == 0 ? 0 : bus_space_read_4(0, bus_registers, 4 * ((n - 1) % 64));
}
