/*
 * apache_lexer.c - Apache's configuration language (see apache_lexer.h).
 */
#include "apache_lexer.h"

#include <ctype.h>
#include <dirent.h>
#include <fnmatch.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"

#define INCLUDE_DEPTH_MAX 128 /* the server's own bound */
#define FILES_MAX 20000
#define LINES_MAX 4000000
#define MARK_BEGIN "# tlsup begin: "
#define MARK_END "# tlsup end: "

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool bad_line(struct err *err, const char *path, size_t line, const char *what, const char *word)
{
    return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path, "%s:%zu: %s%s", path, line, what, word);
}

/* -- words -- */

/* A word's inside is [from, to); the text goes on at `rest`. */
struct word {
    const char *from, *to, *rest;
    char quote;
};

static struct word word_scan(const char *text)
{
    struct word word = {.from = text};
    if (*text != '"' && *text != '\'') {
        while (*text && !is_space(*text))
            text++;
        word.to = word.rest = text;
        return word;
    }
    word.quote = *text++;
    word.from = text;
    while (*text && *text != word.quote)
        text += text[0] == '\\' && (text[1] == word.quote || text[1] == '\\') ? 2 : 1;
    word.to = text;
    word.rest = *text ? text + 1 : text;
    return word;
}

char *apache_word(const char **text)
{
    const char *from = *text;
    while (is_space(*from))
        from++;
    *text = from;
    if (!*from)
        return NULL;
    struct word word = word_scan(from);
    char *out = mem_alloc((size_t)(word.to - word.from) + 1);
    size_t n = 0;
    for (const char *at = word.from; at < word.to; at++) {
        if (*at == '\\' && at + 1 < word.to && (at[1] == '\\' || (word.quote && at[1] == word.quote)))
            at++;
        out[n++] = *at;
    }
    while (is_space(*word.rest))
        word.rest++;
    *text = word.rest;
    return out;
}

void apache_words(const char *text, struct strlist *words)
{
    for (char *word = apache_word(&text); word; word = apache_word(&text)) {
        strlist_add(words, word);
        free(word);
    }
}

char *apache_name(const char *text, const char **args)
{
    const char *rest = text;
    char *word = apache_word(&rest);
    if (!word)
        word = mem_dup("");
    if (word[0] == '<') {
        size_t skip = word[1] == '/' ? 2 : 1;
        size_t len = strlen(word + skip);
        if (len && word[skip + len - 1] == '>')
            len--;
        memmove(word, word + skip, len);
        word[len] = '\0';
    }
    if (args)
        *args = rest;
    return word;
}

char *apache_arguments(const char *text)
{
    const char *args;
    free(apache_name(text, &args));
    while (is_space(*text))
        text++;
    if (text[0] != '<')
        return mem_dup(args);
    const char *last = strrchr(args, '>');
    return last ? mem_ndup(args, (size_t)(last - args)) : mem_dup(args);
}

bool apache_is(const struct apache_node *node, const char *name)
{
    if (node->kind != APACHE_DIRECTIVE && node->kind != APACHE_OPEN && node->kind != APACHE_CLOSE)
        return false;
    AUTO_FREE char *is = apache_name(node->text, NULL);
    return strcasecmp(is, name) == 0;
}

/* -- the lexer -- */

/* The end of the logical line at `at`: behind the first line feed that no backslash protects. Counts the physical lines. */
static size_t logical_end(const char *data, size_t len, size_t at, size_t *lines)
{
    while (at < len) {
        const char *feed = memchr(data + at, '\n', len - at);
        if (!feed)
            return len;
        size_t stop = (size_t)(feed - data);
        ++*lines;
        size_t before = stop > at && data[stop - 1] == '\r' ? stop - 1 : stop;
        bool continued = before > at && data[before - 1] == '\\';
        at = stop + 1;
        if (!continued)
            return at;
    }
    return at;
}

