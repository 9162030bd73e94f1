/*
 * nginx_config.c - all files that nginx would read, in its order, and the marked blocks that are ours.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "nginx_lexer.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

enum {
    FILE_LIMIT_BYTES = 8 * 1024 * 1024,
    FILES_MAX = 20000,
    INCLUDE_DEPTH_MAX = 40,
    LINKS_MAX = 20,
    HASH_DIGITS = 16,
};

#define MARK_BEGIN "# tlsup begin "
#define MARK_END "# tlsup end "
#define MARK_REMARK " (tlsup replaces this block: put your own lines elsewhere)"

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* ---- our marks ---- */

static void content_hash(const char *data, size_t len, char out[HASH_DIGITS + 1])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    if (EVP_Digest(data, len, digest, &n, EVP_sha256(), NULL) != 1) {
        memset(digest, 0, sizeof digest);
    }
    for (size_t i = 0; i < HASH_DIGITS / 2; i++) {
        out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    out[HASH_DIGITS] = '\0';
}

void nginx_mark_write(const char *id, const char *indent, const char *eol, const struct buf *content,
                      struct buf *out)
{
    char hash[HASH_DIGITS + 1];
    content_hash(buf_str(content), content->len, hash);
    buf_addf(out, "%s%s" MARK_BEGIN "%s %s" MARK_REMARK "%s", eol, indent, id, hash, eol);
    buf_add(out, buf_str(content), content->len);
    buf_addf(out, "%s" MARK_END "%s%s", indent, id, eol);
}

static bool has_prefix(const char *data, size_t len, const char *prefix)
{
    size_t n = strlen(prefix);
    return len >= n && memcmp(data, prefix, n) == 0;
}

static char *first_word(const char *data, size_t len)
{
    size_t n = 0;
    while (n < len && !is_space(data[n])) {
        n++;
    }
    return mem_ndup(data, n);
}

/* The start of the line break before `at`, when only blanks are between. False: something else stands there.
 */
static bool break_before(const char *data, size_t at, bool crlf, size_t *begin)
{
    while (at > 0 && (data[at - 1] == ' ' || data[at - 1] == '\t')) {
        at--;
    }
    if (at == 0 || data[at - 1] != '\n') {
        return false;
    }
    at--;
    if (crlf && at > 0 && data[at - 1] == '\r') {
        at--;
    }
    *begin = at;
    return true;
}

/* Fill `mark` from its two comment tokens. False when they do not stand as we write them. */
static bool mark_from(const struct buf *text, const struct nginx_token *begin, const struct nginx_token *end,
                      struct nginx_mark *mark)
{
    const char *data = text->data;
    bool crlf = begin->end > 0 && data[begin->end - 1] == '\r';
    size_t content_end;
    if (begin->end >= text->len || !break_before(data, begin->begin, crlf, &mark->begin) ||
        !break_before(data, end->begin, false, &content_end)) {
        return false;
    }
    mark->content_begin = begin->end + 1;
    mark->content_end = content_end + 1;
    mark->end = end->end < text->len ? end->end + 1 : end->end;
    return mark->content_end >= mark->content_begin;
}

static void add_mark(struct nginx_file *file, struct nginx_mark *mark)
{
    /* A person took the empty line between two blocks out: the line break belongs to the first. */
    size_t least = file->n_marks > 0 ? file->marks[file->n_marks - 1].end : 0;
    mark->begin = mark->begin < least ? least : mark->begin;
    file->marks = mem_resize(file->marks, file->n_marks + 1, sizeof file->marks[0]);
    file->marks[file->n_marks++] = *mark;
}

