int nobody_has_this(int);

int
unneeded(int x)
{
	return nobody_has_this(x);
}
