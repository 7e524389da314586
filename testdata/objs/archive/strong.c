/* The strong one of two. */
int
choose(int x)
{
	return -x;
}

int
strong_only(int x)
{
	return x;
}
