/* A Linux module that exports nothing: all of its names are its own. */
int _printk(const char *, ...);

char __this_module[256] __attribute__((section(".gnu.linkonce.this_module"), aligned(64)));

int
init_module(void)
{
	return _printk("plain\n") < 0;
}

void
cleanup_module(void)
{
}
