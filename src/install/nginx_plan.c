/*
 * nginx_plan.c - who gets what for https: a certificate in place of another, all of 443, a redirect, or a
 * refusal.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "nginx_edit.h"
#include "tlsup/cert.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

static void plan_reset(struct nginx_plan *plan)
{
    for (size_t i = 0; i < plan->n_items; i++) {
        strlist_clear(&plan->items[i].redirected);
        strlist_clear(&plan->items[i].also);
    }
    free(plan->items);
    plan->items = NULL;
    plan->n_items = 0;
    strlist_clear(&plan->unowned);
}

void nginx_plan_clear(struct nginx_plan *plan)
{
    plan_reset(plan);
    sites_clear(&plan->disabled);
    free(plan->id);
}

const struct site *nginx_plan_owner_at(const struct nginx_plan *plan, const char *name, const char *address,
                                       int port, bool explicit_only)
{
    return nginx_owner_at(&plan->editor->sites, name, address, port, explicit_only);
}

static struct nginx_item *item_of(struct nginx_plan *plan, const struct site *site)
{
    return &plan->items[site - plan->editor->sites.v];
}

bool nginx_is_placeholder(const char *name)
{
    return name[0] != '~' && (strchr(name, '.') == NULL || name_is_ip(name));
}

static bool covered(const struct strlist *names, const char *name)
{
    if (name[0] == '.') {
        AUTO_FREE char *wildcard = mem_fmt("*%s", name);
        return covered(names, name + 1) && covered(names, wildcard);
    }
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(names->v[i], name) == 0 || name_matches(names->v[i], name)) {
            return true;
        }
    }
    return false;
}

bool nginx_all_covered(const struct site *site, const struct strlist *names)
{
    for (size_t i = 0; i < site->names.n; i++) {
        if (!nginx_is_placeholder(site->names.v[i]) && !covered(names, site->names.v[i])) {
            return false;
        }
    }
    return true;
}

bool nginx_refuse_at(const struct nginx_plan *plan, const struct site *site, const char *advice,
                     const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(plan->editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, site->file, "%s:%zu: %s", site->file,
            nginx_line_now(plan->editor, site), text);
    return err_advise(plan->editor->err, "%s", advice);
}

/* Does a server that the world can ask name it on port 80? */
static bool named_in_public(const struct nginx_plan *plan, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    nginx_addresses(&plan->editor->sites, NGINX_HTTP_PORT, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        if (!site_address_is_loopback(addresses.v[i]) &&
            nginx_plan_owner_at(plan, name, addresses.v[i], NGINX_HTTP_PORT, true) != NULL) {
            return true;
        }
    }
    return false;
}

/* location / { return 404; } */
static bool is_nothing_location(const struct nginx_node *node)
{
    const struct nginx_node *only = node->n_children == 1 ? &node->children[0] : NULL;
    return nginx_is(node, "location") && node->n_args == 2 && strcmp(node->args[1], "/") == 0 &&
           only != NULL && nginx_is(only, "return") && only->n_args == 2 && strcmp(only->args[1], "404") == 0;
}

/* Is it the server that we wrote for the challenge, which has no pages to show? */
static bool is_challenge_server(const struct nginx_plan *plan, const struct site *site)
{
    const struct nginx_config *config = nginx_config_of(plan->editor);
    const struct nginx_node *server = nginx_server_of(site)->node;
    bool nothing_else = false;
    for (size_t i = 0; i < server->n_children; i++) {
        const struct nginx_node *node = &server->children[i];
        if (is_nothing_location(node)) {
            nothing_else = true;
        } else if (!nginx_is(node, "listen") && !nginx_is(node, "server_name") &&
                   nginx_mark_around(config, node) == NULL) {
            return false;
        }
    }
    return nothing_else && nginx_mark_in(config, server, NGINX_CHALLENGE_ID) != NULL;
}

/* The certificates of a file in which the key may stand too. Appends. */
static void keep_certificates(const char *pem, struct buf *out)
{
    static const char begin[] = "-----BEGIN CERTIFICATE-----", end[] = "-----END CERTIFICATE-----";
    const char *from = pem, *to;
    while ((from = strstr(from, begin)) != NULL && (to = strstr(from, end)) != NULL) {
        to += sizeof end - 1;
        buf_add(out, from, (size_t)(to - from));
        buf_addc(out, '\n');
        from = to;
    }
}

