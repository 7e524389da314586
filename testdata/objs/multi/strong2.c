/* A second strong one: an error within a module. */
int
chosen(int x)
{
	return x + x;
}
