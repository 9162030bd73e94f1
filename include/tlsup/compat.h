/*
 * compat.h - the compiler attributes that the whole program uses.
 */
#ifndef TLSUP_COMPAT_H
#define TLSUP_COMPAT_H

#include <stddef.h> /* COUNT_OF is made of sizeof */

/* The caller must look at the result. Every fallible function carries it. */
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN __attribute__((noreturn))
/* Run `function(&variable)` when the variable leaves its scope. */
#define CLEANUP(function) __attribute__((cleanup(function)))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
