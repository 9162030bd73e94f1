/*
 * apache_tree.c - the walk through Apache's configuration as the server itself reads it (see apache_lexer.h).
 */
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <regex.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "apache_lexer.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

#define INCLUDE_DEPTH_MAX 128 /* the server's own bound */
#define FILES_MAX 100000
#define FILE_LIMIT_BYTES (64u << 20)
#define LINES_MAX 4000000

/* -- variables and modules -- */

static struct apache_var *var_find(struct apache_var *vars, size_t n, const char *name, size_t len)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(vars[i].name) == len && memcmp(vars[i].name, name, len) == 0)
            return &vars[i];
    }
    return NULL;
}

static void var_set(struct apache_var **vars, size_t *n, const char *name, const char *value)
{
    struct apache_var *var = var_find(*vars, *n, name, strlen(name));
    if (var) {
        free(var->value);
    } else {
        *vars = mem_resize(*vars, *n + 1, sizeof **vars);
        var = &(*vars)[(*n)++];
        var->name = mem_dup(name);
    }
    var->value = mem_dup(value);
}

static void vars_clear(struct apache_var **vars, size_t *n)
{
    for (size_t i = 0; i < *n; i++) {
        free((*vars)[i].name);
        free((*vars)[i].value);
    }
    free(*vars);
    *vars = NULL;
    *n = 0;
}

void apache_tree_define(struct apache_tree *tree, const char *name, const char *value)
{
    var_set(&tree->vars, &tree->n_vars, name, value);
}

void apache_tree_env(struct apache_tree *tree, const char *name, const char *value)
{
    var_set(&tree->env, &tree->n_env, name, value);
}

static void undefine(struct apache_tree *tree, const char *name)
{
    struct apache_var *var = var_find(tree->vars, tree->n_vars, name, strlen(name));
    if (!var)
        return;
    free(var->name);
    free(var->value);
    *var = tree->vars[--tree->n_vars];
}

char *apache_expand(const struct apache_tree *tree, const char *text)
{
    struct buf out = BUF_INIT;
    if (!strstr(text, "${"))
        return mem_dup(text);
    while (*text) {
        const char *close = text[0] == '$' && text[1] == '{' ? strchr(text, '}') : NULL;
        if (!close) {
            buf_addc(&out, *text++);
            continue;
        }
        size_t len = (size_t)(close - text) - 2;
        const struct apache_var *var = var_find(tree->vars, tree->n_vars, text + 2, len);
        if (!var)
            var = var_find(tree->env, tree->n_env, text + 2, len);
        if (var)
            buf_adds(&out, var->value);
        else
            buf_add(&out, text, len + 3);
        text = close + 1;
    }
    char *expanded = mem_dup(buf_str(&out));
    buf_clear(&out);
    return expanded;
}

/* Modules whose two names do not follow the rule mod_X.c = X_module. */
static const struct {
    const char *symbol, *file;
} module_names[] = {
    {"core_module", "core.c"},
    {"http_module", "http_core.c"},
    {"mpm_event_module", "event.c"},
    {"mpm_prefork_module", "prefork.c"},
    {"mpm_worker_module", "worker.c"},
    {"ldap_module", "util_ldap.c"},
    {"php5_module", "mod_php5.c"},
    {"php7_module", "mod_php7.c"},
    {"evasive20_module", "mod_evasive20.c"},
    {"mpm_itk_module", "mpm_itk.c"},
};

void apache_tree_module(struct apache_tree *tree, const char *name)
{
    AUTO_FREE char *other = NULL;
    for (size_t i = 0; i < COUNT_OF(module_names) && !other; i++) {
        if (strcmp(name, module_names[i].symbol) == 0)
            other = mem_dup(module_names[i].file);
        else if (strcmp(name, module_names[i].file) == 0)
            other = mem_dup(module_names[i].symbol);
    }
    size_t len = strlen(name);
    if (!other && len > 7 && strcmp(name + len - 7, "_module") == 0)
        other = mem_fmt("mod_%.*s.c", (int)(len - 7), name);
    else if (!other && len > 6 && strncmp(name, "mod_", 4) == 0 && strcmp(name + len - 2, ".c") == 0)
        other = mem_fmt("%.*s_module", (int)(len - 6), name + 4);
    if (!strlist_has(&tree->modules, name))
        strlist_add(&tree->modules, name);
    if (other && !strlist_has(&tree->modules, other))
        strlist_add(&tree->modules, other);
}

