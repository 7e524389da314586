/*
 * sys/kmem.h: memory.
 *
 * What was allocated with a size is freed with the same size. A second kmem_free, a
 * wrong size, or an address that was never given out is a panic that says so. Memory
 * of kmem_alloc is not cleared. Blocks are aligned to 16, those of more than 2048
 * bytes to a page. What a call had allocated when it was given up is lost.
 */
#ifndef _SYS_KMEM_H_
#define _SYS_KMEM_H_

#include <sys/types.h>
#include <sys/stdarg.h>

typedef unsigned int km_flag_t;

#define KM_SLEEP	0x1	/* wait for memory: never returns NULL */
#define KM_NOSLEEP	0x2	/* NULL if there is none now */

__BEGIN_DECLS
void	*kmem_alloc(size_t, km_flag_t) __malloc;
void	*kmem_zalloc(size_t, km_flag_t) __malloc;
void	 kmem_free(void *, size_t);
void	*kmem_intr_alloc(size_t, km_flag_t) __malloc;
void	*kmem_intr_zalloc(size_t, km_flag_t) __malloc;
void	 kmem_intr_free(void *, size_t);
char	*kmem_asprintf(const char *, ...) __printflike(1, 2);
char	*kmem_vasprintf(const char *, va_list) __printflike(1, 0);
char	*kmem_strdupsize(const char *, size_t *, km_flag_t);
char	*kmem_strdup(const char *, km_flag_t);
char	*kmem_strndup(const char *, size_t, km_flag_t);
void	 kmem_strfree(char *);
size_t	 kmem_inuse(void);	/* klink's: bytes of pages in use */
__END_DECLS

#endif
