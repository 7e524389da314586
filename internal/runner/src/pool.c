/*
 * pool.c: a thread of the pool. It waits for a call, makes it as often as it was
 * asked to, and says what came back. The thread's block and table of values are all
 * that it writes.
 *
 * It may be interrupted for good at any instruction while enter_sp is set: fault.c
 * then lets klink_pool begin anew on an empty stack. So what must outlive that is
 * stored where it belongs at once, and nothing is believed that lay on the stack.
 */
#include "runner.h"

/* include/uapi/linux/signal.h: struct sigaltstack */
struct signal_stack { u64 sp; u32 flags, pad; u64 size; };

/* klink_thread_start is where klink_clone leaves a new thread. */
_Noreturn void klink_thread_start(u32 i)
{
	const struct klink_config *c = &fixed.config;
	struct signal_stack alt = { c->stacks + i * c->stack_stride + c->stack_skip, 0, 0, c->alt_size };
	i64 err = SYS(SYS_sigaltstack, &alt, 0);

	if (err < 0)
		store(&fixed.thread_error, (i32)err);
	__atomic_add_fetch(&fixed.up, 1, __ATOMIC_SEQ_CST);
	futex_wake(&fixed.up);
	klink_pool(i, FRESH);
}

/*
 * A tally is the table of values under construction, with an index to find a value in
 * it: places by hash, 1 + where the value stands, 0 for none; twice as many as there
 * are values, so that a search ends soon. The last hit is looked at first: equal results
 * cost one comparison. The index lies on the stack, where module code can spoil it, so
 * it is bounded like all else: then counts are wrong, and nothing else.
 */
#define PLACES		512
#define PLACE(value)	((u64)(value) * 0x9e3779b97f4a7c15 >> 55)	/* Knuth, TAOCP 3, 6.4: multiplicative hashing */

struct tally {
	struct klink_values *values;
	u64 used;
	u64 last;
	u8 index[PLACES];
};

/* count adds value to the table; 0 if there is no room for it. */
static int count(struct tally *y, u64 value)
{
	struct klink_value *v = y->values->v;
	u64 place = PLACE(value), used = y->used;

	if (y->last < used && v[y->last].value == value) {
		v[y->last].count++;
		return 1;
	}
	for (int n = 0; n < PLACES && y->index[place]; n++) {
		u64 k = y->index[place] - 1;

		if (k < used && v[k].value == value) {
			v[k].count++;
			y->last = k;
			return 1;
		}
		place = (place + 1) % PLACES;
	}
	if (used >= KLINK_VALUES)
		return 0;
	v[used].value = value;
	v[used].count = 1;
	y->index[place] = (u8)(used + 1);
	y->last = used;
	y->used = used + 1;
	store(&y->values->used, y->used);
	return 1;
}

/* run makes the posted call. Where fn leads is not checked: what is no code faults. */
static void run(struct klink_thread *t)
{
	struct tally y;
	u64 fn = t->fn, times = t->times, before = 0;
	u64 arg[8];

	y.values = (void *)((u64)t + KLINK_VALUES_OFF);
	y.used = y.last = 0;
	for (int k = 0; k < PLACES; k++) {
		y.index[k] = 0;
		__asm__ volatile("");	/* or the compiler calls a memset that is not there */
	}
	for (int k = 0; k < 8; k++)
		arg[k] = t->arg[k];
	for (u64 n = 0; n < times || n == 0; n++) {
		u64 value = klink_enter(fn, arg, &t->enter_sp);

		if (!count(&y, value))
			t->unlisted++;
		if (value < before)
			t->falls++;
		before = value;
		t->result = value;
		store(&t->calls, n + 1);
	}
}

static void begin(struct klink_thread *t)
{
	struct klink_values *values = (void *)((u64)t + KLINK_VALUES_OFF);

	store(&values->used, 0);
	t->result = t->calls = t->falls = t->unlisted = t->traps = 0;
	t->critical = 0;
}

static void finish(struct klink_thread *t, u32 how)
{
	store(&t->enter_sp, 0);
	/* A sleeper that was given up is not asleep any more: its word is even again
	 * before anybody may take the fields behind it for true. */
	u32 sleep = load(&t->sleep);
	if (sleep & 1)
		store(&t->sleep, sleep + 1);
	t->status = how;
	store(&t->done, load(&t->post));
	tell_host();
}

/*
 * end is finish, and leaves the stack to the next call as clean as it was. Frames have
 * places that nobody writes: what is left there of this call, say the address of a
 * function that it came by, would be taken for the next one's.
 */
static inline __attribute__((always_inline)) void end(struct klink_thread *t, u32 how)
{
	finish(t, how);
	klink_wipe(t->stack_lo);
}

_Noreturn void klink_pool(u32 i, u32 how)
{
	struct klink_thread *t = thread_block(i);

	if (how != FRESH)
		end(t, how);
	for (;;) {
		u32 post = load(&t->post);

		if (post == load(&t->done)) {
			futex_wait(&t->post, post);
			continue;
		}
		begin(t);
		run(t);
		end(t, KLINK_RETURNED);
	}
}
