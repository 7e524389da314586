/*
 * What a call can do to a runner: one function a behaviour, with no relocation, so
 * that the bytes of .text run at any address. Words that the tests share with them
 * come as arguments.
 */
#include "../../../internal/runner/src/control.h"

#define HERE ((struct klink_thread *)__builtin_thread_pointer())
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1

#if defined(__x86_64__)
#define SYS_futex 202
#define UNDEFINED "ud2"
#define TRAP "int3"
static u64 call(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 r10 __asm__("r10") = d;
	register u64 r8 __asm__("r8") = e;
	register u64 r9 __asm__("r9") = f;
	u64 ret;
	__asm__ volatile("syscall" : "=a"(ret) : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return ret;
}
#else
#define SYS_futex 98
#define UNDEFINED ".inst 0x00004b4b"
#define TRAP "brk #0x4b4c"
static u64 call(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 x8 __asm__("x8") = nr;
	register u64 x0 __asm__("x0") = a;
	register u64 x1 __asm__("x1") = b;
	register u64 x2 __asm__("x2") = c;
	register u64 x3 __asm__("x3") = d;
	register u64 x4 __asm__("x4") = e;
	register u64 x5 __asm__("x5") = f;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x8) : "memory");
	return x0;
}
#endif

/* ask makes any system call. */
u64 ask(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f) { return call(nr, a, b, c, d, e, f); }

u64 weigh(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 g, u64 h)
{
	return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
}

u64 take(u64 *p) { return __atomic_add_fetch(p, 1, __ATOMIC_SEQ_CST); }
u64 cycle(u64 *p, u64 n) { return (*p)++ % n; }
u64 get(volatile u64 *p) { return *p; }
u64 set(volatile u64 *p, u64 v) { *p = v; return v; }
u64 follow(u64 (*f)(void)) { return f() + 1; }
u64 divide(u64 a, u64 b) { return a / b; }
u64 undefined(void) { __asm__ volatile(UNDEFINED); return 0; }
u64 trap(void) { __asm__ volatile(TRAP); return 0; }

/* deeper overflows the stack, frame by frame; big with one frame of 16 MiB. */
static u64 down(u64 n)
{
	volatile u64 frame[32];

	frame[n % 32] = n;
	return n == ~0ul ? 0 : down(n + 1) + frame[n % 32];
}

u64 deeper(u64 n) { return down(n); }

u64 big(u64 n)
{
	volatile unsigned char frame[16 << 20];

	frame[0] = 1;
	return frame[n];
}

u64 spin(void)
{
	for (;;)
		__asm__ volatile("");
}

u64 spin_until(volatile u64 *p)
{
	while (*p == 0)
		;
	return *p;
}

/* doze sleeps until *p, with nothing said about it. */
u64 doze(volatile u32 *p)
{
	while (*p == 0)
		call(SYS_futex, (u64)p, FUTEX_WAIT, 0, 0, 0, 0);
	return *p;
}

/* nap sleeps until *p as the kernel object does: where it is stands in its block. mark
 * is a word for the tests to find on the stack. */
u64 nap(volatile u32 *p, u64 why, u64 mark)
{
	struct klink_thread *t = HERE;
	volatile u64 frame[4];

	for (int i = 0; i < 4; i++)
		frame[i] = mark;
	t->sleep_on = (u64)p;
	t->sleep_why = why;
	t->sleep_since = 1;
	t->sleep_regs.pc = (u64)__builtin_return_address(0);
	t->sleep_regs.sp = (u64)frame;
	__atomic_add_fetch(&t->sleep, 1, __ATOMIC_SEQ_CST);
	while (*p == 0)
		call(SYS_futex, (u64)p, FUTEX_WAIT, 0, 0, 0, 0);
	__atomic_add_fetch(&t->sleep, 1, __ATOMIC_SEQ_CST);
	return frame[1];
}

/* guarded is in a critical section until *p, and spins ever after. */
u64 guarded(volatile u64 *p)
{
	struct klink_thread *t = HERE;

	__atomic_store_n(&t->critical, 1, __ATOMIC_SEQ_CST);
	while (*p == 0)
		;
	__atomic_store_n(&t->critical, 0, __ATOMIC_SEQ_CST);
	for (;;)
		__asm__ volatile("");
}

u64 crash_guarded(void)
{
	HERE->critical = 1;
	__asm__ volatile(UNDEFINED);
	return 0;
}

/* settle counts what was settled on this thread. */
u64 settle(void) { return ++HERE->kernel[0]; }
u64 settled(void) { return HERE->kernel[0]; }

static void raise(struct klink_thread *t)
{
	struct klink_mail *mail = (struct klink_mail *)(t->control + KLINK_MAIL_OFF);

	__atomic_add_fetch(&mail->events, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&mail->host_waits, __ATOMIC_SEQ_CST))
		call(SYS_futex, (u64)&mail->events, FUTEX_WAKE, 0x7fffffff, 0, 0, 0);
}

/* give asks for a thread that calls fn(arg), and returns its number or an errno. */
u64 give(u64 fn, u64 arg, u64 name)
{
	struct klink_thread *t = HERE;
	u32 n, seen;

	t->spawn_fn = fn;
	t->spawn_arg = arg;
	t->spawn_name = name;
	n = __atomic_add_fetch(&t->spawn, 1, __ATOMIC_SEQ_CST);
	raise(t);
	while ((seen = __atomic_load_n(&t->spawned, __ATOMIC_ACQUIRE)) != n)
		call(SYS_futex, (u64)&t->spawned, FUTEX_WAIT, seen, 0, 0, 0);
	return (u64)(i64)t->spawn_answer;
}

/* panic is the kernel object's: the text is there, the thread stands still. */
u64 panic(void)
{
	struct klink_thread *t = HERE;
	struct klink_mail *mail = (struct klink_mail *)(t->control + KLINK_MAIL_OFF);

	mail->panic = t->index + 1;
	raise(t);
	for (;;)
		call(SYS_futex, (u64)&t->unpark, FUTEX_WAIT, t->unpark, 0, 0, 0);
}

/* flood raises events for ever. */
u64 flood(void)
{
	for (;;)
		raise(HERE);
}

/*
 * scribble writes random words to two ranges at random places for ever, as fast as it
 * can; the masks are their sizes in words, powers of two, less 1. Every often + 1
 * words it raises events too.
 */
u64 scribble(u64 *a, u64 amask, u64 *b, u64 bmask, u64 seed, u64 often, volatile u32 *events)
{
	u64 x = seed;

	for (;;) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (x & 1)
			a[x >> 21 & amask] = x >> (x & 63);
		else
			b[x >> 21 & bmask] = x;
		if ((x >> 40 & often) == 0) {
			(*events)++;
			call(SYS_futex, (u64)events, FUTEX_WAKE, 0x7fffffff, 0, 0, 0);
		}
	}
}
