/* A resolver whose answer is not in its module's text. */
extern int somewhere[];
int somewhere[4];

static int (*resolve(void))(int)
{
	return (int (*)(int))somewhere;
}

int wild(int) __attribute__((ifunc("resolve")));

int
wild_user(int x)
{
	return wild(x) + 1;
}