/* The certificate that a site serves now; false: it cannot be told. The caller clears. */
static bool read_certificate(const struct site *site, struct cert_info *out)
{
    struct err ignored = ERR_INIT;
    AUTO_BUF file = BUF_SECRET, pem = BUF_INIT;
    AUTO_CHAIN *chain = NULL;
    if (site->certificate[0] != '/' || strchr(site->certificate, '$') != NULL ||
        !fs_read(site->certificate, NGINX_FILE_LIMIT_BYTES, &file, &ignored)) {
        return false;
    }
    keep_certificates(buf_str(&file), &pem);
    return cert_chain_parse(buf_str(&pem), pem.len, site->certificate, &chain, &ignored) &&
           cert_chain_info(chain, out, &ignored);
}

static bool redirects_to_https(const struct site *site)
{
    enum nginx_redirect kind = nginx_server_of(site)->redirect;
    return kind == REDIRECT_HTTPS_SAME || kind == REDIRECT_HTTPS_OTHER;
}

/* The server that says a name best on port 80; NULL = none says it. */
static const struct site *best_on_80(const struct nginx_plan *plan, const char *name)
{
    const struct site *best = NULL;
    AUTO_STRLIST addresses = STRLIST_INIT;
    nginx_public_addresses(&plan->editor->sites, NGINX_HTTP_PORT, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        const struct site *site = nginx_plan_owner_at(plan, name, addresses.v[i], NGINX_HTTP_PORT, true);
        if (site != NULL && (best == NULL || nginx_site_fit(site, name) > nginx_site_fit(best, name))) {
            best = site;
        }
    }
    return best;
}

/* A name that the server's present, valid certificate covers and the new one would not. NULL = none;
 * borrowed. */
static const char *name_lost(const struct site *site, const struct strlist *names)
{
    struct cert_info info = CERT_INFO_INIT;
    const char *lost = NULL;
    if (!read_certificate(site, &info)) {
        return NULL;
    }
    for (size_t i = 0; i < site->names.n && lost == NULL && info.not_after_s > clock_now_s(); i++) {
        const char *name = site->names.v[i];
        if (!nginx_is_placeholder(name) && !covered(names, name) && covered(&info.names, name)) {
            lost = name;
        }
    }
    cert_info_clear(&info);
    return lost;
}

/* Has this server the name on 443 only since it takes everything below a domain, with a certificate for other
 * names or one that must stay, while another one says the name itself on port 80? Then that one is the site
 * of the name. NULL: no. */
static const struct site *better_home(const struct nginx_plan *plan, const struct site *secure,
                                      const char *name)
{
    struct cert_info info = CERT_INFO_INIT;
    const struct site *plain = best_on_80(plan, name);
    if (plain == NULL || plain == secure || redirects_to_https(plain) || is_challenge_server(plan, plain) ||
        nginx_site_fit(plain, name) <= nginx_site_fit(secure, name) || !read_certificate(secure, &info)) {
        return NULL;
    }
    bool covers = covered(&info.names, name);
    cert_info_clear(&info);
    return covers && name_lost(secure, plan->https->names) == NULL ? NULL : plain;
}

/* Servers that have the name on 443 already: only their certificate changes. `any` tells whether there are
 * some. */
static bool plan_swap(struct nginx_plan *plan, const char *name, bool *any)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    nginx_addresses(&plan->editor->sites, NGINX_HTTPS_PORT, &addresses);
    *any = false;
    for (size_t i = 0; i < addresses.n; i++) {
        /* A browser sends no server name for an IP address: its certificate is the default server's. */
        const struct site *site =
            nginx_plan_owner_at(plan, name, addresses.v[i], NGINX_HTTPS_PORT, !name_is_ip(name));
        if (site == NULL || (site_address_is_loopback(addresses.v[i]) && named_in_public(plan, name))) {
            continue;
        }
        const struct site *home = better_home(plan, site, name);
        if (home != NULL) {
            strlist_add(&item_of(plan, home)->also, addresses.v[i]);
            continue;
        }
        const struct nginx_listen *listen =
            nginx_listen_at(nginx_server_of(site), addresses.v[i], NGINX_HTTPS_PORT);
        if (listen != NULL && !listen->ssl) {
            return nginx_refuse_at(
                plan, site,
                "Add \"ssl\" to that listen line, with a certificate, or take the line out; then try again.",
                "this server of %s listens on port 443 without TLS", name);
        }
        item_of(plan, site)->certificate = true;
        *any = true;
    }
    return true;
}

