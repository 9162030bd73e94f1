/*
 * nginx_challenge.c - the answer to http-01, in the servers that the world asks.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nginx_edit.h"
#include "tlsup/b64.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

#ifndef TLSUP_STATE_DIR
#define TLSUP_STATE_DIR "/var/lib/tlsup"
#endif

enum { THUMBPRINT_MAX = 64 };

#define CHALLENGE_PATH "/.well-known/acme-challenge/"

/* ---- captures of a regular server_name ---- */

/* The highest of $1 to $9 in the words of these directives and of all below them. */
static size_t captures_in(const struct nginx_config *config, const struct nginx_nodes *nodes)
{
    size_t highest = 0;
    for (size_t i = 0; i < nodes->n; i++) {
        const struct nginx_node *node = nodes->v[i];
        for (size_t k = 0; k < node->n_args; k++) {
            for (const char *at = node->args[k]; (at = strchr(at, '$')) != NULL; at++) {
                size_t number = at[1] >= '1' && at[1] <= '9' ? (size_t)(at[1] - '0') : 0;
                highest = number > highest ? number : highest;
            }
        }
        if (node->block) {
            AUTO_NODES inner = {0};
            nginx_children(config, node, false, &inner);
            size_t below = captures_in(config, &inner);
            highest = below > highest ? below : highest;
        }
    }
    return highest;
}

static bool name_captures(const struct site *site)
{
    for (size_t i = 0; i < site->names.n; i++) {
        if (site->names.v[i][0] == '~' && strchr(site->names.v[i], '(') != NULL) {
            return true;
        }
    }
    return false;
}

size_t nginx_captures_save(const struct nginx_editor *editor, const struct site *site,
                           struct nginx_lines *lines)
{
    AUTO_NODES body = {0};
    AUTO_BUF all = BUF_INIT;
    if (site == NULL || !name_captures(site)) {
        return 0;
    }
    const struct nginx_config *config = nginx_config_of(editor);
    nginx_children(config, nginx_server_of(site)->node, false, &body);
    size_t own = captures_in(config, &body);
    size_t above = captures_in(config, &nginx_model_of(&editor->sites)->http_settings); /* access_log */
    size_t n = own > above ? own : above;
    for (size_t i = 1; i <= n; i++) {
        buf_addf(&all, "%s$%zu", i > 1 ? " // " : "", i);
    }
    if (n > 0) {
        nginx_line(lines, "set $tlsup_captures \"%s\";", buf_str(&all));
    }
    return n;
}

void nginx_captures_restore(size_t n, struct nginx_lines *lines)
{
    AUTO_BUF all = BUF_INIT;
    for (size_t i = 1; i <= n; i++) {
        buf_adds(&all, i < n ? "(.*?) // " : "(.*)");
    }
    if (n > 0) {
        nginx_line(lines, "if ($tlsup_captures ~ \"(?s)^%s$\") { }", buf_str(&all));
    }
}

/* ---- the answer ---- */

/* A regular expression in an `if`, whether it matches or not, ends the captures of the server_name. */
static void challenge_lines(const struct nginx_editor *editor, const struct site *site,
                            const char *thumbprint, struct nginx_lines *lines)
{
    const struct web *web = editor->web;
    if (web->has_rewrite) {
        size_t captures = nginx_captures_save(editor, site, lines);
        nginx_line(lines,
                   "if ($request_uri ~ \"^/\\.well-known/acme-challenge/([A-Za-z0-9_-]+)$\") { return 200 "
                   "\"$1.%s\"; }",
                   thumbprint);
        nginx_captures_restore(captures, lines);
        return;
    }
    /* Without the rewrite module nothing can be answered out of the request: token files it is. */
    AUTO_BUF path = BUF_INIT;
    AUTO_FREE char *dir =
        mem_fmt("%s/", web->token_dir[0] != '\0' ? web->token_dir : TLSUP_STATE_DIR "/challenges");
    nginx_word_encode(dir, &path);
    nginx_line(lines, "location ^~ " CHALLENGE_PATH " { default_type text/plain; alias %s; }",
               buf_str(&path));
}

/* Does somebody's own server-level `if` answer with this thumbprint already? (Ours is left out of the parse.)
 */
static bool answers_already(const struct nginx_editor *editor, const struct nginx_node *server,
                            const char *thumbprint)
{
    AUTO_NODES body = {0};
    nginx_children(nginx_config_of(editor), server, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        const struct nginx_node *node = body.v[i];
        bool ours = false;
        for (size_t k = 1; nginx_is(node, "if") && k < node->n_args; k++) {
            ours |= strstr(node->args[k], "acme-challenge") != NULL;
        }
        const struct nginx_node *answer = ours ? nginx_child(nginx_config_of(editor), node, "return") : NULL;
        if (answer != NULL && answer->n_args == 3 && strstr(answer->args[2], thumbprint) != NULL) {
            return true;
        }
    }
    return false;
}

