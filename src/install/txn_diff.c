/*
 * txn_diff.c - differences between two texts by lines (Myers, An O(ND) Difference Algorithm, 1986), shown as
 * a unified diff or used for a three-way merge.
 *
 * The number of differing lines is bounded; beyond it what lies between the common beginning and the common
 * end counts as replaced as a whole: still correct, only longer.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"
#include "txn_internal.h"

#define CONTEXT_LINES 3
#define DIFFERENCES_LIMIT 1000

/* A line with its newline, if it has one. */
struct line {
    const char *text;
    size_t len;
    uint64_t hash;
};

struct lines {
    struct line *v;
    size_t n;
};

static void lines_clear(struct lines *lines)
{
    free(lines->v);
    *lines = (struct lines){0};
}
#define AUTO_LINES CLEANUP(lines_clear) struct lines

static uint64_t hash_line(const char *text, size_t len)
{
    uint64_t hash = 14695981039346656037U; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 1099511628211U;
    return hash;
}

static struct lines split_lines(const struct buf *text)
{
    struct lines lines = {0};
    size_t cap = 0;
    for (size_t at = 0; at < text->len;) {
        const char *start = text->data + at;
        const char *newline = memchr(start, '\n', text->len - at);
        size_t len = newline == NULL ? text->len - at : (size_t)(newline - start) + 1;
        if (lines.n == cap) {
            cap = cap == 0 ? 64 : cap * 2;
            lines.v = mem_resize(lines.v, cap, sizeof(*lines.v));
        }
        lines.v[lines.n++] = (struct line){start, len, hash_line(start, len)};
        at += len;
    }
    return lines;
}

