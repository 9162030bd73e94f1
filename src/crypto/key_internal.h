/*
 * key_internal.h - what the files of crypto/ share of a private key, in memory or on a token.
 */
#ifndef TLSUP_KEY_INTERNAL_H
#define TLSUP_KEY_INTERNAL_H

#include <openssl/evp.h>

#include "tlsup/key.h"

/* A 4096-bit RSA key takes 3.3 kB of PEM; the rest is room for text around it. */
#define KEY_FILE_MAX_BYTES (64 * 1024)

struct key {
    EVP_PKEY *pkey;       /* what signs */
    EVP_PKEY *public_key; /* a token's key: the public half, in memory; else NULL */
    OSSL_LIB_CTX *libctx; /* where pkey lives; NULL = OpenSSL's default */
    const char *propq; /* prefers the provider that pkey is of: with the public half, any could sign, in its
                          own opinion */
    char *uri;         /* of a token's key, as it was given, with any PIN; NULL for a key in memory */
    enum key_type type;
};

void key_pkey_free_ptr(EVP_PKEY **pkey);
#define AUTO_PKEY CLEANUP(key_pkey_free_ptr) EVP_PKEY

/* The public half as an object of OpenSSL's own; borrowed. For all that only looks: the key itself may be on
 * a token, whose driver answers few questions. */
EVP_PKEY *key_public(const struct key *key);
/* Count one more private key in memory, before there is one. */
void key_seen(void);
/* Is it of one of the five types, with the RSA exponent that CAs take? NULL: yes, and `type` (may be NULL) is
 * set. Else what is wrong. */
const char *key_public_defect(const EVP_PKEY *pkey, enum key_type *type);
/* Check the private key that was read from `subject`, and make it a struct key. Takes over `pkey` in any
 * case. */
MUST_CHECK bool key_adopt(EVP_PKEY *pkey, const char *subject, struct key **out, struct err *err);
/* SHA-256 as lower-case hex. */
void key_sha256_hex(const void *data, size_t len, char out[65]);

/* -- key_uri.c: what a URI says -- */

enum key_scheme_id { SCHEME_PKCS11, SCHEME_HANDLE, SCHEME_TPM2 };

/* What the passphrase dialogues of OpenSSL are answered with. */
struct pin {
    struct buf text;
    bool given;
    bool asked; /* somebody wanted one */
};

enum key_attribute { AT_TOKEN, AT_MANUFACTURER, AT_MODEL, AT_SERIAL, AT_OBJECT, AT_ID, AT_TYPE, AT_COUNT };

struct key_location {
    enum key_scheme_id scheme;
    char *shown;           /* scheme and path alone: no PIN in it */
    char *path;            /* of a file (tpm2:), decoded */
    char *value[AT_COUNT]; /* of pkcs11:, decoded; NULL when not there */
    char *module;          /* NULL: the default */
    struct pin pin;
};

struct key_scheme {
    const char *prefix;   /* "pkcs11:" */
    const char *provider; /* of OpenSSL's */
    const char *propq;    /* that prefers it */
};
extern const struct key_scheme key_schemes[];

/* Reads a pin-source file as well. `out` is zeroed by the caller, who clears it in any case. */
MUST_CHECK bool key_uri_parse(const char *text, struct key_location *out, struct err *err);
void key_uri_clear(struct key_location *uri);

/* -- key_token.c, key_pkcs11.c -- */

/* key_token.c: open what a URI names. The caller owns `pkey` and `shown`, which is the URI without its PIN,
 * for errors. */
struct token_key {
    EVP_PKEY *pkey;
    OSSL_LIB_CTX *libctx; /* for ever */
    const char *propq;    /* static */
    char *shown;
};
MUST_CHECK bool token_open(const char *uri, struct token_key *out, struct err *err);

/* key_pkcs11.c: ask a PKCS#11 module what tokens it has, to tell what is missing. */
struct pkcs11_wish { /* of the URI's path, decoded; NULL = any */
    const char *token, *manufacturer, *model, *serial;
};
struct pkcs11_report {
    bool loaded;           /* the module is there, and is one */
    char why[300];         /* why not */
    struct strlist labels; /* of all initialised tokens */
    size_t matching;       /* tokens that the wish fits */
    bool pin_locked;       /* one of those says so */
    bool wants_pin;        /* one of those does, and has no keypad of its own */
    bool logged_in;        /* this process is, at one of those */
};
/* Leaves the module loaded and started. */
void pkcs11_inspect(const char *module, const struct pkcs11_wish *wish, struct pkcs11_report *report);
void pkcs11_report_clear(struct pkcs11_report *report);

#endif
