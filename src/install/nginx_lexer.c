/*
 * nginx_lexer.c - nginx's configuration language: tokens, and the directives of one file.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "nginx_lexer.h"

#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"

enum {
    BLOCK_DEPTH_MAX = 100,
    TOKEN_MAX_BYTES = 4096, /* with the byte that ends it: what nginx reads at once */
};

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

/* nginx wants to see the byte behind a word, too: behind a closing quote only where it is no space. */
static bool is_too_long(const struct nginx_lexer *lexer, size_t end)
{
    size_t len = end - lexer->pos;
    bool ends_directive = end < lexer->len && (lexer->data[end] == ';' || lexer->data[end] == '{');
    return len > TOKEN_MAX_BYTES || (len == TOKEN_MAX_BYTES && !(lexer->after_quote && ends_directive));
}

static void word(struct nginx_lexer *lexer, struct nginx_token *token)
{
    size_t end = word_end(lexer);
    if (end == 0) {
        refuse(lexer, token, "a quoted word without its closing quote");
        return;
    }
    end = end > lexer->len ? lexer->len : end;
    if (is_too_long(lexer, end)) {
        refuse(lexer, token, "a parameter is too long for nginx");
        return;
    }
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
    size_t end = feed != NULL ? (size_t)(feed - lexer->data) : lexer->len;
    if (end - lexer->pos >= TOKEN_MAX_BYTES) {
        refuse(lexer, token, "a comment is too long for nginx");
        return;
    }
    finish(lexer, token, NGINX_COMMENT, end);
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
