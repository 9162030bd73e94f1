/*
 * export_spec.h - copies of a certificate in other forms, as people write them: "FORMAT PATH [WORD=VALUE...]".
 *
 *   combined  PATH    one PEM file: the key, then the full chain (HAProxy, lighttpd, Postfix's chain files)
 *   fullchain, cert, chain, key  PATH     one PEM file
 *   pem       DIR     privkey.pem, cert.pem, chain.pem, fullchain.pem in a directory of their own; the last to be renamed is fullchain.pem
 *   der       DIR     privkey.der (PKCS#8), cert.der, chain-1.der... in a directory
 *   p12       PATH    PKCS#12: key, leaf, chain
 *   jks       PATH    PKCS#12 as Java's keystores read it, under any file name: a friendly name is always there ("1" when none is given)
 *
 *   owner=USER[:GROUP] or :GROUP    names or numbers; USER alone brings the group that it logs in with. Default: those of the file that is replaced, else ours
 *   mode=0640                        default: that of the file that is replaced unless it is wider than this, else 0600, certificates alone 0644. pem, der: of the key, certificates beside it
 *                                    are 0644. What others may write, and keys that all may read, are refused
 *   password-file=/PATH              p12, jks: the password, its first line; none: an empty one (p12 alone; jks needs one)
 *   friendly-name=TEXT               p12, jks: without white space; default the certificate's name
 *   legacy=yes                       p12, jks: 3DES and SHA-1, for programs of before 2021
 */
#ifndef TLSUP_EXPORT_SPEC_H
#define TLSUP_EXPORT_SPEC_H

#include <sys/types.h>

#include "tlsup/err.h"

enum export_format {
    EXPORT_COMBINED,
    EXPORT_FULLCHAIN,
    EXPORT_CERT,
    EXPORT_CHAIN,
    EXPORT_KEY,
    EXPORT_PEM,
    EXPORT_DER,
    EXPORT_P12,
    EXPORT_JKS,
    EXPORT_FORMATS
};

struct export_spec {
    enum export_format format;
    char *path;          /* absolute; "-" = standard output (never in a file of ours; not with pem, der) */
    char *owner;         /* as written, "user:group"; NULL = not given. Looked up when it is used */
    mode_t mode;         /* 0 = not given */
    char *password_file; /* NULL */
    char *friendly_name; /* NULL */
    bool legacy;
};

/* `out` is set on success only; the caller clears it. ERR_CONFIG: the text tells what is wrong, and what is accepted. Words are separated by white space, so a path with white space cannot be written so, and
 * neither can standard output. */
MUST_CHECK bool export_spec_parse(const char *text, struct export_spec *out, struct err *err);
void export_spec_clear(struct export_spec *spec);
/* As it is parsed; the caller frees. */
char *export_spec_text(const struct export_spec *spec);
/* For a command line: one of the words above ("owner", "mode", ...) into a spec that has its format, or "path" (white space and "-" are fine here); then what does not go together. ERR_CONFIG. */
MUST_CHECK bool export_spec_set(struct export_spec *spec, const char *word, const char *value, struct err *err);
MUST_CHECK bool export_spec_check(const struct export_spec *spec, struct err *err);
bool export_format_has_key(enum export_format format);
bool export_format_is_directory(enum export_format format); /* pem, der */
bool export_format_is_pkcs12(enum export_format format);    /* p12, jks */
const char *export_format_name(enum export_format format);
MUST_CHECK bool export_format_parse(const char *word, enum export_format *out, struct err *err);

#endif
