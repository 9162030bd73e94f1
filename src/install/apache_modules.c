/*
 * apache_modules.c - modules that an edit needs: Debian's links, or a LoadModule of our own; and what wakes
 * with them.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "apache_edit.h"
#include "apache_server.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

enum { LINE_FILE_BYTES = 16 << 20 };

void apache_modules_clear(struct apache_modules *plan)
{
    free(plan->enabled);
    strlist_clear(&plan->links);
    strlist_clear(&plan->symbols);
    strlist_clear(&plan->paths);
    *plan = (struct apache_modules){0};
}

/* -- Debian -- */

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
static bool closure(const char *enabled, const char *module, unsigned depth, struct strlist *out)
{
    if (strlist_has(out, module) || depth > 8)
        return true;
    AUTO_FREE char *load = mem_fmt("%s/../mods-available/%s.load", enabled, module);
    if (!fs_exists(load))
        return false;
    AUTO_STRLIST needs = STRLIST_INIT;
    dependencies(load, &needs);
    for (size_t i = 0; i < needs.n; i++) {
        if (!closure(enabled, needs.v[i], depth + 1, out))
            return false;
    }
    strlist_add(out, module);
    return true;
}

/* Does a module's configuration wait in an IfModule until the module is there? Distributions differ, and
 * change. */
static bool waits_for_module(const char *path)
{
    AUTO_BUF text = BUF_INIT;
    struct err ignored = ERR_INIT;
    if (!fs_read(path, 1u << 20, &text, &ignored))
        return false;
    const char *line = buf_str(&text);
    while (*(line += strspn(line, " \t\r\n")) == '#')
        line += strcspn(line, "\n");
    return strncasecmp(line, "<IfModule", strlen("<IfModule")) == 0;
}

/* Apache must accept its configuration between the two links. A module is complete with its configuration in
 * place first; where that does not wait for the module, the module has to be there before it. */
static bool link_module(struct apache_edit *edit, const char *enabled, const char *module, struct err *err)
{
    static const char *const endings[] = {"conf", "load"};
    AUTO_FREE char *conf = mem_fmt("%s/../mods-available/%s.conf", enabled, module);
    bool conf_first = waits_for_module(conf);
    for (size_t i = 0; i < COUNT_OF(endings); i++) {
        const char *ending = endings[conf_first ? i : COUNT_OF(endings) - 1 - i];
        AUTO_FREE char *link = mem_fmt("%s/%s.%s", enabled, module, ending);
        AUTO_FREE char *target = mem_fmt("../mods-available/%s.%s", module, ending);
        AUTO_FREE char *available = mem_fmt("%s/%s", enabled, target);
        if (!txn_exists(edit->txn, link) && fs_exists(available) &&
            !txn_symlink(edit->txn, link, target, err))
            return false;
    }
    return true;
}

bool apache_has_mods_enabled(const struct apache_edit *edit)
{
    AUTO_FREE char *dir = mods_enabled(edit);
    return dir[0] != '\0';
}

bool apache_modules_stage(struct apache_edit *edit, const struct apache_modules *plan, bool ssl,
                          struct err *err)
{
    for (size_t i = 0; i < plan->links.n; i++) {
        bool is_ssl = strcmp(plan->links.v[i], "ssl") == 0;
        if (is_ssl == ssl && !link_module(edit, plan->enabled, plan->links.v[i], err))
            return false;
    }
    return true;
}

bool apache_modules_debian(const struct apache_edit *edit, const char *module, struct apache_modules *plan)
{
    AUTO_STRLIST links = STRLIST_INIT;
    if (!plan->enabled)
        plan->enabled = mods_enabled(edit);
    if (!plan->enabled[0] || !closure(plan->enabled, module, 0, &links))
        return false;
    for (size_t i = 0; i < links.n; i++) {
        if (!strlist_has(&plan->links, links.v[i]))
            strlist_add(&plan->links, links.v[i]);
    }
    return true;
}

/* -- LoadModule -- */

