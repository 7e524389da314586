#ifndef BUS_SPACE_H
#define BUS_SPACE_H

typedef unsigned int		uint32_t;
typedef unsigned long		bus_size_t;
typedef unsigned long		bus_space_tag_t;
typedef volatile uint32_t	*bus_space_handle_t;

uint32_t bus_space_read_4(bus_space_tag_t, bus_space_handle_t, bus_size_t);
void bus_space_write_4(bus_space_tag_t, bus_space_handle_t, bus_size_t, uint32_t);

/* What a layer calls the implementation below its own by. */
uint32_t super_bus_space_read_4(bus_space_tag_t, bus_space_handle_t, bus_size_t);
void super_bus_space_write_4(bus_space_tag_t, bus_space_handle_t, bus_size_t, uint32_t);

#endif
