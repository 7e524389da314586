int shared_counter;
char shared_buffer[4096] __attribute__((aligned(64)));

int
large_bump(void)
{
	shared_buffer[4000] = 1;
	return ++shared_counter;
}
