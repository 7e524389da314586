/* Debug data: relocations in sections that are not allocated. */
int callee(int);

struct thing { int a; struct thing *next; };
static struct thing head = { 1, &head };

static int
inlined(int x)
{
	return callee(x) + head.a;
}

int
debug_user(int x)
{
	return inlined(x) + inlined(x + 1);
}