/* A location of the same path, of another ACME client; NULL = none. */
static const struct nginx_node *other_answer(const struct nginx_editor *editor,
                                             const struct nginx_node *server)
{
    AUTO_NODES body = {0};
    nginx_children(nginx_config_of(editor), server, false, &body);
    for (size_t i = 0; i < body.n; i++) {
        const struct nginx_node *node = body.v[i];
        if (nginx_is(node, "location") && node->n_args > 1 &&
            strncmp(node->args[node->n_args - 1], CHALLENGE_PATH, sizeof CHALLENGE_PATH - 2) == 0) {
            return node;
        }
    }
    return NULL;
}

/* Without the rewrite module ours is a location too: two of one path are an error. */
static bool check_other(struct nginx_editor *editor, const struct nginx_node *server)
{
    const struct nginx_node *other = other_answer(editor, server);
    const char *path = other != NULL ? nginx_file_of(editor, other)->path : "";
    if (other == NULL) {
        return true;
    }
    if (editor->web->has_rewrite) {
        log_info("%s:%zu answered challenges for another ACME client: from now on tlsup's answer comes first",
                 path, other->line);
        return true;
    }
    err_set(editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path,
            "%s:%zu answers challenges for another ACME client, and this nginx was built without its rewrite "
            "module",
            path, other->line);
    return err_advise(editor->err, "Take that location out, then try again.");
}

/* Lua code of this phase runs before our answer, and may give another. */
static void warn_of_lua(const struct nginx_editor *editor, const struct nginx_nodes *body)
{
    for (size_t i = 0; i < body->n; i++) {
        const struct nginx_node *node = body->v[i];
        if (strncmp(node->args[0], "server_rewrite_by_lua", sizeof "server_rewrite_by_lua" - 1) == 0) {
            log_warn("%s:%zu: this Lua code runs before the answer to the certificate authority: it must "
                     "let " CHALLENGE_PATH " pass",
                     nginx_file_of(editor, node)->path, node->line);
        }
    }
}

/* Has it our block, of before or by the last edit? Then all is said. */
static bool is_known(const struct nginx_editor *editor, const struct nginx_node *server)
{
    const struct nginx_edit *last = editor->n_edits > 0 ? &editor->edits[editor->n_edits - 1] : NULL;
    return nginx_mark_in(nginx_config_of(editor), server, NGINX_CHALLENGE_ID) != NULL ||
           (last != NULL && last->file == server->file && last->at == server->open);
}

static bool put_challenge(struct nginx_editor *editor, const struct site *site, const char *thumbprint)
{
    const struct nginx_node *server = nginx_server_of(site)->node;
    AUTO_NGINX_LINES lines = {0};
    bool kept;
    if (answers_already(editor, server, thumbprint)) {
        return true;
    }
    if (!check_other(editor, server)) {
        return false;
    }
    if (!is_known(editor, server)) {
        AUTO_NODES body = {0};
        nginx_children(nginx_config_of(editor), server, false, &body);
        warn_of_lua(editor, &body);
    }
    nginx_lines_for(nginx_file_of(editor, server), server, &lines);
    challenge_lines(editor, site, thumbprint, &lines);
    return nginx_block_put(editor, server, NGINX_CHALLENGE_ID, &lines,
                           (struct nginx_essence){.has = thumbprint}, &kept);
}

/* The addresses on a port that the world may ask; loopback only when there is nothing else. */
void nginx_public_addresses(const struct sites *sites, int port, struct strlist *out)
{
    AUTO_STRLIST all = STRLIST_INIT;
    nginx_addresses(sites, port, &all);
    for (int loopback = 0; loopback < 2 && out->n == 0; loopback++) {
        for (size_t i = 0; i < all.n; i++) {
            if (site_address_is_loopback(all.v[i]) == (loopback == 1)) {
                strlist_add(out, all.v[i]);
            }
        }
    }
}

static bool has_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

/* Where port 80 is to be opened for names that nothing answers on 80: where their https is, else everywhere.
 */
static void port80_addresses(const struct nginx_editor *editor, const struct strlist *names,
                             struct strlist *out)
{
    AUTO_STRLIST secure = STRLIST_INIT;
    nginx_addresses(&editor->sites, NGINX_HTTPS_PORT, &secure);
    for (size_t i = 0; i < secure.n; i++) {
        for (size_t k = 0; k < names->n; k++) {
            if (nginx_owner_at(&editor->sites, names->v[k], secure.v[i], NGINX_HTTPS_PORT, true) != NULL &&
                !strlist_has(out, secure.v[i])) {
                strlist_add(out, secure.v[i]);
            }
        }
    }
    if (out->n == 0) {
        strlist_add(out, "*");
        if (has_ipv6()) {
            strlist_add(out, "[::]");
        }
    }
}

/* Add a server block to the end of the http block itself. */
static void append_to_http(struct nginx_editor *editor, const struct buf *server)
{
    const struct nginx_node *http = nginx_model_of(&editor->sites)->http;
    AUTO_FREE char *text = mem_fmt("\n%s", buf_str(server));
    nginx_edit_add(editor, http->file, http->close, 0, text);
}

