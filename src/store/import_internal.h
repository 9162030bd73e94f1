/*
 * import_internal.h - what the readers of other clients' stores share.
 */
#ifndef TLSUP_STORE_IMPORT_INTERNAL_H
#define TLSUP_STORE_IMPORT_INTERNAL_H

#include "tlsup/fs.h"
#include "tlsup/import.h"
#include "tlsup/mem.h"

enum { IMPORT_FILE_BYTES = 256 * 1024 };

/* -- building what is found -- */
struct import_cert *import_add_cert(struct import_store *store, const char *name, const char *config_path);
struct import_account *import_add_account(struct import_store *store, const char *id);
void import_add_program(struct import_store *store, const char *when, const char *path);
void import_set(struct import_cert *cert, const char *key, const char *value);
void import_note(struct strlist *notes, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The text is copied. */
void import_add_file(struct import_cert *cert, const char *key, const char *name, const char *text,
                     mode_t mode);
/* A line for the shell becomes a program. */
void import_add_line(struct import_cert *cert, const char *key, const char *name, const char *line);
/* Chain (several files, one after the other; those that are "" or NULL are left out) and key; true when both
 * could be read. Not the first reason is kept in cert->err: the caller's affair. */
MUST_CHECK bool import_add_version(struct import_cert *cert, const char *const *chain_paths, size_t n,
                                   const char *key_path, struct err *err);
/* Take over the versions; one that is the only one must be readable. */
void import_live_version(struct import_cert *cert, const char *chain_path, const char *issuers_path,
                         const char *key_path);

/* -- looking -- */
/* As root: is this file, and the way to it, root's alone? What it says may be run then. */
bool import_trusted(const char *path, struct err *why);
/* Notes why what this certificate's settings would have root run or write is not taken. */
bool import_trusted_or_note(struct import_cert *cert, const char *path, const char *what);
/* Names that may be parts of a path: not empty, no '/', not "." or "..". */
bool import_plain_name(const char *name);
/* A directory URL of ours (presets, and `wanted` of tlsup.conf is the caller's affair) at the origin of a
 * URL; NULL. */
const char *import_server_at(const char *url);
/* A string member of a JSON text, "a.b" for nested ones; NULL. The caller frees. */
char *import_json_string(const char *json, size_t len, const char *path);

/* -- NAME=value lines as shells read them, without a shell -- */
struct import_vars {
    struct strlist names, values;
};
void import_vars_clear(struct import_vars *vars);
/* Later ones replace earlier ones; $NAME and ${NAME} of those that are known are put in, but in single
 * quotes. A value that a shell would have to compute is left out. */
void import_vars_read(struct import_vars *vars, const char *text);
void import_vars_set(struct import_vars *vars, const char *name, const char *value);
const char *import_var(const struct import_vars *vars, const char *name); /* NULL = not there; borrowed */
/* 'it'\''s' */
void import_shell_quote(const char *text, struct buf *out);

/* -- the readers: store->dir is set -- */
MUST_CHECK bool import_certbot(struct import_store *store, int keep, struct err *err);
MUST_CHECK bool import_acmesh(struct import_store *store, int keep, struct err *err);
MUST_CHECK bool import_dehydrated(struct import_store *store, int keep, struct err *err);
MUST_CHECK bool import_lego(struct import_store *store, int keep, struct err *err);
MUST_CHECK bool import_uacme(struct import_store *store, int keep, struct err *err);

#endif
