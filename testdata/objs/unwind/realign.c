/* Functions that keep the old stack pointer somewhere on a realigned stack: rows
 * whose CFA is an expression (x86-64). */

void use(char *, int);

int realigned(int n)
{
	char wide[64] __attribute__((aligned(64)));

	use(wide, n);
	return wide[n];
}

int realigned_more(int n)
{
	char wide[128] __attribute__((aligned(128)));
	char more[n];

	use(wide, n);
	use(more, n);
	return wide[n] + more[0];
}
