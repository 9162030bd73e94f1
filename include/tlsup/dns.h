/*
 * dns.h - questions to the domain name system, many at once, without ever blocking: the owner polls its descriptors, as with responder.h.
 *
 * UDP with a random source port and id, TCP when truncated; the question section must come back as it was sent. EDNS0. IPv4 and IPv6 servers. Each question ends by
 * its deadline. Runs in a process of its own (the resolver): what comes from the network is parsed there and nowhere else. Needs libldns (HAVE_LDNS);
 * without it every question fails with ERR_NETWORK saying so.
 */
#ifndef TLSUP_DNS_H
#define TLSUP_DNS_H

#include <poll.h>
#include <stdint.h>

#include "tlsup/buf.h"
#include "tlsup/dns_record.h"
#include "tlsup/err.h"

struct dns; /* heap */

enum dns_kind {
    /* Follow CNAMEs from `name`, and find the zone that the end of them is in: answer.name = where a record must be put, answer.zone, and
     * answer.servers = the addresses ("192.0.2.1#53", "2001:db8::1#53"; at most 32, of 16 NS names) of the zone's primary (SOA MNAME) first, then of the other NS. A name that
     * does not exist yet is the normal case, and the resolvers are not asked about it (they would remember that it is not there): the zone's servers are. An alias that comes of
     * a wildcard is not followed: a record at the name itself takes precedence. ERR_CONFIG: over 16 CNAMEs, a circle, in no zone. ERR_NETWORK: nobody answers. */
    DNS_WHERE,
    /* Wait until every authoritative server of the zone (found as above) has `value` among the TXT records of `name`; asks each again every second or so. At the deadline:
     * ERR_TIMEOUT naming the servers that lack it and what they have instead. A server that does not answer at all counts as lacking it, unless another of the same NS name
     * (other address family) has it; one that this machine has no route to (IPv6 where there is none) does not count while another server has it; nor does a
     * primary that is not among the NS. */
    DNS_TXT_EVERYWHERE,
    /* The TXT values of `name` as the zone's servers have them (through CNAMEs): answer.values, each value's strings joined (a NUL octet is \1 there). None is success. */
    DNS_TXT,
    /* The relevant CAA set of `name` ("*." left out): up the tree as RFC 8659 section 3 has it, through CNAMEs: answer.caa, answer.name = where it was found ("" = nowhere). SERVFAIL or no answer
     * -> ERR_NETWORK; a value too long for struct dns_caa -> ERR_PROTOCOL. */
    DNS_CAA,
    /* The addresses of the host `name`, as recursive servers have them: answer.servers, without a port. None is a failure. */
    DNS_ADDRESSES,
    /* Send `packet` (a signed update, RFC 2136) to the first of `servers` that answers, whatever it says: answer.rcode (16, 17, 18 where its TSIG
     * record gives BADSIG, BADKEY, BADTIME as the reason of NOTAUTH), answer.servers = that one. */
    DNS_UPDATE,
    DNS_KINDS,
};

struct dns_question {
    enum dns_kind kind;
    const char *name;
    const char *value;               /* TXT_EVERYWHERE */
    const struct strlist *resolvers; /* recursive servers, as in `servers`; NULL or empty = those of /etc/resolv.conf (read at dns_new()) */
    const struct strlist *servers;   /* UPDATE */
    const void *packet;              /* UPDATE */
    size_t packet_len;
    int64_t timeout_ms;              /* in all */
};

struct dns_answer {
    char name[DNS_NAME_BYTES];
    char zone[DNS_NAME_BYTES];
    struct strlist servers;
    struct strlist values;
    struct dns_caa *caa;
    size_t n_caa;
    int rcode;
};

/* `answer` is NULL when it failed, and `err` says why; both borrowed. It may call dns_ask(), not dns_free(). */
typedef void dns_done_fn(void *ctx, const struct dns_answer *answer, const struct err *err);

/* Reads /etc/resolv.conf ("nameserver" lines), before a sandbox. Without one: 127.0.0.1. After it no other system calls than socket (UDP, TCP), connect, sendto, recvfrom,
 * getsockopt, getpeername, close, getrandom, clock_gettime, write (the log) and what malloc needs; for an address with a scope ("fe80::1%eth0") that resolv.conf does not have, ioctl. */
struct dns *dns_new(void);
void dns_free(struct dns *dns); /* questions under way are dropped without a word */
/* Copies what it needs of `question`. `done` is called exactly once, from dns_handle(), never from here. */
void dns_ask(struct dns *dns, const struct dns_question *question, dns_done_fn *done, void *ctx);
size_t dns_pollfds(const struct dns *dns, struct pollfd *fds, size_t max);
#define DNS_MAX_POLLFDS 256
void dns_handle(struct dns *dns, const struct pollfd *fds, size_t n);
int dns_timeout_ms(const struct dns *dns); /* -1 = none */
bool dns_available(void); /* was it built with libldns? */

#endif
