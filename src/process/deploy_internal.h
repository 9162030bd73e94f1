/*
 * deploy_internal.h - what the files of the deployment share.
 *
 *   deploy.c            the web server opened for a run; one transaction taken up or put back; recovery
 *   deploy_challenge.c  the answer to http-01, and its proof
 *   deploy_proof.c      what is asked of the running server: the leaf over TLS, the pages as before
 *   deploy_https.c      what a certificate brings into the web server: leaves, links, lines; what that would be
 *   deploy_change.c     the change itself, of one certificate or of several at once
 *   deploy_shadow.c     the server's own test of lines that are not written
 *   deploy_undo.c       the taking back
 *   deploy_rename.c     the same edits under another name
 */
#ifndef TLSUP_PROCESS_DEPLOY_INTERNAL_H
#define TLSUP_PROCESS_DEPLOY_INTERNAL_H

#include <stdint.h>

#include "tlsup/deploy.h"
#include "tlsup/probe.h"

#define DEPLOY_PROBE_MS 5000

struct deploy {
    struct store *store;
    struct web web;
    struct sites sites;
    struct answer {
        char *cert_name;
        struct txn *txn;
    } * answers; /* to challenges, in the order in which they came: applied and proven, not yet committed */
    size_t n_answers;
    char *token_dir;
    char proof[256];
    int64_t test_took_ms; /* the server's own last test */
    bool compared; /* the server has been seen to see what we see */
    deploy_progress_fn *progress;
    void *ctx;
};

void deploy_tell(const struct deploy *deploy, const char *text);

/* A busy server's old workers may answer for a while after a reload: asked again, with pauses, until the time
 * is up. */
struct patience {
    int64_t deadline_ms;
    int pause_ms;
    int64_t again_ms; /* deploy_tell_again(); 0 = it has been */
};
/* So long, and longer where the server's own last test took long: the machine is slow or busy, or the configuration is big. */
struct patience deploy_patience(const struct deploy *deploy, int64_t time_ms);
/* Pause before asking again; false when the time is up. */
bool deploy_wait(const struct deploy *deploy, struct patience *patience);
/* A server that is told to reload while it is busy with an earlier reload may forget it: told once more, when some of the patience is used up. */
void deploy_tell_again(struct deploy *deploy, struct patience *patience);

/* -- one transaction (deploy.c) -- */
MUST_CHECK bool deploy_reread(struct deploy *deploy, struct err *err);
/* May what is staged be done? The server sees what we see, and every place can be written to. */
MUST_CHECK bool deploy_may_apply(struct deploy *deploy, const struct txn *txn, struct err *err);
/* What was applied is tested, and the server told; the marks are `txn`'s, which leads. */
MUST_CHECK bool deploy_activate(struct deploy *deploy, struct txn *txn, struct err *err);
/* Everything staged goes in and the server is told; on failure the caller puts it back. The proof that it
 * lives on is the caller's, by web_alive(). */
MUST_CHECK bool deploy_take_up(struct deploy *deploy, struct txn *txn, struct err *err);
/* Back to how it was, with the server told. What fails here is added to the error that led here. */
void deploy_put_back(struct deploy *deploy, struct txn *txn, struct err *why);
/* The same of several that are joined: in reverse, and the server is told once. */
void deploy_put_back_all(struct deploy *deploy, struct txn *const txns[], size_t n, struct err *why);

/* A random token is answered for the account key on every address of every name (deploy_challenge.c). */
MUST_CHECK bool deploy_prove_challenge(struct deploy *deploy, const struct strlist *names, const char *thumbprint,
                                       struct err *err);
/* The answers from the `first` on, in reverse. */
void deploy_put_answers_back(struct deploy *deploy, size_t first);
/* They stand, as far as the journal is concerned: a crash must not take them away from under what rests on them. */
MUST_CHECK bool deploy_note_answers(struct deploy *deploy, struct err *err);

/* Another certificate's edits, or this one's under another name, anew on the tree as `txn` has it (deploy_undo.c): struct txn_redo. */
bool deploy_concerns(void *ctx, const char *cert_name);
MUST_CHECK bool deploy_redo(struct deploy *deploy, const struct cert_config *config, struct txn *txn, struct err *err);
MUST_CHECK bool deploy_redo_other(void *ctx, const char *cert_name, struct txn *txn, struct err *err);
/* Those whose edits were made anew are still served, and the server lives. */
MUST_CHECK bool deploy_prove_redone(struct deploy *deploy, const struct strlist *others, bool had_443, struct err *err);
bool deploy_listens(const struct sites *sites, int port);

/* What a certificate's version and configuration bring: the `live` link and 443 (deploy_https.c). */
MUST_CHECK bool deploy_stage(struct deploy *deploy, const struct cert_config *config, int version, struct txn *txn,
                             struct err *err);

/* The server's own test of what is staged, in a copy of the tree that nobody else sees and that is gone afterwards, with a certificate made for it (deploy_shadow.c): `tested` or `untested` of `out`. False
 * when the server refuses it, with its own words, and when a signal has come. */
MUST_CHECK bool deploy_shadow_test(struct deploy *deploy, const struct cert_config *config, const struct txn *txn,
                                   struct deploy_rehearsal *out, struct err *err);

/* -- proof (deploy_proof.c) -- */

/* The leaves that must be served: one, or one of each kind. */
struct leaves {
    struct leaf {
        char sha256[65];
        enum probe_kind kind;
    } v[STORE_PARTS];
    size_t n;
};
/* Those of a stored version that its configuration wants and this web server takes (deploy_https.c). */
MUST_CHECK bool deploy_leaves(struct deploy *deploy, const struct cert_config *config, int version,
                              struct leaves *out, struct err *err);
MUST_CHECK bool deploy_stage_leaves(struct deploy *deploy, const struct cert_config *config, int version,
                                    const struct leaves *leaves, struct txn *txn, struct err *err);
/* The suffix of the second pair of files; NULL = there is none. */
const char *leaves_second(const struct leaves *leaves);
/* A real handshake by SNI for each name over each address shows a leaf of these, until it does or the time is
 * up; then the server is seen to live on. */
MUST_CHECK bool deploy_prove_https(struct deploy *deploy, const struct strlist *names,
                                   const struct leaves *leaves, struct err *err);

/* Is this still one of the addresses of the name? Which they are shows when the server listens: Apache's `Listen 443` opens no IPv6 socket on a machine whose only
 * IPv6 address is that of loopback. */
bool deploy_is_asked_on(const struct deploy *deploy, const char *name, const char *address, int port);

/* The same by a single look at each, without waiting, whatever keeps it from being seen. */
bool deploy_shows(const struct deploy *deploy, const struct strlist *names, const struct leaves *leaves);

/* How / of a name was answered on one address. */
struct page {
    char *name;
    char *address;
    bool https;
    int status; /* 0 = by nobody */
    bool to_https;
};
struct pages {
    struct page *v;
    size_t n;
};
void pages_clear(struct pages *pages);
/* Look at all of them, as they are now: http, and https where a site has the name there. */
void deploy_look(struct deploy *deploy, const struct strlist *names, struct pages *out);
/* Is each still answered as it was? `redirect`: http may have become a redirect to https. What failed before
 * may get better. */
MUST_CHECK bool deploy_prove_pages(struct deploy *deploy, const struct pages *before, bool redirect,
                                    struct err *err);

#endif
