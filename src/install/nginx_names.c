/*
 * nginx_names.c - who owns a name, by the rules of nginx itself.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <ctype.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nginx_model.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum { FIT_REGEX = NGINX_FIT_REGEX, FIT_TRAILING = 1000, FIT_LEADING = 2000, FIT_EXACT = 3000 };

static bool ends_with(const char *text, const char *suffix)
{
    size_t a = strlen(text), b = strlen(suffix);
    return a > b && strcmp(text + a - b, suffix) == 0;
}

/* Rewrite the commonest PCRE forms in ERE: named and plain groups, \d and its like. */
static void to_ere(const char *pcre, struct buf *out)
{
    static const struct {
        const char *from, *to;
    } table[] = {{"(?:", "("}, {"\\d", "[0-9]"}, {"\\D", "[^0-9]"}, {"\\h", "[ \t]"},
                 {"*?", "*"},  {"+?", "+"},      {"*+", "*"},       {"++", "+"}};
    while (*pcre != '\0') {
        size_t i = 0;
        if (strncmp(pcre, "(?<", 3) == 0 || strncmp(pcre, "(?P<", 4) == 0 || strncmp(pcre, "(?'", 3) == 0) {
            const char *name = strpbrk(pcre + 2, "<'") + 1;
            const char *end = *name != '=' && *name != '!' ? strpbrk(name, ">'") : NULL;
            if (end != NULL) {
                buf_addc(out, '(');
                pcre = end + 1;
                continue;
            }
        }
        while (i < COUNT_OF(table) && strncmp(pcre, table[i].from, strlen(table[i].from)) != 0) {
            i++;
        }
        if (i < COUNT_OF(table)) {
            buf_adds(out, table[i].to);
            pcre += strlen(table[i].from);
        } else if (pcre[0] == '\\' && pcre[1] != '\0') {
            buf_add(out, pcre, 2);
            pcre += 2;
        } else {
            buf_addc(out, *pcre++);
        }
    }
}

