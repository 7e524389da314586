/*
 * kthread.c: kernel threads, and sleeping without a condition variable.
 *
 * Shared: struct lwp of a kernel thread, which belongs to the thread until it ends, then
 * to who joins it; and the words ident and word of each thread, by which tsleep is woken.
 *
 * The host is asked for threads (klink_thread.spawn). It has one call klink_kthread_main
 * with the struct lwp, whose first word is the function that the module wants to be run:
 * the host reads it there, to know whose thread it is.
 */
#include "kpi.h"

#define MUSTJOIN	KTHREAD_MUSTJOIN
#define GONE		1u

struct kthread {
	struct lwp lwp;
	char name[40];
};

struct lwp *klink_curlwp(void)
{
	struct mine *m = mine(self());

	if (m->lwp != NULL)
		return m->lwp;
	m->call.l_cpu = self()->index;
	return &m->call;
}

u_int cpu_number(void)
{
	return self()->index;
}

int kthread_create(pri_t pri __unused, int flags, struct cpu_info *ci __unused, void (*func)(void *), void *arg,
    lwp_t **lp, const char *fmt, ...)
{
	struct klink_thread *t = self();
	struct kthread *k = kmem_zalloc(sizeof *k, KM_SLEEP);
	u32 asked, answered;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(k->name, sizeof k->name, fmt, ap);
	va_end(ap);
	k->lwp.l_func = func;
	k->lwp.l_arg = arg;
	k->lwp.l_name = k->name;
	k->lwp.l_flag = (u32)flags;
	/* Before it runs: it may want to know itself by this. */
	if (lp != NULL)
		*lp = &k->lwp;

	t->spawn_fn = (u64)klink_kthread_main;
	t->spawn_arg = (u64)k;
	t->spawn_name = (u64)k->name;
	asked = t->spawn + 1;
	store(&t->spawn, asked);
	tell_host(t);
	while ((answered = load(&t->spawned)) != asked)
		klink_wait(&t->spawned, answered, 0, &k->lwp, "kthread_create");
	if (t->spawn_answer >= 0)
		return 0;
	if (lp != NULL)
		*lp = NULL;
	kmem_free(k, sizeof *k);
	return -t->spawn_answer;
}

/* gone is the end of a kernel thread: nothing of a module's is on its stack any more. */
static void gone(void *arg)
{
	struct klink_thread *t = self();
	struct kthread *k = arg;

	klink_line_end(t);
	klink_mutex_settle(t);
	klink_gate_settle(t);
	mine(t)->lwp = NULL;
	if (!(k->lwp.l_flag & MUSTJOIN)) {
		kmem_free(k, sizeof *k);
		return;
	}
	critical_enter(t);
	store(&k->lwp.l_gone, GONE);	/* who joins it may free it now */
	futex_wake(&k->lwp.l_gone, EVERYBODY);
	critical_exit(t);
}

/* klink_kthread_main is what the host has a new kernel thread call. */
u64 klink_kthread_main(struct lwp *l)
{
	struct klink_thread *t = self();

	l->l_cpu = t->index;
	mine(t)->lwp = l;
	l->l_func(l->l_arg);
	klink_end_call(gone, l);
}

void kthread_exit(int code __unused)
{
	struct lwp *l = mine(self())->lwp;

	if (l == NULL)
		panic("kthread_exit: thread %u is no kernel thread", self()->index);
	klink_end_call(gone, l);
}

int kthread_join(lwp_t *l)
{
	if (!(l->l_flag & MUSTJOIN))
		panic("kthread_join: %p (%s) was not created with KTHREAD_MUSTJOIN", l, l->l_name);
	while (load(&l->l_gone) != GONE)
		klink_wait(&l->l_gone, 0, 0, l, "kthread_join");
	kmem_free(l, sizeof(struct kthread));
	return 0;
}

/* klink_kthread_settle ends a kernel thread that was given up. */
void klink_kthread_settle(struct klink_thread *t)
{
	struct lwp *l = mine(t)->lwp;

	if (l == NULL)
		return;
	printf("kernel thread %s was given up\n", l->l_name);
	gone(l);
}

/* sleep_for sleeps until ident is woken or the deadline has passed. */
static int sleep_for(const void *ident, const char *why, u64 deadline, kmutex_t *m, bool relock)
{
	struct mine *me = mine(self());
	bool in_time = true;

	__atomic_store_n(&me->ident, (u64)ident, __ATOMIC_SEQ_CST);
	if (m != NULL)
		mutex_exit(m);
	for (;;) {
		u32 seen = load(&me->word);

		if (load(&me->ident) == 0 || !in_time)
			break;
		in_time = klink_wait(&me->word, seen, deadline, ident, why);
	}
	bool woken = swap(&me->ident, 0) == 0;

	if (m != NULL && relock)
		mutex_enter(m);
	return woken ? 0 : EWOULDBLOCK;
}

int tsleep(const void *ident, pri_t pri __unused, const char *why, int timo)
{
	return sleep_for(ident, why, klink_deadline(timo), NULL, false);
}

int mtsleep(const void *ident, pri_t pri, const char *why, int timo, kmutex_t *m)
{
	return sleep_for(ident, why, klink_deadline(timo), m, (pri & PNORELOCK) == 0);
}

/* Nobody wakes a thread by the address of its own word. */
int kpause(const char *why, bool intr, int timo, kmutex_t *m)
{
	if (timo == 0 && !intr)
		panic("kpause: %s: without an end", why);
	return sleep_for(&mine(self())->word, why, klink_deadline(timo), m, true);
}

static void wake(const void *ident, u32 most)
{
	struct klink_thread *t = self();

	fence();	/* what the caller changed, before it looks for sleepers */
	for (u32 i = 0, n = nthreads(t); i < n && most > 0; i++) {
		struct mine *other = mine(thread_block(t, i));

		if (load(&other->ident) != (u64)ident)
			continue;
		critical_enter(t);
		if (cas(&other->ident, (u64)ident, 0)) {
			__atomic_add_fetch(&other->word, 1, __ATOMIC_SEQ_CST);
			futex_wake(&other->word, 1);
			most--;
		}
		critical_exit(t);
	}
}

void wakeup(const void *ident) { wake(ident, EVERYBODY); }
void wakeup_one(const void *ident) { wake(ident, 1); }

void yield(void) { syscall4(SYS_sched_yield, 0, 0, 0, 0); }
void preempt(void) { yield(); }
void preempt_point(void) { }
bool preempt_needed(void) { return false; }
