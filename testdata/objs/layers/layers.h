/*
 * layers.h: what the layers over bus_space, the threads that look at them and the driver
 * share.
 *
 * A layer has a digit, which it appends: on reading to what super_ returns, on writing to
 * what it hands to super_. So a read tells the layers that it passed in the order in
 * which they were loaded (1, 2, 3: 123), and a write the other way round (321).
 *
 * The driver (internal/testing/stories) numbers the moments between commands: epochs,
 * counted from 0. Before a command it writes the stack that there will be into the log,
 * and raises pending to that epoch; when the command is done, it raises settled. What a
 * call may pass follows: the topmost layer of an epoch between the two, then the one
 * below that layer in the same epoch or a later one, and so on, down to the default.
 */
#ifndef LAYERS_H
#define LAYERS_H

typedef unsigned int		u32;
typedef unsigned long		u64;
typedef u32			uint32_t;
typedef u64			bus_size_t, bus_space_tag_t;
typedef volatile uint32_t	*bus_space_handle_t;

uint32_t bus_space_read_4(bus_space_tag_t, bus_space_handle_t, bus_size_t);
void bus_space_write_4(bus_space_tag_t, bus_space_handle_t, bus_size_t, uint32_t);
uint32_t super_bus_space_read_4(bus_space_tag_t, bus_space_handle_t, bus_size_t);
void super_bus_space_write_4(bus_space_tag_t, bus_space_handle_t, bus_size_t, uint32_t);

#define LAYERS_THREADS	16
#define LAYERS_LOG	4096	/* epochs that the log holds: the driver has no more */
#define LAYERS_GONE	9	/* the digit of a layer behind its FINI */

struct layers_thread {
	u64	calls;
	u64	wrong;
	u64	seen;		/* no later call may come from an epoch before this one */
	u64	value, lo, hi;	/* of the first call that went wrong: its layers, oldest first */
	u64	pad[2];
};

struct layers {
	u64	settled, pending;
	u32	stop, pad0;
	u64	pad1[5];
	struct layers_thread thread[LAYERS_THREADS];
	u32	log[LAYERS_LOG];	/* the digits of the layers, oldest first */
};

#define LAYERS_AT(field, off) \
	_Static_assert(__builtin_offsetof(struct layers, field) == (off), #field)
LAYERS_AT(pending, 0x8);
LAYERS_AT(stop, 0x10);
LAYERS_AT(thread, 0x40);
LAYERS_AT(thread[1], 0x80);
LAYERS_AT(log, 0x440);

extern struct layers layers;

#endif
