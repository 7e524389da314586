/* Refines what nobody provides: to be refused. */
#include "klink_alias.h"

int super_nothing(int);

int
layer_nothing(int x)
{
	return super_nothing(x);
}

__weak_alias(nothing, layer_nothing)
