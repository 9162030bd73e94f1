/*
 * apache_lexer.h - Apache's configuration language: a lossless lexer, and the walk that the server itself
 * would make. Internal to install/.
 *
 * The lexer splits one file into nodes that tile it: every byte belongs to exactly one node, so a file is
 * always the sum of its nodes and an edit is an insertion between two of them. The walk follows Include,
 * Define, IfModule, IfDefine, IfFile, IfVersion, LoadModule, Macro and Use in the order in which the server
 * reads them, and gives the list of lines that are in effect.
 */
#ifndef TLSUP_INSTALL_APACHE_LEXER_H
#define TLSUP_INSTALL_APACHE_LEXER_H

#include <stdbool.h>
#include <stddef.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/txn.h"

#define APACHE_NONE ((size_t)-1)

/* -- one file -- */

enum apache_kind { APACHE_BLANK, APACHE_COMMENT, APACHE_DIRECTIVE, APACHE_OPEN, APACHE_CLOSE };

/* One logical line: continuation lines included, with its line end. */
struct apache_node {
    enum apache_kind kind;
    size_t begin, end; /* bytes */
    size_t line;       /* 1-based, of its first byte */
    size_t parent;     /* the innermost section around it, APACHE_NONE at the top */
    size_t partner;    /* open <-> close */
    size_t block;      /* the innermost block of ours around it, its markers included, APACHE_NONE */
    char *text;        /* continuations joined, trimmed; NULL for blank lines */
};

/* Lines between two marker comments of ours:
 *     # tlsup begin: KIND ID HASH
 *     # tlsup end: KIND ID
 * HASH covers what is between them. */
struct apache_block {
    char *kind, *id;
    size_t first, last; /* nodes of the two markers */
    size_t around;      /* the block that it lies in, APACHE_NONE */
    bool intact;        /* the content still has the hash */
};

struct apache_file {
    char *path; /* as the server names it */
    char *real; /* symlinks resolved */
    char *data;
    size_t len;
    struct apache_node *nodes;
    size_t n_nodes;
    struct apache_block *blocks; /* in the order of their first nodes */
    size_t n_blocks;
    size_t times; /* how often the walk has read it */
};

/* Lex `data` (copied). Refuses what the server would: unbalanced or unclosed sections; and NUL bytes. Errors
 * name file and line. */
MUST_CHECK bool apache_lex(const char *path, const char *data, size_t len, struct apache_file *out,
                           struct err *err);
void apache_file_clear(struct apache_file *file);
/* "FILE:LINE: what word", as an error of the configuration. */
bool apache_bad_line(struct err *err, const char *path, size_t line, const char *what, const char *word);
/* Cut the next word off *text: quotes removed, \\ and \q decoded. NULL at the end. The caller frees. */
char *apache_word(const char **text);
/* The words of `text`, appended. */
void apache_words(const char *text, struct strlist *words);
/* The name of a directive or section in `text` ("VirtualHost" of "<VirtualHost *:80>"), and in *args where
 * its arguments begin. The caller frees. For a section the arguments end before the last '>': see
 * apache_arguments(). */
char *apache_name(const char *text, const char **args);
char *apache_arguments(const char *text); /* of a directive or section; the caller frees */
bool apache_is(const struct apache_node *node, const char *name);
/* "# tlsup begin ..." + content + "# tlsup end ...", each line behind `indent`. Appends. */
void apache_block_write(struct buf *out, const char *kind, const char *id, const char *indent,
                        const char *eol, const char *content);

/* -- the whole configuration: apache_tree.c -- */

/* One line in effect. */
struct apache_line {
    enum apache_kind kind; /* directive, open, close */
    size_t file, node;
    char *name;
    char *args;    /* ${X} and macro parameters expanded */
    size_t parent; /* line of the section around it; conditional sections do not count */
    size_t next;   /* open: the line after its close; Include: after what it brought in; else the next line */
    size_t use;    /* the expansion that it comes from, APACHE_NONE */
};

struct apache_var {
    char *name, *value;
};

/* One expansion of a macro. */
struct apache_use {
    char *macro;
    size_t line; /* of the Use directive */
    struct strlist params, args;
};

struct apache_macro {
    char *name;
    size_t file, node;
    struct strlist params;
};

struct apache_tree {
    /* set by the caller */
    const struct txn *txn; /* the files as they will be after it; NULL: as they are */
    int version_number;
    char *server_root; /* heap */

    struct strlist staged; /* real paths that `txn` changes */
    struct strlist dirs;   /* directories, each followed by its real path: many files lie in few */
    struct apache_file **files;
    size_t n_files;
    size_t *index; /* of files by their real path */
    size_t index_size;
    struct strlist reads; /* every file that was read, in order and as often, as the server names it */
    struct apache_line *lines;
    size_t n_lines;
    struct strlist modules;  /* names as IfModule knows them, both forms: "ssl_module", "mod_ssl.c" */
    struct apache_var *vars; /* Define */
    size_t n_vars;
    struct apache_var *env; /* the server's environment, which ${X} falls back to */
    size_t n_env;
    struct apache_macro *macros;
    size_t n_macros;
    struct apache_use *uses;
    size_t n_uses;
};

void apache_tree_define(struct apache_tree *tree, const char *name, const char *value);
void apache_tree_env(struct apache_tree *tree, const char *name, const char *value);
/* "ssl_module" or "mod_ssl.c" */
void apache_tree_module(struct apache_tree *tree, const char *name);
bool apache_tree_has(const struct apache_tree *tree, const char *module);
MUST_CHECK bool apache_tree_walk(struct apache_tree *tree, const char *conf, struct err *err);
/* The file of this real path; APACHE_NONE = it was not read. */
size_t apache_tree_file(const struct apache_tree *tree, const char *real);
void apache_tree_clear(struct apache_tree *tree);
/* ${X} by what is defined now; the caller frees. */
char *apache_expand(const struct apache_tree *tree, const char *text);
/* A node's text with the parameters of expansion `use` (or APACHE_NONE) put in; the caller frees. */
char *apache_substitute(const struct apache_tree *tree, const char *text, size_t use);
/* A path as the server takes it: relative ones begin at ServerRoot. The caller frees. */
char *apache_path(const struct apache_tree *tree, const char *path);

#endif