/* Close the mark that began at `begin` by the end marker `end`, if the two belong together. */
static bool close_mark(struct nginx_file *file, const struct nginx_token *begin,
                       const struct nginx_token *end)
{
    const char *data = file->text.data;
    size_t skip = sizeof MARK_BEGIN - 1;
    const char *rest = data + begin->begin + skip;
    size_t rest_len = begin->end - begin->begin - skip;
    AUTO_FREE char *id = first_word(rest, rest_len);
    size_t end_skip = sizeof MARK_END - 1;
    AUTO_FREE char *end_id = first_word(data + end->begin + end_skip, end->end - end->begin - end_skip);
    struct nginx_mark mark = {0};
    size_t id_len = strlen(id);
    if (id_len == 0 || id_len >= rest_len || strcmp(id, end_id) != 0 ||
        !mark_from(&file->text, begin, end, &mark)) {
        return false;
    }
    AUTO_FREE char *written = first_word(rest + id_len + 1, rest_len - id_len - 1);
    char hash[HASH_DIGITS + 1];
    content_hash(data + mark.content_begin, mark.content_end - mark.content_begin, hash);
    mark.intact = strcmp(written, hash) == 0;
    mark.id = mem_dup(id);
    add_mark(file, &mark);
    return true;
}

static void find_marks(struct nginx_file *file)
{
    struct nginx_lexer lexer;
    struct nginx_token token, begin = {0};
    bool open = false;
    if (memmem(buf_str(&file->text), file->text.len, MARK_BEGIN, sizeof MARK_BEGIN - 1) == NULL) {
        return;
    }
    nginx_lexer_init(&lexer, buf_str(&file->text), file->text.len);
    while (nginx_lexer_next(&lexer, &token)) {
        const char *text = lexer.data + token.begin;
        size_t len = token.end - token.begin;
        if (token.kind != NGINX_COMMENT) {
            continue;
        }
        if (has_prefix(text, len, MARK_BEGIN)) {
            begin = token;
            open = true;
        } else if (open && has_prefix(text, len, MARK_END)) {
            close_mark(file, &begin, &token);
            open = false;
        }
    }
}

/* The first mark that begins at `at` or later. They are in order, and do not overlap. */
static size_t mark_from_place(const struct nginx_file *file, size_t at)
{
    size_t low = 0, high = file->n_marks;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (file->marks[middle].begin < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct nginx_mark *nginx_mark_around(const struct nginx_config *config, const struct nginx_node *node)
{
    struct nginx_file *file = config->files[node->file];
    size_t next = mark_from_place(file, node->begin + 1);
    return next > 0 && node->end <= file->marks[next - 1].end ? &file->marks[next - 1] : NULL;
}

struct nginx_mark *nginx_mark_in(const struct nginx_config *config, const struct nginx_node *block,
                                 const char *id)
{
    struct nginx_file *file = config->files[block->file];
    for (size_t i = mark_from_place(file, block->open); i < file->n_marks; i++) {
        struct nginx_mark *mark = &file->marks[i];
        if (mark->end > block->close) {
            break;
        }
        if (strcmp(mark->id, id) == 0) {
            return mark;
        }
    }
    return NULL;
}

/* ---- an index of texts ---- */

static uint64_t text_hash(const char *text)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    }
    return hash;
}

static size_t *slot_of(const struct nginx_index *index, const char *key)
{
    size_t at = text_hash(key) & (index->n_slots - 1);
    while (index->slots[at] != 0 && strcmp(index->keys[index->slots[at] - 1], key) != 0) {
        at = (at + 1) & (index->n_slots - 1);
    }
    return &index->slots[at];
}

static void grow(struct nginx_index *index)
{
    free(index->slots);
    index->n_slots = index->n_slots == 0 ? 64 : index->n_slots * 2;
    index->slots = mem_array(index->n_slots, sizeof index->slots[0]);
    index->keys = mem_resize(index->keys, index->n_slots, sizeof index->keys[0]);
    index->values = mem_resize(index->values, index->n_slots, sizeof index->values[0]);
    for (size_t i = 0; i < index->n; i++) {
        *slot_of(index, index->keys[i]) = i + 1;
    }
}

size_t *nginx_index_get(const struct nginx_index *index, const char *key)
{
    size_t slot = index->n_slots > 0 ? *slot_of(index, key) : 0;
    return slot > 0 ? &index->values[slot - 1] : NULL;
}

