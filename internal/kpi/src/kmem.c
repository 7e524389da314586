/*
 * kmem.c: memory, between klink_heap_lo and klink_heap_hi, which the host sets.
 *
 * Shared: everything, under one lock. What kmem knows of its memory lies in front of
 * it, not in it: the blocks that it gives out have no headers, and a module that writes
 * behind a block, or into one that it has freed, cannot lead kmem astray.
 *
 *	pages		free, in a run of pages that is one block, or a slab: blocks of one
 *			class. Free runs are found by their length; neighbours are joined.
 *	notes		2 bytes a block of a slab: the size it was allocated with; or the
 *			next free one. So a wrong size and a second kmem_free are seen.
 *
 * A call that is given up loses what it had allocated, and nothing else.
 */
#include "kpi.h"

/* Data words of the host: addresses. */
u64 klink_heap_lo, klink_heap_hi;

#define PAGE		((u64)PAGE_SIZE)
#define LARGEST		2048			/* block of a slab, bytes */
#define NOTES		(PAGE / 32)		/* blocks in a page, at most */
#define NOTE_FREE	0x8000u			/* + index of the next free block */
#define NOTE_END	0x7fffu
#define BINS		24			/* free runs by the logarithm of their length */
#define NOBODY		0u			/* page 0 is never given out */

enum kind { FREE, BODY, RUN, SLAB };

struct page {
	u16 kind;		/* of its first page; those behind are BODY, the last of a free run names its first */
	u16 class;		/* SLAB */
	u16 used, next_free;	/* SLAB: blocks given out, first free one */
	u32 next, prev;		/* FREE: in its bin; SLAB with free blocks: in its class */
	u64 size;		/* FREE: pages; RUN: bytes that were asked for; last of a free run: its first page */
};

static const u16 classes[] = {
	32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 672, 816, 1024, 1360, LARGEST,
};
#define CLASSES		__arraycount(classes)

static struct {
	struct lock lock;
	bool ready;
	u64 base;		/* address of page 0 */
	u32 npages, first;	/* first: the first page behind what is kept here */
	u32 inuse;		/* pages */
	struct page *page;
	u16 (*note)[NOTES];
	u32 partial[CLASSES];	/* slabs with free blocks */
	u32 bin[BINS];
	kcondvar_t freed;	/* for those that wait for memory */
} heap;

static u32 log2_of(u64 n) { return 63 - (u32)__builtin_clzll(n); }

static void unlink_page(u32 *head, u32 i)
{
	struct page *p = &heap.page[i];

	if (p->prev != NOBODY)
		heap.page[p->prev].next = p->next;
	else
		*head = p->next;
	if (p->next != NOBODY)
		heap.page[p->next].prev = p->prev;
}

static void link_page(u32 *head, u32 i)
{
	struct page *p = &heap.page[i];

	p->prev = NOBODY;
	p->next = *head;
	if (*head != NOBODY)
		heap.page[*head].prev = i;
	*head = i;
}

/* make_free makes n pages from i on a free run. */
static void make_free(u32 i, u32 n)
{
	heap.page[i + n - 1].kind = BODY;
	heap.page[i + n - 1].size = i;
	heap.page[i].kind = FREE;
	heap.page[i].size = n;
	link_page(&heap.bin[log2_of(n)], i);
}

/* prepare lays the heap out, once. The host gives zeroed memory. */
static void prepare(void)
{
	u64 lo = (klink_heap_lo + PAGE - 1) & ~(PAGE - 1), hi = klink_heap_hi & ~(PAGE - 1);

	heap.ready = true;
	cv_init(&heap.freed, "kmem");
	if (lo >= hi || hi - lo >= PAGE << (BINS - 1))
		return;
	u32 n = (u32)((hi - lo) / PAGE);
	u64 kept = n * (sizeof(struct page) + sizeof *heap.note);
	u32 first = (u32)((kept + PAGE - 1) / PAGE);

	if (first >= n)
		return;
	heap.base = lo;
	heap.npages = n;
	heap.first = first;
	heap.note = (void *)lo;
	heap.page = (void *)(lo + n * sizeof *heap.note);
	for (u32 i = 0; i < first; i++)
		heap.page[i].kind = BODY;
	make_free(first, n - first);
}

