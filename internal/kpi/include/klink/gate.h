/*
 * klink/gate.h: who is inside? Entrances and exits, counted.
 *
 * A gate lets a module that is to be unloaded (or a device that is to be detached)
 * wait until every thread that went in has come out, sleepers included:
 *
 *	int
 *	bpf_read(...)
 *	{
 *		gate_enter(&bpf_gate);
 *		...			may sleep
 *		gate_exit(&bpf_gate);
 *	}
 *
 *	case MODULE_CMD_CATCH:		gate_catch(&bpf_gate); return 0;
 *	case MODULE_CMD_UNCATCH:	gate_open(&bpf_gate); return 0;
 *	case MODULE_CMD_FINI:
 *		... wake the sleepers ...
 *		if ((error = gate_drain(&bpf_gate, mstohz(2000))) != 0)
 *			return error;		it stays loaded, and usable
 *		gate_destroy(&bpf_gate);
 *
 * While a gate is open, entering and leaving are two plain stores each, no atomic
 * operation, no shared cache line: each thread has counters of its own. While it is
 * caught, threads that enter take its mutex on the way in, and on the way out take it,
 * signal its condition variable and let go of it; nobody is kept out.
 *
 * A gate counts; a thread may enter it again while it is inside. What a call that is
 * given up was inside of, it is taken out of. gate_enter records in the thread's
 * block which gates it is in, for the kernel linker, which looks for threads in a
 * module that are in none of its gates.
 *
 * gate_catch and gate_open may be called by any thread, by one at a time. gate_drain
 * returns 0 when all are out; EWOULDBLOCK after timo ticks, or never if timo is 0;
 * EDEADLK if the caller is inside. It catches the gate itself if need be, and opens it
 * again then if it fails. gate_destroy ends its caller's call if somebody is inside.
 */
#ifndef _KLINK_GATE_H_
#define _KLINK_GATE_H_

#include <sys/types.h>

struct gate_state;

struct gate {
	struct gate_state *gt_state;
};

/* An address in the module that includes this: says whose a gate, or shared memory, is. */
static const char __gate_home __attribute__((__unused__)) = 0;

__BEGIN_DECLS
void	gate_init_of(struct gate *, const char *, const void *);
void	gate_destroy(struct gate *);
void	gate_enter(struct gate *);
void	gate_exit(struct gate *);
void	gate_catch(struct gate *);
void	gate_open(struct gate *);
int	gate_drain(struct gate *, int);
bool	gate_caught(const struct gate *);
/* Entrances and exits so far, and how many of both went by the mutex. */
void	gate_counts(const struct gate *, uint64_t *, uint64_t *, uint64_t *);

/* The name is copied, up to 31 bytes. It may sleep for memory. */
static __inline void
gate_init(struct gate *g, const char *name)
{
	gate_init_of(g, name, &__gate_home);
}
__END_DECLS

#endif
