/* The weak one of two definitions: it comes first and is what members on demand give. */
__attribute__((weak)) int
choose(int x)
{
	return x;
}
