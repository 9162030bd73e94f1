/*
 * dns_internal.h - the parts of dns.h: messages (dns_wire.c), one query to a list of servers
 * (dns_exchange.c), the way to a zone (dns_walk.c), and the questions themselves (dns.c).
 *
 * Names are text everywhere: lower case, without the final dot, "." for the root, at most 253 octets, no
 * escapes.
 */
#ifndef TLSUP_DNS_INTERNAL_H
#define TLSUP_DNS_INTERNAL_H

#include <sys/socket.h>

#include "tlsup/dns.h"

/* -- dns_wire.c: pure ------------------------------------------------------------------------------------ */

#define DNS_HEADER_BYTES 12
#define DNS_UDP_BYTES 1232 /* what fits every path without fragments */
#define DNS_MESSAGE_BYTES 65535
#define DNS_MAX_ALIASES 16

enum dns_type {
    DNS_TYPE_A = 1,
    DNS_TYPE_NS = 2,
    DNS_TYPE_CNAME = 5,
    DNS_TYPE_SOA = 6,
    DNS_TYPE_TXT = 16,
    DNS_TYPE_AAAA = 28,
    DNS_TYPE_CAA = 257,
};

enum dns_rcode {
    DNS_NOERROR = 0,
    DNS_FORMERR = 1,
    DNS_SERVFAIL = 2,
    DNS_NXDOMAIN = 3,
    DNS_NOTIMP = 4,
    DNS_REFUSED = 5,
    DNS_NOTAUTH = 9,
    DNS_NOTZONE = 10,
    DNS_BADVERS = 16, /* BADSIG in the answer to an update */
    DNS_BADKEY = 17,
    DNS_BADTIME = 18,
};

enum dns_section { DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL, DNS_SECTIONS };

struct dns_record {
    enum dns_section section;
    enum dns_type type;
    char *owner;
    /* A, AAAA: the address; NS, CNAME: the name; SOA: the primary; TXT: the strings, joined; CAA: the value.
     * A NUL octet in the latter two becomes \1: it can neither cut the text nor be taken for another one. */
    char *data;
    int flags;    /* CAA */
    char tag[16]; /* CAA; cut when longer, and then still none that we know */
};

/* Only records of class IN and the types above whose names are plain: see dns_name_clean(). */
struct dns_message {
    int rcode; /* with the bits from EDNS; for an update, the error from the answer's TSIG where it has one */
    bool authoritative;
    struct dns_record *v;
    size_t n;
};

/* Lower case, without the final dot; false when it cannot be a plain name: escapes, blanks, control
 * characters, an empty or over-long label. */
MUST_CHECK bool dns_name_clean(const char *text, char out[DNS_NAME_BYTES]);
bool dns_name_within(const char *name, const char *zone); /* the same or below */
bool dns_name_parent(char name[DNS_NAME_BYTES]);          /* in place; false at the root */

/* A query of class IN; sets the header's id to 0. Appends. False when the name cannot be put so. */
MUST_CHECK bool dns_wire_query(const char *name, enum dns_type type, bool recursive, struct buf *out);
/* Append the EDNS0 record to a query. */
void dns_wire_add_edns(struct buf *query);

enum dns_fit {
    DNS_FITS,
    DNS_FITS_NOT,  /* it does not belong to the query: keep waiting */
    DNS_TRUNCATED, /* it does, and the rest is to be had over TCP */
};
/* Is this the answer to that query? Id, opcode and the question (the zone, of an update) must be as they were
 * sent; without a question only an error is believed. */
enum dns_fit dns_wire_fits(const void *query, size_t query_len, const void *answer, size_t len);
/* False when it is malformed. An update's answer is understood by its header alone where the rest is not. */
MUST_CHECK bool dns_wire_parse(const void *data, size_t len, struct dns_message **out);
void dns_message_free(struct dns_message *message);
/* "NXDOMAIN"; "error 23" in `out` for others */
const char *dns_rcode_name(int rcode, char out[16]);
const char *dns_type_name(enum dns_type type); /* "update" for none of ours */