/* The logical line without its continuations and the white space around it. */
static char *logical_text(const char *data, size_t len)
{
    struct buf out = BUF_INIT;
    for (size_t at = 0; at < len;) {
        const char *feed = memchr(data + at, '\n', len - at);
        size_t stop = feed ? (size_t)(feed - data) : len;
        size_t end = stop;
        if (feed && end > at && data[end - 1] == '\r')
            end--;
        if (feed && end > at && data[end - 1] == '\\')
            end--;
        buf_add(&out, data + at, end - at);
        at = feed ? stop + 1 : len;
    }
    const char *from = buf_str(&out);
    size_t n = out.len;
    while (n && is_space(*from)) {
        from++;
        n--;
    }
    while (n && is_space(from[n - 1]))
        n--;
    char *text = n ? mem_ndup(from, n) : NULL;
    buf_clear(&out);
    return text;
}

static enum apache_kind kind_of(const char *text)
{
    if (!text)
        return APACHE_BLANK;
    if (text[0] == '#')
        return APACHE_COMMENT;
    if (text[0] != '<')
        return APACHE_DIRECTIVE;
    return text[1] == '/' ? APACHE_CLOSE : APACHE_OPEN;
}

static bool close_section(struct apache_file *file, size_t open, size_t close, struct err *err)
{
    struct apache_node *node = &file->nodes[close];
    const char *rest = node->text;
    AUTO_FREE char *word = apache_word(&rest);
    size_t len = strlen(word);
    if (word[len - 1] != '>')
        return bad_line(err, file->path, node->line, "a closing tag without '>': ", word);
    if (open == APACHE_NONE)
        return bad_line(err, file->path, node->line, "a closing tag without its section: ", word);
    AUTO_FREE char *name = apache_name(node->text, NULL);
    AUTO_FREE char *expected = apache_name(file->nodes[open].text, NULL);
    if (strcasecmp(name, expected) != 0)
        return bad_line(err, file->path, node->line, "a closing tag of another section: ", word);
    node->partner = open;
    node->parent = file->nodes[open].parent;
    file->nodes[open].partner = close;
    return true;
}

/* The inside of <Perl> is another language. */
static bool is_foreign(const struct apache_node *section, const struct apache_node *node)
{
    if (node->kind != APACHE_OPEN && node->kind != APACHE_CLOSE)
        return false;
    return apache_is(section, "Perl") && !(node->kind == APACHE_CLOSE && apache_is(node, "Perl"));
}

static bool link_sections(struct apache_file *file, struct err *err)
{
    size_t open = APACHE_NONE;
    for (size_t i = 0; i < file->n_nodes; i++) {
        struct apache_node *node = &file->nodes[i];
        node->parent = open;
        if (open != APACHE_NONE && is_foreign(&file->nodes[open], node))
            node->kind = APACHE_DIRECTIVE;
        if (node->kind == APACHE_OPEN) {
            AUTO_FREE char *name = apache_name(node->text, NULL);
            if (!name[0])
                return bad_line(err, file->path, node->line, "a section without a name", "");
            open = i;
        } else if (node->kind == APACHE_CLOSE) {
            if (!close_section(file, open, i, err))
                return false;
            open = file->nodes[open].parent;
        }
    }
    if (open != APACHE_NONE)
        return bad_line(err, file->path, file->nodes[open].line, "a section that is never closed: ",
                        file->nodes[open].text);
    return true;
}

static void content_hash(const char *data, size_t len, char out[17])
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    unsigned size = 0;
    if (EVP_Digest(data, len, digest, &size, EVP_sha256(), NULL) != 1)
        memset(digest, 0, sizeof digest);
    for (size_t i = 0; i < 8; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static void find_block(struct apache_file *file, size_t first)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, file->nodes[first].text + strlen(MARK_BEGIN), " \t");
    if (words.n != 3)
        return;
    AUTO_FREE char *closing = mem_fmt(MARK_END "%s %s", words.v[0], words.v[1]);
    for (size_t last = first + 1; last < file->n_nodes; last++) {
        struct apache_node *node = &file->nodes[last];
        if (node->kind != APACHE_COMMENT)
            continue;
        if (strcmp(node->text, file->nodes[first].text) == 0)
            return; /* the first one has lost its end */
        if (strcmp(node->text, closing) != 0)
            continue;
        if (node->parent != file->nodes[first].parent)
            return;
        char hash[17];
        size_t begin = file->nodes[first].end;
        content_hash(file->data + begin, node->begin - begin, hash);
        file->blocks = mem_resize(file->blocks, file->n_blocks + 1, sizeof *file->blocks);
        file->blocks[file->n_blocks++] = (struct apache_block){.kind = mem_dup(words.v[0]),
                                                               .id = mem_dup(words.v[1]),
                                                               .first = first,
                                                               .last = last,
                                                               .intact = strcmp(hash, words.v[2]) == 0};
        return;
    }
}

