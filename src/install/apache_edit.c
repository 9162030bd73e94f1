/*
 * apache_edit.c - marked blocks in Apache's files, and the first edit: the answer to challenges.
 *
 * A challenge is answered without files or state: status 200 given by mod_rewrite or mod_alias before the
 * server looks at anything else makes it send the ErrorDocument for 200, which is an expression made of the
 * token in the URL and the thumbprint. RewriteEngine is left as it is: where it is off no rule of the site is
 * in the way of mod_alias.
 */
#include "apache_edit.h"
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tlsup/b64.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

#define TOKEN_PATTERN "^/\\.well-known/acme-challenge/[A-Za-z0-9_-]+$"
#define TOKEN_CAPTURE "^/\\.well-known/acme-challenge/(?<tlsup_token>[A-Za-z0-9_-]+)$"
#define EXPRESSIONS_SINCE 2004013 /* in ErrorDocument */

/* -- text -- */

void apache_challenge_rules(struct buf *out)
{
    buf_adds(out, "<IfModule rewrite_module>\n"
                  "    RewriteRule \"" TOKEN_PATTERN "\" \"-\" [R=200,END]\n"
                  "</IfModule>\n"
                  "<IfModule alias_module>\n"
                  "    RedirectMatch 200 \"" TOKEN_PATTERN "\"\n"
                  "</IfModule>\n"
                  "<IfModule proxy_module>\n"
                  "    ProxyPassMatch \"" TOKEN_PATTERN "\" \"!\"\n"
                  "</IfModule>\n");
}

void apache_challenge_answer(struct buf *out, const char *thumbprint)
{
    buf_addf(out,
             "<LocationMatch \"" TOKEN_CAPTURE "\">\n"
             "    <If \"true\">\n"
             "        ErrorDocument 200 \"%%{env:MATCH_TLSUP_TOKEN}.%s\"\n"
             "        <IfModule alias_module>\n"
             "            Redirect 200\n"
             "        </IfModule>\n"
             "    </If>\n"
             "</LocationMatch>\n",
             thumbprint);
}

/* The names as one regular expression. */
static char *names_pattern(const struct strlist *names)
{
    AUTO_BUF out = BUF_INIT;
    for (size_t i = 0; i < names->n; i++) {
        buf_adds(&out, i ? "|" : "");
        const char *name = names->v[i];
        if (name_is_wildcard(name)) {
            buf_adds(&out, "[^.:]+");
            name++;
        }
        for (; *name; name++) {
            if (strchr(".[]", *name))
                buf_addc(&out, '\\');
            buf_addc(&out, *name);
        }
    }
    return buf_take(&out);
}

/* mod_rewrite's rule is for hosts whose engine is on, mod_alias's section for the others. */
void apache_redirect_rules(struct buf *out, const struct strlist *names)
{
    AUTO_FREE char *pattern = names_pattern(names);
    buf_addf(out,
             "<IfModule rewrite_module>\n"
             "    RewriteCond \"%%{HTTPS}\" \"!=on\"\n"
             "    RewriteCond \"%%{HTTP_HOST}\" \"^(?:%s)(?::[0-9]+)?$\" [NC]\n"
             "    RewriteCond \"%%{REQUEST_URI}\" \"!" TOKEN_PATTERN "\"\n"
             "    RewriteCond \"%%{THE_REQUEST}\" \"^[A-Z]+ (?:https?://[^/ ]*)?(/[^ ?]*)\"\n"
             "    RewriteRule \"^\" \"https://%%{SERVER_NAME}%%1\" [R=301,NE,END]\n"
             "</IfModule>\n"
             "<IfModule alias_module>\n"
             "    <If \"%%{HTTPS} != 'on' && %%{HTTP_HOST} =~ m#^(?:%s)(?::[0-9]+)?$#i && %%{REQUEST_URI} !~ "
             "m#" TOKEN_PATTERN "#\">\n"
             "        Redirect permanent \"https://%%{SERVER_NAME}%%{REQUEST_URI}\"\n"
             "    </If>\n"
             "</IfModule>\n",
             pattern, pattern);
}

/* -- splices -- */

void apache_splice(struct apache_edit *edit, size_t file, size_t at, size_t remove, const char *text)
{
    edit->splices = mem_resize(edit->splices, edit->n_splices + 1, sizeof *edit->splices);
    edit->splices[edit->n_splices] = (struct apache_splice){
        .file = file, .at = at, .remove = remove, .order = edit->n_splices, .text = mem_dup(text)};
    edit->n_splices++;
}

