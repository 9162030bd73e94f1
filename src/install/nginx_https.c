/*
 * nginx_https.c - the lines of 443: certificates and the redirect, and what must go for them.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "nginx_edit.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

/* ---- certificates and settings ---- */

static void certificate_line(const char *directive, const char *path, struct nginx_lines *lines)
{
    AUTO_BUF word = BUF_INIT;
    nginx_word_encode(path, &word);
    nginx_line(lines, "%s %s;", directive, buf_str(&word));
}

static void pair_lines(const char *live_dir, const char *suffix, struct nginx_lines *lines)
{
    AUTO_FREE char *certificate = mem_fmt("%s/fullchain%s.pem", live_dir, suffix);
    AUTO_FREE char *key = mem_fmt("%s/privkey%s.pem", live_dir, suffix);
    certificate_line("ssl_certificate", certificate, lines);
    certificate_line("ssl_certificate_key", key, lines);
}

void nginx_certificate_lines(const struct nginx_plan *plan, struct nginx_lines *lines)
{
    pair_lines(plan->https->live_dir, "", lines);
    if (plan->https->second != NULL) {
        AUTO_FREE char *suffix = mem_fmt("-%s", plan->https->second);
        pair_lines(plan->https->live_dir, suffix, lines);
    }
}

static bool server_has_443(const struct nginx_server *server, const struct nginx_item *item)
{
    for (size_t i = 0; i < server->n_listens; i++) {
        if (server->listens[i].ssl) {
            return true;
        }
    }
    return item->full;
}

/* "$host is this name", as nginx's `if` says it. */
static void host_condition(const char *name, struct buf *out)
{
    if (!name_is_wildcard(name)) {
        bool v6 = strchr(name, ':') != NULL;
        buf_addf(out, v6 ? "= \"[%s]\"" : "= \"%s\"", name);
        return;
    }
    buf_adds(out, "~ \"^[^.]+");
    for (const char *p = name + 1; *p != '\0'; p++) {
        if (*p == '.') {
            buf_addc(out, '\\');
        }
        buf_addc(out, *p);
    }
    buf_adds(out, "$\"");
}

/* Does it answer on a plain port for names that nobody has, and for bare addresses? */
static bool is_default_in_plain(const struct nginx_plan *plan, const struct site *site)
{
    const struct sites *sites = &plan->editor->sites;
    for (size_t i = 0; i < site->n_listens; i++) {
        const struct site_listen *listen = &site->listens[i];
        const struct nginx_socket *socket =
            listen->ssl ? NULL : nginx_socket_at(sites, listen->address, listen->port);
        if (socket != NULL && &sites->v[socket->default_server] == site) {
            return true;
        }
    }
    return false;
}

/* Is every Host that reaches the server one of these names? A wildcard is not: nginx's takes deeper names
 * than a certificate's. */
static bool answers_only(const struct nginx_plan *plan, const struct site *site, const struct strlist *names)
{
    for (size_t i = 0; i < site->names.n; i++) {
        if (name_is_wildcard(site->names.v[i]) || !strlist_has(names, site->names.v[i])) {
            return false;
        }
    }
    return !is_default_in_plain(plan, site);
}

static bool has_wildcard(const struct strlist *names)
{
    for (size_t i = 0; i < names->n; i++) {
        if (name_is_wildcard(names->v[i])) {
            return true;
        }
    }
    return false;
}

/* Only our names reach the server: by the scheme alone. Else each of them, so that nobody is sent to a
 * certificate that is not theirs. */
