/*
 * main.c: the start, in the order in which config.step counts it.
 *
 * All system calls that this process may not make later are made here and in
 * walls.c. Addresses and sizes come from the host, before any module code exists;
 * they are checked once, then copied, and the copy becomes read-only.
 */
#include "runner.h"

/* include/uapi/asm-generic/mman-common.h, mman.h */
#define PROT_READ		1
#define PROT_WRITE		2
#define PROT_EXEC		4
#define MAP_SHARED		1
#define MAP_NORESERVE		0x4000
#define MAP_FIXED_NOREPLACE	0x100000

/* include/uapi/linux/sched.h */
#define CLONE_VM		0x00000100
#define CLONE_FS		0x00000200
#define CLONE_FILES		0x00000400
#define CLONE_SIGHAND		0x00000800
#define CLONE_THREAD		0x00010000
#define CLONE_SYSVSEM		0x00040000
#define CLONE_SETTLS		0x00080000
#define CLONE_PARENT_SETTID	0x00100000
#define POOL_THREAD	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | \
			 CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID)

/* include/uapi/linux/membarrier.h */
#define MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE	(1 << 6)

/* include/uapi/linux/prctl.h, resource.h */
#define PR_SET_NAME		15
#define PRIO_PROCESS		0

struct fixed fixed __attribute__((aligned(LARGEST_PAGE)));

/* The host sees how far this came in fixed.shared: its first page at any address, then
 * the control memory. */
static void at_step(u32 step)
{
	store(&fixed.shared->step, step);
}

static _Noreturn void failed(i64 error)
{
	u32 step = fixed.shared->step;

	fixed.shared->error = (i32)-error;
	store(&fixed.shared->ready, 2);
	futex_wake(&fixed.shared->ready);
	for (;;)
		SYS(SYS_exit_group, step);
}

static i64 must(i64 result)
{
	if (result < 0)
		failed(result);
	return result;
}

/* map puts size bytes at off of a descriptor at exactly addr. */
static void map(u64 addr, u64 size, u32 prot, u32 fd, u64 off)
{
	i64 at = must(SYS(SYS_mmap, addr, size, prot, MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, fd, off));

	/* Before Linux 4.17 the flag is unknown and addr is only a wish. */
	if ((u64)at != addr)
		failed(-EEXIST);
}

/* A range of whole pages of any machine, below the half of the addresses that is the kernel's. */
static int pages(u64 addr, u64 size)
{
	return size != 0 && (addr | size) % LARGEST_PAGE == 0 && addr < 1ul << 47 && size <= (1ul << 47) - addr;
}

static int windows_sensible(const struct klink_config *c)
{
	u64 n = c->window_count;

	return n == 0 ||
	       (n <= KLINK_WINDOWS && pages(c->windows, c->window_stride) && c->window_stride < 1ul << 37 &&
		pages(c->windows, n * c->window_stride) &&
		pages(0, c->window_size) && c->window_size <= c->window_stride);
}

static int sensible(const struct klink_config *c)
{
	u64 n = c->threads;

	return n >= 1 && n <= THREADS_MOST &&
	       pages(c->control, c->control_size) &&
	       c->control_size >= KLINK_THREADS_OFF + n * KLINK_THREAD_SIZE &&
	       pages(c->text, c->text_size) &&
	       pages(c->tables, c->tables_size) &&
	       pages(c->data, c->data_size) &&
	       c->table % 8 == 0 && c->table >= c->tables &&
	       c->table <= c->tables + c->tables_size - sizeof(struct klink_table) &&
	       pages(c->stacks, c->stack_stride) && c->stack_stride < 1ul << 37 &&
	       pages(c->stacks, n * c->stack_stride) &&
	       pages(0, c->stack_size) && pages(0, c->alt_size) &&
	       c->stack_skip % LARGEST_PAGE == 0 && c->stack_skip < c->stack_stride &&
	       c->alt_size < c->stack_stride && c->stack_size < c->stack_stride &&
	       c->stack_skip + c->alt_size + c->stack_size <= c->stack_stride &&
	       windows_sensible(c);
}

/* read_config maps the first page and copies what the host asks for. */
static void read_config(void)
{
	i64 page = SYS(SYS_mmap, 0, KLINK_MAIL_OFF, PROT_READ | PROT_WRITE, MAP_SHARED, KLINK_FD_CONTROL, 0);

	if (page < 0) /* nobody can be told but by the exit status */
		for (;;)
			SYS(SYS_exit_group, KLINK_STEP_CONFIG);
	fixed.shared = (void *)page;
	at_step(KLINK_STEP_CONFIG);
	fixed.config = *fixed.shared;
	if (fixed.config.magic != KLINK_MAGIC || fixed.config.layout != KLINK_LAYOUT || !sensible(&fixed.config))
		failed(-EINVAL);
}

