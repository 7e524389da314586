#include "shape.h"

int
describe(const shape *s)
{
	return s->twice() + helper(1);
}

int
two(int x)
{
	shape s;
	return describe(&s) + largest(x, 9);
}
