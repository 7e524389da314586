/*
 * sys/atomic.h: atomic operations and memory barriers.
 *
 * The operations are inline; the kernel object has all of them as functions too, for
 * objects that were compiled with other headers. Each is also a full barrier, which is
 * more than NetBSD promises.
 */
#ifndef _SYS_ATOMIC_H_
#define _SYS_ATOMIC_H_

#include <sys/types.h>

#ifndef __klink_atomic
#define __klink_atomic	static __inline
#endif

/* One operand: a value of type V, applied to a word of type T. */
#define __KLINK_ATOMIC_OP(op, builtin, name, T, V)			\
	__klink_atomic void						\
	atomic_##op##_##name(volatile T *p, V v)			\
	{								\
		(void)__atomic_##builtin##_fetch(p, (T)v, __ATOMIC_SEQ_CST); \
	}								\
	__klink_atomic T						\
	atomic_##op##_##name##_nv(volatile T *p, V v)			\
	{								\
		return __atomic_##builtin##_fetch(p, (T)v, __ATOMIC_SEQ_CST); \
	}

#define __KLINK_ATOMIC_WORD(name, T, S)					\
	__KLINK_ATOMIC_OP(and, and, name, T, T)				\
	__KLINK_ATOMIC_OP(or, or, name, T, T)				\
	__klink_atomic T						\
	atomic_cas_##name(volatile T *p, T expect, T v)			\
	{								\
		__atomic_compare_exchange_n(p, &expect, v, false,	\
		    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);		\
		return expect;						\
	}								\
	__klink_atomic T						\
	atomic_cas_##name##_ni(volatile T *p, T expect, T v)		\
	{								\
		__atomic_compare_exchange_n(p, &expect, v, false,	\
		    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);		\
		return expect;						\
	}								\
	__klink_atomic T						\
	atomic_swap_##name(volatile T *p, T v)				\
	{								\
		return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);	\
	}								\
	__klink_atomic void						\
	atomic_inc_##name(volatile T *p)				\
	{								\
		(void)__atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST);	\
	}								\
	__klink_atomic T						\
	atomic_inc_##name##_nv(volatile T *p)				\
	{								\
		return __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST);	\
	}								\
	__klink_atomic void						\
	atomic_dec_##name(volatile T *p)				\
	{								\
		(void)__atomic_sub_fetch(p, 1, __ATOMIC_SEQ_CST);	\
	}								\
	__klink_atomic T						\
	atomic_dec_##name##_nv(volatile T *p)				\
	{								\
		return __atomic_sub_fetch(p, 1, __ATOMIC_SEQ_CST);	\
	}

__BEGIN_DECLS

__KLINK_ATOMIC_WORD(32, uint32_t, int32_t)
__KLINK_ATOMIC_WORD(64, uint64_t, int64_t)
__KLINK_ATOMIC_WORD(uint, unsigned int, int)
__KLINK_ATOMIC_WORD(ulong, unsigned long, long)
__KLINK_ATOMIC_OP(add, add, 32, uint32_t, int32_t)
__KLINK_ATOMIC_OP(add, add, 64, uint64_t, int64_t)
__KLINK_ATOMIC_OP(add, add, int, unsigned int, int)
__KLINK_ATOMIC_OP(add, add, long, unsigned long, long)

/* Pointers. The operand of the additions is in bytes. */
__klink_atomic void *
atomic_cas_ptr(volatile void *p, void *expect, void *v)
{
	__atomic_compare_exchange_n((void * volatile *)p, &expect, v, false,
	    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return expect;
}

__klink_atomic void *
atomic_cas_ptr_ni(volatile void *p, void *expect, void *v)
{
	__atomic_compare_exchange_n((void * volatile *)p, &expect, v, false,
	    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return expect;
}

__klink_atomic void *
atomic_swap_ptr(volatile void *p, void *v)
{
	return __atomic_exchange_n((void * volatile *)p, v, __ATOMIC_SEQ_CST);
}

__klink_atomic void
atomic_add_ptr(volatile void *p, ssize_t n)
{
	(void)__atomic_add_fetch((volatile uintptr_t *)p, (uintptr_t)n, __ATOMIC_SEQ_CST);
}

__klink_atomic void *
atomic_add_ptr_nv(volatile void *p, ssize_t n)
{
	return (void *)__atomic_add_fetch((volatile uintptr_t *)p, (uintptr_t)n, __ATOMIC_SEQ_CST);
}

__klink_atomic void
atomic_inc_ptr(volatile void *p)
{
	(void)__atomic_add_fetch((volatile uintptr_t *)p, 1, __ATOMIC_SEQ_CST);
}

__klink_atomic void *
atomic_inc_ptr_nv(volatile void *p)
{
	return (void *)__atomic_add_fetch((volatile uintptr_t *)p, 1, __ATOMIC_SEQ_CST);
}

__klink_atomic void
atomic_dec_ptr(volatile void *p)
{
	(void)__atomic_sub_fetch((volatile uintptr_t *)p, 1, __ATOMIC_SEQ_CST);
}

__klink_atomic void *
atomic_dec_ptr_nv(volatile void *p)
{
	return (void *)__atomic_sub_fetch((volatile uintptr_t *)p, 1, __ATOMIC_SEQ_CST);
}

/* Barriers: what stands before is done before what stands behind. */
__klink_atomic void membar_acquire(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }	/* loads before everything */
__klink_atomic void membar_release(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }	/* everything before stores */
__klink_atomic void membar_producer(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }	/* stores before stores */
__klink_atomic void membar_consumer(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }	/* loads before loads */
__klink_atomic void membar_datadep_consumer(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
__klink_atomic void membar_enter(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
__klink_atomic void membar_exit(void) { __atomic_thread_fence(__ATOMIC_RELEASE); }
__klink_atomic void membar_sync(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }	/* everything before everything */

__END_DECLS

#define atomic_load_relaxed(p)		__atomic_load_n((p), __ATOMIC_RELAXED)
#define atomic_load_consume(p)		__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define atomic_load_acquire(p)		__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define atomic_store_relaxed(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atomic_store_release(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)

#endif
