/*
 * apache_edit.h - the two edits of Apache's configuration; their contracts are in tlsup/web.h. Internal to install/.
 *
 * An edit reads the configuration anew through the transaction, so that edits compose, plans, and stages. Inside of files all is done by splices:
 * bytes outside of them do not change.
 */
#ifndef TLSUP_INSTALL_APACHE_EDIT_H
#define TLSUP_INSTALL_APACHE_EDIT_H

#include "apache_model.h"
#include "tlsup/web.h"

MUST_CHECK bool apache_edit_challenge(const struct web *web, const struct sites *sites, const struct strlist *names,
                                      const char *thumbprint, struct txn *txn, struct err *err);
MUST_CHECK bool apache_edit_https(const struct web *web, const struct sites *sites, const struct web_https *https,
                                  struct txn *txn, struct err *err);

/* -- shared by apache_edit.c and apache_companion.c -- */

struct apache_splice {
    size_t file, at, remove;
    char *text;
};

struct apache_edit {
    const struct web *web;
    struct txn *txn;
    struct apache_model model;
    struct apache_splice *splices;
    size_t n_splices;
};

void apache_splice(struct apache_edit *edit, size_t file, size_t at, size_t remove, const char *text);
/* How the answer to a challenge is written: first of all rules, and last of all sections. Appends. */
void apache_challenge_rules(struct buf *out);
void apache_challenge_answer(struct buf *out, const char *thumbprint);
void apache_redirect_rules(struct buf *out, const struct strlist *names);

/* One virtual host to be given a twin on 443. */
struct apache_source {
    struct apache_host *host;
    bool is_default; /* it does not name them: they come to it because no other does */
    struct strlist names;
};

struct apache_companion {
    const struct web_https *https;
    struct apache_source *sources;
    size_t n_sources;
    const char *ssl_module;  /* LoadModule's path when the file has to load mod_ssl itself, NULL = no */
};
/* Stage the file with the :443 hosts, in the place where it makes no other site's name change its owner. The enabling symlink, where there is one, goes
 * to `link` and `target` (heap, NULL = none), to be staged last. */
MUST_CHECK bool apache_companion_stage(struct apache_edit *edit, const struct apache_companion *companion, char **link,
                                       char **target, struct err *err);
/* Remove the companion when nothing needs it any more. */
MUST_CHECK bool apache_companion_remove(struct apache_edit *edit, const char *id, struct err *err);
/* Can a twin of this host be made at all? */
MUST_CHECK bool apache_companion_check(const struct apache_edit *edit, const struct apache_source *source, struct err *err);

#endif
