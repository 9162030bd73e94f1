/*
 * config.h - what people write: /etc/tlsup/tlsup.conf and /etc/tlsup/certs.d/NAME.conf.
 *
 * INI: `key = value` lines, `#` and `;` comments on lines of their own, blank lines. No sections are needed; unknown keys,
 * duplicate keys and bad values are errors with file and line (every one of them ERR_CONFIG, the text beginning "PATH:LINE: "). tlsup.conf
 * holds defaults for every certificate; a certificate's file overrides them. Keys:
 *
 *   names        = example.org www.example.org    (certificate file only; required there)
 *   server       = letsencrypt | letsencrypt-staging | https://…/directory
 *   ca-bundle    = /path/ca.pem                    trust for the CA's own HTTPS, instead of the system's
 *   email        = admin@example.org
 *   agree-tos    = yes | no
 *   challenge    = web-server | standalone | webroot
 *   webroot      = /var/www/html                   (implies challenge = webroot when challenge is not given)
 *   key-type     = ecdsa-p256 | …                  (key.h)
 *   install      = nginx | apache | none
 *   redirect     = yes | no                        http to https
 *   deploy-hook  = /path/program                   run after each renewal, no shell, no arguments
 *
 * ca-bundle, email, webroot and deploy-hook also take "none", which undoes a default.
 *
 * UTF-8 with or without a byte order mark, LF or CRLF. A file has at most CONFIG_FILE_BYTES, a line CONFIG_LINE_BYTES.
 */
#ifndef TLSUP_CONFIG_H
#define TLSUP_CONFIG_H

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/key.h"
#include "tlsup/web_kind.h"

enum config_challenge { CHALLENGE_VIA_WEB_SERVER, CHALLENGE_VIA_STANDALONE, CHALLENGE_VIA_WEBROOT };

struct cert_config {
    char *name;            /* the certificate's name: file and directory name; NULL in defaults */
    struct strlist names;  /* normalised */
    char *server;          /* a directory URL, presets resolved; never NULL after cert_config_init() */
    char *ca_bundle;       /* NULL = the system's */
    char *email;           /* NULL = none */
    bool agree_tos;
    enum config_challenge challenge;
    char *webroot;
    enum key_type key_type;
    enum web_kind install; /* WEB_NONE = stored only */
    bool redirect;
    char *deploy_hook;
};

void cert_config_init(struct cert_config *config); /* built-in defaults: Let's Encrypt, web-server, ecdsa-p256, none, no redirect */
void cert_config_clear(struct cert_config *config);
void cert_config_copy(struct cert_config *to, const struct cert_config *from); /* clears `to` first */
bool cert_config_same(const struct cert_config *a, const struct cert_config *b); /* every key; the certificate's name aside */

#define CONFIG_FILE_BYTES ((size_t)256 * 1024)
#define CONFIG_LINE_BYTES ((size_t)64 * 1024)

/* Overlay a file onto `config`, which is unchanged on failure; `is_cert` allows and requires `names`. A missing tlsup.conf is fine
 * (`is_cert` false); a missing certificate file is ERR_NOT_FOUND. Run as root, a file that somebody else could have written is refused with
 * ERR_PERMISSION: its deploy-hook would run as root. */
MUST_CHECK bool config_read_file(const char *path, bool is_cert, struct cert_config *config, struct err *err);
/* The same for text that is in memory already; `subject` is the path for errors. */
MUST_CHECK bool config_read_text(const char *text, size_t len, const char *subject, bool is_cert, struct cert_config *config,
                                 struct err *err);
/* The text of a certificate file holding only what differs from `defaults` (and names), with a comment line on top. Appends. It reads back
 * as the same configuration when its values are ones that config_read_text() accepts. */
void config_write_text(const struct cert_config *config, const struct cert_config *defaults, struct buf *out);

/* "letsencrypt" -> its directory URL; an https URL -> itself; else ERR_CONFIG with the list of presets. Borrowed from static
 * storage or from `text`. */
MUST_CHECK bool config_ca_url(const char *text, const char **url, struct err *err);
/* The preset's name for a URL, else the URL's host. Returns `out`. */
const char *config_ca_name(const char *url, char out[256]);
/* A directory name for what we keep about a CA, one for each URL: "acme-v02.api.letsencrypt.org_directory". Host, port and path, with
 * '_' for what is outside [A-Za-z0-9._-]; where that would not tell two URLs apart, or is too long, "__" and a hash follow. Returns `out`. */
const char *config_ca_dir_name(const char *url, char out[256]);
#define CONFIG_DEFAULT_CA "https://acme-v02.api.letsencrypt.org/directory"
#define CONFIG_STAGING_CA "https://acme-staging-v02.api.letsencrypt.org/directory"

/* Certificate names are file names: [A-Za-z0-9._@-]{1,200}, not starting with '.' or '-'; "*.x" is stored as "_wildcard.x";
 * an IPv6 address has ':' as '_'; a name over 200 octets is cut and gets "-" and a hash. */
void config_cert_name_for(const char *first_name, char out[256]);
bool config_cert_name_valid(const char *name);

#endif
