/*
 * fault.c: a call that cannot go on. What it was doing is recorded, the host looks
 * at it at leisure, then the thread leaves the call.
 *
 * It leaves by way of the frame that Linux pushed: changed to the beginning of
 * klink_pool on an empty stack. Nothing of what the call left in registers or on the
 * stack is used, since it may be what broke.
 */
#include "runner.h"

/* text appends to a line of limited length. */
struct line { char *at, *end; };

static void text(struct line *l, const char *s)
{
	while (*s != 0 && l->at < l->end)
		*l->at++ = *s++;
}

/* number appends v in base 10 or 16. */
static void number(struct line *l, u64 v, u32 base)
{
	char digits[21];	/* 2^64 has 20 */
	char *d = digits + sizeof(digits) - 1;

	*d = 0;
	do
		*--d = "0123456789abcdef"[v % base];
	while ((v /= base) != 0);
	text(l, base == 16 ? "0x" : "");
	text(l, d);
}

/* address returns where the fault was; a signal that somebody sent was nowhere. */
static u64 address(const struct siginfo *info)
{
	return info->code > 0 ? info->addr : 0;
}

/* panic ends the runner as far as it can itself: the host is told which thread it
 * was (the first one counts), and kills it. */
static _Noreturn void panic(u32 i, const struct siginfo *info, const struct context *c)
{
	struct klink_mail *mail = fixed.mail;
	u32 nobody = 0, who = i == NOBODY ? fixed.config.threads : i;

	if (i == NOBODY) { /* there is no block for its record */
		struct line l = { mail->panic_text, mail->panic_text + sizeof(mail->panic_text) - 1 };

		text(&l, "the service thread got signal ");
		number(&l, (u32)info->signo, 10);
		text(&l, " at ");
		number(&l, context_pc(c), 16);
		text(&l, ", address ");
		number(&l, address(info), 16);
		*l.at = 0;
	}
	__atomic_compare_exchange_n(&mail->panic, &nobody, who + 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	tell_host();
	for (;;)
		futex_wait(&mail->panic, load(&mail->panic));
}

static void record(struct klink_thread *t, const struct siginfo *info, const struct context *c)
{
	/* All others come with the numbers of whatever exception the thread had before. */
	int exception = info->code > 0 && info->signo != SIGSYS;

	save_regs(&t->fault_regs, c);
	t->signo = (u32)info->signo;
	t->code = info->code;
	t->addr = address(info);
	t->trapno = exception ? context_trapno(c) : 0;
	t->error = exception ? context_error(c, (u32)info->signo) : 0;
	t->nr = info->signo == SIGSYS ? (u64)info->nr : 0;
}

void fault(u32 i, const struct siginfo *info, struct context *c)
{
	if (i == NOBODY)
		panic(i, info, c);

	struct klink_thread *t = thread_block(i);
	u32 post = load(&t->post), release;
	u64 enter_sp = load(&t->enter_sp);

	record(t, info, c);
	store(&t->fault, post);
	/* Outside of a call it is the runner's own code that failed; inside a critical
	 * section, the state that all threads share is in pieces. */
	if (!in_stack(i, enter_sp, 8) || load(&t->critical) > 0)
		panic(i, info, c);
	tell_host();
	while ((release = load(&t->release)) != post)
		futex_wait(&t->release, release);
	send_to(c, (u64)klink_again, stack_hi(i), i, KLINK_FAULTED);
}

void on_fault(i32 signo, struct siginfo *info, struct context *c)
{
	sane_flags();
	(void)signo;
	fault(thread_here(), info, c);
}

/*
 * on_limit: the host ends the call of number `limit`. One that is over already, or
 * in a critical section, goes on: the host sends the signal again until it sees a
 * fault, or the call's end.
 */
void on_limit(i32 signo, struct siginfo *info, struct context *c)
{
	sane_flags();
	(void)signo;

	u32 i = thread_here();

	if (i == NOBODY)
		return;

	struct klink_thread *t = thread_block(i);

	if (load(&t->limit) != load(&t->post) || load(&t->enter_sp) == 0 || load(&t->critical) > 0)
		return;
	fault(i, info, c);
}
