/*
 * apache_edit.c - the answer to challenges, certificates and redirects, as marked blocks in Apache's files.
 *
 * A challenge is answered without files or state: status 200 given by mod_rewrite or mod_alias before the server looks at anything else makes it
 * send the ErrorDocument for 200, which is an expression made of the token in the URL and the thumbprint. RewriteEngine is left as it is: where it
 * is off no rule of the site is in the way of mod_alias.
 */
#include "apache_edit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "tlsup/b64.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

#define FILE_LIMIT_BYTES (16u << 20)
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
    edit->splices[edit->n_splices++] =
        (struct apache_splice){.file = file, .at = at, .remove = remove, .text = mem_dup(text)};
}

/* By place; at one place in the order in which they were asked for. */
static void sort_splices(struct apache_edit *edit)
{
    for (size_t i = 1; i < edit->n_splices; i++) {
        for (size_t k = i; k > 0 && edit->splices[k - 1].at > edit->splices[k].at; k--) {
            struct apache_splice swap = edit->splices[k];
            edit->splices[k] = edit->splices[k - 1];
            edit->splices[k - 1] = swap;
        }
    }
}

static void splice_file(const struct apache_edit *edit, size_t index, struct buf *out)
{
    const struct apache_file *file = edit->model.tree.files[index];
    size_t at = 0;
    for (size_t i = 0; i < edit->n_splices; i++) {
        const struct apache_splice *splice = &edit->splices[i];
        if (splice->file != index)
            continue;
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

static bool stage_splices(struct apache_edit *edit, struct err *err)
{
    sort_splices(edit);
    for (size_t f = 0; f < edit->model.tree.n_files; f++) {
        bool touched = false;
        for (size_t i = 0; i < edit->n_splices; i++)
            touched = touched || edit->splices[i].file == f;
        if (!touched)
            continue;
        const struct apache_file *file = edit->model.tree.files[f];
        AUTO_BUF text = BUF_INIT;
        splice_file(edit, f, &text);
        if (!reseal(file, &text, err) ||
            !txn_write(edit->txn, file->path, buf_str(&text), text.len, 0644, err))
            return false;
    }
    return true;
}

static void edit_clear(struct apache_edit *edit)
{
    for (size_t i = 0; i < edit->n_splices; i++)
        free(edit->splices[i].text);
    free(edit->splices);
    apache_model_clear(&edit->model);
}

static bool read_staged(void *context, const char *path, struct buf *out, struct err *err)
{
    return txn_read(context, path, FILE_LIMIT_BYTES, out, err);
}

static bool edit_begin(const struct web *web, struct txn *txn, const struct strlist *assume, struct apache_edit *edit,
                       struct err *err)
{
    *edit = (struct apache_edit){.web = web, .txn = txn};
    return apache_model_read(web, read_staged, txn, assume, &edit->model, err);
}

/* -- blocks in a host -- */

/* Where a host's lines lie: nodes (open, close), or the whole main file. */
struct spot {
    size_t file, open, close; /* nodes; open is APACHE_NONE for the main server */
    const char *eol;
    char indent[32];
};

static struct spot host_spot(const struct apache_edit *edit, const struct apache_host *host)
{
    const struct apache_tree *tree = &edit->model.tree;
    struct spot spot = {.open = APACHE_NONE, .eol = "\n"};
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

static const struct apache_block *spot_block(const struct apache_edit *edit, const struct spot *spot, const char *kind,
                                             const char *id)
{
    const struct apache_file *file = edit->model.tree.files[spot->file];
    for (size_t i = 0; i < file->n_blocks; i++) {
        const struct apache_block *block = &file->blocks[i];
        if (file->nodes[block->first].parent == spot->open && strcmp(block->kind, kind) == 0 &&
            (!id || strcmp(block->id, id) == 0))
            return block;
    }
    return NULL;
}

static void drop_block(struct apache_edit *edit, size_t file_index, const struct apache_block *block)
{
    const struct apache_file *file = edit->model.tree.files[file_index];
    size_t begin = file->nodes[block->first].begin;
    apache_splice(edit, file_index, begin, file->nodes[block->last].end - begin, "");
}

/* Another host of this edit (one Macro, one file) may have got the same block at the same place already. */
static bool is_asked(const struct apache_edit *edit, size_t file, size_t at, const char *text)
{
    for (size_t i = 0; i < edit->n_splices; i++) {
        if (edit->splices[i].file == file && edit->splices[i].at == at && strcmp(edit->splices[i].text, text) == 0)
            return true;
    }
    return false;
}

static void put_block(struct apache_edit *edit, const struct spot *spot, const char *kind, const char *id, size_t at,
                      const char *content)
{
    const struct apache_file *file = edit->model.tree.files[spot->file];
    const struct apache_block *old = spot_block(edit, spot, kind, id);
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
    if (!is_asked(edit, spot->file, at, buf_str(&text)))
        apache_splice(edit, spot->file, at, remove, buf_str(&text));
}

static size_t spot_top(const struct apache_edit *edit, const struct spot *spot)
{
    const struct apache_file *file = edit->model.tree.files[spot->file];
    return spot->open == APACHE_NONE ? file->len : file->nodes[spot->open].end;
}

static size_t spot_bottom(const struct apache_edit *edit, const struct spot *spot)
{
    const struct apache_file *file = edit->model.tree.files[spot->file];
    return spot->open == APACHE_NONE ? file->len : file->nodes[spot->close].begin;
}

/* The main server has no first line of its own: its rules go before the first that is there. */
static bool main_rules_spot(const struct apache_edit *edit, struct spot *spot, size_t *at)
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
static bool check_macro(const struct apache_edit *edit, const struct apache_host *host, const char *content, struct err *err)
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
                "%s lies in macro %s, whose parameter %s would change our lines", where, edit->model.tree.uses[use].macro,
                params->v[i]);
        return err_advise(err, "Rename that parameter to a word with a leading $, or write the host without the macro.");
    }
    return true;
}

