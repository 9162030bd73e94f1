/*
 * looks.h - once a day `renew` looks whether the web server still serves what was proven to be served: a person or another program may have changed that since.
 *
 * Cheap: handshakes with this machine's own addresses, some at a time in each run; the certificates that have waited longest come first.
 */
#ifndef TLSUP_CLI_LOOKS_H
#define TLSUP_CLI_LOOKS_H

#include "batch.h"
#include "due.h"

struct look {
    char *name;
    int64_t verified_s;
    int64_t next_s; /* when something else is to be done for it */
};
struct looks {
    struct look *v;
    size_t n;
};
#define LOOKS_INIT {0}

/* Is it time? Of a certificate for which nothing else is to be done. */
bool looks_due(const struct cert_config *config, const struct cert_state *state);
void looks_add(struct looks *looks, const char *cert_name, int64_t verified_s, int64_t next_s);
/* Those that can be taken in this run; before any key is read. One that shows another certificate has failed, and the next run installs it again. What is well is noted in `due` (may be NULL), and so is when those are
 * looked at that had no turn. */
void looks_take(struct run *run, struct looks *looks, struct due *due, struct tally *tally);
void looks_clear(struct looks *looks);

#endif
