/* Mergeable sections: strings with the same tail, constants of 4, 8 and 16 bytes. */
int report(const char *, ...);

int
merge(double x, float y)
{
	report("tail of a string");
	report("string");
	report("tail of a string %d", 1);
	return x * 1.25 + y * 2.5f > 3.125;
}

const char *merge_pointers[] = { "string", "tail of a string" };
