/* Data that modules share: initialised, zero, constant. */
int kern_ticks = 100;
unsigned long kern_zero[8];
const char kern_version[] = "klink 1";

int
kern_tick(void)
{
	return ++kern_ticks;
}
