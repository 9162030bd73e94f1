/*
 * nginx_model.h - nginx's servers, as they are read and changed. Internal to install/.
 */
#ifndef TLSUP_INSTALL_NGINX_MODEL_H
#define TLSUP_INSTALL_NGINX_MODEL_H

#include "driver.h"
#include "nginx_lexer.h"

enum {
    NGINX_HTTP_PORT = 80,
    NGINX_HTTPS_PORT = 443,
};

/* One `listen` of a TCP address. */
struct nginx_listen {
    char address[64]; /* "*", "192.0.2.1", "[2001:db8::1]", a host name */
    int port, port_last;
    bool ssl, http2, proxy_protocol, default_server;
    bool dual_stack; /* ipv6only=off */
    bool ipv6only_set;
    bool implicit;                 /* not written: the server has no listen at all */
    const struct nginx_node *node; /* NULL when implicit */
};

/* What a server does with every request. */
enum nginx_redirect {
    REDIRECT_NONE,
    REDIRECT_HTTPS_SAME,  /* to https on the same name: with 443 in the same block it would be a loop */
    REDIRECT_HTTPS_OTHER, /* to https on another name */
    REDIRECT_HTTP,        /* to http */
    REDIRECT_OTHER,
    REDIRECT_REFUSES, /* answers an error */
    REDIRECT_CLOSES,  /* 444: closes the connection */
};

/* What site.priv points to. */
struct nginx_server {
    const struct nginx_node *node;
    struct nginx_listen *listens;
    size_t n_listens;
    enum nginx_redirect redirect;
    const char *enabler; /* of a disabled site: the pattern that would bring it */
};

/* All that is said of one socket by the servers that listen on it. */
struct nginx_socket {
    char address[64];
    int port;
    bool ssl, http2, proxy_protocol, dual_stack;
    bool flagged;          /* one of them says default_server */
    size_t first;          /* the site that names it first */
    size_t default_server; /* the site that answers for names that nobody has */
};

/* Who has a name on one socket. */
struct nginx_named {
    size_t socket;
    size_t site; /* NGINX_NOBODY: the name is noted, but nginx ignores it where it is said */
    size_t next; /* the next one of this name: index + 1, 0 = none */
};
#define NGINX_NOBODY ((size_t)-1)

/* What sites.priv points to. */
struct nginx_model {
    struct nginx_config config;
    const struct nginx_node *http;    /* NULL when there is none */
    struct nginx_nodes http_settings; /* all of the http level but the servers, which may be many */
    struct nginx_server **servers;    /* one for each site, in the same order */
    size_t n_servers;
    struct nginx_socket *sockets; /* in order of appearance */
    size_t n_sockets;
    struct nginx_index by_socket; /* "80 *": in sockets */
    struct nginx_index by_name;   /* a name, a wildcard: the first of its chain in named */
    struct nginx_named *named;
    size_t n_named;
    size_t *regexes; /* sites with a regex among their names */
    size_t n_regexes;
    struct strlist enablers; /* of disabled sites: the patterns of the includes that would bring them */
};

static inline const struct nginx_server *nginx_server_of(const struct site *site)
{
    return site->priv;
}
static inline const struct nginx_model *nginx_model_of(const struct sites *sites)
{
    return sites->priv;
}

/* -- nginx_model.c -- */

/* Read the configuration into the model; `known` may be what was read of it before, or NULL. Directives
 * inside marks with an id of `ignore` (NULL = none) do not count. */
MUST_CHECK bool nginx_model_read(const struct web *web, const struct txn *txn, const struct sites *known,
                                 const char *ignore, struct sites *out, struct err *err);
/* Fill the sites anew from the same parse, after marks were set ignored. */
void nginx_model_refresh(const struct web *web, struct sites *sites);

/* The sites of files that nothing includes, each with the pattern that would bring it. Files that cannot be
 * read or parsed are left out. */
void nginx_model_read_disabled(const struct web *web, const struct strlist *paths,
                               const struct strlist *enablers, struct sites *out);
/* The first directive of the http level with this name, or NULL. */
const struct nginx_node *nginx_http_child(const struct nginx_model *model, const char *name);
/* NULL: nobody listens there. */
const struct nginx_socket *nginx_socket_at(const struct sites *sites, const char *address, int port);
/* As sites_addresses(). */
void nginx_addresses(const struct sites *sites, int port, struct strlist *out);

/* The first parameter of `listen`. False: not TCP (unix:), or not to be understood. */
bool nginx_parse_address(const char *text, struct nginx_listen *listen);
/* Does this server listen there? NULL = no. */
const struct nginx_listen *nginx_listen_at(const struct nginx_server *server, const char *address, int port);

/* -- nginx_names.c -- */

/* How well the server's names fit: the better of two is the greater. 0 = not at all, NGINX_FIT_REGEX = by a
 * regular expression alone. */
enum { NGINX_FIT_REGEX = 1 };
int nginx_site_fit(const struct site *site, const char *name);
/* As in struct web_driver. */
const struct site *nginx_owner_at(const struct sites *sites, const char *name, const char *address, int port,
                                  bool explicit_only);
const struct site *nginx_owner(const struct sites *sites, const char *name, int port, bool explicit_only);

/* -- nginx_redirect.c -- */

/* What the server does with a request for its names, whatever the path. */
enum nginx_redirect nginx_server_redirect(const struct nginx_config *config, const struct site *site,
                                          const struct nginx_node *server);
/* A location that takes every path. */
bool nginx_is_main_location(const struct nginx_node *node);

/* The server that may have the name or not, by a regular expression (`pattern`, borrowed) that cannot be
 * understood; NULL = it is clear who has it. */
const struct site *nginx_unclear_owner(const struct sites *sites, const char *name, const char *address,
                                       int port, const char **pattern);
/* Fill the index of names; the sites are complete. */
void nginx_names_index(struct sites *sites);

/* -- nginx_view.c -- */

/* As in struct web_driver. */
bool nginx_compare(const struct web *web, const struct sites *sites, struct err *err);
bool nginx_read_disabled(const struct web *web, const struct sites *sites, struct sites *out,
                         struct err *err);
char *nginx_enable_command(const struct web *web, const struct site *site);

/* -- nginx.c -- */

enum { NGINX_ARGV_MAX = 10 };
/* The program with one option, and what says which configuration. Ends with NULL. */
void nginx_argv(const struct web *web, const char *option, const char *argv[NGINX_ARGV_MAX]);

/* -- the edits -- */

bool nginx_edit_challenge(const struct web *web, const struct sites *sites, const struct strlist *names,
                          const char *thumbprint, struct txn *txn, struct err *err);
bool nginx_edit_https(const struct web *web, const struct sites *sites, const struct web_https *https,
                      struct txn *txn, struct err *err);

#endif
