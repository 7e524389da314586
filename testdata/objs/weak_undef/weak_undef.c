/* Weak references that nobody may provide: tests, calls, addresses in data. */
__attribute__((weak)) int maybe(int);
__attribute__((weak)) extern int maybe_data;

int (*stored)(int) = maybe;

int
call(int x)
{
	if (maybe)
		return maybe(x) + 1;
	return x;
}

int
tail(int x)
{
	return maybe(x);
}

int *
data(void)
{
	return &maybe_data;
}
