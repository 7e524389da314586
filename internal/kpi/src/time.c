/*
 * time.c: clocks, delays, and the one way to sleep.
 *
 * Nothing is shared here. A thread sleeps in klink_wait only, never in a critical
 * section; it can be given up there.
 */
#include "kpi.h"

int hz = HZ;
int tick = 1000000 / HZ;
int cold = 0;

#define CLOCK_REALTIME	0
#define CLOCK_MONOTONIC	1

static struct timespec clock(int id)
{
	struct timespec ts = { 0, 0 };

	syscall4(SYS_clock_gettime, (u64)id, (u64)&ts, 0, 0);
	return ts;
}

/* klink_now returns CLOCK_MONOTONIC in ns. */
u64 klink_now(void)
{
	struct timespec ts = clock(CLOCK_MONOTONIC);

	return (u64)ts.tv_sec * NSEC + (u64)ts.tv_nsec;
}

/* klink_deadline returns when timo ticks from now are over; 0, never, for a timo of 0.
 * A negative one is over now. The host may have given the call a deadline: then that is
 * the latest, so that a FINI can refuse before it is given up. */
u64 klink_deadline(int timo)
{
	u64 least = self()->deadline;

	if (timo == 0)
		return least;
	u64 end = klink_now() + (timo < 0 ? 0 : (u64)timo * (NSEC / HZ));

	return least != 0 && least < end ? least : end;
}

/*
 * klink_wait sleeps while *word is seen, until somebody wakes the word or the deadline
 * has passed: false in the latter case only. It may return for no reason. on and why
 * are what the host shows: the object, and the wait's name.
 *
 * The word is not looked at afterwards: it may not exist any more.
 */
bool klink_wait(const volatile u32 *word, u32 seen, u64 deadline, const volatile void *on, const char *why)
{
	struct klink_thread *t = self();
	struct timespec ts = { (time_t)(deadline / NSEC), (long)(deadline % NSEC) };

	if (t->critical != 0)
		panic("sleep for %p (%s) in a critical section", on, why);
	t->sleep_on = (u64)on;
	t->sleep_why = (u64)why;
	t->sleep_since = klink_now();
	return klink_sleep(word, seen, deadline ? &ts : 0, t) != -ETIMEDOUT;
}

void delay(unsigned int us)
{
	u64 until = klink_now() + (u64)us * 1000;

	while (klink_now() < until)
		pause_cpu();
}

void nanouptime(struct timespec *ts) { *ts = clock(CLOCK_MONOTONIC); }
void getnanouptime(struct timespec *ts) { nanouptime(ts); }
void nanotime(struct timespec *ts) { *ts = clock(CLOCK_REALTIME); }
void getnanotime(struct timespec *ts) { nanotime(ts); }

static void micro(struct timeval *tv, int id)
{
	struct timespec ts = clock(id);

	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = (suseconds_t)(ts.tv_nsec / 1000);
}

void microuptime(struct timeval *tv) { micro(tv, CLOCK_MONOTONIC); }
void getmicrouptime(struct timeval *tv) { micro(tv, CLOCK_MONOTONIC); }
void microtime(struct timeval *tv) { micro(tv, CLOCK_REALTIME); }
void getmicrotime(struct timeval *tv) { micro(tv, CLOCK_REALTIME); }

void binuptime(struct bintime *bt)
{
	struct timespec ts = clock(CLOCK_MONOTONIC);

	timespec2bintime(&ts, bt);
}

void getbinuptime(struct bintime *bt) { binuptime(bt); }

time_t getuptime(void) { return clock(CLOCK_MONOTONIC).tv_sec; }
time_t getrealtime(void) { return clock(CLOCK_REALTIME).tv_sec; }
int getticks(void) { return (int)(u32)(klink_now() / (NSEC / HZ)); }

/* ticks returns how many are in a time, rounded up; at most what an int holds. */
static int ticks(time_t sec, u64 nsec)
{
	if (sec < 0)
		return 0;
	if (sec >= INT32_MAX / HZ)
		return INT32_MAX;
	return (int)((u64)sec * HZ + (nsec + NSEC / HZ - 1) / (NSEC / HZ));
}

int tvtohz(const struct timeval *tv) { return ticks(tv->tv_sec, (u64)tv->tv_usec * 1000); }
int tstohz(const struct timespec *ts) { return ticks(ts->tv_sec, (u64)ts->tv_nsec); }
