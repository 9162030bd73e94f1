/*
 * verify.h - where else than in the web server a certificate must be seen: "HOST:PORT[/PROTOCOL]".
 *
 * HOST is a name (which is also the SNI name) or an address ("[2001:db8::1]:465"); the addresses of a name are all asked, IPv4 and IPv6. PROTOCOL is what is spoken before TLS:
 * smtp, imap, pop3, sieve, ldap, postgres, mysql, xmpp, xmpp-server, ftp, nntp; none: TLS from the first byte. Where it is left out, the well-known port decides (25 and 587 smtp, 143 imap, 110
 * pop3, 4190 sieve, 389 ldap, 5432 postgres, 3306 mysql, 5222 xmpp, 5269 xmpp-server, 21 ftp, 119 nntp); "tls" says that there is none after all.
 */
#ifndef TLSUP_VERIFY_H
#define TLSUP_VERIFY_H

#include "tlsup/err.h"

enum starttls {
    STARTTLS_NONE,
    STARTTLS_SMTP,
    STARTTLS_IMAP,
    STARTTLS_POP3,
    STARTTLS_SIEVE,
    STARTTLS_LDAP,
    STARTTLS_POSTGRES,
    STARTTLS_MYSQL,
    STARTTLS_XMPP,
    STARTTLS_XMPP_SERVER,
    STARTTLS_FTP,
    STARTTLS_NNTP,
    STARTTLS_COUNT
};

struct verify_target {
    char host[256]; /* a name in A-labels, or a numeric address without brackets */
    bool is_address;
    int port;
    enum starttls protocol;
};

/* ERR_CONFIG tells what is accepted. */
MUST_CHECK bool verify_target_parse(const char *text, struct verify_target *out, struct err *err);
const char *starttls_name(enum starttls protocol); /* "tls" for none */

#endif
