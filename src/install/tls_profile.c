/*
 * tls_profile.c - Mozilla's server side TLS guideline 5.8.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "tls_profile.h"

#include <stddef.h>

enum { OPENSSL_3 = 3000000 };

#define INTERMEDIATE                                                                                         \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"               \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define OLD                                                                                                  \
    INTERMEDIATE                                                                                             \
    ":ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA:"        \
    "ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA:ECDHE-RSA-AES256-SHA:"         \
    "AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:AES256-SHA256:AES128-SHA:AES256-SHA:DES-CBC3-SHA"

static const struct tls_profile intermediate = {
    .nginx_protocols = "TLSv1.2 TLSv1.3",
    .apache_protocols = "-all +TLSv1.2 +TLSv1.3",
    .ciphers = INTERMEDIATE,
};
static const struct tls_profile modern = {
    .nginx_protocols = "TLSv1.3",
    .apache_protocols = "-all +TLSv1.3",
};
static const struct tls_profile old = {
    .nginx_protocols = "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3",
    .apache_protocols = "-all +TLSv1 +TLSv1.1 +TLSv1.2 +TLSv1.3",
    .ciphers = OLD,
    .server_order = true,
};
/* OpenSSL 3 signs nothing with SHA-1, and so speaks nothing before TLS 1.2, above level 0. */
static const struct tls_profile old_3 = {
    .nginx_protocols = "TLSv1 TLSv1.1 TLSv1.2 TLSv1.3",
    .apache_protocols = "-all +TLSv1 +TLSv1.1 +TLSv1.2 +TLSv1.3",
    .ciphers = "@SECLEVEL=0:" OLD,
    .server_order = true,
};

const struct tls_profile *tls_profile_of(enum web_tls_profile profile, int openssl_number)
{
    if (profile == WEB_TLS_MODERN)
        return &modern;
    if (profile == WEB_TLS_OLD)
        return openssl_number >= OPENSSL_3 || openssl_number == 0 ? &old_3 : &old;
    return &intermediate;
}