void nginx_index_put(struct nginx_index *index, const char *key, size_t value)
{
    if (2 * index->n >= index->n_slots) {
        grow(index);
    }
    size_t *slot = slot_of(index, key);
    if (*slot == 0) {
        *slot = index->n + 1;
        index->keys[index->n++] = mem_dup(key);
    }
    index->values[*slot - 1] = value;
}

void nginx_index_clear(struct nginx_index *index)
{
    for (size_t i = 0; i < index->n; i++) {
        free(index->keys[i]);
    }
    free(index->keys);
    free(index->values);
    free(index->slots);
    *index = (struct nginx_index){0};
}

/* ---- the include walk ---- */

static void file_free(struct nginx_file *file)
{
    if (--file->users > 0) {
        return;
    }
    for (size_t i = 0; i < file->n_marks; i++) {
        free(file->marks[i].id);
    }
    free(file->marks);
    free(file->path);
    free(file->real);
    buf_clear(&file->text);
    nginx_node_clear(&file->root);
    free(file);
}

void nginx_config_clear(struct nginx_config *config)
{
    for (size_t i = 0; i < config->n_files; i++) {
        file_free(config->files[i]);
    }
    for (size_t i = 0; i < config->n_loads; i++) {
        free(config->loads[i].path);
    }
    nginx_index_clear(&config->by_real);
    nginx_index_clear(&config->by_path);
    free(config->files);
    free(config->loads);
    free(config->dir);
    *config = (struct nginx_config)NGINX_CONFIG_INIT;
}

struct walk {
    struct nginx_config *config;
    const struct nginx_config *known; /* an earlier walk, or NULL */
    const struct txn *txn;
    struct err *err;
    struct nginx_index dirs; /* directories, in real_dirs */
    struct strlist real_dirs;
    struct nginx_index staged; /* what the transaction changes; all else is as it is on the disk */
};

static bool load_file(struct walk *walk, const char *path, const struct nginx_node *data, size_t depth,
                      size_t *index);

/* realpath(3) of a directory, "" when there is none; of many files in one it is asked for once. */
static const char *resolve_dir(struct walk *walk, const char *dir)
{
    const size_t *known = nginx_index_get(&walk->dirs, dir);
    if (known == NULL) {
        AUTO_FREE char *real = realpath(dir, NULL);
        nginx_index_put(&walk->dirs, dir, walk->real_dirs.n);
        strlist_add(&walk->real_dirs, real != NULL ? real : "");
        return walk->real_dirs.v[walk->real_dirs.n - 1];
    }
    return walk->real_dirs.v[*known];
}

/* The path with its directory resolved, its last part as it is. NULL: no such directory, or it ends in "..".
 * The caller frees. */
static char *resolve_parent(struct walk *walk, const char *path)
{
    const char *base = strrchr(path, '/');
    if (base == NULL || base[1] == '\0' || strcmp(base, "/.") == 0 || strcmp(base, "/..") == 0) {
        return NULL;
    }
    AUTO_FREE char *dir = base == path ? mem_dup("/") : mem_ndup(path, (size_t)(base - path));
    const char *real_dir = resolve_dir(walk, dir);
    return real_dir[0] != '\0' ? fs_join(real_dir, base + 1) : NULL;
}

static void note_staged(struct walk *walk)
{
    AUTO_STRLIST paths = STRLIST_INIT;
    if (walk->txn != NULL) {
        txn_paths(walk->txn, &paths);
    }
    for (size_t i = 0; i < paths.n; i++) {
        AUTO_FREE char *real = txn_real(walk->txn, paths.v[i]);
        AUTO_FREE char *named = resolve_parent(walk, paths.v[i]);
        nginx_index_put(&walk->staged, real != NULL ? real : paths.v[i], 1);
        nginx_index_put(&walk->staged, named != NULL ? named : paths.v[i], 1);
    }
}

