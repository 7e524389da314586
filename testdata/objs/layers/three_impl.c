/* The functions of layer 3. */
#include "layers.h"

volatile u32 three_digit = 3;

uint32_t
three_read_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o)
{
	return super_bus_space_read_4(t, h, o) * 10 + three_digit;
}

void
three_write_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o, uint32_t v)
{
	super_bus_space_write_4(t, h, o, v * 10 + three_digit);
}