static void find_blocks(struct apache_file *file)
{
    for (size_t i = 0; i < file->n_nodes; i++) {
        if (file->nodes[i].kind == APACHE_COMMENT &&
            strncmp(file->nodes[i].text, MARK_BEGIN, strlen(MARK_BEGIN)) == 0)
            find_block(file, i);
    }
}

static void add_node(struct apache_file *file, size_t *cap, size_t begin, size_t end, size_t line)
{
    if (file->n_nodes == *cap) {
        *cap = *cap ? 2 * *cap : 64;
        file->nodes = mem_resize(file->nodes, *cap, sizeof *file->nodes);
    }
    char *text = logical_text(file->data + begin, end - begin);
    file->nodes[file->n_nodes++] = (struct apache_node){.kind = kind_of(text),
                                                        .begin = begin,
                                                        .end = end,
                                                        .line = line,
                                                        .parent = APACHE_NONE,
                                                        .partner = APACHE_NONE,
                                                        .text = text};
}

bool apache_lex(const char *path, const char *data, size_t len, struct apache_file *out, struct err *err)
{
    if (len && memchr(data, '\0', len))
        return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path, "%s has a NUL byte: it is not a configuration file",
                       path);
    struct apache_file file = {.path = mem_dup(path), .data = mem_ndup(len ? data : "", len), .len = len};
    size_t line = 1, cap = 0;
    for (size_t at = 0; at < len;) {
        size_t first = line;
        size_t end = logical_end(file.data, len, at, &line);
        add_node(&file, &cap, at, end, first);
        at = end;
    }
    if (!link_sections(&file, err)) {
        apache_file_clear(&file);
        return false;
    }
    find_blocks(&file);
    *out = file;
    return true;
}

void apache_file_clear(struct apache_file *file)
{
    for (size_t i = 0; i < file->n_nodes; i++)
        free(file->nodes[i].text);
    for (size_t i = 0; i < file->n_blocks; i++) {
        free(file->blocks[i].kind);
        free(file->blocks[i].id);
    }
    free(file->nodes);
    free(file->blocks);
    free(file->path);
    free(file->real);
    free(file->data);
    *file = (struct apache_file){0};
}

void apache_block_write(struct buf *out, const char *kind, const char *id, const char *indent, const char *eol,
                        const char *content)
{
    AUTO_BUF body = BUF_INIT;
    while (*content) {
        size_t len = strcspn(content, "\n");
        if (len)
            buf_adds(&body, indent);
        buf_add(&body, content, len);
        buf_adds(&body, eol);
        content += len + (content[len] == '\n');
    }
    char hash[17];
    content_hash(buf_str(&body), body.len, hash);
    buf_addf(out, "%s" MARK_BEGIN "%s %s %s%s", indent, kind, id, hash, eol);
    buf_add(out, buf_str(&body), body.len);
    buf_addf(out, "%s" MARK_END "%s %s%s", indent, kind, id, eol);
}

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
    {"core_module", "core.c"},           {"http_module", "http_core.c"},
    {"mpm_event_module", "event.c"},     {"mpm_prefork_module", "prefork.c"},
    {"mpm_worker_module", "worker.c"},   {"ldap_module", "util_ldap.c"},
    {"php5_module", "mod_php5.c"},       {"php7_module", "mod_php7.c"},
    {"evasive20_module", "mod_evasive20.c"}, {"mpm_itk_module", "mpm_itk.c"},
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
    struct stat st;
    return stat(path, &st) == 0;
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

