/* Two unrelated modules with one strong helper of the same name. */
__attribute__((noinline)) int
helper(int x)
{
	return x + NUMBER;
}

int
USER(int x)
{
	return helper(x) + 1;
}
