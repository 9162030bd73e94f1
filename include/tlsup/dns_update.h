/*
 * dns_update.h - dynamic updates (RFC 2136) with TSIG (RFC 8945): the packet alone, made and signed here, where the key is; another process sends it.
 *
 * The answer's signature is not looked at: an update is believed when the zone's servers show it.
 */
#ifndef TLSUP_DNS_UPDATE_H
#define TLSUP_DNS_UPDATE_H

#include "tlsup/buf.h"
#include "tlsup/err.h"

struct dns_tsig {
    char name[256];      /* the key's name, "" = unsigned */
    char algorithm[32];  /* "hmac-sha256", "hmac-sha512", "hmac-sha1", "hmac-md5", … */
    char secret[256];    /* base64 */
};

/* A key file as BIND's tsig-keygen and rndc-confgen write it: key "NAME" { algorithm ...; secret "..."; }; with comments, or nsupdate's "alg:name:secret" on a line. The file must not be readable by
 * everybody (ERR_PERMISSION). */
MUST_CHECK bool dns_tsig_read(const char *path, struct dns_tsig *out, struct err *err);

enum dns_update_act { DNS_UPDATE_ADD, DNS_UPDATE_DELETE };
/* The packet that adds or deletes exactly this one TXT record (others of the same name stay). A value over 255 octets is split. `tsig` NULL = unsigned. Appends. */
MUST_CHECK bool dns_update_make(enum dns_update_act act, const char *zone, const char *name, const char *value, int ttl_s,
                                const struct dns_tsig *tsig, struct buf *out, struct err *err);
/* What an rcode means, as an error with advice; true for NOERROR. `server` and `zone` are named. */
MUST_CHECK bool dns_update_result(int rcode, const char *server, const char *zone, const struct dns_tsig *tsig, struct err *err);

#endif
