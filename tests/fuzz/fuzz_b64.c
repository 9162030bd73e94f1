/* Whatever decodes must encode to the very same text, and whatever is encoded must decode to the same bytes.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/b64.h"
#include "tlsup/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void decode_then_encode(const char *text, size_t len)
{
    AUTO_BUF bytes = BUF_INIT;
    AUTO_BUF again = BUF_INIT;

    if (!b64url_decode(text, len, &bytes)) {
        require(bytes.len == 0);
        return;
    }
    b64url_encode(bytes.data, bytes.len, &again);
    require(again.len == len && memcmp(buf_str(&again), text, len) == 0);
}

static void encode_then_decode(const void *data, size_t len)
{
    AUTO_BUF text = BUF_INIT;
    AUTO_BUF again = BUF_INIT;

    b64url_encode(data, len, &text);
    require(len == 0 || b64url_valid(text.data, text.len));
    require(b64url_decode(text.data, text.len, &again));
    require(again.len == len && memcmp(buf_str(&again), data, len) == 0);
}

/* A valid token is at most `max` long, and has nothing in it that a path, a URL or a header could take amiss.
 */
static void tokens_are_harmless(const void *data, size_t len)
{
    AUTO_FREE char *token = mem_ndup(data, len);

    if (b64url_valid(token, 64))
        require(strlen(token) <= 64 && strlen(token) > 0 && !strpbrk(token, "./\\%?#: \t\r\n\"'=+"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    decode_then_encode((const char *)data, size);
    encode_then_decode(data, size);
    tokens_are_harmless(data, size);
    return 0;
}
