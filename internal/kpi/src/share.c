/*
 * share.c: memory that other programs may map, read-only (klink_share).
 *
 * It comes from the runner's windows, a whole one each time: what lies behind the size
 * that was asked for is mapped with it.
 *
 * Shared: the table of windows. Whoever takes one holds the lock, in a critical section.
 * An entry whose home is 0 is free; the host makes those free whose home lies in a
 * module that it has reclaimed, so home is one word, written last.
 */
#include "kpi.h"
#include <klink/klink.h>

struct shared {
	u64 home;		/* an address in the module that shares it; 0: nobody does */
	u64 size;		/* bytes that it asked for */
	u32 dirty;		/* it was given out before */
	u32 pad;
	char name[KLINK_SHARE_NAME];
};

/* The host reads these. */
KLINK_AT(shared, size, 8);
KLINK_AT(shared, name, 24);
_Static_assert(sizeof(struct shared) == 56, "shared");

struct shared klink_windows[KLINK_WINDOWS];
static struct lock lock;

static u32 nwindows(struct klink_thread *t)
{
	u32 n = config(t)->window_count;

	return n < KLINK_WINDOWS ? n : KLINK_WINDOWS;
}

static u64 window(struct klink_thread *t, u32 i)
{
	return config(t)->windows + i * config(t)->window_stride;
}

void *klink_share_of(const char *name, size_t size, const void *home)
{
	struct klink_thread *t = self();
	char called[KLINK_SHARE_NAME];
	void *p = NULL;

	if (size == 0 || size > config(t)->window_size)
		return NULL;
	strlcpy(called, name, sizeof called);	/* may fault: not under the lock */
	klink_lock(&lock);
	for (u32 i = 0; i < nwindows(t) && p == NULL; i++) {
		struct shared *s = &klink_windows[i];

		if (load(&s->home) != 0)
			continue;
		p = (void *)window(t, i);
		if (s->dirty)
			memset(p, 0, config(t)->window_size);
		s->dirty = 1;
		s->size = size;
		memcpy(s->name, called, sizeof called);
		store(&s->home, (u64)home);
	}
	klink_unlock(&lock);
	return p;
}

void klink_unshare(void *p)
{
	struct klink_thread *t = self();
	bool was = p == NULL;

	klink_lock(&lock);
	for (u32 i = 0; i < nwindows(t); i++)
		if ((u64)p == window(t, i) && load(&klink_windows[i].home) != 0) {
			store(&klink_windows[i].home, 0);
			was = true;
		}
	klink_unlock(&lock);
	if (!was)
		klink_give_up("klink_unshare: %p is not shared; so this call of thread %u ends\n", p, t->index);
}
