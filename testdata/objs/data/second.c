/* Needs the data of another module. */
extern int module_data;

int
second_sum(void)
{
	return ++module_data;
}
