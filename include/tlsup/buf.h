/*
 * buf.h - a growable byte buffer, and a list of strings.
 *
 * The data is always NUL-terminated one byte past `len` (after the first addition), so text can be used
 * as a C string, while binary content is counted by `len`. A limit turns hostile length into a sticky
 * `overflow` instead of memory: additions after it are ignored.
 */
#ifndef TLSUP_BUF_H
#define TLSUP_BUF_H

#include <stdbool.h>
#include <stddef.h>

#include "tlsup/compat.h"

struct buf {
    char *data; /* NULL until the first addition; use buf_str() for text */
    size_t len;
    size_t cap;
    size_t limit; /* 0 = no limit */
    bool overflow;
    bool secret; /* wipe on growth and on clear */
};

#define BUF_INIT {0}
#define BUF_SECRET {.secret = true}
#define AUTO_BUF CLEANUP(buf_clear) struct buf

void buf_add(struct buf *buf, const void *data, size_t len);
void buf_adds(struct buf *buf, const char *text);
void buf_addc(struct buf *buf, char c);
void buf_addf(struct buf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_reset(struct buf *buf); /* length 0, keeps memory, clears overflow */
void buf_clear(struct buf *buf); /* frees (wiped when secret) and zeroes, keeps `secret` and `limit` */
const char *buf_str(const struct buf *buf); /* borrowed; "" when empty */
char *buf_take(struct buf *buf);            /* the caller owns it; the buffer is empty after */

/* A list of strings, owned. What others than strlist_add() have made is not added to. */
struct strlist {
    char **v;
    size_t n;
};

#define STRLIST_INIT {0}
#define AUTO_STRLIST CLEANUP(strlist_clear) struct strlist

void strlist_add(struct strlist *list, const char *text);
bool strlist_has(const struct strlist *list, const char *text);           /* exact */
bool strlist_same_set(const struct strlist *a, const struct strlist *b);  /* order ignored, no duplicates assumed */
void strlist_copy(struct strlist *to, const struct strlist *from);        /* `to` is cleared first */
/* Words separated by any of `separators` (e.g. ", \t"); empty words are skipped; appended to the list. */
void strlist_split(struct strlist *list, const char *text, const char *separators);
char *strlist_join(const struct strlist *list, const char *separator);    /* caller frees */
void strlist_clear(struct strlist *list);

#endif
