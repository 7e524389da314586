/*
 * sys/time.h: times, and the clocks that say them.
 *
 * ...uptime clocks count from the machine's start and never go back; the others are
 * the time of day. The get... forms cost the same here, and are as exact.
 */
#ifndef _SYS_TIME_H_
#define _SYS_TIME_H_

#include <sys/types.h>

struct timeval {
	time_t		tv_sec;
	suseconds_t	tv_usec;
};

struct timespec {
	time_t		tv_sec;
	long		tv_nsec;
};

struct bintime {
	time_t		sec;
	uint64_t	frac;	/* of a second, in units of 2^-64 */
};

#define timerclear(tvp)		((tvp)->tv_sec = (tvp)->tv_usec = 0)
#define timerisset(tvp)		((tvp)->tv_sec || (tvp)->tv_usec)
#define timercmp(a, b, cmp)	((a)->tv_sec == (b)->tv_sec ?		\
	((a)->tv_usec cmp (b)->tv_usec) : ((a)->tv_sec cmp (b)->tv_sec))
#define timeradd(a, b, to) do {						\
	(to)->tv_sec = (a)->tv_sec + (b)->tv_sec;			\
	(to)->tv_usec = (a)->tv_usec + (b)->tv_usec;			\
	if ((to)->tv_usec >= 1000000) {					\
		(to)->tv_sec++;						\
		(to)->tv_usec -= 1000000;				\
	}								\
} while (0)
#define timersub(a, b, to) do {						\
	(to)->tv_sec = (a)->tv_sec - (b)->tv_sec;			\
	(to)->tv_usec = (a)->tv_usec - (b)->tv_usec;			\
	if ((to)->tv_usec < 0) {					\
		(to)->tv_sec--;						\
		(to)->tv_usec += 1000000;				\
	}								\
} while (0)

#define timespecclear(tsp)	((tsp)->tv_sec = (tsp)->tv_nsec = 0)
#define timespecisset(tsp)	((tsp)->tv_sec || (tsp)->tv_nsec)
#define timespeccmp(a, b, cmp)	((a)->tv_sec == (b)->tv_sec ?		\
	((a)->tv_nsec cmp (b)->tv_nsec) : ((a)->tv_sec cmp (b)->tv_sec))
#define timespecadd(a, b, to) do {					\
	(to)->tv_sec = (a)->tv_sec + (b)->tv_sec;			\
	(to)->tv_nsec = (a)->tv_nsec + (b)->tv_nsec;			\
	if ((to)->tv_nsec >= 1000000000L) {				\
		(to)->tv_sec++;						\
		(to)->tv_nsec -= 1000000000L;				\
	}								\
} while (0)
#define timespecsub(a, b, to) do {					\
	(to)->tv_sec = (a)->tv_sec - (b)->tv_sec;			\
	(to)->tv_nsec = (a)->tv_nsec - (b)->tv_nsec;			\
	if ((to)->tv_nsec < 0) {					\
		(to)->tv_sec--;						\
		(to)->tv_nsec += 1000000000L;				\
	}								\
} while (0)

static __inline void
timespec2bintime(const struct timespec *ts, struct bintime *bt)
{
	bt->sec = ts->tv_sec;
	bt->frac = (uint64_t)ts->tv_nsec * 18446744073ULL;	/* 2^64 / 10^9, down */
}

static __inline void
bintime2timespec(const struct bintime *bt, struct timespec *ts)
{
	ts->tv_sec = bt->sec;
	ts->tv_nsec = (long)((1000000000ULL * (uint32_t)(bt->frac >> 32)) >> 32);
}

__BEGIN_DECLS
void	nanouptime(struct timespec *);
void	getnanouptime(struct timespec *);
void	microuptime(struct timeval *);
void	getmicrouptime(struct timeval *);
void	binuptime(struct bintime *);
void	getbinuptime(struct bintime *);
void	nanotime(struct timespec *);
void	getnanotime(struct timespec *);
void	microtime(struct timeval *);
void	getmicrotime(struct timeval *);
time_t	getuptime(void);
time_t	getrealtime(void);
int	tvtohz(const struct timeval *);
int	tstohz(const struct timespec *);
__END_DECLS

#define time_uptime	(getuptime())
#define time_second	(getrealtime())

#endif
