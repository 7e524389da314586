/* One module of several objects: this one is weak, the next strong. */
__attribute__((weak)) int
chosen(int x)
{
	return x;
}

int
multi_weak(int x)
{
	return chosen(x) + 1;
}
