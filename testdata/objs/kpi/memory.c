/* kmem under many threads, and what it says of mistakes. */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kmem.h>
#include <sys/proc.h>

#define BLOCKS	64

static unsigned long
next(unsigned long *state)
{
	*state = *state * 6364136223846793005ul + 1442695040888963407ul;
	return *state >> 33;
}

/* A size: mostly small, sometimes pages. */
static size_t
some_size(unsigned long *state)
{
	unsigned long r = next(state);

	switch (r % 8) {
	case 0:
		return 1 + next(state) % 40000;
	case 1:
		return 1 + next(state) % 4096;
	default:
		return 1 + next(state) % 300;
	}
}

/* Allocate and free n times, each block filled with its own number; 0, or what went
 * wrong. */
unsigned long
stress(unsigned long seed, unsigned long n)
{
	struct {
		unsigned char *p;
		size_t size;
		unsigned char fill;
	} block[BLOCKS] = { { 0 } };
	unsigned long wrong = 0;

	for (unsigned long i = 0; i < n + BLOCKS; i++) {
		unsigned k = i < n ? next(&seed) % BLOCKS : i - n;

		if (block[k].p != NULL) {
			for (size_t j = 0; j < block[k].size; j++)
				wrong += block[k].p[j] != block[k].fill;
			kmem_free(block[k].p, block[k].size);
			block[k].p = NULL;
		} else if (i < n) {
			block[k].size = some_size(&seed);
			block[k].fill = (unsigned char)next(&seed);
			block[k].p = next(&seed) % 2 != 0 ? kmem_alloc(block[k].size, KM_SLEEP) :
			    kmem_zalloc(block[k].size, KM_SLEEP);
			if ((unsigned long)block[k].p % (block[k].size > 2048 ? 4096 : 16) != 0)
				wrong += 1000000;
			memset(block[k].p, block[k].fill, block[k].size);
		}
	}
	return wrong;
}

/* Is memory of kmem_zalloc cleared, whatever was there before? */
unsigned long
zeroed(size_t size)
{
	unsigned char *p = kmem_alloc(size, KM_SLEEP);
	unsigned long wrong = 0;

	memset(p, 0xa5, size);
	kmem_free(p, size);
	p = kmem_zalloc(size, KM_SLEEP);
	for (size_t i = 0; i < size; i++)
		wrong += p[i] != 0;
	kmem_free(p, size);
	return wrong;
}

unsigned long
inuse(void)
{
	return kmem_inuse();
}

unsigned long
too_much(size_t size, unsigned flags)
{
	return kmem_alloc(size, flags) != NULL;
}

/* Take all memory in blocks of size, then give it back; how many there were. */
unsigned long
take_all(size_t size)
{
	struct link { struct link *next; } *all = NULL, *l;
	unsigned long n = 0;

	while ((l = kmem_alloc(size, KM_NOSLEEP)) != NULL) {
		l->next = all;
		all = l;
		n++;
	}
	while ((l = all) != NULL) {
		all = l->next;
		kmem_free(l, size);
	}
	return n;
}

static char *kept[4096];
static unsigned nkept;

/* Take all memory, and keep it until give_back. */
unsigned long
keep_all(void)
{
	nkept = 0;
	while (nkept < __arraycount(kept) && (kept[nkept] = kmem_alloc(65536, KM_NOSLEEP)) != NULL)
		nkept++;
	return nkept;
}

unsigned long
give_back(void)
{
	for (unsigned i = 0; i < nkept; i++)
		kmem_free(kept[i], 65536);
	return nkept;
}

unsigned long
patient(void)
{
	char *p = kmem_alloc(65536, KM_SLEEP);

	p[0] = p[65535] = 1;
	kmem_free(p, 65536);
	return 5;
}

unsigned long
free_twice(size_t size)
{
	char *p = kmem_alloc(size, KM_SLEEP);

	kmem_free(p, size);
	kmem_free(p, size);
	return 0;
}

unsigned long
free_other(size_t size, size_t as)
{
	kmem_free(kmem_alloc(size, KM_SLEEP), as);
	return 0;
}

unsigned long
free_inside(size_t size)
{
	char *p = kmem_alloc(size, KM_SLEEP);

	kmem_free(p + 16, size);
	return 0;
}

unsigned long
free_foreign(void)
{
	static char mine[64];

	kmem_free(mine, sizeof mine);
	return 0;
}

unsigned long
strings(void)
{
	size_t size;
	char *a = kmem_asprintf("%s-%d", "abc", 42), *b = kmem_strdupsize(a, &size, KM_SLEEP);
	char *c = kmem_strndup(a, 3, KM_SLEEP);
	unsigned long good = strcmp(a, "abc-42") == 0 && strcmp(a, b) == 0 && size == 7 && strcmp(c, "abc") == 0;

	kmem_strfree(a);
	kmem_free(b, size);
	kmem_strfree(c);
	kmem_strfree(NULL);
	return good;
}

unsigned long
pair(void)
{
	kmem_free(kmem_alloc(100, KM_SLEEP), 100);
	return 0;
}
