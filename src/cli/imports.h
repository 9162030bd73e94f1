/*
 * imports.h - what the files of `import` share: what becomes of each certificate of another client's, and how
 * it is carried out.
 *
 *   import_read (store) -> imports_judge: nothing is written -> imports_take -> imports_look, imports_switch
 * -> old_timers
 */
#ifndef TLSUP_CLI_IMPORTS_H
#define TLSUP_CLI_IMPORTS_H

#include "run.h"
#include "tlsup/import.h"

enum import_fate {
    FATE_NEW,
    FATE_UPDATED, /* held since an earlier import, and the other client has renewed it since */
    FATE_HELD,    /* the very one is here already */
    FATE_LEFT,    /* not taken: `why` */
};

struct imported {
    const struct import_cert *cert; /* borrowed */
    char name[256];                 /* in tlsup */
    enum import_fate fate;
    struct err why;
    bool dead;                             /* left because it is of no use any more: nobody needs to act */
    struct cert_config config;             /* as it is to be saved; of one that is held, as it is */
    struct cert_info info;                 /* of the certificate in use */
    struct import_account *account;        /* NULL = not known */
    char account_name[72];                 /* in tlsup, "" = the default one */
    char thumbprint[KEY_THUMBPRINT_BYTES]; /* of its account's key, "" = not known */
    int version;                           /* in tlsup, once it is taken */
    struct strlist notes;
    enum web_kind switched; /* this run has switched that web server over */
};

struct import_taken_account {
    const struct import_account *account;
    char server[512];
    char name[72];
    char thumbprint[KEY_THUMBPRINT_BYTES];
    bool there; /* it is ours already */
    bool used;
};

/* A line of a web server that reads a file of the old client's. */
struct import_place {
    enum web_kind kind;
    char *file;
    size_t line;
    char *path;
    struct imported *cert; /* NULL = none of those; borrowed */
};

struct imports {
    struct run *run;
    struct import_store old;
    struct imported *v;
    size_t n;
    struct import_taken_account *accounts;
    size_t n_accounts;
    struct strlist programs; /* hooks for all certificates that were copied: paths in tlsup */
    struct strlist notes;
    struct import_place *places;
    size_t n_places;
    struct buf diff; /* --plan */
    struct strlist commands;
    size_t failed; /* what somebody must look at */
};
#define IMPORTS_INIT                                                                                         \
    {                                                                                                        \
        0                                                                                                    \
    }
void imports_clear(struct imports *imports);

/* What would become of everything in imports->old. Nothing is written. (import_judge.c) */
MUST_CHECK bool imports_judge(struct imports *imports, struct err *err);
/* The path of a file of ours that is made for it. The caller frees. */
char *imports_file_path(const struct imports *imports, const struct imported *one,
                        const struct import_file *file);
/* The version that has this leaf; 0 = none. */
int imports_stored_version(struct store *store, const char *name, const char *sha256);

/* Carry it out; what fails of one certificate becomes its `why`. (import_take.c) */
void imports_take(struct imports *imports);

/* Which web servers read files of the old client's. (import_web.c) */
void imports_look(struct imports *imports);
/* Have them read ours; with --plan the diff of it. */
void imports_switch(struct imports *imports);

#endif
