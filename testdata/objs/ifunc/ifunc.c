/* A function chosen by a resolver when the module is loaded. */
static int plain(int x) { return x + 1; }
static int special(int x) { return x + 2; }
int ifunc_choice = 1;

static int (*resolve(void))(int)
{
	return ifunc_choice ? special : plain;
}

int chosen(int) __attribute__((ifunc("resolve")));

int
ifunc_user(int x)
{
	return chosen(x) + chosen(x + 1);
}

int (*ifunc_pointer)(int) = chosen;
