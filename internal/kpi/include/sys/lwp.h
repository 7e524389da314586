/*
 * sys/lwp.h: threads, as far as modules see them.
 *
 * Threads of the pool are CPUs in one respect: cpu_number() is the thread's number,
 * which no other thread has, and which does not change during a call.
 */
#ifndef _SYS_LWP_H_
#define _SYS_LWP_H_

#include <sys/types.h>

struct lwp {
	void		(*l_func)(void *);	/* of a kernel thread; the host reads it here */
	void		 *l_arg;
	const char	 *l_name;
	uint32_t	  l_flag;
	volatile uint32_t l_gone;		/* futex: 1 when it has ended */
	uint32_t	  l_cpu;		/* the number of the thread that runs it */
	uint32_t	  l_spare;
};

__BEGIN_DECLS
struct lwp	*klink_curlwp(void);
u_int		 cpu_number(void);
__END_DECLS

#define curlwp		(klink_curlwp())

#endif