bool apache_tree_has(const struct apache_tree *tree, const char *module)
{
    return strlist_has(&tree->modules, module);
}

char *apache_path(const struct apache_tree *tree, const char *path)
{
    return path[0] == '/' ? mem_dup(path) : fs_join(tree->server_root, path);
}

/* -- conditions -- */

static bool if_module(struct apache_tree *tree, const char *word)
{
    return apache_tree_has(tree, word);
}

static bool if_define(struct apache_tree *tree, const char *word)
{
    return var_find(tree->vars, tree->n_vars, word, strlen(word)) != NULL;
}

static bool if_file(struct apache_tree *tree, const char *word)
{
    AUTO_FREE char *path = apache_path(tree, word);
    AUTO_FREE char *real = txn_real(tree->txn, path);
    return real != NULL;
}

static int version_of(const char *text)
{
    int part[3] = {0};
    for (size_t i = 0; i < 3 && isdigit((unsigned char)*text); i++) {
        char *end;
        long value = strtol(text, &end, 10);
        part[i] = value > 999 ? 999 : (int)value;
        text = *end == '.' ? end + 1 : end;
    }
    return part[0] * 1000000 + part[1] * 1000 + part[2];
}

static bool version_matches(int version, const char *pattern)
{
    AUTO_FREE char *text = mem_fmt("%d.%d.%d", version / 1000000, version / 1000 % 1000, version % 1000);
    regex_t regex;
    if (regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    bool matches = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return matches;
}

/* `[[!]operator] version`; the operator "~", or slashes around it, make it a regular expression. */
static bool if_version(const struct apache_tree *tree, const struct strlist *words)
{
    const char *op = words->n > 1 ? words->v[0] : "=";
    bool negate = op[0] == '!';
    op += negate;
    AUTO_FREE char *last = mem_dup(words->n ? words->v[words->n - 1] : "");
    size_t len = strlen(last);
    int wanted = version_of(last);
    int is = tree->version_number;
    bool result = false;
    bool equality = strcmp(op, "=") == 0 || strcmp(op, "==") == 0 || !*op;
    if (equality && len > 1 && last[0] == '/' && last[len - 1] == '/') {
        last[len - 1] = '\0';
        result = version_matches(is, last + 1);
    } else if (strcmp(op, "~") == 0)
        result = version_matches(is, last);
    else if (equality)
        result = is == wanted;
    else if (strcmp(op, ">") == 0)
        result = is > wanted;
    else if (strcmp(op, ">=") == 0)
        result = is >= wanted;
    else if (strcmp(op, "<") == 0)
        result = is < wanted;
    else if (strcmp(op, "<=") == 0)
        result = is <= wanted;
    return result != negate;
}

static const struct {
    const char *name;
    bool (*holds)(struct apache_tree *tree, const char *word);
} conditions[] = {
    {"IfModule", if_module},
    {"IfDefine", if_define},
    {"IfFile", if_file},
    {"IfVersion", NULL},
};

/* Is the section conditional, and does its condition hold? */
static bool is_condition(struct apache_tree *tree, const char *name, const char *args, bool *holds)
{
    for (size_t i = 0; i < COUNT_OF(conditions); i++) {
        if (strcasecmp(name, conditions[i].name) != 0)
            continue;
        AUTO_STRLIST words = STRLIST_INIT;
        apache_words(args, &words);
        const char *word = words.n ? words.v[0] : "";
        bool negate = word[0] == '!';
        if (conditions[i].holds)
            *holds = conditions[i].holds(tree, word + negate) != negate;
        else
            *holds = if_version(tree, &words);
        return true;
    }
    return false;
}

/* -- macros -- */

char *apache_substitute(const struct apache_tree *tree, const char *text, size_t use)
{
    if (use == APACHE_NONE)
        return mem_dup(text);
    const struct strlist *params = &tree->uses[use].params, *args = &tree->uses[use].args;
    struct buf out = BUF_INIT;
    while (*text) {
        size_t best = APACHE_NONE, best_len = 0;
        for (size_t i = 0; i < params->n && i < args->n; i++) {
            size_t len = strlen(params->v[i]);
            if (len > best_len && strncmp(text, params->v[i], len) == 0) {
                best = i;
                best_len = len;
            }
        }
        if (best == APACHE_NONE) {
            buf_addc(&out, *text++);
        } else {
            buf_adds(&out, args->v[best]);
            text += best_len;
        }
    }
    char *result = mem_dup(buf_str(&out));
    buf_clear(&out);
    return result;
}

static struct apache_macro *macro_find(struct apache_tree *tree, const char *name)
{
    for (size_t i = tree->n_macros; i-- > 0;) {
        if (strcasecmp(tree->macros[i].name, name) == 0)
            return &tree->macros[i];
    }
    return NULL;
}

static void macro_define(struct apache_tree *tree, size_t file, size_t node, const char *args)
{
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(args, &words);
    if (!words.n)
        return;
    tree->macros = mem_resize(tree->macros, tree->n_macros + 1, sizeof *tree->macros);
    struct apache_macro *macro = &tree->macros[tree->n_macros++];
    *macro = (struct apache_macro){.name = mem_dup(words.v[0]), .file = file, .node = node};
    for (size_t i = 1; i < words.n; i++)
        strlist_add(&macro->params, words.v[i]);
}

/* -- the walk -- */

struct walk {
    struct apache_tree *tree;
    size_t parent; /* line of the section that we are in */
    size_t use;
    unsigned depth; /* of includes and macros */
    bool
        optional; /* what an IncludeOptional brings in, and is not there, is passed over: a link to nowhere */
};

static bool walk_file(struct walk *walk, const char *path, struct err *err);
static bool walk_nodes(struct walk *walk, size_t file, size_t from, size_t to, struct err *err);

/* Takes over `name` and `args`. */
static size_t add_line(struct walk *walk, enum apache_kind kind, size_t file, size_t node, char *name,
                       char *args)
{
    struct apache_tree *tree = walk->tree;
    if ((tree->n_lines & (tree->n_lines - 1)) == 0)
        tree->lines = mem_resize(tree->lines, tree->n_lines ? 2 * tree->n_lines : 1, sizeof *tree->lines);
    size_t index = tree->n_lines++;
    tree->lines[index] = (struct apache_line){.kind = kind,
                                              .file = file,
                                              .node = node,
                                              .name = name,
                                              .args = args,
                                              .parent = walk->parent,
                                              .next = index + 1,
                                              .use = walk->use};
    return index;
}

static bool has_wildcard(const char *text)
{
    return strpbrk(text, "*?[") != NULL;
}

/* The paths that a pattern stands for, component by component, each level sorted by bytes. */
static void expand_pattern(const struct txn *txn, const char *base, const char *rest, unsigned depth,
                           struct strlist *out)
{
    while (*rest == '/')
        rest++;
    if (!*rest || depth > 64) {
        strlist_add(out, base);
        return;
    }
    size_t len = strcspn(rest, "/");
    AUTO_FREE char *part = mem_ndup(rest, len);
    bool more = rest[len + strspn(rest + len, "/")] != '\0';
    if (!has_wildcard(part)) {
        AUTO_FREE char *path = fs_join(base, part);
        if (txn_exists(txn, path))
            expand_pattern(txn, path, rest + len, depth + 1, out);
        return;
    }
    AUTO_STRLIST names = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    if (!txn_names(txn, base, &names, &ignored))
        return;
    for (size_t i = 0; i < names.n; i++) {
        if (fnmatch(part, names.v[i], FNM_PERIOD) != 0)
            continue;
        AUTO_FREE char *path = fs_join(base, names.v[i]);
        if (!more || fs_is_dir(path))
            expand_pattern(txn, path, rest + len, depth + 1, out);
    }
}

/* A directory stands for all the files below it, those with a leading dot as well. */
static bool walk_path(struct walk *walk, const char *path, struct err *err)
{
    if (!fs_is_dir(path))
        return walk_file(walk, path, err);
    if (walk->depth >= INCLUDE_DEPTH_MAX)
        return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path,
                       "directories are nested too deep to include");
    AUTO_STRLIST names = STRLIST_INIT;
    if (!txn_names(walk->tree->txn, path, &names, err))
        return err_context(err, "reading Apache's configuration");
    walk->depth++;
    bool ok = true, optional = walk->optional;
    for (size_t i = 0; i < names.n && ok; i++) {
        AUTO_FREE char *inside = fs_join(path, names.v[i]);
        walk->optional = optional;
        ok = walk_path(walk, inside, err);
    }
    walk->depth--;
    return ok;
}

