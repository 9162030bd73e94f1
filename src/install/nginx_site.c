/*
 * nginx_site.c - a server of its own for names that only a default server answers.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nginx_edit.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

/* The default server that answers the unowned names on port 80. */
static const struct site *default_of(const struct nginx_plan *plan)
{
    return nginx_owner(&plan->editor->sites, plan->unowned.v[0], NGINX_HTTP_PORT, false);
}

static bool no_site(const struct nginx_plan *plan, const char *why)
{
    const char *name = plan->unowned.v[0];
    err_set(plan->editor->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, name, "no nginx server has the name %s%s%s",
            name, why[0] != '\0' ? ", and " : "", why);
    return err_advise(plan->editor->err,
                      "Write a server block with \"server_name %s;\" and a root or proxy_pass, or add the "
                      "name to the server_name "
                      "line of the site that it belongs to.",
                      name);
}

/* Can the default server's body stand in a second server? */
static bool check_default(const struct nginx_plan *plan, const struct site *site)
{
    const struct nginx_server *server = nginx_server_of(site);
    char why[512];
    for (size_t i = 0; i < site->names.n; i++) {
        if (!nginx_is_placeholder(site->names.v[i])) {
            snprintf(why, sizeof why, "the server that would answer it (%.200s:%zu) belongs to %.200s",
                     site->file, nginx_line_now(plan->editor, site), site->names.v[i]);
            return no_site(plan, why);
        }
    }
    static const char *const reasons[] = {
        [REDIRECT_HTTPS_SAME] = "only redirects to https",
        [REDIRECT_HTTPS_OTHER] = "only redirects to https",
        [REDIRECT_REFUSES] = "refuses every request",
        [REDIRECT_CLOSES] = "closes the connection",
    };
    if (server->redirect < (int)COUNT_OF(reasons) && reasons[server->redirect] != NULL) {
        snprintf(why, sizeof why, "the default server (%.200s:%zu) %s", site->file,
                 nginx_line_now(plan->editor, site), reasons[server->redirect]);
        return no_site(plan, why);
    }
    return true;
}

static bool belongs_to_listener(const struct nginx_node *node)
{
    static const char *const names[] = {"listen", "server_name", "http2", "ssl"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (nginx_is(node, names[i])) {
            return true;
        }
    }
    return nginx_is_certificate_line(node);
}

/* What the default server says beside who it is: copied as it is written. */
static bool copy_body(const struct nginx_plan *plan, const struct site *site, struct nginx_lines *lines)
{
    const struct nginx_node *server = nginx_server_of(site)->node;
    const struct nginx_config *config = nginx_config_of(plan->editor);
    const struct nginx_file *file = config->files[server->file];
    for (size_t i = 0; i < server->n_children; i++) {
        const struct nginx_node *node = &server->children[i];
        if (belongs_to_listener(node) || nginx_tls_replaces(plan, node) ||
            nginx_brings_certificate(config, node) || nginx_mark_around(config, node) != NULL) {
            continue;
        }
        for (size_t f = 0; f < node->n_included; f++) {
            AUTO_NODES inner = {0};
            nginx_children(config, &config->files[node->included[f]]->root, false, &inner);
            for (size_t k = 0; k < inner.n; k++) {
                if (belongs_to_listener(inner.v[k])) {
                    return no_site(
                        plan, "the default server keeps its listen or certificate lines in an included file");
                }
            }
        }
        buf_adds(&lines->text, lines->indent);
        buf_add(&lines->text, buf_str(&file->text) + node->begin, node->end - node->begin);
        buf_adds(&lines->text, lines->eol);
    }
    return true;
}

/* The port-80 listens that the new server needs: those where `site` answers the names now. */
static void new_listens(const struct nginx_plan *plan, const struct site *site, struct nginx_server *out)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    nginx_public_addresses(&plan->editor->sites, NGINX_HTTP_PORT, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        const struct nginx_listen *old =
            nginx_listen_at(nginx_server_of(site), addresses.v[i], NGINX_HTTP_PORT);
        if (old == NULL ||
            nginx_plan_owner_at(plan, plan->unowned.v[0], addresses.v[i], NGINX_HTTP_PORT, false) != site) {
            continue;
        }
        out->listens = mem_resize(out->listens, out->n_listens + 1, sizeof out->listens[0]);
        struct nginx_listen *listen = &out->listens[out->n_listens++];
        *listen = *old;
        listen->port = listen->port_last = NGINX_HTTP_PORT;
        listen->implicit = false;
    }
}

static void plain_listen_lines(const struct nginx_server *server, struct nginx_lines *lines)
{
    for (size_t i = 0; i < server->n_listens; i++) {
        AUTO_BUF word = BUF_INIT;
        nginx_listen_word(server->listens[i].address, NGINX_HTTP_PORT, &word);
        nginx_line(lines, "listen %s%s;", buf_str(&word),
                   server->listens[i].proxy_protocol ? " proxy_protocol" : "");
    }
}

/* The challenge answer of the default server goes along: requests for the names will not reach it any more.
 */
static void copy_challenge(const struct nginx_plan *plan, const struct nginx_node *server, struct buf *out)
{
    const struct nginx_file *file = nginx_file_of(plan->editor, server);
    const struct nginx_mark *mark = nginx_mark_in(nginx_config_of(plan->editor), server, NGINX_CHALLENGE_ID);
    if (mark != NULL) {
        buf_add(out, buf_str(&file->text) + mark->begin, mark->end - mark->begin);
    }
}

