/* The ring of bus_space_trace, as it lies in shared memory: little-endian, 16 KiB. */
#ifndef RING_H
#define RING_H

#define NRECORDS	510
#define RECORD_BUSY	0xffffffffffffffffu	/* seq of a record that is being written */

enum { RECORD_READ = 1, RECORD_WRITE = 2 };

struct record {
	uint64_t seq;		/* 1 + its number, 0 before the first; stored last */
	uint64_t address;
	uint32_t type, width, value, pad;
};

struct ring {
	uint32_t record_size, nrecords;
	uint64_t head;		/* records ever begun */
	uint64_t dropped;	/* of them, never written */
	uint64_t pad[5];
	struct record record[NRECORDS];
};

_Static_assert(sizeof(struct record) == 32, "record");
_Static_assert(sizeof(struct ring) == 16384, "ring");

#endif
