/* The kernel: stubs of the optional packet filter, and a driver that calls them. */
#include "klink_alias.h"
#include "bpf.h"

struct ifnet net0 = { .name = "net0" };

void
voidop(void)
{
}

__weak_alias(bpf_attach, voidop)
__weak_alias(bpf_mtap, voidop)

void
driver_attach(void)
{
	net0.ipackets = net0.ibytes = net0.opackets = 0;
	bpf_attach(&net0, DLT_EN10MB, 14);
}

void
if_input(const struct pkt *p)
{
	bpf_mtap(&net0, p, BPF_D_IN);
	net0.ipackets++;
	net0.ibytes += p->len;
}

/* The call is the last thing that it does: a tail jump at -O2. */
void
if_output(const struct pkt *p)
{
	net0.opackets++;
	bpf_mtap(&net0, p, BPF_D_OUT);
}

static struct pkt p = { .len = 60 };

/* Receive n packets; the number of packets received since attach. */
unsigned long
driver_poll(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		p.data[0] = i;
		if_input(&p);
	}
	return net0.ipackets;
}
