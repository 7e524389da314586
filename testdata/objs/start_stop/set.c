/* A linker set: an array of pointers, bounded by __start_ and __stop_. */
struct entry { const char *name; int (*run)(int); };

extern const struct entry *__start_link_set[], *__stop_link_set[];
extern char __start_absent_set[] __attribute__((weak)), __stop_absent_set[] __attribute__((weak));

static int MEMBER(int x) { return x + NUMBER; }
static const struct entry the_entry = { "entry", MEMBER };
static const struct entry *const member
    __attribute__((section("link_set"), used)) = &the_entry;

int
RUN(int x)
{
	for (const struct entry **e = __start_link_set; e < __stop_link_set; e++)
		x = (*e)->run(x);
	return x + (__stop_absent_set - __start_absent_set);
}
