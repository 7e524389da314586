/* A second override of the same names: to be refused while bpf is there. */
#include "klink_alias.h"
#include "bpf.h"

static unsigned long taps;

void
bpf2_attach_impl(struct ifnet *ifp, unsigned dlt, unsigned hdrlen)
{
	ifp->bpf = &taps;
	taps = dlt + hdrlen;
}

void
bpf2_mtap_impl(struct ifnet *ifp, const struct pkt *p, unsigned direction)
{
	taps += ifp->bpf == &taps && p->len != 0 && direction != 0;
}

__strong_alias(bpf_attach, bpf2_attach_impl)
__strong_alias(bpf_mtap, bpf2_mtap_impl)
