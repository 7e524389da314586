/* The kernel of stay.kmod: a place to sleep in until somebody calls go_on. */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/mutex.h>
#include <sys/proc.h>

static kmutex_t lock;
static int ready, going;

void
stay_init(void)
{
	if (!ready)
		mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
	ready = 1;
	going = 0;
}

void
stay_here(void)
{
	mutex_enter(&lock);
	while (!going)
		mtsleep(&going, PWAIT, "stay", 0, &lock);
	mutex_exit(&lock);
}

void
go_on(void)
{
	mutex_enter(&lock);
	going = 1;
	wakeup(&going);
	mutex_exit(&lock);
}