/* The text of the new server block, its lines indented by `outer`. */
static bool new_server_text(struct nginx_plan *plan, const struct site *site, const char *outer,
                            struct buf *out)
{
    const struct nginx_node *node = nginx_server_of(site)->node;
    const struct nginx_file *file = nginx_file_of(plan->editor, node);
    struct nginx_server server = {.node = node};
    AUTO_NGINX_LINES block = {0}, body = {0};
    nginx_lines_for(file, node, &block);
    nginx_lines_for(file, node, &body);
    new_listens(plan, site, &server);
    plain_listen_lines(&server, &body);
    nginx_server_name_line(&plan->unowned, &body);
    bool ok = copy_body(plan, site, &body) && nginx_listen_lines(plan, &server, NULL, &block);
    free(server.listens);
    if (!ok) {
        return false;
    }
    nginx_certificate_lines(plan, &block);
    nginx_tls_lines(plan, node, true, &block);
    nginx_hsts_lines(plan, nginx_server_of(site), true, &block);
    if (plan->https->redirect && plan->editor->web->has_rewrite) {
        nginx_line(&block, "if ($scheme = http) { return 301 https://$host$request_uri; }");
    }
    buf_addf(
        out,
        "%s# Written by tlsup: %s as the default server shows it, with https. Yours to edit.%s%sserver {",
        outer, plan->unowned.v[0], block.eol, outer);
    copy_challenge(plan, node, out);
    nginx_mark_write(plan->id, block.indent, block.eol, &block.text, out);
    buf_addf(out, "%s%s%s}", block.eol, buf_str(&body.text), outer);
    return true;
}

/* No server is the default by its place alone on the addresses in question: NULL; else the one that must stay
 * first. */
static const struct nginx_node *must_stay_first(const struct site *site)
{
    const struct nginx_server *server = nginx_server_of(site);
    for (size_t i = 0; i < server->n_listens; i++) {
        if (!server->listens[i].default_server && server->listens[i].port <= NGINX_HTTP_PORT &&
            server->listens[i].port_last >= NGINX_HTTP_PORT) {
            return server->node;
        }
    }
    return NULL;
}

/* Write the new file; a file of that name that the server does not read is somebody's, and is left alone
 * (`taken`). */
static bool write_site(struct nginx_plan *plan, const struct nginx_place *place, const struct buf *server,
                       bool *taken)
{
    struct nginx_editor *editor = plan->editor;
    struct err missing = ERR_INIT;
    AUTO_BUF text = BUF_INIT;
    *taken = false;
    if (txn_read(editor->txn, place->path, NGINX_FILE_LIMIT_BYTES, &text, &missing)) {
        bool same = text.len == server->len + 1 && memcmp(buf_str(&text), buf_str(server), server->len) == 0;
        if (!same && !nginx_place_is_loaded(editor, place->loaded_as) &&
            !nginx_place_is_loaded(editor, place->path)) {
            *taken = true;
            return true;
        }
        if (same) {
            buf_reset(&text);
        } else {
            buf_addc(&text, '\n');
        }
    } else if (missing.code != ERR_NOT_FOUND) {
        *editor->err = missing;
        return false;
    }
    buf_add(&text, buf_str(server), server->len);
    buf_addc(&text, '\n');
    return txn_write(editor->txn, place->path, buf_str(&text), text.len, NGINX_NEW_FILE_MODE, editor->err) &&
           (place->link == NULL || txn_exists(editor->txn, place->link) ||
            txn_symlink(editor->txn, place->link, place->path, editor->err));
}

static bool new_site_file(struct nginx_plan *plan, const struct site *site, bool *done)
{
    static const char *const prefixes[] = {"", "tlsup-", "zz-tlsup-"};
    AUTO_BUF server = BUF_INIT;
    *done = false;
    if (!new_server_text(plan, site, "", &server)) {
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
        AUTO_NGINX_PLACE place = {0};
        AUTO_FREE char *name = nginx_place_name(prefixes[i], plan->https->cert_name);
        bool taken;
        if (!nginx_place_find(plan->editor, name, nginx_server_of(site)->node, must_stay_first(site),
                              &place)) {
            continue;
        }
        if (!write_site(plan, &place, &server, &taken)) {
            return false;
        }
        if (!taken) {
            *done = true;
            return true;
        }
    }
    return true;
}

/* No directory for sites: right behind the default server, where it cannot become the default itself. */
static bool new_site_inline(struct nginx_plan *plan, const struct site *site)
{
    const struct nginx_node *node = nginx_server_of(site)->node;
    const struct nginx_file *file = nginx_file_of(plan->editor, node);
    AUTO_FREE char *outer = nginx_blanks_before(file, node);
    AUTO_BUF server = BUF_INIT, text = BUF_INIT;
    if (!new_server_text(plan, site, outer != NULL ? outer : "", &server)) {
        return false;
    }
    const char *eol = nginx_eol(file, node->open);
    buf_addf(&text, "%s%s", eol, eol);
    buf_add(&text, buf_str(&server), server.len);
    if (node->end < file->text.len && strchr("\r\n", file->text.data[node->end]) == NULL) {
        buf_adds(&text, eol);
    }
    nginx_edit_add(plan->editor, node->file, node->end, 0, buf_str(&text));
    return true;
}

bool nginx_site_new(struct nginx_plan *plan)
{
    const struct site *site = default_of(plan);
    bool done;
    if (site == NULL) {
        return no_site(plan, "none answers on port 80");
    }
    if (!check_default(plan, site) || !nginx_tls_check(plan, site) || !new_site_file(plan, site, &done)) {
        return false;
    }
    return done || new_site_inline(plan, site);
}
