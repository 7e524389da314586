/* Constructors and destructors, with and without priority, global and static. */
int init_log[8], init_count;

__attribute__((constructor(101))) void
init_first(void)
{
	init_log[init_count++] = 1;
}

__attribute__((constructor)) void
init_second(void)
{
	init_log[init_count++] = 2;
}

__attribute__((constructor)) static void
init_third(void)
{
	init_log[init_count++] = 3;
}

__attribute__((destructor)) void
fini_first(void)
{
	init_log[init_count++] = -1;
}