static bool has_real_name(const struct site *site)
{
    for (size_t i = 0; i < site->names.n; i++) {
        if (!nginx_is_placeholder(site->names.v[i])) {
            return true;
        }
    }
    return false;
}

/* The server without a name of its own that answers for all names on port 443. NULL = none. */
static const struct site *nameless_on_443(const struct nginx_plan *plan, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    nginx_public_addresses(&plan->editor->sites, NGINX_HTTPS_PORT, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        const struct site *site = nginx_plan_owner_at(plan, name, addresses.v[i], NGINX_HTTPS_PORT, false);
        const struct nginx_node *reject =
            site != NULL ? nginx_child(nginx_config_of(plan->editor), nginx_server_of(site)->node,
                                       "ssl_reject_handshake")
                         : NULL;
        enum nginx_redirect kind = site != NULL ? nginx_server_of(site)->redirect : REDIRECT_CLOSES;
        bool rejects = reject != NULL && reject->n_args == 2 && strcasecmp(reject->args[1], "on") == 0;
        if (!rejects && kind != REDIRECT_CLOSES && kind != REDIRECT_REFUSES && !has_real_name(site)) {
            return site;
        }
    }
    return NULL;
}

static bool refuse_loop(const struct nginx_plan *plan, const struct site *site, const char *name)
{
    const struct site *answers = nameless_on_443(plan, name);
    if (answers == NULL) {
        AUTO_FREE char *advice =
            mem_fmt("Give that server a document root or a proxy_pass instead of the redirect; tlsup adds "
                    "the redirect itself. Or get the certificate alone, and write the server of port 443 "
                    "yourself: tlsup issue %s",
                    name);
        return nginx_refuse_at(plan, site, advice,
                               "this server only redirects %s to https, and no server answers there: with "
                               "port 443 it would redirect to itself for ever",
                               name);
    }
    AUTO_FREE char *advice =
        mem_fmt("Give that server the name, then try again: \"server_name %s;\" in the block at %s:%zu", name,
                answers->file, nginx_line_now(plan->editor, answers));
    return nginx_refuse_at(plan, site, advice,
                           "this server only redirects %s to https, where the default server at %s:%zu "
                           "answers, which does not have the name",
                           name, answers->file, nginx_line_now(plan->editor, answers));
}

static bool plan_full(struct nginx_plan *plan, const struct site *site, const char *name)
{
    if (nginx_server_of(site)->redirect == REDIRECT_HTTPS_SAME) {
        return refuse_loop(plan, site, name);
    }
    item_of(plan, site)->certificate = true;
    item_of(plan, site)->full = true;
    return true;
}

/* Servers that name it on port 80. */
static bool plan_port80(struct nginx_plan *plan, const char *name, bool *any)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    const struct site *home = best_on_80(plan, name);
    bool only_home = home != NULL && item_of(plan, home)->also.n > 0;
    nginx_addresses(&plan->editor->sites, NGINX_HTTP_PORT, &addresses);
    *any = false;
    for (int loopback = 0; loopback < 2 && !*any; loopback++) {
        for (size_t i = 0; i < addresses.n; i++) {
            if (site_address_is_loopback(addresses.v[i]) != (loopback == 1)) {
                continue;
            }
            const struct site *site = nginx_plan_owner_at(plan, name, addresses.v[i], NGINX_HTTP_PORT, true);
            if (site == NULL || is_challenge_server(plan, site) || (only_home && site != home)) {
                continue;
            }
            if (!plan_full(plan, site, name)) {
                return false;
            }
            *any = true;
        }
    }
    return true;
}

