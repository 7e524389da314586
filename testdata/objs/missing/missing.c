/* Several names that nobody provides: all are to be named in one refusal. */
int missing_one(int);
int missing_two(int);
extern int missing_data;
int (*missing_pointer)(int) = missing_two;

int
missing_user(int x)
{
	return missing_one(x) + missing_two(x) + missing_data;
}
