int first(int);
int choose(int);

int
archive_main(int x)
{
	return first(x) + choose(x);
}