/* Servers that name it on some other port (behind another server, say). */
static bool plan_other_port(struct nginx_plan *plan, const char *name, bool *any)
{
    const struct sites *sites = &plan->editor->sites;
    *any = false;
    for (size_t i = 0; i < sites->n; i++) {
        for (size_t k = 0; k < sites->v[i].n_listens; k++) {
            const struct site_listen *listen = &sites->v[i].listens[k];
            if (listen->ssl || listen->port == NGINX_HTTP_PORT || site_address_is_loopback(listen->address) ||
                nginx_plan_owner_at(plan, name, listen->address, listen->port, true) != &sites->v[i]) {
                continue;
            }
            *any = true;
            if (!plan_full(plan, &sites->v[i], name)) {
                return false;
            }
        }
    }
    return true;
}

/* A wildcard that no server names: all servers with a name below it that nobody else has given a certificate
 * of ours. */
static bool plan_wildcard(struct nginx_plan *plan, const char *name, bool *any)
{
    const struct sites *sites = &plan->editor->sites;
    AUTO_STRLIST below = STRLIST_INIT;
    *any = false;
    for (size_t i = 0; i < sites->n; i++) {
        for (size_t k = 0; k < sites->v[i].names.n; k++) {
            if (name_matches(name, sites->v[i].names.v[k])) {
                strlist_add(&below, sites->v[i].names.v[k]);
            }
        }
    }
    for (size_t i = 0; i < below.n; i++) {
        bool found = false;
        if (!plan_swap(plan, below.v[i], &found) || (!found && !plan_port80(plan, below.v[i], &found))) {
            return false;
        }
        *any |= found;
    }
    return true;
}

/* A site that only waits to be enabled: a second one for the same name would be a surprise later. */
static bool check_disabled(struct nginx_plan *plan, const char *name)
{
    const struct nginx_editor *editor = plan->editor;
    if (!plan->disabled_read &&
        !nginx_read_disabled(editor->web, &editor->sites, &plan->disabled, editor->err)) {
        return false;
    }
    plan->disabled_read = true;
    for (size_t i = 0; i < plan->disabled.n; i++) {
        const struct site *site = &plan->disabled.v[i];
        if (nginx_site_fit(site, name) <= NGINX_FIT_REGEX || !txn_exists(editor->txn, site->file)) {
            continue;
        }
        AUTO_FREE char *command = nginx_enable_command(editor->web, site);
        err_set(editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, name,
                "%s is in %s (line %zu), which is not enabled", name, site->file, site->line);
        return err_advise(editor->err, "Enable it, then try again: %s", command);
    }
    return true;
}

/* A regex that we cannot read may take the name or not: whoever guesses edits the wrong server. */
static bool check_clear(const struct nginx_plan *plan, const char *name)
{
    static const int ports[] = {NGINX_HTTP_PORT, NGINX_HTTPS_PORT};
    for (size_t k = 0; k < COUNT_OF(ports); k++) {
        AUTO_STRLIST addresses = STRLIST_INIT;
        nginx_addresses(&plan->editor->sites, ports[k], &addresses);
        for (size_t i = 0; i < addresses.n; i++) {
            const char *pattern = NULL;
            const struct site *site =
                nginx_unclear_owner(&plan->editor->sites, name, addresses.v[i], ports[k], &pattern);
            if (site != NULL) {
                AUTO_FREE char *advice =
                    mem_fmt("Add the name to the server_name line of its server: \"server_name %s "
                            "...;\". A plain name comes before every regular expression.",
                            name);
                return nginx_refuse_at(
                    plan, site, advice,
                    "whether this server has the name %s cannot be told from its regular expression %s", name,
                    pattern);
            }
        }
    }
    return true;
}