/* The path without links, through those that are staged; the caller frees. */
static char *resolve(struct walk *walk, const char *path, size_t links)
{
    char target[PATH_MAX];
    char *parent = resolve_parent(walk, path);
    bool staged = parent != NULL && nginx_index_get(&walk->staged, parent) != NULL;
    ssize_t n =
        parent != NULL && !staged && links < LINKS_MAX ? readlink(parent, target, sizeof target - 1) : -1;
    if (parent != NULL && !staged && links < LINKS_MAX && n < 0 && errno == EINVAL) {
        return parent; /* no link */
    }
    if (n > 0) {
        target[n] = '\0';
        AUTO_FREE char *dir = fs_dirname(parent);
        AUTO_FREE char *next = target[0] == '/' ? mem_dup(target) : fs_join(dir, target);
        free(parent);
        return resolve(walk, next, links + 1);
    }
    free(parent);
    char *real = txn_real(walk->txn, path);
    return real != NULL ? real : mem_dup(path);
}

static bool has_wildcard(const char *path)
{
    return strpbrk(path, "*?[") != NULL;
}

static bool is_geo(const struct nginx_node *block)
{
    return block != NULL && nginx_is(block, "geo");
}

/* What an include brings. In a geo block nginx takes the text as it is. */
static bool expand(struct walk *walk, const struct nginx_node *node, bool literal, struct strlist *paths)
{
    const char *from = walk->config->files[node->file]->path;
    if (literal || !has_wildcard(node->target)) {
        strlist_add(paths, node->target);
        return true;
    }
    return txn_glob(walk->txn, node->target, paths, walk->err) ||
           err_context(walk->err, "%s:%zu", from, node->line);
}

static bool follow_include(struct walk *walk, struct nginx_node *node, const struct nginx_node *data,
                           size_t depth)
{
    const char *from = walk->config->files[node->file]->path;
    walk->config->files[node->file]->stable = false;
    if (node->n_args != 2 || node->block) {
        return err_set(walk->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, from, "%s:%zu: an include takes one path",
                       from, node->line);
    }
    node->target =
        node->args[1][0] == '/' ? mem_dup(node->args[1]) : fs_join(walk->config->dir, node->args[1]);
    AUTO_STRLIST paths = STRLIST_INIT;
    if (!expand(walk, node, is_geo(data), &paths)) {
        return false;
    }
    node->included = paths.n > 0 ? mem_array(paths.n, sizeof node->included[0]) : NULL;
    for (size_t i = 0; i < paths.n; i++) {
        if (!load_file(walk, paths.v[i], data, depth + 1, &node->included[i])) {
            return err_context(walk->err, "included from %s:%zu", from, node->line);
        }
        node->n_included++;
    }
    return true;
}

static bool is_one_of(const struct nginx_node *node, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (nginx_is(node, names[i])) {
            return true;
        }
    }
    return false;
}

/* Blocks whose entries are data of the block's own, not directives. */
static bool is_data_block(const struct nginx_node *node)
{
    static const char *const names[] = {"map",         "geo",    "types", "split_clients",
                                        "charset_map", "geoip2", "match"};
    return node->n_args > 0 && is_one_of(node, names, COUNT_OF(names));
}

/* Of those, the ones that know an include nevertheless. */
static bool takes_include(const struct nginx_node *node)
{
    static const char *const names[] = {"map", "geo", "types"};
    return is_one_of(node, names, COUNT_OF(names));
}

/* `data`: the data block that these entries belong to, or NULL. */
static bool follow_includes(struct walk *walk, struct nginx_node *block, const struct nginx_node *data,
                            size_t depth)
{
    for (size_t i = 0; i < block->n_children; i++) {
        struct nginx_node *node = &block->children[i];
        if (nginx_is(node, "include")) {
            bool entry = data != NULL && (node->n_args != 2 || node->block || !takes_include(data));
            if (!entry && !follow_include(walk, node, data, depth)) {
                return false;
            }
        } else if (node->block && data != NULL) {
            const char *path = walk->config->files[node->file]->path;
            return err_set(walk->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path,
                           "%s:%zu: unexpected \"{\" in a %s block", path, node->line, data->args[0]);
        } else if (node->block && !follow_includes(walk, node, is_data_block(node) ? node : NULL, depth)) {
            return false;
        }
    }
    return true;
}

