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

enum match { MATCH_NO, MATCH_YES, MATCH_UNCLEAR };

static enum match regex_match(const char *pattern, const char *name)
{
    AUTO_BUF ere = BUF_INIT;
    regex_t compiled;
    bool caseless = strpbrk(pattern, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != NULL;
    to_ere(pattern, &ere);
    if (regcomp(&compiled, buf_str(&ere), REG_EXTENDED | REG_NOSUB | (caseless ? REG_ICASE : 0)) != 0) {
        return MATCH_UNCLEAR;
    }
    bool found = regexec(&compiled, name, 0, NULL, 0) == 0;
    regfree(&compiled);
    return found ? MATCH_YES : MATCH_NO;
}

/* A regex that cannot be understood matches nothing here; but see nginx_unclear_owner(). */
static bool regex_matches(const char *pattern, const char *name)
{
    return regex_match(pattern, name) == MATCH_YES;
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

/* A name, once it is noted for a socket, is a conflict for all that come later there: nginx warns, and
 * ignores those. So a server may say a name and not have it. */

static struct nginx_named *find_named(const struct nginx_model *model, const char *key, size_t socket)
{
    const size_t *first = nginx_index_get(&model->by_name, key);
    for (size_t at = first != NULL ? *first + 1 : 0; at > 0; at = model->named[at - 1].next) {
        if (model->named[at - 1].socket == socket) {
            return &model->named[at - 1];
        }
    }
    return NULL;
}

/* False: it was noted before. */
static bool note_name(struct nginx_model *model, const char *key, size_t socket, size_t site)
{
    if (find_named(model, key, socket) != NULL) {
        return false;
    }
    const size_t *first = nginx_index_get(&model->by_name, key);
    if ((model->n_named & (model->n_named - 1)) == 0) {
        size_t room = model->n_named == 0 ? 1 : model->n_named * 2;
        model->named = mem_resize(model->named, room, sizeof model->named[0]);
    }
    model->named[model->n_named] =
        (struct nginx_named){.socket = socket, .site = site, .next = first != NULL ? *first + 1 : 0};
    nginx_index_put(&model->by_name, key, model->n_named++);
    return true;
}

/* ".x": both x and *.x, or neither. */
static void note_both(struct nginx_model *model, const char *name, size_t socket, size_t site)
{
    AUTO_FREE char *wildcard = mem_fmt("*%s", name);
    if (note_name(model, name + 1, socket, site) && !note_name(model, wildcard, socket, site)) {
        find_named(model, name + 1, socket)->site = NGINX_NOBODY;
    }
}

static void index_names(struct nginx_model *model, const struct site *site, size_t index, size_t socket)
{
    for (size_t i = 0; i < site->names.n; i++) {
        const char *name = site->names.v[i];
        char host[256];
        if (strcmp(name, "$hostname") == 0) {
            host_name(host, sizeof host);
            name = host;
        }
        if (name[0] == '.') {
            note_both(model, name, socket, index);
        } else if (name[0] != '~') {
            note_name(model, name, socket, index);
        }
    }
}

static bool has_regex(const struct site *site)
{
    for (size_t i = 0; i < site->names.n; i++) {
        if (site->names.v[i][0] == '~') {
            return true;
        }
    }
    return false;
}

void nginx_names_index(struct sites *sites)
{
    struct nginx_model *model = sites->priv;
    for (size_t i = 0; i < sites->n; i++) {
        const struct site *site = &sites->v[i];
        for (size_t k = 0; k < site->n_listens; k++) {
            const struct nginx_socket *socket =
                nginx_socket_at(sites, site->listens[k].address, site->listens[k].port);
            index_names(model, site, i, (size_t)(socket - model->sockets));
        }
        if (has_regex(site)) {
            model->regexes = mem_resize(model->regexes, model->n_regexes + 1, sizeof model->regexes[0]);
            model->regexes[model->n_regexes++] = i;
        }
    }
}

/* ---- the owner ---- */

static const struct site *named_site(const struct sites *sites, const char *key, size_t socket)
{
    const struct nginx_named *named = find_named(nginx_model_of(sites), key, socket);
    return named != NULL && named->site != NGINX_NOBODY ? &sites->v[named->site] : NULL;
}

/* The longest "*.x" that fits. */
static const struct site *leading_owner(const struct sites *sites, const char *name, size_t socket)
{
    const struct site *site = NULL;
    for (const char *dot = strchr(name, '.'); dot != NULL && site == NULL; dot = strchr(dot + 1, '.')) {
        AUTO_FREE char *key = mem_fmt("*%s", dot);
        site = named_site(sites, key, socket);
    }
    return site;
}

/* The longest "x.*" that fits. */
static const struct site *trailing_owner(const struct sites *sites, const char *name, size_t socket)
{
    const struct site *site = NULL;
    for (size_t n = strlen(name); n > 0 && site == NULL; n--) {
        if (name[n - 1] == '.') {
            AUTO_FREE char *key = mem_fmt("%.*s*", (int)n, name);
            site = named_site(sites, key, socket);
        }
    }
    return site;
}

static const struct site *regex_owner(const struct sites *sites, const char *name, const char *address,
                                      int port)
{
    const struct nginx_model *model = nginx_model_of(sites);
    for (size_t i = 0; i < model->n_regexes; i++) {
        const struct site *site = &sites->v[model->regexes[i]];
        for (size_t k = 0; site_listens_at(site, address, port) && k < site->names.n; k++) {
            if (fit(site->names.v[k], name) == FIT_REGEX) {
                return site;
            }
        }
    }
    return NULL;
}

const struct site *nginx_owner_at(const struct sites *sites, const char *name, const char *address, int port,
                                  bool explicit_only)
{
    const struct nginx_socket *socket = nginx_socket_at(sites, address, port);
    if (socket == NULL) {
        return NULL;
    }
    size_t number = (size_t)(socket - nginx_model_of(sites)->sockets);
    const struct site *site = named_site(sites, name, number);
    if (site == NULL && name[0] != '*') {
        site = leading_owner(sites, name, number);
        site = site != NULL ? site : trailing_owner(sites, name, number);
        site = site != NULL ? site : regex_owner(sites, name, address, port);
    }
    return site != NULL || explicit_only ? site : &sites->v[socket->default_server];
}

const struct site *nginx_unclear_owner(const struct sites *sites, const char *name, const char *address,
                                       int port, const char **pattern)
{
    const struct nginx_model *model = nginx_model_of(sites);
    const struct nginx_socket *socket = nginx_socket_at(sites, address, port);
    size_t number = socket != NULL ? (size_t)(socket - model->sockets) : 0;
    if (socket == NULL || model->n_regexes == 0 || name[0] == '*' ||
        named_site(sites, name, number) != NULL || leading_owner(sites, name, number) != NULL ||
        trailing_owner(sites, name, number) != NULL) {
        return NULL;
    }
    for (size_t i = 0; i < model->n_regexes; i++) {
        const struct site *site = &sites->v[model->regexes[i]];
        for (size_t k = 0; site_listens_at(site, address, port) && k < site->names.n; k++) {
            const char *text = site->names.v[k];
            enum match match = text[0] == '~' ? regex_match(text + 1, name) : MATCH_NO;
            if (match == MATCH_UNCLEAR) {
                *pattern = text;
                return site;
            }
            if (match == MATCH_YES) {
                return NULL;
            }
        }
    }
    return NULL;
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
