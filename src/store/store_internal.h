/*
 * store_internal.h - what the files of the store share.
 */
#ifndef TLSUP_STORE_INTERNAL_H
#define TLSUP_STORE_INTERNAL_H

#include <sys/types.h>

#include "tlsup/fs.h"
#include "tlsup/store.h"

#define STATE_FILE_BYTES ((size_t)1024 * 1024)

struct store {
    char *config_dir;
    char *state_dir;
    char *journal_dir;
    enum store_mode mode;
    struct fs_lock lock;
    struct strlist made; /* directories that were not there before */
};

/* -- checks and small tools (store.c) -- */
MUST_CHECK bool store_check_name(const char *name, struct err *err);
MUST_CHECK bool store_check_writing(const struct store *store, struct err *err);
MUST_CHECK bool store_check_change(const struct store *store, const char *name, struct err *err); /* both */
/* ERR_NOT_FOUND is an answer rather than a failure to some callers: true, and `err` is clear again. */
bool store_forgive_missing(struct err *err);
/* An existing directory must be one that only we can redirect. */
MUST_CHECK bool store_ensure_dir(const char *path, mode_t mode, bool only_we_write, struct err *err);
char *store_below(const char *dir, const char *sub, const char *name); /* the caller frees */
char *store_config_path(const struct store *store, const char *name);
char *store_state_path(const struct store *store, const char *name);
char *store_output_path(const struct store *store, const char *name); /* what hooks have printed, root's alone */
/* Is it there? A directory that may not be looked into is an error, not a no. */
MUST_CHECK bool store_is_there(const char *path, bool *there, struct err *err);

/* -- keys in files (store_key.c): PEM, or the URI of a token's key -- */
MUST_CHECK bool store_key_read(const char *path, struct key **out, struct err *err);
MUST_CHECK bool store_key_write(const char *path, const struct key *key, struct err *err);
MUST_CHECK bool store_key_uri_read(const char *path, struct key **out, struct err *err);
MUST_CHECK bool store_key_uri_write(const char *path, const char *uri, struct err *err);
/* The text of an error of the crypto layer gets the path, which is its subject. Returns false. */
bool store_in_file(const char *path, struct err *err);

/* -- SELinux (store_label.c) -- */
/* Where SELinux is on: certificates and challenge answers get the types that web servers may read, where nobody has
 * given them another. What cannot be labelled is left. */
void store_label(const struct store *store);
/* Tests: SELinux is on when this path exists. Not copied. */
void store_label_set_switch(const char *path);

/* -- trees (store_tree.c) -- */
/* Make a directory like `from`, with all that is in it: files by hard links, or as copies where `copies` says so or links cannot be had. A missing `from` is fine. */
MUST_CHECK bool store_tree_copy(const char *from, const char *to, bool copies, struct err *err);
/* One file, with its mode and owner; a missing one is fine. */
MUST_CHECK bool store_file_copy(const char *from, const char *to, struct err *err);

/* -- certificates (store_version.c) -- */
char *store_cert_dir(const struct store *store, const char *name);
char *store_live_link(const struct store *store, const char *name);

#endif
