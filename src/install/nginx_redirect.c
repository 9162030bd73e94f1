/*
 * nginx_redirect.c - what a server does with every request: answer it, send it elsewhere, refuse it.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "nginx_model.h"
#include "tlsup/mem.h"

static bool matches_everything(const char *regex)
{
    static const char *const all[] = {"^",      ".*",     "^.*",     "^.*$",   "(.*)",    "^(.*)",
                                      "^(.*)$", "^/",     "/",       "^/(.*)", "^/(.*)$", "/(.*)",
                                      "^/.*$",  "/(.*)$", "^(/.*)$", "^(.+)$", "^/?(.*)$"};
    for (size_t i = 0; i < COUNT_OF(all); i++) {
        if (strcmp(regex, all[i]) == 0) {
            return true;
        }
    }
    return false;
}

static enum nginx_redirect target_kind(const struct site *site, const char *url)
{
    if (strncasecmp(url, "http://", 7) == 0) {
        return REDIRECT_HTTP;
    }
    if (strncasecmp(url, "https://", 8) != 0) {
        return REDIRECT_OTHER;
    }
    const char *host = url + 8;
    size_t len = strcspn(host, "/?#$");
    if (host[0] == '$') {
        len = 1 + strspn(host + 1, "abcdefghijklmnopqrstuvwxyz_");
        bool port = host[len] == ':' && strncmp(host + len, ":443", 4) != 0;
        bool same = strncmp(host, "$host", len) == 0 || strncmp(host, "$http_host", len) == 0 ||
                    strncmp(host, "$server_name", len) == 0;
        return same && !port ? REDIRECT_HTTPS_SAME : REDIRECT_HTTPS_OTHER;
    }
    AUTO_FREE char *name = mem_ndup(host, len);
    for (char *p = name; *p != '\0'; p++) {
        *p = (char)tolower((unsigned char)*p);
    }
    return nginx_site_fit(site, name) > 0 ? REDIRECT_HTTPS_SAME : REDIRECT_HTTPS_OTHER;
}

/* `return` and a catch-all `rewrite` that ends in a redirect. */
static enum nginx_redirect directive_redirect(const struct site *site, const struct nginx_node *node)
{
    if (nginx_is(node, "rewrite") && node->n_args >= 3 && matches_everything(node->args[1])) {
        const char *flag = node->n_args > 3 ? node->args[3] : "";
        bool redirects = strcmp(flag, "permanent") == 0 || strcmp(flag, "redirect") == 0 ||
                         strncmp(node->args[2], "http", 4) == 0 || strncmp(node->args[2], "$scheme", 7) == 0;
        return redirects ? target_kind(site, node->args[2]) : REDIRECT_NONE;
    }
    if (!nginx_is(node, "return") || node->n_args < 2) {
        return REDIRECT_NONE;
    }
    int code = atoi(node->args[1]);
    const char *url = node->n_args > 2 ? node->args[2] : node->args[1];
    if (code >= 300 && code < 400 && node->n_args > 2) {
        return target_kind(site, url);
    }
    if (code == 0) {
        return target_kind(site, url);
    }
    return code == 444 ? REDIRECT_CLOSES : code >= 400 ? REDIRECT_REFUSES : REDIRECT_OTHER;
}

static enum nginx_redirect block_redirect(const struct nginx_config *config, const struct site *site,
                                          const struct nginx_node *block)
{
    AUTO_NODES body = {0};
    nginx_children(config, block, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        enum nginx_redirect kind = directive_redirect(site, body.v[i]);
        if (kind != REDIRECT_NONE) {
            return kind;
        }
    }
    return REDIRECT_NONE;
}

/* `if ($host = ...)`: a condition on the name, not on the scheme. */
static bool is_host_condition(const struct nginx_node *node)
{
    return nginx_is(node, "if") && node->n_args >= 2 &&
           (strncmp(node->args[1], "($host", 6) == 0 || strncmp(node->args[1], "($http_host", 11) == 0 ||
            (strcmp(node->args[1], "(") == 0 && node->n_args > 2 && strncmp(node->args[2], "$host", 5) == 0));
}

bool nginx_is_main_location(const struct nginx_node *node)
{
    if (!nginx_is(node, "location") || !node->block) {
        return false;
    }
    const char *path = node->args[node->n_args - 1];
    return (node->n_args == 2 && strcmp(path, "/") == 0) ||
           (node->n_args == 3 && ((strcmp(node->args[1], "^~") == 0 && strcmp(path, "/") == 0) ||
                                  (node->args[1][0] == '~' && matches_everything(path))));
}

/* What the server does with a request for its names, whatever the path. */
enum nginx_redirect nginx_server_redirect(const struct nginx_config *config, const struct site *site,
                                          const struct nginx_node *server)
{
    AUTO_NODES body = {0};
    enum nginx_redirect host = REDIRECT_NONE, location = REDIRECT_NONE;
    nginx_children(config, server, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        const struct nginx_node *node = body.v[i];
        enum nginx_redirect kind = directive_redirect(site, node);
        if (kind != REDIRECT_NONE) {
            return host == REDIRECT_HTTPS_SAME ? host : kind;
        }
        if (is_host_condition(node) && host == REDIRECT_NONE) {
            host = block_redirect(config, site, node);
        }
        if (nginx_is_main_location(node)) {
            location = block_redirect(config, site, node);
        }
    }
    return location == REDIRECT_REFUSES ? REDIRECT_NONE : location; /* an error page is a page */
}