/* mod_NAME.so beside the modules that are loaded; the caller frees. */
static char *find_module_file(const struct apache_tree *tree, const char *module)
{
    AUTO_FREE char *file = mem_fmt("mod_%s.so", module);
    for (size_t i = 0; i < tree->n_lines; i++) {
        if (strcasecmp(tree->lines[i].name, "LoadModule") != 0)
            continue;
        AUTO_STRLIST words = STRLIST_INIT;
        apache_words(tree->lines[i].args, &words);
        if (words.n < 2)
            continue;
        AUTO_FREE char *path = apache_path(tree, words.v[1]);
        AUTO_FREE char *dir = fs_dirname(path);
        char *found = fs_join(dir, file);
        if (fs_exists(found))
            return found;
        free(found);
    }
    return NULL;
}

/* The path with which a companion of ours loads it, when nothing else does; the caller frees. */
static char *loaded_by_companion(const struct apache_tree *tree, const char *symbol)
{
    for (size_t i = 0; i < tree->n_lines; i++) {
        const struct apache_line *line = &tree->lines[i];
        if (strcasecmp(line->name, "LoadModule") != 0 ||
            !apache_block_around(tree->files[line->file], line->node, "companion"))
            continue;
        AUTO_STRLIST words = STRLIST_INIT;
        apache_words(line->args, &words);
        if (words.n == 2 && strcmp(words.v[0], symbol) == 0)
            return mem_dup(words.v[1]);
    }
    return NULL;
}

bool apache_modules_need(const struct apache_edit *edit, const char *module, bool companion,
                         struct apache_modules *plan)
{
    AUTO_FREE char *symbol = mem_fmt("%s_module", module);
    AUTO_FREE char *path = loaded_by_companion(&edit->model.tree, symbol);
    if (!path && apache_tree_has(&edit->model.tree, symbol))
        return true;
    if (path && !companion)
        return false; /* it comes after the host that needs it */
    if (!path && apache_modules_debian(edit, module, plan))
        return true;
    if (!path && companion)
        path = find_module_file(&edit->model.tree, module);
    if (!path)
        return false;
    strlist_add(&plan->symbols, symbol);
    strlist_add(&plan->paths, path);
    return true;
}

/* -- what wakes -- */

/* The LoadModule lines of what is to be linked. */
static void load_lines(const struct apache_modules *plan, struct strlist *out)
{
    for (size_t i = 0; i < plan->links.n; i++) {
        AUTO_FREE char *path = mem_fmt("%s/../mods-available/%s.load", plan->enabled, plan->links.v[i]);
        AUTO_BUF text = BUF_INIT;
        struct apache_file file;
        struct err ignored = ERR_INIT;
        if (!fs_read(path, 1u << 16, &text, &ignored) ||
            !apache_lex(path, buf_str(&text), text.len, &file, &ignored))
            continue;
        for (size_t k = 0; k < file.n_nodes; k++) {
            if (apache_is(&file.nodes[k], "LoadModule"))
                strlist_add(out, file.nodes[k].text);
        }
        apache_file_clear(&file);
    }
}

/* Whose directives are whose, for people: by how they begin. */
static const struct {
    const char *begins, *module;
} directives[] = {
    {"Rewrite", "rewrite"},
    {"Header", "headers"},
    {"RequestHeader", "headers"},
    {"BalancerMember", "proxy_balancer"},
    {"Proxy", "proxy"},
    {"Expires", "expires"},
    {"Deflate", "deflate"},
    {"Dav", "dav"},
    {"Fcgid", "fcgid"},
    {"WSGI", "wsgi"},
    {"Passenger", "passenger"},
    {"H2", "http2"},
    {"Substitute", "substitute"},
    {"UserDir", "userdir"},
    {"Virtual", "vhost_alias"},
    {"Sec", "security2"},
    {"Filter", "filter"},
    {"Session", "session"},
    {"SetEnvIf", "setenvif"},
    {"BrowserMatch", "setenvif"},
    {"Use", "macro"},
    {"AuthLDAP", "authnz_ldap"},
    {"MD", "md"},
    {"Brotli", "brotli"},
};

