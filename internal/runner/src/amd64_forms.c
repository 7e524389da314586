/*
 * amd64_forms.c: what each form of site of x86-64 does, done to the context of a
 * thread that met a trap there instead. It may write the context, and eight bytes
 * of the thread's own stack where a call does.
 */
#include "runner.h"

/* holds answers condition code cc for flags: Intel SDM volume 1, appendix B. The
 * odd codes are the even ones' opposites. */
static int holds(u32 cc, u64 flags)
{
	int sign_is_overflow = !(flags & FLAG_SF) == !(flags & FLAG_OF);
	int yes = 0;

	switch (cc >> 1) {
	case 0: yes = !!(flags & FLAG_OF); break;		/* o, no */
	case 1: yes = !!(flags & FLAG_CF); break;		/* b, ae */
	case 2: yes = !!(flags & FLAG_ZF); break;		/* e, ne */
	case 3: yes = !!(flags & (FLAG_CF | FLAG_ZF)); break;	/* be, a */
	case 4: yes = !!(flags & FLAG_SF); break;		/* s, ns */
	case 5: yes = !!(flags & FLAG_PF); break;		/* p, np */
	case 6: yes = !sign_is_overflow; break;			/* l, ge */
	case 7: yes = (flags & FLAG_ZF) || !sign_is_overflow;	/* le, g */
	}
	return yes ^ (cc & 1);
}

enum outcome go(struct context *c, u32 i, u64 site, u32 form, u64 target)
{
	u64 next = site + form_length(form);

	if (form >= KLINK_FORM_JCC32 && !holds(form - KLINK_FORM_JCC32, c->rflags)) {
		c->rip = next;
		return WENT;
	}
	if (target == 0)
		return NOBODY_THERE;
	if (form == KLINK_FORM_CALL32 || form == KLINK_FORM_ADDRCALL32) {
		if (!in_stack(i, c->rsp - 8, 8))
			return NO_STACK;
		c->rsp -= 8;
		*(volatile u64 *)c->rsp = next;
	}
	c->rip = target;
	return WENT;
}