/* -- modules -- */

/* The directory of Debian's links to modules, "" when there is none. The caller frees. */
static char *mods_enabled(const struct apache_edit *edit)
{
    const struct apache_tree *tree = &edit->model.tree;
    for (size_t i = 0; i < tree->n_lines; i++) {
        const struct apache_line *line = &tree->lines[i];
        if (strncasecmp(line->name, "Include", 7) != 0)
            continue;
        const char *args = line->args;
        AUTO_FREE char *word = apache_word(&args);
        AUTO_FREE char *path = apache_path(tree, word ? word : "");
        AUTO_FREE char *dir = fs_dirname(path);
        const char *slash = strrchr(dir, '/');
        if (slash && strcmp(slash, "/mods-enabled") == 0 && fs_is_dir(dir))
            return mem_dup(dir);
    }
    return mem_dup("");
}

/* The names behind "# Depends:" in a .load file. */
static void dependencies(const char *path, struct strlist *out)
{
    AUTO_BUF text = BUF_INIT;
    struct err ignored = ERR_INIT;
    if (!fs_read(path, 1u << 16, &text, &ignored))
        return;
    const char *line = strstr(buf_str(&text), "# Depends:");
    if (!line)
        return;
    line += strlen("# Depends:");
    AUTO_FREE char *words = mem_ndup(line, strcspn(line, "\r\n"));
    strlist_split(out, words, " \t,");
}

/* All that has to be linked for a module, what it depends on first. False: it is not installed. */
static bool module_closure(const char *enabled, const char *module, unsigned depth, struct strlist *out)
{
    if (strlist_has(out, module) || depth > 8)
        return true;
    AUTO_FREE char *load = mem_fmt("%s/../mods-available/%s.load", enabled, module);
    if (!fs_exists(load))
        return false;
    AUTO_STRLIST needs = STRLIST_INIT;
    dependencies(load, &needs);
    for (size_t i = 0; i < needs.n; i++) {
        if (!module_closure(enabled, needs.v[i], depth + 1, out))
            return false;
    }
    strlist_add(out, module);
    return true;
}