static int order_of(size_t a, size_t b)
{
    return (a > b) - (a < b);
}

/* By file and place; at one place insertions first, in the order in which they were asked for. */
static int by_place(const void *a, const void *b)
{
    const struct apache_splice *x = a, *y = b;
    int order = order_of(x->file, y->file);
    if (order == 0)
        order = order_of(x->at, y->at);
    if (order == 0)
        order = (x->remove > 0) - (y->remove > 0);
    return order != 0 ? order : order_of(x->order, y->order);
}

/* The splices of one file, from `first` to before `end`. */
static void splice_file(const struct apache_edit *edit, size_t first, size_t end, struct buf *out)
{
    const struct apache_file *file = edit->model.tree.files[edit->splices[first].file];
    size_t at = 0;
    for (size_t i = first; i < end; i++) {
        const struct apache_splice *splice = &edit->splices[i];
        buf_add(out, file->data + at, splice->at - at);
        buf_adds(out, splice->text);
        at = splice->at + splice->remove;
    }
    buf_add(out, file->data + at, file->len - at);
}

static bool was_intact(const struct apache_file *file, const char *id)
{
    for (size_t i = 0; i < file->n_blocks; i++) {
        if (strcmp(file->blocks[i].kind, "companion") == 0 && strcmp(file->blocks[i].id, id) == 0)
            return file->blocks[i].intact;
    }
    return false;
}

/* An edit of ours inside of a companion of ours must not look like a person's. */
static bool reseal(const struct apache_file *before, struct buf *text, struct err *err)
{
    struct apache_file after;
    if (!apache_lex(before->path, buf_str(text), text->len, &after, err))
        return err_context(err, "after the edit");
    AUTO_BUF sealed = BUF_INIT;
    size_t at = 0;
    for (size_t i = 0; i < after.n_blocks; i++) {
        const struct apache_block *block = &after.blocks[i];
        if (block->intact || strcmp(block->kind, "companion") != 0 || !was_intact(before, block->id))
            continue;
        size_t begin = after.nodes[block->first].end, end = after.nodes[block->last].begin;
        AUTO_FREE char *content = mem_ndup(after.data + begin, end - begin);
        buf_add(&sealed, after.data + at, after.nodes[block->first].begin - at);
        apache_block_write(&sealed, block->kind, block->id, "", "\n", content);
        at = after.nodes[block->last].end;
    }
    buf_add(&sealed, after.data + at, after.len - at);
    apache_file_clear(&after);
    buf_reset(text);
    buf_add(text, buf_str(&sealed), sealed.len);
    return true;
}

bool apache_edit_stage(struct apache_edit *edit, struct err *err)
{
    if (edit->n_splices)
        qsort(edit->splices, edit->n_splices, sizeof *edit->splices, by_place);
    for (size_t first = 0, end; first < edit->n_splices; first = end) {
        const struct apache_file *file = edit->model.tree.files[edit->splices[first].file];
        for (end = first; end < edit->n_splices && edit->splices[end].file == edit->splices[first].file;)
            end++;
        AUTO_BUF text = BUF_INIT;
        site_warn_of_manager((file)->real, (file)->data, (file)->len);
        splice_file(edit, first, end, &text);
        if (!reseal(file, &text, err) ||
            !txn_write(edit->txn, file->path, buf_str(&text), text.len, 0644, err))
            return false;
    }
    return true;
}

void apache_edit_clear(struct apache_edit *edit)
{
    for (size_t i = 0; i < edit->n_splices; i++)
        free(edit->splices[i].text);
    free(edit->splices);
    apache_model_clear(&edit->model);
}

bool apache_edit_begin(const struct web *web, struct txn *txn, const struct strlist *assume,
                       struct apache_edit *edit, struct err *err)
{
    *edit = (struct apache_edit){.web = web, .txn = txn};
    return apache_model_read(web, txn, assume, &edit->model, err);
}

/* -- blocks in a host -- */

