/*
 * nginx_lexer.c - nginx's configuration language: tokens, nodes, the include walk, our own marks.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "nginx_lexer.h"

#include <errno.h>
#include <fnmatch.h>
#include <glob.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"

enum {
    FILE_LIMIT_BYTES = 8 * 1024 * 1024,
    FILES_MAX = 20000,
    BLOCK_DEPTH_MAX = 100,
    INCLUDE_DEPTH_MAX = 40,
    HASH_DIGITS = 16,
};

#define MARK_BEGIN "# tlsup begin "
#define MARK_END "# tlsup end "
#define MARK_REMARK " (tlsup replaces this block: put your own lines elsewhere)"

/* ---- tokens ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void nginx_lexer_init(struct nginx_lexer *lexer, const char *data, size_t len)
{
    *lexer = (struct nginx_lexer){.data = data, .len = len, .line = 1};
}

/* "[", any "=", "[": the opening of a Lua long string. Its length, or 0. */
static size_t lua_long_open(const char *data, size_t len, size_t pos)
{
    size_t at = pos + 1;
    while (at < len && data[at] == '=') {
        at++;
    }
    return at < len && data[at] == '[' ? at + 1 - pos : 0;
}

/* Past the end of a long string whose opening of `open` bytes is at `pos`. */
static size_t lua_long_skip(const char *data, size_t len, size_t pos, size_t open)
{
    size_t level = open - 2;
    for (size_t at = pos + open; at < len; at++) {
        if (data[at] != ']') {
            continue;
        }
        size_t equals = 0;
        while (at + 1 + equals < len && data[at + 1 + equals] == '=') {
            equals++;
        }
        if (equals == level && at + 1 + equals < len && data[at + 1 + equals] == ']') {
            return at + equals + 2;
        }
        at += equals;
    }
    return len;
}

static size_t lua_comment_skip(const char *data, size_t len, size_t pos)
{
    size_t open = pos + 2 < len && data[pos + 2] == '[' ? lua_long_open(data, len, pos + 2) : 0;
    if (open > 0) {
        return lua_long_skip(data, len, pos + 2, open);
    }
    const char *feed = memchr(data + pos, '\n', len - pos);
    return feed != NULL ? (size_t)(feed - data) : len;
}

static size_t lua_string_skip(const char *data, size_t len, size_t pos)
{
    char quote = data[pos];
    for (size_t at = pos + 1; at < len; at++) {
        if (data[at] == '\\') {
            at++;
        } else if (data[at] == quote) {
            return at + 1;
        }
    }
    return len;
}

/* Where the '}' is that closes the Lua block whose inside begins at `pos`; `len` when there is none. */
static size_t lua_block_end(const char *data, size_t len, size_t pos)
{
    size_t depth = 1;
    while (pos < len) {
        size_t open;
        switch (data[pos]) {
        case '{':
            depth++;
            pos++;
            break;
        case '}':
            if (--depth == 0) {
                return pos;
            }
            pos++;
            break;
        case '"':
        case '\'':
            pos = lua_string_skip(data, len, pos);
            break;
        case '[':
            open = lua_long_open(data, len, pos);
            pos = open > 0 ? lua_long_skip(data, len, pos, open) : pos + 1;
            break;
        case '-':
            pos = pos + 1 < len && data[pos + 1] == '-' ? lua_comment_skip(data, len, pos) : pos + 1;
            break;
        default:
            pos++;
        }
    }
    return len;
}

/* Past the word at the current position; 0 when its closing quote is missing. */
static size_t word_end(struct nginx_lexer *lexer)
{
    const char *data = lexer->data;
    size_t at = lexer->pos;
    char quote = data[at] == '"' || data[at] == '\'' ? data[at] : '\0';
    bool variable = false;
    if (quote != '\0') {
        at++;
    }
    for (; at < lexer->len; at++) {
        char c = data[at];
        if (c == '{' && variable) {
            continue;
        }
        variable = c == '$';
        if (c == '\\') {
            at++;
        } else if (quote != '\0' && c == quote) {
            lexer->after_quote = true;
            return at + 1;
        } else if (quote == '\0' && (is_space(c) || c == ';' || c == '{')) {
            return at;
        }
    }
    return quote == '\0' ? lexer->len : 0;
}

static bool is_lua_name(const char *word, size_t len)
{
    static const char suffix[] = "_by_lua_block";
    size_t n = sizeof suffix - 1;
    return len > n && memcmp(word + len - n, suffix, n) == 0;
}

