/* A layer whose super_ is called, jumped to, and its address taken. */
#include "klink_alias.h"

int callee(int);
int super_callee(int);

int
layer_callee(int x)
{
	if (x < 0)
		return super_callee(-x);
	return super_callee(x) + 1;
}

__weak_alias(callee, layer_callee)

int (*super_pointer)(int) = super_callee;

int
super_user(int x)
{
	return callee(x) + super_pointer(x);
}
