/*
 * sys/systm.h: printing, panicking, and the functions that do nothing.
 *
 * Formats are those of NetBSD's kernel: d i u x X o p s c %, with - 0 + space #,
 * width and precision (also *), hh h l ll q j z t. What is printed goes to the log
 * (klink log) line by line: a printf that does not end a line begins one that the
 * same thread's next goes on with.
 */
#ifndef _SYS_SYSTM_H_
#define _SYS_SYSTM_H_

#include <sys/param.h>
#include <sys/stdarg.h>
#include <lib/libkern/libkern.h>

__BEGIN_DECLS
void	printf(const char *, ...) __printflike(1, 2);
void	vprintf(const char *, va_list) __printflike(1, 0);
void	printf_nolog(const char *, ...) __printflike(1, 2);
int	snprintf(char *, size_t, const char *, ...) __printflike(3, 4);
int	vsnprintf(char *, size_t, const char *, va_list) __printflike(3, 0);
void	aprint_normal(const char *, ...) __printflike(1, 2);
void	aprint_naive(const char *, ...) __printflike(1, 2);
void	aprint_verbose(const char *, ...) __printflike(1, 2);
void	aprint_error(const char *, ...) __printflike(1, 2);
void	aprint_debug(const char *, ...) __printflike(1, 2);

/* The end of the runner, and of all that is in it. */
void	panic(const char *, ...) __dead __printflike(1, 2);
void	vpanic(const char *, va_list) __dead __printflike(1, 0);
void	abort(void) __dead;	/* the end of this call only */

int	nullop(void *);		/* 0 */
int	enodev(void);		/* ENODEV */
int	enxio(void);		/* ENXIO */
int	enosys(void);		/* ENOSYS */
int	enoioctl(void);		/* ENOTTY */
int	eopnotsupp(void);	/* EOPNOTSUPP */
__END_DECLS

#endif
