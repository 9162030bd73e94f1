/*
 * nginx_sockets.c - on which addresses port 443 is opened, and how.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>

#include "nginx_edit.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum { HTTP2_DIRECTIVE_SINCE = 1025001 };

static const char *wildcard_of(const char *address)
{
    return address[0] == '[' ? "[::]" : "*";
}

static void add_once(struct strlist *list, const char *text)
{
    if (!strlist_has(list, text)) {
        strlist_add(list, text);
    }
}

/* The 443 sockets of narrower addresses in the family of a wildcard. */
static void narrow_sockets(const struct sites *sites, const char *wildcard, struct strlist *out)
{
    AUTO_STRLIST secure = STRLIST_INIT;
    nginx_addresses(sites, NGINX_HTTPS_PORT, &secure);
    for (size_t i = 0; i < secure.n; i++) {
        if (strcmp(wildcard_of(secure.v[i]), wildcard) == 0 && strcmp(secure.v[i], wildcard) != 0) {
            strlist_add(out, secure.v[i]);
        }
    }
}

/* A wildcard that is there already, and the narrower sockets on which visitors of our port 80 would otherwise
 * miss us. */
static void join_wildcard(const struct sites *sites, const char *wildcard, const struct strlist *narrow,
                          struct strlist *out)
{
    add_once(out, wildcard);
    for (size_t i = 0; i < narrow->n; i++) {
        if (!site_address_is_loopback(narrow->v[i]) &&
            nginx_socket_at(sites, narrow->v[i], NGINX_HTTP_PORT) == NULL) {
            add_once(out, narrow->v[i]);
        }
    }
}

/* The first server that has 443 there. */
static const struct site *site_at(const struct nginx_plan *plan, const char *address)
{
    const struct sites *sites = &plan->editor->sites;
    return &sites->v[nginx_socket_at(sites, address, NGINX_HTTPS_PORT)->first];
}

/* No wildcard, but narrower sockets: a running server cannot bind the wildcard beside them (and its test does
 * not notice), so ours joins those. */
static bool join_narrow(const struct nginx_plan *plan, const struct strlist *narrow, struct strlist *out)
{
    bool any = false;
    for (size_t i = 0; i < narrow->n; i++) {
        if (!site_address_is_loopback(narrow->v[i])) {
            add_once(out, narrow->v[i]);
            any = true;
        }
    }
    return any || nginx_refuse_at(
                      plan, site_at(plan, narrow->v[0]),
                      "Let that server listen on plain 443 or on another port, restart nginx, and try again.",
                      "this server has port 443 on %s alone, so that nginx cannot open it on all addresses",
                      narrow->v[0]);
}

/* Port 443 for a port-80 address. Where only the wildcard has 443, a socket of the narrower address would
 * take all its visitors from the other servers: then ours joins the wildcard. */
static bool add_secure(const struct nginx_plan *plan, const char *address, struct strlist *out)
{
    const struct sites *sites = &plan->editor->sites;
    const char *wildcard = wildcard_of(address);
    AUTO_STRLIST narrow = STRLIST_INIT;
    if (strcmp(address, wildcard) != 0) {
        bool join = nginx_socket_at(sites, address, NGINX_HTTPS_PORT) == NULL &&
                    nginx_socket_at(sites, wildcard, NGINX_HTTPS_PORT) != NULL;
        add_once(out, join ? wildcard : address);
        return true;
    }
    narrow_sockets(sites, wildcard, &narrow);
    if (narrow.n > 0 && nginx_socket_at(sites, wildcard, NGINX_HTTPS_PORT) == NULL) {
        return join_narrow(plan, &narrow, out);
    }
    join_wildcard(sites, wildcard, &narrow, out);
    return true;
}

/* "[::]:80 ipv6only=off" takes IPv4 too: so must 443, by one new socket (`dual_stack`), or by two where
 * others are there. */
static bool add_dual_stack(const struct nginx_plan *plan, struct strlist *out, bool *dual_stack)
{
    const struct sites *sites = &plan->editor->sites;
    const struct nginx_socket *v6 = nginx_socket_at(sites, "[::]", NGINX_HTTPS_PORT);
    AUTO_STRLIST all = STRLIST_INIT;
    nginx_addresses(sites, NGINX_HTTPS_PORT, &all);
    *dual_stack = all.n == 0;
    return add_secure(plan, "[::]", out) &&
           (*dual_stack || (v6 != NULL && v6->dual_stack) || add_secure(plan, "*", out));
}

