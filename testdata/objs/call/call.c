/* Direct calls between modules: one caller, one callee each. */
int callee(int);

int
caller(int x)
{
	return callee(x) + callee(x + 1);
}
