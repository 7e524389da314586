/* COMMON symbols of which large.c has larger and stricter ones. */
int shared_counter;
char shared_buffer[16];

int
small_bump(void)
{
	shared_buffer[3] = 1;
	return ++shared_counter;
}