/* take_run returns the first of n pages, NOBODY if there are none. */
static u32 take_run(u32 n)
{
	u32 i = NOBODY;

	for (u32 b = log2_of(n); b < BINS && i == NOBODY; b++)
		for (i = heap.bin[b]; i != NOBODY && heap.page[i].size < n; i = heap.page[i].next)
			;
	if (i == NOBODY)
		return NOBODY;
	u32 have = (u32)heap.page[i].size;

	unlink_page(&heap.bin[log2_of(have)], i);
	for (u32 k = 0; k < n; k++)
		heap.page[i + k].kind = BODY;
	if (have > n)
		make_free(i + n, have - n);
	heap.inuse += n;
	return i;
}

/* give_run frees n pages from i on, and joins them with their free neighbours. */
static void give_run(u32 i, u32 n)
{
	u32 behind = i + n;

	heap.inuse -= n;
	for (u32 k = 0; k < n; k++)
		heap.page[i + k] = (struct page){ .kind = BODY };
	if (behind < heap.npages && heap.page[behind].kind == FREE) {
		u32 more = (u32)heap.page[behind].size;

		unlink_page(&heap.bin[log2_of(more)], behind);
		heap.page[behind].kind = BODY;
		n += more;
	}
	if (i > heap.first) {
		/* The page before: a free run of one page, the end of a longer one, or in use,
		 * when what it says of a first page does not fit. */
		struct page *before = &heap.page[i - 1];
		u32 start = before->kind == FREE ? i - 1 : (u32)before->size;

		if ((before->kind == FREE || before->kind == BODY) && start >= heap.first && start < i &&
		    heap.page[start].kind == FREE && start + heap.page[start].size == i) {
			unlink_page(&heap.bin[log2_of(heap.page[start].size)], start);
			n += i - start;
			heap.page[i - 1].size = 0;
			i = start;
		}
	}
	make_free(i, n);
}

static u32 class_of(size_t size)
{
	u32 c = 0;

	while (classes[c] < size)
		c++;
	return c;
}

/* new_slab cuts a page into blocks. */
static u32 new_slab(u32 c)
{
	u32 i = take_run(1), n = (u32)PAGE / classes[c];

	if (i == NOBODY)
		return NOBODY;
	heap.page[i] = (struct page){ .kind = SLAB, .class = (u16)c };
	for (u32 k = 0; k < n; k++)
		heap.note[i][k] = (u16)(NOTE_FREE | (k + 1 < n ? k + 1 : NOTE_END));
	link_page(&heap.partial[c], i);
	return i;
}

static void *take_block(size_t size)
{
	u32 c = class_of(size), i = heap.partial[c];

	if (i == NOBODY && (i = new_slab(c)) == NOBODY)
		return NULL;
	struct page *p = &heap.page[i];
	u16 k = p->next_free;

	p->next_free = heap.note[i][k] & (u16)~NOTE_FREE;
	heap.note[i][k] = (u16)size;
	p->used++;
	if (p->next_free == NOTE_END)
		unlink_page(&heap.partial[c], i);
	return (void *)(heap.base + i * PAGE + (u64)k * classes[c]);
}

static void *take(size_t size)
{
	if (size <= LARGEST)
		return take_block(size);
	u32 i = take_run((u32)((size + PAGE - 1) / PAGE));

	if (i == NOBODY)
		return NULL;
	heap.page[i].kind = RUN;
	heap.page[i].size = size;
	return (void *)(heap.base + i * PAGE);
}

/* What is wrong with a kmem_free. */
enum wrong { FINE, NEVER_GIVEN, FREE_ALREADY, OTHER_SIZE };

static enum wrong give_block(u32 i, u64 off, size_t size, u64 *was)
{
	struct page *p = &heap.page[i];
	u16 block = classes[p->class], *note = heap.note[i];
	u64 k = off / block;

	if (off % block != 0 || k >= PAGE / block)
		return NEVER_GIVEN;
	if (note[k] & NOTE_FREE)
		return FREE_ALREADY;
	if ((*was = note[k]) != size)
		return OTHER_SIZE;
	if (p->next_free == NOTE_END)
		link_page(&heap.partial[p->class], i);
	note[k] = (u16)(NOTE_FREE | p->next_free);
	p->next_free = (u16)k;
	if (--p->used == 0 && (p->next != NOBODY || p->prev != NOBODY)) {
		/* The last slab of a class stays. */
		unlink_page(&heap.partial[p->class], i);
		give_run(i, 1);
	}
	return FINE;
}