static size_t add_file(struct nginx_config *config, struct nginx_file *file)
{
    if ((config->n_files & (config->n_files - 1)) == 0) {
        size_t room = config->n_files == 0 ? 1 : config->n_files * 2;
        config->files = mem_resize(config->files, room, sizeof(struct nginx_file *));
    }
    file->users++;
    config->files[config->n_files] = file;
    nginx_index_put(&config->by_real, file->real, config->n_files);
    return config->n_files++;
}

/* nginx reads a file once under each of its names. */
static void note_load(struct nginx_config *config, const char *path, size_t file, bool maybe)
{
    if (nginx_index_get(&config->by_path, path) != NULL) {
        return;
    }
    nginx_index_put(&config->by_path, path, file);
    if ((config->n_loads & (config->n_loads - 1)) == 0) {
        size_t room = config->n_loads == 0 ? 1 : config->n_loads * 2;
        config->loads = mem_resize(config->loads, room, sizeof config->loads[0]);
    }
    config->loads[config->n_loads++] =
        (struct nginx_load){.path = mem_dup(path), .file = file, .maybe = maybe};
}

static bool read_text(struct walk *walk, struct nginx_file *file)
{
    bool ok = nginx_index_get(&walk->staged, file->real) != NULL
                  ? txn_read(walk->txn, file->path, FILE_LIMIT_BYTES, &file->text, walk->err)
                  : fs_read(file->path, FILE_LIMIT_BYTES, &file->text, walk->err);
    return ok || err_context(walk->err, "reading the nginx configuration");
}

