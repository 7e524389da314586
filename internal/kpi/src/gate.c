/*
 * gate.c: gates (klink/gate.h).
 *
 * Shared: the list of all gates; and of each gate its state, which is klink's memory,
 * not the module's, so that the list holds even if a module goes without destroying a
 * gate. Each thread has a slot in the state, which nobody else writes.
 *
 * Open: gate_enter and gate_exit store to the thread's own slot, and no more. gate_catch
 * sets caught and then has every thread pass a barrier (membarrier), so each gate_exit
 * is either counted by who looks afterwards, or sees caught and wakes whoever waits.
 *
 * Caught: they take the mutex, inside a critical section, so that it can never be
 * abandoned.
 *
 * gate_drain sums all exits first, then all entrances: a thread that comes and goes in
 * between is then seen inside rather than out. It reads its condition variable's word
 * before it sums, so no exit behind that is lost.
 *
 * As soon as its exit is counted, gate_drain may return elsewhere and the gate be
 * destroyed, while gate_exit still has to look at caught: mine()->gate says so, and
 * gate_destroy waits for it.
 */
#include "kpi.h"

#define MAGIC		0x47617465u	/* "Gate" */
#define NAME		32
#define MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE (1 << 5)	/* the one that the runner may use */

struct gate_slot {
	u64 in, out;
	u64 pad[6];		/* a cache line a thread */
};

struct gate_state {
	u32 magic;
	u32 slots;		/* how many */
	struct gate_state *next;
	struct gate *gate;
	const void *home;	/* an address in the module whose gate it is */
	u32 caught;
	u32 blind;		/* no barriers on this system: who waits has to look again by himself */
	u64 by_mutex;		/* entrances and exits while it was caught; under lock */
	kmutex_t lock;
	kcondvar_t cv;
	char name[NAME];
	u64 pad[3];
	struct gate_slot slot[];
};

/* The host reads these. */
KLINK_AT(gate_state, next, 8);
KLINK_AT(gate_state, gate, 16);
KLINK_AT(gate_state, home, 24);
KLINK_AT(gate_state, caught, 32);
KLINK_AT(gate_state, by_mutex, 40);
KLINK_AT(gate_state, name, 72);
_Static_assert(sizeof(struct gate_state) == 128, "gate_state");

struct gate_state *gate_list;
static struct lock list_lock;

static size_t state_size(u32 slots)
{
	return sizeof(struct gate_state) + slots * sizeof(struct gate_slot);
}

static __noinline void no_gate(const struct gate *g, const char *what)
{
	klink_give_up("%s: %p is no gate, or not any more; so this call of thread %u ends\n", what, g, self()->index);
}

static inline struct gate_state *state_of(const struct gate *g, const char *what)
{
	struct gate_state *s = g->gt_state;

	if (__predict_false(s == NULL || s->magic != MAGIC))
		no_gate(g, what);
	return s;
}

void gate_init_of(struct gate *g, const char *name, const void *home)
{
	u32 slots = nthreads(self());
	struct gate_state *s = kmem_zalloc(state_size(slots), KM_SLEEP);

	strlcpy(s->name, name, NAME);
	s->slots = slots;
	s->gate = g;
	s->home = home;
	mutex_init(&s->lock, MUTEX_DEFAULT, IPL_NONE);
	cv_init(&s->cv, "gate_drain");
	s->magic = MAGIC;
	klink_lock(&list_lock);
	s->next = gate_list;
	gate_list = s;
	klink_unlock(&list_lock);
	g->gt_state = s;
}

/* counts sums exits first. */
static void counts(const struct gate_state *s, u64 *in, u64 *out)
{
	*in = *out = 0;
	for (u32 i = 0; i < s->slots; i++)
		*out += load(&s->slot[i].out);
	fence();
	for (u32 i = 0; i < s->slots; i++)
		*in += load(&s->slot[i].in);
}

/* note and unnote keep the thread's record of the gates that it is in, which the host
 * reads; a gate that it entered twice is there twice. An entrance that finds no place
 * is not there, for the host: it waits longer. */
static inline void note(struct klink_thread *t, struct gate_state *s)
{
	for (u32 i = 0; i < KLINK_GATES; i++)
		if (t->gate[i].gate == 0) {
			t->gate[i].depth = 1;
			store(&t->gate[i].gate, (u64)s);
			return;
		}
}

static inline void unnote(struct klink_thread *t, struct gate_state *s)
{
	for (u32 i = 0; i < KLINK_GATES; i++)
		if (t->gate[i].gate == (u64)s) {
			store(&t->gate[i].gate, 0);
			return;
		}
}

/* What is done while the gate is caught: by the mutex. */
static __noinline void caught_enter(struct klink_thread *t, struct gate_state *s)
{
	u64 *in = &s->slot[t->index].in;

	klink_mutex_enter(t, &s->lock);
	store(in, *in + 1);
	s->by_mutex++;
	klink_mutex_exit(t, &s->lock);
}

