/*
 * sandbox.h - what a child process gives up before it reads its first byte.
 */
#ifndef TLSUP_SANDBOX_H
#define TLSUP_SANDBOX_H

#include "tlsup/err.h"

/* The system users of the children; one that does not exist is replaced by "nobody". */
#define SANDBOX_COURIER_USER "tlsup-courier"
#define SANDBOX_RESPONDER_USER "tlsup-responder"
#define SANDBOX_PROBER_USER "tlsup-prober"
#define SANDBOX_RESOLVER_USER "tlsup-resolver"
#define SANDBOX_NOTIFIER_USER "tlsup-notifier"

/* In this order: close every descriptor but standard error, the log's (log.h) and `keep` (sorted or not); working directory "/"; no core dumps, not dumpable, no new privileges, die with the parent; as root: no supplementary
 * groups, the user's gid and uid for real, effective and saved, and a check that there is no way back. Landlock and seccomp belong at the end of this function.
 * Not being root is fine: the uid stays. */
MUST_CHECK bool sandbox_enter(const char *user, const int *keep, size_t n_keep, struct err *err);

/* For the keeper itself, which will hold keys: no core dumps, no tracing by others of the same user. */
void sandbox_keep_secrets(void);

/* For `status --verbose`: how the children are kept apart here, one line. Returns `out`. */
const char *sandbox_describe(char out[256]);

#endif