/* Read and parse; the includes come later. */
static bool open_file(struct walk *walk, const char *path, const char *real, size_t *index)
{
    struct nginx_file *file = mem_alloc(sizeof *file);
    file->path = mem_dup(path);
    file->real = mem_dup(real);
    *index = add_file(walk->config, file);
    file->stable = stat(path, &file->status) == 0; /* before it is read: a change meanwhile is a change */
    if (!read_text(walk, file) ||
        !nginx_parse(buf_str(&file->text), file->text.len, path, *index, &file->root, walk->err)) {
        return false;
    }
    find_marks(file);
    file->stable &= file->n_marks == 0 && nginx_index_get(&walk->staged, real) == NULL;
    return true;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_unchanged(const struct nginx_file *file)
{
    const struct stat *then = &file->status;
    struct stat now;
    return stat(file->path, &now) == 0 && now.st_dev == then->st_dev && now.st_ino == then->st_ino &&
           now.st_size == then->st_size && same_time(&now.st_mtim, &then->st_mtim) &&
           same_time(&now.st_ctim, &then->st_ctim);
}

/* The same file from an earlier walk, when it has the same place in this one and need not be read again. */
static struct nginx_file *find_known(struct walk *walk, const char *path)
{
    const size_t *index = walk->known != NULL ? nginx_index_get(&walk->known->by_path, path) : NULL;
    if (index == NULL || *index != walk->config->n_files) {
        return NULL;
    }
    struct nginx_file *file = walk->known->files[*index];
    if (!file->stable || strcmp(file->path, path) != 0 ||
        nginx_index_get(&walk->config->by_real, file->real) != NULL) {
        return NULL;
    }
    if (walk->staged.n > 0) {
        AUTO_FREE char *parent = resolve_parent(walk, path);
        if (parent == NULL || nginx_index_get(&walk->staged, parent) != NULL ||
            nginx_index_get(&walk->staged, file->real) != NULL) {
            return NULL;
        }
    }
    return is_unchanged(file) ? file : NULL;
}

static bool load_new(struct walk *walk, const char *path, const char *real, const struct nginx_node *data,
                     size_t depth, size_t *index)
{
    if (depth > INCLUDE_DEPTH_MAX || walk->config->n_files >= FILES_MAX) {
        return err_set(walk->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path, "too many nested includes at %s",
                       path);
    }
    if (!open_file(walk, path, real, index)) {
        return false;
    }
    struct nginx_file *file = walk->config->files[*index];
    file->loading = true;
    if (!follow_includes(walk, &file->root, data, depth)) {
        return false;
    }
    file->loading = false;
    return true;
}

/* `data`: the data block to which what is in it belongs, or NULL. */
static bool load_file(struct walk *walk, const char *path, const struct nginx_node *data, size_t depth,
                      size_t *index)
{
    bool maybe = is_geo(data);
    struct nginx_config *config = walk->config;
    struct nginx_file *same = find_known(walk, path);
    if (same != NULL) {
        note_load(config, path, config->n_files, maybe);
        *index = add_file(config, same);
        return true;
    }
    AUTO_FREE char *real = resolve(walk, path, 0);
    /* One file under two names (a link, a second include) is one entry: it has one set of bytes to edit. */
    const size_t *there = nginx_index_get(&config->by_real, real);
    note_load(config, path, there != NULL ? *there : config->n_files, maybe);
    if (there == NULL) {
        return load_new(walk, path, real, data, depth, index);
    }
    *index = *there;
    return !config->files[*index]->loading ||
           err_set(walk->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path, "%s includes itself", path);
}

bool nginx_config_load(struct nginx_config *config, const char *path, const struct txn *txn,
                       const struct nginx_config *known, struct err *err)
{
    nginx_config_clear(config);
    struct walk walk = {.config = config, .known = known, .txn = txn, .err = err};
    size_t index;
    config->dir = fs_dirname(path);
    note_staged(&walk);
    bool done = load_file(&walk, path, NULL, 0, &index);
    nginx_index_clear(&walk.dirs);
    strlist_clear(&walk.real_dirs);
    nginx_index_clear(&walk.staged);
    if (!done) {
        nginx_config_clear(config);
    }
    return done;
}

void nginx_config_add(struct nginx_config *config, const char *path)
{
    struct err ignored = ERR_INIT;
    struct walk walk = {.config = config, .err = &ignored};
    size_t index;
    if (!open_file(&walk, path, path, &index)) {
        log_debug("left out: %s", ignored.text);
    }
}

/* ---- looking ---- */

void nginx_nodes_clear(struct nginx_nodes *nodes)
{
    free(nodes->v);
    *nodes = (struct nginx_nodes){0};
}

void nginx_nodes_add(struct nginx_nodes *nodes, const struct nginx_node *node)
{
    if ((nodes->n & (nodes->n - 1)) == 0) {
        size_t room = nodes->n == 0 ? 1 : nodes->n * 2;
        nodes->v = mem_resize(nodes->v, room, sizeof(struct nginx_node *));
    }
    nodes->v[nodes->n++] = node;
}

void nginx_children(const struct nginx_config *config, const struct nginx_node *block, bool keep_includes,
                    struct nginx_nodes *out)
{
    for (size_t i = 0; i < block->n_children; i++) {
        const struct nginx_node *node = &block->children[i];
        const struct nginx_mark *mark =
            config->files[node->file]->n_marks > 0 ? nginx_mark_around(config, node) : NULL;
        if (mark != NULL && mark->ignored) {
            continue;
        }
        bool include = nginx_is(node, "include");
        if (!include || keep_includes) {
            nginx_nodes_add(out, node);
        }
        for (size_t f = 0; include && f < node->n_included; f++) {
            nginx_children(config, &config->files[node->included[f]]->root, keep_includes, out);
        }
    }
}

const struct nginx_node *nginx_child(const struct nginx_config *config, const struct nginx_node *block,
                                     const char *name)
{
    for (size_t i = 0; i < block->n_children; i++) {
        const struct nginx_node *node = &block->children[i];
        const struct nginx_node *found = NULL;
        for (size_t f = 0; f < node->n_included && found == NULL; f++) {
            found = nginx_child(config, &config->files[node->included[f]]->root, name);
        }
        found = found == NULL && nginx_is(node, name) ? node : found;
        if (found != NULL) {
            const struct nginx_mark *mark = nginx_mark_around(config, node);
            if (mark == NULL || !mark->ignored) {
                return found;
            }
        }
    }
    return NULL;
}