/* A module's configuration before the line that loads it: it waits in an IfModule. */
static bool link_module(struct apache_edit *edit, const char *enabled, const char *module, struct err *err)
{
    static const char *const endings[] = {"conf", "load"};
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        AUTO_FREE char *link = mem_fmt("%s/%s.%s", enabled, module, endings[i]);
        AUTO_FREE char *target = mem_fmt("../mods-available/%s.%s", module, endings[i]);
        AUTO_FREE char *available = mem_fmt("%s/%s", enabled, target);
        if (!fs_exists(link) && fs_exists(available) && !txn_symlink(edit->txn, link, target, err))
            return false;
    }
    return true;
}

static bool link_modules(struct apache_edit *edit, const char *enabled, const struct strlist *modules, struct err *err)
{
    for (size_t i = 0; i < modules->n; i++) {
        if (!link_module(edit, enabled, modules->v[i], err))
            return false;
    }
    return true;
}

/* -- the challenge -- */

static void add_host(struct apache_host ***hosts, size_t *n, struct apache_host *host)
{
    for (size_t i = 0; i < *n; i++) {
        if ((*hosts)[i] == host)
            return;
    }
    *hosts = mem_resize(*hosts, *n + 1, sizeof **hosts);
    (*hosts)[(*n)++] = host;
}

/* The hosts that a request for the name may reach on port 80: those that name it on some address, and what the wildcard gives. */
static void challenge_hosts(const struct apache_model *model, const char *name, struct apache_host ***hosts, size_t *n)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    apache_addresses(model, 80, NULL, &addresses);
    size_t before = *n;
    for (size_t i = 0; i < addresses.n; i++) {
        struct apache_host *host = apache_owner_at(model, name, addresses.v[i], 80, true, NULL);
        if (host && host->open != APACHE_NONE)
            add_host(hosts, n, host);
    }
    struct apache_host *any = apache_owner_at(model, name, "*", 80, false, NULL);
    if (any && any->open != APACHE_NONE)
        add_host(hosts, n, any);
    if (*n > before)
        return;
    any = apache_owner(model, name, 80, false, NULL);
    if (any)
        add_host(hosts, n, any);
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
    AUTO_FREE char *enabled = mods_enabled(edit);
    AUTO_STRLIST modules = STRLIST_INIT;
    if (enabled[0] && module_closure(enabled, "alias", 0, &modules))
        return link_modules(edit, enabled, &modules, err);
    AUTO_FREE char *where = apache_host_where(&edit->model, host);
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where,
            "Apache can answer the challenge in %s only with mod_alias or mod_rewrite, and neither is loaded", where);
    return err_advise(err, "Load mod_alias (a LoadModule line), or use a webroot for the challenge.");
}

static bool challenge_in_host(struct apache_edit *edit, struct apache_host *host, const char *thumbprint, struct err *err)
{
    AUTO_BUF rules = BUF_INIT;
    AUTO_BUF answer = BUF_INIT;
    apache_challenge_rules(&rules);
    apache_challenge_answer(&answer, thumbprint);
    if (!need_module(edit, host, err) || !check_macro(edit, host, buf_str(&rules), err) ||
        !check_macro(edit, host, buf_str(&answer), err))
        return false;
    struct spot spot = host_spot(edit, host);
    struct spot first = spot;
    size_t at = spot_top(edit, &spot);
    if (host->open == APACHE_NONE && !spot_block(edit, &spot, "challenge", "rules"))
        (void)main_rules_spot(edit, &first, &at);
    put_block(edit, &first, "challenge", "rules", at, buf_str(&rules));
    put_block(edit, &spot, "challenge", "answer", spot_bottom(edit, &spot), buf_str(&answer));
    return true;
}