static bool walk_include(struct walk *walk, size_t line, bool optional, struct err *err)
{
    struct apache_tree *tree = walk->tree;
    const char *args = tree->lines[line].args;
    AUTO_FREE char *pattern = apache_word(&args);
    const struct apache_file *from = tree->files[tree->lines[line].file];
    size_t at = from->nodes[tree->lines[line].node].line;
    if (!pattern)
        return apache_bad_line(err, from->path, at, "an Include without a file", "");
    AUTO_FREE char *path = apache_path(tree, pattern);
    AUTO_STRLIST paths = STRLIST_INIT;
    if (has_wildcard(path))
        expand_pattern(tree->txn, "/", path, 0, &paths);
    else if (!optional || txn_exists(tree->txn, path))
        strlist_add(&paths, path);
    if (!paths.n && !optional)
        return apache_bad_line(err, from->path, at, "nothing matches Include ", pattern);
    if (walk->depth >= INCLUDE_DEPTH_MAX)
        return apache_bad_line(err, from->path, at, "files include each other too deep: ", pattern);
    walk->depth++;
    bool ok = true;
    for (size_t i = 0; i < paths.n && ok; i++) {
        walk->optional = optional;
        ok = walk_path(walk, paths.v[i], err);
    }
    walk->depth--;
    tree->lines[line].next = tree->n_lines;
    return ok;
}

