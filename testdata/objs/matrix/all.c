/*
 * One of every reference that C makes, to be compiled in many ways: direct
 * calls, tail calls, calls by pointer, addresses of functions and data in code
 * and in data, a switch with a jump table, strings, wide and narrow accesses,
 * weak references, cold code, static and hidden names.
 */
#include "klink_alias.h"

typedef int (*fn_t)(int);
typedef unsigned char v16 __attribute__((vector_size(16)));

int ext_call(int);
int ext_tail(int);
int ext_pointer(int);
int ext_report(const char *, ...);
__attribute__((weak)) int ext_maybe(int);
__attribute__((visibility("hidden"))) int hidden_inside(int);

extern unsigned char ext_u8;
extern unsigned short ext_u16;
extern unsigned ext_u32;
extern unsigned long ext_u64;
extern int ext_array[];

unsigned char own_u8 = 1;
unsigned short own_u16 = 2;
unsigned own_u32 = 3;
unsigned long own_u64;
v16 own_u128 = { 1, 2, 3 };
static int own_static[100];
static const int own_table[4] = { 4, 3, 2, 1 };
const char *own_string = "a string that data points to";

static int
local_function(int x)
{
	return x * 3 + own_table[x & 3];
}

__attribute__((noinline)) int
own_function(int x)
{
	return ext_call(x) + local_function(x);
}

__attribute__((noinline, weak)) int
own_weak(int x)
{
	return x - 1;
}

int
hidden_inside(int x)
{
	own_static[x & 63]++;
	return own_static[(x + 1) & 63];
}

/* Addresses in data: of others' functions, of our own, of objects, of insides. */
const fn_t own_pointers[] = { ext_pointer, own_function, own_weak, local_function, hidden_inside };
int *own_inside = &own_static[17];
int *own_outside = &ext_array[5];

int
tail(int x)
{
	own_u32 += x;
	return ext_tail(x + 1);
}

int
tail_own(int x)
{
	return own_function(x + 1);
}

int
tail_weak(int x)
{
	return own_weak(x + 1);
}

int
calls(int x)
{
	int r = ext_call(x);

	r += own_function(r);
	r += own_weak(r);
	r += hidden_inside(r);
	r += local_function(r);
	r += own_pointers[r & 3](r);
	return r;
}

fn_t
address(int x)
{
	return x ? ext_pointer : own_function;
}

int
maybe(int x)
{
	if (ext_maybe)
		return ext_maybe(x) + 1;
	return x;
}

unsigned long
loads(int i)
{
	return ext_u8 + ext_u16 + ext_u32 + ext_u64 + ext_array[i] + ext_array[3] +
	    own_u8 + own_u16 + own_u32 + own_u64 + own_static[i] + own_table[i & 3];
}

void
stores(unsigned long v)
{
	ext_u8 = v;
	ext_u16 = v;
	ext_u32 = v;
	ext_u64 = v;
	own_u8 = v;
	own_u16 = v;
	own_u32 = v;
	own_u64 = v;
	own_static[9] = v;
	own_u128 += own_u128;
}

int
jumps(int x)
{
	switch (x) {
	case 0: return ext_call(7);
	case 1: return own_u8;
	case 2: return ext_report("two %d", x);
	case 3: return tail_own(x);
	case 4: return ext_u16;
	case 5: return hidden_inside(x);
	case 6: return ext_report("six %s", own_string);
	case 7: return own_static[x];
	default: return -1;
	}
}

__attribute__((cold, noinline)) static int
unlikely(int x)
{
	return ext_report("unlikely %d", x);
}

int
cold(int x)
{
	if (__builtin_expect(x < 0, 0))
		return unlikely(x);
	if (__builtin_expect(x == 77, 0)) {
		ext_report("seventy-seven");
		__builtin_unreachable();
	}
	return ext_tail(x);
}

long
atomics(long *p)
{
	return __atomic_fetch_add(p, 1, __ATOMIC_SEQ_CST) + __atomic_load_n(&own_u64, __ATOMIC_ACQUIRE);
}

__weak_alias(alias_weak, own_function)
__strong_alias(alias_strong, own_function)
