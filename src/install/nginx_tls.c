/*
 * nginx_tls.c - how TLS is spoken: protocols and ciphers of the profile, session cache, HSTS.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "nginx_edit.h"
#include "tls_profile.h"
#include "tlsup/cert.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum {
    TLS13_BY_DEFAULT_SINCE = 1023004,
    TLS10_NOT_BY_DEFAULT_SINCE = 1027003,
    PROTOCOLS_BY_NAME_SINCE = 1029002, /* before, the default server of a socket decides for all of them */
};

#define HSTS_FIELD "Strict-Transport-Security"

static const struct nginx_node *http_child(const struct nginx_plan *plan, const char *name)
{
    return nginx_http_child(nginx_model_of(&plan->editor->sites), name);
}

static const struct tls_profile *profile_of(const struct nginx_plan *plan)
{
    return tls_profile_of(plan->https->profile, plan->editor->web->openssl_number);
}

/* ---- protocols and ciphers ---- */

/* What the profile says of a directive; NULL = nothing. */
static const char *profile_value(const struct nginx_plan *plan, const char *directive)
{
    const struct tls_profile *profile = profile_of(plan);
    if (strcmp(directive, "ssl_protocols") == 0) {
        return profile->nginx_protocols;
    }
    if (strcmp(directive, "ssl_ciphers") == 0) {
        return profile->ciphers;
    }
    if (strcmp(directive, "ssl_prefer_server_ciphers") == 0) {
        return profile->server_order ? "on" : "off";
    }
    return NULL;
}

/* Was a profile asked for that comes before what people wrote? */
static bool profile_insists(const struct nginx_plan *plan)
{
    return plan->https->profile != WEB_TLS_INTERMEDIATE;
}

bool nginx_tls_replaces(const struct nginx_plan *plan, const struct nginx_node *node)
{
    return profile_insists(plan) && profile_value(plan, node->args[0]) != NULL;
}

bool nginx_tls_check(const struct nginx_plan *plan, const struct site *site)
{
    const struct nginx_node *server = nginx_server_of(site)->node;
    AUTO_NODES body = {0};
    nginx_children(nginx_config_of(plan->editor), server, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        const struct nginx_node *node = body.v[i];
        if (node->file != server->file && nginx_tls_replaces(plan, node)) {
            return nginx_refuse_at(
                plan, site,
                "Take that line out of the included file, or leave the profile to it: --tls-profile "
                "intermediate changes nothing that is set already.",
                "the profile \"%s\" cannot be set here, since %s is set in %s (line %zu), which this "
                "server includes",
                web_tls_profile_name(plan->https->profile), node->args[0],
                nginx_file_of(plan->editor, node)->path, node->line);
        }
    }
    return true;
}

bool nginx_said(const struct nginx_plan *plan, const struct nginx_node *server, const char *directive)
{
    const struct nginx_config *config = nginx_config_of(plan->editor);
    return nginx_child(config, server, directive) != NULL || http_child(plan, directive) != NULL;
}

