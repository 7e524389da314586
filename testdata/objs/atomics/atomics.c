/* Atomic operations; aarch64 gcc calls helpers for them unless told not to. */
long
atomics(long *p, int *q)
{
	long old = __atomic_fetch_add(p, 1, __ATOMIC_ACQ_REL);

	return old + __atomic_exchange_n(q, 3, __ATOMIC_SEQ_CST);
}
