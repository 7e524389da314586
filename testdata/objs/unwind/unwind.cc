/* Exceptions: a personality routine, a table of landing pads, type information. */
int may_throw(int);
struct guard { int *p; guard(int *q) : p(q) {} ~guard() { *p = 0; } };

int
catches(int x)
{
	try {
		return may_throw(x);
	} catch (int e) {
		return e;
	}
}

int
cleans(int x)
{
	int local = x;
	guard g(&local);
	return may_throw(local) + local;
}
