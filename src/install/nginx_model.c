/*
 * nginx_model.c - the servers of an nginx configuration.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "nginx_model.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

static void copy(char *to, size_t size, const char *text)
{
    snprintf(to, size, "%s", text);
}

/* ---- listen ---- */

static bool all_digits(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i])) {
            return false;
        }
    }
    return len > 0;
}

/* "80" or "8000-8010". */
static bool parse_ports(const char *text, struct nginx_listen *listen)
{
    const char *dash = strchr(text, '-');
    size_t first = dash != NULL ? (size_t)(dash - text) : strlen(text);
    if (!all_digits(text, first) || first > 5 ||
        (dash != NULL && (!all_digits(dash + 1, strlen(dash + 1)) || strlen(dash) > 6))) {
        return false;
    }
    listen->port = atoi(text);
    listen->port_last = dash != NULL ? atoi(dash + 1) : listen->port;
    return listen->port > 0 && listen->port_last <= 65535 && listen->port_last >= listen->port;
}

/* One spelling for each address: 0.0.0.0 is "*", IPv6 in its short form. */
static void normalise_address(const char *text, size_t len, struct nginx_listen *listen)
{
    AUTO_FREE char *host = mem_ndup(text, len);
    char shown[INET6_ADDRSTRLEN];
    struct in6_addr v6;
    if (host[0] == '[') {
        AUTO_FREE char *inner = mem_ndup(host + 1, len >= 2 ? len - 2 : 0);
        bool valid =
            inet_pton(AF_INET6, inner, &v6) == 1 && inet_ntop(AF_INET6, &v6, shown, sizeof shown) != NULL;
        snprintf(listen->address, sizeof listen->address, "[%s]", valid ? shown : inner);
    } else if (strcmp(host, "0.0.0.0") == 0) {
        copy(listen->address, sizeof listen->address, "*");
    } else if (strcmp(host, "localhost") == 0) {
        copy(listen->address, sizeof listen->address, "127.0.0.1");
    } else {
        copy(listen->address, sizeof listen->address, host);
    }
}

bool nginx_parse_address(const char *text, struct nginx_listen *listen)
{
    if (strncmp(text, "unix:", 5) == 0) {
        return false;
    }
    const char *host_end = text[0] == '[' ? strchr(text, ']') : strchr(text, ':');
    if (text[0] == '[') {
        if (host_end == NULL) {
            return false;
        }
        host_end++;
    } else if (host_end == NULL) {
        if (parse_ports(text, listen)) {
            copy(listen->address, sizeof listen->address, "*");
            return true;
        }
        host_end = text + strlen(text);
    }
    normalise_address(text, (size_t)(host_end - text), listen);
    listen->port = listen->port_last = NGINX_HTTP_PORT;
    return *host_end == '\0' || (*host_end == ':' && parse_ports(host_end + 1, listen));
}

static void add_listen(struct nginx_server *server, const struct nginx_listen *listen)
{
    server->listens = mem_resize(server->listens, server->n_listens + 1, sizeof server->listens[0]);
    server->listens[server->n_listens++] = *listen;
}

static void read_listen(const struct nginx_node *node, bool ssl_on, struct nginx_server *server)
{
    struct nginx_listen listen = {.node = node, .ssl = ssl_on};
    bool quic = false;
    if (node->n_args < 2 || !nginx_parse_address(node->args[1], &listen)) {
        return;
    }
    for (size_t i = 2; i < node->n_args; i++) {
        const char *word = node->args[i];
        listen.ssl |= strcmp(word, "ssl") == 0;
        listen.http2 |= strcmp(word, "http2") == 0;
        listen.proxy_protocol |= strcmp(word, "proxy_protocol") == 0;
        listen.default_server |= strcmp(word, "default_server") == 0 || strcmp(word, "default") == 0;
        listen.ipv6only_set |= strncmp(word, "ipv6only=", 9) == 0;
        listen.dual_stack |= strcmp(word, "ipv6only=off") == 0;
        quic |= strcmp(word, "quic") == 0 || strcmp(word, "http3") == 0;
    }
    if (!quic) {
        add_listen(server, &listen); /* QUIC is UDP: another socket, not ours to think about */
    }
}

