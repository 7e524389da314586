/* The kernel of the second story: the default bus_space(9), and threads that look at
 * what each access passed. */
#include <sys/cdefs.h>
#include "layers.h"

struct layers layers __cacheline_aligned;

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

/* Each thread has a device of its own, whose register is 0. */
u32
layers_read(void)
{
	uint32_t device = 0;

	return bus_space_read_4(0, &device, 0);
}

static u32
reversed(u32 v)
{
	u32 r = 0;

	for (; v != 0; v /= 10)
		r = r * 10 + v % 10;
	return r;
}

u32
layers_write(void)
{
	uint32_t device = 0;

	bus_space_write_4(0, &device, 0, 0);
	return reversed(device);
}

/* below returns the layer below this one, 0 for the default; of 0 the topmost. A layer
 * that is not there has 10 below it, which is none. */
static u32
below(u32 stack, u32 layer)
{
	if (layer == 0)
		return stack % 10;
	for (; stack != 0; stack /= 10)
		if (stack % 10 == layer)
			return stack / 10 % 10;
	return 10;
}

/* check follows a call through its layers, newest first, each in the first epoch in which
 * the one above led to it. */
static __attribute__((noinline)) void
check(struct layers_thread *me, u32 value, u64 lo, u64 hi)
{
	u64 e = lo;
	u32 layer = 0;

	for (u32 rest = value;; rest /= 10) {
		while (e <= hi && below(__atomic_load_n(&layers.log[e % LAYERS_LOG], __ATOMIC_RELAXED), layer) != rest % 10)
			e++;
		if (e > hi)
			break;
		layer = rest % 10;
		if (layer == 0) {
			me->seen = e;
			return;
		}
	}
	if (me->wrong == 0) {
		me->value = value;
		me->lo = lo;
		me->hi = hi;
	}
	__atomic_store_n(&me->wrong, me->wrong + 1, __ATOMIC_RELEASE);
}

/* access makes one call, between a look at settled and one at pending. */
static inline __attribute__((always_inline)) void
access(struct layers_thread *me, u32 (*f)(void))
{
	u64 lo = __atomic_load_n(&layers.settled, __ATOMIC_ACQUIRE), hi;
	u32 value = f();

	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	hi = __atomic_load_n(&layers.pending, __ATOMIC_ACQUIRE);
	check(me, value, lo > me->seen ? lo : me->seen, hi);
	__atomic_store_n(&me->calls, me->calls + 1, __ATOMIC_RELEASE);
}

/* What a driver without access to this memory calls: before a command with the layers that
 * there will be, oldest first, and after it. */
u64
layers_next(u32 stack)
{
	u64 epoch = layers.pending + 1;

	layers.log[epoch % LAYERS_LOG] = stack;
	__atomic_store_n(&layers.pending, epoch, __ATOMIC_RELEASE);
	return epoch;
}

u64
layers_settle(void)
{
	__atomic_store_n(&layers.settled, layers.pending, __ATOMIC_RELEASE);
	return layers.settled;
}

u64
layers_stop(void)
{
	__atomic_store_n(&layers.stop, 1, __ATOMIC_RELAXED);
	return 0;
}

/* Read and write until layers.stop, as the thread of that slot, which no other may have.
 * Returns how many accesses of this slot went wrong. */
u64
layers_run(u64 slot)
{
	struct layers_thread *me = &layers.thread[slot % LAYERS_THREADS];

	while (!__atomic_load_n(&layers.stop, __ATOMIC_RELAXED)) {
		access(me, layers_read);
		access(me, layers_write);
	}
	return me->wrong;
}