/* A regex that cannot be understood matches nothing. */
static bool regex_matches(const char *pattern, const char *name)
{
    AUTO_BUF ere = BUF_INIT;
    regex_t compiled;
    bool caseless = strpbrk(pattern, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != NULL;
    to_ere(pattern, &ere);
    if (regcomp(&compiled, buf_str(&ere), REG_EXTENDED | REG_NOSUB | (caseless ? REG_ICASE : 0)) != 0) {
        log_debug("not understood, taken as no match: server_name ~%s", pattern);
        return false;
    }
    bool found = regexec(&compiled, name, 0, NULL, 0) == 0;
    regfree(&compiled);
    return found;
}

static int fit(const char *pattern, const char *name)
{
    size_t len = strlen(pattern);
    if (pattern[0] == '~') {
        return name[0] != '*' && regex_matches(pattern + 1, name) ? FIT_REGEX : 0;
    }
    if (strcmp(pattern, name) == 0 || (pattern[0] == '.' && strcmp(pattern + 1, name) == 0) ||
        (pattern[0] == '.' && name[0] == '*' && strcmp(pattern, name + 1) == 0)) {
        return FIT_EXACT;
    }
    if (name[0] == '*') {
        return 0;
    }
    if (pattern[0] == '.' && ends_with(name, pattern)) {
        return FIT_LEADING + (int)len;
    }
    if (strncmp(pattern, "*.", 2) == 0 && ends_with(name, pattern + 1)) {
        return FIT_LEADING + (int)len - 1;
    }
    if (len > 2 && strcmp(pattern + len - 2, ".*") == 0 && strncmp(pattern, name, len - 1) == 0) {
        return FIT_TRAILING + (int)len;
    }
    return 0;
}

static void host_name(char *out, size_t size)
{
    if (gethostname(out, size - 1) != 0) {
        out[0] = '\0';
    }
    out[size - 1] = '\0';
    for (char *p = out; *p != '\0'; p++) {
        *p = (char)tolower((unsigned char)*p);
    }
}

int nginx_site_fit(const struct site *site, const char *name)
{
    int best = 0;
    for (size_t i = 0; i < site->names.n; i++) {
        char host[256];
        const char *pattern = site->names.v[i];
        if (strcmp(pattern, "$hostname") == 0) {
            host_name(host, sizeof host);
            pattern = host;
        }
        int value = fit(pattern, name);
        best = value > best ? value : best;
    }
    return best;
}

/* ---- the index ---- */

static void add_named(struct nginx_model *model, const char *name, size_t site)
{
    size_t *first = nginx_index_get(&model->by_name, name);
    if ((model->n_named & (model->n_named - 1)) == 0) {
        size_t room = model->n_named == 0 ? 1 : model->n_named * 2;
        model->named = mem_resize(model->named, room, sizeof model->named[0]);
    }
    /* The last site comes first in the chain: the sites are gone through backwards. */
    model->named[model->n_named] = (struct nginx_named){.site = site, .next = first != NULL ? *first + 1 : 0};
    nginx_index_put(&model->by_name, name, model->n_named++);
}

static void add_pattern(struct nginx_model *model, size_t site)
{
    if (model->n_patterned > 0 && model->patterned[model->n_patterned - 1] == site) {
        return;
    }
    if ((model->n_patterned & (model->n_patterned - 1)) == 0) {
        size_t room = model->n_patterned == 0 ? 1 : model->n_patterned * 2;
        model->patterned = mem_resize(model->patterned, room, sizeof model->patterned[0]);
    }
    model->patterned[model->n_patterned++] = site;
}

static void index_name(struct nginx_model *model, const char *name, size_t site)
{
    size_t len = strlen(name);
    char host[256];
    if (strcmp(name, "$hostname") == 0) {
        host_name(host, sizeof host);
        name = host;
    }
    add_named(model, name, site);
    if (name[0] == '.') {
        AUTO_FREE char *wildcard = mem_fmt("*%s", name);
        add_named(model, name + 1, site);
        add_named(model, wildcard, site);
    }
    if (strchr("~.*", name[0]) != NULL || (len > 2 && strcmp(name + len - 2, ".*") == 0)) {
        add_pattern(model, site);
    }
}

void nginx_names_index(struct sites *sites)
{
    struct nginx_model *model = sites->priv;
    for (size_t i = sites->n; i-- > 0;) {
        for (size_t k = 0; k < sites->v[i].names.n; k++) {
            index_name(model, sites->v[i].names.v[k], i);
        }
    }
}

/* ---- the owner ---- */

/* The first site with exactly this name. */
static const struct site *exact_owner(const struct sites *sites, const char *name, const char *address, int port)
{
    const struct nginx_model *model = nginx_model_of(sites);
    const size_t *first = nginx_index_get(&model->by_name, name);
    for (size_t at = first != NULL ? *first + 1 : 0; at > 0; at = model->named[at - 1].next) {
        const struct site *site = &sites->v[model->named[at - 1].site];
        if (site_listens_at(site, address, port)) {
            return site;
        }
    }
    return NULL;
}

/* The site whose wildcard or regex fits best; of several, the first. */
static const struct site *pattern_owner(const struct sites *sites, const char *name, const char *address,
                                        int port)
{
    const struct nginx_model *model = nginx_model_of(sites);
    const struct site *best = NULL;
    int best_fit = 0;
    for (size_t i = model->n_patterned; i-- > 0;) {
        const struct site *site = &sites->v[model->patterned[i]];
        int value = site_listens_at(site, address, port) ? nginx_site_fit(site, name) : 0;
        if (value > best_fit) {
            best = site;
            best_fit = value;
        }
    }
    return best;
}

const struct site *nginx_owner_at(const struct sites *sites, const char *name, const char *address, int port,
                                  bool explicit_only)
{
    const struct nginx_socket *socket = nginx_socket_at(sites, address, port);
    if (socket == NULL) {
        return NULL;
    }
    const struct site *site = exact_owner(sites, name, address, port);
    if (site == NULL) {
        site = pattern_owner(sites, name, address, port);
    }
    return site != NULL || explicit_only ? site : &sites->v[socket->default_server];
}

const struct site *nginx_owner(const struct sites *sites, const char *name, int port, bool explicit_only)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    nginx_addresses(sites, port, &addresses);
    /* Who names it comes before a mere default server; what the world can reach before loopback. */
    for (int round = 0; round < (explicit_only ? 2 : 4); round++) {
        bool loopback = round % 2 == 1;
        for (size_t i = 0; i < addresses.n; i++) {
            if (site_address_is_loopback(addresses.v[i]) != loopback) {
                continue;
            }
            const struct site *site = nginx_owner_at(sites, name, addresses.v[i], port, round < 2);
            if (site != NULL) {
                return site;
            }
        }
    }
    return NULL;
}
