extern int kern_ticks;
extern unsigned long kern_zero[8];
extern const char kern_version[];
int module_data = 7;
int *module_pointer = &kern_ticks;

int
user_sum(int i)
{
	return kern_ticks + kern_zero[i] + kern_version[i] + module_data;
}
