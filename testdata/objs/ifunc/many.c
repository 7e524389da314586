/* Functions chosen at load: two of one resolver, a local one, and a call through a pointer.
 * The resolver looks at the module's own data, which is relocated by then. */
static int plus(int x) { return x + 10; }
static int minus(int x) { return x - 10; }
static int (*const table[])(int) = { plus, minus };
int many_choice = 1;

static int (*resolve(void))(int)
{
	return table[many_choice];
}

int many_one(int) __attribute__((ifunc("resolve")));
int many_two(int) __attribute__((ifunc("resolve")));
static int many_local(int) __attribute__((ifunc("resolve")));

int (*many_pointers[])(int) = { many_one, many_local };

int
many_calls(int x)
{
	return many_one(x) + many_two(x + 1) + many_local(x + 2);
}

int
many_through(int i, int x)
{
	return many_pointers[i](x);
}