struct apache_spot apache_host_spot(const struct apache_edit *edit, const struct apache_host *host)
{
    const struct apache_tree *tree = &edit->model.tree;
    struct apache_spot spot = {.open = APACHE_NONE, .eol = "\n"};
    if (host->open == APACHE_NONE) {
        spot.close = tree->files[0]->n_nodes;
        return spot;
    }
    spot.file = tree->lines[host->open].file;
    spot.open = tree->lines[host->open].node;
    const struct apache_file *file = tree->files[spot.file];
    const struct apache_node *node = &file->nodes[spot.open];
    spot.close = node->partner;
    const char *line = file->data + node->begin;
    size_t len = 0;
    while (len < 20 && (line[len] == ' ' || line[len] == '\t'))
        len++;
    bool tabs = file->data[node->end] == '\t' || (len && line[0] == '\t');
    snprintf(spot.indent, sizeof spot.indent, "%.*s%s", (int)len, line, tabs ? "\t" : "    ");
    if (node->end - node->begin > 1 && file->data[node->end - 2] == '\r')
        spot.eol = "\r\n";
    return spot;
}

const struct apache_block *apache_spot_block(const struct apache_edit *edit, const struct apache_spot *spot,
                                             const char *kind, const char *id)
{
    const struct apache_file *file = edit->model.tree.files[spot->file];
    size_t low = 0, high = file->n_blocks;
    while (low < high && spot->open != APACHE_NONE) {
        size_t middle = (low + high) / 2;
        if (file->blocks[middle].first < spot->open)
            low = middle + 1;
        else
            high = middle;
    }
    for (size_t i = low; i < file->n_blocks && file->blocks[i].first < spot->close; i++) {
        const struct apache_block *block = &file->blocks[i];
        if (file->nodes[block->first].parent == spot->open && strcmp(block->kind, kind) == 0 &&
            (!id || strcmp(block->id, id) == 0))
            return block;
    }
    return NULL;
}

/* Another host of this edit (one Macro, one file) may have got the same block at the same place already. */
bool apache_is_asked(const struct apache_edit *edit, size_t file, size_t at, const char *text)
{
    for (size_t i = 0; i < edit->n_splices; i++) {
        if (edit->splices[i].file == file && edit->splices[i].at == at &&
            strcmp(edit->splices[i].text, text) == 0)
            return true;
    }
    return false;
}

void apache_put_block(struct apache_edit *edit, const struct apache_spot *spot, const char *kind,
                      const char *id, size_t at, const char *content)
{
    const struct apache_file *file = edit->model.tree.files[spot->file];
    const struct apache_block *old = apache_spot_block(edit, spot, kind, id);
    AUTO_BUF text = BUF_INIT;
    if (!old && at == file->len && at > 0 && file->data[at - 1] != '\n')
        buf_adds(&text, spot->eol);
    apache_block_write(&text, kind, id, spot->indent, spot->eol, content);
    size_t remove = 0;
    if (old) {
        at = file->nodes[old->first].begin;
        remove = file->nodes[old->last].end - at;
        if (remove == text.len && memcmp(file->data + at, text.data, remove) == 0)
            return;
    }
    if (!apache_is_asked(edit, spot->file, at, buf_str(&text)))
        apache_splice(edit, spot->file, at, remove, buf_str(&text));
}

size_t apache_spot_top(const struct apache_edit *edit, const struct apache_spot *spot)
{
    const struct apache_file *file = edit->model.tree.files[spot->file];
    return spot->open == APACHE_NONE ? file->len : file->nodes[spot->open].end;
}

size_t apache_spot_bottom(const struct apache_edit *edit, const struct apache_spot *spot)
{
    const struct apache_file *file = edit->model.tree.files[spot->file];
    return spot->open == APACHE_NONE ? file->len : file->nodes[spot->close].begin;
}

/* The main server has no first line of its own: its rules go before the first that is there. */
static bool main_rules_spot(const struct apache_edit *edit, struct apache_spot *spot, size_t *at)
{
    const struct apache_tree *tree = &edit->model.tree;
    for (size_t i = 0; i < tree->n_lines; i++) {
        const struct apache_line *line = &tree->lines[i];
        if (line->parent != APACHE_NONE || line->kind != APACHE_DIRECTIVE || line->use != APACHE_NONE ||
            (strcasecmp(line->name, "RewriteRule") != 0 && strcasecmp(line->name, "RewriteCond") != 0 &&
             strncasecmp(line->name, "Redirect", 8) != 0) ||
            apache_block_around(tree->files[line->file], line->node, NULL))
            continue;
        size_t node = line->node;
        while (tree->files[line->file]->nodes[node].parent != APACHE_NONE)
            node = tree->files[line->file]->nodes[node].parent;
        spot->file = line->file;
        *at = tree->files[line->file]->nodes[node].begin;
        return true;
    }
    return false;
}

