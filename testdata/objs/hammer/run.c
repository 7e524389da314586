/*
 * The hammer's kernel half: threads that call through every site and look at each
 * answer. It needs nothing else to link.
 */
#include "hammer.h"

struct hammer hammer __attribute__((aligned(64)));

/* What there is when no module is loaded: generation 0. */
#define DEFAULT(n)							\
	__attribute__((weak, noinline)) u64				\
	hammer_##n(u64 flags, u64 token)				\
	{								\
		(void)flags;						\
		return token;						\
	}
DEFAULT(0)
DEFAULT(1)
DEFAULT(2)
DEFAULT(3)
DEFAULT(4)
DEFAULT(5)
DEFAULT(6)
DEFAULT(7)

#ifdef __x86_64__
static inline u64
ticks(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

#define CF	0x001
#define PF	0x004
#define AF	0x010
#define ZF	0x040
#define SF	0x080
#define OF	0x800

/* Flags for a site: every mixture of the six, by the number of the pass. */
static u64
flags_of(u64 pass)
{
	return 2 | (pass & 1 ? CF : 0) | (pass & 2 ? PF : 0) | (pass & 4 ? ZF : 0) |
	    (pass & 8 ? SF : 0) | (pass & 16 ? OF : 0) | (pass & 32 ? AF : 0);
}

/* taken says whether the jump of condition code cond is taken (Intel SDM 1, B.1). */
static int
taken(u32 cond, u64 f)
{
	int less = !(f & SF) != !(f & OF), yes;

	if (cond == HAMMER_ALWAYS)
		return 1;
	switch (cond >> 1) {
	case 0: yes = !!(f & OF); break;
	case 1: yes = !!(f & CF); break;
	case 2: yes = !!(f & ZF); break;
	case 3: yes = !!(f & (CF | ZF)); break;
	case 4: yes = !!(f & SF); break;
	case 5: yes = !!(f & PF); break;
	case 6: yes = less; break;
	default: yes = less || (f & ZF); break;
	}
	return yes ^ (int)(cond & 1);
}
#else
static inline u64
ticks(void)
{
	u64 t;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(t));
	return t;
}

/* x0 for a site: N, Z, C and V in bits 31 to 28, and often nothing else. */
static u64
flags_of(u64 pass)
{
	return (pass & 15) << 28 | (pass & 16 ? 8 : 0) | (pass & 32 ? 1ul << 40 : 0);
}

/*
 * taken says whether the branch is taken: 0 to 15 are the conditions of b.cond (Arm
 * ARM C1.2.4), 32 cbz, 33 cbnz, 64 + b tbz of bit b, 128 + b tbnz.
 */
static int
taken(u32 cond, u64 x0)
{
	int n = x0 >> 31 & 1, z = x0 >> 30 & 1, c = x0 >> 29 & 1, v = x0 >> 28 & 1, yes;

	switch (cond) {
	case HAMMER_ALWAYS: return 1;
	case 32: return x0 == 0;
	case 33: return x0 != 0;
	}
	if (cond >= 128)
		return x0 >> (cond - 128) & 1;
	if (cond >= 64)
		return !(x0 >> (cond - 64) & 1);
	switch (cond >> 1) {
	case 0: yes = z; break;
	case 1: yes = c; break;
	case 2: yes = n; break;
	case 3: yes = v; break;
	case 4: yes = c && !z; break;
	case 5: yes = n == v; break;
	case 6: yes = n == v && !z; break;
	default: return 1;
	}
	return yes ^ (int)(cond & 1);
}
#endif

/* wrong counts a call that went wrong, and keeps the first few. */
static __attribute__((noinline)) void
wrong(struct hammer_thread *me, u64 value, u64 lo, u64 hi, u64 site)
{
	if (me->wrong < HAMMER_RECORDS) {
		struct hammer_record *r = &me->record[me->wrong];

		r->value = value;
		r->lo = lo;
		r->hi = hi;
		r->site = site;
	}
	__atomic_store_n(&me->wrong, me->wrong + 1, __ATOMIC_RELAXED);
}

/*
 * check finds the first epoch from lo to hi in which the symbol had this generation:
 * calls after this one come from no earlier epoch.
 */
