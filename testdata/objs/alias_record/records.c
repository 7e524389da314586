/* Records of every kind; the implementation of two lies in impl.c. */
#include "klink_alias.h"

int elsewhere(int);
int super_refined(int);

int
here(int x)
{
	return super_refined(x) + 1;
}

__alias_record(defaulted, elsewhere, KLINK_ALIAS_DEFAULT)
__alias_record(overridden, elsewhere, KLINK_ALIAS_OVERRIDE)
__refine_alias(refined, here)
