/*
 * control.h: the memory that the host, the runner and klink's kernel object share.
 *
 * One memfd holds it, mapped read-write by host and runner:
 *
 *	0x0000                config     what the host tells a new runner, and how it got on
 *	0x1000                mail       events, the service thread's mailbox, the log's head
 *	0x2000 + i * 0x2000   thread i   its mailbox and block (one page), its table of values (one page)
 *	behind the threads    the log's slots
 *
 * Module code can write all of it. The host reads each word once, checks it, and
 * uses none as an index or a length. The runner keeps nothing here that guards it:
 * what its handlers decide by lies in the tables, which it cannot write.
 *
 * The same layout stands in ../layout.go; both sides assert every offset.
 * Words are little-endian. A "futex" word is waited for and woken across processes.
 */
#ifndef KLINK_CONTROL_H
#define KLINK_CONTROL_H

#define KLINK_MAGIC	0x4b4e4c4b	/* "KLNK" */
#define KLINK_LAYOUT	2		/* changes with this file */

/* Descriptors that the runner is started with; it closes all of them. */
#define KLINK_FD_PROGRAM	3	/* the runner itself */
#define KLINK_FD_SEALED		4	/* text and tables */
#define KLINK_FD_DATA		5
#define KLINK_FD_STACKS		6	/* thread i: stack_size at i * (stack_size + alt_size), its signal stack behind it */
#define KLINK_FD_CONTROL	7
#define KLINK_FD_WINDOWS	8	/* the first of config.window_count */

#define KLINK_WINDOWS		8	/* at most */

#define KLINK_MAIL_OFF		0x1000
#define KLINK_THREADS_OFF	0x2000
#define KLINK_THREAD_SIZE	0x2000
#define KLINK_VALUES_OFF	0x1000	/* in a thread */

/* Signals between host and threads (Linux's SIGUSR1 and SIGUSR2). */
#define KLINK_SIG_PARK		10
#define KLINK_SIG_LIMIT		12

/* Protections of the runner, bits of config.walls. */
#define KLINK_WALL_MDWE		1	/* no page gains PROT_EXEC */
#define KLINK_WALL_SECCOMP	2	/* system calls are those of an allow-list, arguments checked */
#define KLINK_WALL_LIMITS	4	/* resource limits */
#define KLINK_WALL_FDS		8	/* no descriptors are open */

/* Commands to the service thread. */
#define KLINK_CMD_BARRIER	1	/* every thread sees the text as it stands; arg[0] 1: the sites of the table changed (aarch64: their cache lines are maintained) */
#define KLINK_CMD_FLUSH		2	/* the same for the text [arg[0], arg[1]) */

/* Steps of the runner's start, config.step; the names are those of ../layout.go. A start
 * that fails leaves the step that failed there, and the runner exits with its number. */
#define KLINK_STEP_CONFIG	1	/* "config": the first page is there, and of this layout */
#define KLINK_STEP_CONTROL	2	/* "control": control memory is mapped */
#define KLINK_STEP_TEXT		3	/* "text" */
#define KLINK_STEP_TABLES	4	/* "tables" */
#define KLINK_STEP_DATA		5	/* "data" */
#define KLINK_STEP_STACKS	6	/* "stacks" */
#define KLINK_STEP_WINDOWS	7	/* "windows" */
#define KLINK_STEP_FDS		8	/* "descriptors": all are closed */
#define KLINK_STEP_BARRIERS	9	/* "barriers": membarrier is registered */
#define KLINK_STEP_SIGNALS	10	/* "signals": handlers are installed */
#define KLINK_STEP_THREADS	11	/* "threads": the pool runs */
#define KLINK_STEP_LIMITS	12	/* "limits": resource limits */
#define KLINK_STEP_MDWE		13	/* "mdwe": no page gains PROT_EXEC */
#define KLINK_STEP_SEAL		14	/* "seal": the runner's own memory is read-only */
#define KLINK_STEP_SECCOMP	15	/* "seccomp": the filter holds for all threads */
#define KLINK_STEP_UP		16	/* "up" */

