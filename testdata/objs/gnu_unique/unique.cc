/* A variable of an inline function: GNU_UNIQUE, one of it in the world. */
inline int &
unique_counter()
{
	static int counter = 5;
	return counter;
}

int
FUNCTION()
{
	return ++unique_counter();
}
