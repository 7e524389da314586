/*
 * compiler.c: what compilers call on their own: the stack protector, and what
 * libgcc or compiler-rt have for integers. And the functions that do nothing.
 *
 * Shared: the canary, which is set before any module runs. The functions for integers
 * look at their arguments only; they must not use what they implement.
 */
#include "kpi.h"

/* x86-64 keeps the canary in the thread's block (%fs:0x28); gcc for aarch64 reads this. */
u64 __stack_chk_guard = 0x4b4e4c4b00c0ffeeul;

/* Runs as a constructor of the module "kernel": nobody is in a function with a canary. */
static void __attribute__((constructor(101))) set_guard(void)
{
	__stack_chk_guard = config(self())->canary;
}

void __stack_chk_fail(void) __dead;
void __stack_chk_fail(void)
{
	klink_give_up("the stack of thread %u was overwritten by the function that it is in; so its call ends\n",
	    self()->index);
}

int nullop(void *arg __unused) { return 0; }
int enodev(void) { return ENODEV; }
int enxio(void) { return ENXIO; }
int enosys(void) { return ENOSYS; }
int enoioctl(void) { return ENOTTY; }
int eopnotsupp(void) { return EOPNOTSUPP; }

typedef __int128 ti;
typedef unsigned __int128 uti;

#define LOW(v)		((u64)(v))
#define HIGH(v)		((u64)((uti)(v) >> 64))
#define WIDE(hi, lo)	((uti)(hi) << 64 | (lo))
#define EXPORT(type)	type __attribute__((__used__))

static inline u32 clz64(u64 v) { return (u32)__builtin_clzll(v); }	/* v != 0; an instruction on both machines */

/* ctz64 counts the zeros below the lowest set bit of v != 0. */
static inline u32 ctz64(u64 v) { return 63 - clz64(v & (0 - v)); }

static inline u32 popcount64(u64 v)
{
	v -= v >> 1 & 0x5555555555555555ul;
	v = (v & 0x3333333333333333ul) + (v >> 2 & 0x3333333333333333ul);
	v = (v + (v >> 4)) & 0x0f0f0f0f0f0f0f0ful;
	return (u32)(v * 0x0101010101010101ul >> 56);
}

/* divide_wide returns hi:lo / d for hi < d, which fits 64 bits. */
#if defined(__x86_64__)
static u64 divide_wide(u64 hi, u64 lo, u64 d, u64 *rest)
{
	u64 q;

	__asm__("divq %4" : "=a"(q), "=d"(*rest) : "0"(lo), "1"(hi), "r"(d) : "cc");
	return q;
}
#else
/* Two digits of 32 bits, each guessed from the top of the divisor and corrected: the
 * divisor is shifted such that its top bit is set, so a guess is at most 2 too large. */
static u64 divide_wide(u64 hi, u64 lo, u64 d, u64 *rest)
{
	u32 shift = clz64(d);
	u64 q = 0;

	d <<= shift;
	hi = shift == 0 ? hi : hi << shift | lo >> (64 - shift);
	lo <<= shift;
	for (int i = 0; i < 2; i++) {
		u64 digit = hi / (d >> 32), left = hi % (d >> 32), next = lo >> 32;

		while (digit >> 32 != 0 || digit * (u32)d > (left << 32 | next)) {
			digit--;
			left += d >> 32;
			if (left >> 32 != 0)
				break;
		}
		hi = (hi << 32 | next) - digit * d;
		lo <<= 32;
		q = q << 32 | digit;
	}
	*rest = hi >> shift;
	return q;
}
#endif

EXPORT(uti) __udivmodti4(uti n, uti d, uti *rest)
{
	uti q = 0, r;

	if (HIGH(d) == 0) {
		/* One digit of 64 bits after the other. */
		u64 hi = HIGH(n) / LOW(d), left = HIGH(n) % LOW(d), end;

		q = WIDE(hi, divide_wide(left, LOW(n), LOW(d), &end));
		r = end;
	} else if (n < d) {
		r = n;
	} else {
		/* The quotient fits 64 bits: guess it from the tops; the guess is at most 1 off
		 * after the usual correction. */
		u32 shift = clz64(HIGH(d));
		u64 top = HIGH(d << shift), end;
		uti half = n >> 1;
		u64 guess = divide_wide(HIGH(half), LOW(half), top, &end) >> (63 - shift);

		if (guess != 0)
			guess--;
		r = n - (uti)guess * d;
		if (r >= d) {
			guess++;
			r -= d;
		}
		q = guess;
	}
	if (rest != NULL)
		*rest = r;
	return q;
}

EXPORT(uti) __udivti3(uti n, uti d) { return __udivmodti4(n, d, NULL); }

EXPORT(uti) __umodti3(uti n, uti d)
{
	uti r;

	__udivmodti4(n, d, &r);
	return r;
}

EXPORT(ti) __divmodti4(ti n, ti d, ti *rest)
{
	uti r, q = __udivmodti4(n < 0 ? 0 - (uti)n : (uti)n, d < 0 ? 0 - (uti)d : (uti)d, &r);

	if (rest != NULL)
		*rest = (ti)(n < 0 ? 0 - r : r);
	return (ti)((n < 0) != (d < 0) ? 0 - q : q);
}

