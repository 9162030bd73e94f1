/*
 * fuzz_messages.c - any bytes as a frame from one of our own processes: refused, or understood, and then the
 * same bytes again when encoded.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/messages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Control characters are masked on arrival, where a person may come to see them: those frames differ, in
 * nothing but that. */
static int same_length(const struct msg *msg, size_t size)
{
    struct err err = ERR_INIT;
    AUTO_BUF again = BUF_INIT;
    return msg_encode(msg, &again, &err) && again.len == size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct msg msg;
    int understood = 0;
    for (unsigned from = MSG_FROM_KEEPER; from <= MSG_FROM_RESPONDER; from <<= 1) {
        struct err err = ERR_INIT;
        if (!msg_decode(data, size, (enum msg_role)from, &msg, &err)) {
            if (err.code != ERR_CHILD || msg.type != MSG_NONE || msg.body.len != 0)
                abort();
            continue;
        }
        understood++;
        if (size > MSG_MAX_BYTES || strcmp(msg_name(msg.type), "unknown") == 0 || !same_length(&msg, size))
            abort();
        if (err_isset(&msg.err) && (msg.err.wait_s < 0 || msg.err.code > ERR_INTERNAL))
            abort();
    }
    if (understood > 2) /* nothing may be said by all three */
        abort();
    msg_clear(&msg);
    return 0;
}
