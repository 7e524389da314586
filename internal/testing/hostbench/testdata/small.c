/* What hostbench's small module has: two functions, two calls, a pointer. */
void
own(void)
{
}

void
quiet(void)
{
}

void (*pointer)(void) = quiet;

void
run(void)
{
	own();
	pointer();
}
