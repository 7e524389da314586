/*
 * hammer.h: what the hammer's threads, its modules and the driver share.
 *
 * The driver (internal/testing/hammer) numbers the moments between commands: epochs,
 * counted from 0. Before a command it writes into the log which generation of each
 * function will be current afterwards, and raises pending to that epoch; when the
 * command is done, it raises settled. A thread reads settled, calls, reads pending:
 * what came back must be the generation of one of the epochs between the two, and of
 * none before the one that this thread saw last.
 */
#ifndef HAMMER_H
#define HAMMER_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#define HAMMER_SYMBOLS	8
#define HAMMER_THREADS	16
#define HAMMER_RING	16384	/* epochs that the log holds, a power of two */
#define HAMMER_MODULES	16
#define HAMMER_RECORDS	8
#define HAMMER_PHASES	4
#define HAMMER_DEAD	0xdead000000000000ul	/* what a function returns after FINI */
#define HAMMER_UNTAKEN	(~0ul)			/* what a site's function returns if the branch was not taken */

/* hammer_0 … hammer_7: return their generation, added to token. */
typedef u64 hammer_fn(u64 flags, u64 token);

hammer_fn hammer_0, hammer_1, hammer_2, hammer_3, hammer_4, hammer_5, hammer_6, hammer_7;

/* A function with one site in it (sites.*.s). */
struct hammer_site {
	hammer_fn	*fn;
	u8		 symbol;	/* the site leads to hammer_<symbol> */
	u8		 form;		/* HAMMER_… below */
	u8		 cond;		/* when the branch is taken; HAMMER_ALWAYS, or see taken() in run.c */
	u8		 pre;		/* bytes from fn to the site */
	u32		 pad;
};

/* Forms, as klink numbers them; those from 32 on are the hammer's own. */
#define HAMMER_CALL32		1
#define HAMMER_JMP32		2
#define HAMMER_ADDRCALL32	3
#define HAMMER_JMPNOP32		4
#define HAMMER_BL		5
#define HAMMER_B		6
#define HAMMER_JCC32		8	/* any condition */
#define HAMMER_SHORT		32	/* aarch64: a short branch to a veneer, which is the site */
#define HAMMER_ENTRY		33	/* fn is the address of hammer_<symbol>: its entry is the site */
#define HAMMER_FAR		34	/* a jump in run.c */
#define HAMMER_ALWAYS		16

/* A call that returned what was never right. */
struct hammer_record {
	u64	value;		/* token taken off */
	u64	lo, hi;		/* the epochs that it should have come from */
	u64	site;		/* index in hammer_sites; from hammer_nsites on, in run.c's own */
};

struct hammer_thread {
	u64	calls;
	u64	wrong;
	u64	unchecked;	/* the log had moved on by its whole length */
	u64	seen;		/* no later call may come from an epoch before this one */
	u64	now;		/* ticks at the latest call */
	u64	gap[HAMMER_PHASES];	/* longest time between two calls, ticks */
	u64	pad[7];
	struct hammer_record record[HAMMER_RECORDS];	/* the first wrong ones */
};

struct hammer_epoch {
	u32	generation[HAMMER_SYMBOLS];
};

struct hammer {
	/* 0x000: written by the driver between calls, read by all */
	u64	settled, pending;
	u32	stop;		/* threads return after the pass that they are at */
	u32	phase;		/* which gap[] counts now */
	u64	pad[5];
	/* 0x040: the generation that module i gives its functions when it is loaded next */
	u64	next[HAMMER_MODULES];
	u64	pad2[8];
	/* 0x100 */
	struct hammer_thread thread[HAMMER_THREADS];
	struct hammer_epoch log[HAMMER_RING];
};

#define HAMMER_AT(field, off) \
	_Static_assert(__builtin_offsetof(struct hammer, field) == (off), #field)
HAMMER_AT(pending, 0x8);
HAMMER_AT(stop, 0x10);
HAMMER_AT(phase, 0x14);
HAMMER_AT(next, 0x40);
HAMMER_AT(thread, 0x100);
HAMMER_AT(thread[0].gap, 0x128);
HAMMER_AT(thread[0].record, 0x180);
HAMMER_AT(thread[1], 0x100 + 0x180);
HAMMER_AT(log, 0x1900);
_Static_assert(sizeof(struct hammer_site) == 16, "hammer_site");

extern struct hammer hammer;
extern const struct hammer_site hammer_sites[];
extern const u64 hammer_nsites;

#endif