/* Nothing of Apache's listens on port 80: a small host that answers challenges and nothing else. */
static bool challenge_new_host(struct apache_edit *edit, const struct strlist *names, const char *thumbprint, struct err *err)
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
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, web->bin, "Apache %s is too old to answer a challenge by itself",
            web->version);
    return err_advise(err, "Use a webroot for the challenge, or Apache 2.4.13 or later.");
}

static bool plan_challenge(struct apache_edit *edit, const struct strlist *names, const char *thumbprint, struct err *err)
{
    AUTO_STRLIST plain = STRLIST_INIT;
    for (size_t i = 0; i < names->n; i++) {
        if (!name_is_wildcard(names->v[i]))
            strlist_add(&plain, names->v[i]);
    }
    if (!plain.n)
        return true;
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
    if (!check_version(web, err) || !edit_begin(web, txn, NULL, &edit, err))
        return false;
    bool ok = plan_challenge(&edit, names, thumbprint, err) && stage_splices(&edit, err);
    edit_clear(&edit);
    return ok;
}

/* -- turning TLS on -- */

struct tls_plan {
    char *enabled;          /* Debian's mods-enabled, "" */
    struct strlist modules; /* to link there */
    char *ssl_module;       /* to load in the companion, NULL */
};

static void tls_plan_clear(struct tls_plan *plan)
{
    free(plan->enabled);
    free(plan->ssl_module);
    strlist_clear(&plan->modules);
}

/* mod_ssl.so beside the modules that are loaded; the caller frees. */
static char *find_module_file(const struct apache_tree *tree)
{
    for (size_t i = 0; i < tree->n_lines; i++) {
        if (strcasecmp(tree->lines[i].name, "LoadModule") != 0)
            continue;
        AUTO_STRLIST words = STRLIST_INIT;
        apache_words(tree->lines[i].args, &words);
        if (words.n < 2)
            continue;
        AUTO_FREE char *path = apache_path(tree, words.v[1]);
        AUTO_FREE char *dir = fs_dirname(path);
        char *ssl = fs_join(dir, "mod_ssl.so");
        if (fs_exists(ssl))
            return ssl;
        free(ssl);
    }
    return NULL;
}

static bool plan_tls(const struct apache_edit *edit, struct tls_plan *plan, struct err *err)
{
    if (apache_tree_has(&edit->model.tree, "ssl_module"))
        return true;
    plan->enabled = mods_enabled(edit);
    if (plan->enabled[0] && module_closure(plan->enabled, "ssl", 0, &plan->modules))
        return true;
    strlist_clear(&plan->modules);
    plan->ssl_module = find_module_file(&edit->model.tree);
    if (plan->ssl_module)
        return true;
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, edit->web->bin, "Apache's mod_ssl is not installed");
    return err_advise(err, "Install it (Fedora and its kin: dnf install mod_ssl; Alpine: apk add apache2-ssl) and run the command again.");
}

/* The configuration as it will be with those modules. */
static bool read_awake(struct apache_edit *edit, const struct tls_plan *plan, struct err *err)
{
    if (!plan->modules.n && !plan->ssl_module)
        return true;
    AUTO_STRLIST assume = STRLIST_INIT;
    for (size_t i = 0; i < plan->modules.n; i++) {
        AUTO_FREE char *symbol = mem_fmt("%s_module", plan->modules.v[i]);
        strlist_add(&assume, symbol);
    }
    /* A module that the companion loads comes after all that is there: nothing before it wakes. */
    if (!plan->modules.n)
        return true;
    struct apache_edit awake;
    if (!edit_begin(edit->web, edit->txn, &assume, &awake, err))
        return err_context(err, "with TLS turned on");
    apache_model_clear(&edit->model);
    edit->model = awake.model;
    return true;
}

static bool was_awake(const struct apache_model *before, const struct apache_model *model, const struct apache_host *host)
{
    const struct apache_line *line = &model->tree.lines[host->open];
    for (size_t i = 0; i + 1 < before->n_hosts; i++) {
        const struct apache_line *other = &before->tree.lines[before->hosts[i].open];
        if (other->node == line->node && (other->use == APACHE_NONE) == (line->use == APACHE_NONE) &&
            strcmp(before->tree.files[other->file]->real, model->tree.files[line->file]->real) == 0)
            return true;
    }
    return false;
}

