/*
 * web_kind.h - which web server, and how it is to speak TLS; shared by the configuration and the installer.
 */
#ifndef TLSUP_WEB_KIND_H
#define TLSUP_WEB_KIND_H

#include <stdbool.h>

enum web_kind { WEB_NONE, WEB_NGINX, WEB_APACHE };

static inline const char *web_kind_name(enum web_kind kind)
{
    return kind == WEB_NGINX ? "nginx" : kind == WEB_APACHE ? "apache" : "none";
}

/* Mozilla's server side TLS guideline 5.8: which visitors can come in, and by what. */
enum web_tls_profile {
    WEB_TLS_INTERMEDIATE, /* TLS 1.2 and 1.3, with forward secrecy and authenticated encryption: all browsers of the last ten years */
    WEB_TLS_MODERN,       /* TLS 1.3 alone */
    WEB_TLS_OLD,          /* TLS 1.0 and up, for visitors of the last century's end */
};

static inline const char *web_tls_profile_name(enum web_tls_profile profile)
{
    return profile == WEB_TLS_MODERN ? "modern" : profile == WEB_TLS_OLD ? "old" : "intermediate";
}

#endif
