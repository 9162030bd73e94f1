/*
 * apache_modules.c - modules that an edit needs: Debian's links, or a LoadModule of our own.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "apache_edit.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

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
