/* The large model: 64-bit addresses in code; with -fPIC, offsets from the GOT. */
int callee(int);
extern int variable;
static int own_data[4] = { 1 };

static __attribute__((noinline)) int
local_function(int x)
{
	return x + own_data[x & 3];
}

int
large(int x)
{
	return callee(x) + local_function(x) + variable;
}

int *
large_address(void)
{
	return &variable;
}
