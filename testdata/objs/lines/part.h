/* A function whose lines are another file's. */

static __attribute__((noinline)) int part(int n)
{
	int sum = 0;

	for (int i = 0; i < n; i++) {
		sum += use(i);
		if (sum > 100)
			return sum;
	}
	return sum + 1;
}

static inline int inlined(int n)
{
	return use(n) +
	    2;
}
