/* sys/stdarg.h: arguments of variadic functions. */
#ifndef _SYS_STDARG_H_
#define _SYS_STDARG_H_

typedef __builtin_va_list va_list;

#ifndef va_start
#define va_start(ap, last)	__builtin_va_start((ap), last)
#define va_arg(ap, type)	__builtin_va_arg((ap), type)
#define va_end(ap)		__builtin_va_end(ap)
#define va_copy(to, from)	__builtin_va_copy((to), (from))
#endif

#endif
