/*
 * Tail jumps that the x86 assembler binds for good unless it is told not to:
 * to a strong global of the same section, short and long.
 */
__attribute__((noinline)) int
inner(int x)
{
	__asm__ volatile ("");
	return x * 3;
}

int
outer(int x)
{
	return inner(x + 1);
}

int
outer_far(int x)
{
	__asm__ volatile (".skip 300, 0x90");
	return inner(x + 2);
}