/* Distributions ship an http level that still allows TLS 1.0 and 1.1: inheriting those would be no favour. */
static bool allows_old_protocols(const struct nginx_plan *plan)
{
    static const char *const old[] = {"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"};
    const struct nginx_node *node = http_child(plan, "ssl_protocols");
    for (size_t i = 1; node != NULL && i < node->n_args; i++) {
        for (size_t k = 0; k < COUNT_OF(old); k++) {
            if (strcasecmp(node->args[i], old[k]) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Must the line stand in our block? */
static bool is_due(const struct nginx_plan *plan, const struct nginx_node *server, const char *directive)
{
    bool protocols = strcmp(directive, "ssl_protocols") == 0;
    if (profile_insists(plan) && profile_value(plan, directive) != NULL) {
        return true;
    }
    return !nginx_said(plan, server, directive) ||
           (protocols && allows_old_protocols(plan) &&
            nginx_child(nginx_config_of(plan->editor), server, directive) == NULL);
}

/* ---- stapling ---- */

static bool is_stapling_on(const struct nginx_node *node)
{
    return node != NULL && nginx_is(node, "ssl_stapling") && node->n_args == 2 &&
           strcasecmp(node->args[1], "on") == 0;
}

/* Does the new certificate say where its status can be asked? One that is not there yet: no, as those of
 * most authorities do not. */
static bool has_responder(const struct nginx_plan *plan)
{
    static const unsigned char oid[] = {0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01};
    AUTO_FREE char *path = mem_fmt("%s/fullchain.pem", plan->https->live_dir);
    struct err ignored = ERR_INIT;
    AUTO_BUF pem = BUF_INIT, der = BUF_INIT;
    AUTO_CHAIN *chain = NULL;
    return fs_read(path, NGINX_FILE_LIMIT_BYTES, &pem, &ignored) &&
           cert_chain_parse(buf_str(&pem), pem.len, path, &chain, &ignored) &&
           cert_chain_leaf_der(chain, &der, &ignored) &&
           memmem(buf_str(&der), der.len, oid, sizeof oid) != NULL;
}

bool nginx_stapling_ends(const struct nginx_plan *plan, const struct nginx_node *node)
{
    return is_stapling_on(node) && !has_responder(plan);
}

/* nginx warns for ever of a certificate whose status cannot be asked. */
static void stapling_line(const struct nginx_plan *plan, const struct nginx_node *server,
                          struct nginx_lines *lines)
{
    const struct nginx_node *own = nginx_child(nginx_config_of(plan->editor), server, "ssl_stapling");
    if (own != NULL && own->file != server->file && nginx_stapling_ends(plan, own)) {
        log_warn("%s:%zu turns on OCSP stapling, and the new certificate has none: nginx will warn of it "
                 "until that line is taken out",
                 nginx_file_of(plan->editor, own)->path, own->line);
        return;
    }
    if ((own == NULL || is_stapling_on(own)) && is_stapling_on(http_child(plan, "ssl_stapling")) &&
        !has_responder(plan)) {
        nginx_line(lines, "ssl_stapling off;");
    }
}

/* ---- all lines ---- */

void nginx_tls_lines(const struct nginx_plan *plan, const struct nginx_node *server, bool whole,
                     struct nginx_lines *lines)
{
    static const struct {
        const char *directive, *value; /* value NULL: the profile's */
    } table[] = {
        {"ssl_protocols", NULL},
        {"ssl_ciphers", NULL},
        {"ssl_prefer_server_ciphers", NULL},
        /* The size is in the zone's name: one zone with two sizes is an error that stops nginx. */
        {"ssl_session_cache", "shared:tlsup_2m:2m"},
        {"ssl_session_timeout", "1d"},
        {"ssl_session_tickets", "off"},
    };
    stapling_line(plan, server, lines);
    if (!whole && !profile_insists(plan)) {
        return;
    }
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        const char *value = table[i].value != NULL ? table[i].value : profile_value(plan, table[i].directive);
        if (value != NULL && (whole || table[i].value == NULL) && is_due(plan, server, table[i].directive)) {
            nginx_line(lines, "%s %s;", table[i].directive, value);
        }
    }
}

/* ---- whose protocols count ---- */

/* What a server says of the protocols, for itself or by the http level, or what nginx does without that. */
static void protocols_of(const struct nginx_plan *plan, const struct nginx_node *server, struct strlist *out)
{
    const struct nginx_config *config = nginx_config_of(plan->editor);
    int version = plan->editor->web->version_number;
    const struct nginx_node *node = nginx_child(config, server, "ssl_protocols");
    node = node != NULL ? node : http_child(plan, "ssl_protocols");
    for (size_t i = 1; node != NULL && i < node->n_args; i++) {
        if (!strlist_has(out, node->args[i])) {
            strlist_add(out, node->args[i]);
        }
    }
    if (node == NULL) {
        strlist_split(out,
                      version >= TLS10_NOT_BY_DEFAULT_SINCE ? "TLSv1.2 TLSv1.3"
                      : version >= TLS13_BY_DEFAULT_SINCE   ? "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3"
                                                            : "TLSv1 TLSv1.1 TLSv1.2",
                      " ");
    }
}

static bool sets_protocols(const struct nginx_plan *plan, size_t index)
{
    const struct nginx_item *item = &plan->items[index];
    const struct nginx_node *server = nginx_server_of(&plan->editor->sites.v[index])->node;
    return item->certificate && (item->full || profile_insists(plan)) &&
           is_due(plan, server, "ssl_protocols");
}

/* ---- HSTS ---- */

static bool is_header(const struct nginx_node *node)
{
    return nginx_is(node, "add_header") && node->n_args >= 3;
}

/* "add_header Strict-Transport-Security ..." or the like of the headers-more module. */
static bool sets_hsts(const struct nginx_node *node)
{
    if (is_header(node)) {
        return strcasecmp(node->args[1], HSTS_FIELD) == 0;
    }
    for (size_t i = 1; nginx_is(node, "more_set_headers") && i < node->n_args; i++) {
        if (strncasecmp(node->args[i], HSTS_FIELD, sizeof HSTS_FIELD - 1) == 0) {
            return true;
        }
    }
    return false;
}

struct headers {
    bool any, hsts, merged;
};

static struct headers headers_of(const struct nginx_nodes *body)
{
    struct headers headers = {0};
    for (size_t i = 0; i < body->n; i++) {
        const struct nginx_node *node = body->v[i];
        headers.any |= is_header(node);
        headers.hsts |= sets_hsts(node);
        headers.merged |=
            nginx_is(node, "add_header_inherit") && node->n_args == 2 && strcmp(node->args[1], "merge") == 0;
    }
    return headers;
}

/* A block below the server with add_header lines of its own inherits none of the server's. */
static void warn_of_locations(const struct nginx_plan *plan, const struct nginx_node *block)
{
    AUTO_NODES body = {0};
    nginx_children(nginx_config_of(plan->editor), block, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        const struct nginx_node *node = body.v[i];
        if (!node->block || (!nginx_is(node, "location") && !nginx_is(node, "if"))) {
            continue;
        }
        AUTO_NODES inner = {0};
        nginx_children(nginx_config_of(plan->editor), node, false, &inner);
        struct headers headers = headers_of(&inner);
        if (headers.any && !headers.hsts && !headers.merged) {
            log_warn("%s:%zu has add_header lines of its own, so that its answers go without " HSTS_FIELD
                     ": repeat the line of the server there",
                     nginx_file_of(plan->editor, node)->path, nginx_line_after(plan->editor, node));
        }
        warn_of_locations(plan, node);
    }
}

/* Ours would end the inheritance of the http level's lines: they are said again. */
static void repeat_headers(const struct nginx_plan *plan, struct nginx_lines *lines)
{
    const struct nginx_nodes *http = &nginx_model_of(&plan->editor->sites)->http_settings;
    for (size_t i = 0; i < http->n; i++) {
        const struct nginx_node *node = http->v[i];
        if (is_header(node)) {
            const struct nginx_file *file = nginx_file_of(plan->editor, node);
            buf_adds(&lines->text, lines->indent);
            buf_add(&lines->text, buf_str(&file->text) + node->begin, node->end - node->begin);
            buf_adds(&lines->text, lines->eol);
        }
    }
}

static bool has_plain_port(const struct nginx_server *server)
{
    for (size_t i = 0; i < server->n_listens; i++) {
        if (!server->listens[i].ssl) {
            return true;
        }
    }
    return false;
}

/* Does the server send no such field, though it was asked for? */
static bool hsts_is_due(const struct nginx_plan *plan, const struct headers *own, const struct headers *above)
{
    bool inherits = !own->any || own->merged;
    return plan->https->hsts_s > 0 && !own->hsts && !(above->hsts && inherits);
}

static struct headers headers_in(const struct nginx_plan *plan, const struct nginx_node *block)
{
    AUTO_NODES body = {0};
    nginx_children(nginx_config_of(plan->editor), block, false, &body);
    return headers_of(&body);
}

static struct headers headers_above(const struct nginx_plan *plan)
{
    return headers_of(&nginx_model_of(&plan->editor->sites)->http_settings);
}

void nginx_hsts_lines(const struct nginx_plan *plan, const struct nginx_server *server, bool opens,
                      struct nginx_lines *lines)
{
    struct headers own = headers_in(plan, server->node), above = headers_above(plan);
    if (!hsts_is_due(plan, &own, &above)) {
        return;
    }
    if (!own.any && !own.merged && !above.merged) {
        repeat_headers(plan, lines);
    }
    if ((opens || has_plain_port(server)) && plan->editor->web->has_rewrite) {
        /* An empty value sends no field: answers over http must not have it. */
        nginx_line(lines, "set $tlsup_hsts \"\";");
        nginx_line(lines, "if ($scheme = https) { set $tlsup_hsts \"max-age=%ld\"; }", plan->https->hsts_s);
        nginx_line(lines, "add_header " HSTS_FIELD " $tlsup_hsts always;");
    } else {
        nginx_line(lines, "add_header " HSTS_FIELD " \"max-age=%ld\" always;", plan->https->hsts_s);
    }
}

/* ---- what a person should know ---- */

/* The https sockets of one of our servers, after the edit. */
static void sockets_of(const struct nginx_plan *plan, size_t index, struct strlist *out)
{
    const struct nginx_server *server = nginx_server_of(&plan->editor->sites.v[index]);
    bool dual_stack;
    for (size_t i = 0; i < server->n_listens; i++) {
        const struct nginx_listen *listen = &server->listens[i];
        if (listen->ssl && listen->port <= NGINX_HTTPS_PORT && listen->port_last >= NGINX_HTTPS_PORT) {
            strlist_add(out, listen->address);
        }
    }
    if (plan->items[index].full && !nginx_secure_addresses(plan, server, out, &dual_stack)) {
        return; /* told already, by the lines */
    }
}

/* Ours comes first in the configuration, and the other was the default server only by that. */
static void warn_of_new_default(const struct nginx_plan *plan, size_t index,
                                const struct nginx_socket *socket)
{
    const struct site *ours = &plan->editor->sites.v[index];
    const struct site *theirs = &plan->editor->sites.v[socket->default_server];
    log_warn("%s:%zu comes before %s:%zu, so that it answers on %s:%d from now on for names that no server "
             "has: if that "
             "matters, add \"default_server\" to the listen line of the latter",
             ours->file, nginx_line_now(plan->editor, ours), theirs->file,
             nginx_line_now(plan->editor, theirs), socket->address, socket->port);
}

static void warn_of_protocols(const struct nginx_plan *plan, size_t decides, const char *address)
{
    const struct site *site = &plan->editor->sites.v[decides];
    AUTO_STRLIST asked = STRLIST_INIT, there = STRLIST_INIT;
    strlist_split(&asked, profile_of(plan)->nginx_protocols, " ");
    protocols_of(plan, nginx_server_of(site)->node, &there);
    if (!strlist_same_set(&asked, &there)) {
        AUTO_FREE char *is = strlist_join(&there, " ");
        log_warn("%s:%zu is the default server of %s:%d, whose protocols (%s) nginx %s uses for all servers "
                 "there: "
                 "\"ssl_protocols %s;\" has its effect only when that server says it too",
                 site->file, nginx_line_after(plan->editor, nginx_server_of(site)->node), address,
                 NGINX_HTTPS_PORT, is, plan->editor->web->version, profile_of(plan)->nginx_protocols);
    }
}

/* One item on one socket that was there before. `told`: servers that were spoken of; `first`: the first of
 * ours on each socket. */
static void warn_at(const struct nginx_plan *plan, size_t index, const struct nginx_socket *socket,
                    struct nginx_index *told, struct nginx_index *first)
{
    const size_t *ours = nginx_index_get(first, socket->address);
    size_t decides = socket->default_server;
    char key[32];
    if (ours == NULL) {
        nginx_index_put(first, socket->address, index);
        ours = nginx_index_get(first, socket->address);
    }
    if (!socket->flagged && *ours < decides && nginx_default_line(plan, socket) == NULL) {
        decides = *ours;
    }
    snprintf(key, sizeof key, "%zu", socket->default_server);
    if (nginx_index_get(told, key) != NULL) {
        return;
    }
    if (decides != socket->default_server) {
        warn_of_new_default(plan, decides, socket);
        nginx_index_put(told, key, 1);
    } else if (decides != index && sets_protocols(plan, index) && !sets_protocols(plan, decides) &&
               plan->editor->web->version_number < PROTOCOLS_BY_NAME_SINCE) {
        warn_of_protocols(plan, decides, socket->address);
        nginx_index_put(told, key, 1);
    }
}

static void warn_of_defaults(const struct nginx_plan *plan)
{
    struct nginx_index told = {0}, first = {0};
    for (size_t i = 0; i < plan->n_items; i++) {
        AUTO_STRLIST addresses = STRLIST_INIT;
        if (plan->items[i].certificate) {
            sockets_of(plan, i, &addresses);
        }
        for (size_t k = 0; k < addresses.n; k++) {
            const struct nginx_socket *socket =
                nginx_socket_at(&plan->editor->sites, addresses.v[k], NGINX_HTTPS_PORT);
            if (socket != NULL) {
                warn_at(plan, i, socket, &told, &first);
            }
        }
    }
    nginx_index_clear(&told);
    nginx_index_clear(&first);
}

void nginx_tls_warn(const struct nginx_plan *plan)
{
    struct headers above = headers_above(plan);
    warn_of_defaults(plan);
    for (size_t i = 0; i < plan->n_items && plan->https->hsts_s > 0; i++) {
        const struct nginx_node *server = nginx_server_of(&plan->editor->sites.v[i])->node;
        struct headers own = plan->items[i].certificate ? headers_in(plan, server) : above;
        if (plan->items[i].certificate && hsts_is_due(plan, &own, &above)) {
            warn_of_locations(plan, server);
        }
    }
}
