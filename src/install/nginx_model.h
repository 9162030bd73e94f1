/*
 * nginx_model.h - nginx's servers, as nginx.c reads them and nginx_edit.c changes them. Internal to install/.
 */
#ifndef TLSUP_INSTALL_NGINX_MODEL_H
#define TLSUP_INSTALL_NGINX_MODEL_H

#include "driver.h"
#include "nginx_lexer.h"

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
};

/* What sites.priv points to. */
struct nginx_model {
    struct nginx_config config;
    const struct nginx_node *http; /* NULL when there is none */
    struct nginx_server **servers; /* one for each site, in the same order */
    size_t n_servers;
};

static inline const struct nginx_server *nginx_server_of(const struct site *site)
{
    return site->priv;
}
static inline const struct nginx_model *nginx_model_of(const struct sites *sites)
{
    return sites->priv;
}

/* Read the configuration into the model. Directives inside marks with an id of `ignore` (NULL = none) do not
 * count. */
MUST_CHECK bool nginx_model_read(const struct web *web, const struct nginx_reader *reader, const char *ignore,
                                 struct sites *out, struct err *err);
/* Fill the sites anew from the same parse, after marks were set ignored. */
void nginx_model_refresh(const struct web *web, struct sites *sites);

/* The first parameter of `listen`. False: not TCP (unix:), or not to be understood. */
bool nginx_parse_address(const char *text, struct nginx_listen *listen);
/* Does this server listen there? NULL = no. */
const struct nginx_listen *nginx_listen_at(const struct nginx_server *server, const char *address, int port);

bool nginx_edit_challenge(const struct web *web, const struct sites *sites, const struct strlist *names,
                          const char *thumbprint, struct txn *txn, struct err *err);
bool nginx_edit_https(const struct web *web, const struct sites *sites, const struct web_https *https,
                      struct txn *txn, struct err *err);

#endif