/* How a posted call ended: thread.status. */
#define KLINK_RETURNED		0
#define KLINK_FAULTED		1

/* Forms of sites: insn.Form's numbers. */
#define KLINK_FORM_CALL32	1
#define KLINK_FORM_JMP32	2
#define KLINK_FORM_ADDRCALL32	3
#define KLINK_FORM_JMPNOP32	4
#define KLINK_FORM_BL		5
#define KLINK_FORM_B		6
#define KLINK_FORM_FARJUMP	7
#define KLINK_FORM_JCC32	8	/* + condition code 0..15 */

#ifndef __ASSEMBLER__

typedef unsigned char u8;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long u64;
typedef long i64;

struct klink_config {
	u32 magic, layout;
	u64 control, control_size;		/* where the runner maps this memory */
	u64 text, text_size, text_off;		/* address, bytes, offset in the file */
	u64 tables, tables_size, tables_off;
	u64 data, data_size;
	/* Thread i's slot is stack_stride bytes at stacks + i * stack_stride: its signal
	 * stack (alt_size) begins stack_skip into the slot, its stack (stack_size) ends
	 * with the slot; all else of the slot is unmapped. */
	u64 stacks, stack_stride, stack_skip, stack_size, alt_size;
	u64 table;				/* struct klink_table, in the tables */
	u64 canary;				/* of the stack protector */
	u32 threads, log_slots;
	u64 log;				/* offset of the log's slots in this memory */
	/* Window i is window_size bytes at windows + i * window_stride, a file of its own;
	 * what lies between two is unmapped. */
	u64 windows, window_stride, window_size;
	u32 window_count, pad;
	/* The runner answers: */
	u32 step;				/* which step of its start it is at; names in layout.go */
	i32 error;				/* errno of the step that failed */
	u32 walls;				/* KLINK_WALL_ bits */
	u32 ready;				/* futex; 1: up and sealed, 2: failed */
};

struct klink_mail {
	u32 events;		/* futex: raised by the runner whenever the host should look */
	u32 host_waits;		/* the host is waiting for it: wake */
	u32 panic;		/* 1 + index of a thread whose kernel code failed; the runner is lost */
	u32 pad0[13];
	/* host to service thread */
	u32 cmd_seq;		/* futex: raised when the fields below are complete */
	u32 cmd;
	u64 cmd_arg[4];
	u64 pad1[3];
	/* service thread to host */
	u32 ack_seq;		/* futex: = cmd_seq when the command is done */
	i32 ack_error;		/* errno, 0 if it went well */
	u64 pad2[7];
	u64 log_head;		/* slots ever taken by writers */
	u64 pad3[7];
	char panic_text[256];	/* why, NUL-terminated */
};

/* A line of the log, or a part of one. Writers take slot log_head++ % log_slots. */
struct klink_line {
	u64 seq;		/* 0 while it is being written; its number + 1 when complete */
	u64 time;		/* CLOCK_MONOTONIC, ns */
	u32 length;		/* of text, bytes; bit 31: the line goes on in the next slot of this thread */
	u32 thread;
	char text[232];
};
#define KLINK_LINE_GOES_ON	0x80000000u

struct klink_regs {
	u64 pc, sp, flags;	/* rip, rsp, rflags; or pc, sp, pstate */
	u64 r[31];		/* x86-64: rax rcx rdx rbx rsp rbp rsi rdi r8..r15 (the ModRM numbers); aarch64: x0..x30 */
};

struct klink_value { u64 value, count; };
#define KLINK_VALUES	255	/* in a thread's table, behind the number used */

struct klink_values {
	u64 used, pad;
	struct klink_value v[KLINK_VALUES];
};

#define KLINK_HELD	24
#define KLINK_GATES	16