/* `[[!]operator] version`; a regular expression (~ or /.../) is taken as not matching, as no distributor uses one. */
static bool if_version(const struct apache_tree *tree, const struct strlist *words)
{
    const char *op = words->n > 1 ? words->v[0] : "=";
    bool negate = op[0] == '!';
    op += negate;
    int wanted = version_of(words->n ? words->v[words->n - 1] : "");
    int is = tree->version_number;
    bool result = false;
    if (strcmp(op, "=") == 0 || strcmp(op, "==") == 0 || !*op)
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
};

static bool walk_file(struct walk *walk, const char *path, struct err *err);
static bool walk_nodes(struct walk *walk, size_t file, size_t from, size_t to, struct err *err);

static size_t add_line(struct walk *walk, enum apache_kind kind, size_t file, size_t node, const char *name,
                       const char *args)
{
    struct apache_tree *tree = walk->tree;
    if ((tree->n_lines & (tree->n_lines - 1)) == 0)
        tree->lines = mem_resize(tree->lines, tree->n_lines ? 2 * tree->n_lines : 1, sizeof *tree->lines);
    size_t index = tree->n_lines++;
    tree->lines[index] = (struct apache_line){.kind = kind,
                                              .file = file,
                                              .node = node,
                                              .name = mem_dup(name),
                                              .args = mem_dup(args),
                                              .parent = walk->parent,
                                              .next = index + 1,
                                              .use = walk->use};
    return index;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool list_dir(const char *dir, struct strlist *names)
{
    DIR *d = opendir(dir);
    if (!d)
        return false;
    for (struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            strlist_add(names, entry->d_name);
    }
    closedir(d);
    if (names->n)
        qsort(names->v, names->n, sizeof *names->v, by_bytes);
    return true;
}

static bool has_wildcard(const char *text)
{
    return strpbrk(text, "*?[") != NULL;
}

/* The paths that a pattern stands for, component by component, each level sorted by bytes. */
static void expand_pattern(const char *base, const char *rest, unsigned depth, struct strlist *out)
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
        if (fs_exists(path))
            expand_pattern(path, rest + len, depth + 1, out);
        return;
    }
    AUTO_STRLIST names = STRLIST_INIT;
    if (!list_dir(base, &names))
        return;
    for (size_t i = 0; i < names.n; i++) {
        if (fnmatch(part, names.v[i], FNM_PERIOD) != 0)
            continue;
        AUTO_FREE char *path = fs_join(base, names.v[i]);
        if (!more || fs_is_dir(path))
            expand_pattern(path, rest + len, depth + 1, out);
    }
}

