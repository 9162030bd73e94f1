/*
 * apache_lexer.c - Apache's configuration language (see apache_lexer.h).
 */
#include "apache_lexer.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tlsup/mem.h"

#define MARK_BEGIN "# tlsup begin: "
#define MARK_END "# tlsup end: "

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool apache_bad_line(struct err *err, const char *path, size_t line, const char *what, const char *word)
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

/* The tag of a section; the server looks at the first word without its quotes. NULL: it is none. */
static const char *tag_of(const char *text)
{
    text += *text == '"' || *text == '\'';
    return *text == '<' ? text : NULL;
}

char *apache_arguments(const char *text)
{
    const char *args;
    free(apache_name(text, &args));
    while (is_space(*text))
        text++;
    if (!tag_of(text))
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

/* The end of the logical line at `at`: behind the first line feed that no backslash protects. Counts the
 * physical lines. */
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
    const char *tag = tag_of(text);
    if (!tag)
        return APACHE_DIRECTIVE;
    return tag[1] == '/' ? APACHE_CLOSE : APACHE_OPEN;
}

static bool close_section(struct apache_file *file, size_t open, size_t close, struct err *err)
{
    struct apache_node *node = &file->nodes[close];
    const char *rest = node->text;
    AUTO_FREE char *word = apache_word(&rest);
    size_t len = strlen(word);
    if (word[len - 1] != '>')
        return apache_bad_line(err, file->path, node->line, "a closing tag without '>': ", word);
    if (open == APACHE_NONE)
        return apache_bad_line(err, file->path, node->line, "a closing tag without its section: ", word);
    AUTO_FREE char *name = apache_name(node->text, NULL);
    AUTO_FREE char *expected = apache_name(file->nodes[open].text, NULL);
    if (strcasecmp(name, expected) != 0)
        return apache_bad_line(err, file->path, node->line, "a closing tag of another section: ", word);
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
                return apache_bad_line(err, file->path, node->line, "a section without a name", "");
            open = i;
        } else if (node->kind == APACHE_CLOSE) {
            if (!close_section(file, open, i, err))
                return false;
            open = file->nodes[open].parent;
        }
    }
    if (open != APACHE_NONE)
        return apache_bad_line(err, file->path, file->nodes[open].line,
                               "a section that is never closed: ", file->nodes[open].text);
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
    for (size_t i = 0; i < file->n_blocks; i++) {
        struct apache_block *block = &file->blocks[i];
        block->around = file->nodes[block->first].block;
        for (size_t k = block->first; k <= block->last; k++)
            file->nodes[k].block = i;
    }
}

static void add_node(struct apache_file *file, size_t *cap, size_t begin, size_t end, size_t line)
{
    if (file->n_nodes == *cap) {
        *cap = *cap ? 2 * *cap : 16;
        file->nodes = mem_resize(file->nodes, *cap, sizeof *file->nodes);
    }
    char *text = logical_text(file->data + begin, end - begin);
    file->nodes[file->n_nodes++] = (struct apache_node){.kind = kind_of(text),
                                                        .begin = begin,
                                                        .end = end,
                                                        .line = line,
                                                        .parent = APACHE_NONE,
                                                        .partner = APACHE_NONE,
                                                        .block = APACHE_NONE,
                                                        .text = text};
}

bool apache_lex(const char *path, const char *data, size_t len, struct apache_file *out, struct err *err)
{
    if (len && memchr(data, '\0', len))
        return err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path,
                       "%s has a NUL byte: it is not a configuration file", path);
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

void apache_block_write(struct buf *out, const char *kind, const char *id, const char *indent,
                        const char *eol, const char *content)
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