static void map_all(void)
{
	const struct klink_config *c = &fixed.config;
	u64 page = (u64)fixed.shared;

	at_step(KLINK_STEP_CONTROL);
	map(c->control, c->control_size, PROT_READ | PROT_WRITE, KLINK_FD_CONTROL, 0);
	fixed.shared = (void *)c->control;
	fixed.mail = (void *)(c->control + KLINK_MAIL_OFF);
	must(SYS(SYS_munmap, page, KLINK_MAIL_OFF));

	at_step(KLINK_STEP_TEXT);
	map(c->text, c->text_size, PROT_READ | PROT_EXEC, KLINK_FD_SEALED, c->text_off);
	at_step(KLINK_STEP_TABLES);
	map(c->tables, c->tables_size, PROT_READ, KLINK_FD_SEALED, c->tables_off);
	at_step(KLINK_STEP_DATA);
	map(c->data, c->data_size, PROT_READ | PROT_WRITE, KLINK_FD_DATA, 0);
	at_step(KLINK_STEP_STACKS);
	for (u32 i = 0; i < c->threads; i++) {
		u64 off = i * (c->stack_size + c->alt_size);

		map(stack_lo(i), c->stack_size, PROT_READ | PROT_WRITE, KLINK_FD_STACKS, off);
		map(c->stacks + i * c->stack_stride + c->stack_skip, c->alt_size,
		    PROT_READ | PROT_WRITE, KLINK_FD_STACKS, off + c->stack_size);
	}
	at_step(KLINK_STEP_WINDOWS);
	for (u32 i = 0; i < c->window_count; i++)
		map(c->windows + i * c->window_stride, c->window_size,
		    PROT_READ | PROT_WRITE, KLINK_FD_WINDOWS + i, 0);
}

/* close_all closes what was mapped, and whatever else was inherited. */
static u32 close_all(void)
{
	at_step(KLINK_STEP_FDS);
	if (SYS(SYS_close_range, 0, ~0u, 0) == 0)
		return KLINK_WALL_FDS;
	/* Before Linux 5.9: the usual limit's worth. A higher one may stay open, so
	 * the wall is not said to be up. */
	for (u32 fd = 0; fd < 1024; fd++)
		SYS(SYS_close, fd);
	return 0;
}

static void register_barriers(void)
{
	at_step(KLINK_STEP_BARRIERS);
	fixed.barrier_error = (i32)SYS(SYS_membarrier, MEMBARRIER_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0);
	/* A system without the call (an emulator) can still run calls; it cannot switch. */
	if (fixed.barrier_error != -ENOSYS)
		must(fixed.barrier_error);
}

/* start_pool makes the threads and waits until each can take a fault: its signal
 * stack is a call of its own that the filter refuses later. */
static void start_pool(void)
{
	const struct klink_config *c = &fixed.config;
	u32 up;

	at_step(KLINK_STEP_THREADS);
	for (u32 i = 0; i < c->threads; i++) {
		struct klink_thread *t = thread_block(i);

		t->self = (u64)t;
		t->index = i;
		t->stack_lo = stack_lo(i);
		t->stack_hi = stack_hi(i);
		t->canary = c->canary;
		t->control = c->control;
		must(klink_clone(POOL_THREAD, stack_hi(i), &t->tid, (u64)t, i));
	}
	while ((up = load(&fixed.up)) != c->threads)
		futex_wait(&fixed.up, up);
	must(load(&fixed.thread_error));
	/* What the host sends is for the pool; this thread only serves. Where it may,
	 * it goes before the pool's threads: a switch waits for it. */
	must(signals_block(1ul << (KLINK_SIG_PARK - 1) | 1ul << (KLINK_SIG_LIMIT - 1)));
	SYS(SYS_setpriority, PRIO_PROCESS, 0, -10);
}

/* raise_walls takes from this process what module code shall not have, and returns
 * which walls stand. The filter is the last: it refuses all other calls of this file. */
static u32 raise_walls(void)
{
	u32 walls = 0;

	at_step(KLINK_STEP_LIMITS);
	walls |= must(walls_limits());
	at_step(KLINK_STEP_MDWE);
	walls |= must(walls_mdwe());
	at_step(KLINK_STEP_SEAL);
	must(SYS(SYS_mprotect, &fixed, LARGEST_PAGE, PROT_READ));
	at_step(KLINK_STEP_SECCOMP);
	return walls | must(walls_seccomp());
}

_Noreturn void klink_main(void)
{
	u32 walls;

	read_config();
	map_all();
	walls = close_all();
	register_barriers();
	SYS(SYS_prctl, PR_SET_NAME, "klink-runner");
	at_step(KLINK_STEP_SIGNALS);
	must(signals_block(0));
	must(signals_install());
	start_pool();
	walls |= raise_walls();
	at_step(KLINK_STEP_UP);
	fixed.shared->walls = walls;
	store(&fixed.shared->ready, 1);
	futex_wake(&fixed.shared->ready);
	service();
}
