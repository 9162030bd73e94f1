#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/url.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char scheme[] = "https://";
enum { SCHEME_LEN = sizeof scheme - 1 };

struct origin {
    const char *host;
    size_t host_len;
    long port;
};

static bool host_valid(const char *host, size_t len)
{
    if (len == 0)
        return false;
    if (host[0] == '[')
        return len > 2 && host[len - 1] == ']' && strspn(host + 1, "0123456789abcdefABCDEF:.") == len - 2;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)host[i]) && host[i] != '.' && host[i] != '-' && host[i] != '_')
            return false;
    return true;
}

static bool port_parse(const char *text, size_t len, long *port)
{
    if (len == 0 || len > 5)
        return false;
    *port = 0;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        *port = *port * 10 + (text[i] - '0');
    }
    return *port >= 1 && *port <= 65535;
}

/* The scheme and the authority of a URL; user information is refused. */
static bool origin_parse(const char *url, struct origin *out)
{
    if (strncasecmp(url, scheme, SCHEME_LEN) != 0)
        return false;
    const char *authority = url + SCHEME_LEN;
    size_t len = strcspn(authority, "/?#");
    const char *bracket = memchr(authority, ']', len);
    const char *from = bracket != NULL ? bracket : authority;
    const char *colon = memchr(from, ':', len - (size_t)(from - authority));
    out->host = authority;
    out->host_len = colon != NULL ? (size_t)(colon - authority) : len;
    out->port = 443;
    if (colon != NULL && !port_parse(colon + 1, len - out->host_len - 1, &out->port))
        return false;
    return host_valid(out->host, out->host_len);
}

bool url_valid(const char *url)
{
    struct origin origin;
    size_t len = strnlen(url, URL_MAX_BYTES);
    if (len >= URL_MAX_BYTES)
        return false;
    for (size_t i = 0; i < len; i++)
        if (url[i] <= ' ' || url[i] >= 0x7F || strchr("\"\\<>^`{|}#", url[i]) != NULL)
            return false;
    return origin_parse(url, &origin);
}

bool url_same_origin(const char *a, const char *b)
{
    struct origin x, y;
    return origin_parse(a, &x) && origin_parse(b, &y) && x.port == y.port && x.host_len == y.host_len &&
           strncasecmp(x.host, y.host, x.host_len) == 0;
}

bool url_authority(const char *url, char *out, size_t size)
{
    struct origin origin;
    if (!url_valid(url) || !origin_parse(url, &origin))
        return false;
    size_t len = strcspn(origin.host, "/?#");
    if (len >= size)
        return false;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)tolower((unsigned char)origin.host[i]);
    out[len] = '\0';
    return true;
}
