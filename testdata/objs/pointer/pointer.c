/* Addresses of functions in data, in read-only data and in code. */
typedef int (*fn_t)(int);

int callee(int);
int own(int);

fn_t in_data = callee;
const fn_t in_rodata[] = { callee, own };
struct { int pad; fn_t f; } inside = { 1, own };

int
own(int x)
{
	return x;
}

fn_t
immediate(void)
{
	return callee;
}

int
same(fn_t f)
{
	return f == callee || f == in_rodata[1];
}