static void finish(struct nginx_lexer *lexer, struct nginx_token *token, enum nginx_token_kind kind,
                   size_t end)
{
    token->kind = kind;
    token->begin = lexer->pos;
    token->end = end;
    token->line = lexer->line;
    for (size_t at = lexer->pos; at < end; at++) {
        lexer->line += lexer->data[at] == '\n';
    }
    lexer->pos = end;
}

static void refuse(struct nginx_lexer *lexer, struct nginx_token *token, const char *problem)
{
    lexer->problem = problem;
    finish(lexer, token, NGINX_BAD, lexer->len);
}

/* ';', '{' or '}': ends a directive, or is not legal here. */
static void punctuation(struct nginx_lexer *lexer, struct nginx_token *token, char c)
{
    if (c == '}' && lexer->words > 0) {
        refuse(lexer, token, "unexpected \"}\"");
        return;
    }
    if (c != '}' && lexer->words == 0) {
        refuse(lexer, token, c == ';' ? "unexpected \";\"" : "unexpected \"{\"");
        return;
    }
    lexer->words = 0;
    lexer->in_lua = c == '{' && lexer->lua_name;
    lexer->lua_name = false;
    finish(lexer, token, c == ';' ? NGINX_SEMICOLON : c == '{' ? NGINX_OPEN : NGINX_CLOSE, lexer->pos + 1);
}

static void word(struct nginx_lexer *lexer, struct nginx_token *token)
{
    size_t end = word_end(lexer);
    if (end == 0) {
        refuse(lexer, token, "a quoted word without its closing quote");
        return;
    }
    end = end > lexer->len ? lexer->len : end;
    if (lexer->words == 0) {
        lexer->lua_name = is_lua_name(lexer->data + lexer->pos, end - lexer->pos);
    }
    lexer->words++;
    finish(lexer, token, NGINX_WORD, end);
}

static void space(struct nginx_lexer *lexer, struct nginx_token *token)
{
    size_t end = lexer->pos;
    while (end < lexer->len && is_space(lexer->data[end])) {
        end++;
    }
    finish(lexer, token, NGINX_SPACE, end);
}

static bool lua(struct nginx_lexer *lexer, struct nginx_token *token)
{
    size_t end = lua_block_end(lexer->data, lexer->len, lexer->pos);
    lexer->in_lua = false;
    if (end == lexer->pos && end < lexer->len) {
        return false; /* empty: the brace comes next */
    }
    if (end == lexer->len) {
        refuse(lexer, token, "a Lua block without its closing brace");
    } else {
        finish(lexer, token, NGINX_LUA, end);
    }
    return true;
}

static void comment(struct nginx_lexer *lexer, struct nginx_token *token)
{
    const char *feed = memchr(lexer->data + lexer->pos, '\n', lexer->len - lexer->pos);
    finish(lexer, token, NGINX_COMMENT, feed != NULL ? (size_t)(feed - lexer->data) : lexer->len);
}

bool nginx_lexer_next(struct nginx_lexer *lexer, struct nginx_token *token)
{
    if (lexer->pos >= lexer->len) {
        return false;
    }
    if (lexer->in_lua && lua(lexer, token)) {
        return true;
    }
    char c = lexer->data[lexer->pos];
    bool after_quote = lexer->after_quote;
    lexer->after_quote = false;
    if (is_space(c)) {
        space(lexer, token);
    } else if (after_quote && c != ';' && c != '{' && c != ')') {
        refuse(lexer, token, "a closing quote must be followed by a space, \";\", \"{\" or \")\"");
    } else if (c == '#') {
        comment(lexer, token);
    } else if (c == ';' || c == '{' || c == '}') {
        punctuation(lexer, token, c);
    } else {
        word(lexer, token);
    }
    return true;
}

char *nginx_word_decode(const char *data, size_t len)
{
    if (len >= 2 && (data[0] == '"' || data[0] == '\'') && data[len - 1] == data[0]) {
        data++;
        len -= 2;
    }
    char *text = mem_alloc(len + 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char next = i + 1 < len ? data[i + 1] : '\0';
        if (data[i] != '\\' || next == '\0' || strchr("\"'\\trn", next) == NULL) {
            text[n++] = data[i];
            continue;
        }
        text[n++] = (char)(next == 't' ? '\t' : next == 'r' ? '\r' : next == 'n' ? '\n' : next);
        i++;
    }
    return text;
}