static void redirect_lines(const struct nginx_plan *plan, const struct site *site,
                           const struct nginx_item *item, struct nginx_lines *lines)
{
    if (answers_only(plan, site, &item->redirected)) {
        nginx_line(lines, "if ($scheme = http) { return 301 https://$host$request_uri; }");
        return;
    }
    AUTO_FREE char *names = strlist_join(&item->redirected, ", ");
    log_info("%s:%zu answers for other names and addresses too: to https it redirects %s alone", site->file,
             nginx_line_now(plan->editor, site), names);
    bool both = server_has_443(nginx_server_of(site), item);
    if (both) {
        nginx_line(lines, "set $tlsup_host \"\";");
        nginx_line(lines, "if ($scheme = http) { set $tlsup_host $host; }");
    }
    size_t captures = has_wildcard(&item->redirected) ? nginx_captures_save(plan->editor, site, lines) : 0;
    for (size_t i = 0; i < item->redirected.n; i++) {
        AUTO_BUF condition = BUF_INIT;
        host_condition(item->redirected.v[i], &condition);
        nginx_line(lines, "if (%s %s) { return 301 https://$host$request_uri; }",
                   both ? "$tlsup_host" : "$host", buf_str(&condition));
    }
    nginx_captures_restore(captures, lines);
}

/* ---- cutting old certificate lines ---- */

bool nginx_is_certificate_line(const struct nginx_node *node)
{
    static const char *const names[] = {"ssl_certificate", "ssl_certificate_key", "ssl_stapling_file"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (nginx_is(node, names[i])) {
            return true;
        }
    }
    return false;
}

bool nginx_brings_certificate(const struct nginx_config *config, const struct nginx_node *include)
{
    if (!nginx_is(include, "include") || include->n_included != 1) {
        return false;
    }
    const struct nginx_node *root = &config->files[include->included[0]]->root;
    for (size_t i = 0; i < root->n_children; i++) {
        if (!nginx_is_certificate_line(&root->children[i])) {
            return false;
        }
    }
    return root->n_children > 0;
}

/* The directive alone, or its whole line when nothing but a comment of its own stands beside it. */
static void cut_range(const struct nginx_file *file, const struct nginx_node *node, size_t *at,
                      size_t *length)
{
    const char *data = buf_str(&file->text);
    size_t begin = node->begin, end = node->end;
    while (begin > 0 && (data[begin - 1] == ' ' || data[begin - 1] == '\t')) {
        begin--;
    }
    while (end < file->text.len && (data[end] == ' ' || data[end] == '\t')) {
        end++;
    }
    if (end < file->text.len && data[end] == '#') {
        const char *feed = memchr(data + end, '\n', file->text.len - end);
        end = feed != NULL ? (size_t)(feed - data) : file->text.len;
    }
    end += end + 1 < file->text.len && data[end] == '\r' && data[end + 1] == '\n';
    bool whole = (begin == 0 || data[begin - 1] == '\n') && end < file->text.len && data[end] == '\n';
    *at = whole ? begin : node->begin;
    *length = whole ? end + 1 - begin : node->end - node->begin;
}

/* A server that would lose this line of a shared file and gets no certificate of ours. NULL = none. */
static const struct site *other_user(const struct nginx_plan *plan, const struct nginx_node *line)
{
    const struct sites *sites = &plan->editor->sites;
    for (size_t i = 0; i < sites->n; i++) {
        AUTO_NODES body = {0};
        nginx_children(nginx_config_of(plan->editor), nginx_server_of(&sites->v[i])->node, false, &body);
        for (size_t k = 0; k < body.n; k++) {
            if (body.v[k] == line && !plan->items[i].certificate) {
                return &sites->v[i];
            }
        }
    }
    return NULL;
}

static bool in_ignored_mark(const struct nginx_plan *plan, const struct nginx_node *node)
{
    const struct nginx_mark *mark = nginx_mark_around(nginx_config_of(plan->editor), node);
    return mark != NULL && mark->ignored;
}

static void cut_node(struct nginx_plan *plan, const struct nginx_node *node)
{
    size_t at, length;
    cut_range(nginx_file_of(plan->editor, node), node, &at, &length);
    nginx_edit_add(plan->editor, node->file, at, length, "");
}