static bool certificate_is_there(const struct apache_model *model, const struct apache_host *host, char **missing)
{
    static const char *const directives[] = {"SSLCertificateFile", "SSLCertificateKeyFile"};
    for (size_t i = 0; i < COUNT_OF(directives); i++) {
        const struct apache_line *line = apache_host_line(model, host, directives[i]);
        if (!line)
            line = apache_host_line(model, apache_main(model), directives[i]);
        if (!line && i == 0) {
            *missing = mem_dup("(none is given)");
            return false;
        }
        const char *args = line ? line->args : "";
        AUTO_FREE char *word = apache_word(&args);
        if (!word || strncmp(word, "pkcs11:", 7) == 0)
            continue;
        AUTO_FREE char *path = apache_path(&model->tree, word);
        struct stat st;
        if (stat(path, &st) != 0 || st.st_size == 0) {
            *missing = mem_dup(path);
            return false;
        }
    }
    return true;
}

/* -- https for the names -- */

struct https_plan {
    const struct web_https *https;
    struct strlist names; /* ordered, wildcards replaced by the names that the hosts know as well */
    struct apache_host **swaps;
    size_t n_swaps;
    struct apache_companion companion;
};

static void https_plan_clear(struct https_plan *plan)
{
    for (size_t i = 0; i < plan->companion.n_sources; i++)
        strlist_clear(&plan->companion.sources[i].names);
    free(plan->companion.sources);
    free(plan->swaps);
    strlist_clear(&plan->names);
}

static void add_covered(const struct apache_model *model, const char *wildcard, struct strlist *out)
{
    for (size_t i = 0; i < model->n_hosts; i++) {
        const struct apache_host *host = &model->hosts[i];
        for (size_t k = 0; k <= host->aliases.n; k++) {
            const char *name = k < host->aliases.n ? host->aliases.v[k] : host->server_name;
            if (name && !strpbrk(name, "*?") && name_matches(wildcard, name) && !strlist_has(out, name))
                strlist_add(out, name);
        }
    }
}

static void plan_names(const struct apache_model *model, const struct strlist *ordered, struct strlist *out)
{
    for (size_t i = 0; i < ordered->n; i++) {
        if (!strlist_has(out, ordered->v[i]))
            strlist_add(out, ordered->v[i]);
    }
    for (size_t i = 0; i < ordered->n; i++) {
        if (name_is_wildcard(ordered->v[i]))
            add_covered(model, ordered->v[i], out);
    }
}

/* Hosts of a person's that name it on 443. */
static bool plan_swaps(struct https_plan *plan, const struct apache_model *model, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    bool found = false;
    apache_addresses(model, 443, plan->https->cert_name, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        struct apache_host *host =
            apache_owner_at(model, name, addresses.v[i], 443, true, plan->https->cert_name);
        if (!host || host->open == APACHE_NONE || !apache_host_has(host, name) ||
            !apache_host_on(host, addresses.v[i], 443))
            continue;
        add_host(&plan->swaps, &plan->n_swaps, host);
        found = true;
    }
    return found;
}

static void plan_source(struct https_plan *plan, const struct apache_model *model, const char *name)
{
    const char *ignore = plan->https->cert_name;
    struct apache_host *host = apache_owner(model, name, 80, true, ignore);
    bool is_default = !host || !apache_host_has(host, name);
    if (is_default)
        host = apache_owner(model, name, 80, false, ignore);
    if (!host)
        host = apache_main(model);
    const struct apache_block *block = NULL;
    if (host->open != APACHE_NONE)
        block = apache_block_around(apache_host_file(model, host), model->tree.lines[host->open].node, "port-80");
    if (block) {
        host = apache_main(model); /* our own answer to challenges is no site */
        is_default = true;
    }
    for (size_t i = 0; i < plan->companion.n_sources; i++) {
        struct apache_source *source = &plan->companion.sources[i];
        if (source->host == host && source->is_default == is_default) {
            strlist_add(&source->names, name);
            return;
        }
    }
    struct apache_companion *companion = &plan->companion;
    companion->sources = mem_resize(companion->sources, companion->n_sources + 1, sizeof *companion->sources);
    struct apache_source *source = &companion->sources[companion->n_sources++];
    *source = (struct apache_source){.host = host, .is_default = is_default};
    strlist_add(&source->names, name);
}