static bool has_port80(const struct nginx_listen *listen)
{
    return listen->port <= NGINX_HTTP_PORT && listen->port_last >= NGINX_HTTP_PORT;
}

/* The addresses on which a server gets 443: those of its port 80, or else of its other plain ports. */
bool nginx_secure_addresses(const struct nginx_plan *plan, const struct nginx_server *server,
                            struct strlist *out, bool *dual_stack)
{
    bool on_80 = false;
    *dual_stack = false;
    for (size_t i = 0; i < server->n_listens; i++) {
        on_80 |= has_port80(&server->listens[i]) && !server->listens[i].ssl;
    }
    for (size_t i = 0; i < server->n_listens; i++) {
        const struct nginx_listen *listen = &server->listens[i];
        if (listen->ssl || (on_80 && !has_port80(listen))) {
            continue;
        }
        if (listen->dual_stack ? !add_dual_stack(plan, out, dual_stack)
                               : !add_secure(plan, listen->address, out)) {
            return false;
        }
    }
    return true;
}

static bool takes_443(const struct nginx_node *node)
{
    struct nginx_listen parsed = {0};
    if (!nginx_is(node, "listen") || node->n_args < 2 || !nginx_parse_address(node->args[1], &parsed)) {
        return false;
    }
    for (size_t i = 2; i < node->n_args; i++) {
        if (strcmp(node->args[i], "udp") == 0) {
            return false;
        }
    }
    return parsed.port <= NGINX_HTTPS_PORT && parsed.port_last >= NGINX_HTTPS_PORT &&
           !site_address_is_loopback(parsed.address);
}

/* A `listen` of 443 in a stream block holds the same socket: nginx's test does not notice, the reload fails.
 */
static bool check_stream(const struct nginx_plan *plan)
{
    const struct nginx_config *config = nginx_config_of(plan->editor);
    const struct nginx_node *stream = nginx_child(config, &config->files[0]->root, "stream");
    AUTO_NODES servers = {0};
    if (stream != NULL) {
        nginx_children(config, stream, false, &servers);
    }
    for (size_t i = 0; i < servers.n; i++) {
        AUTO_NODES body = {0};
        nginx_children(config, servers.v[i], false, &body);
        for (size_t k = 0; k < body.n; k++) {
            if (!takes_443(body.v[k])) {
                continue;
            }
            const char *path = config->files[body.v[k]->file]->path;
            err_set(plan->editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path,
                    "%s:%zu: a stream server has port 443, so no website can listen there", path,
                    body.v[k]->line);
            return err_advise(
                plan->editor->err,
                "Let the website listen, with ssl, on the port to which the stream server passes its "
                "connections; then try again.");
        }
    }
    return true;
}

/* Which of the servers is it? n: none of those that are read. */
static size_t index_of(const struct sites *sites, const struct nginx_server *server)
{
    size_t i = 0;
    while (i < sites->n && nginx_server_of(&sites->v[i]) != server) {
        i++;
    }
    return i;
}

static size_t users_of(const struct sites *sites, const struct nginx_node *listen)
{
    size_t n = 0;
    for (size_t i = 0; i < sites->n; i++) {
        const struct nginx_server *server = nginx_server_of(&sites->v[i]);
        for (size_t k = 0; k < server->n_listens; k++) {
            n += server->listens[k].node == listen;
        }
    }
    return n;
}

const struct nginx_node *nginx_default_line(const struct nginx_plan *plan, const struct nginx_socket *socket)
{
    const struct sites *sites = &plan->editor->sites;
    const struct nginx_server *theirs = nginx_server_of(&sites->v[socket->default_server]);
    const struct nginx_listen *listen = nginx_listen_at(theirs, socket->address, socket->port);
    bool numeric = strcmp(socket->address, "*") == 0 || socket->address[0] == '[' ||
                   strspn(socket->address, "0123456789.") == strlen(socket->address);
    if (socket->flagged || listen == NULL || listen->node == NULL || listen->port != listen->port_last ||
        !numeric || nginx_mark_around(nginx_config_of(plan->editor), listen->node) != NULL ||
        users_of(sites, listen->node) != 1) {
        return NULL;
    }
    return listen->node;
}