/* An include of nothing but certificate lines goes as a whole: others may include the same file. */
static void cut_includes(struct nginx_plan *plan, const struct nginx_node *server, struct nginx_index *gone)
{
    const struct nginx_config *config = nginx_config_of(plan->editor);
    for (size_t i = 0; i < server->n_children; i++) {
        const struct nginx_node *node = &server->children[i];
        if (nginx_brings_certificate(config, node) && !in_ignored_mark(plan, node)) {
            nginx_index_put(gone, config->files[node->included[0]]->real, 1);
            cut_node(plan, node);
        }
    }
}

static bool cut_certificate(struct nginx_plan *plan, const struct site *site, const struct nginx_node *node)
{
    const struct site *other =
        node->file != nginx_server_of(site)->node->file ? other_user(plan, node) : NULL;
    if (other != NULL) {
        return nginx_refuse_at(
            plan, site,
            "Move the certificate lines out of the shared file into the server blocks, then try again.",
            "its certificate is set in %s, which the server at %s:%zu includes too",
            nginx_file_of(plan->editor, node)->path, other->file, nginx_line_now(plan->editor, other));
    }
    cut_node(plan, node);
    return true;
}

static bool cut_certificates(struct nginx_plan *plan, const struct site *site)
{
    const struct nginx_node *server = nginx_server_of(site)->node;
    struct nginx_index gone = {0};
    AUTO_NODES body = {0};
    bool done = true;
    nginx_children(nginx_config_of(plan->editor), server, false, &body);
    cut_includes(plan, server, &gone);
    for (size_t i = 0; i < body.n && done; i++) {
        const struct nginx_node *node = body.v[i];
        if (nginx_is_certificate_line(node) &&
            nginx_index_get(&gone, nginx_file_of(plan->editor, node)->real) == NULL) {
            done = cut_certificate(plan, site, node);
        }
    }
    nginx_index_clear(&gone);
    return done;
}

/* Settings of the server itself that ours replace: twice would be an error. */
static void cut_settings(struct nginx_plan *plan, const struct nginx_node *server)
{
    for (size_t i = 0; i < server->n_children; i++) {
        const struct nginx_node *node = &server->children[i];
        if ((nginx_tls_replaces(plan, node) || nginx_stapling_ends(plan, node)) &&
            !in_ignored_mark(plan, node)) {
            cut_node(plan, node);
        }
    }
}

/* The blocks of ours that give way to this one. */
static void cut_superseded(struct nginx_plan *plan, const struct nginx_node *server)
{
    const struct nginx_file *file = nginx_file_of(plan->editor, server);
    for (size_t i = 0; i < file->n_marks; i++) {
        const struct nginx_mark *mark = &file->marks[i];
        if (mark->ignored && mark->begin >= server->open && mark->end <= server->close &&
            strcmp(mark->id, plan->id) != 0) {
            nginx_edit_add(plan->editor, server->file, mark->begin, mark->end - mark->begin, "");
        }
    }
}

/* ---- one server ---- */

/* Did a former run set the protocols of a server that had its 443 already? Then its own lines are gone. */
static bool tls_is_ours(const struct nginx_plan *plan, const struct nginx_node *server)
{
    const struct nginx_mark *mark = nginx_mark_in(nginx_config_of(plan->editor), server, plan->id);
    return mark != NULL && nginx_mark_has(nginx_file_of(plan->editor, server), mark, "ssl_protocols");
}

static bool https_lines(struct nginx_plan *plan, const struct site *site, const struct nginx_item *item,
                        struct nginx_lines *lines)
{
    const struct nginx_server *server = nginx_server_of(site);
    if (item->full && !nginx_listen_lines(plan, server, &item->also, lines)) {
        return false;
    }
    if (item->certificate) {
        nginx_certificate_lines(plan, lines);
    }
    if (item->certificate) {
        nginx_tls_lines(plan, server->node, item->full || tls_is_ours(plan, server->node), lines);
        nginx_hsts_lines(plan, server, item->full, lines);
    }
    if (item->redirect) {
        redirect_lines(plan, site, item, lines);
    }
    return true;
}

