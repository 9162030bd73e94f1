/*
 * name.h - the names that a certificate can carry.
 */
#ifndef TLSUP_NAME_H
#define TLSUP_NAME_H

#include <stdbool.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

#define NAME_MAX_BYTES 254 /* 253 octets and the NUL */

/* Normalise what a person typed into the form that goes into an order: lower case, no final dot, IDNA 2008
 * A-labels (UTS 46 non-transitional), IP addresses in RFC 5952 text, a leading "*." kept. Refuses with
 * ERR_NAME, saying why: empty, too long, a bad character (and which), a label over 63 octets, a single label,
 * a scheme or path or port ("https://example.org/": the advice gives the name in it), an e-mail address,
 * special-use names (.local, .localhost, .onion, .internal, .home.arpa, example.org's siblings are NOT special:
 * the CA decides; .test is let through for test CAs). */
MUST_CHECK bool name_normalize(const char *typed, char out[NAME_MAX_BYTES], struct err *err);
/* Normalise a list, dropping duplicates (kept in first order). */
MUST_CHECK bool name_normalize_list(const struct strlist *typed, struct strlist *out, struct err *err);
/* How to show it: "xn--bcher-kva.example (bücher.example)" for an IDN, else the name itself. Returns out. */
const char *name_display(const char *ascii, char out[2 * NAME_MAX_BYTES + 4]);
bool name_is_ip(const char *name);
bool name_is_wildcard(const char *name);
/* Does `pattern` (a certificate name, maybe "*.x") cover `name`? RFC 9525: one leftmost label only. */
bool name_matches(const char *pattern, const char *name);
/* The domain that somebody registered, of a normalised name: by the public suffix list where the build has libpsl, else its last two labels, or three below a well-known suffix
 * ("co.uk"). A wildcard counts as what is below it, a public suffix as itself. An IPv4 address is its own; an IPv6 address gives its network, "2001:db8::/64".
 * false when it is no name. */
bool name_registered_domain(const char *name, char out[NAME_MAX_BYTES]);

#endif
