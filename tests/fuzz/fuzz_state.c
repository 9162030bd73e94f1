/*
 * fuzz_state.c - any bytes as a state or account file: refused with an error, or accepted and then written
 * and read as the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const struct err *err)
{
    if (err->code != ERR_CONFIG || strncmp(err->text, "F:", 2) != 0)
        abort();
}

static void try_state(const char *json, size_t len)
{
    struct err err = ERR_INIT;
    struct cert_state state = CERT_STATE_INIT;
    AUTO_BUF first = BUF_INIT;
    AUTO_BUF second = BUF_INIT;
    if (!state_decode(json, len, "F", &state, &err)) {
        check_error(&err);
        return;
    }
    state_encode(&state, &first);
    if (!state_decode(first.data, first.len, "F", &state, &err))
        abort();
    state_encode(&state, &second);
    if (strcmp(first.data, second.data) != 0)
        abort();
    cert_state_clear(&state);
}

static void try_account(const char *json, size_t len)
{
    struct err err = ERR_INIT;
    struct account_record record, again;
    AUTO_BUF text = BUF_INIT;
    if (!account_decode(json, len, "F", &record, &err)) {
        check_error(&err);
        return;
    }
    account_encode(&record, &text);
    if (!account_decode(text.data, text.len, "F", &again, &err) || strcmp(record.url, again.url) != 0 ||
        strcmp(record.thumbprint, again.thumbprint) != 0 || record.created_s != again.created_s)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_state((const char *)data, size);
    try_account((const char *)data, size);
    return 0;
}
