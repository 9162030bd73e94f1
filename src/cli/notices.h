/*
 * notices.h - a run of `renew` tells people what failed, and what is well again: each change of state once.
 *
 * What was told is in the certificate's state (enum alarm) and, for troubles of the machine, in run.json. A
 * message that no way could deliver is not told: the next run tries again. All of a run goes into one
 * message.
 */
#ifndef TLSUP_CLI_NOTICES_H
#define TLSUP_CLI_NOTICES_H

#include "run.h"

struct notices; /* heap */

/* Reads tlsup.conf's settings and starts the notifier, the child process that speaks SMTP and HTTP, where
 * they ask for one: before any private key is read. */
MUST_CHECK bool notices_open(struct run *run, struct notices **out, struct err *err);
void notices_renewed(struct notices *notices, const char *cert_name);
void notices_failed(struct notices *notices, const char *cert_name, const struct err *why);
/* Looked at and neither of both (waiting for its next try, or nothing to do): its alarm may have changed by
 * time alone, or be over. */
void notices_looked(struct notices *notices, const char *cert_name);
/* A trouble of the machine ("hook /etc/tlsup/hooks/post/x", "timer"); `why` NULL = all is well with it. */
void notices_machine(struct notices *notices, const char *subject, const struct err *why);
/* Tell what is to be told, note in the states what was, ping the heartbeat when `good` (nothing failed in the
 * run). Ways that failed are warnings, and noted as troubles of the machine. */
void notices_send(struct notices *notices, bool good);
void notices_close(struct notices *notices); /* NULL is fine */
/* How bad it is now (not what was told). */
enum alarm notices_alarm(const struct cert_state *state, const struct cert_info *info, int64_t now_s);
/* When that changes by time alone; `now_s` when it has not been told yet; INT64_MAX = never. */
int64_t notices_next_s(const struct cert_state *state, const struct cert_info *info, int64_t now_s);

#endif
