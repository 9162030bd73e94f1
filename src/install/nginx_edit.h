/*
 * nginx_edit.h - what the files that change nginx's configuration share. Internal to install/.
 *
 * nginx_edit.c changes files; nginx_place.c finds a place for new ones; nginx_challenge.c and nginx_https.c
 * are the two edits of tlsup/web.h. Of the latter, nginx_plan.c says who gets what, nginx_sockets.c where
 * port 443 is opened, nginx_site.c writes a server for names that have none.
 */
#ifndef TLSUP_INSTALL_NGINX_EDIT_H
#define TLSUP_INSTALL_NGINX_EDIT_H

#include "nginx_model.h"

#define NGINX_CHALLENGE_ID "challenge"
#define NGINX_CERT_ID_PREFIX "cert:"

enum {
    NGINX_FILE_LIMIT_BYTES = 8 * 1024 * 1024,
    NGINX_NEW_FILE_MODE = 0644,
};

/* -- nginx_edit.c -- */

struct nginx_edit {
    size_t file, at, remove;
    char *text;
    bool inserts;
    size_t number; /* edits of one place keep their order */
};

/* The work of one call: the configuration as the transaction has it now, and what will change. */
struct nginx_editor {
    const struct web *web;
    struct txn *txn;
    struct err *err;
    struct sites sites;
    const struct sites *known; /* as they are without the transaction, or NULL */
    struct nginx_edit *edits;
    size_t n_edits;
};

/* Read the configuration through the transaction. `known`: what was read of it before, or NULL; `ignore`: the
 * id of marks that do not count. */
MUST_CHECK bool nginx_editor_open(struct nginx_editor *editor, const struct sites *known, const char *ignore);
void nginx_editor_close(struct nginx_editor *editor);
#define AUTO_NGINX_EDITOR CLEANUP(nginx_editor_close) struct nginx_editor
const struct nginx_config *nginx_config_of(const struct nginx_editor *editor);
const struct nginx_file *nginx_file_of(const struct nginx_editor *editor, const struct nginx_node *node);
/* Replace `length` bytes at `at` of a file by `text`. The same edit again is dropped. */
void nginx_edit_add(struct nginx_editor *editor, size_t file, size_t at, size_t length, const char *text);
/* In which line a site is now, without what the transaction holds already: for refusals. */
size_t nginx_line_now(const struct nginx_editor *editor, const struct site *site);
/* In which line the node will be, by the edits added so far. */
size_t nginx_line_after(const struct nginx_editor *editor, const struct nginx_node *node);
/* All edits into the transaction. */
MUST_CHECK bool nginx_edit_stage(struct nginx_editor *editor);

/* Lines of a block, in the style of their surroundings. */
struct nginx_lines {
    char *indent;
    const char *eol;
    struct buf text;
};
void nginx_lines_clear(struct nginx_lines *lines);
#define AUTO_NGINX_LINES CLEANUP(nginx_lines_clear) struct nginx_lines
void nginx_lines_for(const struct nginx_file *file, const struct nginx_node *block, struct nginx_lines *out);
void nginx_line(struct nginx_lines *lines, const char *fmt, ...) PRINTF_LIKE(2, 3);
void nginx_server_name_line(const struct strlist *names, struct nginx_lines *lines);
void nginx_listen_word(const char *address, int port, struct buf *out);
/* The blanks before a node when it begins its line, else NULL. The caller frees. */
char *nginx_blanks_before(const struct nginx_file *file, const struct nginx_node *node);
const char *nginx_eol(const struct nginx_file *file, size_t from);

/* What a block must say to do its work, and what it must not. */
struct nginx_essence {
    const char *has, *lacks; /* `lacks` may be NULL */
};
bool nginx_mark_has(const struct nginx_file *file, const struct nginx_mark *mark, const char *needle);
/* Insert, replace or (no lines) take out our block. `kept` says that a changed block was left alone. */
MUST_CHECK bool nginx_block_put(struct nginx_editor *editor, const struct nginx_node *server, const char *id,
                                const struct nginx_lines *lines, struct nginx_essence essence, bool *kept);

/* -- nginx_place.c -- */

struct nginx_place {
    char *path;      /* the file to write, NULL: into an existing file */
    char *link;      /* a symlink that enables it, or NULL */
    char *loaded_as; /* the path by which the server will read it */
};
void nginx_place_clear(struct nginx_place *place);
#define AUTO_NGINX_PLACE CLEANUP(nginx_place_clear) struct nginx_place
/* The best directory for a new file called `name`. `like`: a server beside which it would be at home (may be
 * NULL); `first`: a server that must stay before it (may be NULL). False: no included directory takes it. */
bool nginx_place_find(const struct nginx_editor *editor, const char *name, const struct nginx_node *like,
                      const struct nginx_node *first, struct nginx_place *out);
