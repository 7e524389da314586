/*
 * sys/kthread.h: kernel threads.
 *
 * A kernel thread is one of the runner's threads, taken from the pool until its
 * function returns or it calls kthread_exit. With none left kthread_create gives
 * EAGAIN. The priority and the CPU are accepted and not used. One that was created with
 * KTHREAD_MUSTJOIN has to be joined, once, by whoever created it.
 */
#ifndef _SYS_KTHREAD_H_
#define _SYS_KTHREAD_H_

#include <sys/types.h>
#include <sys/lwp.h>
#include <sys/proc.h>

#define KTHREAD_IDLE		0x01
#define KTHREAD_MPSAFE		0x02
#define KTHREAD_INTR		0x04
#define KTHREAD_TS		0x08
#define KTHREAD_MUSTJOIN	0x10

struct cpu_info;

__BEGIN_DECLS
int	kthread_create(pri_t, int, struct cpu_info *, void (*)(void *), void *,
	    lwp_t **, const char *, ...) __printflike(7, 8);
void	kthread_exit(int) __dead;
int	kthread_join(lwp_t *);
__END_DECLS

#endif
