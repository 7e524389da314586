int
chosen(int x)
{
	return -x;
}

int
multi_strong(int x)
{
	return chosen(x) + 2;
}