/* The module that an "Invalid command 'X'" lacks, when it is there to be enabled; NULL = unknown. */
static const char *lacking(const struct apache_modules *plan, const char *words)
{
    static const char invalid[] = "Invalid command '";
    const char *at = strstr(words, invalid);
    for (size_t i = 0; at && i < COUNT_OF(directives); i++) {
        AUTO_FREE char *load = mem_fmt("%s/../mods-available/%s.load", plan->enabled, directives[i].module);
        if (strncasecmp(at + strlen(invalid), directives[i].begins, strlen(directives[i].begins)) == 0 &&
            fs_exists(load))
            return directives[i].module;
    }
    return NULL;
}

static const char *woken_by(const struct apache_modules *plan)
{
    return strlist_has(&plan->links, "ssl") ? "ssl" : plan->links.v[plan->links.n - 1];
}

/* "on line 12 of FILE:" and its reason in the server's words; false: it names no place. */
static bool take_place(const char *words, char **file, size_t *line, char **reason)
{
    const char *at = strstr(words, "on line ");
    const char *of = at ? strstr(at, " of /") : NULL;
    const char *end = of ? strstr(of, ":\n") : NULL;
    if (!end || memchr(at, '\n', (size_t)(end - at)))
        return false;
    of += strlen(" of ");
    *line = strtoul(at + strlen("on line "), NULL, 10);
    *file = mem_ndup(of, (size_t)(end - of));
    end += 2;
    size_t len = strcspn(end, "\n");
    const char *guess = strstr(end, ", perhaps misspelled");
    *reason = mem_ndup(end, guess && (size_t)(guess - end) < len ? (size_t)(guess - end) : len);
    return true;
}

/* The line that the server named, as it is on the disk: is it there in what is staged as well? */
static bool line_stays(const struct txn *txn, const char *path, size_t number)
{
    AUTO_BUF disk = BUF_INIT, staged = BUF_INIT;
    struct err ignored = ERR_INIT;
    if (!fs_read(path, LINE_FILE_BYTES, &disk, &ignored) ||
        !txn_read(txn, path, LINE_FILE_BYTES, &staged, &ignored))
        return false;
    const char *line = buf_str(&disk);
    for (size_t i = 1; i < number && line; i++) {
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    if (!line)
        return false;
    AUTO_FREE char *text = mem_ndup(line, strcspn(line, "\n"));
    return strstr(buf_str(&staged), text) != NULL;
}

bool apache_modules_check(const struct apache_edit *edit, const struct apache_modules *plan, bool swaps,
                          struct err *err)
{
    AUTO_STRLIST lines = STRLIST_INIT;
    AUTO_FREE char *file = NULL;
    AUTO_FREE char *reason = NULL;
    size_t line = 0;
    load_lines(plan, &lines);
    if (!lines.n)
        return true;
    AUTO_FREE char *words = apache_test_with(edit->web, &lines);
    if (!words[0] || !take_place(words, &file, &line, &reason) || !line_stays(edit->txn, file, line) ||
        (swaps && strncasecmp(reason, "SSLCertificate", strlen("SSLCertificate")) == 0))
        return true; /* nothing, or nothing that is known for sure: the test after the edit will tell */
    const char *module = lacking(plan, words);
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, file,
            "switching on mod_%s wakes %s:%zu, which Apache refuses: %s", woken_by(plan), file, line, reason);
    if (module)
        return err_advise(err,
                          "Run a2enmod %s (it is of mod_%s), or take the section away, and run the command "
                          "again.",
                          module, module);
    return err_advise(err, "Mend that line, or take the section away, and run the command again.");
}

/* Does it concern a request for "/"? Sections and conditions that ask for more are let be. */
static bool concerns_root(const struct apache_tree *tree, size_t line, const struct apache_host *host)
{
    for (size_t i = tree->lines[line].parent; i != host->open; i = tree->lines[i].parent) {
        if (i == APACHE_NONE)
            return false;
        AUTO_STRLIST words = STRLIST_INIT;
        apache_words(tree->lines[i].args, &words);
        bool location = strcasecmp(tree->lines[i].name, "Location") == 0;
        if (!words.n ||
            (location ? strcmp(words.v[0], "/") != 0 : strcasecmp(tree->lines[i].name, "Directory") != 0))
            return false;
    }
    return true;
}

