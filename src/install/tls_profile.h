/*
 * tls_profile.h - Mozilla's server side TLS guideline 5.8, as both web servers' lines need it. Internal to install/.
 *
 * Groups are left to OpenSSL: its default is the guideline's list, with ML-KEM from 3.5 on.
 */
#ifndef TLSUP_INSTALL_TLS_PROFILE_H
#define TLSUP_INSTALL_TLS_PROFILE_H

#include <stdbool.h>

#include "tlsup/web_kind.h"

struct tls_profile {
    const char *nginx_protocols;  /* "TLSv1.2 TLSv1.3" */
    const char *apache_protocols; /* "-all +TLSv1.2 +TLSv1.3" */
    const char *ciphers;          /* OpenSSL's names, of TLS 1.2 and before; NULL: the profile has none of those */
    bool server_order;            /* the server's order of ciphers counts */
};

/* Static. `openssl_number` as in struct web: from 3.0 on the old protocols need a lower security level. */
const struct tls_profile *tls_profile_of(enum web_tls_profile profile, int openssl_number);

#endif