static __attribute__((noinline)) void
check(struct hammer_thread *me, u32 symbol, u64 value, u64 lo, u64 hi, u64 site)
{
	for (u64 e = lo; e <= hi && hi - e < HAMMER_RING; e++) {
		u32 g = __atomic_load_n(&hammer.log[e % HAMMER_RING].generation[symbol], __ATOMIC_RELAXED);

		if (value == g) {
			me->seen = e;
			return;
		}
	}
	/* The driver may have come round to what was compared here. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (__atomic_load_n(&hammer.pending, __ATOMIC_RELAXED) - lo >= HAMMER_RING)
		me->unchecked++;
	else
		wrong(me, value, lo, hi, site);
	me->seen = lo;
}

/*
 * stride_of returns how far to go from one site to the next, by the number of the pass:
 * far, so that a thread soon comes from sites that a switch under way has written to
 * sites that it has not. What has no divisor in common with n goes over all n.
 */
static u64
stride_of(u64 pass, u64 n)
{
	static const u32 primes[] = { 197, 31, 89, 137, 53, 163, 23, 109 };
	u64 p = primes[pass % (sizeof primes / sizeof primes[0])];

	return n % p == 0 ? 1 : p % n;
}

/*
 * Sites that lie apart from those of sites.*.s, which the driver may use to put others
 * between the two: the longer a switch takes from the one to the other, the surer is
 * it seen if it is not one event.
 */
#define FAR(n)								\
	static u64							\
	far_##n(u64 flags, u64 token)					\
	{								\
		return hammer_##n(flags, token);			\
	}
FAR(0)
FAR(1)
FAR(2)
FAR(3)
FAR(4)
FAR(5)
FAR(6)
FAR(7)

#define FAR_SITE(n)	{ far_##n, n, HAMMER_FAR, HAMMER_ALWAYS, 0, 0 }
static const struct hammer_site far_sites[HAMMER_SYMBOLS] = {
	FAR_SITE(0), FAR_SITE(1), FAR_SITE(2), FAR_SITE(3),
	FAR_SITE(4), FAR_SITE(5), FAR_SITE(6), FAR_SITE(7),
};
#define FAR_EVERY	4	/* how many calls of sites.*.s come between two of these */

/* call makes one call, and looks at what it returned. site is for messages. */
static inline __attribute__((always_inline)) void
call(struct hammer_thread *me, const struct hammer_site *s, u64 site, u64 flags, u64 token, u64 *last)
{
	u64 lo = __atomic_load_n(&hammer.settled, __ATOMIC_ACQUIRE);
	u64 value = s->fn(flags, token);
	u64 hi, now, gap;
	u32 phase;

	/* The call's instructions come before this load, fetched or trapped. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	hi = __atomic_load_n(&hammer.pending, __ATOMIC_ACQUIRE);
	if (lo < me->seen)
		lo = me->seen;
	if (taken(s->cond, flags))
		check(me, s->symbol, value - token, lo, hi, site);
	else if (value != HAMMER_UNTAKEN)
		wrong(me, value, lo, hi, site);

	now = ticks();
	phase = __atomic_load_n(&hammer.phase, __ATOMIC_RELAXED) % HAMMER_PHASES;
	gap = now - *last;
	*last = now;
	if (gap > __atomic_load_n(&me->gap[phase], __ATOMIC_RELAXED))
		__atomic_store_n(&me->gap[phase], gap, __ATOMIC_RELAXED);
	__atomic_store_n(&me->now, now, __ATOMIC_RELAXED);
	__atomic_store_n(&me->calls, me->calls + 1, __ATOMIC_RELAXED);
}

/*
 * hammer_run goes over all sites, passes times (0: until hammer.stop), as the thread
 * of that slot, and returns how many calls of this slot ever went wrong. Only one
 * thread at a time may have a slot.
 */
u64
hammer_run(u64 slot, u64 passes)
{
	struct hammer_thread *me = &hammer.thread[slot % HAMMER_THREADS];
	const u64 nsites = hammer_nsites;
	u64 site = slot * 41 % nsites;
	u64 last = ticks();

	for (u64 pass = 0; passes == 0 || pass < passes; pass++) {
		u64 flags = flags_of(pass + slot);
		u64 token = (pass + 1) * 0x9e3779b97f4a7c15ul;
		u64 stride = stride_of(pass, nsites);

		for (u64 k = 0; k < nsites; k++) {
			call(me, &hammer_sites[site], site, flags, token, &last);
			if (k % FAR_EVERY == 0) {
				u64 i = k / FAR_EVERY % HAMMER_SYMBOLS;

				call(me, &far_sites[i], nsites + i, flags, token, &last);
			}
			site += stride;
			if (site >= nsites)
				site -= nsites;
		}
		if (__atomic_load_n(&hammer.stop, __ATOMIC_RELAXED))
			break;
	}
	return me->wrong;
}