/* The first record of that type (and, unless NULL, owner) in a section. */
const struct dns_record *dns_message_find(const struct dns_message *message, enum dns_section section,
                                          enum dns_type type, const char *owner);
/* Where the CNAMEs in the answer section lead from `name`: the name itself, or borrowed of the message. A
 * circle ends somewhere on it. */
const char *dns_message_end(const struct dns_message *message, const char *name);

/* -- dns_exchange.c: servers, sockets, time ------------------------------------------------------------- */

#define DNS_MAX_SERVERS 32

/* A server's address, and what is known of it. One for each address, as long as the `struct dns` lives. */
struct dns_host {
    struct dns_host *next;
    char text[80]; /* "192.0.2.1#53" */
    struct sockaddr_storage address;
    socklen_t address_len;
    size_t active;        /* exchanges */
    bool without_edns;    /* it refused it */
    bool answered_by_udp; /* ever */
    bool only_tcp;        /* UDP never came back, TCP did */
    bool silent;          /* the last exchange got nothing, and no other has since */
    int64_t silent_until_ms;
    int64_t answered_ms;
};

/* "192.0.2.1", "2001:db8::1#5353", "fe80::1%eth0"; NULL when it is not an address that can be asked. */
struct dns_host *dns_host_get(struct dns *dns, const char *text);

struct dns_exchange;
typedef void dns_exchange_fn(void *ctx, struct dns_exchange *exchange);

enum dns_mode {
    DNS_RECURSIVE,     /* the servers are resolvers */
    DNS_AUTHORITATIVE, /* they should know `zone`: an answer without authority that does not lead further down
                          is a fault */
    DNS_POLL, /* the same; it is asked again and again, so a server known to be silent need not be waited for
               */
    DNS_SEND, /* an update: every answer counts */
};

struct dns_order {
    enum dns_mode mode;
    struct dns_host *const *hosts;
    size_t n_hosts; /* at most DNS_MAX_SERVERS are taken */
    const char *name;
    enum dns_type type;
    const char *zone;   /* AUTHORITATIVE, POLL */
    const void *packet; /* SEND */
    size_t packet_len;
};

struct dns_exchange {
    struct dns *dns;
    struct dns_exchange *prev, *next;
    struct dns_exchange **list; /* the one that it is in */
    enum { X_QUEUED, X_UDP, X_TCP_CONNECT, X_TCP_WRITE, X_TCP_READ, X_OVER } state;
    enum dns_mode mode;
    struct dns_host *hosts[DNS_MAX_SERVERS];
    size_t n_hosts;
    char *name, *zone;
    enum dns_type type;
    struct buf query; /* without EDNS, but for updates */
    struct buf edns;  /* the same with it */
    bool with_edns;   /* what was sent last */
    size_t step;      /* below n_hosts: by UDP; then once more, by TCP */
    uint32_t tcp_tried;
    int sent;       /* UDP: how often */
    int strays;     /* UDP: datagrams that did not fit */
    int fd;         /* -1 */
    struct buf out; /* TCP, with the length */
    size_t written;
    struct buf in; /* TCP */
    int64_t began_ms, due_ms;
    bool skip_tcp;    /* another exchange looks after this server's TCP */
    size_t elsewhere; /* servers that this machine has no way to */
    dns_exchange_fn *done;
    void *ctx;
    /* the result */
    struct dns_message *message; /* NULL: failed */
    struct dns_host *host;       /* who answered */
    int rcode;                   /* failed: the last one that a server gave, -1 = none */
    struct buf faults;           /* "192.0.2.1#53: no answer; …" */
};

/* Queue it; done() is called from dns_handle(), and the exchange is freed after. */
struct dns_exchange *dns_exchange_new(struct dns *dns, const struct dns_order *order, dns_exchange_fn *done,
                                      void *ctx);
