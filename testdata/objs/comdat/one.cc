#include "shape.h"

struct square : shape {
	int side;
	square(int s) : side(s) {}
	int area() const override { return side * side; }
};

int
one(int x)
{
	square s(x);
	return describe(&s) + helper(x) + largest(x, 7);
}
