/*
 * ringread: print what the module bus_space_trace records, as it comes.
 *
 *	cc -o ringread examples/ringread.c
 *	klink map bus_space_trace:ring -- ./ringread [RECORDS [SECONDS]]
 *
 * It ends after RECORDS (0: never), or when none has come for SECONDS (10). It begins with
 * the oldest record that the ring still has. A line is a record: its number, what was
 * done, the width in bytes, the address, the value. Records that were gone before they
 * were read are counted.
 *
 * klink map gives the memory: KLINK_MAP_FD is a descriptor that can only be read,
 * KLINK_MAP_OFFSET and KLINK_MAP_SIZE say where the ring lies in it. The module's threads
 * write meanwhile, and know nothing of who reads.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "../testdata/objs/bus_space/ring.h"

#define PAUSE_NS	1000000		/* between two looks */

static uint64_t
environment(const char *name)
{
	const char *s = getenv(name);

	if (s == NULL) {
		fprintf(stderr, "ringread: no %s; run it by klink map SYMBOL -- ringread\n", name);
		exit(2);
	}
	return strtoull(s, NULL, 0);
}

static const struct ring *
map_ring(void)
{
	uint64_t offset = environment("KLINK_MAP_OFFSET"), size = environment("KLINK_MAP_SIZE");
	char *p = mmap(NULL, offset + size, PROT_READ, MAP_SHARED, (int)environment("KLINK_MAP_FD"), 0);
	const struct ring *ring = (const void *)(p + offset);

	if (p == MAP_FAILED) {
		perror("ringread: mmap");
		exit(1);
	}
	if (size < sizeof *ring || ring->record_size != sizeof ring->record[0] || ring->nrecords != NRECORDS) {
		fprintf(stderr, "ringread: this is no ring of bus_space_trace\n");
		exit(1);
	}
	return ring;
}

/* Record n, if it is whole: its seq is the same before and after it was copied. */
static int
take(const struct ring *ring, uint64_t n, struct record *to)
{
	const struct record *from = &ring->record[n % NRECORDS];

	if (__atomic_load_n(&from->seq, __ATOMIC_ACQUIRE) != n + 1)
		return 0;
	to->address = __atomic_load_n(&from->address, __ATOMIC_RELAXED);
	to->type = __atomic_load_n(&from->type, __ATOMIC_RELAXED);
	to->width = __atomic_load_n(&from->width, __ATOMIC_RELAXED);
	to->value = __atomic_load_n(&from->value, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&from->seq, __ATOMIC_RELAXED) == n + 1;
}

static void
print(uint64_t n, const struct record *r)
{
	printf("%" PRIu64 " %s %u %#" PRIx64 " %u\n", n, r->type == RECORD_READ ? "read" : "write", r->width, r->address, r->value);
}

int
main(int argc, char **argv)
{
	uint64_t most = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	double patience = argc > 2 ? strtod(argv[2], NULL) : 10;
	const struct timespec pause = { 0, PAUSE_NS };
	const struct ring *ring = map_ring();
	uint64_t next = 0, printed = 0, lost = 0;
	double waited = 0;

	while (waited < patience && (most == 0 || printed < most)) {
		uint64_t head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
		struct record r;

		if (head > next + NRECORDS) {
			lost += head - NRECORDS - next;
			next = head - NRECORDS;
		}
		if (next < head && take(ring, next, &r)) {
			print(next++, &r);
			printed++;
			waited = 0;
			continue;
		}
		/* Nothing new; or somebody is just writing it; or it will never come: its
		 * writer was too late, or his call was given up. */
		fflush(stdout);
		nanosleep(&pause, NULL);
		waited += PAUSE_NS / 1e9;
		if (next < head && next < __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) && !take(ring, next, &r)) {
			next++;
			lost++;
		}
	}
	if (lost > 0)
		printf("(%" PRIu64 " records lost)\n", lost);
	return 0;
}
