/*
 * fuzz_responder.c - any bytes at the responder's door: one verdict, however the network cuts them, and a
 * token only when one was asked for.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/b64.h"
#include "tlsup/responder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

/* The first byte of the input chooses the size of the pieces. */
static enum responder_verdict feed_in_pieces(struct responder_head *head, const uint8_t *data, size_t size,
                                             size_t piece)
{
    enum responder_verdict verdict = RESPONDER_MORE;
    for (size_t at = 0; at < size && verdict == RESPONDER_MORE; at += piece)
        verdict = responder_head_feed(head, data + at, size - at < piece ? size - at : piece);
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct responder_head whole, pieces;
    static const char prefix[] = "/.well-known/acme-challenge/";
    if (size == 0)
        return 0;
    size_t piece = (size_t)data[0] + 1;
    data++;
    size--;
    memset(&whole, 0, sizeof whole);
    memset(&pieces, 0, sizeof pieces);
    enum responder_verdict verdict = responder_head_feed(&whole, data, size);
    require(feed_in_pieces(&pieces, data, size, piece) == verdict);
    require(strcmp(whole.token, pieces.token) == 0 || verdict != RESPONDER_OK);
    require(whole.seen_bytes <= RESPONDER_HEAD_MAX_BYTES);
    require(size <= RESPONDER_HEAD_MAX_BYTES || verdict != RESPONDER_MORE);
    if (verdict != RESPONDER_OK)
        return 0;
    require(b64url_valid(whole.token, RESPONDER_TOKEN_MAX));
    const char *at = strstr(whole.target, prefix);
    require(at != NULL);
    require(strncmp(at + strlen(prefix), whole.token, strlen(whole.token)) == 0);
    require(memmem(data, size, whole.token, strlen(whole.token)) != NULL);
    require(strcmp(whole.method, whole.is_head ? "HEAD" : "GET") == 0);
    return 0;
}