static bool walk_use(struct walk *walk, size_t line, struct err *err)
{
    struct apache_tree *tree = walk->tree;
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(tree->lines[line].args, &words);
    const struct apache_file *from = tree->files[tree->lines[line].file];
    size_t at = from->nodes[tree->lines[line].node].line;
    const struct apache_macro *macro = words.n ? macro_find(tree, words.v[0]) : NULL;
    if (!macro)
        return apache_bad_line(err, from->path, at,
                               "Use of a macro that is not defined: ", words.n ? words.v[0] : "");
    if (words.n - 1 != macro->params.n)
        return apache_bad_line(err, from->path, at, "Use with a wrong number of arguments: ", words.v[0]);
    if (walk->depth >= INCLUDE_DEPTH_MAX)
        return apache_bad_line(err, from->path, at, "macros use each other too deep: ", words.v[0]);
    tree->uses = mem_resize(tree->uses, tree->n_uses + 1, sizeof *tree->uses);
    struct apache_use *use = &tree->uses[tree->n_uses];
    *use = (struct apache_use){.macro = mem_dup(macro->name), .line = line};
    strlist_copy(&use->params, &macro->params);
    for (size_t i = 1; i < words.n; i++)
        strlist_add(&use->args, words.v[i]);
    struct walk inside = {
        .tree = tree, .parent = walk->parent, .use = tree->n_uses++, .depth = walk->depth + 1};
    size_t file = macro->file, node = macro->node;
    if (!walk_nodes(&inside, file, node + 1, tree->files[file]->nodes[node].partner, err))
        return false;
    tree->lines[line].next = tree->n_lines;
    return true;
}

