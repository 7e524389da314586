/*
 * klink/klink.h: all that a module can have of klink's that NetBSD has not.
 *
 *	__klink__		defined by sys/cdefs.h
 *	__refine_alias(S, f)	sys/cdefs.h: f is a layer over S
 *	super_S			undefined in a module that provides S: whoever provides S below it
 *	MODULE_CMD_CATCH,
 *	MODULE_CMD_UNCATCH	sys/module.h
 *	gates			klink/gate.h
 *	kmem_inuse		sys/kmem.h
 *	klink_share		memory that other programs may map, read-only: below
 *
 * klink_share returns memory, zeroed, that any program of the user who runs klink can map
 * and read while the module's threads write it: `klink map SYMBOL -- PROGRAM`, SYMBOL being
 * a variable that holds the address, or a part of it. The program cannot write. So what
 * lies there should be such that a reader who looks at any time makes sense of it: numbered
 * records, the number stored last.
 *
 *	ring = klink_share("ring", sizeof *ring);
 *
 * There are 8 such pieces in all, of at most 1 MiB each, aligned to a page: klink_share
 * returns NULL when all are in use, or if the size is 0 or more than that. The name is for
 * people; it is copied, up to 31 bytes. A piece belongs to the module that asked for it:
 * it is taken back when the module has been unloaded and nobody is inside any more, so that
 * FINI need not think of it. klink_unshare gives it back earlier; nobody must use it
 * afterwards. A program that has mapped a piece keeps it, and so sees who shares it next.
 * klink_unshare of NULL does nothing; of what is not shared, it ends its caller's call.
 */
#ifndef _KLINK_KLINK_H_
#define _KLINK_KLINK_H_

#include <sys/param.h>
#include <sys/module.h>
#include <sys/kmem.h>
#include <klink/gate.h>

#define KLINK_KPI	2	/* rises when something is added */

/* The prototype of super_S, which has that of S. */
#define __super(S)	extern __typeof__(S) __CONCAT(super_, S)

#define KLINK_SHARE_NAME	32

__BEGIN_DECLS
void	*klink_share_of(const char *, size_t, const void *);
void	 klink_unshare(void *);

static __inline void *
klink_share(const char *name, size_t size)
{
	return klink_share_of(name, size, &__gate_home);
}
__END_DECLS

#endif
