/*
 * atomic.c: sys/atomic.h as functions, for objects that were compiled with other
 * headers. What they change is their caller's.
 */
#define __klink_atomic	__attribute__((__visibility__("default")))
#include <sys/atomic.h>