/* Where that server is, or will be: read by its own name at once, so that a later edit in the same
 * transaction finds it. */
static bool challenge_place(const struct nginx_editor *editor, const char *name, struct nginx_place *out)
{
    AUTO_FREE char *file = nginx_place_name("tlsup-http-", name);
    return nginx_place_find(editor, file, NULL, NULL, out);
}

/* Nothing listens on 80: a server of our own that answers the challenge and nothing else. */
static bool new_challenge_server(struct nginx_editor *editor, const struct strlist *names,
                                 const char *thumbprint)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    AUTO_NGINX_LINES lines = {.indent = mem_dup("    "), .eol = "\n"};
    AUTO_NGINX_LINES answer = {.indent = mem_dup("    "), .eol = "\n"};
    AUTO_BUF text = BUF_INIT;
    AUTO_NGINX_PLACE place = {0};
    port80_addresses(editor, names, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        AUTO_BUF word = BUF_INIT;
        nginx_listen_word(addresses.v[i], NGINX_HTTP_PORT, &word);
        nginx_line(&lines, "listen %s;", buf_str(&word));
    }
    nginx_server_name_line(names, &lines);
    nginx_line(&lines, "location / { return 404; }");
    challenge_lines(editor, NULL, thumbprint, &answer);
    buf_addf(&text, "# Written by tlsup: answers the certificate authority on port 80, where nothing else "
                    "listens.\nserver {");
    nginx_mark_write(NGINX_CHALLENGE_ID, "    ", "\n", &answer.text, &text);
    buf_addf(&text, "\n%s}\n", buf_str(&lines.text));
    if (!challenge_place(editor, names->v[0], &place)) {
        append_to_http(editor, &text);
        return nginx_edit_stage(editor);
    }
    return txn_write(editor->txn, place.loaded_as, buf_str(&text), text.len, NGINX_NEW_FILE_MODE,
                     editor->err);
}

/* The server that answers the name on one address, and the one that perhaps does. */
static bool put_at(struct nginx_editor *editor, const char *name, const char *address, const char *thumbprint)
{
    const char *pattern;
    const struct site *site = nginx_owner_at(&editor->sites, name, address, NGINX_HTTP_PORT, false);
    const struct site *perhaps =
        nginx_unclear_owner(&editor->sites, name, address, NGINX_HTTP_PORT, &pattern);
    return put_challenge(editor, site, thumbprint) &&
           (perhaps == NULL || put_challenge(editor, perhaps, thumbprint));
}

/* The addresses on which the name is to be answered: those that the world may ask, and, where no server there
 * says the name, those of loopback whose servers say it (behind a proxy, say). */
static void addresses_of(const struct nginx_editor *editor, const char *name, struct strlist *out)
{
    const struct sites *sites = &editor->sites;
    AUTO_STRLIST all = STRLIST_INIT;
    bool named = false;
    nginx_public_addresses(sites, NGINX_HTTP_PORT, out);
    for (size_t i = 0; i < out->n; i++) {
        named |= nginx_owner_at(sites, name, out->v[i], NGINX_HTTP_PORT, true) != NULL;
    }
    nginx_addresses(sites, NGINX_HTTP_PORT, &all);
    for (size_t i = 0; i < all.n && !named; i++) {
        if (site_address_is_loopback(all.v[i]) && !strlist_has(out, all.v[i]) &&
            nginx_owner_at(sites, name, all.v[i], NGINX_HTTP_PORT, true) != NULL) {
            strlist_add(out, all.v[i]);
        }
    }
}

bool nginx_edit_challenge(const struct web *web, const struct sites *sites, const struct strlist *names,
                          const char *thumbprint, struct txn *txn, struct err *err)
{
    AUTO_NGINX_EDITOR editor = {.web = web, .txn = txn, .err = err};
    AUTO_STRLIST missing = STRLIST_INIT;
    if (!b64url_valid(thumbprint, THUMBPRINT_MAX)) {
        return err_set(err, ERR_INTERNAL, NEXT_NONE, "", "not a key thumbprint");
    }
    if (!nginx_editor_open(&editor, sites, NGINX_CHALLENGE_ID)) {
        return false;
    }
    warn_of_lua(&editor, &nginx_model_of(&editor.sites)->http_settings);
    for (size_t i = 0; i < names->n; i++) {
        if (name_is_wildcard(names->v[i])) {
            continue; /* no CA validates a wildcard over http */
        }
        AUTO_STRLIST addresses = STRLIST_INIT;
        addresses_of(&editor, names->v[i], &addresses);
        for (size_t k = 0; k < addresses.n; k++) {
            if (!put_at(&editor, names->v[i], addresses.v[k], thumbprint)) {
                return false;
            }
        }
        if (addresses.n == 0) {
            strlist_add(&missing, names->v[i]);
        }
    }
    return missing.n > 0 ? new_challenge_server(&editor, &missing, thumbprint) : nginx_edit_stage(&editor);
}