static bool same_line(const struct line *a, const struct line *b)
{
    return a->hash == b->hash && a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

/* Lines [a, a + a_len) of the one become lines [b, b + b_len) of the other. */
struct change {
    size_t a, a_len, b, b_len;
};

struct changes {
    struct change *v;
    size_t n;
};

static void changes_clear(struct changes *changes)
{
    free(changes->v);
    *changes = (struct changes){0};
}
#define AUTO_CHANGES CLEANUP(changes_clear) struct changes

static void changes_add(struct changes *changes, size_t a, size_t a_len, size_t b, size_t b_len)
{
    struct change *last = changes->n == 0 ? NULL : &changes->v[changes->n - 1];
    if (last != NULL && last->a + last->a_len == a && last->b + last->b_len == b) {
        last->a_len += a_len;
        last->b_len += b_len;
        return;
    }
    changes->v = mem_resize(changes->v, changes->n + 1, sizeof(*changes->v));
    changes->v[changes->n++] = (struct change){a, a_len, b, b_len};
}

/* -- Myers ---------------------------------------------------------------------------------------------- */

/* The part of both texts between their common beginning and end. */
struct middle {
    const struct line *a, *b;
    long n, m;         /* lines of each */
    size_t a_at, b_at; /* where it begins */
};

/* furthest[d] holds, for each diagonal -d..d, how far `a` was consumed with d differences. */
static long *furthest_at(long **furthest, long d, long diagonal)
{
    return &furthest[d][diagonal + d];
}

static long step_to(long **furthest, long d, long diagonal)
{
    if (d == 0)
        return 0;
    bool down = diagonal == -d || (diagonal != d && *furthest_at(furthest, d - 1, diagonal - 1) <
                                                        *furthest_at(furthest, d - 1, diagonal + 1));
    return down ? *furthest_at(furthest, d - 1, diagonal + 1)
                : *furthest_at(furthest, d - 1, diagonal - 1) + 1;
}

/* The least number of differences, or -1 when it is over the limit. */
static long search(const struct middle *middle, long **furthest)
{
    for (long d = 0; d <= DIFFERENCES_LIMIT; d++) {
        furthest[d] = mem_array((size_t)(2 * d + 1), sizeof(**furthest));
        for (long diagonal = -d; diagonal <= d; diagonal += 2) {
            long x = step_to(furthest, d, diagonal);
            while (x < middle->n && x - diagonal >= 0 && x - diagonal < middle->m &&
                   same_line(&middle->a[x], &middle->b[x - diagonal]))
                x++;
            *furthest_at(furthest, d, diagonal) = x;
            if (x >= middle->n && x - diagonal >= middle->m)
                return d;
        }
    }
    return -1;
}

/* Walk from the end to the beginning; the single differences come out last first. */
static void trace(const struct middle *middle, long **furthest, long d, struct changes *out)
{
    struct change *steps = mem_array((size_t)d + 1, sizeof(*steps));
    long x = middle->n, y = middle->m, n_steps = 0;
    for (; d > 0; d--) {
        long diagonal = x - y;
        long start = step_to(furthest, d, diagonal);
        bool down = diagonal == -d || (diagonal != d && *furthest_at(furthest, d - 1, diagonal - 1) <
                                                            *furthest_at(furthest, d - 1, diagonal + 1));
        x = down ? start : start - 1;
        y = down ? start - diagonal - 1 : start - diagonal;
        steps[n_steps++] = (struct change){(size_t)x, down ? 0 : 1, (size_t)y, down ? 1 : 0};
    }
    while (n_steps-- > 0)
        changes_add(out, middle->a_at + steps[n_steps].a, steps[n_steps].a_len,
                    middle->b_at + steps[n_steps].b, steps[n_steps].b_len);
    free(steps);
}

static void diff_middle(const struct middle *middle, struct changes *out)
{
    if (middle->n == 0 && middle->m == 0)
        return;
    long **furthest = mem_array(DIFFERENCES_LIMIT + 1, sizeof(*furthest));
    long d = middle->n == 0 || middle->m == 0 ? -1 : search(middle, furthest);
    if (d < 0)
        changes_add(out, middle->a_at, (size_t)middle->n, middle->b_at, (size_t)middle->m);
    else
        trace(middle, furthest, d, out);
    for (long i = 0; i <= DIFFERENCES_LIMIT; i++)
        free(furthest[i]);
    free(furthest);
}

static struct changes diff_lines(const struct lines *a, const struct lines *b)
{
    struct changes changes = {0};
    size_t head = 0, tail = 0;
    while (head < a->n && head < b->n && same_line(&a->v[head], &b->v[head]))
        head++;
    while (tail < a->n - head && tail < b->n - head &&
           same_line(&a->v[a->n - tail - 1], &b->v[b->n - tail - 1]))
        tail++;
    struct middle middle = {
        .a = a->v == NULL ? NULL : a->v + head,
        .b = b->v == NULL ? NULL : b->v + head,
        .n = (long)(a->n - head - tail),
        .m = (long)(b->n - head - tail),
        .a_at = head,
        .b_at = head,
    };
    diff_middle(&middle, &changes);
    return changes;
}

/* -- unified -------------------------------------------------------------------------------------------- */

static void add_line(struct buf *out, char sign, const struct line *line)
{
    buf_addc(out, sign);
    buf_add(out, line->text, line->len);
    if (line->text[line->len - 1] != '\n')
        buf_adds(out, "\n\\ No newline at end of file\n");
}

/* An empty range is named by the line before it, a range of one line by that line alone. */
static void add_range(struct buf *out, char sign, size_t start, size_t len)
{
    buf_addf(out, "%c%zu", sign, len == 0 ? start : start + 1);
    if (len != 1)
        buf_addf(out, ",%zu", len);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Changes [first, last] are near enough to share their context. */
static void add_hunk(struct buf *out, const struct lines *a, const struct lines *b,
                     const struct change *first, const struct change *last)
{
    size_t before = smaller(CONTEXT_LINES, first->a);
    size_t a_end = last->a + last->a_len;
    size_t after = smaller(CONTEXT_LINES, a->n - a_end);
    size_t at = first->a - before;
    buf_adds(out, "@@ ");
    add_range(out, '-', at, a_end + after - at);
    buf_addc(out, ' ');
    add_range(out, '+', first->b - before, last->b + last->b_len + after - (first->b - before));
    buf_adds(out, " @@\n");
    for (const struct change *change = first; change <= last; change++) {
        for (; at < change->a; at++)
            add_line(out, ' ', &a->v[at]);
        for (; at < change->a + change->a_len; at++)
            add_line(out, '-', &a->v[at]);
        for (size_t i = 0; i < change->b_len; i++)
            add_line(out, '+', &b->v[change->b + i]);
    }
    for (; at < a_end + after; at++)
        add_line(out, ' ', &a->v[at]);
}

static bool is_binary(const struct buf *text)
{
    return text->len > 0 && memchr(text->data, '\0', text->len) != NULL;
}

void diff_unified(const char *old_name, const struct buf *old, const char *new_name, const struct buf *new,
                  struct buf *out)
{
    old_name = old_name == NULL ? "/dev/null" : old_name;
    new_name = new_name == NULL ? "/dev/null" : new_name;
    if (is_binary(old) || is_binary(new)) {
        buf_addf(out, "Binary files %s and %s differ\n", old_name, new_name);
        return;
    }
    AUTO_LINES a = split_lines(old);
    AUTO_LINES b = split_lines(new);
    AUTO_CHANGES changes = diff_lines(&a, &b);
    if (changes.n == 0 && strcmp(old_name, new_name) == 0)
        return;
    buf_addf(out, "--- %s\n+++ %s\n", old_name, new_name);
    for (size_t i = 0, end; i < changes.n; i = end) {
        for (end = i + 1; end < changes.n; end++)
            if (changes.v[end].a - (changes.v[end - 1].a + changes.v[end - 1].a_len) > 2 * CONTEXT_LINES)
                break;
        add_hunk(out, &a, &b, &changes.v[i], &changes.v[end - 1]);
    }
}

/* -- merge ---------------------------------------------------------------------------------------------- */

/* Both are ranges of the base. Touching counts: what stands next to an edit may belong to it. */
static bool collide(const struct change *x, const struct change *y)
{
    return x->a <= y->a + y->a_len && y->a <= x->a + x->a_len;
}

/* Both did the same, as when a person has already taken our lines out. */
static bool same_change(const struct change *x, const struct lines *x_lines, const struct change *y,
                        const struct lines *y_lines)
{
    if (x->a != y->a || x->a_len != y->a_len || x->b_len != y->b_len)
        return false;
    for (size_t i = 0; i < x->b_len; i++)
        if (!same_line(&x_lines->v[x->b + i], &y_lines->v[y->b + i]))
            return false;
    return true;
}

bool diff_merge(const struct buf *base, const struct buf *ours, const struct buf *theirs, struct buf *out)
{
    AUTO_LINES b = split_lines(base);
    AUTO_LINES o = split_lines(ours);
    AUTO_LINES t = split_lines(theirs);
    AUTO_CHANGES to_ours = diff_lines(&b, &o);
    AUTO_CHANGES to_theirs = diff_lines(&b, &t);
    size_t at = 0; /* in ours */
    size_t i = 0;
    size_t added = 0, removed = 0; /* by `ours`, before the change at hand */
    for (size_t k = 0; k < to_theirs.n; k++) {
        const struct change *change = &to_theirs.v[k];
        for (; i < to_ours.n && to_ours.v[i].a + to_ours.v[i].a_len < change->a; i++) {
            added += to_ours.v[i].b_len;
            removed += to_ours.v[i].a_len;
        }
        if (i < to_ours.n && same_change(&to_ours.v[i], &o, change, &t))
            continue;
        if (i < to_ours.n && collide(&to_ours.v[i], change))
            return false;
        size_t until = change->a + added - removed;
        for (; at < until; at++)
            buf_add(out, o.v[at].text, o.v[at].len);
        for (size_t j = 0; j < change->b_len; j++)
            buf_add(out, t.v[change->b + j].text, t.v[change->b + j].len);
        at = until + change->a_len;
    }
    for (; at < o.n; at++)
        buf_add(out, o.v[at].text, o.v[at].len);
    return true;
}
