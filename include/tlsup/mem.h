/*
 * mem.h - allocation that does not fail.
 *
 * When memory is exhausted the process prints one line and exits: what it had begun is on disk in the
 * journal and the state, and the next run recovers it, exactly as after a power cut.
 */
#ifndef TLSUP_MEM_H
#define TLSUP_MEM_H

#include <stddef.h>

#include "tlsup/compat.h"

void *mem_alloc(size_t size) __attribute__((malloc));                 /* zeroed */
void *mem_array(size_t count, size_t size) __attribute__((malloc));   /* zeroed, overflow-checked */
void *mem_resize(void *old, size_t count, size_t size);               /* overflow-checked */
char *mem_dup(const char *text);                                      /* NULL gives NULL */
char *mem_ndup(const char *text, size_t len);                         /* adds the NUL */
char *mem_fmt(const char *fmt, ...) PRINTF_LIKE(1, 2);
NORETURN void mem_exhausted(void);
/* For CLEANUP on a `char *` or any pointer variable: frees *(void **)pointer. */
void mem_free_ptr(void *pointer);
#define AUTO_FREE CLEANUP(mem_free_ptr)

#endif
