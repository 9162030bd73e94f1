/*
 * fuzz_ari.c - any bytes as renewal information: refused with an error, or a window that is one, whose chosen
 * instant lies within.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/ari.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static void check_choice(const struct ari_window *window, uint64_t random)
{
    int64_t chosen = ari_choose(window, NULL, 0, random);
    CHECK(chosen >= window->start_s && chosen <= window->end_s && chosen > 0);
    CHECK(ari_choose(window, window, chosen, ~random) == chosen);
    CHECK(ari_due(chosen, window->end_s, 0));
}

static void as_url(const char *text, size_t len)
{
    static char copy[4096], out[URL_MAX_BYTES];
    size_t half = len / 2;
    if (len >= sizeof copy)
        return;
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (ari_url("https://ca.test/renewal-info", copy, out))
        CHECK(url_valid(out) && url_same_origin(out, "https://ca.test/"));
    if (ari_url(copy, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", out))
        CHECK(url_valid(out) && strncmp(out, copy, half < strlen(copy) ? half : strlen(copy)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ari_window window = {.start_s = -1};
    struct err err = ERR_INIT;
    uint64_t random = 0;
    memcpy(&random, data, size < sizeof random ? size : sizeof random);
    if (ari_parse((const char *)data, size, &window, &err)) {
        CHECK(window.end_s > window.start_s);
        CHECK(window.explanation_url[0] == '\0' || url_valid(window.explanation_url));
        check_choice(&window, random);
        check_choice(&window, 0);
        check_choice(&window, UINT64_MAX);
    } else {
        CHECK(err.code == ERR_PROTOCOL && err.text[0] != '\0' && window.start_s == -1);
    }
    CHECK(ari_next_check_s(0, (int64_t)random) >= 60 && ari_next_check_s(0, (int64_t)random) <= 86400);
    CHECK(ari_retry_s(0, random & 1, (int)(random >> 33)) <= 6 * 3600);
    as_url((const char *)data, size);
    return 0;
}
