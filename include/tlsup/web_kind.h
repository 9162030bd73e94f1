/*
 * web_kind.h - which web server; shared by the configuration and the installer.
 */
#ifndef TLSUP_WEB_KIND_H
#define TLSUP_WEB_KIND_H

#include <stdbool.h>

enum web_kind { WEB_NONE, WEB_NGINX, WEB_APACHE };

static inline const char *web_kind_name(enum web_kind kind)
{
    return kind == WEB_NGINX ? "nginx" : kind == WEB_APACHE ? "apache" : "none";
}

#endif
