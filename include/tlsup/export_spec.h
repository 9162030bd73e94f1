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
 *   owner=USER[:GROUP] or :GROUP    names or numbers; default root's, or those of the file that is replaced
 *   mode=0640                        default 0600, certificates alone 0644; what others may write is refused
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

/* `out` is set on success only; the caller clears it. ERR_CONFIG: the text tells what is wrong, and what is accepted. */
MUST_CHECK bool export_spec_parse(const char *text, struct export_spec *out, struct err *err);
void export_spec_clear(struct export_spec *spec);
/* As it is parsed; the caller frees. */
char *export_spec_text(const struct export_spec *spec);
const char *export_format_name(enum export_format format);
MUST_CHECK bool export_format_parse(const char *word, enum export_format *out, struct err *err);

#endif
