/*
 * hooks.h - programs of the user's around renewals: before (pre), for each new certificate (deploy), afterwards (post).
 *
 * Run without a shell, with a clean environment, /dev/null as standard input, and a deadline; those of the directories /etc/tlsup/hooks/{pre,deploy,post}/ first, by name (bytes), then those that the
 * certificate's configuration names. The contract is certbot's, with more variables:
 *
 *   pre      TLSUP_HOOK=pre
 *   deploy   RENEWED_LINEAGE  the live directory          RENEWED_DOMAINS  its names, separated by spaces
 *            TLSUP_HOOK=deploy TLSUP_CERT (its name in tlsup) TLSUP_NAMES TLSUP_VERSION TLSUP_LIVE TLSUP_PRIVKEY TLSUP_CERTFILE TLSUP_CHAIN TLSUP_FULLCHAIN (paths; with two key types,
 *            those of the first) TLSUP_NOT_AFTER (RFC 3339) TLSUP_CA (directory URL); a key that is no file (token, CSR) has no variable; those of acme.sh's reload commands: CERT_PATH CERT_KEY_PATH CA_CERT_PATH CERT_FULLCHAIN_PATH Le_Domain
 *   post     RENEWED_DOMAINS  names of all certificates that were renewed    FAILED_DOMAINS  of those that were not
 *            TLSUP_HOOK=post TLSUP_RENEWED TLSUP_FAILED (the certificates' names in tlsup)
 */
#ifndef TLSUP_HOOKS_H
#define TLSUP_HOOKS_H

#include <stdint.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

enum hook_when { HOOK_PRE, HOOK_DEPLOY, HOOK_POST, HOOK_WHENS };
const char *hook_when_name(enum hook_when when); /* "pre"; the directory's name, too */

struct hook_deploy {
    const char *cert_name, *live_dir, *ca_url;
    const struct strlist *names;
    int version;
    int64_t not_after_s;
};
struct hook_post {
    const struct strlist *renewed_names, *failed_names; /* domain names */
    const struct strlist *renewed, *failed;             /* certificates */
};
struct hook_run {
    enum hook_when when;
    const char *program; /* absolute */
    const char *user;    /* NULL = ours */
    int timeout_s;
    const struct hook_deploy *deploy; /* HOOK_DEPLOY */
    const struct hook_post *post;     /* HOOK_POST */
};

/* CONFIG_DIR/hooks/WHEN; the caller frees. */
char *hooks_directory(const char *config_dir, enum hook_when when);
/* The programs in CONFIG_DIR/hooks/WHEN, absolute, sorted by byte. Left out: names that begin with '.', or end in '~', ".bak", ".dpkg-*", ".rpm*", ".swp", and what is not an executable file (a warning says so).
 * A missing directory is an empty list. As root, a directory that is not root's, or that others may write, is refused (ERR_PERMISSION). Appends. */
MUST_CHECK bool hooks_list(const char *config_dir, enum hook_when when, struct strlist *programs, struct err *err);
/* Run one to its end. A variable holds at most 120 KiB: names beyond that are left out, with a warning. ERR_HOOK (NEXT_RETRY_LATER) when it fails or takes too long: the text has the last lines of what it printed; ERR_NOT_FOUND, ERR_PERMISSION where it may not be run (spawn_check_program_for()), or the
 * user does not exist. What it prints goes to the log at level info. */
MUST_CHECK bool hooks_run(const struct hook_run *run, struct err *err);

#endif
