/*
 * amd64.h: x86-64 as the runner meets it. System calls, the frame that Linux
 * pushes for a handler, where it keeps registers, and how to be sane in one.
 * Nothing here changes memory but what it is given.
 */
#ifndef AMD64_H
#define AMD64_H

/* arch/x86/entry/syscalls/syscall_64.tbl */
#define SYS_close		3
#define SYS_mmap		9
#define SYS_mprotect		10
#define SYS_munmap		11
#define SYS_rt_sigaction	13
#define SYS_rt_sigprocmask	14
#define SYS_rt_sigreturn	15
#define SYS_sched_yield		24
#define SYS_sigaltstack		131
#define SYS_setpriority		141
#define SYS_prctl		157
#define SYS_futex		202
#define SYS_restart_syscall	219
#define SYS_clock_gettime	228
#define SYS_exit_group		231
#define SYS_prlimit64		302
#define SYS_seccomp		317
#define SYS_membarrier		324
#define SYS_close_range		436

/* include/uapi/linux/audit.h: EM_X86_64 (62), 64-bit, little-endian. The x32 calls have it too. */
#define AUDIT_ARCH_HERE		0xc000003eu

/* System V psABI, A.2.1: rax; rdi rsi rdx r10 r8 r9; rcx and r11 are lost. */
static inline i64 syscall6(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 r10 __asm__("r10") = d;
	register u64 r8 __asm__("r8") = e;
	register u64 r9 __asm__("r9") = f;
	i64 ret;
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

/* arch/x86/include/uapi/asm/ucontext.h and sigcontext.h: struct ucontext with
 * struct sigcontext_64 in its middle. */
struct context {
	u64 uc_flags, uc_link, ss_sp;
	u32 ss_flags, pad;
	u64 ss_size;
	u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip;
	u64 rflags;
	unsigned short cs, gs, fs, ss;
	u64 err, trapno, oldmask, cr2, fpstate, reserved[8];
	u64 sigmask;
};
_Static_assert(__builtin_offsetof(struct context, rip) == 168, "sigcontext.rip"); /* REG_RIP is 16, behind 40 bytes */
_Static_assert(__builtin_offsetof(struct context, sigmask) == 296, "uc_sigmask");

/* Flags, Intel SDM volume 1, 3.4.3. */
#define FLAG_CF		(1u << 0)
#define FLAG_PF		(1u << 2)
#define FLAG_ZF		(1u << 6)
#define FLAG_SF		(1u << 7)
#define FLAG_DF		(1u << 10)
#define FLAG_OF		(1u << 11)
#define FLAG_AC		(1u << 18)
#define FLAGS_FRESH	0x202u	/* IF, and bit 1, which is always set */

/* A handler inherits AC from what it interrupted (arch/x86/kernel/signal.c clears
 * DF, RF and TF only): with it, an unaligned access faults. The runner is built
 * without a red zone, so the stack may be pushed to. */
static inline void sane_flags(void)
{
	__asm__ volatile("pushfq; andl %0, (%%rsp); popfq" : : "i"(~(FLAG_AC | FLAG_DF)) : "memory", "cc");
}

static inline void save_regs(struct klink_regs *to, const struct context *c)
{
	to->pc = c->rip;
	to->sp = c->rsp;
	to->flags = c->rflags;
	to->r[0] = c->rax;	/* ModRM numbers: Intel SDM volume 2, table 2-2 */
	to->r[1] = c->rcx;
	to->r[2] = c->rdx;
	to->r[3] = c->rbx;
	to->r[4] = c->rsp;
	to->r[5] = c->rbp;
	to->r[6] = c->rsi;
	to->r[7] = c->rdi;
	to->r[8] = c->r8;
	to->r[9] = c->r9;
	to->r[10] = c->r10;
	to->r[11] = c->r11;
	to->r[12] = c->r12;
	to->r[13] = c->r13;
	to->r[14] = c->r14;
	to->r[15] = c->r15;
	for (int i = 16; i < 31; i++)
		to->r[i] = 0;
}

static inline u64 context_pc(const struct context *c) { return c->rip; }
static inline u64 context_sp(const struct context *c) { return c->rsp; }
static inline u64 context_trapno(const struct context *c) { return c->trapno; }
static inline u64 context_error(const struct context *c, u32 signo) { (void)signo; return c->err; }
static inline void set_pc(struct context *c, u64 pc) { c->rip = pc; }

/* send_to makes c continue at pc on the stack that ends at sp, with two arguments
 * and nothing else of what it was. */
static inline void send_to(struct context *c, u64 pc, u64 sp, u64 a, u64 b)
{
	c->rip = pc;
	c->rsp = sp;
	c->rdi = a;
	c->rsi = b;
	c->rbp = 0;
	c->rflags = FLAGS_FRESH;
	c->sigmask = 0;
}

/*
 * The switch's trap is int3 (cc); #BP, exception 3, is reported with the address
 * behind it. trap_site returns the address of the trap that c is behind, 0 if it
 * is not there because of one.
 */
#define EXCEPTION_BP	3
static inline u64 trap_site(const struct context *c, i32 code)
{
	(void)code;
	return c->trapno == EXCEPTION_BP ? c->rip - 1 : 0;
}

/* What stands at a site now that no trap is there any more: the first bytes of
 * call, jmp, addr32 call, jcc. (The long int3, cd 03, also is exception 3: the byte
 * before its end is none of these.) */
static inline int is_site(u64 site)
{
	switch (*(volatile const u8 *)site) {
	case 0xe8:
	case 0xe9:
	case 0x67:
	case 0x0f:
		return 1;
	}
	return 0;
}

/* Instruction caches of x86-64 follow memory by themselves. */
#define MUST_FLUSH	0
static inline void flush_data(u64 lo, u64 hi) { (void)lo, (void)hi; }
static inline void flush_code(u64 lo, u64 hi) { (void)lo, (void)hi; }
static inline void flush_wait(void) { }

/* Bytes of a form: insn.Form's table. */
#define FORM_MOST	6
static inline u64 form_length(u32 form)
{
	return form == KLINK_FORM_CALL32 || form == KLINK_FORM_JMP32 ? 5 : 6;
}

#endif
