#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"

/* memset() right before free() may be optimised away; a volatile pointer to it may not. */
static void *(*const volatile wipe)(void *, int, size_t) = memset;

static void grow(struct buf *buf, size_t need)
{
    size_t cap = buf->cap > 0 ? buf->cap : 128;
    while (cap < need)
        cap *= 2;
    if (!buf->secret) {
        buf->data = mem_resize(buf->data, cap, 1);
    } else { /* realloc() would leave a copy behind */
        char *bigger = mem_alloc(cap);
        if (buf->data != NULL) {
            memcpy(bigger, buf->data, buf->len);
            wipe(buf->data, 0, buf->cap);
            free(buf->data);
        }
        buf->data = bigger;
    }
    buf->cap = cap;
}

void buf_add(struct buf *buf, const void *data, size_t len)
{
    size_t total;
    if (buf->overflow)
        return;
    if (__builtin_add_overflow(buf->len, len, &total) || total > SIZE_MAX / 4 ||
        (buf->limit > 0 && total > buf->limit)) {
        buf->overflow = true;
        return;
    }
    if (total + 1 > buf->cap)
        grow(buf, total + 1);
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len = total;
    buf->data[total] = '\0';
}

void buf_adds(struct buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_addc(struct buf *buf, char c)
{
    buf_add(buf, &c, 1);
}

void buf_addf(struct buf *buf, const char *fmt, ...)
{
    char small[512];
    va_list args, again;
    va_start(args, fmt);
    va_copy(again, args);
    int len = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    if (len >= 0 && (size_t)len < sizeof small) {
        buf_add(buf, small, (size_t)len);
    } else if (len >= 0) {
        char *big = mem_alloc((size_t)len + 1);
        vsnprintf(big, (size_t)len + 1, fmt, again);
        buf_add(buf, big, (size_t)len);
        free(big);
    }
    va_end(again);
}

void buf_reset(struct buf *buf)
{
    if (buf->secret && buf->data != NULL)
        wipe(buf->data, 0, buf->cap);
    buf->len = 0;
    buf->overflow = false;
    if (buf->data != NULL)
        buf->data[0] = '\0';
}

void buf_clear(struct buf *buf)
{
    if (buf->secret && buf->data != NULL)
        wipe(buf->data, 0, buf->cap);
    free(buf->data);
    *buf = (struct buf){.limit = buf->limit, .secret = buf->secret};
}

const char *buf_str(const struct buf *buf)
{
    return buf->data != NULL ? buf->data : "";
}

char *buf_take(struct buf *buf)
{
    char *data = buf->data != NULL ? buf->data : mem_dup("");
    *buf = (struct buf){.limit = buf->limit, .secret = buf->secret};
    return data;
}

void strlist_add(struct strlist *list, const char *text)
{
    if ((list->n & (list->n - 1)) == 0) /* there is room up to the next power of two */
        list->v = mem_resize(list->v, list->n > 0 ? 2 * list->n : 1, sizeof *list->v);
    list->v[list->n++] = mem_dup(text);
}

bool strlist_has(const struct strlist *list, const char *text)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->v[i], text) == 0)
            return true;
    return false;
}

bool strlist_same_set(const struct strlist *a, const struct strlist *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (!strlist_has(b, a->v[i]))
            return false;
    return true;
}

void strlist_copy(struct strlist *to, const struct strlist *from)
{
    strlist_clear(to);
    for (size_t i = 0; i < from->n; i++)
        strlist_add(to, from->v[i]);
}

void strlist_split(struct strlist *list, const char *text, const char *separators)
{
    while (*(text += strspn(text, separators)) != '\0') {
        size_t len = strcspn(text, separators);
        char *word = mem_ndup(text, len);
        strlist_add(list, word);
        free(word);
        text += len;
    }
}

char *strlist_join(const struct strlist *list, const char *separator)
{
    struct buf text = BUF_INIT;
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0)
            buf_adds(&text, separator);
        buf_adds(&text, list->v[i]);
    }
    return buf_take(&text);
}

void strlist_clear(struct strlist *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->v[i]);
    free(list->v);
    *list = (struct strlist)STRLIST_INIT;
}
