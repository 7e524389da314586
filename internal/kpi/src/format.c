/*
 * format.c: formats. Nothing is shared here; text goes where the sink puts it.
 */
#include "kpi.h"

/* What stands between % and the letter. */
struct spec {
	int width;
	int precision;	/* -1: none */
	bool left, zero, plus, space, alt;
	int size;	/* of an integer argument: 0 int, 1 long, -1 short, -2 char */
};

static void pad(struct sink *s, char c, i64 n, u64 *total)
{
	static const char zeros[] = "0000000000000000", blanks[] = "                ";
	const char *from = c == '0' ? zeros : blanks;

	while (n > 0) {
		size_t k = n < 16 ? (size_t)n : 16;

		s->put(s, from, k);
		*total += k;
		n -= 16;
	}
}

static void text(struct sink *s, const struct spec *f, const char *p, size_t n, u64 *total)
{
	i64 room = (i64)f->width - (i64)n;

	if (!f->left)
		pad(s, ' ', room, total);
	s->put(s, p, n);
	*total += n;
	if (f->left)
		pad(s, ' ', room, total);
}

/* number puts prefix (a sign, 0x), zeros, digits. */
static void number(struct sink *s, const struct spec *f, u64 v, u32 base, bool upper, const char *prefix, u64 *total)
{
	const char *letters = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char buf[24];
	char *p = buf + sizeof buf;
	size_t lead = strlen(prefix);
	i64 digits, zeros;

	if (v != 0 || f->precision != 0)
		do {
			*--p = letters[v % base];
			v /= base;
		} while (v != 0);
	digits = buf + sizeof buf - p;
	zeros = f->precision - digits;
	if (base == 8 && f->alt && zeros <= 0 && (digits == 0 || *p != '0'))
		zeros = 1;
	if (zeros < 0)
		zeros = 0;
	/* A precision or - makes 0 mean nothing: C99 7.19.6.1. */
	if (f->zero && !f->left && f->precision < 0 && f->width > (i64)lead + digits + zeros)
		zeros = f->width - (i64)lead - digits;

	i64 room = f->width - (i64)lead - zeros - digits;
	if (!f->left)
		pad(s, ' ', room, total);
	s->put(s, prefix, lead);
	pad(s, '0', zeros, total);
	s->put(s, p, (size_t)digits);
	*total += lead + (u64)digits;
	if (f->left)
		pad(s, ' ', room, total);
}

static u64 unsigned_arg(const struct spec *f, va_list *ap)
{
	switch (f->size) {
	case 1: return va_arg(*ap, u64);
	case -1: return (unsigned short)va_arg(*ap, u32);
	case -2: return (u8)va_arg(*ap, u32);
	default: return va_arg(*ap, u32);
	}
}

static i64 signed_arg(const struct spec *f, va_list *ap)
{
	switch (f->size) {
	case 1: return va_arg(*ap, i64);
	case -1: return (short)va_arg(*ap, i32);
	case -2: return (signed char)va_arg(*ap, i32);
	default: return va_arg(*ap, i32);
	}
}

static void signed_number(struct sink *s, const struct spec *f, i64 v, u64 *total)
{
	const char *sign = v < 0 ? "-" : f->plus ? "+" : f->space ? " " : "";

	number(s, f, v < 0 ? 0 - (u64)v : (u64)v, 10, false, sign, total);
}

static int digits(const char **fmt)
{
	int n = 0;

	for (; isdigit(**fmt); ++*fmt)
		n = n < 100000 ? n * 10 + (**fmt - '0') : n;
	return n;
}

/* parse reads flags, width, precision and size; *fmt is at the letter then. */
static struct spec parse(const char **fmt, va_list *ap)
{
	struct spec f = { .precision = -1 };

