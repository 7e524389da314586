/* Everything through the GOT: calls and jumps with -fno-plt, addresses and data with -fPIC. */
int callee(int);
int other(int);
extern int variable;
__attribute__((weak)) int maybe(int);

int
call(int x)
{
	return callee(x) + other(x + 1) + 1;
}

int
jump(int x)
{
	return callee(x + 1);
}

int (*address(int x))(int)
{
	return x ? callee : other;
}

int
load(void)
{
	return variable++;
}

int
present(int x)
{
	return maybe ? maybe(x) : 0;
}