void nginx_word_encode(const char *text, struct buf *out)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:*[]=,@+%~";
    if (text[0] != '\0' && strspn(text, plain) == strlen(text)) {
        buf_adds(out, text);
        return;
    }
    buf_addc(out, '"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            buf_addc(out, '\\');
        }
        buf_addc(out, *text);
    }
    buf_addc(out, '"');
}

/* ---- nodes ---- */

struct parser {
    struct nginx_lexer lexer;
    struct nginx_token token;
    const char *name;
    size_t file;
    struct err *err;
};

static bool malformed(struct parser *parser, size_t line, const char *problem)
{
    err_set(parser->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, parser->name, "%s:%zu: %s", parser->name, line,
            problem);
    return err_advise(parser->err, "Run \"nginx -t\", mend the file, and try again.");
}

/* The next token that means something. False at the end. */
static bool next_meaning(struct parser *parser)
{
    while (nginx_lexer_next(&parser->lexer, &parser->token)) {
        if (parser->token.kind != NGINX_SPACE && parser->token.kind != NGINX_COMMENT) {
            return true;
        }
    }
    return false;
}

static void add_arg(struct nginx_node *node, const char *data, const struct nginx_token *token)
{
    node->args = mem_resize(node->args, node->n_args + 1, sizeof node->args[0]);
    node->args[node->n_args++] = nginx_word_decode(data + token->begin, token->end - token->begin);
}

static struct nginx_node *add_child(struct nginx_node *parent)
{
    /* Grown by doubling: the capacity is the next power of two. */
    if ((parent->n_children & (parent->n_children - 1)) == 0) {
        size_t room = parent->n_children == 0 ? 1 : parent->n_children * 2;
        parent->children = mem_resize(parent->children, room, sizeof parent->children[0]);
    }
    struct nginx_node *node = &parent->children[parent->n_children++];
    *node = (struct nginx_node){0};
    return node;
}

static bool parse_block(struct parser *parser, struct nginx_node *parent, size_t depth);

/* The rest of a directive whose first word is the current token. */
static bool parse_directive(struct parser *parser, struct nginx_node *node, size_t depth)
{
    node->begin = parser->token.begin;
    node->line = parser->token.line;
    node->file = parser->file;
    do {
        add_arg(node, parser->lexer.data, &parser->token);
        if (!next_meaning(parser)) {
            return malformed(parser, parser->lexer.line,
                             "the file ends inside a directive: \";\" or \"{\" is missing");
        }
    } while (parser->token.kind == NGINX_WORD);
    if (parser->token.kind == NGINX_BAD) {
        return malformed(parser, parser->token.line, parser->lexer.problem);
    }
    node->end = parser->token.end;
    if (parser->token.kind == NGINX_SEMICOLON) {
        return true;
    }
    node->block = true;
    node->open = parser->token.end;
    if (depth >= BLOCK_DEPTH_MAX) {
        return malformed(parser, parser->token.line, "blocks are nested too deeply");
    }
    return parse_block(parser, node, depth + 1);
}

/* Directives until the block's '}' (depth > 0) or the end of the file (depth 0). */
static bool parse_block(struct parser *parser, struct nginx_node *parent, size_t depth)
{
    while (next_meaning(parser)) {
        switch (parser->token.kind) {
        case NGINX_WORD:
            if (!parse_directive(parser, add_child(parent), depth)) {
                return false;
            }
            break;
        case NGINX_CLOSE:
            if (depth == 0) {
                return malformed(parser, parser->token.line, "unexpected \"}\"");
            }
            parent->close = parser->token.begin;
            parent->end = parser->token.end;
            return true;
        case NGINX_BAD:
            return malformed(parser, parser->token.line, parser->lexer.problem);
        default:
            break;
        }
    }
    return depth == 0 ||
           malformed(parser, parser->lexer.line, "the file ends inside a block: \"}\" is missing");
}

bool nginx_parse(const char *data, size_t len, const char *name, size_t file, struct nginx_node *root,
                 struct err *err)
{
    struct parser parser = {.name = name, .file = file, .err = err};
    nginx_lexer_init(&parser.lexer, len > 0 ? data : "", len);
    *root = (struct nginx_node){.block = true, .file = file, .close = len, .end = len};
    if (!parse_block(&parser, root, 0)) {
        nginx_node_clear(root);
        return false;
    }
    return true;
}

