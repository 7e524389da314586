/* The provider that call.c needs; it gives a name that nobody asks for, too. */
int
callee(int x)
{
	return x * 2;
}

int
unused(int x)
{
	return x;
}
