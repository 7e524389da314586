/* sys/proc.h: sleeping and waking without a condition variable, and giving way. */
#ifndef _SYS_PROC_H_
#define _SYS_PROC_H_

#include <sys/types.h>
#include <sys/lwp.h>
#include <sys/mutex.h>

__BEGIN_DECLS
/* Timeouts are in ticks; 0 is none. All return 0, or EWOULDBLOCK when it is over. */
int	tsleep(const void *, pri_t, const char *, int);
int	mtsleep(const void *, pri_t, const char *, int, kmutex_t *);
int	kpause(const char *, bool, int, kmutex_t *);
void	wakeup(const void *);
void	wakeup_one(const void *);
void	yield(void);
void	preempt(void);
void	preempt_point(void);
bool	preempt_needed(void);
__END_DECLS

#endif
