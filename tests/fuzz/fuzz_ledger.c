/*
 * fuzz_ledger.c - any bytes as a ledger: refused with an error and left empty, or accepted, asked about
 * limits, and then written and read as the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/ledger.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

static void ask(const struct ledger *ledger, int64_t now_s)
{
    static const struct ca hostile = {
        .name = "", .same_set = 1, .per_domain = INT32_MAX, .orders_3h = -1, .failures_h = 2};
    AUTO_STRLIST names = STRLIST_INIT;
    AUTO_STRLIST warnings = STRLIST_INIT;
    strlist_split(&names, "a.test *.a.test 192.0.2.1 2001:db8::1", " ");
    for (size_t i = 0; i < ledger->n && i < 4; i++)
        for (size_t k = 0; k < ledger->v[i].domains.n && k < 4; k++)
            strlist_add(&names, ledger->v[i].domains.v[k]);
    bool passed = ledger_check(ledger, ca_at(0), &names, false, now_s, &warnings);
    CHECK(!passed || warnings.n > 0);
    (void)ledger_check(ledger, &hostile, &names, true, now_s, &warnings);
    for (size_t i = 0; i < warnings.n; i++)
        CHECK(strstr(warnings.v[i], "room again in ") != NULL && strstr(warnings.v[i], "(no time)") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ledger ledger = LEDGER_INIT;
    struct err err = ERR_INIT;
    AUTO_BUF first = BUF_INIT;
    AUTO_BUF second = BUF_INIT;
    if (!ledger_decode((const char *)data, size, "F", &ledger, &err)) {
        CHECK(err.code == ERR_CONFIG && strncmp(err.text, "F:", 2) == 0 && ledger.n == 0);
        return 0;
    }
    CHECK(ledger.n <= LEDGER_MAX_ENTRIES);
    for (size_t i = 1; i < ledger.n; i++)
        CHECK(ledger.v[i - 1].at_s <= ledger.v[i].at_s);
    int64_t now_s = ledger.n > 0 ? ledger.v[ledger.n / 2].at_s + (int64_t)(size % 7200) : 0;
    ask(&ledger, now_s);
    ledger_encode(&ledger, now_s, &first);
    CHECK(ledger_decode(first.data, first.len, "F", &ledger, &err));
    ledger_encode(&ledger, now_s, &second);
    CHECK(strcmp(first.data, second.data) == 0);
    ledger_clear(&ledger);
    return 0;
}