/* A thread's block. The thread pointer (fs base, tpidr_el0) is its address. */
struct klink_thread {
	u64 self;		/* x86-64: %fs:0 */
	u64 pad0;
	u32 index, tid;
	u64 stack_lo, stack_hi;
	u64 canary;		/* x86-64: %fs:0x28 */
	u64 control;		/* address of the config */
	u64 pad1;
	/* 0x40: host to thread */
	u32 post;		/* futex: number of the call that the fields below describe */
	u32 pad2;
	u64 fn;			/* address to be called */
	u64 arg[8];
	u64 times;		/* how often, at least 1 */
	u32 limit;		/* KLINK_SIG_LIMIT ends the call of this number */
	u32 park;		/* KLINK_SIG_PARK parks while parked is not this */
	u32 unpark;		/* futex: = park: go on */
	u32 release;		/* futex: = fault: the faulted call may be given up */
	u32 spawned;		/* futex: = spawn: the request was answered */
	i32 spawn_answer;	/* index of the new thread, or -errno */
	u64 deadline;		/* CLOCK_MONOTONIC, ns: when waits of this call that can time out do so; 0: when they like */
	u64 pad3;
	/* 0xc0: thread to host */
	u32 done;		/* = post when the call has ended */
	u32 status;		/* KLINK_RETURNED, KLINK_FAULTED */
	u32 fault;		/* = post while the thread waits in its fault handler */
	u32 parked;		/* = park while it waits in its park handler */
	u64 result;		/* of the last call */
	u64 calls;		/* how many of times have returned */
	u64 falls;		/* how often a result was lower than the one before, unsigned */
	u64 unlisted;		/* results that the table of values had no room for */
	u64 traps;		/* how often this thread met a switch */
	u64 pad4;
	/* 0x100: the runner's */
	u64 enter_sp;		/* stack pointer below which the posted call's frames lie; 0: not in a call.
				 * At it lies the trampoline's way back: who sets sp = enter_sp and jumps
				 * there with a value in rax or x0 returns from the call with it. */
	u32 critical;		/* > 0: in the kernel object's own state; a limit waits, a fault is a panic */
	u32 spawn;		/* raised to ask for a new thread: spawn_fn(spawn_arg) */
	u64 spawn_fn, spawn_arg;
	u64 spawn_name;		/* address of its name, NUL-terminated */
	u64 pad5[3];
	/* 0x140: asleep. sleep is odd while the fields hold and the thread is in its futex call. */
	u32 sleep, pad6;
	u64 sleep_on;		/* address of the object that it waits for */
	u64 sleep_why;		/* address of the wait's name, NUL-terminated */
	u64 sleep_since;	/* CLOCK_MONOTONIC, ns */
	struct klink_regs sleep_regs;	/* those that a call preserves; the others are 0 */
	u64 pad7[10];
	/* 0x2c0: the kernel object's */
	u64 held[KLINK_HELD];		/* mutexes, 0: free place */
	struct { u64 gate; u64 depth; } gate[KLINK_GATES];
	u64 kernel[16];			/* what else it keeps for a thread */
	u64 pad8[32];
	/* 0x600: the fault that it waits with */
	struct klink_regs fault_regs;
	u32 signo;
	i32 code;		/* si_code */
	u64 addr;		/* si_addr; of SIGSYS the system call's address */
	u64 trapno, error;	/* x86-64: of the exception; aarch64: 0 and ESR, if the kernel gave it */
	u64 nr;			/* of SIGSYS: the system call's number */
	u64 pad9[9];
	/* 0x780: where it is parked */
	struct klink_regs park_regs;
	u64 pad10[238];
};

/* The switch's table lies in the tables, where only the host can write. */
struct klink_table {
	u64 gen;	/* of the switch whose rows these are; 0: none */
	u64 turn;	/* of the last switch that has turned */
	u64 rows;	/* address of struct klink_row[count], sorted by addr */
	u64 count;
};

struct klink_row { u32 addr, old, new_, form; };	/* old, new_: 0 is a trap: nobody provides it */

