/*
 * stamp.h - has it changed? A small mark of files and values: two are the same when all that went into them is, but for one chance in 2^64.
 *
 * Against change and damage, not against somebody who wants two to be the same.
 */
#ifndef TLSUP_STAMP_H
#define TLSUP_STAMP_H

#include <stdbool.h>
#include <stdint.h>

struct stamp {
    uint64_t a, b;
};
#define STAMP_INIT {UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b)}

void stamp_add(struct stamp *stamp, uint64_t value);
void stamp_add_text(struct stamp *stamp, const char *text); /* with its length: "ab", "c" is not "a", "bc" */
/* Which file it is, and in what state: device, inode, size, and times to the nanosecond; links are followed. A file that is missing, or cannot be looked at, is
 * a value of its own. It is not read. `dir_fd` as in openat(2). */
void stamp_add_file(struct stamp *stamp, int dir_fd, const char *name);
bool stamp_same(const struct stamp *x, const struct stamp *y);

#endif