static bool matches_root(const char *pattern)
{
    static const char *const paths[] = {"/", ""};
    regex_t regex;
    bool negate = pattern[0] == '!', found = false;
    if (regcomp(&regex, pattern + negate, REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        found = found || regexec(&regex, paths[i], 0, NULL, 0) == 0;
    regfree(&regex);
    return found != negate;
}

/* Do the conditions before a rule hold for every plain request? */
static bool always_holds(const struct apache_tree *tree, size_t rule)
{
    for (size_t i = rule; i-- > 0 && strcasecmp(tree->lines[i].name, "RewriteCond") == 0;) {
        if (!apache_condition_is_plain(tree->lines[i].args))
            return false;
    }
    return true;
}

static bool sends_root_to_https(const struct apache_tree *tree, size_t index, const struct apache_host *host)
{
    const struct apache_line *line = &tree->lines[index];
    struct apache_redirect redirect;
    if (line->kind != APACHE_DIRECTIVE || !apache_redirects(line->name, line->args, "https://", &redirect) ||
        apache_is_ours(tree->files[line->file], line->node) || !concerns_root(tree, index, host))
        return false;
    if (!redirect.rewrite)
        return redirect.everything;
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(line->args, &words);
    return matches_root(words.v[0]) && always_holds(tree, index);
}

static bool was_there(const struct apache_model *before, const struct apache_tree *tree,
                      const struct apache_line *line)
{
    for (size_t i = 0; i < before->tree.n_lines; i++) {
        const struct apache_line *other = &before->tree.lines[i];
        if (other->node == line->node &&
            strcmp(before->tree.files[other->file]->real, tree->files[line->file]->real) == 0)
            return true;
    }
    return false;
}

static bool is_asked_for(const struct apache_model *model, const struct apache_host *host,
                         const struct strlist *names)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    strlist_add(&addresses, "*");
    apache_addresses(model, 80, NULL, &addresses);
    for (size_t i = 0; i < names->n; i++) {
        for (size_t k = 0; k < addresses.n; k++) {
            if (apache_owner_at(model, names->v[i], addresses.v[k], 80, false, NULL) == host)
                return true;
        }
    }
    return false;
}

static bool refuse_redirect(const struct apache_model *model, const struct apache_line *line, bool own,
                            struct err *err)
{
    const struct apache_file *file = model->tree.files[line->file];
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, file->path,
            "switching on mod_ssl wakes the redirect to https in %s:%zu%s", file->path,
            file->nodes[line->node].line, own ? "" : ", whose site has no https");
    if (own)
        return err_advise(err, "Run it again with --redirect, which wants just that, or take the section "
                               "away.");
    return err_advise(err, "Give the names of that site as well, with --redirect, or take the section away, "
                           "and run the command again.");
}

bool apache_modules_check_redirects(const struct apache_model *before, const struct apache_edit *edit,
                                    const struct web_https *https, struct err *err)
{
    const struct apache_model *model = &edit->model;
    const struct apache_tree *tree = &model->tree;
    for (size_t i = 0; tree->n_lines > before->tree.n_lines && i + 1 < model->n_hosts; i++) {
        const struct apache_host *host = &model->hosts[i];
        size_t from, to;
        apache_host_span(model, host, &from, &to);
        for (size_t k = from; k < to; k++) {
            const struct apache_line *line = &tree->lines[k];
            if (!sends_root_to_https(tree, k, host) || apache_host_is_tls(model, host) ||
                was_there(before, tree, line) || !was_there(before, tree, &tree->lines[host->open]))
                continue;
            bool own = is_asked_for(model, host, https->names);
            const struct apache_host *over_tls =
                host->server_name ? apache_owner(model, host->server_name, 443, true, NULL) : NULL;
            if (own ? !https->redirect : !over_tls || over_tls->open == APACHE_NONE)
                return refuse_redirect(model, line, own, err);
        }
    }
    return true;
}