static void walk_define(struct apache_tree *tree, const struct apache_line *line)
{
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(line->args, &words);
    if (words.n)
        apache_tree_define(tree, words.v[0], words.n > 1 ? words.v[1] : "");
}

/* What a directive does while the server is still reading. */
static bool walk_directive(struct walk *walk, size_t index, struct err *err)
{
    struct apache_tree *tree = walk->tree;
    struct apache_line *line = &tree->lines[index];
    const char *args = line->args;
    if (!strchr("IUDLS", toupper((unsigned char)line->name[0]))) /* of ten lines nine are none of these */
        return true;
    if (strcasecmp(line->name, "Include") == 0)
        return walk_include(walk, index, false, err);
    if (strcasecmp(line->name, "IncludeOptional") == 0)
        return walk_include(walk, index, true, err);
    if (strcasecmp(line->name, "Use") == 0 && apache_tree_has(tree, "macro_module"))
        return walk_use(walk, index, err);
    if (strcasecmp(line->name, "Define") == 0) {
        walk_define(tree, line);
        return true;
    }
    AUTO_FREE char *word = apache_word(&args);
    if (!word)
        return true;
    if (strcasecmp(line->name, "UnDefine") == 0) {
        undefine(tree, word);
    } else if (strcasecmp(line->name, "LoadModule") == 0) {
        apache_tree_module(tree, word);
    } else if (strcasecmp(line->name, "ServerRoot") == 0) {
        free(tree->server_root);
        tree->server_root = mem_dup(word);
    }
    return true;
}

/* A section opens: conditions that do not hold and macro definitions are passed over. Returns the node to go
 * on after. */
static size_t walk_open(struct walk *walk, size_t file, size_t node, const char *text)
{
    struct apache_tree *tree = walk->tree;
    AUTO_FREE char *name = apache_name(text, NULL);
    AUTO_FREE char *args = apache_arguments(text);
    size_t partner = tree->files[file]->nodes[node].partner;
    bool holds;
    if (is_condition(tree, name, args, &holds))
        return holds ? node : partner;
    if (strcasecmp(name, "Macro") == 0) {
        macro_define(tree, file, node, args);
        return partner;
    }
    walk->parent = add_line(walk, APACHE_OPEN, file, node, mem_dup(name), mem_dup(args));
    return strcasecmp(name, "Perl") == 0 ? partner - 1 : node;
}

/* Is the section that `node` closes one that got a line of its own? */
static bool closes_line(const struct walk *walk, size_t file, size_t node)
{
    if (walk->parent == APACHE_NONE)
        return false;
    const struct apache_line *open = &walk->tree->lines[walk->parent];
    return open->file == file && open->node == walk->tree->files[file]->nodes[node].partner &&
           open->use == walk->use;
}

static bool walk_node(struct walk *walk, size_t file, size_t *i, struct err *err)
{
    struct apache_tree *tree = walk->tree;
    const struct apache_node *node = &tree->files[file]->nodes[*i];
    if (node->kind == APACHE_BLANK || node->kind == APACHE_COMMENT)
        return true;
    if (tree->n_lines >= LINES_MAX)
        return apache_bad_line(err, tree->files[file]->path, node->line, "the configuration is too large",
                               "");
    if (node->kind == APACHE_CLOSE) {
        if (closes_line(walk, file, *i)) {
            size_t open = walk->parent;
            walk->parent = tree->lines[open].parent;
            add_line(walk, APACHE_CLOSE, file, *i, mem_dup(tree->lines[open].name), mem_dup(""));
            tree->lines[open].next = tree->n_lines;
        }
        return true;
    }
    AUTO_FREE char *raw = apache_substitute(tree, node->text, walk->use);
    AUTO_FREE char *text = apache_expand(tree, raw);
    if (node->kind == APACHE_OPEN) {
        *i = walk_open(walk, file, *i, text);
        return true;
    }
    size_t line = add_line(walk, APACHE_DIRECTIVE, file, *i, apache_name(text, NULL), apache_arguments(text));
    return walk_directive(walk, line, err);
}

