/*
 * deployments.h - what else than the web server gets each new version of a certificate: deploy hooks, standing exports, and the look whether it is served (verify).
 *
 * Each is an entry of its own in the certificate's state: done for a version, or wanted and not done yet. One that failed is tried again by the next run of `renew`, alone, with
 * a growing pause, and the certificate counts as failing until it is done. The order is: exports, deploy hooks (of the directory, then of the certificate), looks.
 */
#ifndef TLSUP_CLI_DEPLOYMENTS_H
#define TLSUP_CLI_DEPLOYMENTS_H

#include "run.h"

/* `version` becomes the live one: from now on all that the configuration names are wanted for it; what has been done for it already is done. Entries that it names no longer are dropped. Where the
 * directory of hooks cannot be read it is an entry itself, which becomes its programs when it can. Changes `state` alone. */
void deployments_want(struct run *run, const struct cert_config *config, int version, struct cert_state *state);
/* Carry out those that are wanted, for the version that is live, and, unless `by_hand`, whose pause is over; each is written into the state at once. False with the first failure when one failed; the others are done
 * all the same. A look is taken only when all hooks and exports before it are done. */
MUST_CHECK bool deployments_carry_out(struct run *run, const struct cert_config *config, bool by_hand, struct err *err);
bool deployments_wanted(const struct cert_state *state);    /* is any not done? */
int64_t deployments_next_s(const struct cert_state *state); /* when the next one may be tried; 0 = at once; INT64_MAX = none is wanted */
/* The first failure among those that are not done; NULL = none has failed. Borrowed. */
const struct err *deployments_trouble(const struct cert_state *state);

#endif
