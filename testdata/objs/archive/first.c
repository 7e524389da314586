/* Needed by main, needs second in turn. */
int second(int);

int
first(int x)
{
	return second(x) + 1;
}