/* A server of ours before the one that is the default only by its place: that one must say it from now on. */
static void keep_default(const struct nginx_plan *plan, const struct nginx_server *server,
                         const struct nginx_socket *socket)
{
    const struct nginx_node *line = nginx_default_line(plan, socket);
    if (line != NULL && index_of(&plan->editor->sites, server) < socket->default_server) {
        nginx_edit_add(plan->editor, line->file, line->end - 1, 0, " default_server");
    }
}

static bool listen_line(const struct nginx_plan *plan, const char *address, const struct nginx_server *server,
                        bool dual_stack, struct nginx_lines *lines)
{
    const struct web *web = plan->editor->web;
    const struct sites *sites = &plan->editor->sites;
    const struct nginx_socket *now = nginx_socket_at(sites, address, NGINX_HTTPS_PORT);
    const struct nginx_socket *plain = nginx_socket_at(sites, address, NGINX_HTTP_PORT);
    if (nginx_listen_at(server, address, NGINX_HTTPS_PORT) != NULL) {
        return true;
    }
    if (now != NULL && !now->ssl) {
        return nginx_refuse_at(
            plan, &sites->v[now->first],
            "Add \"ssl\" to that listen line, with a certificate, or take the line out; then try again.",
            "this server listens on port 443 without TLS");
    }
    if (now == NULL && !check_stream(plan)) {
        return false;
    }
    if (now != NULL) {
        keep_default(plan, server, now);
    }
    /* Options belong to the socket: as it is when it is there, else as its port-80 sister. */
    bool http2 = now != NULL ? now->http2 : web->has_http2 && web->version_number < HTTP2_DIRECTIVE_SINCE;
    bool proxy = now != NULL ? now->proxy_protocol : plain != NULL && plain->proxy_protocol;
    AUTO_BUF word = BUF_INIT;
    nginx_listen_word(address, NGINX_HTTPS_PORT, &word);
    nginx_line(lines, "listen %s ssl%s%s%s;", buf_str(&word), http2 ? " http2" : "",
               proxy ? " proxy_protocol" : "",
               dual_stack && strcmp(address, "[::]") == 0 ? " ipv6only=off" : "");
    return true;
}

/* A server of all addresses that gets 443 on some alone. */
static void warn_of_narrow(const struct nginx_plan *plan, const struct nginx_server *server,
                           const struct strlist *addresses)
{
    for (size_t i = 0; i < server->n_listens; i++) {
        const char *wildcard = server->listens[i].address;
        if (strcmp(wildcard_of(wildcard), wildcard) != 0 || server->listens[i].dual_stack ||
            strlist_has(addresses, wildcard)) {
            continue;
        }
        AUTO_STRLIST narrow = STRLIST_INIT;
        narrow_sockets(&plan->editor->sites, wildcard, &narrow);
        const struct site *site = narrow.n > 0 ? site_at(plan, narrow.v[0]) : NULL;
        if (site != NULL) {
            log_warn(
                "https is opened on %s only, where %s:%zu has port 443: nginx cannot open it on all "
                "addresses "
                "while it runs. For the others change that line to \"listen 443 ssl;\" and restart nginx",
                narrow.v[0], site->file, nginx_line_now(plan->editor, site));
            return;
        }
    }
}

bool nginx_listen_lines(const struct nginx_plan *plan, const struct nginx_server *server,
                        const struct strlist *also, struct nginx_lines *lines)
{
    const struct web *web = plan->editor->web;
    const struct sites *sites = &plan->editor->sites;
    AUTO_STRLIST addresses = STRLIST_INIT;
    bool dual_stack, socket_http2 = false;
    if (!nginx_secure_addresses(plan, server, &addresses, &dual_stack)) {
        return false;
    }
    warn_of_narrow(plan, server, &addresses);
    for (size_t i = 0; also != NULL && i < also->n; i++) {
        add_once(&addresses, also->v[i]);
    }
    if (server->n_listens == 1 && server->listens[0].implicit) {
        nginx_line(lines, "listen 80;");
    }
    for (size_t i = 0; i < addresses.n; i++) {
        if (!listen_line(plan, addresses.v[i], server, dual_stack, lines)) {
            return false;
        }
        const struct nginx_socket *socket = nginx_socket_at(sites, addresses.v[i], NGINX_HTTPS_PORT);
        socket_http2 |= socket != NULL && socket->http2;
    }
    if (web->has_http2 && web->version_number >= HTTP2_DIRECTIVE_SINCE && !socket_http2 &&
        !nginx_said(plan, server->node, "http2")) {
        nginx_line(lines, "http2 on;");
    }
    return true;
}