static bool plan_name(struct nginx_plan *plan, const char *name)
{
    bool (*const ways[])(struct nginx_plan *, const char *, bool *) = {plan_swap, plan_port80,
                                                                       plan_other_port};
    bool any = false;
    if (!check_clear(plan, name)) {
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(ways) && !any; i++) {
        if (!ways[i](plan, name, &any)) {
            return false;
        }
    }
    if (!any && name_is_wildcard(name)) {
        if (!plan_wildcard(plan, name, &any)) {
            return false;
        }
        if (any) {
            return true;
        }
        if (!check_disabled(plan, name)) {
            return false;
        }
        err_set(plan->editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, name,
                "no nginx server has the name %s, nor one below it", name);
        return err_advise(
            plan->editor->err,
            "give a server block a server_name that it covers, then run the same command again; or get the "
            "certificate alone with `tlsup issue`");
    }
    if (!any) {
        strlist_add(&plan->unowned, name);
        return check_disabled(plan, name);
    }
    return true;
}

/* ---- 443: who must be redirected ---- */

/* Something in front of nginx takes the TLS connections and passes them on in plain: a redirect by our own
 * scheme would be a loop. */
static bool is_behind_tls_proxy(const struct nginx_plan *plan, const struct site *site)
{
    AUTO_NODES body = {0};
    nginx_children(nginx_config_of(plan->editor), nginx_server_of(site)->node, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        for (size_t k = 1; nginx_is(body.v[i], "if") && k < body.v[i]->n_args; k++) {
            if (strstr(body.v[i]->args[k], "$http_x_forwarded_") != NULL ||
                strstr(body.v[i]->args[k], "$http_cf_visitor") != NULL) {
                return true;
            }
        }
    }
    return false;
}

static void redirect_name(struct nginx_plan *plan, const struct site *site, const char *name)
{
    struct nginx_item *item = item_of(plan, site);
    if (redirects_to_https(site) || strlist_has(&item->redirected, name)) {
        return;
    }
    if (is_behind_tls_proxy(plan, site)) {
        log_warn("%s:%zu looks at X-Forwarded headers, so a proxy in front of it speaks TLS already: no "
                 "redirect to https is added",
                 site->file, site->line);
        return;
    }
    item->redirect = true;
    strlist_add(&item->redirected, name);
}

/* Does its https server send people back to http? */
static bool sends_back(const struct nginx_plan *plan, const char *name)
{
    const struct site *secure = nginx_owner(&plan->editor->sites, name, NGINX_HTTPS_PORT, true);
    if (secure == NULL || nginx_server_of(secure)->redirect != REDIRECT_HTTP) {
        return false;
    }
    log_warn("%s:%zu sends %s from https back to http: no redirect to https is added", secure->file,
             secure->line, name);
    return true;
}

static void plan_redirect(struct nginx_plan *plan, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    bool named = false;
    if (strlist_has(&plan->unowned, name) || sends_back(plan, name)) {
        return;
    }
    nginx_public_addresses(&plan->editor->sites, NGINX_HTTP_PORT, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        const struct site *site = nginx_plan_owner_at(plan, name, addresses.v[i], NGINX_HTTP_PORT, true);
        if (site != NULL) {
            redirect_name(plan, site, name);
            named = true;
        }
    }
    for (size_t i = 0; i < addresses.n && !named; i++) {
        if (nginx_plan_owner_at(plan, name, addresses.v[i], NGINX_HTTPS_PORT, true) != NULL) {
            redirect_name(plan, nginx_plan_owner_at(plan, name, addresses.v[i], NGINX_HTTP_PORT, false),
                          name);
        }
    }
}

/* Of a server that redirects: its names that were not asked for themselves, but by a wildcard. */
static void redirect_below(struct nginx_plan *plan, const struct site *site)
{
    const struct strlist *asked = plan->https->names;
    for (size_t i = 0; i < site->names.n; i++) {
        const char *name = site->names.v[i];
        if (name[0] != '.' && strpbrk(name, "~*$") == NULL && !strlist_has(asked, name) &&
            covered(asked, name) && !sends_back(plan, name)) {
            redirect_name(plan, site, name);
        }
    }
}

static void plan_redirects(struct nginx_plan *plan)
{
    for (size_t i = 0; i < plan->https->names->n; i++) {
        plan_redirect(plan, plan->https->names->v[i]);
    }
    for (size_t i = 0; i < plan->n_items; i++) {
        if (plan->items[i].redirect) {
            redirect_below(plan, &plan->editor->sites.v[i]);
        }
    }
}