EXPORT(ti) __divti3(ti n, ti d) { return __divmodti4(n, d, NULL); }

EXPORT(ti) __modti3(ti n, ti d)
{
	ti r;

	__divmodti4(n, d, &r);
	return r;
}

EXPORT(ti) __multi3(ti a, ti b)
{
	return (ti)((uti)LOW(a) * LOW(b) + WIDE(HIGH(a) * LOW(b) + LOW(a) * HIGH(b), 0));
}

/* __muloti4: the low half of the product, and whether it is all of it. */
EXPORT(ti) __muloti4(ti a, ti b, int *over)
{
	uti x = a < 0 ? 0 - (uti)a : (uti)a, y = b < 0 ? 0 - (uti)b : (uti)b;
	bool negative = (a < 0) != (b < 0);
	uti most = ((uti)1 << 127) - !negative, limit = most;

	*over = 0;
	if (x != 0) {
		limit = __udivmodti4(most, x, NULL);
		*over = y > limit;
	}
	return (ti)(negative ? 0 - x * y : x * y);
}

EXPORT(i64) __mulodi4(i64 a, i64 b, int *over)
{
	ti p = (ti)a * b;

	*over = p != (ti)(i64)p;
	return (i64)p;
}

EXPORT(i32) __mulosi4(i32 a, i32 b, int *over)
{
	i64 p = (i64)a * b;

	*over = p != (i64)(i32)p;
	return (i32)p;
}

EXPORT(ti) __ashlti3(ti v, int n)
{
	if (n >= 64)
		return (ti)WIDE(LOW(v) << (n - 64), 0);
	return n == 0 ? v : (ti)WIDE(HIGH(v) << n | LOW(v) >> (64 - n), LOW(v) << n);
}

EXPORT(ti) __lshrti3(ti v, int n)
{
	if (n >= 64)
		return (ti)WIDE(0, HIGH(v) >> (n - 64));
	return n == 0 ? v : (ti)WIDE(HIGH(v) >> n, LOW(v) >> n | HIGH(v) << (64 - n));
}

EXPORT(ti) __ashrti3(ti v, int n)
{
	i64 hi = (i64)HIGH(v);

	if (n >= 64)
		return (ti)WIDE((u64)(hi >> 63), (u64)(hi >> (n - 64)));
	return n == 0 ? v : (ti)WIDE((u64)(hi >> n), LOW(v) >> n | HIGH(v) << (64 - n));
}

EXPORT(ti) __negti2(ti v) { return (ti)(0 - (uti)v); }
EXPORT(int) __cmpti2(ti a, ti b) { return a < b ? 0 : a == b ? 1 : 2; }
EXPORT(int) __ucmpti2(uti a, uti b) { return a < b ? 0 : a == b ? 1 : 2; }

EXPORT(int) __popcountsi2(u32 v) { return (int)popcount64(v); }
EXPORT(int) __popcountdi2(u64 v) { return (int)popcount64(v); }
EXPORT(int) __popcountti2(uti v) { return (int)(popcount64(LOW(v)) + popcount64(HIGH(v))); }
EXPORT(int) __paritysi2(u32 v) { return (int)(popcount64(v) & 1); }
EXPORT(int) __paritydi2(u64 v) { return (int)(popcount64(v) & 1); }
EXPORT(int) __parityti2(uti v) { return (int)(popcount64(LOW(v) ^ HIGH(v)) & 1); }
EXPORT(int) __clzsi2(u32 v) { return (int)clz64(v) - 32; }
EXPORT(int) __clzdi2(u64 v) { return (int)clz64(v); }
EXPORT(int) __clzti2(uti v) { return (int)(HIGH(v) != 0 ? clz64(HIGH(v)) : 64 + clz64(LOW(v))); }
EXPORT(int) __ctzsi2(u32 v) { return (int)ctz64(v); }
EXPORT(int) __ctzdi2(u64 v) { return (int)ctz64(v); }
EXPORT(int) __ctzti2(uti v) { return (int)(LOW(v) != 0 ? ctz64(LOW(v)) : 64 + ctz64(HIGH(v))); }
EXPORT(int) __ffssi2(u32 v) { return v == 0 ? 0 : (int)ctz64(v) + 1; }
EXPORT(int) __ffsdi2(u64 v) { return v == 0 ? 0 : (int)ctz64(v) + 1; }
EXPORT(int) __ffsti2(uti v) { return v == 0 ? 0 : __ctzti2(v) + 1; }

EXPORT(int) __clrsbdi2(i64 v)
{
	u64 x = (u64)(v ^ v >> 63);

	return x == 0 ? 63 : (int)clz64(x) - 1;
}

EXPORT(int) __clrsbti2(ti v)
{
	uti x = (uti)(v < 0 ? ~v : v);

	return x == 0 ? 127 : __clzti2(x) - 1;
}

EXPORT(u32) __bswapsi2(u32 v)
{
	return v >> 24 | (v >> 8 & 0xff00) | (v << 8 & 0xff0000) | v << 24;
}

EXPORT(u64) __bswapdi2(u64 v)
{
	return (u64)__bswapsi2((u32)v) << 32 | __bswapsi2((u32)(v >> 32));
}

int ffs(int v) { return v == 0 ? 0 : (int)ctz64((u32)v) + 1; }
