/*
 * deploy.h - a certificate into a running web server, as one transaction with proof.
 *
 * journal -> edit -> the server's own test -> switch `live` -> reload -> handshake on port 443 shows the new leaf -> commit; or everything is put
 * back, tested and reloaded again.
 */
#ifndef TLSUP_DEPLOY_H
#define TLSUP_DEPLOY_H

#include "tlsup/store.h"
#include "tlsup/web.h"

struct deploy; /* heap: one web server during one run */

/* Told before each part that takes time: "testing nginx's configuration"; with NULL while it goes on. May be NULL itself. */
typedef void deploy_progress_fn(void *ctx, const char *text);

/* Finish or undo what a former run left in the journal, and reload the web server when that had been reached. `messages` get a line for
 * everything done. The store is open for writing. */
MUST_CHECK bool deploy_recover(struct store *store, struct strlist *messages, struct err *err);

/* Find the web server (WEB_NONE = whichever there is; `hints` NULL = none), see that its configuration passes its own test before anything is touched, that
 * port 443 is free or its own, and read its sites. */
MUST_CHECK bool deploy_open(struct store *store, enum web_kind wanted, const struct web_hints *hints, deploy_progress_fn *progress,
                            void *ctx, struct deploy **out, struct err *err);
/* Rolls back what deploy_challenge() did, unless deploy_keep() came before. NULL is fine. */
void deploy_close(struct deploy *deploy);
const struct web *deploy_web(const struct deploy *deploy);
const struct sites *deploy_sites(const struct deploy *deploy);
/* Does the web server itself listen on port 80? When not, challenges are answered by our own responder. */
bool deploy_listens_on_80(const struct deploy *deploy);

/* Have the web server answer http-01 for these names for good (several certificates may have an answer that is not kept yet), and prove it by fetching a random token over each address. Where it answers
 * already nothing is touched. On failure everything is put back before this returns. `*token_dir` (borrowed) is where tokens
 * must be written as files, NULL when none are needed. */
MUST_CHECK bool deploy_challenge(struct deploy *deploy, const char *cert_name, const struct strlist *names, const char *thumbprint,
                                 const char **token_dir, struct err *err);
/* What deploy_challenge() did stays, whatever comes. */
MUST_CHECK bool deploy_keep(struct deploy *deploy, struct err *err);

/* Could 443 be turned on for the certificate's names? Everything that deploy_certificate() would write is made and dropped: nothing is touched, no version need be there. So that no certificate is
 * asked for that has no place. The server must see what we see (web_compare()), and every place can be written to. */
MUST_CHECK bool deploy_has_place(struct deploy *deploy, const struct cert_config *config, struct err *err);
/* The same, told: a unified diff of every file (appended), and the commands that would be run (appended). With `thumbprint` the answer to challenges is part of it. */
MUST_CHECK bool deploy_plan(struct deploy *deploy, const struct cert_config *config, const char *thumbprint, struct buf *diff,
                            struct strlist *commands, struct err *err);
/* What a rehearsal has found out. */
struct deploy_rehearsal {
    struct strlist places; /* where the certificate would be served: "FILE:LINE" of each site, and files that would be new */
    bool tested;           /* the server's own test has been passed with the new lines; false, too, where there would be none */
    char *untested;        /* why that test could not be run; NULL = it was, or there is nothing to test */
};
void deploy_rehearsal_clear(struct deploy_rehearsal *rehearsal);
/* As deploy_has_place(), and more: the new lines are put to the server's own test, in a mount namespace, where that can be had; ERR_WEBSERVER with the server's words when it refuses them. `out` is zeroed
 * before; the caller clears it. */
MUST_CHECK bool deploy_rehearse(struct deploy *deploy, const struct cert_config *config, struct deploy_rehearsal *out, struct err *err);
/* What deploy_undo() would do, told in the same way. */
MUST_CHECK bool deploy_plan_undo(struct deploy *deploy, const char *cert_name, struct buf *diff, struct strlist *commands,
                                 struct strlist *messages, struct err *err);

/* Turn 443 on for a certificate's names, as its configuration says (redirect, hsts, tls_profile), with the stored `version`, switch `live`, prove; where the version has two certificates (and the certificate's
 * configuration still wants them), with both, each shown to the visitors who can use no other. The pages must be answered as before, on every address. `state` (of this certificate) is
 * brought up to date and saved at each step reached; on failure web server and `live` are as before. */
MUST_CHECK bool deploy_certificate(struct deploy *deploy, const struct cert_config *config, int version, struct cert_state *state,
                                   struct err *err);

/* One of several that are switched together. All is borrowed. */
struct deploy_item {
    const struct cert_config *config;
    int version;
    struct cert_state *state;
    const char *thumbprint; /* have the web server answer http-01 for it as well, where it listens on 80; NULL or "" = leave that */
    bool save_config;       /* its settings are saved with it, and put back with it */
};
/* The same for all certificates of one web server at once: applied one after the other, tested and reloaded once, each proven; on failure, after a crash too, all of them are as
 * before. Each can be undone by itself. The error says which one it was. */
MUST_CHECK bool deploy_certificates(struct deploy *deploy, const struct deploy_item items[], size_t n, struct err *err);

/* What was proven, for the report: "TLSv1.3 on 127.0.0.1, ::1", of two certificates with " with ECDSA and RSA" behind it. Borrowed. */
const char *deploy_proof(const struct deploy *deploy);

/* Everything that says a certificate's name, changed as one transaction, after store_rename_prepare() and before store_rename_finish(): the web server's lines (`deploy` NULL: none is concerned), with proof, its
 * configuration and its state. What was done for it can be undone afterwards under the new name. Lines of people's own with the old path in the server's files are changed, too. `messages` as in txn_undo(). */
MUST_CHECK bool deploy_rename(struct deploy *deploy, struct store *store, const char *from, const char *to, struct strlist *messages,
                              struct err *err);

/* Take back all edits made for a certificate (its committed transactions), test, reload. `messages` as in txn_undo(). */
MUST_CHECK bool deploy_undo(struct deploy *deploy, const char *cert_name, struct strlist *messages, struct err *err);

#endif
