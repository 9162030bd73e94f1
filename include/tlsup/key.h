/*
 * key.h - private keys: account keys and certificate keys.
 *
 * The key material stays inside OpenSSL and the `secret` buffers of these functions. Only the keeper process
 * holds keys: key_count() lets it prove that none is in memory before it forks.
 */
#ifndef TLSUP_KEY_H
#define TLSUP_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

struct key; /* heap; key_free() */

enum key_type { KEY_ECDSA_P256, KEY_ECDSA_P384, KEY_RSA_2048, KEY_RSA_3072, KEY_RSA_4096 };

/* "ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096". key_type_parse() also takes "ec256",
 * "ec-256", "ec384", "ec-384", "p256", "p384", "secp256r1", "secp384r1", "ecdsa" (P-256), "rsa" (2048),
 * "2048", "3072", "4096", in any case. Unknown -> ERR_CONFIG listing the accepted. */
const char *key_type_name(enum key_type type);
MUST_CHECK bool key_type_parse(const char *text, enum key_type *type, struct err *err);

/* A new key. *out is written only on success. */
MUST_CHECK bool key_generate(enum key_type type, struct key **out, struct err *err);
/* From PEM (PKCS#8, SEC1 or PKCS#1, unencrypted; an encrypted one is refused without prompting). Accepts the
 * five types only; `subject` is the path for errors. Checks the key's consistency (EVP_PKEY_pairwise_check).
 */
MUST_CHECK bool key_from_pem(const char *pem, size_t len, const char *subject, struct key **out,
                             struct err *err);
/* From a private JWK (RFC 7517: "EC" with P-256 or P-384, "RSA" with p and q), as other clients keep account
 * keys. */
MUST_CHECK bool key_from_jwk(const char *json, size_t len, const char *subject, struct key **out,
                             struct err *err);
/* Either of the two, told apart by the first character that is not white space (nor a byte order mark). */
MUST_CHECK bool key_from_text(const char *text, size_t len, const char *subject, struct key **out,
                              struct err *err);
/* A key that never leaves its token: "pkcs11:..." (RFC 7512) through OpenSSL's provider "pkcs11" or else its
 * engine of that name; "handle:0x81000001" (a TPM's persistent handle), or "tpm2:/PATH" (a file, "TSS2
 * PRIVATE KEY"), through the provider "tpm2". The URI of a PKCS#11 key needs object= or id=; the token that
 * it means must be the only one. After "?" may stand module-path= (pkcs11: only; else p11-kit's modules), and
 * the PIN: pin-value=, or pin-source= with the path of a file. A PIN is tried once, on that token only, and
 * nobody is ever asked for one.
 *
 * The driver is loaded by the first call and stays until the process ends. The engine serves one module a
 * process. A malformed URI -> ERR_CONFIG; ERR_CRYPTO says which of driver, module, token, PIN, object is
 * missing and which package may bring it. Checked by a signature that verifies. Errors never show the PIN. */
bool key_is_uri(const char *text); /* does it look like one of these? */
MUST_CHECK bool key_open_uri(const char *uri, struct key **out, struct err *err);
/* The URI that it was opened by, with any PIN in it; NULL for a key in memory. Borrowed. */
const char *key_uri(const struct key *key);
/* Append PKCS#8 PEM; `out` must be a secret buffer. A token's key cannot be written: ERR_CRYPTO. */
MUST_CHECK bool key_to_pem(const struct key *key, struct buf *out, struct err *err);
void key_free(struct key *key); /* NULL is fine */
void key_free_ptr(struct key **key);
#define AUTO_KEY CLEANUP(key_free_ptr) struct key
enum key_type key_type_of(const struct key *key);

/* The public key as a canonical, minimal JWK: members in lexicographic order, no white space (RFC 7638
 * section 3). Appends. */
MUST_CHECK bool key_jwk(const struct key *key, struct buf *out, struct err *err);
/* base64url(SHA-256(JWK)), 43 characters and NUL. */
#define KEY_THUMBPRINT_BYTES 44
MUST_CHECK bool key_thumbprint(const struct key *key, char out[KEY_THUMBPRINT_BYTES], struct err *err);
/* SHA-256 of the DER SubjectPublicKeyInfo, lower-case hex: says whether two things have the same key. */
#define KEY_SPKI_BYTES 65
MUST_CHECK bool key_spki_sha256(const struct key *key, char out[KEY_SPKI_BYTES], struct err *err);
/* The JWS "alg" that goes with the key: ES256, ES384, RS256 (RFC 7518 3.1). */
const char *key_jws_alg(const struct key *key);
/* Sign for JWS: ECDSA as raw R||S of fixed width (RFC 7518 3.4), RSA PKCS#1 v1.5 with SHA-256. Appends raw
 * bytes. */
MUST_CHECK bool key_sign(const struct key *key, const void *data, size_t len, struct buf *out,
                         struct err *err);

/* Private keys made or read in this process so far (never decreases). */
size_t key_count(void);

/* For crypto/ files only. The OpenSSL object that signs, borrowed; the JWK of any EVP_PKEY of the five types,
 * public-only ones too; and an ERR_CRYPTO with `what` and OpenSSL's own reason, which empties its error
 * queue. */
void *key_pkey(const struct key *key);
MUST_CHECK bool key_public_jwk(const void *pkey, struct buf *out, struct err *err);
bool key_openssl_error(struct err *err, const char *subject, const char *what);

#endif