static bool is_on(const struct nginx_node *node)
{
    return node != NULL && node->n_args == 2 && strcasecmp(node->args[1], "on") == 0;
}

const struct nginx_node *nginx_http_child(const struct nginx_model *model, const char *name)
{
    for (size_t i = 0; i < model->http_settings.n; i++) {
        if (nginx_is(model->http_settings.v[i], name)) {
            return model->http_settings.v[i];
        }
    }
    return NULL;
}

static void read_listens(const struct nginx_model *model, const struct nginx_nodes *body,
                         struct nginx_server *server)
{
    bool any = false;
    bool ssl_on =
        is_on(nginx_child(&model->config, server->node, "ssl")) || is_on(nginx_http_child(model, "ssl"));
    for (size_t i = 0; i < body->n; i++) {
        if (nginx_is(body->v[i], "listen")) {
            any = true;
            read_listen(body->v[i], ssl_on, server);
        }
    }
    if (!any) {
        struct nginx_listen listen = {
            .address = "*", .port = NGINX_HTTP_PORT, .port_last = NGINX_HTTP_PORT, .implicit = true};
        add_listen(server, &listen);
    }
}

const struct nginx_listen *nginx_listen_at(const struct nginx_server *server, const char *address, int port)
{
    for (size_t i = 0; i < server->n_listens; i++) {
        const struct nginx_listen *listen = &server->listens[i];
        if (port >= listen->port && port <= listen->port_last && strcmp(listen->address, address) == 0) {
            return listen;
        }
    }
    return NULL;
}

/* ---- read ---- */

static void lower(char *text)
{
    for (; *text != '\0'; text++) {
        *text = (char)tolower((unsigned char)*text);
    }
}

static void read_names(const struct nginx_nodes *body, struct strlist *names)
{
    for (size_t i = 0; i < body->n; i++) {
        const struct nginx_node *node = body->v[i];
        for (size_t k = 1; nginx_is(node, "server_name") && k < node->n_args; k++) {
            AUTO_FREE char *name = mem_dup(node->args[k]);
            if (name[0] != '~') {
                lower(name); /* a regex keeps its case: \D is not \d */
            }
            if (!strlist_has(names, name)) {
                strlist_add(names, name);
            }
        }
    }
}

static char *full_path(const struct nginx_node *node, const char *base)
{
    if (node == NULL || node->n_args < 2) {
        return mem_dup("");
    }
    const char *path = node->args[1];
    return path[0] == '/' || path[0] == '$' || strchr(path, ':') != NULL ? mem_dup(path)
                                                                         : fs_join(base, path);
}

static const struct nginx_node *first_of(const struct nginx_nodes *body, const char *name)
{
    for (size_t i = 0; i < body->n; i++) {
        if (nginx_is(body->v[i], name)) {
            return body->v[i];
        }
    }
    return NULL;
}

/* Of the server, or of its `location /`, or of http. */
static const struct nginx_node *find_root(const struct nginx_model *model, const struct nginx_nodes *body)
{
    const struct nginx_node *found = first_of(body, "root");
    for (size_t i = 0; i < body->n && found == NULL; i++) {
        found = nginx_is_main_location(body->v[i]) ? nginx_child(&model->config, body->v[i], "root") : NULL;
    }
    return found != NULL ? found : nginx_http_child(model, "root");
}

static void add_site_listens(const struct nginx_server *server, struct site *site)
{
    for (size_t i = 0; i < server->n_listens; i++) {
        const struct nginx_listen *listen = &server->listens[i];
        for (int port = listen->port; port <= listen->port_last; port++) {
            site_add_listen(site, listen->address, port, listen->ssl, listen->default_server);
        }
    }
}

/* ---- sockets ---- */

