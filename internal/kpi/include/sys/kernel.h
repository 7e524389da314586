/* sys/kernel.h: the kernel's clock, as far as it is data. */
#ifndef _SYS_KERNEL_H_
#define _SYS_KERNEL_H_

#include <sys/param.h>
#include <sys/time.h>

__BEGIN_DECLS
extern int	hz;		/* ticks in a second: 1000 */
extern int	tick;		/* microseconds in a tick */
extern int	cold;		/* 1 while a kernel starts: always 0 */
int	getticks(void);		/* since the machine started; wraps */
__END_DECLS

#endif
