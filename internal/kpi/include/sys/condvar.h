/*
 * sys/condvar.h: condition variables.
 *
 * A wait may end for no reason, so it stands in a loop over the condition, as it has
 * to anyway. Waiters leave nothing in the condition variable: those that were woken
 * do not look at it again, so it may be destroyed and freed behind cv_broadcast; those
 * that were given up are forgotten. The _sig forms are never interrupted. A timeout is
 * in ticks (hz, mstohz), 0 is none.
 */
#ifndef _SYS_CONDVAR_H_
#define _SYS_CONDVAR_H_

#include <sys/types.h>
#include <sys/mutex.h>

struct kcondvar {
	volatile uint32_t cv_word;	/* futex: bit 0, somebody waits; above, a number that wake-ups raise */
	uint32_t	 cv_magic;
	const char	*cv_wmesg;
};
typedef struct kcondvar kcondvar_t;

__BEGIN_DECLS
void	cv_init(kcondvar_t *, const char *);
void	cv_destroy(kcondvar_t *);
void	cv_wait(kcondvar_t *, kmutex_t *);
int	cv_wait_sig(kcondvar_t *, kmutex_t *);
int	cv_timedwait(kcondvar_t *, kmutex_t *, int);
int	cv_timedwait_sig(kcondvar_t *, kmutex_t *, int);
void	cv_signal(kcondvar_t *);
void	cv_broadcast(kcondvar_t *);
bool	cv_has_waiters(kcondvar_t *);
bool	cv_is_valid(kcondvar_t *);
__END_DECLS

#endif
