/*
 * Records every access in a ring that other programs can map, then lets the layer below
 * do it: klink map bus_space_trace:ring -- ringread (examples/ringread.c).
 *
 * Threads write at the same time and wait for nobody. Each takes a number; record n goes
 * to slot n % NRECORDS, and its seq, which is n + 1, is stored last, so that a reader who
 * finds the same seq before and after has read a whole record. A slot whose writer is not
 * done when the ring comes round again is left to him: the later record is dropped.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/atomic.h>
#include <klink/klink.h>
#include "bus_space.h"
#include "ring.h"

MODULE(MODULE_CLASS_MISC, bus_space_trace, NULL);

static struct ring *ring;

static void
record(uint32_t type, bus_space_handle_t h, bus_size_t o, uint32_t v)
{
	uint64_t n, seq;
	struct record *r;

	n = atomic_inc_64_nv(&ring->head) - 1;
	r = &ring->record[n % NRECORDS];
	seq = atomic_load_relaxed(&r->seq);
	if (seq == RECORD_BUSY || seq > n || atomic_cas_64(&r->seq, seq, RECORD_BUSY) != seq) {
		atomic_inc_64(&ring->dropped);
		return;
	}
	membar_producer();	/* busy before it changes */
	r->address = (uint64_t)h + o;
	r->type = type;
	r->width = 4;
	r->value = v;
	atomic_store_release(&r->seq, n + 1);
}

uint32_t
trace_bus_space_read_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o)
{
	uint32_t v = super_bus_space_read_4(t, h, o);

	record(RECORD_READ, h, o, v);
	return v;
}

void
trace_bus_space_write_4(bus_space_tag_t t, bus_space_handle_t h, bus_size_t o, uint32_t v)
{
	record(RECORD_WRITE, h, o, v);
	super_bus_space_write_4(t, h, o, v);
}

__weak_alias(bus_space_read_4, trace_bus_space_read_4)
__weak_alias(bus_space_write_4, trace_bus_space_write_4)

static int
bus_space_trace_modcmd(modcmd_t cmd, void *arg __unused)
{
	switch (cmd) {
	case MODULE_CMD_INIT:
		ring = klink_share("ring", sizeof *ring);
		if (ring == NULL)
			return ENOMEM;
		ring->record_size = sizeof(struct record);
		ring->nrecords = NRECORDS;
		return 0;
	case MODULE_CMD_FINI:
		/* Threads may still be on their way back from the layer below, and will
		 * record: klink takes the ring back when the last has left. */
		return 0;
	default:
		return ENOTTY;
	}
}
