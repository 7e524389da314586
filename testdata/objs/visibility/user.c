/* Uses provider.c's hidden name: works only as one module with it. */
int vis_default(int);
__attribute__((visibility("hidden"))) int vis_hidden(int);

int
vis_user(int x)
{
	return vis_default(x) + vis_hidden(x);
}