static enum wrong give(u64 addr, size_t size, u64 *was)
{
	u64 off = addr - heap.base;

	if (heap.npages == 0 || addr < heap.base || off / PAGE >= heap.npages || off / PAGE < heap.first)
		return NEVER_GIVEN;
	u32 i = (u32)(off / PAGE);
	struct page *p = &heap.page[i];

	if (p->kind == SLAB)
		return give_block(i, off % PAGE, size, was);
	if (p->kind == FREE)
		return FREE_ALREADY;
	if (p->kind != RUN || off % PAGE != 0)
		return NEVER_GIVEN;
	if ((*was = p->size) != size)
		return OTHER_SIZE;
	give_run(i, (u32)((size + PAGE - 1) / PAGE));
	return FINE;
}

static void *try(size_t size)
{
	klink_lock(&heap.lock);
	if (!heap.ready)
		prepare();
	void *p = (size - 1) / PAGE < heap.npages ? take(size) : NULL;
	klink_unlock(&heap.lock);
	return p;
}

void *kmem_alloc(size_t size, km_flag_t flags)
{
	void *p;

	if (size == 0)
		panic("kmem_alloc: a size of 0");
	while ((p = try(size)) == NULL && (flags & KM_NOSLEEP) == 0) {
		if ((size - 1) / PAGE >= heap.npages - heap.first)
			klink_give_up("kmem_alloc: %zu bytes are more than the kernel's memory has (%lu)\n",
			    size, (u64)(heap.npages - heap.first) * PAGE);
		u32 seen = klink_cv_prepare(&heap.freed);

		if ((p = try(size)) != NULL) {
			klink_cv_forget();
			break;
		}
		klink_cv_sleep(&heap.freed, seen, 0, &heap.freed, "kmem");
	}
	return p;
}

void *kmem_zalloc(size_t size, km_flag_t flags)
{
	void *p = kmem_alloc(size, flags);

	return p == NULL ? NULL : memset(p, 0, size);
}

void kmem_free(void *p, size_t size)
{
	u64 was = 0;
	enum wrong wrong;

	klink_lock(&heap.lock);
	wrong = give((u64)p, size, &was);
	klink_unlock(&heap.lock);
	switch (wrong) {
	case FINE:
		cv_broadcast(&heap.freed);
		return;
	case NEVER_GIVEN:
		panic("kmem_free: %p was never allocated", p);
	case FREE_ALREADY:
		panic("kmem_free: %p, %zu bytes: it is free already", p, size);
	case OTHER_SIZE:
		panic("kmem_free: %p was allocated with %lu bytes and is freed with %zu", p, was, size);
	}
}

void *kmem_intr_alloc(size_t size, km_flag_t flags) { return kmem_alloc(size, flags); }
void *kmem_intr_zalloc(size_t size, km_flag_t flags) { return kmem_zalloc(size, flags); }
void kmem_intr_free(void *p, size_t size) { kmem_free(p, size); }

size_t kmem_inuse(void)
{
	return __atomic_load_n(&heap.inuse, __ATOMIC_RELAXED) * PAGE;
}

char *kmem_strdupsize(const char *s, size_t *size, km_flag_t flags)
{
	size_t n = strlen(s) + 1;
	char *p = kmem_alloc(n, flags);

	if (p != NULL) {
		memcpy(p, s, n);
		if (size != NULL)
			*size = n;
	}
	return p;
}

char *kmem_strdup(const char *s, km_flag_t flags)
{
	return kmem_strdupsize(s, NULL, flags);
}

char *kmem_strndup(const char *s, size_t most, km_flag_t flags)
{
	size_t n = strnlen(s, most);
	char *p = kmem_alloc(n + 1, flags);

	if (p != NULL) {
		memcpy(p, s, n);
		p[n] = '\0';
	}
	return p;
}

void kmem_strfree(char *s)
{
	if (s != NULL)
		kmem_free(s, strlen(s) + 1);
}

char *kmem_vasprintf(const char *fmt, va_list ap)
{
	va_list again;

	va_copy(again, ap);
	size_t n = (size_t)vsnprintf(NULL, 0, fmt, again) + 1;
	va_end(again);
	char *p = kmem_alloc(n, KM_SLEEP);

	vsnprintf(p, n, fmt, ap);
	return p;
}

char *kmem_asprintf(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	char *p = kmem_vasprintf(fmt, ap);
	va_end(ap);
	return p;
}
