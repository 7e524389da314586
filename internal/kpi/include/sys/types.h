/* sys/types.h: the types that kernel code shares. */
#ifndef _SYS_TYPES_H_
#define _SYS_TYPES_H_

#include <sys/cdefs.h>
#include <sys/stdint.h>
#include <sys/stdbool.h>

typedef __SIZE_TYPE__	size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef long		ssize_t;

typedef unsigned char	u_char;
typedef unsigned short	u_short;
typedef unsigned int	u_int;
typedef unsigned long	u_long;
typedef unsigned char	unchar;
typedef unsigned short	ushort;
typedef unsigned int	uint;
typedef unsigned long	ulong;
typedef uint8_t		u_int8_t;
typedef uint16_t	u_int16_t;
typedef uint32_t	u_int32_t;
typedef uint64_t	u_int64_t;
typedef int64_t		quad_t;
typedef uint64_t	u_quad_t;
typedef void *		caddr_t;
typedef int64_t		daddr_t;
typedef uint64_t	dev_t;
typedef int32_t		devmajor_t;
typedef int32_t		devminor_t;
typedef uint32_t	gid_t;
typedef uint32_t	uid_t;
typedef uint32_t	id_t;
typedef uint64_t	ino_t;
typedef int32_t		lwpid_t;
typedef uint32_t	mode_t;
typedef int64_t		off_t;
typedef int32_t		pid_t;
typedef int		pri_t;
typedef long		register_t;
typedef int64_t		time_t;
typedef int32_t		clockid_t;
typedef int32_t		suseconds_t;
typedef uint32_t	useconds_t;
typedef uint64_t	paddr_t;
typedef uint64_t	psize_t;
typedef uint64_t	vaddr_t;
typedef uint64_t	vsize_t;

struct lwp;
struct proc;
typedef struct lwp	lwp_t;
typedef struct proc	proc_t;

#endif
