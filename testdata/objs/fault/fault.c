/* Ways in which a call into a module goes wrong. Each function fails in its own way
 * and never returns properly; caller() gives them a backtrace. */

static volatile int *volatile nowhere;
static volatile unsigned zero;
volatile long counter;

int
write_null(void)
{
	*nowhere = 1;
	return 0;
}

int
read_null(void)
{
	return *nowhere;
}

/* An address that the module was given: reads there. */
long
read_at(const volatile long *p)
{
	return *p;
}

/* A function pointer that the module was given: calls it. */
long
call_at(long (*f)(void))
{
	return f() + 1;
}

int
undefined(void)
{
	__builtin_trap();
}

int
breakpoint(void)
{
#ifdef __x86_64__
	__asm__ volatile("int3");
#else
	__asm__ volatile("brk #0x4b4c");
#endif
	return 0;
}

#ifdef __x86_64__
unsigned
divide(void)
{
	return 100 / zero;
}
#endif

/* Overflows the stack by a frame at a time. */
__attribute__((noinline)) long
recurse(long n)
{
	volatile char frame[512];

	frame[0] = n;
	if (n < 0)
		return 0;
	return recurse(n + 1) + frame[0];
}

/* Overflows the stack by one frame of 16 MiB. */
long
big_frame(void)
{
	volatile char frame[16 << 20];

	frame[0] = 1;
	return frame[0];
}

/* Opens /etc/passwd, if it may. */
long
open_file(void)
{
	static const char path[] = "/etc/passwd";
	long r;

#ifdef __x86_64__
	__asm__ volatile("syscall" : "=a"(r) : "a"(257), "D"(-100L), "S"(path), "d"(0L) : "rcx", "r11", "memory");
#else
	register long x8 __asm__("x8") = 56;
	register long x0 __asm__("x0") = -100;
	register const char *x1 __asm__("x1") = path;
	register long x2 __asm__("x2") = 0;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
	r = x0;
#endif
	return r;
}

/* Never ends. */
void
loop(void)
{
	for (;;)
		counter++;
}

static __attribute__((noinline)) int
inner(int n)
{
	return write_null() + n;
}

static __attribute__((noinline)) int
middle(int n)
{
	return inner(n + 1) * 2;
}

/* Fails three calls down. */
int
outer(int n)
{
	return middle(n + 1) - 1;
}

/* Works: what is asked after each failure. */
int
add(int a, int b)
{
	return a + b;
}