void nginx_node_clear(struct nginx_node *node)
{
    for (size_t i = 0; i < node->n_children; i++) {
        nginx_node_clear(&node->children[i]);
    }
    for (size_t i = 0; i < node->n_args; i++) {
        free(node->args[i]);
    }
    free(node->children);
    free(node->args);
    free(node->target);
    free(node->included);
    *node = (struct nginx_node){0};
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

static void add_mark(struct nginx_file *file, const struct nginx_mark *mark)
{
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

struct nginx_mark *nginx_mark_around(const struct nginx_config *config, const struct nginx_node *node)
{
    struct nginx_file *file = config->files[node->file];
    for (size_t i = 0; i < file->n_marks; i++) {
        if (node->begin >= file->marks[i].begin && node->end <= file->marks[i].end) {
            return &file->marks[i];
        }
    }
    return NULL;
}

struct nginx_mark *nginx_mark_in(const struct nginx_config *config, const struct nginx_node *block,
                                 const char *id)
{
    struct nginx_file *file = config->files[block->file];
    for (size_t i = 0; i < file->n_marks; i++) {
        struct nginx_mark *mark = &file->marks[i];
        if (mark->begin >= block->open && mark->end <= block->close && strcmp(mark->id, id) == 0) {
            return mark;
        }
    }
    return NULL;
}

/* ---- the include walk ---- */

static void file_free(struct nginx_file *file)
{
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
    free(config->files);
    free(config->dir);
    *config = (struct nginx_config)NGINX_CONFIG_INIT;
}

struct walk {
    struct nginx_config *config;
    const struct nginx_reader *reader;
    struct err *err;
};

static bool load_file(struct walk *walk, const char *path, size_t depth, size_t *index);

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* glob(3) as nginx calls it, sorted by bytes; none is fine. */
static bool expand(struct walk *walk, const char *pattern, struct strlist *paths)
{
    glob_t found = {0};
    int status = glob(pattern, GLOB_NOSORT, NULL, &found);
    if (status == GLOB_NOSPACE) {
        mem_exhausted();
    }
    for (size_t i = 0; status == 0 && i < found.gl_pathc; i++) {
        strlist_add(paths, found.gl_pathv[i]);
    }
    globfree(&found);
    if (status == GLOB_ABORTED) {
        return err_set(walk->err, ERR_WEBSERVER, NEXT_LOCAL_FAULT, pattern,
                       "cannot read the directory of an include");
    }
    const char *staged = walk->reader != NULL ? walk->reader->staged : NULL;
    if (staged != NULL && fnmatch(pattern, staged, FNM_PATHNAME | FNM_PERIOD) == 0 &&
        !strlist_has(paths, staged)) {
        AUTO_BUF text = BUF_INIT;
        struct err ignored = ERR_INIT;
        if (walk->reader->read(walk->reader->context, staged, FILE_LIMIT_BYTES, &text, &ignored)) {
            strlist_add(paths, staged);
        }
    }
    if (paths->n > 1) {
        qsort(paths->v, paths->n, sizeof paths->v[0], by_bytes);
    }
    return true;
}

static bool follow_include(struct walk *walk, struct nginx_node *node, size_t depth)
{
    const char *from = walk->config->files[node->file]->path;
    if (node->n_args != 2 || node->block) {
        return err_set(walk->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, from, "%s:%zu: an include takes one path",
                       from, node->line);
    }
    node->target =
        node->args[1][0] == '/' ? mem_dup(node->args[1]) : fs_join(walk->config->dir, node->args[1]);
    AUTO_STRLIST paths = STRLIST_INIT;
    if (strpbrk(node->target, "*?[") == NULL) {
        strlist_add(&paths, node->target);
    } else if (!expand(walk, node->target, &paths)) {
        return err_context(walk->err, "%s:%zu", from, node->line);
    }
    node->included = paths.n > 0 ? mem_array(paths.n, sizeof node->included[0]) : NULL;
    for (size_t i = 0; i < paths.n; i++) {
        if (!load_file(walk, paths.v[i], depth + 1, &node->included[i])) {
            return err_context(walk->err, "included from %s:%zu", from, node->line);
        }
        node->n_included++;
    }
    return true;
}

/* Blocks whose entries are data of the block's own, not directives. */
static bool is_data_block(const struct nginx_node *node)
{
    static const char *const names[] = {"map",         "geo",    "types", "split_clients",
                                        "charset_map", "geoip2", "match"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (nginx_is(node, names[i])) {
            return true;
        }
    }
    return false;
}

static bool follow_includes(struct walk *walk, struct nginx_node *block, size_t depth)
{
    for (size_t i = 0; i < block->n_children; i++) {
        struct nginx_node *node = &block->children[i];
        if (nginx_is(node, "include")) {
            if (!follow_include(walk, node, depth)) {
                return false;
            }
        } else if (node->block && !is_data_block(node) && !follow_includes(walk, node, depth)) {
            return false;
        }
    }
    return true;
}

static bool read_text(struct walk *walk, const char *path, struct buf *out)
{
    struct err *err = walk->err;
    bool ok = walk->reader != NULL && walk->reader->read != NULL
                  ? walk->reader->read(walk->reader->context, path, FILE_LIMIT_BYTES, out, err)
                  : fs_read(path, FILE_LIMIT_BYTES, out, err);
    return ok || err_context(err, "reading the nginx configuration");
}

static size_t add_file(struct nginx_config *config, const char *path, char *real)
{
    struct nginx_file *file = mem_alloc(sizeof *file);
    file->path = mem_dup(path);
    file->real = real;
    config->files = mem_resize(config->files, config->n_files + 1, sizeof(struct nginx_file *));
    config->files[config->n_files] = file;
    return config->n_files++;
}

/* One file under two names (a link, a second include) is one entry: it has one set of bytes to edit. */
static bool find_file(const struct nginx_config *config, const char *real, size_t *index)
{
    for (size_t i = 0; i < config->n_files; i++) {
        if (strcmp(config->files[i]->real, real) == 0) {
            *index = i;
            return true;
        }
    }
    return false;
}

static bool load_file(struct walk *walk, const char *path, size_t depth, size_t *index)
{
    struct nginx_config *config = walk->config;
    AUTO_FREE char *resolved = realpath(path, NULL);
    const char *real = resolved != NULL ? resolved : path;
    if (find_file(config, real, index)) {
        return !config->files[*index]->loading ||
               err_set(walk->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path, "%s includes itself", path);
    }
    if (depth > INCLUDE_DEPTH_MAX || config->n_files >= FILES_MAX) {
        return err_set(walk->err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path, "too many nested includes at %s",
                       path);
    }
    *index = add_file(config, path, mem_dup(real));
    struct nginx_file *file = config->files[*index];
    file->loading = true;
    if (!read_text(walk, path, &file->text) ||
        !nginx_parse(buf_str(&file->text), file->text.len, path, *index, &file->root, walk->err)) {
        return false;
    }
    find_marks(file);
    if (!follow_includes(walk, &file->root, depth)) {
        return false;
    }
    file->loading = false;
    return true;
}

bool nginx_config_load(struct nginx_config *config, const char *path, const struct nginx_reader *reader,
                       struct err *err)
{
    nginx_config_clear(config);
    struct walk walk = {.config = config, .reader = reader, .err = err};
    size_t index;
    config->dir = fs_dirname(path);
    if (!load_file(&walk, path, 0, &index)) {
        nginx_config_clear(config);
        return false;
    }
    return true;
}

/* ---- looking ---- */

void nginx_nodes_clear(struct nginx_nodes *nodes)
{
    free(nodes->v);
    *nodes = (struct nginx_nodes){0};
}

static void add_node(struct nginx_nodes *nodes, const struct nginx_node *node)
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
        const struct nginx_mark *mark = nginx_mark_around(config, node);
        if (mark != NULL && mark->ignored) {
            continue;
        }
        bool include = nginx_is(node, "include");
        if (!include || keep_includes) {
            add_node(out, node);
        }
        for (size_t f = 0; include && f < node->n_included; f++) {
            nginx_children(config, &config->files[node->included[f]]->root, keep_includes, out);
        }
    }
}

const struct nginx_node *nginx_child(const struct nginx_config *config, const struct nginx_node *block,
                                     const char *name)
{
    AUTO_NODES nodes = {0};
    nginx_children(config, block, false, &nodes);
    for (size_t i = 0; i < nodes.n; i++) {
        if (nginx_is(nodes.v[i], name)) {
            return nodes.v[i];
        }
    }
    return NULL;
}
