/*
 * string.c: memory, strings, numbers. Nothing is shared here; each function is as safe
 * as its arguments. The compiler must not turn these loops into calls of themselves
 * (-fno-tree-loop-distribute-patterns, -ffreestanding).
 */
#include "kpi.h"

/* Eight bytes of anything, anywhere: both machines load and store them at any address. */
typedef u64 __attribute__((__may_alias__, __aligned__(1))) word;

void *memcpy(void *to, const void *from, size_t n)
{
	u8 *d = to;
	const u8 *s = from;

	for (; n >= 32; n -= 32, d += 32, s += 32) {
		u64 a = ((const word *)s)[0], b = ((const word *)s)[1], c = ((const word *)s)[2], e = ((const word *)s)[3];

		((word *)d)[0] = a;
		((word *)d)[1] = b;
		((word *)d)[2] = c;
		((word *)d)[3] = e;
	}
	for (; n >= 8; n -= 8, d += 8, s += 8)
		*(word *)d = *(const word *)s;
	for (; n > 0; n--)
		*d++ = *s++;
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	u8 *d = to;
	const u8 *s = from;

	if ((u64)d - (u64)s >= n)
		return memcpy(to, from, n);	/* upwards is right: to is below, or apart */
	for (; n >= 8; n -= 8)
		*(word *)(d + n - 8) = *(const word *)(s + n - 8);
	for (; n > 0; n--)
		d[n - 1] = s[n - 1];
	return to;
}

void *memset(void *to, int c, size_t n)
{
	u8 *d = to;
	u64 all = (u8)c * 0x0101010101010101ul;

	for (; n >= 32; n -= 32, d += 32) {
		((word *)d)[0] = all;
		((word *)d)[1] = all;
		((word *)d)[2] = all;
		((word *)d)[3] = all;
	}
	for (; n >= 8; n -= 8, d += 8)
		*(word *)d = all;
	for (; n > 0; n--)
		*d++ = (u8)c;
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *p = a, *q = b;

	for (; n >= 8 && *(const word *)p == *(const word *)q; n -= 8, p += 8, q += 8)
		;
	for (; n > 0; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}

void *memchr(const void *from, int c, size_t n)
{
	const u8 *p = from;

	for (; n > 0; n--, p++)
		if (*p == (u8)c)
			return __UNCONST(p);
	return NULL;
}

int bcmp(const void *a, const void *b, size_t n) { return memcmp(a, b, n) != 0; }
void bcopy(const void *from, void *to, size_t n) { memmove(to, from, n); }
void bzero(void *to, size_t n) { memset(to, 0, n); }

size_t strlen(const char *s)
{
	const char *p = s;

	while (*p != '\0')
		p++;
	return (size_t)(p - s);
}

size_t strnlen(const char *s, size_t most)
{
	size_t n = 0;

	while (n < most && s[n] != '\0')
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	for (; *a == *b && *a != '\0'; a++, b++)
		;
	return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n > 0; n--, a++, b++)
		if (*a != *b || *a == '\0')
			return (u8)*a - (u8)*b;
	return 0;
}

int strcasecmp(const char *a, const char *b)
{
	return strncasecmp(a, b, ~(size_t)0);
}

int strncasecmp(const char *a, const char *b, size_t n)
{
	for (; n > 0; n--, a++, b++) {
		int c = tolower((u8)*a), d = tolower((u8)*b);

		if (c != d || c == '\0')
			return c - d;
	}
	return 0;
}

char *strcpy(char *to, const char *from)
{
	memcpy(to, from, strlen(from) + 1);
	return to;
}

/* The rest of the n bytes becomes 0. */
char *strncpy(char *to, const char *from, size_t n)
{
	size_t len = strnlen(from, n);

	memcpy(to, from, len);
	memset(to + len, 0, n - len);
	return to;
}

char *strcat(char *to, const char *from)
{
	strcpy(to + strlen(to), from);
	return to;
}

char *strncat(char *to, const char *from, size_t n)
{
	size_t at = strlen(to), len = strnlen(from, n);

	memcpy(to + at, from, len);
	to[at + len] = '\0';
	return to;
}

size_t strlcpy(char *to, const char *from, size_t size)
{
	size_t len = strlen(from);

	if (size != 0) {
		size_t n = len < size ? len : size - 1;

		memcpy(to, from, n);
		to[n] = '\0';
	}
	return len;
}

size_t strlcat(char *to, const char *from, size_t size)
{
	size_t at = strnlen(to, size);

	return at + strlcpy(to + at, from, size - at);
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return __UNCONST(s);
		if (*s == '\0')
			return NULL;
	}
}

char *strrchr(const char *s, int c)
{
	const char *last = NULL;

	for (;; s++) {
		if (*s == (char)c)
			last = s;
		if (*s == '\0')
			return __UNCONST(last);
	}
}

char *strstr(const char *s, const char *what)
{
	size_t n = strlen(what);

	for (; strncmp(s, what, n) != 0; s++)
		if (*s == '\0')
			return NULL;
	return __UNCONST(s);
}

/* span counts the bytes from s on that are in set, or those that are not. */
static size_t span(const char *s, const char *set, bool in)
{
	size_t n = 0;

	while (s[n] != '\0' && (strchr(set, s[n]) != NULL) == in)
		n++;
	return n;
}

size_t strspn(const char *s, const char *set) { return span(s, set, true); }
size_t strcspn(const char *s, const char *set) { return span(s, set, false); }

char *strpbrk(const char *s, const char *set)
{
	s += strcspn(s, set);
	return *s == '\0' ? NULL : __UNCONST(s);
}

char *strsep(char **at, const char *set)
{
	char *start = *at;

	if (start == NULL)
		return NULL;
	char *end = start + strcspn(start, set);

	*at = *end == '\0' ? NULL : end + 1;
	*end = '\0';
	return start;
}

static u32 digit_of(char c)
{
	if (isdigit(c))
		return (u32)(c - '0');
	return isalpha(c) ? (u32)(tolower(c) - 'a') + 10 : 99;
}

/* number reads blanks, a sign, a prefix if base allows it, digits; a value beyond most is
 * most. */
static u64 number(const char *s, char **end, u32 base, u64 most, bool *negative, bool *over)
{
	const char *p = s;
	u64 v = 0;
	bool any = false;

	*over = *negative = false;
	while (isspace(*p))
		p++;
	if (*p == '-' || *p == '+')
		*negative = *p++ == '-';
	if ((base == 0 || base == 16) && p[0] == '0' && (p[1] | 0x20) == 'x' && digit_of(p[2]) < 16) {
		p += 2;
		base = 16;
	} else if (base == 0)
		base = *p == '0' ? 8 : 10;
	for (; digit_of(*p) < base; p++, any = true) {
		u32 d = digit_of(*p);

		if (*over || v > (most - d) / base)
			*over = true;
		else
			v = v * base + d;
	}
	if (end != NULL)
		*end = __UNCONST(any ? p : s);
	return *over ? most : v;
}

unsigned long long strtoull(const char *s, char **end, int base)
{
	bool negative, over;
	u64 v = number(s, end, (u32)base, ~0ul, &negative, &over);

	return negative && !over ? 0 - v : v;
}

long long strtoll(const char *s, char **end, int base)
{
	bool negative, over;
	u64 v = number(s, end, (u32)base, 1ul << 63, &negative, &over);

	if (negative)
		return (long long)(0 - v);
	return v >> 63 != 0 ? INT64_MAX : (long long)v;
}

u_long strtoul(const char *s, char **end, int base) { return strtoull(s, end, base); }
long strtol(const char *s, char **end, int base) { return strtoll(s, end, base); }
