/* C that is unwound through: only tables name the personality routine. */
int may_throw(int);

static void
release(int *p)
{
	*p = 0;
}

int
cleans(int x)
{
	int local __attribute__((cleanup(release))) = x;

	return may_throw(local) + local;
}
