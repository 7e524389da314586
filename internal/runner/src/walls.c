/*
 * walls.c: what is taken from this process before module code runs: resources,
 * executable memory, system calls. Nothing here gives anything, and nothing can be
 * taken back. A wall that this system lacks stays down and is reported so.
 */
#include "runner.h"

#define countof(a)	(sizeof(a) / sizeof((a)[0]))

/* include/uapi/asm-generic/resource.h. All become 0, for good: the limit that could
 * raise them again goes too. Threads, mappings and wake-ups that exist do not count. */
static const u32 limits[] = {
	1,	/* RLIMIT_FSIZE */
	4,	/* RLIMIT_CORE: no copy of shared memory on a disk */
	6,	/* RLIMIT_NPROC */
	7,	/* RLIMIT_NOFILE */
	8,	/* RLIMIT_MEMLOCK */
	10,	/* RLIMIT_LOCKS */
	12,	/* RLIMIT_MSGQUEUE */
	13,	/* RLIMIT_NICE */
	14,	/* RLIMIT_RTPRIO */
};

i64 walls_limits(void)
{
	static const u64 none[2] = { 0, 0 };	/* struct rlimit64: current, most */
	int all = 1;

	for (u32 i = 0; i < countof(limits); i++)
		all &= SYS(SYS_prlimit64, 0, limits[i], none, 0) == 0;
	return all ? KLINK_WALL_LIMITS : 0;
}

/* include/uapi/linux/prctl.h: PR_SET_MDWE is 65 (Linux 6.3), and inherited by all
 * threads, since it is of the memory: no page that is mapped becomes executable, and
 * none is mapped writable and executable. */
i64 walls_mdwe(void)
{
	enum { PR_SET_MDWE = 65, PR_MDWE_REFUSE_EXEC_GAIN = 1 };

	return SYS(SYS_prctl, PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN) == 0 ? KLINK_WALL_MDWE : 0;
}

/*
 * The system calls that are left: those of the kernel object, and of the runner after
 * its start. Everything else raises SIGSYS in its caller, who is told of as of any
 * other fault. What a call is given by address is not looked at: none of these does
 * more with it than the caller could.
 *
 *	futex			op (without FUTEX_PRIVATE_FLAG, FUTEX_CLOCK_REALTIME) in
 *				WAIT, WAKE, WAIT_BITSET, WAKE_BITSET: none that requeues, or
 *				lends priority
 *	membarrier		MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE only
 *	clock_gettime		also behind the vDSO, for clocks that it does not know
 *	sched_yield
 *	rt_sigreturn		out of handlers; with a frame of its own making a caller
 *				gets registers, a signal mask and a signal stack, and can
 *				harm this process by it, no other
 *	restart_syscall		how Linux goes on with an interrupted futex wait
 *
 * Linux lets two calls of x86-64 past any filter, uretprobe (335) and uprobe (336):
 * kernel/seccomp.c, seccomp_uprobe_exception. Called from anywhere but the trampolines
 * of its own uprobes, the one raises SIGILL and the other returns ENXIO.
 *
 * The numbers are those of this machine alone: another calling convention (i386's
 * int $0x80) has another arch; x32's numbers have bit 30 set, so that none equals one here.
 */

/* include/uapi/linux/filter.h, bpf_common.h: one instruction of the filter. */
struct sock_filter { unsigned short code; u8 jt, jf; u32 k; };
struct sock_fprog { unsigned short len; const struct sock_filter *filter; };

/* include/uapi/linux/seccomp.h: struct seccomp_data, which the filter reads. */
#define DATA_NR		0
#define DATA_ARCH	4
#define DATA_ARG(n)	(16 + 8 * (n))	/* low half; ints are read from it alone */

#define LOAD(off)		{ 0x20, 0, 0, (off) }	/* BPF_LD | BPF_W | BPF_ABS */
#define AND(bits)		{ 0x54, 0, 0, (bits) }	/* BPF_ALU | BPF_AND | BPF_K */
#define SKIP_IF(v, n)		{ 0x15, (n), 0, (v) }	/* BPF_JMP | BPF_JEQ | BPF_K */
#define SKIP_UNLESS(v, n)	{ 0x15, 0, (n), (v) }
#define ALLOW			{ 0x06, 0, 0, 0x7fff0000 } /* BPF_RET | BPF_K, SECCOMP_RET_ALLOW */
#define REFUSE			{ 0x06, 0, 0, 0x00030000 } /* SECCOMP_RET_TRAP */

#define FUTEX_OP	(~(128u | 256u))	/* all but PRIVATE_FLAG and CLOCK_REALTIME */
#define FUTEX_WAIT	0
#define FUTEX_WAKE	1
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10
#define SYNC_CORE	(1 << 5)		/* MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE */

static const struct sock_filter filter[] = {
	LOAD(DATA_ARCH),
	SKIP_IF(AUDIT_ARCH_HERE, 1),
	REFUSE,
	LOAD(DATA_NR),
	/* a row of two for what is allowed whatever its arguments are */
	SKIP_UNLESS(SYS_clock_gettime, 1),
	ALLOW,
	SKIP_UNLESS(SYS_sched_yield, 1),
	ALLOW,
	SKIP_UNLESS(SYS_rt_sigreturn, 1),
	ALLOW,
	SKIP_UNLESS(SYS_restart_syscall, 1),
	ALLOW,
	SKIP_UNLESS(SYS_futex, 8),
	LOAD(DATA_ARG(1)),
	AND(FUTEX_OP),
	SKIP_IF(FUTEX_WAIT, 4),
	SKIP_IF(FUTEX_WAKE, 3),
	SKIP_IF(FUTEX_WAIT_BITSET, 2),
	SKIP_IF(FUTEX_WAKE_BITSET, 1),
	REFUSE,
	ALLOW,
	SKIP_UNLESS(SYS_membarrier, 3),
	LOAD(DATA_ARG(0)),
	SKIP_UNLESS(SYNC_CORE, 1),
	ALLOW,
	REFUSE,
};

i64 walls_seccomp(void)
{
	enum { PR_SET_NO_NEW_PRIVS = 38, SECCOMP_SET_MODE_FILTER = 1, SECCOMP_FILTER_FLAG_TSYNC = 1 };
	static const struct sock_fprog program = { countof(filter), filter };
	i64 err = SYS(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1);

	if (err < 0)
		return err;
	err = SYS(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
	if (err == -ENOSYS || err == -EINVAL)
		return 0;	/* built without it; or an emulator, which needs its own calls */
	if (err > 0)
		return -ESRCH;	/* the thread of that number could not take the filter */
	return err < 0 ? err : KLINK_WALL_SECCOMP;
}
