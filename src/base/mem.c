#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void mem_exhausted(void)
{
    static const char line[] = "tlsup: out of memory; what was begun is recovered by the next run\n";
    ssize_t ignored = write(STDERR_FILENO, line, sizeof line - 1);
    (void)ignored;
    _exit(1);
}

static size_t checked_size(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total) || total > PTRDIFF_MAX)
        mem_exhausted();
    return total > 0 ? total : 1;
}

void *mem_array(size_t count, size_t size)
{
    void *memory = calloc(1, checked_size(count, size));
    if (memory == NULL)
        mem_exhausted();
    return memory;
}

void *mem_alloc(size_t size)
{
    return mem_array(1, size);
}

void *mem_resize(void *old, size_t count, size_t size)
{
    void *memory = realloc(old, checked_size(count, size));
    if (memory == NULL)
        mem_exhausted();
    return memory;
}

char *mem_ndup(const char *text, size_t len)
{
    char *copy = mem_alloc(len + 1);
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *mem_dup(const char *text)
{
    return text == NULL ? NULL : mem_ndup(text, strlen(text));
}

char *mem_fmt(const char *fmt, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    if (len < 0 || text == NULL)
        mem_exhausted();
    return text;
}

void mem_free_ptr(void *pointer)
{
    void **owner = pointer;
    free(*owner);
    *owner = NULL;
}
