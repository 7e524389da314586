/* A default of call.c's callee. */
__attribute__((weak)) int
callee(int x)
{
	return x;
}