	for (;; ++*fmt) {
		switch (**fmt) {
		case '-': f.left = true; continue;
		case '0': f.zero = true; continue;
		case '+': f.plus = true; continue;
		case ' ': f.space = true; continue;
		case '#': f.alt = true; continue;
		}
		break;
	}
	if (**fmt == '*') {
		++*fmt;
		if ((f.width = va_arg(*ap, int)) < 0) {
			f.left = true;
			f.width = f.width == INT32_MIN ? 0 : -f.width;
		}
	} else
		f.width = digits(fmt);
	if (**fmt == '.') {
		++*fmt;
		if (**fmt == '*') {
			++*fmt;
			f.precision = va_arg(*ap, int);
		} else
			f.precision = digits(fmt);
		if (f.precision < 0)
			f.precision = -1;
	}
	for (;; ++*fmt) {
		switch (**fmt) {
		case 'h': f.size--; continue;
		case 'l': case 'q': case 'j': case 'z': case 't': f.size = 1; continue;
		}
		break;
	}
	return f;
}

/* convert does one conversion; false if its letter is none. */
static bool convert(struct sink *s, struct spec *f, char letter, va_list *ap, u64 *total)
{
	const char *p;
	u64 v;
	char c;

	switch (letter) {
	case 'd': case 'i':
		signed_number(s, f, signed_arg(f, ap), total);
		return true;
	case 'u':
		number(s, f, unsigned_arg(f, ap), 10, false, "", total);
		return true;
	case 'o':
		number(s, f, unsigned_arg(f, ap), 8, false, "", total);
		return true;
	case 'x': case 'X':
		v = unsigned_arg(f, ap);
		p = !f->alt || v == 0 ? "" : letter == 'x' ? "0x" : "0X";
		number(s, f, v, 16, letter == 'X', p, total);
		return true;
	case 'p':
		number(s, f, va_arg(*ap, u64), 16, false, "0x", total);
		return true;
	case 'c':
		c = (char)va_arg(*ap, int);
		text(s, f, &c, 1, total);
		return true;
	case 's':
		if ((p = va_arg(*ap, const char *)) == NULL)
			p = "(null)";
		text(s, f, p, f->precision < 0 ? strlen(p) : strnlen(p, (size_t)f->precision), total);
		return true;
	case '%':
		text(s, f, "%", 1, total);
		return true;
	}
	return false;
}

/* klink_format gives the text to s, and returns how long it is, bytes. A conversion that
 * it does not know is put as it stands, with everything behind it: nobody can say which
 * argument comes next. */
u64 klink_format(struct sink *s, const char *fmt, va_list args)
{
	u64 total = 0;
	va_list ap;

	va_copy(ap, args);
	while (*fmt != '\0') {
		const char *start = fmt;
		struct spec f;

		while (*fmt != '\0' && *fmt != '%')
			fmt++;
		if (fmt != start) {
			s->put(s, start, (size_t)(fmt - start));
			total += (u64)(fmt - start);
			continue;
		}
		fmt++;
		f = parse(&fmt, &ap);
		if (!convert(s, &f, *fmt, &ap, &total)) {
			size_t n = strlen(start);

			s->put(s, start, n);
			total += n;
			break;
		}
		fmt++;
	}
	va_end(ap);
	return total;
}

struct buffer {
	struct sink sink;
	char *to;
	size_t room;	/* without the NUL */
};

static void put_buffer(struct sink *s, const char *p, size_t n)
{
	struct buffer *b = (struct buffer *)s;

	if (n > b->room)
		n = b->room;
	memcpy(b->to, p, n);
	b->to += n;
	b->room -= n;
}

/* vsnprintf returns how long the text is, whether it had room or not. */
int vsnprintf(char *to, size_t size, const char *fmt, va_list ap)
{
	struct buffer b = { { put_buffer }, to, size == 0 ? 0 : size - 1 };
	u64 n = klink_format(&b.sink, fmt, ap);

	if (size != 0)
		*b.to = '\0';
	return (int)n;
}

int snprintf(char *to, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(to, size, fmt, ap);
	va_end(ap);
	return n;
}
