#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/stamp.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

void stamp_add(struct stamp *stamp, uint64_t value)
{
    stamp->a = (stamp->a ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    stamp->a ^= stamp->a >> 29;
    stamp->b = (stamp->b + value) * UINT64_C(0xd6e8feb86659fd93);
    stamp->b ^= stamp->b >> 32;
    stamp->b += stamp->a;
}

void stamp_add_text(struct stamp *stamp, const char *text)
{
    size_t len = strlen(text);
    stamp_add(stamp, len);
    for (size_t at = 0; at < len; at += sizeof(uint64_t)) {
        uint64_t piece = 0;
        memcpy(&piece, text + at, len - at < sizeof piece ? len - at : sizeof piece);
        stamp_add(stamp, piece);
    }
}

void stamp_add_file(struct stamp *stamp, int dir_fd, const char *name)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, 0) != 0) {
        stamp_add(stamp, (uint64_t)errno);
        return;
    }
    const uint64_t values[] = {
        (uint64_t)st.st_dev,          (uint64_t)st.st_ino,          (uint64_t)st.st_size,
        (uint64_t)st.st_mtim.tv_sec,  (uint64_t)st.st_mtim.tv_nsec, (uint64_t)st.st_ctim.tv_sec,
        (uint64_t)st.st_ctim.tv_nsec,
    };
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        stamp_add(stamp, values[i]);
}

bool stamp_same(const struct stamp *x, const struct stamp *y)
{
    return x->a == y->a && x->b == y->b;
}