#define KLINK_AT(type, field, off) \
	_Static_assert(__builtin_offsetof(struct type, field) == (off), #type "." #field)
KLINK_AT(klink_config, control, 0x08);
KLINK_AT(klink_config, text, 0x18);
KLINK_AT(klink_config, tables, 0x30);
KLINK_AT(klink_config, data, 0x48);
KLINK_AT(klink_config, stacks, 0x58);
KLINK_AT(klink_config, table, 0x80);
KLINK_AT(klink_config, canary, 0x88);
KLINK_AT(klink_config, threads, 0x90);
KLINK_AT(klink_config, log, 0x98);
KLINK_AT(klink_config, windows, 0xa0);
KLINK_AT(klink_config, window_size, 0xb0);
KLINK_AT(klink_config, window_count, 0xb8);
KLINK_AT(klink_config, step, 0xc0);
KLINK_AT(klink_config, ready, 0xcc);
KLINK_AT(klink_mail, panic, 0x08);
KLINK_AT(klink_mail, cmd_seq, 0x40);
KLINK_AT(klink_mail, cmd_arg, 0x48);
KLINK_AT(klink_mail, ack_seq, 0x80);
KLINK_AT(klink_mail, log_head, 0xc0);
KLINK_AT(klink_mail, panic_text, 0x100);
KLINK_AT(klink_line, length, 0x10);
KLINK_AT(klink_line, text, 0x18);
KLINK_AT(klink_thread, index, 0x10);
KLINK_AT(klink_thread, stack_lo, 0x18);
KLINK_AT(klink_thread, canary, 0x28);
KLINK_AT(klink_thread, control, 0x30);
KLINK_AT(klink_thread, post, 0x40);
KLINK_AT(klink_thread, fn, 0x48);
KLINK_AT(klink_thread, arg, 0x50);
KLINK_AT(klink_thread, times, 0x90);
KLINK_AT(klink_thread, limit, 0x98);
KLINK_AT(klink_thread, park, 0x9c);
KLINK_AT(klink_thread, unpark, 0xa0);
KLINK_AT(klink_thread, release, 0xa4);
KLINK_AT(klink_thread, spawned, 0xa8);
KLINK_AT(klink_thread, spawn_answer, 0xac);
KLINK_AT(klink_thread, deadline, 0xb0);
KLINK_AT(klink_thread, done, 0xc0);
KLINK_AT(klink_thread, fault, 0xc8);
KLINK_AT(klink_thread, result, 0xd0);
KLINK_AT(klink_thread, calls, 0xd8);
KLINK_AT(klink_thread, traps, 0xf0);
KLINK_AT(klink_thread, enter_sp, 0x100);
KLINK_AT(klink_thread, critical, 0x108);
KLINK_AT(klink_thread, spawn, 0x10c);
KLINK_AT(klink_thread, spawn_fn, 0x110);
KLINK_AT(klink_thread, spawn_name, 0x120);
KLINK_AT(klink_thread, sleep, 0x140);
KLINK_AT(klink_thread, sleep_on, 0x148);
KLINK_AT(klink_thread, sleep_regs, 0x160);
KLINK_AT(klink_thread, held, 0x2c0);
KLINK_AT(klink_thread, gate, 0x380);
KLINK_AT(klink_thread, kernel, 0x480);
KLINK_AT(klink_thread, fault_regs, 0x600);
KLINK_AT(klink_thread, signo, 0x710);
KLINK_AT(klink_thread, addr, 0x718);
KLINK_AT(klink_thread, nr, 0x730);
KLINK_AT(klink_thread, park_regs, 0x780);
_Static_assert(sizeof(struct klink_config) <= KLINK_MAIL_OFF, "klink_config");
_Static_assert(sizeof(struct klink_mail) <= KLINK_THREADS_OFF - KLINK_MAIL_OFF, "klink_mail");
_Static_assert(sizeof(struct klink_line) == 256, "klink_line");
_Static_assert(sizeof(struct klink_regs) == 0x110, "klink_regs");
_Static_assert(sizeof(struct klink_values) == 0x1000, "klink_values");
_Static_assert(sizeof(struct klink_thread) == KLINK_VALUES_OFF, "klink_thread");
_Static_assert(sizeof(struct klink_row) == 16, "klink_row");

#endif /* __ASSEMBLER__ */
#endif /* KLINK_CONTROL_H */
