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
 */
#ifndef _KLINK_KLINK_H_
#define _KLINK_KLINK_H_

#include <sys/param.h>
#include <sys/module.h>
#include <sys/kmem.h>
#include <klink/gate.h>

#define KLINK_KPI	1	/* rises when something is added */

/* The prototype of super_S, which has that of S. */
#define __super(S)	extern __typeof__(S) __CONCAT(super_, S)

#endif