static void plan_https(struct https_plan *plan, const struct apache_model *model)
{
    plan_names(model, plan->https->names, &plan->names);
    for (size_t i = 0; i < plan->names.n; i++) {
        if (!plan_swaps(plan, model, plan->names.v[i]))
            plan_source(plan, model, plan->names.v[i]);
    }
}

static bool is_swapped(const struct https_plan *plan, const struct apache_host *host)
{
    for (size_t i = 0; i < plan->n_swaps; i++) {
        if (plan->swaps[i] == host)
            return true;
    }
    return false;
}

/* Hosts that wait for mod_ssl come to life with it: one without its certificate would stop the server. */
static bool check_sleepers(const struct apache_model *before, const struct apache_edit *edit, const struct https_plan *plan,
                           struct err *err)
{
    const struct apache_model *model = &edit->model;
    for (size_t i = 0; i + 1 < model->n_hosts; i++) {
        const struct apache_host *host = &model->hosts[i];
        AUTO_FREE char *missing = NULL;
        if (was_awake(before, model, host) || !apache_host_is_tls(model, host) || is_swapped(plan, host) ||
            certificate_is_there(model, host, &missing))
            continue;
        AUTO_FREE char *where = apache_host_where(model, host);
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where,
                "turning on TLS would wake the virtual host in %s, whose certificate does not exist: %s", where, missing);
        return err_advise(err, "Disable that virtual host, or give it a certificate, and run the command again.");
    }
    return true;
}

/* -- the certificate of a host that is there -- */

static const char *const certificate_lines[] = {"SSLCertificateFile", "SSLCertificateKeyFile", "SSLCertificateChainFile"};

static bool is_certificate_line(const struct apache_line *line)
{
    for (size_t i = 0; i < COUNT_OF(certificate_lines); i++) {
        if (line->kind == APACHE_DIRECTIVE && strcasecmp(line->name, certificate_lines[i]) == 0)
            return true;
    }
    return false;
}

static bool is_ours(const struct apache_line *line, const char *live_dir)
{
    const char *args = line->args;
    AUTO_FREE char *word = apache_word(&args);
    size_t len = strlen(live_dir);
    return word && strncmp(word, live_dir, len) == 0 &&
           (strcmp(word + len, "/fullchain.pem") == 0 || strcmp(word + len, "/privkey.pem") == 0);
}

/* Lines that other hosts read as well are not ours to change. */
static bool check_shared(const struct apache_edit *edit, const struct apache_host *host, const struct apache_line *line,
                         struct err *err)
{
    const struct apache_tree *tree = &edit->model.tree;
    const struct apache_file *file = tree->files[line->file];
    bool own = line->file == tree->lines[host->open].file;
    if (line->use == APACHE_NONE && (own || file->times == 1))
        return true;
    AUTO_FREE char *where = apache_host_where(&edit->model, host);
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where, "the certificate of the virtual host in %s comes from %s:%zu, which %s",
            where, file->path, file->nodes[line->node].line,
            line->use != APACHE_NONE ? "is a macro" : "several virtual hosts include");
    return err_advise(err, "Write SSLCertificateFile and SSLCertificateKeyFile in that virtual host itself, and run the command again.");
}