static struct nginx_socket *socket_of(struct nginx_model *model, const char *address, int port, size_t site)
{
    char key[80];
    snprintf(key, sizeof key, "%d %s", port, address);
    const size_t *known = nginx_index_get(&model->by_socket, key);
    if (known != NULL) {
        return &model->sockets[*known];
    }
    nginx_index_put(&model->by_socket, key, model->n_sockets);
    if ((model->n_sockets & (model->n_sockets - 1)) == 0) {
        size_t room = model->n_sockets == 0 ? 1 : model->n_sockets * 2;
        model->sockets = mem_resize(model->sockets, room, sizeof model->sockets[0]);
    }
    struct nginx_socket *socket = &model->sockets[model->n_sockets++];
    *socket = (struct nginx_socket){.port = port, .first = site, .default_server = site};
    copy(socket->address, sizeof socket->address, address);
    return socket;
}

static void add_sockets(struct nginx_model *model, const struct nginx_server *server, size_t site)
{
    for (size_t i = 0; i < server->n_listens; i++) {
        const struct nginx_listen *listen = &server->listens[i];
        for (int port = listen->port; port <= listen->port_last; port++) {
            struct nginx_socket *socket = socket_of(model, listen->address, port, site);
            if (listen->default_server && !socket->flagged) {
                socket->flagged = true;
                socket->default_server = site;
            }
            socket->ssl |= listen->ssl;
            socket->http2 |= listen->http2;
            socket->proxy_protocol |= listen->proxy_protocol;
            socket->dual_stack |= listen->dual_stack;
        }
    }
}

const struct nginx_socket *nginx_socket_at(const struct sites *sites, const char *address, int port)
{
    const struct nginx_model *model = nginx_model_of(sites);
    char key[80];
    snprintf(key, sizeof key, "%d %s", port, address);
    const size_t *known = nginx_index_get(&model->by_socket, key);
    return known != NULL ? &model->sockets[*known] : NULL;
}

void nginx_addresses(const struct sites *sites, int port, struct strlist *out)
{
    static const char *const wildcards[] = {"*", "[::]"};
    const struct nginx_model *model = nginx_model_of(sites);
    for (size_t i = 0; i < COUNT_OF(wildcards); i++) {
        if (nginx_socket_at(sites, wildcards[i], port) != NULL) {
            strlist_add(out, wildcards[i]);
        }
    }
    for (size_t i = 0; i < model->n_sockets; i++) {
        const struct nginx_socket *socket = &model->sockets[i];
        if (socket->port == port && strcmp(socket->address, "*") != 0 &&
            strcmp(socket->address, "[::]") != 0) {
            strlist_add(out, socket->address);
        }
    }
}

/* ---- servers ---- */

static void add_server(const struct web *web, const struct nginx_node *node, struct sites *out)
{
    struct nginx_model *model = out->priv;
    AUTO_NODES body = {0};
    struct nginx_server *server = mem_alloc(sizeof *server);
    struct site *site = sites_add(out);
    if ((model->n_servers & (model->n_servers - 1)) == 0) {
        size_t room = model->n_servers == 0 ? 1 : model->n_servers * 2;
        model->servers = mem_resize(model->servers, room, sizeof(struct nginx_server *));
    }
    model->servers[model->n_servers++] = server;
    nginx_children(&model->config, node, false, &body);
    server->node = node;
    site->priv = server;
    site->enabled = true;
    site->file = mem_dup(model->config.files[node->file]->path);
    site->line = node->line;
    site->begin = node->begin;
    site->end = node->end;
    read_names(&body, &site->names);
    read_listens(model, &body, server);
    add_site_listens(server, site);
    add_sockets(model, server, out->n - 1);
    site->root = full_path(find_root(model, &body), web->prefix);
    site->certificate = full_path(first_of(&body, "ssl_certificate"), model->config.dir);
    server->redirect = nginx_server_redirect(&model->config, site, node);
    site->redirects_only =
        server->redirect == REDIRECT_HTTPS_SAME || server->redirect == REDIRECT_HTTPS_OTHER;
}