static bool walk_nodes(struct walk *walk, size_t file, size_t from, size_t to, struct err *err)
{
    for (size_t i = from; i < to; i++) {
        if (!walk_node(walk, file, &i, err))
            return false;
    }
    return true;
}

/* -- files by their real path -- */

static size_t hash_of(const char *text)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return (size_t)hash;
}

/* The slot that has the file, or would. */
static size_t slot_of(const struct apache_tree *tree, const char *real)
{
    size_t slot = hash_of(real) & (tree->index_size - 1);
    while (tree->index[slot] != APACHE_NONE && strcmp(tree->files[tree->index[slot]]->real, real) != 0)
        slot = (slot + 1) & (tree->index_size - 1);
    return slot;
}

size_t apache_tree_file(const struct apache_tree *tree, const char *real)
{
    return tree->index_size ? tree->index[slot_of(tree, real)] : APACHE_NONE;
}

/* Kept half empty. */
static void add_to_index(struct apache_tree *tree, size_t file)
{
    if (2 * tree->n_files >= tree->index_size) {
        tree->index_size = tree->index_size ? 2 * tree->index_size : 256;
        tree->index = mem_resize(tree->index, tree->index_size, sizeof *tree->index);
        for (size_t i = 0; i < tree->index_size; i++)
            tree->index[i] = APACHE_NONE;
        for (size_t i = 0; i < tree->n_files; i++)
            tree->index[slot_of(tree, tree->files[i]->real)] = i;
        return;
    }
    tree->index[slot_of(tree, tree->files[file]->real)] = file;
}

static bool read_file(const struct apache_tree *tree, const char *real, struct buf *out, struct err *err)
{
    return tree->txn && strlist_has(&tree->staged, real)
               ? txn_read(tree->txn, real, FILE_LIMIT_BYTES, out, err)
               : fs_read(real, FILE_LIMIT_BYTES, out, err);
}

static void list_staged(struct apache_tree *tree)
{
    AUTO_STRLIST paths = STRLIST_INIT;
    if (tree->txn)
        txn_paths(tree->txn, &paths);
    for (size_t i = 0; i < paths.n; i++) {
        AUTO_FREE char *dir = fs_dirname(paths.v[i]);
        AUTO_FREE char *real_dir = realpath(dir, NULL);
        AUTO_FREE char *entry = fs_join(real_dir ? real_dir : dir, strrchr(paths.v[i], '/') + 1);
        AUTO_FREE char *real = txn_real(tree->txn, paths.v[i]);
        strlist_add(&tree->staged, entry);
        if (real && !strlist_has(&tree->staged, real))
            strlist_add(&tree->staged, real);
    }
}

static const char *real_dir_of(struct apache_tree *tree, const char *dir)
{
    for (size_t i = tree->dirs.n; i >= 2; i -= 2) {
        if (strcmp(tree->dirs.v[i - 2], dir) == 0)
            return tree->dirs.v[i - 1];
    }
    AUTO_FREE char *real = realpath(dir, NULL);
    if (!real)
        return NULL;
    strlist_add(&tree->dirs, dir);
    strlist_add(&tree->dirs, real);
    return tree->dirs.v[tree->dirs.n - 1];
}

/* txn_real(), with a memory for directories: ten thousand sites are ten thousand links. NULL = nothing there.
 */