static void warn_uncovered(const struct apache_edit *edit, const struct apache_host *host, const struct strlist *names)
{
    for (size_t i = 0; i <= host->aliases.n; i++) {
        const char *name = i < host->aliases.n ? host->aliases.v[i] : host->server_name;
        bool covered = !name;
        for (size_t k = 0; k < names->n && !covered; k++)
            covered = strcasecmp(names->v[k], name) == 0 || name_matches(names->v[k], name);
        if (!covered) {
            AUTO_FREE char *where = apache_host_where(&edit->model, host);
            log_warn("%s also answers for %s, which the new certificate does not cover", where, name);
        }
    }
}

/* The old lines stay in the file as comments: nothing of the person's is lost. */
static void retire_line(struct apache_edit *edit, const struct apache_line *line)
{
    const struct apache_file *file = edit->model.tree.files[line->file];
    if (!is_asked(edit, line->file, file->nodes[line->node].begin, "#replaced by tlsup# "))
        apache_splice(edit, line->file, file->nodes[line->node].begin, 0, "#replaced by tlsup# ");
}

static bool swap_certificate(struct apache_edit *edit, const struct https_plan *plan, struct apache_host *host, struct err *err)
{
    const struct apache_tree *tree = &edit->model.tree;
    size_t from, to, kept = 0, foreign = 0;
    apache_host_span(&edit->model, host, &from, &to);
    for (size_t i = from; i < to; i++) {
        if (!is_certificate_line(&tree->lines[i]))
            continue;
        is_ours(&tree->lines[i], plan->https->live_dir) ? kept++ : foreign++;
    }
    if (!foreign && kept == 2)
        return true;
    AUTO_FREE char *where = apache_host_where(&edit->model, host);
    if (host->ssl == 0)
        return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where, "%s answers on port 443 without TLS (SSLEngine off)", where);
    if (apache_host_on(host, "*", 80) && !foreign)
        return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where,
                       "%s is one virtual host for port 80 and for port 443: split it in two", where);
    if (tree->lines[host->open].use != APACHE_NONE) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where,
                "the virtual host on port 443 in %s comes from a macro, whose other uses would change with it", where);
        return err_advise(err, "Write that virtual host without the macro, or remove it, and run the command again.");
    }
    struct spot spot = host_spot(edit, host);
    for (size_t i = from; i < to; i++) {
        const struct apache_line *line = &tree->lines[i];
        if (!is_certificate_line(line) || apache_block_around(tree->files[line->file], line->node, "certificate"))
            continue;
        if (!check_shared(edit, host, line, err))
            return false;
        retire_line(edit, line);
    }
    const struct apache_block *old = spot_block(edit, &spot, "certificate", NULL);
    if (old && strcmp(old->id, plan->https->cert_name) != 0)
        drop_block(edit, spot.file, old);
    AUTO_FREE char *content =
        mem_fmt("%sSSLCertificateFile \"%s/fullchain.pem\"\nSSLCertificateKeyFile \"%s/privkey.pem\"\n",
                host->ssl < 0 && apache_main(&edit->model)->ssl != 1 ? "SSLEngine on\n" : "", plan->https->live_dir,
                plan->https->live_dir);
    put_block(edit, &spot, "certificate", plan->https->cert_name, spot_top(edit, &spot), content);
    warn_uncovered(edit, host, plan->https->names);
    return true;
}

/* -- the redirect -- */

static bool has_plain_twin(const struct https_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->companion.n_sources; i++) {
        const struct apache_source *source = &plan->companion.sources[i];
        if (source->is_default && source->host->open != APACHE_NONE && strlist_has(&source->names, name))
            return true;
    }
    return false;
}

static bool redirect_in_host(struct apache_edit *edit, const struct https_plan *plan, struct apache_host *host,
                             const struct strlist *names, struct err *err)
{
    const char *id = plan->https->cert_name;
    struct spot spot = host_spot(edit, host);
    const struct apache_block *old = spot_block(edit, &spot, "redirect", id);
    if (!names->n || apache_host_redirects(&edit->model, host)) {
        if (old)
            drop_block(edit, spot.file, old);
        return true;
    }
    AUTO_BUF content = BUF_INIT;
    apache_redirect_rules(&content, names);
    if (!check_macro(edit, host, buf_str(&content), err))
        return false;
    size_t at = spot_top(edit, &spot);
    const struct apache_block *challenge = spot_block(edit, &spot, "challenge", "rules");
    if (challenge)
        at = edit->model.tree.files[spot.file]->nodes[challenge->last].end;
    put_block(edit, &spot, "redirect", id, at, buf_str(&content));
    return true;
}

