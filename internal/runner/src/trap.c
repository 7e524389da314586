/*
 * trap.c: a thread met a trap. If it is a switch's, the thread goes where the switch
 * says that the branch under the trap leads, as if that branch had been there; if it
 * is nobody's, that is a fault.
 *
 * What decides lies in the tables, which the host alone writes. This writes the
 * interrupted context, a return address on the thread's own stack, and a count.
 */
#include "runner.h"

/* find returns the row of site among count rows sorted by address, 0 if there is none. */
static const struct klink_row *find(const struct klink_row *row, u64 count, u64 site)
{
	while (count > 0) {
		u64 half = count / 2;

		if (__atomic_load_n(&row[half].addr, __ATOMIC_RELAXED) < site) {
			row += half + 1;
			count -= half + 1;
		} else {
			count = half;
		}
	}
	return row;
}

/* What the table says of a site. */
struct answer {
	u64 gen;	/* of the switch that was asked */
	int found;
	u32 form;
	u64 target;
};

/*
 * ask reads the table, which the host may be about to change: it takes gen away,
 * writes the rows of the next switch, and sets gen to a number never used before. So
 * what was read between two equal values of gen belongs together.
 *
 * turn becomes gen at the one instant of the switch. It is read once, here: a thread
 * that finds it turned will find it turned ever after.
 */
static int ask(u64 site, struct answer *a)
{
	const struct klink_table *t = (const void *)fixed.config.table;
	u64 gen = load(&t->gen);
	const struct klink_row *rows = (const void *)load(&t->rows);
	u64 count = load(&t->count);

	*a = (struct answer){ .gen = gen };
	if (gen != 0 && count <= fixed.config.tables_size && in_tables((u64)rows, count * sizeof(*rows))) {
		const struct klink_row *row = find(rows, count, site);

		if (row != rows + count && load(&row->addr) == site) {
			a->found = 1;
			a->form = load(&row->form);
			a->target = load(&t->turn) == gen ? load(&row->new_) : load(&row->old);
		}
	}
	return load(&t->gen) == gen;
}

/* decide does to c what the switch says. */
static enum outcome decide(struct context *c, u32 i, u64 site)
{
	struct answer a;

	for (;;) {
		if (!ask(site, &a))
			continue;	/* the table changed meanwhile */
		if (a.found)
			return go(c, i, site, a.form, a.target);
		/* Its switch may be over: this thread was preempted between the trap
		 * and here. Then the site is whole again, and executed anew. */
		if (is_site(site)) {
			set_pc(c, site);
			return WENT;
		}
		/* A trap, and no row: nobody's, unless a switch has begun since. */
		if (load(&((const struct klink_table *)fixed.config.table)->gen) == a.gen)
			return NOBODY_THERE;
	}
}

/* What a push that hits the guard below a stack gets: include/uapi/asm-generic/siginfo.h */
#define SEGV_MAPERR	1

void on_trap(i32 signo, struct siginfo *info, struct context *c)
{
	sane_flags();
	(void)signo;

	u32 i = thread_here();
	u64 site = trap_site(c, info->code);

	if (i == NOBODY || site == 0) {
		fault(i, info, c);
		return;
	}
	switch (decide(c, i, site)) {
	case WENT:
		thread_block(i)->traps++;
		return;
	case NOBODY_THERE:
		set_pc(c, site);	/* the trap is what faulted, not what is behind it */
		fault(i, info, c);
		return;
	case NO_STACK: {
		struct siginfo guard = { SIGSEGV, 0, SEGV_MAPERR, 0, context_sp(c) - 8, 0, 0 };

		set_pc(c, site);
		fault(i, &guard, c);
	}
	}
}
