/*
 * The packet filter of the first story. Its readers sleep until a packet comes, and so
 * does whoever attaches an interface: the first packet says that there is a link. FINI
 * wakes them, and waits at the gate until they are out.
 *
 *	BPF_HELD	CATCH lasts as long as net.hold is 1
 *	BPF_UNGATED	the mistake: readers do not go through the gate
 *	BPF_PLAIN	no modcmd and no gate: a filter that knows nothing of being unloaded
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/atomic.h>
#include <sys/condvar.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <klink/gate.h>
#include "net.h"

#if defined(BPF_PLAIN)
#define ENTER()
#define EXIT()
#else
#define ENTER()		gate_enter(&bpf_gate)
#define EXIT()		gate_exit(&bpf_gate)
#endif
#if defined(BPF_UNGATED)
#define READER_ENTER()
#define READER_EXIT()
#else
#define READER_ENTER()	ENTER()
#define READER_EXIT()	EXIT()
#endif

struct bpf_if {
	volatile u_long	bif_packets;
	volatile u_int	bif_sleepers;
	u_int		bif_dlt, bif_hdrlen;
};

#ifndef BPF_PLAIN
static struct gate bpf_gate;
#endif
static kmutex_t bpf_lock;
static kcondvar_t bpf_packet, bpf_counted;
static struct bpf_if bpf_if[NET_IFS];
static u_int bpf_sleepers;	/* all threads that wait for packets; bpf_lock */
static bool bpf_ends;		/* so nobody waits any more; bpf_lock */

/* wait_packet sleeps until a packet has come, and returns how many there were, or an
 * errno. It is inlined: who asks where a sleeper is sees who called it. */
static __always_inline long
wait_packet(struct bpf_if *bif)
{
	u_long before = bif->bif_packets;
	long n;

	mutex_enter(&bpf_lock);
	atomic_inc_uint(&bif->bif_sleepers);	/* before the packets are looked at: bpf_mtap does the reverse */
	bpf_sleepers++;
	cv_broadcast(&bpf_counted);
	while (bif->bif_packets == before && !bpf_ends)
		cv_wait(&bpf_packet, &bpf_lock);
	n = bif->bif_packets == before ? -ENXIO : (long)bif->bif_packets;
	bpf_sleepers--;
	atomic_dec_uint(&bif->bif_sleepers);
	mutex_exit(&bpf_lock);
	return n;
}

void
bpf_attach_impl(struct ifnet *ifp, u_int dlt, u_int hdrlen)
{
	struct bpf_if *bif = &bpf_if[ifp->if_index];

	ENTER();
	bif->bif_dlt = dlt;
	bif->bif_hdrlen = hdrlen;
	wait_packet(bif);
	EXIT();
}

void
bpf_mtap_impl(struct ifnet *ifp, struct mbuf *m, u_int direction)
{
	struct bpf_if *bif = &bpf_if[ifp->if_index];

	ENTER();
	m->m_tag = NET_TAG(m->m_seq, direction);
	atomic_inc_ulong(&bif->bif_packets);
	if (bif->bif_sleepers != 0) {
		mutex_enter(&bpf_lock);
		cv_broadcast(&bpf_packet);
		mutex_exit(&bpf_lock);
	}
	EXIT();
}

__strong_alias(bpf_attach, bpf_attach_impl)
__strong_alias(bpf_mtap, bpf_mtap_impl)

/* Wait for a packet: how many have come on the interface, or -ENXIO if the filter went. */
long
bpf_read(u_int unit)
{
	long n;

	READER_ENTER();
	n = wait_packet(&bpf_if[unit % NET_IFS]);
	READER_EXIT();
	return n;
}

/* Write what came to a slow disk, which FINI cannot hurry. */
long
bpf_dump(u_int unit)
{
	long n;

	ENTER();
	net_disk();
	n = (long)bpf_if[unit % NET_IFS].bif_packets;
	EXIT();
	return n;
}

/* Wait until n threads sleep in here. */
u_int
bpf_asleep(u_int n)
{
	ENTER();
	mutex_enter(&bpf_lock);
	while (bpf_sleepers < n && !bpf_ends)
		cv_wait(&bpf_counted, &bpf_lock);
	n = bpf_sleepers;
	mutex_exit(&bpf_lock);
	EXIT();
	return n;
}

static void
begin(void)
{
	mutex_init(&bpf_lock, MUTEX_DEFAULT, IPL_NONE);
	cv_init(&bpf_packet, "packet");
	cv_init(&bpf_counted, "sleepers");
}

static void
end(void)
{
	u_long n = 0;

	for (u_int i = 0; i < NET_IFS; i++)
		n += bpf_if[i].bif_packets;
	atomic_add_long(&net.seen, (long)n);
	cv_destroy(&bpf_counted);
	cv_destroy(&bpf_packet);
	mutex_destroy(&bpf_lock);
}

#ifdef BPF_PLAIN
static __attribute__((__constructor__)) void plain_begin(void) { begin(); }
static __attribute__((__destructor__)) void plain_end(void) { end(); }
#else
/* The name of a variant of a module is that of its file. */
#ifndef BPF_NAME
#define BPF_NAME	bpf
#endif
#define DECLARE(name)	MODULE(MODULE_CLASS_DRIVER, name, NULL)
DECLARE(BPF_NAME);

static void
wake_everybody(bool ends)
{
	mutex_enter(&bpf_lock);
	bpf_ends = ends;
	cv_broadcast(&bpf_packet);
	cv_broadcast(&bpf_counted);
	mutex_exit(&bpf_lock);
}

static void
note_counts(void)
{
	uint64_t in, out, by_mutex;

	gate_counts(&bpf_gate, &in, &out, &by_mutex);
	net.by_mutex = by_mutex;
}

static int
fini(void)
{
	wake_everybody(true);
	if (gate_drain(&bpf_gate, 0) != 0) {
		wake_everybody(false);
		printf("bpf: somebody does not leave\n");
		return EBUSY;
	}
	note_counts();
	gate_destroy(&bpf_gate);
	end();
	printf("bpf: gone\n");
	return 0;
}

static int
__CONCAT(BPF_NAME, _modcmd)(modcmd_t cmd, void *arg)
{
	(void)arg;
	switch (cmd) {
	case MODULE_CMD_INIT:
		begin();
		gate_init(&bpf_gate, "bpf");
		printf("bpf: here\n");
		return 0;
	case MODULE_CMD_CATCH:
		gate_catch(&bpf_gate);
		atomic_inc_ulong(&net.caught);
#ifdef BPF_HELD
		while (net.hold) {
			note_counts();
			kpause("held", false, 1, NULL);
		}
#endif
		return 0;
	case MODULE_CMD_UNCATCH:
		gate_open(&bpf_gate);
		printf("bpf: stays\n");
		return 0;
	case MODULE_CMD_FINI:
		return fini();
	default:
		return ENOTTY;
	}
}
#endif
