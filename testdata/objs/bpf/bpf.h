/* What the network driver and the packet filter say to each other. */
#ifndef BPF_H
#define BPF_H

#define BPF_D_IN	1
#define BPF_D_OUT	2
#define DLT_EN10MB	1

struct pkt {
	unsigned	 len;
	unsigned char	 data[60];
};

struct ifnet {
	unsigned long	 ipackets, ibytes;
	unsigned long	 opackets;
	const char	*name;
	void		*bpf;
};

void bpf_attach(struct ifnet *, unsigned dlt, unsigned hdrlen);
void bpf_mtap(struct ifnet *, const struct pkt *, unsigned direction);

extern struct ifnet net0;

#endif