static bool put_https(const struct nginx_plan *plan, const struct nginx_item *item,
                      const struct nginx_node *server, const struct nginx_lines *lines, bool *kept)
{
    const char *live = plan->https->live_dir, *second = plan->https->second;
    const char *gone = second == NULL ? "" : strcmp(second, "rsa") == 0 ? "ecdsa" : "rsa";
    AUTO_FREE char *has = second == NULL ? mem_dup(live) : mem_fmt("%s/fullchain-%s.pem", live, second);
    AUTO_FREE char *lacks = mem_fmt("%s/fullchain-%s", live, gone); /* a file that is not there stops nginx */
    struct nginx_essence redirect = {.has = "https://"};
    struct nginx_essence certificate = {.has = has, .lacks = lacks};
    return nginx_block_put(plan->editor, server, plan->id, lines, item->certificate ? certificate : redirect,
                           kept);
}

static bool edit_server(struct nginx_plan *plan, size_t index)
{
    const struct site *site = &plan->editor->sites.v[index];
    const struct nginx_item *item = &plan->items[index];
    const struct nginx_node *server = nginx_server_of(site)->node;
    const struct nginx_mark *mark = nginx_mark_in(nginx_config_of(plan->editor), server, plan->id);
    AUTO_NGINX_LINES lines = {0};
    bool kept;
    bool stale =
        mark != NULL && !nginx_mark_has(nginx_file_of(plan->editor, server), mark, "ssl_certificate");
    if (!item->certificate && !item->redirect && !stale) {
        return true; /* nothing to do, or a certificate in use by a name that is not asked for now */
    }
    if (item->certificate && !nginx_tls_check(plan, site)) {
        return false;
    }
    nginx_lines_for(nginx_file_of(plan->editor, server), server, &lines);
    if (!https_lines(plan, site, item, &lines) || !put_https(plan, item, server, &lines, &kept)) {
        return false;
    }
    if (!item->certificate || kept) {
        return true;
    }
    cut_superseded(plan, server);
    cut_settings(plan, server);
    return cut_certificates(plan, site);
}

/* ---- all together ---- */

static bool usable_in_config(const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f || *p == '$') {
            return false;
        }
    }
    return text[0] != '\0';
}

static bool check_request(const struct web *web, const struct web_https *https, struct err *err)
{
    if (!web->has_ssl) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, web->bin, "this nginx was built without its ssl module");
        return err_advise(err, "Install the nginx package of your distribution: it has the module.");
    }
    if (!usable_in_config(https->live_dir) || https->live_dir[0] != '/') {
        return err_set(
            err, ERR_CONFIG, NEXT_FIX_CONFIG, https->live_dir,
            "this path cannot be written into an nginx configuration (\"$\" or a control character)");
    }
    if (!usable_in_config(https->cert_name) || strpbrk(https->cert_name, " /") != NULL ||
        https->cert_name[0] == '.') {
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, https->cert_name,
                       "this certificate name cannot be used for files");
    }
    return https->names->n > 0 || err_set(err, ERR_INTERNAL, NEXT_NONE, "", "no names to switch to https");
}

bool nginx_edit_https(const struct web *web, const struct sites *sites, const struct web_https *https,
                      struct txn *txn, struct err *err)
{
    AUTO_NGINX_EDITOR editor = {.web = web, .txn = txn, .err = err};
    AUTO_NGINX_PLAN plan = {.editor = &editor, .https = https};
    if (!check_request(web, https, err)) {
        return false;
    }
    plan.id = mem_fmt(NGINX_CERT_ID_PREFIX "%s", https->cert_name);
    if (!nginx_editor_open(&editor, sites, plan.id) || !nginx_plan_make(&plan)) {
        return false;
    }
    for (size_t i = 0; i < plan.n_items; i++) {
        if (!edit_server(&plan, i)) {
            return false;
        }
    }
    nginx_tls_warn(&plan);
    return (plan.unowned.n == 0 || nginx_site_new(&plan)) && nginx_edit_stage(&editor);
}
