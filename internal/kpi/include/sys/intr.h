/* sys/intr.h: levels of interrupts. Nothing interrupts here; mutex_init takes them. */
#ifndef _SYS_INTR_H_
#define _SYS_INTR_H_

#define IPL_NONE	0
#define IPL_SOFTCLOCK	1
#define IPL_SOFTBIO	2
#define IPL_SOFTNET	3
#define IPL_SOFTSERIAL	4
#define IPL_VM		5
#define IPL_BIO		IPL_VM
#define IPL_NET		IPL_VM
#define IPL_TTY		IPL_VM
#define IPL_SCHED	6
#define IPL_CLOCK	IPL_SCHED
#define IPL_SERIAL	IPL_SCHED
#define IPL_HIGH	7

#endif
