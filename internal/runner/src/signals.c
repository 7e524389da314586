/*
 * signals.c: which handler serves which signal, and who it is that got one. System
 * calls are made at the start only.
 */
#include "runner.h"

/* include/uapi/asm-generic/signal.h, signal-defs.h; arch/x86/include/uapi/asm/signal.h */
#define SIG_SETMASK	2
#define SA_SIGINFO	0x00000004ul
#define SA_RESTORER	0x04000000ul
#define SA_ONSTACK	0x08000000ul
#define SA_RESTART	0x10000000ul
#define BIT(signo)	(1ul << ((signo) - 1))

#define PARK		BIT(KLINK_SIG_PARK)
#define LIMIT		BIT(KLINK_SIG_LIMIT)

struct kernel_sigaction {	/* include/linux/signal_types.h, struct sigaction */
	u64 handler, flags, restorer, mask;
};

typedef void handler(i32, struct siginfo *, struct context *);

/*
 * A thread that handles one of these shall not be stopped, nor ended, in the middle
 * of its decision: the host would see it nowhere. So all hold back PARK and LIMIT,
 * which come as soon as the handler returns. None holds back SIGTRAP. A fault in a
 * handler is one too many: Linux kills a process for a fault that is held back.
 */
static const struct {
	u32 signo;
	handler *handler;
	u64 mask, flags;
} table[] = {
	{ SIGTRAP, on_trap, PARK | LIMIT, 0 },
	{ SIGSEGV, on_fault, PARK | LIMIT, 0 },
	{ SIGBUS, on_fault, PARK | LIMIT, 0 },
	{ SIGFPE, on_fault, PARK | LIMIT, 0 },
	{ SIGILL, on_fault, PARK | LIMIT, 0 },
	{ SIGSYS, on_fault, PARK | LIMIT, 0 },
	{ KLINK_SIG_PARK, on_park, LIMIT, SA_RESTART },
	{ KLINK_SIG_LIMIT, on_limit, PARK, SA_RESTART },
};

i64 signals_install(void)
{
	for (u32 i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct kernel_sigaction action = {
			(u64)table[i].handler,
			SA_SIGINFO | SA_ONSTACK | SA_RESTORER | table[i].flags,
			(u64)klink_restorer,
			table[i].mask,
		};
		i64 err = SYS(SYS_rt_sigaction, table[i].signo, &action, 0, sizeof(action.mask));

		if (err < 0)
			return err;
	}
	return 0;
}

/* signals_block makes set the signals that this thread holds back. */
i64 signals_block(u64 set)
{
	return SYS(SYS_rt_sigprocmask, SIG_SETMASK, &set, 0, sizeof(set));
}

/*
 * thread_here answers whose handler this is: NOBODY for the service thread. It goes
 * by the stack that runs, which Linux has chosen; module code can change the thread
 * pointer, and every word of the block that it leads to.
 */
u32 thread_here(void)
{
	u64 off = (u64)__builtin_frame_address(0) - fixed.config.stacks;
	u64 i = off / fixed.config.stack_stride;

	return i < fixed.config.threads ? (u32)i : NOBODY;
}