/* A directory stands for all the files below it, those with a leading dot as well. */
static bool walk_path(struct walk *walk, const char *path, struct err *err)
{
    if (!fs_is_dir(path))
        return walk_file(walk, path, err);
    if (walk->depth >= INCLUDE_DEPTH_MAX)
        return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path, "directories are nested too deep to include");
    AUTO_STRLIST names = STRLIST_INIT;
    if (!list_dir(path, &names))
        return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path, "the included directory %s cannot be read", path);
    walk->depth++;
    bool ok = true;
    for (size_t i = 0; i < names.n && ok; i++) {
        AUTO_FREE char *inside = fs_join(path, names.v[i]);
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
        return bad_line(err, from->path, at, "an Include without a file", "");
    AUTO_FREE char *path = apache_path(tree, pattern);
    AUTO_STRLIST paths = STRLIST_INIT;
    if (has_wildcard(path))
        expand_pattern("/", path, 0, &paths);
    else if (!optional || fs_exists(path))
        strlist_add(&paths, path);
    if (!paths.n && !optional)
        return bad_line(err, from->path, at, "nothing matches Include ", pattern);
    if (walk->depth >= INCLUDE_DEPTH_MAX)
        return bad_line(err, from->path, at, "files include each other too deep: ", pattern);
    walk->depth++;
    bool ok = true;
    for (size_t i = 0; i < paths.n && ok; i++)
        ok = walk_path(walk, paths.v[i], err);
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
        return bad_line(err, from->path, at, "Use of a macro that is not defined: ", words.n ? words.v[0] : "");
    if (words.n - 1 != macro->params.n)
        return bad_line(err, from->path, at, "Use with a wrong number of arguments: ", words.v[0]);
    if (walk->depth >= INCLUDE_DEPTH_MAX)
        return bad_line(err, from->path, at, "macros use each other too deep: ", words.v[0]);
    tree->uses = mem_resize(tree->uses, tree->n_uses + 1, sizeof *tree->uses);
    struct apache_use *use = &tree->uses[tree->n_uses];
    *use = (struct apache_use){.macro = mem_dup(macro->name), .line = line};
    strlist_copy(&use->params, &macro->params);
    for (size_t i = 1; i < words.n; i++)
        strlist_add(&use->args, words.v[i]);
    struct walk inside = {.tree = tree, .parent = walk->parent, .use = tree->n_uses++, .depth = walk->depth + 1};
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

/* A section opens: conditions that do not hold and macro definitions are passed over. Returns the node to go on after. */
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
    walk->parent = add_line(walk, APACHE_OPEN, file, node, name, args);
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
        return bad_line(err, tree->files[file]->path, node->line, "the configuration is too large", "");
    if (node->kind == APACHE_CLOSE) {
        if (closes_line(walk, file, *i)) {
            size_t open = walk->parent;
            walk->parent = tree->lines[open].parent;
            add_line(walk, APACHE_CLOSE, file, *i, tree->lines[open].name, "");
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
    AUTO_FREE char *name = apache_name(text, NULL);
    AUTO_FREE char *args = apache_arguments(text);
    return walk_directive(walk, add_line(walk, APACHE_DIRECTIVE, file, *i, name, args), err);
}

static bool walk_nodes(struct walk *walk, size_t file, size_t from, size_t to, struct err *err)
{
    for (size_t i = from; i < to; i++) {
        if (!walk_node(walk, file, &i, err))
            return false;
    }
    return true;
}

/* The file's index, read and lexed at its first use. */
static bool load_file(struct apache_tree *tree, const char *path, size_t *index, struct err *err)
{
    AUTO_FREE char *resolved = realpath(path, NULL);
    const char *real = resolved ? resolved : path;
    for (size_t i = 0; i < tree->n_files; i++) {
        if (strcmp(tree->files[i]->real, real) == 0) {
            *index = i;
            return true;
        }
    }
    if (tree->n_files >= FILES_MAX)
        return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path, "the configuration has too many files");
    AUTO_BUF content = BUF_INIT;
    if (!tree->read(tree->read_context, path, &content, err))
        return err_context(err, "reading Apache's configuration");
    struct apache_file *file = mem_alloc(sizeof *file);
    if (!apache_lex(path, buf_str(&content), content.len, file, err)) {
        free(file);
        return false;
    }
    file->real = mem_dup(real);
    tree->files = mem_resize(tree->files, tree->n_files + 1, sizeof *tree->files);
    tree->files[tree->n_files] = file;
    *index = tree->n_files++;
    return true;
}

static bool walk_file(struct walk *walk, const char *path, struct err *err)
{
    size_t file = 0;
    if (!load_file(walk->tree, path, &file, err))
        return false;
    walk->tree->files[file]->times++;
    size_t use = walk->use;
    walk->use = APACHE_NONE;
    bool ok = walk_nodes(walk, file, 0, walk->tree->files[file]->n_nodes, err);
    walk->use = use;
    return ok;
}

bool apache_tree_walk(struct apache_tree *tree, const char *conf, struct err *err)
{
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
    free(tree->lines);
    free(tree->macros);
    free(tree->uses);
    free(tree->server_root);
    vars_clear(&tree->vars, &tree->n_vars);
    vars_clear(&tree->env, &tree->n_env);
    strlist_clear(&tree->modules);
    *tree = (struct apache_tree){0};
}
