#include "tlsup/b64.h"

#include <stdint.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void b64url_encode(const void *data, size_t len, struct buf *out)
{
    const unsigned char *bytes = data;
    uint32_t pending = 0;
    unsigned bits = 0;

    for (size_t i = 0; i < len; i++) {
        pending = pending << 8 | bytes[i];
        for (bits += 8; bits >= 6; bits -= 6)
            buf_addc(out, alphabet[pending >> (bits - 6) & 63]);
    }
    if (bits > 0)
        buf_addc(out, alphabet[pending << (6 - bits) & 63]);
}

/* The six bits that a character stands for, or -1. */
static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Every byte string has one encoding only: a length that no bytes give, or bits beyond the last byte, are
 * refused. */
static bool is_canonical(const char *text, size_t len)
{
    static const int unused_bits[4] = {0, 63, 15, 3};

    for (size_t i = 0; i < len; i++)
        if (sextet(text[i]) < 0)
            return false;
    return len % 4 == 0 || (len % 4 != 1 && (sextet(text[len - 1]) & unused_bits[len % 4]) == 0);
}

bool b64url_decode(const char *text, size_t len, struct buf *out)
{
    uint32_t pending = 0;
    unsigned bits = 0;

    if (!is_canonical(text, len))
        return false;
    for (size_t i = 0; i < len; i++) {
        pending = pending << 6 | (uint32_t)sextet(text[i]);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            buf_addc(out, (char)(pending >> bits & 255));
        }
    }
    return !out->overflow;
}

bool b64url_valid(const char *text, size_t max)
{
    if (!text)
        return false;
    size_t len = strspn(text, alphabet);
    return len > 0 && len <= max && text[len] == '\0';
}
