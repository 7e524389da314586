/* Gates: counted, caught, drained; calls that end inside. */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/mutex.h>
#include <sys/condvar.h>
#include <sys/atomic.h>
#include <sys/proc.h>
#include <klink/gate.h>

struct gate gate, second;
static kmutex_t lock;
static kcondvar_t cv;
static int awake;
static volatile unsigned long *volatile nowhere = (volatile unsigned long *)8;

void
gates_init(void)
{
	gate_init(&gate, "first gate");
	gate_init(&second, "a name of more than thirty-one bytes, cut");
	mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
	cv_init(&cv, "inside");
	awake = 0;
}

unsigned long
in_and_out(unsigned long n)
{
	for (unsigned long i = 0; i < n; i++) {
		gate_enter(&gate);
		gate_enter(&second);
		gate_exit(&second);
		gate_exit(&gate);
	}
	return n;
}

/* Once; for a call that is made many times. */
unsigned long
once(void)
{
	gate_enter(&gate);
	gate_exit(&gate);
	return 0;
}

unsigned long
nothing(void)
{
	return 0;
}

unsigned long
atomic_pair(void)
{
	static volatile unsigned n;

	atomic_inc_uint(&n);
	atomic_dec_uint(&n);
	return 0;
}

unsigned long
counts(unsigned which, uint64_t *to)
{
	gate_counts(which == 0 ? &gate : &second, &to[0], &to[1], &to[2]);
	return gate_caught(&gate);
}

unsigned long
sleep_inside(void)
{
	gate_enter(&gate);
	mutex_enter(&lock);
	while (!awake)
		cv_wait(&cv, &lock);
	mutex_exit(&lock);
	gate_exit(&gate);
	return 4;
}

void
wake_all(void)
{
	mutex_enter(&lock);
	awake = 1;
	cv_broadcast(&cv);
	mutex_exit(&lock);
}

void catch(void) { gate_catch(&gate); }
void open(void) { gate_open(&gate); }
void destroy(void) { gate_destroy(&gate); }
unsigned long drain(int ticks) { return gate_drain(&gate, ticks); }

unsigned long
fault_inside(void)
{
	gate_enter(&gate);
	gate_enter(&second);
	gate_enter(&gate);
	return *nowhere;
}

unsigned long
drain_inside(void)
{
	unsigned long error;

	gate_enter(&gate);
	error = gate_drain(&gate, 1);
	gate_exit(&gate);
	return error;
}

unsigned long
exit_outside(void)
{
	gate_exit(&gate);
	return 0;
}

/* A round: workers go in and out n times, who drains waits without an end until the
 * last is out. rounds times, with a fresh gate each time. */
static struct gate round_gate;
static volatile unsigned round, arrived;

unsigned long
work(unsigned long rounds, unsigned long n)
{
	for (unsigned long r = 1; r <= rounds; r++) {
		while (atomic_load_acquire(&round) != r)
			yield();
		for (unsigned long i = 0; i < n; i++) {
			gate_enter(&round_gate);
			if (i == 0)
				atomic_inc_uint(&arrived);
			gate_exit(&round_gate);
		}
		atomic_inc_uint(&arrived);
	}
	return rounds;
}

unsigned long
drain_rounds(unsigned long rounds, unsigned workers)
{
	unsigned long early = 0;
	void *rubbish;

	for (unsigned long r = 1; r <= rounds; r++) {
		gate_init(&round_gate, "round");
		arrived = 0;
		atomic_store_release(&round, r);
		/* All have been inside: those that are, leave; and as they also come back, all
		 * have to be done for the gate to be destroyed. */
		while (atomic_load_acquire(&arrived) < workers)
			yield();
		do {
			gate_catch(&round_gate);
			if (gate_drain(&round_gate, 0) != 0)
				return ~0ul;
			early += atomic_load_acquire(&arrived) < 2 * workers;
			gate_open(&round_gate);
		} while (atomic_load_acquire(&arrived) < 2 * workers);
		gate_destroy(&round_gate);
		/* Who still looks at it finds rubbish. */
		rubbish = kmem_alloc(1200, KM_SLEEP);
		memset(rubbish, 0xff, 1200);
		kmem_free(rubbish, 1200);
	}
	return early;
}