/* A macro's text holds our block only if none of its parameters occurs in it. */
bool apache_check_macro(const struct apache_edit *edit, const struct apache_host *host, const char *content,
                        struct err *err)
{
    size_t use = host->open == APACHE_NONE ? APACHE_NONE : edit->model.tree.lines[host->open].use;
    if (use == APACHE_NONE)
        return true;
    const struct strlist *params = &edit->model.tree.uses[use].params;
    for (size_t i = 0; i < params->n; i++) {
        if (!params->v[i][0] || !strstr(content, params->v[i]))
            continue;
        AUTO_FREE char *where = apache_host_where(&edit->model, host);
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, edit->model.tree.uses[use].macro,
                "%s lies in macro %s, whose parameter %s would change our lines", where,
                edit->model.tree.uses[use].macro, params->v[i]);
        return err_advise(
            err, "Rename that parameter to a word with a leading $, or write the host without the macro.");
    }
    return true;
}

/* -- the challenge -- */

void apache_add_host(struct apache_host ***hosts, size_t *n, struct apache_host *host)
{
    for (size_t i = 0; i < *n; i++) {
        if ((*hosts)[i] == host)
            return;
    }
    *hosts = mem_resize(*hosts, *n + 1, sizeof **hosts);
    (*hosts)[(*n)++] = host;
}

void apache_default_hosts(const struct apache_model *model, const char *name, const char *ignore,
                          struct apache_host ***hosts, size_t *n)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    const struct apache_host *named = apache_owner(model, name, 80, true, ignore);
    if (named && apache_host_has(named, name))
        return;
    strlist_add(&addresses, "*");
    apache_addresses(model, 80, ignore, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        if (site_address_is_loopback(addresses.v[i]) || apache_is_foreign(addresses.v[i]))
            continue;
        struct apache_host *host = apache_owner_at(model, name, addresses.v[i], 80, false, ignore);
        if (host && host->open != APACHE_NONE)
            apache_add_host(hosts, n, host);
    }
}

/* The hosts that a request for the name may reach on port 80: those that name it on some address, and what
 * the wildcard gives; for a name of nobody's all those that answer by default. */
static void challenge_hosts(const struct apache_model *model, const char *name, struct apache_host ***hosts,
                            size_t *n)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    apache_addresses(model, 80, NULL, &addresses);
    size_t before = *n;
    for (size_t i = 0; i < addresses.n; i++) {
        struct apache_host *host = apache_owner_at(model, name, addresses.v[i], 80, true, NULL);
        if (host && host->open != APACHE_NONE)
            apache_add_host(hosts, n, host);
    }
    struct apache_host *any = apache_owner_at(model, name, "*", 80, false, NULL);
    if (any && any->open != APACHE_NONE)
        apache_add_host(hosts, n, any);
    apache_default_hosts(model, name, NULL, hosts, n);
    if (*n > before)
        return;
    any = apache_owner(model, name, 80, false, NULL);
    if (any)
        apache_add_host(hosts, n, any);
}

static bool engine_is_on(const struct apache_model *model, const struct apache_host *host)
{
    const struct apache_line *line = apache_host_line(model, host, "RewriteEngine");
    if (!line)
        line = apache_host_line(model, apache_main(model), "RewriteEngine");
    return line && strcasecmp(line->args, "on") == 0;
}

/* Some module must give the status. mod_alias is in everybody's stock set; Debian's link may be missing. */
static bool need_module(struct apache_edit *edit, const struct apache_host *host, struct err *err)
{
    const struct apache_tree *tree = &edit->model.tree;
    if (apache_tree_has(tree, "alias_module") ||
        (apache_tree_has(tree, "rewrite_module") && engine_is_on(&edit->model, host)))
        return true;
    struct apache_modules plan = {0};
    bool can = apache_modules_debian(edit, "alias", &plan);
    bool ok = can && apache_modules_stage(edit, &plan, false, err);
    apache_modules_clear(&plan);
    if (can)
        return ok;
    AUTO_FREE char *where = apache_host_where(&edit->model, host);
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where,
            "Apache can answer the challenge in %s only with mod_alias or mod_rewrite, and neither is loaded",
            where);
    return err_advise(err, "Load mod_alias (a LoadModule line), or use a webroot for the challenge.");
}

