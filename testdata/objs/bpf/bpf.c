/* The packet filter, as a module: it counts and keeps the last packets. */
#include "klink_alias.h"
#include "bpf.h"

#define NKEEP	8

struct bpf_if {
	struct ifnet	*ifp;
	unsigned	 dlt, hdrlen;
	unsigned long	 seen[3];
	struct pkt	 kept[NKEEP];
};

static struct bpf_if table[4];

void
bpf_attach_impl(struct ifnet *ifp, unsigned dlt, unsigned hdrlen)
{
	for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++) {
		if (table[i].ifp != 0)
			continue;
		table[i].ifp = ifp;
		table[i].dlt = dlt;
		table[i].hdrlen = hdrlen;
		ifp->bpf = &table[i];
		return;
	}
}

void
bpf_mtap_impl(struct ifnet *ifp, const struct pkt *p, unsigned direction)
{
	struct bpf_if *b = ifp->bpf;

	/* The driver may have attached before this module was there. */
	if (b == 0) {
		bpf_attach(ifp, DLT_EN10MB, 14);
		b = ifp->bpf;
		if (b == 0)
			return;
	}
	b->kept[b->seen[0] % NKEEP].len = p->len;
	b->kept[b->seen[0] % NKEEP].data[0] = p->data[0];
	b->seen[0]++;
	b->seen[direction]++;
}

/* How many packets the filter has seen on net0. */
unsigned long
bpf_seen(void)
{
	struct bpf_if *b = net0.bpf;

	return b == 0 ? 0 : b->seen[0];
}

__strong_alias(bpf_attach, bpf_attach_impl)
__strong_alias(bpf_mtap, bpf_mtap_impl)
