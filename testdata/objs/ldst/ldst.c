/* Loads and stores of every width at the low twelve bits of an address. */
typedef unsigned char v16 __attribute__((vector_size(16)));

extern unsigned char b;
extern unsigned short h;
extern unsigned w;
extern unsigned long x;
extern v16 q;

void
ldst(void)
{
	b++;
	h++;
	w++;
	x++;
	q += q;
}
