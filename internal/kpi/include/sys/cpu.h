/* sys/cpu.h: which CPU; see sys/lwp.h. */
#ifndef _SYS_CPU_H_
#define _SYS_CPU_H_

#include <sys/lwp.h>

struct cpu_info;

#endif