static char *real_path(struct apache_tree *tree, const char *path, unsigned depth)
{
    char target[PATH_MAX];
    AUTO_FREE char *dir = fs_dirname(path);
    const char *base = strrchr(path, '/');
    const char *real_dir =
        base && base[1] && strcmp(base, "/.") != 0 && strcmp(base, "/..") != 0 && depth < 40
            ? real_dir_of(tree, dir)
            : NULL;
    if (!real_dir)
        return txn_real(tree->txn, path);
    AUTO_FREE char *entry = fs_join(real_dir, base + 1);
    if (strlist_has(&tree->staged, entry))
        return txn_real(tree->txn, path);
    ssize_t n = readlink(entry, target, sizeof target - 1);
    if (n < 0)
        return errno == EINVAL ? mem_dup(entry) : txn_real(tree->txn, path);
    target[n] = '\0';
    AUTO_FREE char *next = target[0] == '/' ? mem_dup(target) : fs_join(real_dir, target);
    return real_path(tree, next, depth + 1);
}

/* The file's index, read and lexed at its first use. */
static bool load_file(struct apache_tree *tree, const char *path, const char *resolved, size_t *index,
                      struct err *err)
{
    const char *real = resolved ? resolved : path;
    *index = apache_tree_file(tree, real);
    if (*index != APACHE_NONE)
        return true;
    if (tree->n_files >= FILES_MAX)
        return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path, "the configuration has too many files");
    AUTO_BUF content = BUF_INIT;
    if (!read_file(tree, real, &content, err))
        return err_context(err, "reading Apache's configuration");
    struct apache_file *file = mem_alloc(sizeof *file);
    if (!apache_lex(path, buf_str(&content), content.len, file, err)) {
        free(file);
        return false;
    }
    file->real = mem_dup(real);
    if ((tree->n_files & (tree->n_files - 1)) == 0)
        tree->files = mem_resize(tree->files, tree->n_files ? 2 * tree->n_files : 1, sizeof *tree->files);
    tree->files[tree->n_files] = file;
    *index = tree->n_files++;
    add_to_index(tree, *index);
    return true;
}

static bool walk_file(struct walk *walk, const char *path, struct err *err)
{
    size_t file = 0;
    AUTO_FREE char *real = real_path(walk->tree, path, 0);
    if (walk->optional && !real)
        return true;
    if (!load_file(walk->tree, path, real, &file, err))
        return false;
    walk->tree->files[file]->times++;
    strlist_add(&walk->tree->reads, path);
    size_t use = walk->use;
    walk->use = APACHE_NONE;
    bool ok = walk_nodes(walk, file, 0, walk->tree->files[file]->n_nodes, err);
    walk->use = use;
    return ok;
}

bool apache_tree_walk(struct apache_tree *tree, const char *conf, struct err *err)
{
    list_staged(tree);
    struct walk walk = {.tree = tree, .parent = APACHE_NONE, .use = APACHE_NONE};
    return walk_file(&walk, conf, err);
}

void apache_tree_clear(struct apache_tree *tree)
{
    for (size_t i = 0; i < tree->n_files; i++) {
        apache_file_clear(tree->files[i]);
        free(tree->files[i]);
    }
    for (size_t i = 0; i < tree->n_lines; i++) {
        free(tree->lines[i].name);
        free(tree->lines[i].args);
    }
    for (size_t i = 0; i < tree->n_macros; i++) {
        free(tree->macros[i].name);
        strlist_clear(&tree->macros[i].params);
    }
    for (size_t i = 0; i < tree->n_uses; i++) {
        free(tree->uses[i].macro);
        strlist_clear(&tree->uses[i].params);
        strlist_clear(&tree->uses[i].args);
    }
    free(tree->files);
    free(tree->index);
    free(tree->lines);
    free(tree->macros);
    free(tree->uses);
    free(tree->server_root);
    vars_clear(&tree->vars, &tree->n_vars);
    vars_clear(&tree->env, &tree->n_env);
    strlist_clear(&tree->modules);
    strlist_clear(&tree->reads);
    strlist_clear(&tree->staged);
    strlist_clear(&tree->dirs);
    *tree = (struct apache_tree){0};
}
