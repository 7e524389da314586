/*
 * dlopen FILE [N]: load and unload a shared object N times, else once. With N the
 * nanoseconds of each dlopen and dlclose are printed, a line each.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

int
main(int argc, char **argv)
{
	int i, n;

	if (argc < 2)
		return 2;
	n = argc > 2 ? atoi(argv[2]) : 1;
	for (i = 0; i < n; i++) {
		long start, loaded;
		void *so;

		start = now();
		if ((so = dlopen(argv[1], RTLD_NOW)) == NULL) {
			fprintf(stderr, "%s\n", dlerror());
			return 1;
		}
		loaded = now();
		dlclose(so);
		if (argc > 2)
			printf("%ld %ld\n", loaded - start, now() - loaded);
	}
	return 0;
}
