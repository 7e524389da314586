/* The kernel of the first story: stubs of the optional packet filter, and a driver that
 * hands it each packet. */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/atomic.h>
#include <sys/condvar.h>
#include <sys/kthread.h>
#include <sys/mutex.h>
#include "net.h"

struct net net __cacheline_aligned;

static struct ifnet net_if[NET_IFS] = { { "net0", 0 }, { "net1", 1 }, { "net2", 2 } };

static struct net_thread *
me(void)
{
	return &net.thread[cpu_number() % NET_THREADS];
}

/* It does nothing, but for the count. */
void
voidop(void)
{
	me()->stub++;
}

__weak_alias(bpf_attach, voidop)
__weak_alias(bpf_mtap, voidop)

__noinline void
if_input(struct ifnet *ifp, struct mbuf *m)
{
	m->m_len = 60;
	bpf_mtap(ifp, m, BPF_D_IN);
	m->m_len = 0;		/* it is the driver's again */
}

/* The call is the last thing that it does: a tail jump. */
__noinline void
if_output(struct ifnet *ifp, struct mbuf *m)
{
	m->m_len = 1500;
	bpf_mtap(ifp, m, BPF_D_OUT);
}

/* n packets on an interface, or, if n is 0, packets until net_stop; every second one goes
 * out. Any number of threads may do so. Returns how many of this thread's packets came
 * back as nobody should have left them. */
u_long
net_traffic(u_int unit, u_long n)
{
	struct net_thread *t = me();

	for (u_long i = 0; n == 0 ? !net.stop : i < n; i++) {
		u_int direction = i % 2 == 0 ? BPF_D_IN : BPF_D_OUT;
		struct mbuf m = { .m_seq = i };

		t->sent++;
		if (direction == BPF_D_IN)
			if_input(&net_if[unit % NET_IFS], &m);
		else
			if_output(&net_if[unit % NET_IFS], &m);
		if (m.m_tag == NET_TAG(i, direction))
			t->tapped++;
		else if (m.m_tag != 0)
			t->wrong++;
	}
	return t->wrong;
}

u_long
net_stop(u_int stop)
{
	net.stop = stop;
	return 0;
}

static u_long
sum(size_t field)
{
	u_long n = 0;

	for (u_int i = 0; i < NET_THREADS; i++)
		n += *(volatile u_long *)((char *)&net.thread[i] + field);
	return n;
}

u_long net_sent(void) { return sum(offsetof(struct net_thread, sent)); }
u_long net_stub(void) { return sum(offsetof(struct net_thread, stub)); }
u_long net_tapped(void) { return sum(offsetof(struct net_thread, tapped)); }

/* Packets whose call went wrong: 0, while there is no traffic and no filter. */
long
net_lost(void)
{
	long stub = (long)(net_sent() - net_stub() - net_tapped()), seen = (long)(net_tapped() - net.seen);

	return labs(stub) + labs(seen) + (long)sum(offsetof(struct net_thread, wrong));
}

/* A filter may take its time to attach: each interface has a thread for that. */
static void
attach(void *arg)
{
	struct ifnet *ifp = arg;
	struct net_thread *t = me();
	u_long stub = t->stub;

	bpf_attach(ifp, DLT_EN10MB, 14);
	t->stub = stub;		/* the stub counts packets only */
	printf("%s: attached\n", ifp->if_xname);
	kthread_exit(0);
}

int
net_attach(u_int unit)
{
	struct ifnet *ifp = &net_if[unit % NET_IFS];

	return kthread_create(PRI_NONE, KTHREAD_MPSAFE, NULL, attach, ifp, NULL, "%s attach", ifp->if_xname);
}

/* A slow disk: it is ready when net_disk_ready says so. Nobody else wakes who waits. */
static kmutex_t disk_lock;
static kcondvar_t disk_cv;
static u_int disk_turns, disk_waiting;

static __attribute__((__constructor__)) void
disk_init(void)
{
	mutex_init(&disk_lock, MUTEX_DEFAULT, IPL_NONE);
	cv_init(&disk_cv, "disk");
}

void
net_disk(void)
{
	mutex_enter(&disk_lock);
	disk_waiting++;
	cv_broadcast(&disk_cv);
	for (u_int turn = disk_turns; turn == disk_turns;)
		cv_wait(&disk_cv, &disk_lock);
	disk_waiting--;
	mutex_exit(&disk_lock);
}

/* Wait until n threads wait for the disk. */
u_int
net_disk_asleep(u_int n)
{
	mutex_enter(&disk_lock);
	while (disk_waiting < n)
		cv_wait(&disk_cv, &disk_lock);
	n = disk_waiting;
	mutex_exit(&disk_lock);
	return n;
}

u_int
net_disk_ready(void)
{
	u_int n;

	mutex_enter(&disk_lock);
	n = disk_waiting;
	disk_turns++;
	cv_broadcast(&disk_cv);
	mutex_exit(&disk_lock);
	return n;
}