static __noinline void caught_exit(struct klink_thread *t, struct gate_state *s)
{
	u64 *out = &s->slot[t->index].out;

	klink_mutex_enter(t, &s->lock);
	store(out, *out + 1);
	s->by_mutex++;
	cv_broadcast(&s->cv);
	klink_mutex_exit(t, &s->lock);
}

static __noinline void caught_behind(struct gate_state *s)
{
	fence();
	cv_broadcast(&s->cv);
}

static __noinline void not_inside(const struct gate_state *s)
{
	klink_give_up("gate_exit: thread %u is not inside gate %s; so its call ends\n", self()->index, s->name);
}

/* The entrance is counted before the record says so: who believes the record and then
 * sums finds it. */
void gate_enter(struct gate *g)
{
	struct klink_thread *t = self();
	struct gate_state *s = state_of(g, "gate_enter");
	u64 *in = &s->slot[t->index].in;

	if (__predict_true(load(&s->caught) == 0))
		store(in, *in + 1);
	else
		caught_enter(t, s);
	note(t, s);
}

void gate_exit(struct gate *g)
{
	struct klink_thread *t = self();
	struct gate_state *s = state_of(g, "gate_exit");
	struct gate_slot *own = &s->slot[t->index];

	if (__predict_false(own->in == own->out))
		not_inside(s);
	unnote(t, s);
	store(&mine(t)->gate, (u64)s);
	if (__predict_true(load(&s->caught) == 0)) {
		store(&own->out, own->out + 1);
		__insn_barrier();	/* gate_catch's barrier makes it one for the machine too */
		if (__predict_false(load(&s->caught) != 0))
			caught_behind(s);
	} else
		caught_exit(t, s);
	store(&mine(t)->gate, 0);
}

void gate_catch(struct gate *g)
{
	struct gate_state *s = state_of(g, "gate_catch");

	store(&s->caught, 1);
	fence();
	if (syscall4(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0, 0) != 0)
		s->blind = 1;
}

void gate_open(struct gate *g)
{
	store(&state_of(g, "gate_open")->caught, 0);
}

bool gate_caught(const struct gate *g)
{
	return load(&state_of(g, "gate_caught")->caught) != 0;
}

void gate_counts(const struct gate *g, uint64_t *in, uint64_t *out, uint64_t *by_mutex)
{
	struct gate_state *s = state_of(g, "gate_counts");

	counts(s, in, out);
	*by_mutex = load(&s->by_mutex);
}

int gate_drain(struct gate *g, int timo)
{
	struct klink_thread *t = self();
	struct gate_state *s = state_of(g, "gate_drain");
	u64 deadline = klink_deadline(timo), in, out;
	bool ours = load(&s->caught) == 0, in_time = true;

	if (s->slot[t->index].in != s->slot[t->index].out)
		return EDEADLK;
	if (ours)
		gate_catch(g);
	for (;;) {
		u32 seen = klink_cv_prepare(&s->cv);
		u64 until = deadline;

		counts(s, &in, &out);
		if (in == out || !in_time)
			break;
		if (s->blind) {
			u64 soon = klink_now() + NSEC / HZ;

			until = deadline == 0 || soon < deadline ? soon : deadline;
		}
		in_time = klink_cv_sleep(&s->cv, seen, until, g, "gate_drain") || until != deadline;
	}
	klink_cv_forget();
	if (in == out)
		return 0;
	if (ours)
		gate_open(g);
	return EWOULDBLOCK;
}

/* unlink_state takes a gate from the list. */
static void unlink_state(struct gate_state *s)
{
	klink_lock(&list_lock);
	for (struct gate_state **p = &gate_list; *p != NULL; p = &(*p)->next)
		if (*p == s) {
			*p = s->next;
			break;
		}
	klink_unlock(&list_lock);
}

void gate_destroy(struct gate *g)
{
	struct klink_thread *t = self();
	struct gate_state *s = state_of(g, "gate_destroy");
	u64 in, out;

	counts(s, &in, &out);
	if (in != out)
		klink_give_up("gate_destroy: %lu are inside gate %s; so this call of thread %u ends\n",
		    in - out, s->name, t->index);
	g->gt_state = NULL;
	unlink_state(s);
	/* Those that have left and are about to look at caught do so in some instructions. */
	for (u32 i = 0; i < s->slots; i++)
		while (load(&mine(thread_block(t, i))->gate) == (u64)s)
			yield();
	s->magic = 0;
	kmem_free(s, state_size(s->slots));
}

/* klink_gate_settle takes the thread out of all gates. Its slots say which it is in,
 * whatever its record says. */
void klink_gate_settle(struct klink_thread *t)
{
	klink_lock(&list_lock);
	for (struct gate_state *s = gate_list; s != NULL; s = s->next) {
		struct gate_slot *own = &s->slot[t->index];
		bool was_there = mine(t)->gate == (u64)s;

		if (own->in != own->out) {
			store(&own->out, own->in);
			was_there = true;
		}
		if (was_there) {
			fence();
			cv_broadcast(&s->cv);
		}
	}
	klink_unlock(&list_lock);
	for (u32 i = 0; i < KLINK_GATES; i++)
		store(&t->gate[i].gate, 0);
	store(&mine(t)->gate, 0);
}
