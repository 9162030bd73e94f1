/*
 * import.h - what other ACME clients keep, read into plain structs: files of theirs in, nothing written, nobody asked.
 *
 * All of it is hostile until checked: sizes are limited, texts are parsed without a shell, keys and certificates are given as text for key.h and cert.h to judge. What is a program, or names a
 * place that root would write to, is taken only from files that nobody else may change (spawn_check_program()); what is left out for that is said in the notes.
 */
#ifndef TLSUP_IMPORT_H
#define TLSUP_IMPORT_H

#include <sys/types.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

enum import_client { IMPORT_CERTBOT, IMPORT_ACME_SH, IMPORT_DEHYDRATED, IMPORT_LEGO, IMPORT_UACME, IMPORT_CLIENTS };
const char *import_client_name(enum import_client client); /* "acme.sh" */
MUST_CHECK bool import_client_parse(const char *text, enum import_client *out, struct err *err); /* ERR_USAGE lists them */

/* One certificate with its key, PEM as it was found. */
struct import_version {
    char *path;        /* of the chain, for people */
    struct buf chain;  /* leaf first */
    struct buf key;    /* secret */
};

/* A file of tlsup's own to be made: a shell line of the old client's as a program, credentials. */
struct import_file {
    char *key;        /* the setting that gets its path: "deploy-hook"; NULL = none */
    char *name;       /* "deploy": CONFIG/hooks/imported/CERT-deploy; with `whole_name` the file's name as it is */
    bool whole_name;
    struct buf text;  /* secret */
    mode_t mode;      /* 0700, 0600 */
};

struct import_account {
    char *id;          /* as certificates refer to it */
    char *server;      /* directory URL; NULL = not known */
    char *url;         /* NULL = not stored */
    char *email;       /* NULL */
    char *eab_kid, *eab_hmac_key; /* NULL */
    char *path;        /* of the key, for people */
    struct buf key;    /* PEM or JWK, secret */
};

struct import_cert {
    char *name;                   /* the old client's */
    char *config_path;            /* where its settings stand; NULL = nowhere */
    struct import_version *versions; /* oldest first; the last is the one in use */
    size_t n_versions;
    struct strlist keys, values;  /* settings in tlsup's own words (config.h), in pairs; key-type and names are those of the certificate unless "names" is among them */
    char *server;                 /* directory URL or a preset's name; NULL = not known */
    char *account;                /* id, NULL = not known */
    struct import_file *files;
    size_t n_files;
    struct strlist notes;         /* what is otherwise than it was, and what to do */
    struct err err;               /* set: cannot be taken over */
};

/* A program that the old client runs for all of its certificates. */
struct import_program {
    char *when; /* "pre", "deploy", "post" */
    char *path;
};

struct import_store {
    enum import_client client;
    char *dir;                /* absolute, links resolved */
    struct strlist dirs;      /* all directories that hold certificates: what a web server may point into */
    struct import_cert *certs;
    size_t n_certs;
    struct import_account *accounts;
    size_t n_accounts;
    struct import_program *programs;
    size_t n_programs;
    struct strlist notes;
};
#define IMPORT_STORE_INIT {0}
void import_store_clear(struct import_store *store);

/* Where such a client keeps its things when nobody says otherwise: below the home directories of root, of whoever called sudo, and where packages have them. Appends; the first that holds something counts. */
void import_default_dirs(enum import_client client, struct strlist *out);
/* `dir` NULL: the first default one. ERR_NOT_FOUND tells where it was looked, and how to say where it is. At most `keep` versions of each certificate. What is wrong with one certificate becomes its `err`. */
MUST_CHECK bool import_read(enum import_client client, const char *dir, int keep, struct import_store *out, struct err *err);

#endif
