/* Tail jumps: to an undefined name, to an own weak one. */
int callee(int);

__attribute__((weak)) int
own(int x)
{
	return x + 1;
}

int
to_undefined(int x)
{
	return callee(x + 1);
}

int
to_own(int x)
{
	return own(x + 2);
}
