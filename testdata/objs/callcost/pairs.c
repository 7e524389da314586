/*
 * What it costs to say "I am inside", and that it is over: pairs of calls, in turns, by
 * one thread or by two at the same time. Every way has two functions, as gate_enter and
 * gate_exit are, so the calls themselves cost the same. The driver
 * (internal/testing/callcost) reads struct pairs.
 *
 * Per-CPU counters. A kernel increments a counter of the processor that it runs on
 * without an atomic operation, and sees to it that it stays there meanwhile: Linux's
 * percpu_ref does it in one instruction, addq $1, %gs:(reg), which no interrupt can
 * break up, behind a test whether the counter is being drained; NetBSD's localcount(9)
 * forbids preemption, adds, and allows it again. Here a thread stands for a processor:
 * it has an area of its own, a cache line that nobody else writes, so a plain increment
 * is as safe, and as cheap, as a kernel's is. The area's address is an argument, cpu,
 * that stays in a register as %gs or tpidr_el1 does. Forbidding preemption is an
 * increment of a word of that area, allowing it a decrement and a test whether somebody
 * waits to run.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/mutex.h>
#include <sys/atomic.h>
#include <sys/proc.h>
#include <klink/gate.h>

#define WAYS	6
#define ROUNDS	256
#define THREADS	2

struct pairs {
	/* 0x00 */
	volatile unsigned came;		/* threads that take part, so far */
	volatile unsigned met;		/* how often one came to the start of a loop */
	uint64_t pad[7];
	/* 0x40 */
	uint64_t ticks[THREADS][ROUNDS][WAYS];
};

struct pairs pairs __aligned(64);

_Static_assert(__builtin_offsetof(struct pairs, met) == 0x4, "met");
_Static_assert(__builtin_offsetof(struct pairs, ticks) == 0x40, "ticks");

/* A processor's area: what a kernel has there for every counter, and for preemption. */
struct cpu {
	uint64_t ref, local;
	unsigned nopreempt;
	volatile unsigned resched;
} __aligned(64);

static struct cpu cpus[THREADS];

/* What all threads use: a cache line each for what is written, and one for what is not. */
static struct { volatile unsigned draining; struct gate gate; } __aligned(64) quiet;
static struct { kmutex_t lock; } __aligned(64) mutex;
static struct { volatile unsigned users; } __aligned(64) atomic;

/* ticks reads a clock after all that stands before it. */
static inline uint64_t
ticks(void)
{
#ifdef __x86_64__
	uint32_t lo, hi;

	__asm__ volatile("lfence; rdtsc; lfence" : "=a"(lo), "=d"(hi) : : "memory");
	return (uint64_t)hi << 32 | lo;
#else
	uint64_t t;

	__asm__ volatile("isb; mrs %0, cntvct_el0; isb" : "=r"(t) : : "memory");
	return t;
#endif
}

static void __noinline nothing_enter(struct cpu *cpu) { __asm__ volatile("" : : "r"(cpu) : "memory"); }
static void __noinline nothing_exit(struct cpu *cpu) { __asm__ volatile("" : : "r"(cpu) : "memory"); }

static void __noinline
slow(struct cpu *cpu)
{
	cpu->resched = 0;
	yield();
}

static void __noinline
ref_enter(struct cpu *cpu)
{
	if (__predict_false(quiet.draining))
		slow(cpu);
	else
		cpu->ref++;
}

static void __noinline
ref_exit(struct cpu *cpu)
{
	if (__predict_false(quiet.draining))
		slow(cpu);
	else
		cpu->ref--;
}

static inline void
preempt_disable(struct cpu *cpu)
{
	cpu->nopreempt++;
	__insn_barrier();
}

static inline void
preempt_enable(struct cpu *cpu)
{
	__insn_barrier();
	if (__predict_false(--cpu->nopreempt == 0 && cpu->resched))
		slow(cpu);
}

static void __noinline
local_enter(struct cpu *cpu)
{
	preempt_disable(cpu);
	cpu->local++;
	preempt_enable(cpu);
}

static void __noinline
local_exit(struct cpu *cpu)
{
	preempt_disable(cpu);
	if (__predict_false(quiet.draining))
		slow(cpu);
	cpu->local--;
	preempt_enable(cpu);
}

static void __noinline atomic_enter(struct cpu *cpu __unused) { atomic_inc_uint(&atomic.users); }
static void __noinline atomic_exit(struct cpu *cpu __unused) { atomic_dec_uint(&atomic.users); }

#define LOOP(name, enter, exit)							\
static void									\
name(struct cpu *cpu, uint64_t n)						\
{										\
	while (n-- > 0) {							\
		enter;								\
		exit;								\
	}									\
}
LOOP(nothing, nothing_enter(cpu), nothing_exit(cpu))
LOOP(gates, ((void)cpu, gate_enter(&quiet.gate)), gate_exit(&quiet.gate))
LOOP(refs, ref_enter(cpu), ref_exit(cpu))
LOOP(locals, local_enter(cpu), local_exit(cpu))
LOOP(atomics, atomic_enter(cpu), atomic_exit(cpu))
LOOP(mutexes, ((void)cpu, mutex_enter(&mutex.lock)), mutex_exit(&mutex.lock))

static void (*const ways[WAYS])(struct cpu *, uint64_t) = { nothing, gates, refs, locals, atomics, mutexes };

void
pairs_init(void)
{
	gate_init(&quiet.gate, "pairs");
	mutex_init(&mutex.lock, MUTEX_DEFAULT, IPL_NONE);
}

void
pairs_end(void)
{
	gate_destroy(&quiet.gate);
	mutex_destroy(&mutex.lock);
}

/* meet waits until all threads have come to the start of a loop. */
static void
meet(unsigned step, unsigned threads)
{
	atomic_inc_uint(&pairs.met);
	for (unsigned looks = 1; pairs.met < step * threads; looks++)
		if (looks % 1024 == 0)	/* the other one may not be running */
			yield();
}

/*
 * pairs_rounds runs each loop rounds times for n pairs, in turns that start with another
 * one each time, and returns how many ticks all took. As many threads call it at the
 * same time; came and met are 0 before.
 */
uint64_t
pairs_rounds(uint64_t n, uint64_t rounds, unsigned threads)
{
	unsigned self = atomic_inc_uint_nv(&pairs.came) - 1, step = 0;
	uint64_t first = ticks();

	if (self >= THREADS)
		return 0;
	for (uint64_t r = 0; r < rounds && r < ROUNDS; r++) {
		for (uint64_t k = 0; k < WAYS; k++) {
			uint64_t i = (r + k) % WAYS, began;

			meet(++step, threads);
			began = ticks();
			ways[i](&cpus[self], n);
			pairs.ticks[self][r][i] = ticks() - began;
		}
	}
	return ticks() - first;
}
