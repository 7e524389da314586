/*
 * Times the loops of cost.*.s in turns, and runs through sites while they are switched.
 * The driver (internal/testing/callcost) reads struct callcost.
 */
typedef unsigned int u32;
typedef unsigned long u64;

#define LOOPS	6
#define ROUNDS	1024
#define PHASES	4
#define SAMPLES	4096

void cost_static(u64), cost_control(u64), cost_site(u64), cost_vector(u64), cost_plt(u64), cost_hook(u64);

struct callcost {
	/* 0x00: of walk() */
	u32	stop;			/* it returns after the round that it is at */
	u32	phase;			/* which of the words below count now */
	u64	now;			/* ticks */
	u64	walks[PHASES];		/* functions called */
	u64	gap[PHASES];		/* longest time that one of them took, ticks */
	u64	per_function;		/* sites; if that many traps are met in one, it is a sample */
	u64	samples;		/* how many there ever were */
	u64	pad[4];
	/* 0x80: of rounds() */
	u64	ticks[ROUNDS][LOOPS];
	/* 0xc080: the latest samples: what such a function took, ticks */
	u64	sample[SAMPLES];
};

struct callcost callcost __attribute__((aligned(64)));

_Static_assert(__builtin_offsetof(struct callcost, now) == 0x8, "now");
_Static_assert(__builtin_offsetof(struct callcost, gap) == 0x30, "gap");
_Static_assert(__builtin_offsetof(struct callcost, per_function) == 0x50, "per_function");
_Static_assert(__builtin_offsetof(struct callcost, ticks) == 0x80, "ticks");
_Static_assert(__builtin_offsetof(struct callcost, sample) == 0xc080, "sample");

/* ticks reads a clock after all that stands before it. */
static inline u64
ticks(void)
{
#ifdef __x86_64__
	u32 lo, hi;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(lo), "=d"(hi) : : "memory");
	return (u64)hi << 32 | lo;
#else
	u64 t;

	__asm__ volatile("isb; mrs %0, cntvct_el0; isb" : "=r"(t) : : "memory");
	return t;
#endif
}

/* traps returns how many switches this thread has met (klink_thread.traps of the runner). */
static inline u64
traps(void)
{
	u64 n;

#ifdef __x86_64__
	__asm__ volatile("mov %%fs:0xf0, %0" : "=r"(n));
#else
	__asm__ volatile("mrs %0, tpidr_el0; ldr %0, [%0, #0xf0]" : "=r"(n));
#endif
	return n;
}

static void (*const loops[LOOPS])(u64) = {
	cost_static, cost_control, cost_site, cost_vector, cost_plt, cost_hook,
};

/*
 * callcost_rounds runs each loop rounds times for calls calls, in turns that start with
 * another one each time, and returns how many ticks all took.
 */
u64
callcost_rounds(u64 calls, u64 rounds)
{
	u64 first = ticks();

	for (u64 r = 0; r < rounds && r < ROUNDS; r++) {
		for (u64 k = 0; k < LOOPS; k++) {
			u64 i = (r + k) % LOOPS, began = ticks();

			loops[i](calls);
			callcost.ticks[r][i] = ticks() - began;
		}
	}
	return ticks() - first;
}

/* The function that the driver's sites call. */
__attribute__((weak, noinline)) void
switch_target(void)
{
	__asm__ volatile("");
}

/*
 * callcost_walk calls the functions of a table in turns, rounds times (0: until
 * callcost.stop), and keeps the longest time that one of them took, and the time of
 * those that met nothing but traps.
 */
u64
callcost_walk(void (**table)(void), u64 n, u64 rounds)
{
	u64 last = ticks(), met = traps();

	for (u64 r = 0; rounds == 0 || r < rounds; r++) {
		for (u64 i = 0; i < n; i++) {
			u32 phase;
			u64 now, gap, t;

			table[i]();
			now = ticks();
			gap = now - last;
			last = now;
			t = traps();
			if (t - met == callcost.per_function)
				callcost.sample[callcost.samples++ % SAMPLES] = gap;
			met = t;
			phase = __atomic_load_n(&callcost.phase, __ATOMIC_RELAXED) % PHASES;
			if (gap > __atomic_load_n(&callcost.gap[phase], __ATOMIC_RELAXED))
				__atomic_store_n(&callcost.gap[phase], gap, __ATOMIC_RELAXED);
			__atomic_store_n(&callcost.walks[phase], callcost.walks[phase] + 1, __ATOMIC_RELAXED);
			__atomic_store_n(&callcost.now, now, __ATOMIC_RELAXED);
		}
		if (__atomic_load_n(&callcost.stop, __ATOMIC_RELAXED))
			break;
	}
	return 0;
}
