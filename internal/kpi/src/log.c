/*
 * log.c: printf and panic.
 *
 * Shared: the log's ring. A writer takes the next slot with one atomic addition and
 * never waits for anybody: a slot that comes round before the host has read it is
 * lost, and the host counts it. A slot is filled in a critical section. Text is
 * formatted outside of it, so that a bad %s is the fault of the call that printed it.
 */
#include "kpi.h"

#define SLOT_TEXT	sizeof(((struct klink_line *)0)->text)

/* slot fills the next slot of the log. */
static void slot(struct klink_thread *t, const char *p, u32 n, bool goes_on)
{
	struct klink_config *c = config(t);
	u64 now = klink_now();

	if (c->log_slots == 0)
		return;
	critical_enter(t);
	u64 number = __atomic_fetch_add(&mail(t)->log_head, 1, __ATOMIC_SEQ_CST);
	struct klink_line *l = (struct klink_line *)(t->control + c->log) + number % c->log_slots;

	__atomic_store_n(&l->seq, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	l->time = now;
	l->length = n | (goes_on ? KLINK_LINE_GOES_ON : 0);
	l->thread = t->index;
	memcpy(l->text, p, n);
	store(&l->seq, number + 1);
	mine(t)->midline = goes_on ? t->post : 0;
	critical_exit(t);
}

struct lines {
	struct sink sink;
	struct klink_thread *t;
	bool any;
	u32 n;
	char text[SLOT_TEXT];
};

static void flush(struct lines *l, bool goes_on)
{
	slot(l->t, l->text, l->n, goes_on);
	l->n = 0;
	l->any = true;
}

/* put_lines gathers text; each end of a line and each full slot goes to the log. */
static void put_lines(struct sink *s, const char *p, size_t n)
{
	struct lines *l = (struct lines *)s;

	for (; n > 0; p++, n--) {
		if (*p == '\n') {
			flush(l, false);
			continue;
		}
		if (l->n == SLOT_TEXT)
			flush(l, true);
		l->text[l->n++] = *p;
	}
}

static void print(struct klink_thread *t, const char *fmt, va_list ap)
{
	struct lines l;

	/* An earlier call of this thread may have left off in the middle of a line. */
	if (mine(t)->midline != t->post)
		klink_line_end(t);
	l.sink.put = put_lines;
	l.t = t;
	l.any = false;
	l.n = 0;
	klink_format(&l.sink, fmt, ap);
	if (l.n != 0)
		flush(&l, true);
	if (l.any)
		tell_host(t);
}

/* klink_line_end ends the line that the thread is in the middle of, if it is. */
void klink_line_end(struct klink_thread *t)
{
	if (!mine(t)->midline)
		return;
	slot(t, "", 0, false);
	tell_host(t);
}

void vprintf(const char *fmt, va_list ap)
{
	print(self(), fmt, ap);
}

#define PRINTS(name)				\
void name(const char *fmt, ...)			\
{						\
	va_list ap;				\
						\
	va_start(ap, fmt);			\
	print(self(), fmt, ap);			\
	va_end(ap);				\
}

PRINTS(printf)
PRINTS(printf_nolog)
PRINTS(aprint_normal)
PRINTS(aprint_naive)
PRINTS(aprint_verbose)
PRINTS(aprint_error)
PRINTS(aprint_debug)

/* klink_give_up ends the call, and it alone, with a line that says why. */
void klink_give_up(const char *fmt, ...)
{
	struct klink_thread *t = self();
	va_list ap;

	klink_line_end(t);
	va_start(ap, fmt);
	print(t, fmt, ap);
	va_end(ap);
	klink_abort();
}

/* Which thread panicked, plus 1: it alone writes panic_text. */
static u32 panicked;

/* vpanic never returns: the host kills the runner. Until then the thread sleeps, so that
 * it is shown where it panicked. Critical sections do not matter any more. */
void vpanic(const char *fmt, va_list ap)
{
	struct klink_thread *t = self();
	struct klink_mail *m = mail(t);
	char text[sizeof m->panic_text];

	vsnprintf(text, sizeof text, fmt, ap);
	for (size_t n = strlen(text); n > 0 && text[n - 1] == '\n';)
		text[--n] = '\0';
	klink_line_end(t);
	printf("panic: %s\n", text);
	if (cas(&panicked, 0, t->index + 1)) {
		memcpy(m->panic_text, text, sizeof text);
		store(&m->panic, t->index + 1);
		tell_host(t);
	}
	t->critical = 0;
	for (;;)
		klink_wait(&mine(t)->word, mine(t)->word, 0, m, "panic");
}

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vpanic(fmt, ap);
}

void kern_assert(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vpanic(fmt, ap);
}

void abort(void)
{
	klink_give_up("abort: thread %u ends its call\n", self()->index);
}
