/* Kernel threads, sleeping without a condition variable, and lines in the log. */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/kmem.h>
#include <sys/kthread.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/atomic.h>

static volatile unsigned runs;
static lwp_t *volatile seen;
static kmutex_t lock;
static int ident;
static volatile int flag;
static volatile int *volatile nowhere = (volatile int *)24;

void
threads_init(void)
{
	mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
	runs = 0;
	flag = 0;
}

static int __noinline
leave(int depth)
{
	volatile char room[100];

	room[depth % 100] = 1;
	if (depth == 1000)
		return 0;
	if (depth > 0)
		return leave(depth - 1) + room[depth % 100];
	kthread_exit(0);
}

static void
body(void *arg)
{
	unsigned long how = (unsigned long)arg;

	seen = curlwp;
	atomic_inc_uint(&runs);
	switch (how) {
	case 0:
		return;
	case 1:
		leave(20);
	case 2:
		kpause("nap", false, 2, NULL);
		kthread_exit(0);
	case 3:
		printf("about to fault");
		*nowhere = 1;
	}
}

/* Make n threads that must be joined, and join them; how many ran. */
unsigned long
create_join(unsigned long n, unsigned long how)
{
	lwp_t *l[64];
	unsigned before = runs;

	for (unsigned long i = 0; i < n; i++)
		if (kthread_create(PRI_NONE, KTHREAD_MPSAFE | KTHREAD_MUSTJOIN, NULL, body, (void *)how, &l[i], "body%lu", i) != 0)
			return 1000 + i;
	for (unsigned long i = 0; i < n; i++)
		if (kthread_join(l[i]) != 0)
			return 2000 + i;
	if (n == 1 && seen != l[0])
		return 3000;
	return runs - before;
}

/* Threads that nobody joins. */
unsigned long
create(unsigned long n, unsigned long how)
{
	unsigned long i;

	for (i = 0; i < n; i++) {
		int error = kthread_create(PRI_NONE, 0, NULL, body, (void *)how, NULL, "alone");

		if (error != 0)
			return 1000 + error;
	}
	return i;
}

unsigned long
ran(void)
{
	return runs;
}

static void
stay(void *arg)
{
	mutex_enter(&lock);
	atomic_inc_uint(&runs);
	while (!flag)
		mtsleep(&ident, PWAIT, "stay", 0, &lock);
	mutex_exit(&lock);
	kthread_exit(0);
}

/* As many threads as there are; how many, and the error. Then let them go. */
unsigned long
exhaust(void)
{
	static lwp_t *l[2000];
	unsigned long n = 0;
	int error;

	while ((error = kthread_create(PRI_NONE, KTHREAD_MUSTJOIN, NULL, stay, NULL, &l[n], "stay%lu", n)) == 0)
		n++;
	if (l[n] != NULL)
		return 1;
	mutex_enter(&lock);
	flag = 1;
	wakeup(&ident);
	mutex_exit(&lock);
	for (unsigned long i = 0; i < n; i++)
		kthread_join(l[i]);
	return n << 8 | error;
}

unsigned long
sleep_flag(void)
{
	mutex_enter(&lock);
	while (!flag)
		mtsleep(&ident, PWAIT, "flag", 0, &lock);
	mutex_exit(&lock);
	return 9;
}

unsigned long
set_flag(void)
{
	mutex_enter(&lock);
	flag = 1;
	wakeup(&ident);
	mutex_exit(&lock);
	return 0;
}

unsigned long
nap(int ticks)
{
	return tsleep(&ident, PWAIT, "nap", ticks);
}

unsigned long
exit_call(void)
{
	kthread_exit(0);
}

unsigned long
self(void)
{
	return curlwp == curlwp && curlwp->l_cpu == cpu_number() && cold == 0 && hz == 1000 && tick == 1000 &&
	    mstohz(5) == 5 && hztoms(7) == 7;
}

/* Lines. */
void
say(const char *text)
{
	printf("%s", text);
}

void
say_lines(unsigned long n, unsigned long from)
{
	for (unsigned long i = 0; i < n; i++)
		printf("line %lu\n", from + i);
}

void
say_parts(unsigned long n)
{
	for (unsigned long i = 0; i < n; i++) {
		printf("<");
		printf("%lu", i);
		printf(">\n");
	}
}

unsigned long
say_bad(void)
{
	printf("bad: %s\n", (const char *)40);
	return 0;
}

unsigned long
smash(unsigned long n)
{
	volatile char room[16];

	for (unsigned long i = 0; i < n; i++)
		*(volatile char *)((unsigned long)room + i) = 'x';
	return room[0];
}

void
die(const char *why)
{
	panic("%s: %d\n", why, 42);
}

void
stop(void)
{
	abort();
}
