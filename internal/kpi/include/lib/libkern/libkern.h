/*
 * lib/libkern/libkern.h: strings, memory, numbers, assertions. sys/systm.h includes it.
 *
 * KASSERT is checked if DIAGNOSTIC is defined (klink cc defines it), KDASSERT if DEBUG is.
 */
#ifndef _LIB_LIBKERN_LIBKERN_H_
#define _LIB_LIBKERN_LIBKERN_H_

#include <sys/types.h>

static __inline int imax(int a, int b) { return a > b ? a : b; }
static __inline int imin(int a, int b) { return a < b ? a : b; }
static __inline u_int uimax(u_int a, u_int b) { return a > b ? a : b; }
static __inline u_int uimin(u_int a, u_int b) { return a < b ? a : b; }
static __inline long lmax(long a, long b) { return a > b ? a : b; }
static __inline long lmin(long a, long b) { return a < b ? a : b; }
static __inline u_long ulmax(u_long a, u_long b) { return a > b ? a : b; }
static __inline u_long ulmin(u_long a, u_long b) { return a < b ? a : b; }

#ifndef __cplusplus
static __inline int abs(int v) { return v < 0 ? -v : v; }
#endif
static __inline long labs(long v) { return v < 0 ? -v : v; }
static __inline int isspace(int c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static __inline int isascii(int c) { return (c & ~0x7f) == 0; }
static __inline int isupper(int c) { return c >= 'A' && c <= 'Z'; }
static __inline int islower(int c) { return c >= 'a' && c <= 'z'; }
static __inline int isalpha(int c) { return isupper(c) || islower(c); }
static __inline int isdigit(int c) { return c >= '0' && c <= '9'; }
static __inline int isalnum(int c) { return isalpha(c) || isdigit(c); }
static __inline int isxdigit(int c) { return isdigit(c) || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f'); }
static __inline int isprint(int c) { return c >= ' ' && c <= '~'; }
static __inline int toupper(int c) { return islower(c) ? c - 'a' + 'A' : c; }
static __inline int tolower(int c) { return isupper(c) ? c - 'A' + 'a' : c; }

__BEGIN_DECLS
void	*memchr(const void *, int, size_t);
int	 memcmp(const void *, const void *, size_t);
void	*memcpy(void *, const void *, size_t);
void	*memmove(void *, const void *, size_t);
void	*memset(void *, int, size_t);
int	 bcmp(const void *, const void *, size_t);
void	 bcopy(const void *, void *, size_t);
void	 bzero(void *, size_t);

int	 strcasecmp(const char *, const char *);
char	*strcat(char *, const char *);
char	*strchr(const char *, int);
int	 strcmp(const char *, const char *);
char	*strcpy(char *, const char *);
size_t	 strcspn(const char *, const char *);
size_t	 strlcat(char *, const char *, size_t);
size_t	 strlcpy(char *, const char *, size_t);
size_t	 strlen(const char *);
int	 strncasecmp(const char *, const char *, size_t);
char	*strncat(char *, const char *, size_t);
int	 strncmp(const char *, const char *, size_t);
char	*strncpy(char *, const char *, size_t);
size_t	 strnlen(const char *, size_t);
char	*strpbrk(const char *, const char *);
char	*strrchr(const char *, int);
char	*strsep(char **, const char *);
size_t	 strspn(const char *, const char *);
char	*strstr(const char *, const char *);

long	 strtol(const char *, char **, int);
u_long	 strtoul(const char *, char **, int);
long long strtoll(const char *, char **, int);
unsigned long long strtoull(const char *, char **, int);

int	 ffs(int);

void	 kern_assert(const char *, ...) __dead __printflike(1, 2);
__END_DECLS

#define CTASSERT(x)	__CTASSERT(x)

#define __KASSERTSTR	"kernel %sassertion \"%s\" failed: file \"%s\", line %d "
#define __KCHECK(kind, e)						\
	(__predict_true((e)) ? (void)0 :				\
	    kern_assert(__KASSERTSTR, kind, #e, __FILE__, __LINE__))
#define __KCHECKMSG(kind, e, msg, ...)					\
	(__predict_true((e)) ? (void)0 :				\
	    kern_assert(__KASSERTSTR msg, kind, #e, __FILE__, __LINE__, ## __VA_ARGS__))
/* Not evaluated, but its variables count as used. */
#define __KUNCHECKED(e)	((void)sizeof((long)(e)))

#ifdef DIAGNOSTIC
#define KASSERT(e)		__KCHECK("diagnostic ", e)
#define KASSERTMSG(e, msg, ...)	__KCHECKMSG("diagnostic ", e, msg, ## __VA_ARGS__)
#else
#define KASSERT(e)		__KUNCHECKED(e)
#define KASSERTMSG(e, msg, ...)	__KUNCHECKED(e)
#endif
#ifdef DEBUG
#define KDASSERT(e)		__KCHECK("debugging ", e)
#define KDASSERTMSG(e, msg, ...) __KCHECKMSG("debugging ", e, msg, ## __VA_ARGS__)
#else
#define KDASSERT(e)		__KUNCHECKED(e)
#define KDASSERTMSG(e, msg, ...) __KUNCHECKED(e)
#endif

#endif
