/*
 * net.h: what a network driver, the packet filter and those who drive both share.
 *
 * Each packet's call of bpf_mtap is counted three times: by the driver, which sends it
 * (sent) and looks at its tag afterwards (tapped, wrong); by the stub (stub); and by the
 * filter, which tells the kernel when it goes (seen). All went well if
 *
 *	sent = stub + tapped	tapped = seen	wrong = 0
 */
#ifndef NET_H
#define NET_H

#include <sys/param.h>

#define NET_IFS		3	/* interfaces: net0 … net2 */
#define NET_THREADS	1024	/* as many as a runner has at most */

#define BPF_D_IN	1
#define BPF_D_OUT	2
#define DLT_EN10MB	1

struct ifnet {
	char	if_xname[8];
	u_int	if_index;
};

struct mbuf {
	u_long	m_seq;
	u_long	m_tag;		/* 0 until a filter has seen it */
	u_int	m_len;
};

/* The tag of a packet: it says that the filter got what the driver gave. Never 0. */
#define NET_TAG(seq, direction)	((seq) * 4 + (direction))

struct net_thread {
	u_long	sent, stub, tapped, wrong;	/* packets; only its own thread writes them */
	u_long	pad[4];
};

struct net {
	volatile u_int	 stop;		/* 1: traffic without an end ends */
	volatile u_int	 hold;		/* 1: bpf_held stays in CATCH */
	volatile u_long	 seen;		/* packets that filters saw, up to their FINI */
	volatile u_long	 by_mutex;	/* entrances and exits of a filter's gate while it was caught */
	volatile u_long	 caught;	/* how often a filter was in CATCH */
	u_long		 pad[4];
	struct net_thread thread[NET_THREADS];
};

extern struct net net;

__BEGIN_DECLS
void	bpf_attach(struct ifnet *, u_int dlt, u_int hdrlen);
void	bpf_mtap(struct ifnet *, struct mbuf *, u_int direction);
void	net_disk(void);
__END_DECLS

#endif
