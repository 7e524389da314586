/* Shared memory: windows given out, zeroed, given back; what is refused. */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/atomic.h>
#include <klink/klink.h>

#define LARGEST	(1 << 20)

static volatile unsigned long inside[16];	/* who believes to have window i */
static char *first;

char *
one(const char *name, size_t size)
{
	return klink_share(name, size);
}

/* A name that cannot be read, from a module that still is there afterwards. */
char *
badly_named(void)
{
	return klink_share((const char *)8, 1);
}

void
back(char *p)
{
	klink_unshare(p);
}

/* Take all there are, fill and give back; how many they were, -1 if one was not zeroed. */
long
all(size_t size)
{
	char *p[16];
	long n = 0;

	while (n < 16 && (p[n] = klink_share("all", size)) != NULL) {
		for (size_t i = 0; i < LARGEST; i += 509)
			if (p[n][i] != 0)
				return -1;
		memset(p[n], 0xff, LARGEST);
		n++;
	}
	for (long i = 0; i < n; i++)
		klink_unshare(p[i]);
	return n;
}

/* Remember the first window for contend. */
char *
remember(void)
{
	first = klink_share("first", 1);
	klink_unshare(first);
	return first;
}

/* Take and give back n times, on many threads; how often a window had two owners. */
unsigned long
contend(unsigned long n, unsigned long stride)
{
	unsigned long wrong = 0;

	for (unsigned long i = 0; i < n; i++) {
		char *p = klink_share("contended", 64);

		if (p == NULL)
			continue;
		unsigned long w = (unsigned long)(p - first) / stride % 16;

		wrong += atomic_inc_ulong_nv(&inside[w]) != 1;
		wrong += p[0] != 0;
		p[0] = 1;
		wrong += atomic_dec_ulong_nv(&inside[w]) != 0;
		klink_unshare(p);
	}
	return wrong;
}
