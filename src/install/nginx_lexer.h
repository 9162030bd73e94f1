/*
 * nginx_lexer.h - nginx's configuration language, without loss: tokens, directives with byte ranges, the
 * include walk. Internal to install/.
 *
 * Three floors. Tokens: concatenated, they give the input back, whatever the input. Nodes: directives and
 * blocks of one file. Config: all files that the server would read, in its order, plus the marked blocks that
 * we wrote ourselves.
 */
#ifndef TLSUP_INSTALL_NGINX_LEXER_H
#define TLSUP_INSTALL_NGINX_LEXER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/txn.h"

enum nginx_token_kind {
    NGINX_SPACE,
    NGINX_COMMENT, /* from '#' to before the line feed */
    NGINX_WORD,    /* with its quotes */
    NGINX_SEMICOLON,
    NGINX_OPEN,
    NGINX_CLOSE,
    NGINX_LUA, /* the inside of a *_by_lua_block, as it is */
    NGINX_BAD, /* the rest of the input, from the first byte that nginx would refuse */
};

struct nginx_token {
    enum nginx_token_kind kind;
    size_t begin, end; /* bytes of the input */
    size_t line;       /* of its first byte, from 1 */
};

struct nginx_lexer {
    const char *data;
    size_t len;
    size_t pos;
    size_t line;
    size_t words;        /* of the directive being read */
    bool lua_name;       /* its name ends in _by_lua_block */
    bool in_lua;         /* the '{' of such a directive was just read */
    bool after_quote;    /* only space, ';', '{' or ')' may follow */
    const char *problem; /* why the last token is NGINX_BAD */
};

void nginx_lexer_init(struct nginx_lexer *lexer, const char *data, size_t len);
/* The next token; false at the end of the input. */
bool nginx_lexer_next(struct nginx_lexer *lexer, struct nginx_token *token);
/* What a word means: without its quotes, escapes decoded. The caller frees. */
char *nginx_word_decode(const char *data, size_t len);
/* The contrary: a parameter as it must be written to mean `text`; `text` has no control characters. Appends.
 */
void nginx_word_encode(const char *text, struct buf *out);

/* A directive or a block. */
struct nginx_node {
    char **args; /* decoded; args[0] is the name */
    size_t n_args;
    size_t begin, end;  /* from the name to past ';' or '}' */
    size_t open, close; /* of a block: past '{', and at '}' */
    bool block;
    size_t line;
    size_t file; /* index in the config */
    struct nginx_node *children;
    size_t n_children;
    char *target;     /* of an include: its full path or pattern */
    size_t *included; /* of an include: indices of the files, in order */
    size_t n_included;
};

/* A block of lines that we wrote: "# tlsup begin ID HASH" ... "# tlsup end ID". */
struct nginx_mark {
    char *id;
    size_t begin, end; /* with the line break before and after: cutting it restores the file */
    size_t content_begin, content_end; /* the lines between the markers */
    bool intact;                       /* the content still has the hash that we wrote */
    bool ignored;                      /* set by the user of the config: its directives do not count */
};

struct nginx_file {
    char *path; /* as the server names it */
    char *real; /* symlinks resolved: its identity */
    struct buf text;
    struct nginx_node root; /* a block without name */
    struct nginx_mark *marks;
    size_t n_marks;
    bool loading;
    size_t users;       /* configurations that have it */
    bool stable;        /* without includes and marks: another walk may have it too */
    struct stat status; /* when it was read */
};

/* Texts and a number for each, found at once. */
struct nginx_index {
    char **keys;
    size_t *values, *slots;
    size_t n, n_slots;
};
/* NULL: not there. */
size_t *nginx_index_get(const struct nginx_index *index, const char *key);
void nginx_index_put(struct nginx_index *index, const char *key, size_t value);
void nginx_index_clear(struct nginx_index *index);

/* A file as the server opened it: each path once, in its order. */
struct nginx_load {
    char *path;
    size_t file;
    bool maybe; /* of a geo block: the server may have taken a binary form of it instead */
};

struct nginx_config {
    char *dir; /* includes are relative to it */
    struct nginx_file **files;
    size_t n_files;
    struct nginx_load *loads;
    size_t n_loads;
    struct nginx_index by_real, by_path;
};
#define NGINX_CONFIG_INIT                                                                                    \
    {                                                                                                        \
        0                                                                                                    \
    }

/* Read `path` and all it includes, by nginx's own rules, as they will be after what is staged in `txn` (NULL:
 * as they are). An unreadable or malformed file is ERR_WEBSERVER with file and line. On failure the config is
 * cleared. `known`: an earlier walk (NULL = none), whose files are taken over where they did not change. */
MUST_CHECK bool nginx_config_load(struct nginx_config *config, const char *path, const struct txn *txn,
                                  const struct nginx_config *known, struct err *err);
/* One more file, which nothing includes; its own includes are not followed. When it cannot be read or parsed,
 * it is there without directives. */
void nginx_config_add(struct nginx_config *config, const char *path);
void nginx_config_clear(struct nginx_config *config);
/* Parse one text (of file number `file`) into `root`; includes are noted, not followed. `name` is for errors.
 */
MUST_CHECK bool nginx_parse(const char *data, size_t len, const char *name, size_t file,
                            struct nginx_node *root, struct err *err);
void nginx_node_clear(struct nginx_node *node);

/* A borrowed list of nodes. */
struct nginx_nodes {
    const struct nginx_node **v;
    size_t n;
};
void nginx_nodes_add(struct nginx_nodes *nodes, const struct nginx_node *node);
void nginx_nodes_clear(struct nginx_nodes *nodes);
#define AUTO_NODES CLEANUP(nginx_nodes_clear) struct nginx_nodes
/* The children of a block as nginx reads them: what is included stands in the include's place. With
 * `keep_includes` the include directive itself comes before what it brings. Directives in ignored marks are
 * left out. Appends. */
void nginx_children(const struct nginx_config *config, const struct nginx_node *block, bool keep_includes,
                    struct nginx_nodes *out);
/* The first child with this name, or NULL. */
const struct nginx_node *nginx_child(const struct nginx_config *config, const struct nginx_node *block,
                                     const char *name);
static inline bool nginx_is(const struct nginx_node *node, const char *name)
{
    const char *a = node->args[0];
    while (*a != '\0' && *a == *name) {
        a++;
        name++;
    }
    return *a == *name;
}
/* The mark around `node`, or NULL. */
struct nginx_mark *nginx_mark_around(const struct nginx_config *config, const struct nginx_node *node);
/* The mark with this id directly inside a block (in the block's own file), or NULL. */
struct nginx_mark *nginx_mark_in(const struct nginx_config *config, const struct nginx_node *block,
                                 const char *id);

/* Append one marked block, to stand right behind a '{': lines of `content` (each with its line break) between
 * the markers. */
void nginx_mark_write(const char *id, const char *indent, const char *eol, const struct buf *content,
                      struct buf *out);

#endif
