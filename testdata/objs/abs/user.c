/* Absolute symbols are data: their address is their value. */
extern char abs_small[], abs_large[];

unsigned long abs_values[] = { (unsigned long)abs_small, (unsigned long)abs_large };

unsigned long
abs_sum(void)
{
	return abs_values[0] + abs_values[1];
}