bool nginx_place_is_loaded(const struct nginx_editor *editor, const char *path);
/* A file's name out of a site's. The caller frees. */
char *nginx_place_name(const char *before, const char *name);

/* -- nginx_challenge.c -- */

/* The addresses on a port that the world may ask; loopback only when there is nothing else. */
void nginx_public_addresses(const struct sites *sites, int port, struct strlist *out);
/* Around lines with an `if` on a regular expression: the captures $1, $2 ... that the site's server_name has
 * made, kept in a variable and put back. 0: nobody uses them, no line. `site` may be NULL. */
size_t nginx_captures_save(const struct nginx_editor *editor, const struct site *site,
                           struct nginx_lines *lines);
void nginx_captures_restore(size_t n, struct nginx_lines *lines);

/* -- nginx_plan.c -- */

/* What is to happen to one server. */
struct nginx_item {
    bool certificate; /* ours goes in */
    bool full;        /* and 443 is opened */
    bool redirect;
    struct strlist redirected; /* the names to redirect */
    struct strlist also;       /* https sockets of others that would take the name from it */
};

struct nginx_plan {
    struct nginx_editor *editor;
    const struct web_https *https;
    char *id;
    struct nginx_item *items; /* one for each site */
    size_t n_items;
    struct strlist unowned; /* names that only a default server would answer */
    struct sites disabled;  /* read when a name is nowhere else */
    bool disabled_read;
};

MUST_CHECK bool nginx_plan_make(struct nginx_plan *plan);
void nginx_plan_clear(struct nginx_plan *plan);
#define AUTO_NGINX_PLAN CLEANUP(nginx_plan_clear) struct nginx_plan
const struct site *nginx_plan_owner_at(const struct nginx_plan *plan, const char *name, const char *address,
                                       int port, bool explicit_only);
bool nginx_refuse_at(const struct nginx_plan *plan, const struct site *site, const char *advice,
                     const char *fmt, ...) PRINTF_LIKE(4, 5);
/* A server_name that no certificate can have. */
bool nginx_is_placeholder(const char *name);
/* Are all names of the site among these, wildcards counted? */
bool nginx_all_covered(const struct site *site, const struct strlist *names);

/* -- nginx_sockets.c -- */

/* The addresses on which a server gets 443: those of its port 80, or else of its other plain ports.
 * `dual_stack`: one new socket for IPv6 and IPv4. Appends. */
MUST_CHECK bool nginx_secure_addresses(const struct nginx_plan *plan, const struct nginx_server *server,
                                       struct strlist *out, bool *dual_stack);
/* The listen line that can be given "default_server", so that the server which is the default one of the
 * socket by its place alone stays it. NULL: it needs none, or the line is not that server's alone. */
const struct nginx_node *nginx_default_line(const struct nginx_plan *plan, const struct nginx_socket *socket);
/* `also`: more addresses, NULL = none. */
MUST_CHECK bool nginx_listen_lines(const struct nginx_plan *plan, const struct nginx_server *server,
                                   const struct strlist *also, struct nginx_lines *lines);

/* -- nginx_https.c -- */

void nginx_certificate_lines(const struct nginx_plan *plan, struct nginx_lines *lines);
bool nginx_is_certificate_line(const struct nginx_node *node);
/* Is it an include of one file with nothing but certificate lines? */
bool nginx_brings_certificate(const struct nginx_config *config, const struct nginx_node *include);

/* -- nginx_tls.c -- */

/* Is the directive said in the server, or for all of http? */
bool nginx_said(const struct nginx_plan *plan, const struct nginx_node *server, const char *directive);
/* The lines of the profile that are due in this server, and (`whole`) those of the session cache. */
void nginx_tls_lines(const struct nginx_plan *plan, const struct nginx_node *server, bool whole,
                     struct nginx_lines *lines);
/* Must this line of a server give way to the profile's? */
bool nginx_tls_replaces(const struct nginx_plan *plan, const struct nginx_node *node);
/* Is it OCSP stapling, for which the new certificate has no responder? */
bool nginx_stapling_ends(const struct nginx_plan *plan, const struct nginx_node *node);
/* Refuses where such a line is in an included file. */
MUST_CHECK bool nginx_tls_check(const struct nginx_plan *plan, const struct site *site);
/* Warn of default servers that decide the protocols, and of locations that drop HSTS; all edits are added. */
void nginx_tls_warn(const struct nginx_plan *plan);
/* Strict-Transport-Security, where it was asked for and is not there. `opens`: the server has a plain port
 * too. */
void nginx_hsts_lines(const struct nginx_plan *plan, const struct nginx_server *server, bool opens,
                      struct nginx_lines *lines);

/* -- nginx_site.c -- */

MUST_CHECK bool nginx_site_new(struct nginx_plan *plan);

#endif