/* Every person's host on port 80: those that answer for a name get the redirect, the others lose it. */
static bool plan_redirects(struct apache_edit *edit, const struct https_plan *plan, struct err *err)
{
    const char *id = plan->https->cert_name;
    for (size_t i = 0; i < edit->model.n_hosts; i++) {
        struct apache_host *host = &edit->model.hosts[i];
        if (host->companion && strcmp(host->companion, id) == 0)
            continue;
        AUTO_STRLIST names = STRLIST_INIT;
        for (size_t k = 0; plan->https->redirect && k < plan->https->names->n; k++) {
            const char *name = plan->https->names->v[k];
            if (!has_plain_twin(plan, name) && apache_owner(&edit->model, name, 80, false, id) == host)
                strlist_add(&names, name);
        }
        if (!redirect_in_host(edit, plan, host, &names, err))
            return false;
    }
    return true;
}

/* -- all together -- */

static bool check_plan(const struct apache_edit *edit, const struct https_plan *plan, struct err *err)
{
    for (size_t i = 0; i < plan->companion.n_sources; i++) {
        if (!apache_companion_check(edit, &plan->companion.sources[i], err))
            return false;
    }
    return true;
}

static bool stage_https(struct apache_edit *edit, struct https_plan *plan, const struct tls_plan *tls, struct err *err)
{
    AUTO_FREE char *link = NULL;
    AUTO_FREE char *target = NULL;
    bool ok = plan->companion.n_sources
                  ? apache_companion_stage(edit, &plan->companion, &link, &target, err)
                  : apache_companion_remove(edit, plan->https->cert_name, err);
    for (size_t i = 0; i < plan->n_swaps && ok; i++)
        ok = swap_certificate(edit, plan, plan->swaps[i], err);
    return ok && plan_redirects(edit, plan, err) && link_modules(edit, tls->enabled ? tls->enabled : "", &tls->modules, err) &&
           stage_splices(edit, err) && (!link || txn_symlink(edit->txn, link, target, err));
}

static bool edit_https(struct apache_edit *edit, struct https_plan *plan, struct tls_plan *tls, struct err *err)
{
    if (!plan_tls(edit, tls, err))
        return false;
    struct apache_model before = {0};
    bool wakes = tls->modules.n > 0;
    if (wakes) {
        struct apache_edit asleep;
        if (!edit_begin(edit->web, edit->txn, NULL, &asleep, err))
            return false;
        before = asleep.model;
    }
    plan->companion.ssl_module = tls->ssl_module;
    bool ok = read_awake(edit, tls, err);
    if (ok)
        plan_https(plan, &edit->model);
    ok = ok && (!wakes || check_sleepers(&before, edit, plan, err)) && check_plan(edit, plan, err) &&
         stage_https(edit, plan, tls, err);
    if (wakes)
        apache_model_clear(&before);
    return ok;
}

bool apache_edit_https(const struct web *web, const struct sites *sites, const struct web_https *https, struct txn *txn,
                       struct err *err)
{
    (void)sites;
    if (!https->names->n || https->live_dir[0] != '/' || strpbrk(https->live_dir, "\"\\\n$"))
        return err_set(err, ERR_INTERNAL, NEXT_NONE, https->live_dir, "cannot write this certificate's path into Apache's files");
    struct apache_edit edit;
    if (!edit_begin(web, txn, NULL, &edit, err))
        return false;
    struct https_plan plan = {.https = https, .companion.https = https};
    struct tls_plan tls = {0};
    bool ok = edit_https(&edit, &plan, &tls, err);
    https_plan_clear(&plan);
    tls_plan_clear(&tls);
    edit_clear(&edit);
    return ok;
}
