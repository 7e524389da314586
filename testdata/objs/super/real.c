/* A real function of the name super_callee, which a layer's own wins over. */
int
super_callee(int x)
{
	return -x;
}
