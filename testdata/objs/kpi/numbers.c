/* What compilers call on their own: the operands and the result are in memory. */
#include <sys/types.h>

typedef __int128 ti;
typedef unsigned __int128 uti;

extern uti __udivmodti4(uti, uti, uti *);
extern ti __divmodti4(ti, ti, ti *), __muloti4(ti, ti, int *), __multi3(ti, ti);
extern ti __ashlti3(ti, int), __ashrti3(ti, int), __lshrti3(ti, int);
extern int __popcountti2(uti), __clzti2(uti), __ctzti2(uti), __ffsti2(uti), __parityti2(uti), __clrsbti2(ti);
extern int __ucmpti2(uti, uti), __cmpti2(ti, ti);
extern long __mulodi4(long, long, int *);

void
divide(uti *v)
{
	v[2] = __udivmodti4(v[0], v[1], &v[3]);
	v[4] = (uti)__divmodti4((ti)v[0], (ti)v[1], (ti *)&v[5]);
	v[6] = v[0] / v[1];
	v[7] = v[0] % v[1];
	v[8] = (uti)((ti)v[0] / (ti)v[1]);
	v[9] = (uti)((ti)v[0] % (ti)v[1]);
}

/* The products, and whether they do not fit. */
void
multiply(uti *v, int *over)
{
	v[2] = (uti)__multi3((ti)v[0], (ti)v[1]);
	v[3] = (uti)__muloti4((ti)v[0], (ti)v[1], &over[0]);
	v[4] = (uti)(ti)__mulodi4((long)v[0], (long)v[1], &over[1]);
}

void
shift(uti *v, int n)
{
	v[1] = (uti)__ashlti3((ti)v[0], n);
	v[2] = (uti)__lshrti3((ti)v[0], n);
	v[3] = (uti)__ashrti3((ti)v[0], n);
}

void
bits(uti *v, int *to)
{
	to[0] = __popcountti2(v[0]);
	to[1] = v[0] == 0 ? 128 : __clzti2(v[0]);
	to[2] = v[0] == 0 ? 128 : __ctzti2(v[0]);
	to[3] = __ffsti2(v[0]);
	to[4] = __parityti2(v[0]);
	to[5] = __clrsbti2((ti)v[0]);
	to[6] = __ucmpti2(v[0], v[1]);
	to[7] = __cmpti2((ti)v[0], (ti)v[1]);
}

/* Every atomic operation of one size, done to *p by many threads: each of n rounds
 * leaves it one higher. gcc for aarch64 calls its outline atomics. */
#define ROUNDS(bits, type)						\
void									\
rounds##bits(type *p, unsigned long n)					\
{									\
	for (unsigned long i = 0; i < n; i++) {				\
		type seen = __atomic_load_n(p, __ATOMIC_RELAXED);	\
									\
		switch (i % 5) {					\
		case 0:							\
			__atomic_fetch_add(p, 1, __ATOMIC_RELAXED);	\
			break;						\
		case 1:							\
			__atomic_fetch_sub(p, (type)-1, __ATOMIC_ACQ_REL); \
			break;						\
		case 2:							\
			while (!__atomic_compare_exchange_n(p, &seen, (type)(seen + 1), 0, \
			    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))	\
				;					\
			break;						\
		case 3:							\
			while (!__atomic_compare_exchange_n(p, &seen, (type)(seen + 1), 0, \
			    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))	\
				;					\
			break;						\
		case 4:							\
			__sync_fetch_and_add(p, 1);			\
			break;						\
		}							\
	}								\
}									\
									\
/* Each operation alone: the old values and what is left. */		\
unsigned long								\
single##bits(type *p)							\
{									\
	unsigned long wrong = 0;					\
									\
	*p = (type)0x80f1;						\
	wrong += __atomic_exchange_n(p, (type)0x0f, __ATOMIC_RELEASE) != (type)0x80f1; \
	wrong += __atomic_fetch_or(p, (type)0xf0, __ATOMIC_RELAXED) != (type)0x0f; \
	wrong += __atomic_fetch_and(p, (type)~0x11, __ATOMIC_ACQUIRE) != (type)0xff; \
	wrong += __atomic_fetch_xor(p, (type)0xff, __ATOMIC_SEQ_CST) != (type)0xee; \
	wrong += __sync_lock_test_and_set(p, (type)-2) != (type)0x11;	\
	wrong += __sync_val_compare_and_swap(p, (type)3, (type)4) != (type)-2; \
	wrong += __sync_val_compare_and_swap(p, (type)-2, (type)4) != (type)-2; \
	return wrong + (*p != 4);					\
}

ROUNDS(8, uint8_t)
ROUNDS(16, uint16_t)
ROUNDS(32, uint32_t)
ROUNDS(64, uint64_t)
