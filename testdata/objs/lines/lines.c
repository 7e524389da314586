/* Two functions in two files, and one that is inlined from the other file. */

int use(int);

#include "part.h"

int whole(int n)
{
	if (n < 0)
		return part(-n);
	n = inlined(n);
	return part(n) * 3;
}

int last(int n)
{
	return use(n) - whole(n);
}