static bool challenge_in_host(struct apache_edit *edit, struct apache_host *host, const char *thumbprint,
                              struct err *err)
{
    AUTO_BUF rules = BUF_INIT;
    AUTO_BUF answer = BUF_INIT;
    apache_challenge_rules(&rules);
    apache_challenge_answer(&answer, thumbprint);
    if (!need_module(edit, host, err) || !apache_check_macro(edit, host, buf_str(&rules), err) ||
        !apache_check_macro(edit, host, buf_str(&answer), err))
        return false;
    struct apache_spot spot = apache_host_spot(edit, host);
    struct apache_spot first = spot;
    size_t at = apache_spot_top(edit, &spot);
    if (host->open == APACHE_NONE && !apache_spot_block(edit, &spot, "challenge", "rules"))
        (void)main_rules_spot(edit, &first, &at);
    apache_put_block(edit, &first, "challenge", "rules", at, buf_str(&rules));
    apache_put_block(edit, &spot, "challenge", "answer", apache_spot_bottom(edit, &spot), buf_str(&answer));
    return true;
}

/* Nothing of Apache's listens on port 80: a small host that answers challenges and nothing else. */
static bool challenge_new_host(struct apache_edit *edit, const struct strlist *names, const char *thumbprint,
                               struct err *err)
{
    AUTO_BUF inner = BUF_INIT;
    AUTO_BUF content = BUF_INIT;
    AUTO_BUF text = BUF_INIT;
    if (!need_module(edit, apache_main(&edit->model), err))
        return false;
    buf_addf(&content, "Listen 80\n<VirtualHost *:80>\n    ServerName %s\n", names->v[0]);
    for (size_t i = 1; i < names->n; i++)
        buf_addf(&content, "    ServerAlias %s\n", names->v[i]);
    apache_challenge_rules(&inner);
    apache_block_write(&content, "challenge", "rules", "    ", "\n", buf_str(&inner));
    buf_adds(&content, "    <Location \"/\">\n        Require all denied\n    </Location>\n");
    buf_reset(&inner);
    apache_challenge_answer(&inner, thumbprint);
    apache_block_write(&content, "challenge", "answer", "    ", "\n", buf_str(&inner));
    buf_adds(&content, "</VirtualHost>\n");
    apache_block_write(&text, "port-80", "challenge", "", "\n", buf_str(&content));
    const struct apache_file *conf = edit->model.tree.files[0];
    if (conf->len && conf->data[conf->len - 1] != '\n')
        apache_splice(edit, 0, conf->len, 0, "\n");
    apache_splice(edit, 0, conf->len, 0, buf_str(&text));
    return true;
}

static bool check_version(const struct web *web, struct err *err)
{
    if (!web->version_number || web->version_number >= EXPRESSIONS_SINCE)
        return true;
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, web->bin,
            "Apache %s is too old to answer a challenge by itself", web->version);
    return err_advise(err, "Use a webroot for the challenge, or Apache 2.4.13 or later.");
}

static bool plan_challenge(struct apache_edit *edit, const struct strlist *names, const char *thumbprint,
                           struct err *err)
{
    AUTO_STRLIST plain = STRLIST_INIT;
    for (size_t i = 0; i < names->n; i++) {
        if (!name_is_wildcard(names->v[i]))
            strlist_add(&plain, names->v[i]);
    }
    if (!plain.n)
        return true;
    for (size_t i = 0; i < plain.n; i++) {
        const struct apache_host *host = apache_unreachable(&edit->model, plain.v[i], 80, NULL);
        if (host)
            return apache_refuse_unreachable(&edit->model, host, err);
    }
    if (!apache_listens_on(&edit->model, 80))
        return challenge_new_host(edit, &plain, thumbprint, err);
    struct apache_host **hosts = NULL;
    size_t n = 0;
    for (size_t i = 0; i < plain.n; i++)
        challenge_hosts(&edit->model, plain.v[i], &hosts, &n);
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++)
        ok = challenge_in_host(edit, hosts[i], thumbprint, err);
    free(hosts);
    return ok;
}

bool apache_edit_challenge(const struct web *web, const struct sites *sites, const struct strlist *names,
                           const char *thumbprint, struct txn *txn, struct err *err)
{
    (void)sites;
    if (!b64url_valid(thumbprint, 128))
        return err_set(err, ERR_INTERNAL, NEXT_NONE, "", "the thumbprint is not base64url");
    struct apache_edit edit;
    if (!check_version(web, err) || !apache_edit_begin(web, txn, NULL, &edit, err))
        return false;
    bool ok = plan_challenge(&edit, names, thumbprint, err) && apache_edit_stage(&edit, err);
    apache_edit_clear(&edit);
    return ok;
}
