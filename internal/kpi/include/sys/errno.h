/*
 * sys/errno.h: error numbers. They are Linux's, so that what klink prints is what
 * errno(1) says; the names are those that both systems have.
 */
#ifndef _SYS_ERRNO_H_
#define _SYS_ERRNO_H_

#define EPERM		1	/* operation not permitted */
#define ENOENT		2	/* no such file or directory */
#define ESRCH		3	/* no such process */
#define EINTR		4	/* interrupted */
#define EIO		5	/* input/output error */
#define ENXIO		6	/* no such device or address */
#define E2BIG		7	/* argument list too long */
#define ENOEXEC		8	/* not an executable format */
#define EBADF		9	/* bad file descriptor */
#define ECHILD		10	/* no child processes */
#define EAGAIN		11	/* try again */
#define EWOULDBLOCK	EAGAIN
#define ENOMEM		12	/* out of memory */
#define EACCES		13	/* permission denied */
#define EFAULT		14	/* bad address */
#define ENOTBLK		15	/* not a block device */
#define EBUSY		16	/* busy */
#define EEXIST		17	/* exists */
#define EXDEV		18	/* link between devices */
#define ENODEV		19	/* no such device, or not supported by it */
#define ENOTDIR		20	/* not a directory */
#define EISDIR		21	/* is a directory */
#define EINVAL		22	/* invalid argument */
#define ENFILE		23	/* too many open files in the system */
#define EMFILE		24	/* too many open files */
#define ENOTTY		25	/* not for this device: from a modcmd, nothing to do */
#define ETXTBSY		26	/* text is busy */
#define EFBIG		27	/* file too large */
#define ENOSPC		28	/* no space left */
#define ESPIPE		29	/* cannot seek */
#define EROFS		30	/* read-only file system */
#define EMLINK		31	/* too many links */
#define EPIPE		32	/* broken pipe */
#define EDOM		33	/* outside of the domain */
#define ERANGE		34	/* outside of the range */
#define EDEADLK		35	/* would deadlock */
#define ENAMETOOLONG	36	/* name too long */
#define ENOLCK		37	/* no locks left */
#define ENOSYS		38	/* not implemented */
#define ENOTEMPTY	39	/* not empty */
#define ELOOP		40	/* too many symbolic links */
#define ENOMSG		42	/* no such message */
#define EIDRM		43	/* identifier removed */
#define ENOSTR		60	/* not a stream */
#define ENODATA		61	/* no data */
#define ETIME		62	/* timer expired */
#define ENOSR		63	/* no stream resources */
#define EREMOTE		66	/* object is remote */
#define ENOLINK		67	/* link severed */
#define EPROTO		71	/* protocol error */
#define EMULTIHOP	72	/* multihop */
#define EBADMSG		74	/* bad message */
#define EOVERFLOW	75	/* too large for its type */
#define EILSEQ		84	/* illegal byte sequence */
#define ERESTART	85	/* to be started again */
#define EUSERS		87	/* too many users */
#define ENOTSOCK	88	/* not a socket */
#define EDESTADDRREQ	89	/* destination address needed */
#define EMSGSIZE	90	/* message too long */
#define EPROTOTYPE	91	/* wrong protocol for the socket */
#define ENOPROTOOPT	92	/* protocol not available */
#define EPROTONOSUPPORT	93	/* protocol not supported */
#define ESOCKTNOSUPPORT	94	/* socket type not supported */
#define EOPNOTSUPP	95	/* operation not supported */
#define ENOTSUP		EOPNOTSUPP
#define EPFNOSUPPORT	96	/* protocol family not supported */
#define EAFNOSUPPORT	97	/* address family not supported */
#define EADDRINUSE	98	/* address in use */
#define EADDRNOTAVAIL	99	/* address not available */
#define ENETDOWN	100	/* network is down */
#define ENETUNREACH	101	/* network unreachable */
#define ENETRESET	102	/* network dropped the connection */
#define ECONNABORTED	103	/* connection aborted */
#define ECONNRESET	104	/* connection reset */
#define ENOBUFS		105	/* no buffer space */
#define EISCONN		106	/* connected */
#define ENOTCONN	107	/* not connected */
#define ESHUTDOWN	108	/* shut down */
#define ETOOMANYREFS	109	/* too many references */
#define ETIMEDOUT	110	/* timed out */
#define ECONNREFUSED	111	/* connection refused */
#define EHOSTDOWN	112	/* host is down */
#define EHOSTUNREACH	113	/* no route to host */
#define EALREADY	114	/* in progress already */
#define EINPROGRESS	115	/* in progress now */
#define ESTALE		116	/* stale handle */
#define EDQUOT		122	/* over quota */
#define ECANCELED	125	/* cancelled */
#define EOWNERDEAD	130	/* owner died */
#define ENOTRECOVERABLE	131	/* state cannot be recovered */

/* Inside the kernel only. */
#define EJUSTRETURN	(-2)	/* leave the registers alone */
#define EPASSTHROUGH	(-4)	/* not for this layer: ask the next */

#endif