/* ---- 443: what a swap must not break ---- */

/* The first directive of a server whose name begins like this, NULL = none. */
static const struct nginx_node *directive_like(const struct nginx_plan *plan, const struct nginx_node *server,
                                               const char *prefix)
{
    AUTO_NODES body = {0};
    nginx_children(nginx_config_of(plan->editor), server, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        if (strncmp(body.v[i]->args[0], prefix, strlen(prefix)) == 0) {
            return body.v[i];
        }
    }
    return NULL;
}

/* Servers that would not serve a certificate of ours, or serve many by one line. */
static bool check_serves(struct nginx_plan *plan, const struct site *site)
{
    const struct nginx_node *server = nginx_server_of(site)->node;
    const struct nginx_node *lua = directive_like(plan, server, "ssl_certificate_by_lua");
    const struct nginx_node *reject = directive_like(plan, server, "ssl_reject_handshake");
    if (lua != NULL) {
        return nginx_refuse_at(
            plan, site,
            "Let the Lua code read the files of `tlsup issue`, with a deploy hook, or take "
            "the line out.",
            "its certificate is chosen by Lua code (%s)", lua->args[0]);
    }
    if (reject != NULL && reject->n_args == 2 && strcasecmp(reject->args[1], "on") == 0) {
        return nginx_refuse_at(plan, site, "Take the line out, or give the name a server block of its own.",
                               "it refuses every TLS connection (ssl_reject_handshake)");
    }
    if (strchr(site->certificate, '$') != NULL && !nginx_all_covered(site, plan->https->names)) {
        return nginx_refuse_at(
            plan, site, "Give the name a server block of its own, then try again.",
            "it serves a certificate for each name by a variable (%s), and other names than those "
            "asked for",
            site->certificate);
    }
    return true;
}

/* A server that, with a valid certificate, has a name on 443 now which one of ours would take from it there
 * without a certificate for it. NULL = none. */
static const struct site *robbed(const struct nginx_plan *plan, const struct site *site, const char *name,
                                 const struct strlist *addresses)
{
    for (size_t i = 0; i < addresses->n; i++) {
        const struct site *now = nginx_plan_owner_at(plan, name, addresses->v[i], NGINX_HTTPS_PORT, true);
        struct cert_info info = CERT_INFO_INIT;
        if (now == NULL || now == site || nginx_site_fit(now, name) > nginx_site_fit(site, name) ||
            (nginx_site_fit(now, name) == nginx_site_fit(site, name) && now < site) ||
            !read_certificate(now, &info)) {
            continue;
        }
        bool valid = info.not_after_s > clock_now_s() && covered(&info.names, name);
        cert_info_clear(&info);
        if (valid) {
            return now;
        }
    }
    return NULL;
}

/* The names of a server that gets 443: other servers may have them there already. What was asked for may
 * move, and a person should know it; what was not would be without a certificate. */
static bool check_robs(struct nginx_plan *plan, const struct site *site)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    const struct strlist *also = &plan->items[site - plan->editor->sites.v].also;
    bool dual_stack;
    if (!nginx_secure_addresses(plan, nginx_server_of(site), &addresses, &dual_stack)) {
        return false;
    }
    for (size_t i = 0; i < also->n; i++) {
        strlist_add(&addresses, also->v[i]);
    }
    for (size_t i = 0; i < site->names.n; i++) {
        const char *name = site->names.v[i];
        const struct site *now = name[0] != '~' && name[0] != '.' && !nginx_is_placeholder(name)
                                     ? robbed(plan, site, name, &addresses)
                                     : NULL;
        if (now != NULL && covered(plan->https->names, name)) {
            log_warn(
                "%s:%zu answered https://%s until now, with a valid certificate: from now on %s:%zu does, "
                "which has that name on port 80",
                now->file, nginx_line_now(plan->editor, now), name, site->file,
                nginx_line_now(plan->editor, site));
        } else if (now != NULL) {
            AUTO_FREE char *advice =
                mem_fmt("Give all names of that server at once: add %s to the command.", name);
            return nginx_refuse_at(plan, site, advice,
                                   "this server has the name %s too, which %s:%zu serves with a valid "
                                   "certificate now: with port 443 it would come here, where the new one "
                                   "does not cover it",
                                   name, now->file, nginx_line_now(plan->editor, now));
        }
    }
    return true;
}

