/*
 * url.h - the little that is needed of https URLs: is it one, and what is its origin?
 */
#ifndef TLSUP_URL_H
#define TLSUP_URL_H

#include <stdbool.h>
#include <stddef.h>

#define URL_MAX_BYTES 1024

/* An absolute https URL of printable ASCII without spaces, quotes, user information or fragment, shorter than URL_MAX_BYTES.
 * Everything else that a CA may send as a URL is refused. */
bool url_valid(const char *url);
/* Same scheme, host (any case) and port (443 when absent). Both must be valid. */
bool url_same_origin(const char *a, const char *b);
/* "host" or "host:port", lower case, into `out`; false when it is no valid URL. */
bool url_authority(const char *url, char *out, size_t size);

#endif
