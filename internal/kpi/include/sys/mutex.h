/*
 * sys/mutex.h: mutual exclusion.
 *
 * Adaptive and spin mutexes are the same here: a thread that finds one held looks
 * again a few times, then sleeps. Entering a mutex that one holds, leaving one that
 * one does not hold, or using one that was not initialised is a panic.
 *
 * A call that is given up (a fault, its time limit) while it holds a mutex leaves it
 * abandoned: nobody can know in what state the call left what the mutex protects. Who
 * enters it, or waits for it, prints a line that says so, and its call ends.
 * mutex_destroy and mutex_init make the mutex usable again.
 */
#ifndef _SYS_MUTEX_H_
#define _SYS_MUTEX_H_

#include <sys/types.h>
#include <sys/intr.h>

typedef enum kmutex_type_t {
	MUTEX_SPIN	= 0,
	MUTEX_ADAPTIVE	= 1,
	MUTEX_DEFAULT	= 2,
	MUTEX_DRIVER	= 3,
	MUTEX_NODEBUG	= 4
} kmutex_type_t;

struct kmutex {
	volatile uint32_t mtx_word;	/* who owns it, and whether others wait; futex */
	uint32_t	 mtx_magic;
};
typedef struct kmutex kmutex_t;

__BEGIN_DECLS
void	mutex_init(kmutex_t *, kmutex_type_t, int);
void	mutex_destroy(kmutex_t *);
void	mutex_enter(kmutex_t *);
void	mutex_exit(kmutex_t *);
int	mutex_tryenter(kmutex_t *);
int	mutex_owned(const kmutex_t *);
int	mutex_ownable(const kmutex_t *);
void	mutex_spin_enter(kmutex_t *);
void	mutex_spin_exit(kmutex_t *);
__END_DECLS

#endif