void dns_exchange_cancel(struct dns_exchange *exchange); /* NULL is fine; done() is not called */
/* Could none of the servers be tried, for want of a route from here (an IPv6 address on a machine without)?
 */
bool dns_exchange_unreachable(const struct dns_exchange *exchange);
void dns_exchange_io(struct dns_exchange *exchange);
/* Late ones fail, queued ones start, finished ones are delivered; true when there was any of that. */
bool dns_exchanges_run(struct dns *dns);
int64_t dns_exchanges_due_ms(const struct dns *dns); /* INT64_MAX = never, 0 = now */

/* -- dns_walk.c: from a name to its zone ---------------------------------------------------------------- */

#define DNS_MAX_NS 16

struct dns_task;

/* One query's fate, remembered: as long as a task holds it, and for a short time after where a resolver
 * answered. */
struct dns_lookup {
    struct dns_lookup *next; /* in its bucket, when shared */
    struct dns *dns;
    char *key;
    bool shared;
    size_t refs;
    enum { LOOKUP_PENDING, LOOKUP_OK, LOOKUP_FAILED } state;
    int64_t done_ms;
    struct dns_exchange *exchange; /* while pending */
    struct dns_message *message;   /* OK */
    int rcode;                     /* FAILED: -1 = nobody answered */
    char *faults;                  /* FAILED */
};

enum dns_step { DNS_PENDING, DNS_DONE, DNS_FAILED };

struct dns_walk {
    bool through_wildcards; /* follow an alias that comes of a wildcard, too */
    char name[DNS_NAME_BYTES];
    char zone[DNS_NAME_BYTES];
    char primary[DNS_NAME_BYTES]; /* "" = not known */
    char ns[DNS_MAX_NS][DNS_NAME_BYTES];
    size_t n_ns;
    struct dns_host *hosts[DNS_MAX_SERVERS];
    size_t ns_of[DNS_MAX_SERVERS]; /* index into ns */
    size_t n_hosts;
};

/* Run from the start again whenever an answer has come: what was asked before is remembered by the task. */
enum dns_step dns_walk_run(struct dns_task *task, struct dns_walk *walk);
/* The addresses of a name, by the resolvers; none is no failure. */
enum dns_step dns_walk_addresses(struct dns_task *task, const char *name, struct strlist *out);

/* -- dns.c ---------------------------------------------------------------------------------------------- */

struct dns_check; /* one server that should have the record */

struct dns_task {
    struct dns *dns;
    struct dns_task *prev, *next;
    enum dns_kind kind;
    char *typed; /* the name as asked */
    char name[DNS_NAME_BYTES];
    char *value;
    struct dns_host **resolvers;
    size_t n_resolvers;
    struct dns_host **servers;
    size_t n_servers;
    struct buf packet;
    int64_t timeout_ms, deadline_ms, due_ms;
    bool runnable;
    dns_done_fn *done;
    void *ctx;
    struct dns_lookup **held;
    size_t n_held;
    struct dns_check *checks;
    size_t n_checks;
    struct dns_exchange *update;
    struct dns_answer answer;
    struct err err;
    struct err earlier; /* of an attempt before this one */
};

#define DNS_BUCKETS 256

struct dns {
    struct dns_host *hosts;
    struct dns_host **resolvers;
    size_t n_resolvers;
    struct dns_exchange *queued, *queued_last, *active, *finished;
    size_t n_active;
    struct dns_task *tasks;
    struct dns_lookup *shared[DNS_BUCKETS];
    unsigned char datagram[DNS_MESSAGE_BYTES];
};

/* dns_new() with another file than /etc/resolv.conf. */
struct dns *dns_new_from(const char *resolv_conf);
/* Ask resolvers (zone NULL), or the servers of a zone; the answer of the first time is kept for the task.
 * NULL, and task->err, when it asked for too much. */
const struct dns_lookup *dns_task_lookup(struct dns_task *task, const char *zone,
                                         struct dns_host *const *hosts, size_t n_hosts, const char *name,
                                         enum dns_type type);

#endif
