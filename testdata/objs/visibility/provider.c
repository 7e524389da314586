/* One definition of each visibility; only default and protected are offered. */
int vis_default(int x) { return x + 1; }
__attribute__((visibility("protected"))) int vis_protected(int x) { return x + 2; }
__attribute__((visibility("hidden"))) int vis_hidden(int x) { return x + 3; }
__attribute__((visibility("internal"))) int vis_internal(int x) { return x + 4; }

int
vis_all(int x)
{
	return vis_default(x) + vis_protected(x) + vis_hidden(x) + vis_internal(x);
}
