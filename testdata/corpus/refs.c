/*
 * What C can refer to, for every option of a compiler: data of each size, of this file
 * and of others, near and far into an object; labels, constructors, sections with
 * bounds, names with two definitions, and COMMON symbols.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef u8 v16 __attribute__((vector_size(16)));
typedef int (*fn_t)(int);

/* Without a value: COMMON with -fcommon. */
u8 common8;
u16 common16;
u32 common32;
u64 common64;
v16 common128;
u8 common_odd[33];
u64 common_aligned[4] __attribute__((aligned(256)));
u32 common_big[5000];

/* Large enough for the medium model's far sections. */
u32 far_zero[40000];
u32 far_data[20000] = { 1, 2, 3 };
const u32 far_const[20000] = { 4, 5, 6 };

extern u8 ext8[];
extern u16 ext16[];
extern u32 ext32[];
extern u64 ext64[];
extern v16 ext128[];
extern const char ext_string[];
extern fn_t ext_table[];
int ext_one(int), ext_two(int), ext_three(int);
void ext_none(void);
__attribute__((weak)) extern int maybe_data;
__attribute__((weak)) int maybe_call(int);
__attribute__((weak)) int maybe_tail(int);

struct deep { u8 a[100]; u16 b; u32 c; u64 d; v16 e; fn_t f; };
struct deep deep_own = { .a = { 9 }, .f = ext_one };
static struct deep deep_static;
extern struct deep deep_ext;

__attribute__((visibility("hidden"))) u32 hidden_data = 77;
__attribute__((visibility("protected"))) u32 protected_data = 78;

/* Pointers in data, read-only and not, to the start of something and into it. */
u8 *const pointers[] = { ext8, ext8 + 1, &ext8[4095], &common8, common_odd + 32, (u8 *)&deep_own.d,
    (u8 *)&far_zero[39999], (u8 *)&far_const[7], (u8 *)&hidden_data };
fn_t functions[] = { ext_one, ext_two, maybe_call, 0 };
const char *strings[] = { "one", "two", "another one", ext_string + 3 };
u64 as_number = (u64)&ext64[3];

static __attribute__((noinline)) u64
load_own(int i)
{
	return common8 + common16 + common32 + common64 + common128[i & 15] + common_odd[7] + common_aligned[2] +
	    common_big[4000] + far_zero[30000] + far_data[1] + far_const[i] + deep_own.b + deep_own.c + deep_own.d +
	    deep_own.e[3] + deep_static.c + hidden_data + protected_data;
}

static __attribute__((noinline)) u64
load_ext(int i)
{
	v16 v = ext128[5];

	return ext8[0] + ext8[3] + ext16[0] + ext16[5] + ext32[0] + ext32[9] + ext64[0] + ext64[100] + v[i & 15] +
	    deep_ext.a[99] + deep_ext.b + deep_ext.c + deep_ext.d + deep_ext.e[1] + ext_string[i];
}

static __attribute__((noinline)) void
store(u64 v)
{
	common8 = v; common16 = v; common32 = v; common64 = v;
	ext8[2] = v; ext16[2] = v; ext32[2] = v; ext64[2] = v;
	ext128[1] = ext128[2];
	deep_static.a[1] = v; deep_static.b = v; deep_static.c = v; deep_static.d = v;
	far_zero[17] = v;
	far_data[18] = v;
}

int
refs(int i)
{
	u64 n = load_own(i) + load_ext(i);

	store(n);
	if (&maybe_data)
		n += maybe_data;
	if (maybe_call)
		n += maybe_call(n);
	return n + functions[i & 3](i) + deep_ext.f(i) + ext_table[i](i);
}

/* Calls that end a function, also conditionally, and to what may not be there. */
int tail_one(int i) { return ext_one(i + 1); }
int tail_if(int i) { return i ? ext_two(i) : ext_three(i); }
int tail_maybe(int i) { return maybe_tail(i); }
int tail_pointer(int i) { return ext_table[1](i); }
void call_none(int i) { if (i) ext_none(); }
int compare_pointer(fn_t f) { return f == ext_one || f == tail_one; }
fn_t get(int i) { return i ? ext_three : tail_one; }
const char *text(int i) { return i ? "some text" : strings[i + 1]; }

/* Labels as values: their distances in data, their addresses in code. */
int
threaded(const u8 *p)
{
	static const void *const labels[] = { &&add, &&sub, &&call, &&end };
	static const int distances[] = { &&sub - &&add, &&end - &&add };
	int n = distances[*p & 1];

	goto *labels[*p & 3];
add:	n += 3; goto *labels[*++p & 3];
sub:	n -= 5; goto *labels[*++p & 3];
call:	n = ext_one(n); goto *labels[*++p & 3];
end:	return n;
}

int
table(int i)
{
	switch (i) {
	case 10: return ext_one(1);
	case 11: return common32;
	case 12: return ext32[1];
	case 13: return tail_if(i);
	case 14: return far_data[5];
	case 15: return ext_two(5);
	case 16: return 16;
	case 17: return ext16[8];
	case 40: return ext_three(40);
	}
	return 0;
}

__attribute__((constructor)) static void begin(void) { common32 = ext32[4]; }
__attribute__((constructor(200))) static void begin_early(void) { ext_none(); }
__attribute__((destructor)) static void finish(void) { ext_none(); }

/* A section whose bounds the linker knows. */
struct item { const char *name; fn_t run; };
#define ITEM(n) static const struct item item_##n __attribute__((used, section("items"))) = { #n, n }
ITEM(ext_one);
ITEM(tail_one);
ITEM(table);
extern const struct item __start_items[], __stop_items[];

int
all_items(int i)
{
	for (const struct item *p = __start_items; p < __stop_items; p++)
		i = p->run(i) + p->name[0];
	return i + (__stop_items - __start_items);
}

__attribute__((cold)) static int rare(int i) { return ext_one(i) * 7; }
int hot(int i) { return __builtin_expect(i == 12345, 0) ? rare(i) : i; }

__attribute__((section(".text.elsewhere"))) int elsewhere(int i) { return hot(i) + ext_two(i); }

int weak_own(int) __attribute__((weak));
int weak_own(int i) { return i + common16; }
int other_name(int) __attribute__((alias("weak_own")));
extern u32 other_data __attribute__((alias("hidden_data")));
int names(int i) { return weak_own(i) + other_name(i) + other_data; }

static fn_t choose(void) { return common8 ? tail_one : tail_if; }
int chosen(int) __attribute__((ifunc("choose")));
fn_t chosen_pointer = chosen;
int call_chosen(int i) { return chosen(i) + (get(i) == chosen); }

u64
atomics(u64 *p)
{
	return __atomic_fetch_add(&common64, 1, __ATOMIC_SEQ_CST) + __atomic_exchange_n(p, 3, __ATOMIC_ACQ_REL) +
	    __atomic_load_n(&ext64[1], __ATOMIC_ACQUIRE);
}

double floats(double d) { return d * 3.25 + common32 + 1e10; }
v16 vectors(v16 v) { return v + (v16){ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } + ext128[0]; }