static void free_servers(struct nginx_model *model)
{
    for (size_t i = 0; i < model->n_servers; i++) {
        free(model->servers[i]->listens);
        free(model->servers[i]);
    }
    free(model->servers);
    free(model->sockets);
    free(model->named);
    free(model->regexes);
    nginx_nodes_clear(&model->http_settings);
    nginx_index_clear(&model->by_socket);
    nginx_index_clear(&model->by_name);
    model->servers = NULL;
    model->sockets = NULL;
    model->named = NULL;
    model->regexes = NULL;
    model->n_servers = model->n_sockets = model->n_named = model->n_regexes = 0;
}

static void free_model(void *priv)
{
    struct nginx_model *model = priv;
    free_servers(model);
    strlist_clear(&model->enablers);
    nginx_config_clear(&model->config);
    free(model);
}

static bool is_server(const struct nginx_node *node)
{
    return nginx_is(node, "server") && node->block;
}

static void add_servers(const struct web *web, const struct nginx_node *block, struct sites *out)
{
    struct nginx_model *model = out->priv;
    AUTO_NODES body = {0};
    nginx_children(&model->config, block, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        if (!is_server(body.v[i])) {
            nginx_nodes_add(&model->http_settings, body.v[i]);
        }
    }
    for (size_t i = 0; i < body.n; i++) {
        if (is_server(body.v[i])) {
            add_server(web, body.v[i], out);
        }
    }
}

static void fill(const struct web *web, struct sites *out)
{
    struct nginx_model *model = out->priv;
    AUTO_NODES main = {0};
    nginx_children(&model->config, &model->config.files[0]->root, false, &main);
    model->http = NULL;
    for (size_t i = 0; i < main.n && model->http == NULL; i++) {
        model->http = nginx_is(main.v[i], "http") && main.v[i]->block ? main.v[i] : NULL;
    }
    if (model->http != NULL) {
        add_servers(web, model->http, out);
    }
    nginx_names_index(out);
}

void nginx_model_read_disabled(const struct web *web, const struct strlist *paths,
                               const struct strlist *enablers, struct sites *out)
{
    struct nginx_model *model = mem_alloc(sizeof *model);
    sites_clear(out);
    out->priv = model;
    out->priv_free = free_model;
    model->config.dir = fs_dirname(web->conf);
    strlist_copy(&model->enablers, enablers);
    for (size_t i = 0; i < paths->n; i++) {
        size_t before = out->n;
        nginx_config_add(&model->config, paths->v[i]);
        add_servers(web, &model->config.files[i]->root, out);
        for (size_t k = before; k < out->n; k++) {
            out->v[k].enabled = false;
            model->servers[k]->enabler = model->enablers.v[i];
        }
    }
    nginx_names_index(out);
}

void nginx_model_refresh(const struct web *web, struct sites *sites)
{
    struct nginx_model *model = sites->priv;
    sites->priv_free = NULL;
    sites_clear(sites);
    free_servers(model);
    sites->priv = model;
    sites->priv_free = free_model;
    fill(web, sites);
}

static void ignore_marks(struct nginx_config *config, const char *id)
{
    for (size_t f = 0; f < config->n_files; f++) {
        for (size_t i = 0; i < config->files[f]->n_marks; i++) {
            struct nginx_mark *mark = &config->files[f]->marks[i];
            mark->ignored = strcmp(mark->id, id) == 0;
        }
    }
}

bool nginx_model_read(const struct web *web, const struct txn *txn, const struct sites *known,
                      const char *ignore, struct sites *out, struct err *err)
{
    struct nginx_config config = NGINX_CONFIG_INIT;
    const struct nginx_config *before =
        known != NULL && known->priv != NULL ? &nginx_model_of(known)->config : NULL;
    if (!nginx_config_load(&config, web->conf, txn, before, err)) {
        return false;
    }
    if (ignore != NULL) {
        ignore_marks(&config, ignore);
    }
    struct nginx_model *model = mem_alloc(sizeof *model);
    model->config = config;
    sites_clear(out);
    out->priv = model;
    out->priv_free = free_model;
    fill(web, out);
    return true;
}
