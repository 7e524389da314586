/* A second, weak definition of it: allowed, and not the one that is used. */
__attribute__((weak)) int kern_ticks = 1;

int
weak_ticks(void)
{
	return kern_ticks;
}
