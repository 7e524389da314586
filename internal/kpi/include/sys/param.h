/* sys/param.h: constants and small arithmetic that everything uses. */
#ifndef _SYS_PARAM_H_
#define _SYS_PARAM_H_

/* The names and calling sequences are those of NetBSD 10, as far as they are here. */
#define __NetBSD_Version__	1000000000
#define __NetBSD_Prereq__(M, m, p) \
	((M) * 100000000 + (m) * 1000000 + (p) * 100 <= __NetBSD_Version__)

#include <sys/cdefs.h>
#include <sys/types.h>
#include <sys/errno.h>

#ifndef TRUE
#define TRUE		1
#define FALSE		0
#endif

#define MAXCOMLEN	16
#define MAXHOSTNAMELEN	256
#define MAXPATHLEN	1024
#define PATH_MAX	MAXPATHLEN
#define NBBY		8
#define CACHE_LINE_SIZE	64
#define COHERENCY_UNIT	64

/* The size of kmem's pages, whatever those of the machine are. */
#define PAGE_SHIFT	12
#define PAGE_SIZE	(1 << PAGE_SHIFT)
#define PAGE_MASK	(PAGE_SIZE - 1)
#define round_page(x)	(((unsigned long)(x) + PAGE_MASK) & ~(unsigned long)PAGE_MASK)
#define trunc_page(x)	((unsigned long)(x) & ~(unsigned long)PAGE_MASK)
#define btoc(x)		(((x) + PAGE_MASK) >> PAGE_SHIFT)
#define ctob(x)		((x) << PAGE_SHIFT)
#define ALIGNBYTES	(sizeof(long) - 1)
#define ALIGN(p)	(((unsigned long)(p) + ALIGNBYTES) & ~ALIGNBYTES)

/* Priorities of tsleep, and its flags. Priorities are accepted and not used. */
#define PZERO		22
#define PSOCK		24
#define PWAIT		32
#define PVM		16
#define PRIBIO		16
#define PRI_NONE	(-1)
#define PRI_BIO		96
#define PRI_SOFTNET	224
#define PRIMASK		0x0ff
#define PCATCH		0x100
#define PNORELOCK	0x200

#define MIN(a, b)	((a) < (b) ? (a) : (b))
#define MAX(a, b)	((a) > (b) ? (a) : (b))
#define howmany(x, y)	(((x) + ((y) - 1)) / (y))
#define roundup(x, y)	((((x) + ((y) - 1)) / (y)) * (y))
#define rounddown(x, y)	(((x) / (y)) * (y))
#define roundup2(x, m)	(((((x) - 1) | ((m) - 1))) + 1)
#define rounddown2(x, m) ((x) & ~((__typeof__(x))((m) - 1)))
#define powerof2(x)	((((x) - 1) & (x)) == 0)

#define setbit(a, i)	(((u_char *)(a))[(i) / NBBY] |= (u_char)(1u << ((i) % NBBY)))
#define clrbit(a, i)	(((u_char *)(a))[(i) / NBBY] &= (u_char)~(1u << ((i) % NBBY)))
#define isset(a, i)	(((const u_char *)(a))[(i) / NBBY] & (1u << ((i) % NBBY)))
#define isclr(a, i)	(!isset(a, i))

/* Ticks and milliseconds: hz is declared in sys/kernel.h. */
#define mstohz(ms)	((int)(((unsigned long)(ms) * (unsigned long)hz + 999) / 1000))
#define hztoms(t)	((unsigned long)(t) * 1000 / (unsigned long)hz)

__BEGIN_DECLS
extern int hz;
void	delay(unsigned int);
__END_DECLS
#define DELAY(us)	delay(us)

#endif
