/*
 * service.c: the main thread once the runner is up. It waits for commands, makes
 * all threads see the text as it stands, and answers. It never runs module code, and
 * writes nothing but its answer.
 */
#include "runner.h"

/* Do n bytes at addr lie in size bytes at base? */
static int within(u64 base, u64 size, u64 addr, u64 n)
{
	return addr >= base && n <= size && addr - base <= size - n;
}

int in_tables(u64 addr, u64 n)
{
	return within(fixed.config.tables, fixed.config.tables_size, addr, n);
}

static int in_text(u64 addr, u64 n)
{
	return within(fixed.config.text, fixed.config.text_size, addr, n);
}

/*
 * Where caches of instructions do not follow those of data by themselves (aarch64),
 * what the host wrote is brought to the point where both meet, and what was fetched
 * from there before is forgotten: first all data, then all instructions, since each
 * kind waits for the one before it once (Arm ARM, part B2, "Synchronization and coherency
 * issues between data and instruction accesses"). Where they do, these do nothing.
 */
static i32 flush_range(u64 lo, u64 hi)
{
	if (hi < lo || !in_text(lo, hi - lo))
		return EINVAL;
	flush_data(lo, hi);
	flush_wait();
	flush_code(lo, hi);
	flush_wait();
	return 0;
}

/* flush_sites does it for the sites of the switch under way. */
static i32 flush_sites(void)
{
	const struct klink_table *t = (const void *)fixed.config.table;
	const struct klink_row *row = (const void *)load(&t->rows);
	u64 count = load(&t->count);

	if (count == 0)
		return 0;	/* no switch since the start: there is no table to go by */
	if (count > fixed.config.tables_size || !in_tables((u64)row, count * sizeof(*row)))
		return EINVAL;
	for (u64 k = 0; k < count; k++)
		if (in_text(row[k].addr, FORM_MOST))
			flush_data(row[k].addr, row[k].addr + form_length(row[k].form));
	flush_wait();
	for (u64 k = 0; k < count; k++)
		if (in_text(row[k].addr, FORM_MOST))
			flush_code(row[k].addr, row[k].addr + form_length(row[k].form));
	flush_wait();
	return 0;
}

/* include/uapi/linux/membarrier.h: every thread of this process that runs has
 * executed an instruction that synchronises its core when this returns. */
#define MEMBARRIER_PRIVATE_EXPEDITED_SYNC_CORE	(1 << 5)

static i32 barrier(void)
{
	if (fixed.barrier_error != 0)
		return -fixed.barrier_error;
	return (i32)-SYS(SYS_membarrier, MEMBARRIER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
}

static i32 obey(struct klink_mail *mail)
{
	i32 err = 0;

	switch (load(&mail->cmd)) {
	case KLINK_CMD_BARRIER:
		if (MUST_FLUSH && load(&mail->cmd_arg[0]) == 1)
			err = flush_sites();
		break;
	case KLINK_CMD_FLUSH:
		if (MUST_FLUSH)
			err = flush_range(load(&mail->cmd_arg[0]), load(&mail->cmd_arg[1]));
		break;
	default:
		return ENOSYS;
	}
	return err != 0 ? err : barrier();
}

_Noreturn void service(void)
{
	struct klink_mail *mail = fixed.mail;
	u32 done = 0;

	for (;;) {
		u32 seq = load(&mail->cmd_seq);

		if (seq == done) {
			futex_wait(&mail->cmd_seq, seq);
			continue;
		}
		mail->ack_error = obey(mail);
		done = seq;
		store(&mail->ack_seq, seq);
		futex_wake(&mail->ack_seq);
	}
}
