/*
 * ledger.h - what was asked of one CA in the last days, so that its published limits are seen before they are hit. Pure but for JSON in memory.
 */
#ifndef TLSUP_LEDGER_H
#define TLSUP_LEDGER_H

#include <stdint.h>

#include "tlsup/buf.h"
#include "tlsup/ca.h"
#include "tlsup/err.h"

enum ledger_event { LEDGER_ORDER, LEDGER_CERTIFICATE, LEDGER_FAILURE };

/* What a CA leaves out of its counts; the first two have the values of false and true. */
enum ledger_exempt {
    LEDGER_COUNTS = 0,
    LEDGER_EXEMPT = 1,  /* an ARI renewal whose `replaces` was accepted: from every limit */
    LEDGER_RENEWAL = 2, /* of the same names as one before: from all but the limit of exactly these names */
};

struct ledger_entry {
    enum ledger_event event;
    enum ledger_exempt exempt;
    int64_t at_s;
    char set[33];              /* hash of the set of names: order of names does not matter */
    struct strlist domains;    /* registered domains (IPv4: itself, IPv6: its /64), each once; FAILURE: the names themselves */
};

struct ledger {
    struct ledger_entry *v; /* by time */
    size_t n;
    size_t room;
};
#define LEDGER_INIT {0}
#define LEDGER_KEEP_S (8 * 86400)
#define LEDGER_MAX_ENTRIES 20000 /* the oldest go, a twentieth at once */
/* The clock may have been ahead when an entry was made: up to a day it counts as of now, beyond that the entry is left out. */
#define LEDGER_AHEAD_S 86400
/* An order of the last minutes whose certificate has not been noted counts towards the certificates per domain: many are under way at once. */
#define LEDGER_UNDER_WAY_S 900

void ledger_clear(struct ledger *ledger);
/* JSON text, as the store keeps it. Entries over LEDGER_KEEP_S old are left out. A text that is none gives an empty ledger and ERR_CONFIG: the caller may go on.
 * `out` is initialised; what it held is freed. */
void ledger_encode(const struct ledger *ledger, int64_t now_s, struct buf *out);
MUST_CHECK bool ledger_decode(const char *json, size_t len, const char *subject, struct ledger *out, struct err *err);
void ledger_note(struct ledger *ledger, enum ledger_event event, const struct strlist *names, enum ledger_exempt exempt,
                 int64_t now_s);
/* What an order for these names would come to. Limits refill gradually (one in 202 minutes of 50 a week). One line for each limit that it would pass, or is the last to fit
 * within, saying which limit, how much of it is used, and when there is room again; appended. `renewal`: of the same names as one before (exempt from the limits of orders and per domain, as Let's Encrypt has it). True = it would pass one. */
bool ledger_check(const struct ledger *ledger, const struct ca *ca, const struct strlist *names, bool renewal, int64_t now_s,
                  struct strlist *warnings);

#endif
