/*
 * arm64.h: aarch64 as the runner meets it. System calls, the frame that Linux pushes
 * for a handler, where it keeps registers, and caches. Nothing here changes memory
 * but what it is given.
 */
#ifndef ARM64_H
#define ARM64_H

/* include/uapi/asm-generic/unistd.h */
#define SYS_close		57
#define SYS_sigaltstack		132
#define SYS_exit_group		94
#define SYS_futex		98
#define SYS_clock_gettime	113
#define SYS_sched_yield		124
#define SYS_restart_syscall	128
#define SYS_rt_sigaction	134
#define SYS_rt_sigprocmask	135
#define SYS_rt_sigreturn	139
#define SYS_setpriority		140
#define SYS_prctl		167
#define SYS_munmap		215
#define SYS_mmap		222
#define SYS_mprotect		226
#define SYS_prlimit64		261
#define SYS_seccomp		277
#define SYS_membarrier		283
#define SYS_close_range		436

/* include/uapi/linux/audit.h: EM_AARCH64 (183), 64-bit, little-endian */
#define AUDIT_ARCH_HERE		0xc00000b7u

/* arch/arm64/kernel/syscall.c: x8; x0..x5; only x0 changes. */
static inline i64 syscall6(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	register u64 x8 __asm__("x8") = nr;
	register u64 x0 __asm__("x0") = a;
	register u64 x1 __asm__("x1") = b;
	register u64 x2 __asm__("x2") = c;
	register u64 x3 __asm__("x3") = d;
	register u64 x4 __asm__("x4") = e;
	register u64 x5 __asm__("x5") = f;
	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return (i64)x0;
}

/* arch/arm64/include/uapi/asm/ucontext.h and sigcontext.h: struct ucontext, whose
 * struct sigcontext is 16-aligned and ends with records of further state. */
struct context {
	u64 uc_flags, uc_link, ss_sp;
	u32 ss_flags, pad;
	u64 ss_size;
	u64 sigmask;
	u8 unused[1024 / 8 - 8];
	u64 align;
	u64 fault_address, x[31], sp, pc, pstate, align2;
	u8 records[4096];
};
_Static_assert(__builtin_offsetof(struct context, sigmask) == 40, "uc_sigmask");
_Static_assert(__builtin_offsetof(struct context, fault_address) == 176, "uc_mcontext");
_Static_assert(__builtin_offsetof(struct context, records) == 464, "uc_mcontext.__reserved");

/* No flag that a handler inherits changes what its code does. */
static inline void sane_flags(void) { }

static inline void save_regs(struct klink_regs *to, const struct context *c)
{
	to->pc = c->pc;
	to->sp = c->sp;
	to->flags = c->pstate;
	for (int i = 0; i < 31; i++)
		to->r[i] = c->x[i];
}

/* context_error returns ESR_EL1 as sigcontext.h's struct esr_context gives it, for
 * faults that have one; else 0. BRK has none: Linux gives that of the fault before. */
#define ESR_MAGIC	0x45535201
static inline u64 context_error(const struct context *c, u32 signo)
{
	struct record { u32 magic, size; u64 esr; };

	if (signo == SIGTRAP)
		return 0;
	for (u64 off = 0; off + sizeof(struct record) <= sizeof(c->records);) {
		const struct record *r = (const void *)(c->records + off);

		if (r->magic == ESR_MAGIC)
			return r->esr;
		if (r->magic == 0 || r->size < 8 || r->size % 16 != 0)
			return 0;
		off += r->size;
	}
	return 0;
}

static inline u64 context_pc(const struct context *c) { return c->pc; }
static inline u64 context_sp(const struct context *c) { return c->sp; }
static inline u64 context_trapno(const struct context *c) { (void)c; return 0; }
static inline void set_pc(struct context *c, u64 pc) { c->pc = pc; }

/* send_to makes c continue at pc on the stack that ends at sp, with two arguments
 * and nothing else of what it was. PSTATE 0 is EL0 with no flags, BTYPE among them. */
static inline void send_to(struct context *c, u64 pc, u64 sp, u64 a, u64 b)
{
	c->pc = pc;
	c->sp = sp;
	c->x[0] = a;
	c->x[1] = b;
	c->x[29] = c->x[30] = 0;
	c->pstate = 0;
	c->sigmask = 0;
}

/*
 * The switch's trap is brk #0x4b4c. A BRK is reported with its own address and, by
 * arch/arm64/kernel/debug-monitors.c, with TRAP_BRKPT. trap_site returns its address,
 * 0 if c is not there because of one. The number is not compared: the host may have
 * taken the trap away again.
 */
#define TRAP_BRKPT	1
static inline u64 trap_site(const struct context *c, i32 code)
{
	return code == TRAP_BRKPT ? c->pc : 0;
}

/* What stands at a site now that no trap is there any more: b, bl, ldr x16, #8. */
static inline int is_site(u64 site)
{
	u32 word = *(volatile const u32 *)site;

	return (word & 0x7c000000) == 0x14000000 || word == 0x58000050;
}

/*
 * Caches: CTR_EL0, the Cache Type Register (Arm ARM, part D). DminLine (bits 19:16) and IminLine (3:0) are
 * the logarithms of the smallest lines in words; IDC (28) says that data need not be
 * cleaned, DIC (29) that instructions need not be invalidated.
 */
#define MUST_FLUSH	1

static inline u64 cache_type(void)
{
	u64 v;

	__asm__("mrs %0, ctr_el0" : "=r"(v));
	return v;
}

/* flush_data cleans the lines of [lo, hi) to the point of unification. */
static inline void flush_data(u64 lo, u64 hi)
{
	u64 type = cache_type(), line = 4ul << (type >> 16 & 15);

	if (type >> 28 & 1)
		return;
	for (lo &= -line; lo < hi; lo += line)
		__asm__ volatile("dc cvau, %0" : : "r"(lo) : "memory");
}

/* flush_code invalidates the lines of [lo, hi) in every core's instruction cache. */
static inline void flush_code(u64 lo, u64 hi)
{
	u64 type = cache_type(), line = 4ul << (type & 15);

	if (type >> 29 & 1)
		return;
	for (lo &= -line; lo < hi; lo += line)
		__asm__ volatile("ic ivau, %0" : : "r"(lo) : "memory");
}

static inline void flush_wait(void)
{
	__asm__ volatile("dsb ish" : : : "memory");
}

/* Bytes of a form: insn.Form's table. */
#define FORM_MOST	16
static inline u64 form_length(u32 form)
{
	return form == KLINK_FORM_FARJUMP ? 16 : 4;
}

#endif