static bool check_swap(struct nginx_plan *plan, const struct site *site)
{
    const char *lost = name_lost(site, plan->https->names);
    if (lost == NULL) {
        return true;
    }
    AUTO_FREE char *advice = mem_fmt("Give all names of that server at once: add %s to the command.", lost);
    return nginx_refuse_at(
        plan, site, advice,
        "this server serves %s too, with a valid certificate that a new one without that name would replace",
        lost);
}

/* One certificate for the names that it has now and those asked for, as a command. The caller frees. */
static char *advice_for_one(const struct nginx_plan *plan, const struct site *site, const char *cert_name)
{
    struct cert_info info = CERT_INFO_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    if (!read_certificate(site, &info)) {
        return mem_dup(
            "A server block serves one certificate: put all its names into one, or split the block.");
    }
    const struct strlist *const lists[] = {&info.names, plan->https->names};
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        for (size_t k = 0; k < lists[i]->n; k++) {
            if (!strlist_has(&names, lists[i]->v[k])) {
                strlist_add(&names, lists[i]->v[k]);
            }
        }
    }
    cert_info_clear(&info);
    AUTO_FREE char *words = strlist_join(&names, " ");
    return mem_fmt("A server block serves one certificate: put all its names into one, or split the block. "
                   "One for all: tlsup enable %s --cert-name %s",
                   words, cert_name);
}

/* Blocks of our other certificates in this server. Where the new certificate covers all its names they give
 * way (`again`: the plan must be made without them); else one server would need two certificates. */
static bool check_others(struct nginx_plan *plan, const struct site *site, bool *again)
{
    const struct nginx_node *node = nginx_server_of(site)->node;
    struct nginx_file *file = nginx_config_of(plan->editor)->files[node->file];
    for (size_t i = 0; i < file->n_marks; i++) {
        struct nginx_mark *mark = &file->marks[i];
        if (mark->begin < node->open || mark->end > node->close || mark->ignored ||
            strncmp(mark->id, NGINX_CERT_ID_PREFIX, sizeof NGINX_CERT_ID_PREFIX - 1) != 0) {
            continue;
        }
        if (!nginx_all_covered(site, plan->https->names) || !mark->intact) {
            AUTO_FREE char *advice = advice_for_one(plan, site, mark->id + sizeof NGINX_CERT_ID_PREFIX - 1);
            return nginx_refuse_at(plan, site, advice, "this server has the certificate \"%s\" already",
                                   mark->id + sizeof NGINX_CERT_ID_PREFIX - 1);
        }
        mark->ignored = true;
        *again = true;
    }
    return true;
}

bool nginx_plan_make(struct nginx_plan *plan)
{
    struct nginx_editor *editor = plan->editor;
    for (bool again = true; again;) {
        plan_reset(plan);
        again = false;
        plan->n_items = editor->sites.n;
        plan->items = mem_array(plan->n_items + 1, sizeof plan->items[0]);
        for (size_t i = 0; i < plan->https->names->n; i++) {
            if (!plan_name(plan, plan->https->names->v[i])) {
                return false;
            }
        }
        for (size_t i = 0; i < plan->n_items; i++) {
            if (plan->items[i].certificate && !check_others(plan, &editor->sites.v[i], &again)) {
                return false;
            }
        }
        if (again) {
            nginx_model_refresh(editor->web, &editor->sites);
        }
    }
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct nginx_item *item = &plan->items[i];
        if (item->certificate && (!check_serves(plan, &editor->sites.v[i]) ||
                                  !(item->full ? check_robs : check_swap)(plan, &editor->sites.v[i]))) {
            return false;
        }
    }
    if (plan->https->redirect && !editor->web->has_rewrite) {
        log_warn("this nginx was built without its rewrite module: no redirect to https");
    } else if (plan->https->redirect) {
        plan_redirects(plan);
    }
    return true;
}
