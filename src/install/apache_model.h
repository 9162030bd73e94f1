/*
 * apache_model.h - Apache's configuration as the installer sees it: virtual hosts, their addresses and names,
 * and who answers whom. Internal to install/.
 */
#ifndef TLSUP_INSTALL_APACHE_MODEL_H
#define TLSUP_INSTALL_APACHE_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#include "apache_lexer.h"
#include "tlsup/web.h"

struct apache_address {
    char address[64]; /* "*" (any v4 and v6), "192.0.2.1", "[2001:db8::1]", or a host name */
    int port;         /* 0 = any */
};

struct apache_host {
    size_t open; /* its line; APACHE_NONE: the main server */
    struct apache_address *addresses;
    size_t n_addresses;
    char *server_name;      /* lower case, without scheme and port; NULL = none */
    const char *main_name;  /* the main server's, which one on "*" without a ServerName has; NULL = none */
    struct strlist aliases; /* lower case */
    const char *companion;  /* the id of the untouched block of ours that it lies in, NULL = a person's */
    int ssl;                /* 1 on, 0 off, -1 not said */
};

struct apache_listen {
    struct apache_address at; /* "*" = v4 and v6, "0.0.0.0" = v4 */
    bool https;               /* its protocol */
    const struct apache_line *line;
    bool ours; /* it lies in a block of ours */
};

/* A host on one of its addresses. */
struct apache_place {
    const char *address;
    int port;
    size_t host;
};

struct apache_model {
    struct apache_tree tree;
    struct apache_host *hosts; /* the main server is the last one */
    size_t n_hosts;            /* the main server counted */
    struct apache_listen *listens;
    size_t n_listens;
    struct apache_place *places; /* by address, port and order of the hosts */
    size_t n_places;
    size_t *main_lines; /* the main server's own directives */
    size_t n_main_lines;
};

/* Read it all as it will be after `txn` (NULL: as it is). `assume` (may be NULL) are modules to take as
 * loaded from the start. */
MUST_CHECK bool apache_model_read(const struct web *web, const struct txn *txn, const struct strlist *assume,
                                  struct apache_model *out, struct err *err);
/* One file beside those that the server reads, with the modules and definitions that `base` has in the end.
 */
MUST_CHECK bool apache_model_read_beside(const struct web *web, const struct apache_model *base,
                                         const char *path, struct apache_model *out, struct err *err);
void apache_model_clear(struct apache_model *model);
/* The environment with which the server expands ${X}: "NAME=value", appended. */
void apache_environment(const struct web *web, struct strlist *out);
/* The words with which a process was started, appended; none for 0. */
void apache_command_line(pid_t pid, struct strlist *out);

struct apache_host *apache_main(const struct apache_model *model);
bool apache_listens_on(const struct apache_model *model, int port);
/* Who answers on one address ("*" for those that no host names); `ignore` (may be NULL) takes our companions
 * of that id as absent. Never NULL while something listens on the port, unless `explicit_only`. */
struct apache_host *apache_owner_at(const struct apache_model *model, const char *name, const char *address,
                                    int port, bool explicit_only, const char *ignore);
/* The same over all addresses: the wildcard first. */
struct apache_host *apache_owner(const struct apache_model *model, const char *name, int port,
                                 bool explicit_only, const char *ignore);
/* The addresses that hosts name for a port, each once, "*" among them. Appends. */
void apache_addresses(const struct apache_model *model, int port, const char *ignore, struct strlist *out);
/* Is it the address of another machine? Nothing ever comes to a host there. (Names and wildcards are not.) */
bool apache_is_foreign(const char *address);
/* Has every host that is named for it on this port foreign addresses alone? Then the first of them, else NULL. */
struct apache_host *apache_unreachable(const struct apache_model *model, const char *name, int port,
                                       const char *ignore);
bool apache_refuse_unreachable(const struct apache_model *model, const struct apache_host *host,
                               struct err *err);
/* Does a ServerAlias (or ServerName), with its * and ?, stand for the name? */
bool apache_alias_matches(const char *alias, const char *name);
/* Its ServerName, or that which it has from the main server; NULL = none. */
const char *apache_host_name(const struct apache_host *host);
bool apache_host_has(const struct apache_host *host, const char *name);
bool apache_host_on(const struct apache_host *host, const char *address, int port);
/* The first port of its own that something listens on: 80 before all others; 0 = none. */
int apache_host_port(const struct apache_model *model, const struct apache_host *host);
bool apache_host_is_tls(const struct apache_model *model, const struct apache_host *host);
const struct apache_file *apache_host_file(const struct apache_model *model, const struct apache_host *host);
const struct apache_node *apache_host_node(const struct apache_model *model, const struct apache_host *host);
/* "FILE:LINE" for people; the caller frees. */
char *apache_host_where(const struct apache_model *model, const struct apache_host *host);
/* The last directive of this name in the host itself (not in its sections); NULL = none. */
const struct apache_line *apache_host_line(const struct apache_model *model, const struct apache_host *host,
                                           const char *name);
/* The first line of a host, and the one after its last. */
void apache_host_span(const struct apache_model *model, const struct apache_host *host, size_t *from,
                      size_t *to);
/* The block of ours around a node, of this kind (NULL: of any); NULL = none. */
const struct apache_block *apache_block_around(const struct apache_file *file, size_t node, const char *kind);
/* Does the node lie in a block that we put into a host? */
bool apache_is_ours(const struct apache_file *file, size_t node);

/* -- redirects -- */

struct apache_redirect {
    char host[256];  /* of the target, lower case; "" when it follows the request */
    bool everything; /* every path */
    bool rewrite;    /* a RewriteRule: its conditions count as well */
};
/* Does a directive send the client to a URL of this scheme ("https://")? */
bool apache_redirects(const char *name, const char *args, const char *scheme, struct apache_redirect *out);
/* Does this RewriteCond hold for every plain request, but perhaps that for a challenge? */
bool apache_condition_is_plain(const char *args);
/* Does the host send every request to that scheme? */
bool apache_host_redirects(const struct apache_model *model, const struct apache_host *host,
                           const char *scheme);

#endif
