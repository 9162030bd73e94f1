/*
 * apache_edit.h - the two edits of Apache's configuration; their contracts are in tlsup/web.h. Internal to
 * install/.
 *
 * An edit reads the configuration anew through the transaction, so that edits compose, plans, and stages.
 * Inside of files all is done by splices: bytes outside of them do not change.
 */
#ifndef TLSUP_INSTALL_APACHE_EDIT_H
#define TLSUP_INSTALL_APACHE_EDIT_H

#include "apache_model.h"
#include "tlsup/web.h"

MUST_CHECK bool apache_edit_challenge(const struct web *web, const struct sites *sites,
                                      const struct strlist *names, const char *thumbprint, struct txn *txn,
                                      struct err *err);
MUST_CHECK bool apache_edit_https(const struct web *web, const struct sites *sites,
                                  const struct web_https *https, struct txn *txn, struct err *err);

/* -- shared by apache_edit.c, apache_https.c and apache_companion.c -- */

struct apache_splice {
    size_t file, at, remove;
    size_t order; /* in which it was asked for */
    char *text;
};

struct apache_edit {
    const struct web *web;
    struct txn *txn;
    struct apache_model model;
    struct apache_splice *splices;
    size_t n_splices;
};

/* Read the configuration as it will be after what is staged in `txn`. */
MUST_CHECK bool apache_edit_begin(const struct web *web, struct txn *txn, const struct strlist *assume,
                                  struct apache_edit *edit, struct err *err);
/* Carry out the splices, into the transaction. */
MUST_CHECK bool apache_edit_stage(struct apache_edit *edit, struct err *err);
void apache_edit_clear(struct apache_edit *edit);
void apache_splice(struct apache_edit *edit, size_t file, size_t at, size_t remove, const char *text);
/* How the answer to a challenge is written: first of all rules, and last of all sections. Appends. */
void apache_challenge_rules(struct buf *out);
void apache_challenge_answer(struct buf *out, const char *thumbprint);
void apache_redirect_rules(struct buf *out, const struct strlist *names);
/* SSLProtocol and so on, by the profile that is asked for (apache_tls.c). Appends. */
void apache_profile_lines(struct buf *out, const struct apache_edit *edit, const struct web_https *https);
/* Strict-Transport-Security, where it is asked for and `host` (or the main server) does not send it already.
 * Appends. */
void apache_hsts_line(struct buf *out, const struct apache_edit *edit, const struct apache_host *host,
                      const struct web_https *https);
/* Can this server do what is asked for? */
MUST_CHECK bool apache_check_profile(const struct web *web, const struct web_https *https, struct err *err);
/* The certificate and its key; of both certificates, where there is a second. Appends. */
void apache_certificate_lines(struct buf *out, const char *indent, const struct apache_edit *edit,
                              const struct web_https *https);

/* Where a host's lines lie: nodes (open, close), or the whole main file. */
struct apache_spot {
    size_t file, open, close; /* nodes; open is APACHE_NONE for the main server */
    const char *eol;
    char indent[32];
};

struct apache_spot apache_host_spot(const struct apache_edit *edit, const struct apache_host *host);
size_t apache_spot_top(const struct apache_edit *edit, const struct apache_spot *spot);
size_t apache_spot_bottom(const struct apache_edit *edit, const struct apache_spot *spot);
/* The block of this kind and id (NULL: any) that lies there; NULL = none. */
const struct apache_block *apache_spot_block(const struct apache_edit *edit, const struct apache_spot *spot,
                                             const char *kind, const char *id);
/* Insert a block at `at`, or renew it where it is. */
void apache_put_block(struct apache_edit *edit, const struct apache_spot *spot, const char *kind,
                      const char *id, size_t at, const char *content);
/* Is this very text asked for at this place already? (One Macro makes several hosts.) */
bool apache_is_asked(const struct apache_edit *edit, size_t file, size_t at, const char *text);
/* May this content stand in the host, if it comes from a macro? */
MUST_CHECK bool apache_check_macro(const struct apache_edit *edit, const struct apache_host *host,
                                   const char *content, struct err *err);
void apache_add_host(struct apache_host ***hosts, size_t *n,
                     struct apache_host *host); /* unless it is there */

/* Those that answer on port 80 for a name that no host has, over the addresses by which visitors come: each
 * may show something else. None where a host has the name. Appends. */
void apache_default_hosts(const struct apache_model *model, const char *name, const char *ignore,
                          struct apache_host ***hosts, size_t *n);

/* Modules that have to be loaded for an edit (apache_modules.c). */
struct apache_modules {
    char *enabled;        /* Debian's mods-enabled, "" = there is none */
    struct strlist links; /* to be linked there, each after those that it needs */
    struct strlist
        symbols;          /* to be loaded by the companion itself, which comes after all that is there ... */
    struct strlist paths; /* ... each with its file */
};

/* Plan for "ssl", "headers": nothing when it is loaded already; `companion`: our own file may load it. False:
 * it is not installed. */
bool apache_modules_need(const struct apache_edit *edit, const char *module, bool companion,
                         struct apache_modules *plan);
/* The same where Debian's links are the only way, loaded or not. */
bool apache_modules_debian(const struct apache_edit *edit, const char *module, struct apache_modules *plan);
/* Stage the links: that of mod_ssl, which wakes what waits for it, or all the others. */
MUST_CHECK bool apache_modules_stage(struct apache_edit *edit, const struct apache_modules *plan, bool ssl,
                                     struct err *err);
/* Are modules turned on by links here, as Debian has it? */
bool apache_has_mods_enabled(const struct apache_edit *edit);
void apache_modules_clear(struct apache_modules *plan);
/* Does the server take its own lines once the modules are linked, which wakes some of them? `swaps`: hosts get
 * another certificate before that. */
MUST_CHECK bool apache_modules_check(const struct apache_edit *edit, const struct apache_modules *plan,
                                     bool swaps, struct err *err);
/* Does a redirect of "/" to https come to life that nobody asks for? `edit` holds the configuration with the
 * modules, `before` that without. */
MUST_CHECK bool apache_modules_check_redirects(const struct apache_model *before,
                                               const struct apache_edit *edit,
                                               const struct web_https *https, struct err *err);

/* One virtual host to be given a twin on 443. */
struct apache_source {
    struct apache_host *host;
    bool is_default; /* it does not name them: they come to it because no other does */
    bool plain_twin; /* the names are to get a host on port 80 as well */
    struct strlist names;
};

struct apache_companion {
    const struct web_https *https;
    struct apache_source *sources;
    size_t n_sources;
    const struct apache_modules *modules; /* those that it loads itself */
};
/* Stage the file with the :443 hosts, in the place where it makes no other site's name change its owner. The
 * enabling symlink, where there is one, goes to `link` and `target` (heap, NULL = none), to be staged last.
 */
MUST_CHECK bool apache_companion_stage(struct apache_edit *edit, const struct apache_companion *companion,
                                       char **link, char **target, struct err *err);
/* Remove the companion when nothing needs it any more. */
MUST_CHECK bool apache_companion_remove(struct apache_edit *edit, const char *id, struct err *err);
/* Can a twin of this host be made at all? */
MUST_CHECK bool apache_companion_check(const struct apache_edit *edit, const struct apache_source *source,
                                       struct err *err);

#endif
