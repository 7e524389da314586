/*
 * A module of the hammer: NAME gives the functions of the bits of SET, as overrides
 * or as refinements, which hide what is below. Each load has a generation of its own.
 *
 *	-DNAME=hammer_a -DINDEX=0 -DKIND=__strong_alias -DSET=0x0f
 *
 * KIND is __strong_alias, __refine_alias, or LAYER: a weak alias in a module that
 * also names super_S.
 */
#include <sys/param.h>
#include <sys/cdefs.h>
#include <sys/errno.h>
#include <sys/module.h>
#include "hammer.h"

static u64 generation;

#define LAYER(sym, impl)						\
	__weak_alias(sym, impl)						\
	extern hammer_fn super_##sym;					\
	static hammer_fn *const below_##impl __attribute__((used)) = super_##sym;

#define GIVE(n)								\
	static __attribute__((used, noinline)) u64			\
	give_##n(u64 flags, u64 token)					\
	{								\
		(void)flags;						\
		return *(volatile u64 *)&generation + token;		\
	}								\
	KIND(hammer_##n, give_##n)

#if SET & 0x01
GIVE(0)
#endif
#if SET & 0x02
GIVE(1)
#endif
#if SET & 0x04
GIVE(2)
#endif
#if SET & 0x08
GIVE(3)
#endif
#if SET & 0x10
GIVE(4)
#endif
#if SET & 0x20
GIVE(5)
#endif
#if SET & 0x40
GIVE(6)
#endif
#if SET & 0x80
GIVE(7)
#endif

#define MODULE_OF(name)		MODULE(MODULE_CLASS_MISC, name, NULL)
#define MODCMD(name)		MODCMD_(name)
#define MODCMD_(name)		name##_modcmd
MODULE_OF(NAME);

static int
MODCMD(NAME)(modcmd_t cmd, void *arg)
{
	(void)arg;
	switch (cmd) {
	case MODULE_CMD_INIT:
		generation = hammer.next[INDEX];
		return 0;
	case MODULE_CMD_FINI:
		/* Nobody is inside any more: nobody may see this. */
		generation = HAMMER_DEAD + INDEX;
		return 0;
	default:
		return ENOTTY;
	}
}
