/*
 * arm64_forms.c: what each form of site of aarch64 does, done to the context of a
 * thread that met a trap there instead. It may write the context only.
 */
#include "runner.h"

enum outcome go(struct context *c, u32 i, u64 site, u32 form, u64 target)
{
	(void)i;
	if (target == 0)
		return NOBODY_THERE;
	switch (form) {
	case KLINK_FORM_BL:
		c->x[30] = site + 4;
		break;
	case KLINK_FORM_FARJUMP:
		c->x[16] = target;	/* as its ldr leaves it */
		break;
	}
	c->pc = target;
	return WENT;
}
