/*
 * test_dns.c - the DNS engine against servers that answer as told: well, badly, with malice, or not at all.
 *
 * Everything runs in this one thread, in a network namespace where port 53 of all of 127/8 and ::1 is free.
 * The clock is frozen, and moved on whenever nothing happens: silence costs no time. Real servers (BIND,
 * Knot) are asked in test_dns_update.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../src/challenge/dns_internal.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define FROZEN_S 1700000000
#define QUIET_MS 5       /* of real time without an event: then the clock moves on */
#define MAX_ROUNDS 40000 /* a loop that lasts longer has failed */
#define MAX_FAKES 40
#define MAX_STREAMS 64
#define RESOLVER "127.0.0.53"

static bool have_network;

/* -- packets --------------------------------------------------------------------------------------------- */

static void put16(struct buf *out, unsigned value)
{
    buf_addc(out, (char)(value >> 8));
    buf_addc(out, (char)value);
}

static void put_name(struct buf *out, const char *name)
{
    while (*name != '\0' && strcmp(name, ".") != 0) {
        size_t len = strcspn(name, ".");
        buf_addc(out, (char)len);
        buf_add(out, name, len);
        name += len + (name[len] == '.' ? 1 : 0);
    }
    buf_addc(out, '\0');
}

static void set16(struct buf *out, size_t at, unsigned value)
{
    out->data[at] = (char)(value >> 8);
    out->data[at + 1] = (char)value;
}

static unsigned get16(const void *at)
{
    const unsigned char *bytes = at;
    return (unsigned)bytes[0] << 8 | bytes[1];
}

static void put_record(struct buf *out, const char *owner, enum dns_type type, const void *rdata, size_t len)
{
    put_name(out, owner);
    put16(out, (unsigned)type);
    put16(out, 1);
    buf_add(out, "\0\0\0\1", 4);
    put16(out, (unsigned)len);
    buf_add(out, rdata, len);
}

static void put_txt(struct buf *rdata, const char *text)
{
    size_t len = strlen(text), at = 0;
    do {
        size_t part = len - at > 255 ? 255 : len - at;
        buf_addc(rdata, (char)part);
        buf_add(rdata, text + at, part);
        at += part;
    } while (at < len);
}

static void make_rdata(enum dns_type type, const char *data, struct buf *rdata)
{
    unsigned char address[16];
    const char *space = strchr(data, ' ');
    switch (type) {
    case DNS_TYPE_A:
        assert_int_equal(inet_pton(AF_INET, data, address), 1);
        buf_add(rdata, address, 4);
        break;
    case DNS_TYPE_AAAA:
        assert_int_equal(inet_pton(AF_INET6, data, address), 1);
        buf_add(rdata, address, 16);
        break;
    case DNS_TYPE_TXT:
        put_txt(rdata, data);
        break;
    case DNS_TYPE_CAA: /* FLAGS:TAG VALUE */
        assert_non_null(space);
        buf_addc(rdata, (char)strtol(data, NULL, 10));
        data = strchr(data, ':') + 1;
        buf_addc(rdata, (char)(space - data));
        buf_add(rdata, data, (size_t)(space - data));
        buf_adds(rdata, space + 1);
        break;
    case DNS_TYPE_SOA:
        put_name(rdata, data);
        put_name(rdata, "hostmaster.invalid");
        for (int i = 0; i < 5; i++)
            buf_add(rdata, "\0\0\0\1", 4);
        break;
    case DNS_TYPE_NS:
    case DNS_TYPE_CNAME:
        put_name(rdata, data);
        break;
    }
}

/* -- servers that answer as told ------------------------------------------------------------------------ */

enum manner {
    GOOD,
    DEAD,           /* takes datagrams and connections, and says nothing */
    DROPS_UDP,      /* answers over TCP alone */
    WRONG_ID,       /* floods with guesses over UDP; good over TCP */
    WRONG_QUESTION, /* the same */
    WRONG_SOURCE,   /* a stranger answers, with a lie; then it answers itself */
    TRUNCATES,      /* over UDP */
    CLOSES,         /* TCP, in the middle of the answer; truncates over UDP */
    CLOSES_EMPTY,   /* TCP, at once */
    LOOPS,          /* compression pointers that point to themselves */
    GARBAGE,        /* a good header and question, then noise */
    SHORT,          /* three octets, then nothing */
    LAME,           /* answers, without authority */
    NO_EDNS,        /* FORMERR without a question to what it does not know */
    NOT_EDNS_DROPS, /* says nothing to EDNS */
    SAYS_REFUSED,
    SAYS_SERVFAIL,
    UPPER_CASE, /* the question comes back in capitals */
};

struct fake {
    int udp, tcp;
    char address[64];
    enum manner manner;
    bool recursive;
    const char *const *records; /* "OWNER TYPE DATA" */
    const char *more;           /* one more record, which may come later */
    int queries;
    struct strlist names; /* that it was asked about */
    int rcode;            /* for updates */
    const char *extra;    /* raw bytes behind the answer of an update */
    size_t extra_len;
};

struct stream {
    int fd;
    struct fake *fake;
    struct buf in, out;
    size_t sent;
    bool close_after;
};

static struct fake fakes[MAX_FAKES];
static size_t n_fakes;
static struct stream streams[MAX_STREAMS];
static int bad_udp_source = -1;

struct entry {
    char owner[300];
    enum dns_type type;
    const char *data;
};

static bool parse_entry(const char *line, struct entry *out)
{
    static const struct {
        const char *name;
        enum dns_type type;
    } types[] = {
        {"A", DNS_TYPE_A},     {"AAAA", DNS_TYPE_AAAA}, {"NS", DNS_TYPE_NS},   {"CNAME", DNS_TYPE_CNAME},
        {"SOA", DNS_TYPE_SOA}, {"TXT", DNS_TYPE_TXT},   {"CAA", DNS_TYPE_CAA},
    };
    char type[8];
    int at = 0;
    if (sscanf(line, "%299s %7s %n", out->owner, type, &at) < 2)
        return false;
    out->data = line + at;
    for (size_t i = 0; i < COUNT_OF(types); i++)
        if (strcmp(types[i].name, type) == 0)
            out->type = types[i].type;
    return true;
}

static const char *line_of(const struct fake *fake, size_t i)
{
    static const char *const none[] = {NULL};
    const char *const *records = fake->records != NULL ? fake->records : none;
    size_t n = 0;
    while (records[n] != NULL) {
        if (n == i)
            return records[n];
        n++;
    }
    return i == n ? fake->more : NULL;
}

static bool owner_matches(const char *owner, const char *name)
{
    if (strcmp(owner, name) == 0)
        return true;
    return strncmp(owner, "*.", 2) == 0 && strcmp(name, owner + 2) != 0 && dns_name_within(name, owner + 2);
}

/* Exact owners take precedence over wildcards. */
static bool exists(const struct fake *fake, const char *name)
{
    struct entry entry;
    for (size_t i = 0; line_of(fake, i) != NULL; i++)
        if (parse_entry(line_of(fake, i), &entry) && dns_name_within(entry.owner, name))
            return true;
    return false;
}

static unsigned add_matching(const struct fake *fake, const char *name, enum dns_type type, const char *shown,
                             struct buf *out)
{
    unsigned n = 0;
    struct entry entry;
    bool exact = exists(fake, name);
    for (size_t i = 0; line_of(fake, i) != NULL; i++) {
        AUTO_BUF rdata = BUF_INIT;
        if (!parse_entry(line_of(fake, i), &entry) || entry.type != type ||
            !(exact ? strcmp(entry.owner, name) == 0 : owner_matches(entry.owner, name)))
            continue;
        make_rdata(type, entry.data, &rdata);
        put_record(out, shown, type, rdata.data, rdata.len);
        n++;
    }
    return n;
}

static const char *target_of(const struct fake *fake, const char *name)
{
    struct entry entry;
    bool exact = exists(fake, name);
    for (size_t i = 0; line_of(fake, i) != NULL; i++)
        if (parse_entry(line_of(fake, i), &entry) && entry.type == DNS_TYPE_CNAME &&
            (exact ? strcmp(entry.owner, name) == 0 : owner_matches(entry.owner, name)))
            return entry.data;
    return NULL;
}

/* The deepest owner of that type that the name is in. */
static bool enclosing(const struct fake *fake, const char *name, enum dns_type type, char out[300])
{
    struct entry entry;
    bool found = false;
    for (size_t i = 0; line_of(fake, i) != NULL; i++)
        if (parse_entry(line_of(fake, i), &entry) && entry.type == type &&
            dns_name_within(name, entry.owner) && (!found || strlen(entry.owner) > strlen(out))) {
            strcpy(out, entry.owner);
            found = true;
        }
    return found;
}

struct question {
    char name[300];
    enum dns_type type;
    size_t end;
    bool edns;
};

static void parse_question(const struct buf *query, struct question *out)
{
    const unsigned char *bytes = (const unsigned char *)query->data;
    size_t at = 12, len = 0;
    while (bytes[at] != 0) {
        memcpy(out->name + len, bytes + at + 1, bytes[at]);
        len += bytes[at];
        out->name[len++] = '.';
        at += (size_t)bytes[at] + 1;
    }
    out->name[len > 0 ? len - 1 : 0] = '\0';
    out->type = (enum dns_type)get16(bytes + at + 1);
    out->end = at + 5;
    out->edns = bytes[11] != 0;
}

/* Counts of the three sections. */
static void fill_answer(const struct fake *fake, const struct question *question, struct buf *out, int *rcode)
{
    char name[300], zone[300], cut[300];
    unsigned counts[3] = {0};
    strcpy(name, question->name);
    for (int hops = 0; hops < 20; hops++) {
        const char *target = target_of(fake, name);
        if (target == NULL || question->type == DNS_TYPE_CNAME)
            break;
        counts[0] += add_matching(fake, name, DNS_TYPE_CNAME, name, out);
        strcpy(name, target);
        if (!fake->recursive)
            break;
    }
    unsigned found = add_matching(fake, name, question->type, name, out);
    counts[0] += found;
    bool has_zone = enclosing(fake, name, DNS_TYPE_SOA, zone);
    bool has_cut = enclosing(fake, name, DNS_TYPE_NS, cut) && has_zone && strcmp(cut, zone) != 0 &&
                   dns_name_within(cut, zone) && !fake->recursive;
    if (found == 0 && has_cut) {
        counts[1] = add_matching(fake, cut, DNS_TYPE_NS, cut, out);
        struct entry entry;
        for (size_t i = 0; line_of(fake, i) != NULL; i++)
            if (parse_entry(line_of(fake, i), &entry) && entry.type == DNS_TYPE_NS &&
                strcmp(entry.owner, cut) == 0)
                counts[2] += add_matching(fake, entry.data, DNS_TYPE_A, entry.data, out);
        out->data[2] = (char)(out->data[2] & ~0x04);
    } else if (found == 0 && has_zone) {
        counts[1] = add_matching(fake, zone, DNS_TYPE_SOA, zone, out);
        *rcode = exists(fake, name) ? DNS_NOERROR : DNS_NXDOMAIN;
    } else if (counts[0] == 0) {
        *rcode = fake->recursive ? DNS_SERVFAIL : DNS_REFUSED;
    }
    for (size_t i = 0; i < 3; i++)
        set16(out, 6 + 2 * i, counts[i]);
}

static void good_answer(struct fake *fake, const struct buf *query, struct buf *out)
{
    struct question question;
    int rcode = 0;
    parse_question(query, &question);
    strlist_add(&fake->names, question.name);
    buf_add(out, query->data, question.end);
    bool update = ((unsigned char)query->data[2] >> 3 & 0xF) == 5;
    out->data[2] = (char)(query->data[2] | 0x80 | (fake->manner == LAME || update ? 0 : 0x04));
    memset(out->data + 6, 0, 6);
    if (update)
        rcode = fake->rcode;
    else if (fake->manner == SAYS_REFUSED)
        rcode = DNS_REFUSED;
    else if (fake->manner == SAYS_SERVFAIL)
        rcode = DNS_SERVFAIL;
    else
        fill_answer(fake, &question, out, &rcode);
    if (update && fake->extra != NULL) {
        buf_add(out, fake->extra, fake->extra_len);
        out->data[11] = 1;
    }
    out->data[3] = (char)(fake->recursive ? 0x80 | rcode : rcode);
    if (fake->manner == UPPER_CASE)
        for (size_t i = 12; i < question.end - 4; i++)
            if (out->data[i] >= 'a' && out->data[i] <= 'z')
                out->data[i] = (char)(out->data[i] - ('a' - 'A'));
}

static bool truncates(const struct fake *fake, const struct buf *answer)
{
    return fake->manner == TRUNCATES || fake->manner == CLOSES || fake->manner == CLOSES_EMPTY ||
           answer->len > 1232;
}

static void send_to(int fd, const struct sockaddr_storage *to, socklen_t to_len, const struct buf *packet)
{
    (void)!sendto(fd, packet->data, packet->len, 0, (const struct sockaddr *)to, to_len);
}

static void shorten(struct buf *answer, size_t len)
{
    answer->len = len < answer->len ? len : answer->len;
}

/* A lie that fits in all but what `manner` says. */
static void flood(struct fake *fake, const struct buf *query, const struct sockaddr_storage *to,
                  socklen_t to_len)
{
    for (int i = 0; i < 40; i++) {
        AUTO_BUF lie = BUF_INIT;
        good_answer(fake, query, &lie);
        if (fake->manner == WRONG_ID)
            lie.data[0] = (char)(lie.data[0] + i + 1);
        else
            lie.data[13] = (char)(lie.data[13] == 'x' ? 'y' : 'x');
        send_to(fake->udp, to, to_len, &lie);
    }
}

static void stranger(const struct fake *fake, const struct buf *query, const struct sockaddr_storage *to,
                     socklen_t to_len)
{
    static const char *const lies[] = {". SOA liar.invalid", NULL};
    struct fake liar = *fake;
    AUTO_BUF lie = BUF_INIT;
    liar.records = lies;
    liar.more = NULL;
    liar.names = (struct strlist)STRLIST_INIT;
    good_answer(&liar, query, &lie);
    strlist_clear(&liar.names);
    send_to(bad_udp_source, to, to_len, &lie);
}

/* Make `answer` bad, if that is the manner; false when nothing is to be sent. */
static bool spoil(const struct fake *fake, const struct buf *query, struct buf *answer, bool tcp)
{
    struct question question;
    parse_question(query, &question);
    switch (fake->manner) {
    case DEAD:
        return false;
    case DROPS_UDP:
    case WRONG_ID:
    case WRONG_QUESTION:
        return tcp;
    case LOOPS: /* one answer, whose owner points to itself */
        shorten(answer, question.end);
        set16(answer, 6, 1);
        set16(answer, 8, 0);
        put16(answer, 0xC000 | (unsigned)question.end);
        buf_add(answer, "\0\20\0\1\0\0\0\1\0\2\1x", 12);
        return true;
    case GARBAGE:
        shorten(answer, question.end);
        set16(answer, 6, 0xFFFF);
        buf_adds(answer, "\377\376\1this is not what the header said");
        return true;
    case SHORT:
        shorten(answer, 3);
        return true;
    case NO_EDNS:
        if (question.edns) {
            shorten(answer, 12);
            memset(answer->data + 4, 0, 8);
            answer->data[3] = DNS_FORMERR;
        }
        return true;
    case NOT_EDNS_DROPS:
        return !question.edns;
    default:
        return true;
    }
}

static void serve_udp(struct fake *fake)
{
    char block[2048];
    struct sockaddr_storage from;
    socklen_t from_len = sizeof from;
    ssize_t len = recvfrom(fake->udp, block, sizeof block, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
    AUTO_BUF query = BUF_INIT, answer = BUF_INIT;
    if (len < 12)
        return;
    fake->queries++;
    buf_add(&query, block, (size_t)len);
    good_answer(fake, &query, &answer);
    if (truncates(fake, &answer)) {
        struct question question;
        parse_question(&query, &question);
        shorten(&answer, question.end + 3); /* in the middle of a record */
        answer.data[2] = (char)(answer.data[2] | 0x02);
    }
    if (fake->manner == WRONG_ID || fake->manner == WRONG_QUESTION)
        flood(fake, &query, &from, from_len);
    if (fake->manner == WRONG_SOURCE)
        stranger(fake, &query, &from, from_len);
    if (spoil(fake, &query, &answer, false))
        send_to(fake->udp, &from, from_len, &answer);
}

static void close_stream(struct stream *stream)
{
    close(stream->fd);
    buf_clear(&stream->in);
    buf_clear(&stream->out);
    *stream = (struct stream){.fd = -1};
}

static void accept_stream(struct fake *fake)
{
    int fd = accept4(fake->tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    for (size_t i = 0; fd >= 0 && i < MAX_STREAMS; i++)
        if (streams[i].fd < 0) {
            streams[i].fd = fd;
            streams[i].fake = fake;
            return;
        }
    if (fd >= 0)
        close(fd);
}

static void answer_stream(struct stream *stream)
{
    struct fake *fake = stream->fake;
    AUTO_BUF query = BUF_INIT, answer = BUF_INIT;
    fake->queries++;
    buf_add(&query, stream->in.data + 2, stream->in.len - 2);
    good_answer(fake, &query, &answer);
    if (!spoil(fake, &query, &answer, true))
        return;
    put16(&stream->out, (unsigned)answer.len);
    buf_add(&stream->out, answer.data, answer.len);
    if (fake->manner == CLOSES)
        shorten(&stream->out, answer.len / 2);
    if (fake->manner == CLOSES_EMPTY)
        shorten(&stream->out, 0);
    stream->close_after = true;
}

static void serve_stream(struct stream *stream)
{
    char block[2048];
    if (stream->out.len == 0) {
        ssize_t n = recv(stream->fd, block, sizeof block, MSG_DONTWAIT);
        if (n <= 0) {
            if (n == 0 || errno != EAGAIN)
                close_stream(stream);
            return;
        }
        buf_add(&stream->in, block, (size_t)n);
        if (stream->in.len >= 2 && stream->in.len >= 2u + get16(stream->in.data))
            answer_stream(stream);
    }
    while (stream->sent < stream->out.len) {
        /* in small pieces: the other side must put them together */
        size_t part = stream->out.len - stream->sent > 700 ? 700 : stream->out.len - stream->sent;
        ssize_t n = send(stream->fd, stream->out.data + stream->sent, part, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            break;
        stream->sent += (size_t)n;
    }
    if (stream->close_after)
        close_stream(stream);
}

static int bound_socket(const char *address, int port, int type)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    int on = 1, fd = socket(is_v4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(is_v4 || inet_pton(AF_INET6, address, &v6.sin6_addr) == 1);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (!is_v4)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, is_v4 ? sizeof v4 : sizeof v6) != 0)
        fail_msg("%s port %d: %s", address, port, strerror(errno));
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 64), 0);
    return fd;
}

static struct fake *add_fake_on(const char *address, int port, enum manner manner, const char *const *records)
{
    struct fake *fake = &fakes[n_fakes++];
    assert_true(n_fakes <= MAX_FAKES);
    *fake = (struct fake){.manner = manner, .records = records};
    snprintf(fake->address, sizeof fake->address, "%s", address);
    fake->udp = bound_socket(address, port, SOCK_DGRAM);
    fake->tcp = bound_socket(address, port, SOCK_STREAM);
    return fake;
}

static struct fake *add_fake(const char *address, enum manner manner, const char *const *records)
{
    return add_fake_on(address, 53, manner, records);
}

static struct fake *add_resolver(const char *const *records)
{
    struct fake *fake = add_fake(RESOLVER, GOOD, records);
    fake->recursive = true;
    return fake;
}

static int start_test(void **state)
{
    (void)state;
    clock_freeze(FROZEN_S, 1000000);
    for (size_t i = 0; i < MAX_STREAMS; i++)
        streams[i].fd = -1;
    n_fakes = 0;
    bad_udp_source = have_network ? bound_socket("127.0.0.99", 53, SOCK_DGRAM) : -1;
    return 0;
}

static int end_test(void **state)
{
    (void)state;
    for (size_t i = 0; i < n_fakes; i++) {
        close(fakes[i].udp);
        close(fakes[i].tcp);
        strlist_clear(&fakes[i].names);
    }
    for (size_t i = 0; i < MAX_STREAMS; i++)
        if (streams[i].fd >= 0)
            close_stream(&streams[i]);
    if (bad_udp_source >= 0)
        close(bad_udp_source);
    clock_thaw();
    return 0;
}

/* -- asking ---------------------------------------------------------------------------------------------- */

struct result {
    int calls;
    bool ok;
    struct dns_answer answer; /* lists are copies */
    struct err err;
};

static void take_result(void *ctx, const struct dns_answer *answer, const struct err *err)
{
    struct result *result = ctx;
    result->calls++;
    result->ok = answer != NULL;
    assert_true((answer == NULL) != (err == NULL));
    if (err != NULL) {
        result->err = *err;
        assert_int_not_equal(err->code, ERR_NONE);
        assert_true(err->text[0] != '\0');
        return;
    }
    result->answer = *answer;
    result->answer.servers = result->answer.values = (struct strlist)STRLIST_INIT;
    strlist_copy(&result->answer.servers, &answer->servers);
    strlist_copy(&result->answer.values, &answer->values);
    result->answer.caa = mem_array(answer->n_caa + 1, sizeof *answer->caa);
    if (answer->n_caa > 0)
        memcpy(result->answer.caa, answer->caa, answer->n_caa * sizeof *answer->caa);
}

static void result_clear(struct result *result)
{
    strlist_clear(&result->answer.servers);
    strlist_clear(&result->answer.values);
    free(result->answer.caa);
}
#define AUTO_RESULT CLEANUP(result_clear) struct result

static size_t most_open; /* sockets of the engine at a time */

static void serve(const struct pollfd *fds)
{
    for (size_t i = 0; i < n_fakes; i++) {
        if (fds[2 * i].revents != 0)
            serve_udp(&fakes[i]);
        if (fds[2 * i + 1].revents != 0)
            accept_stream(&fakes[i]);
    }
    for (size_t i = 0; i < MAX_STREAMS; i++)
        if (fds[2 * n_fakes + i].revents != 0 && streams[i].fd >= 0)
            serve_stream(&streams[i]);
}

/* One round of the loop that an owner has; the servers take part in it. */
static void turn(struct dns *dns)
{
    struct pollfd fds[DNS_MAX_POLLFDS + 2 * MAX_FAKES + MAX_STREAMS];
    size_t ours = dns_pollfds(dns, fds, DNS_MAX_POLLFDS), n = ours;
    most_open = ours > most_open ? ours : most_open;
    for (size_t i = 0; i < n_fakes; i++) {
        fds[n++] = (struct pollfd){.fd = fakes[i].udp, .events = POLLIN};
        fds[n++] = (struct pollfd){.fd = fakes[i].tcp, .events = POLLIN};
    }
    for (size_t i = 0; i < MAX_STREAMS; i++)
        fds[n++] = (struct pollfd){.fd = streams[i].fd,
                                   .events = streams[i].out.len > streams[i].sent ? POLLOUT : POLLIN};
    int timeout = dns_timeout_ms(dns);
    int events = poll(fds, (nfds_t)n, timeout == 0 ? 0 : QUIET_MS);
    if (events == 0 && timeout > 0)
        clock_freeze(clock_now_s(), clock_mono_ms() + timeout);
    serve(fds + ours);
    dns_handle(dns, fds, ours);
}

static void run_until(struct dns *dns, const int *calls, int wanted)
{
    for (int i = 0; *calls < wanted; i++) {
        if (i == MAX_ROUNDS)
            fail_msg("no end after %d rounds, %d of %d", i, *calls, wanted);
        turn(dns);
    }
}

static struct dns *new_dns(void)
{
    return dns_new_from("/nonexistent/resolv.conf");
}

static void ask_with(struct dns *dns, enum dns_kind kind, const char *name, const char *value,
                     int64_t timeout_ms, struct result *out)
{
    char *resolver[] = {(char *)RESOLVER};
    struct strlist resolvers = {resolver, 1};
    const struct dns_question question = {
        .kind = kind, .name = name, .value = value, .resolvers = &resolvers, .timeout_ms = timeout_ms};
    *out = (struct result){0};
    dns_ask(dns, &question, take_result, out);
    assert_int_equal(out->calls, 0);
    run_until(dns, &out->calls, 1);
    assert_int_equal(out->calls, 1);
}

static void ask(enum dns_kind kind, const char *name, const char *value, struct result *out)
{
    struct dns *dns = new_dns();
    ask_with(dns, kind, name, value, 60000, out);
    dns_free(dns);
}

static void assert_list(const struct strlist *list, const char *expected)
{
    AUTO_FREE char *joined = strlist_join(list, " ");
    assert_string_equal(joined, expected);
}

static void assert_text(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

#define NEEDS_NETWORK()                                                                                      \
    do {                                                                                                     \
        (void)state;                                                                                         \
        if (!have_network || !dns_available()) {                                                             \
            print_message("skipped: no network namespace can be made here, or built without libldns\n");     \
            skip();                                                                                          \
        }                                                                                                    \
    } while (0)

#define assert_ok(result)                                                                                    \
    do {                                                                                                     \
        if (!(result).ok) {                                                                                  \
            fail_msg("%s (%s)", (result).err.text, (result).err.subject);                                    \
        }                                                                                                    \
    } while (0)

/* -- names and messages, pure --------------------------------------------------------------------------- */

static void test_names(void **state)
{
    char out[DNS_NAME_BYTES], label[80], name[400] = "";
    (void)state;
    assert_true(dns_name_clean("_ACME-Challenge.Example.ORG.", out));
    assert_string_equal(out, "_acme-challenge.example.org");
    assert_true(dns_name_clean(".", out));
    assert_string_equal(out, ".");
    assert_true(dns_name_clean("*.example.org", out));
    static const char *const bad[] = {"",      "..",  "a..b",         ".a",   "a b",
                                      "a\\.b", "a\n", "\303\274.org", "a\"b", "a;b"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(dns_name_clean(bad[i], out));
    memset(label, 'a', 64);
    label[64] = '\0';
    assert_false(dns_name_clean(label, out));
    label[63] = '\0';
    assert_true(dns_name_clean(label, out));
    for (int i = 0; i < 4; i++)
        sprintf(name + strlen(name), "%s%s", i > 0 ? "." : "", label);
    assert_int_equal(strlen(name), 255);
    assert_false(dns_name_clean(name, out));
    assert_true(dns_name_clean(name + 2, out));
    assert_true(dns_name_within("a.example.org", "example.org"));
    assert_true(dns_name_within("example.org", "example.org"));
    assert_true(dns_name_within("example.org", "."));
    assert_false(dns_name_within("badexample.org", "example.org"));
    assert_false(dns_name_within("org", "example.org"));
    strcpy(out, "a.b");
    assert_true(dns_name_parent(out));
    assert_string_equal(out, "b");
    assert_true(dns_name_parent(out));
    assert_string_equal(out, ".");
    assert_false(dns_name_parent(out));
}

static void make_message(struct buf *out, unsigned answers)
{
    buf_add(out, "\x12\x34\x84\0\0\1\0\0\0\0\0\0", 12);
    set16(out, 6, answers);
    put_name(out, "a.example.org");
    put16(out, DNS_TYPE_TXT);
    put16(out, 1);
}

static void test_fits(void **state)
{
    AUTO_BUF query = BUF_INIT, answer = BUF_INIT;
    (void)state;
    buf_add(&query, "\x12\x34\0\0\0\1\0\0\0\0\0\0", 12);
    put_name(&query, "a.example.org");
    put16(&query, DNS_TYPE_TXT);
    put16(&query, 1);
    make_message(&answer, 0);
    assert_int_equal(dns_wire_fits(query.data, query.len, answer.data, answer.len), DNS_FITS);
    answer.data[13] = 'A'; /* capitals are the same name */
    assert_int_equal(dns_wire_fits(query.data, query.len, answer.data, answer.len), DNS_FITS);
    answer.data[2] |= 0x02;
    assert_int_equal(dns_wire_fits(query.data, query.len, answer.data, answer.len), DNS_TRUNCATED);
    for (size_t len = 0; len < answer.len; len++) /* cut anywhere */
        assert_int_equal(dns_wire_fits(query.data, query.len, answer.data, len), DNS_FITS_NOT);
    for (size_t i = 0; i < answer.len; i++) { /* wrong anywhere: id, opcode, question */
        if (i == 3 || (i >= 6 && i < 12))
            continue; /* codes and counts of the answer's own */
        char was = answer.data[i];
        answer.data[i] = (char)(was ^ 0x88);
        assert_int_equal(dns_wire_fits(query.data, query.len, answer.data, answer.len), DNS_FITS_NOT);
        answer.data[i] = was;
    }
    AUTO_BUF bare = BUF_INIT;
    buf_add(&bare, "\x12\x34\x80\0\0\0\0\0\0\0\0\0", 12);
    assert_int_equal(dns_wire_fits(query.data, query.len, bare.data, bare.len), DNS_FITS_NOT);
    bare.data[3] = DNS_FORMERR;
    assert_int_equal(dns_wire_fits(query.data, query.len, bare.data, bare.len), DNS_FITS);
}

static void test_parse(void **state)
{
    AUTO_BUF packet = BUF_INIT;
    struct dns_message *message;
    (void)state;
    if (!dns_available())
        skip();
    make_message(&packet, 3);
    put_record(&packet, "A.Example.org", DNS_TYPE_TXT, "\3one\0\3two", 9);
    put_record(&packet, "a.example.org", DNS_TYPE_TXT, "\5a\0b\33c", 6);
    put_record(&packet, "a.example.org", DNS_TYPE_CAA, "\200\24averyverylongtagname;", 23);
    assert_true(dns_wire_parse(packet.data, packet.len, &message));
    assert_int_equal(message->n, 3);
    assert_true(message->authoritative);
    assert_string_equal(message->v[0].owner, "a.example.org");
    assert_string_equal(message->v[0].data, "onetwo");
    assert_string_equal(message->v[1].data, "a\1b\33c"); /* an embedded NUL does not end the value */
    assert_int_equal(message->v[2].flags, 128);
    assert_string_equal(message->v[2].tag, "averyverylongta");
    assert_string_equal(message->v[2].data, ";");
    dns_message_free(message);
    for (size_t len = 0; len < packet.len; len++)
        assert_false(dns_wire_parse(packet.data, len, &message));
}

/* -- where does a record go? ---------------------------------------------------------------------------- */

/* Three servers; the world's view (resolver) and the zone's own. */
static const char *const world[] = {
    "example.org SOA ns1.example.org", "example.org NS ns1.example.org",  "example.org NS ns2.example.org",
    "example.org NS ns3.example.net",  "ns1.example.org A 127.0.0.11",    "ns2.example.org A 127.0.0.12",
    "ns3.example.net A 127.0.0.13",    "example.net SOA ns3.example.net", NULL,
};
static const char *const zone[] = {
    "example.org SOA ns1.example.org",
    "example.org NS ns1.example.org",
    "www.example.org A 192.0.2.80",
    "text.example.org TXT hello",
    NULL,
};

static void three_servers(enum manner one, enum manner two, enum manner three)
{
    add_resolver(world);
    add_fake("127.0.0.11", one, zone);
    add_fake("127.0.0.12", two, zone);
    add_fake("127.0.0.13", three, zone);
}

static void test_where(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    three_servers(GOOD, GOOD, GOOD);
    ask(DNS_WHERE, "_ACME-challenge.www.example.org.", NULL, &result);
    assert_ok(result);
    assert_string_equal(result.answer.name, "_acme-challenge.www.example.org");
    assert_string_equal(result.answer.zone, "example.org");
    assert_list(&result.answer.servers, "127.0.0.11#53 127.0.0.12#53 127.0.0.13#53");
}

/* A resolver that was asked for the challenge's name would remember that there is none, to the CA's face. */
static void test_where_leaves_no_trace(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    static const char *const trap[] = {"example.org SOA ns1.example.org", "example.org NS ns1.example.org",
                                       "ns1.example.org A 127.0.0.11",
                                       /* the resolver would send us elsewhere */
                                       "_acme-challenge.www.example.org CNAME trap.example.org", NULL};
    struct fake *resolver = add_resolver(trap);
    add_fake("127.0.0.11", GOOD, zone);
    ask(DNS_WHERE, "_acme-challenge.www.example.org", NULL, &result);
    assert_ok(result);
    assert_string_equal(result.answer.name, "_acme-challenge.www.example.org");
    for (size_t i = 0; i < resolver->names.n; i++)
        assert_int_not_equal(resolver->names.v[i][0], '_');
}

static void test_addresses(void **state)
{
    NEEDS_NETWORK();
    static const char *const records[] = {"ns.example.org A 192.0.2.7", "ns.example.org A 192.0.2.8",
                                          "ns.example.org AAAA 2001:db8::7", NULL};
    AUTO_RESULT result;
    add_resolver(records);
    ask(DNS_ADDRESSES, "NS.example.org.", NULL, &result);
    assert_ok(result);
    assert_list(&result.answer.servers, "192.0.2.7 192.0.2.8 2001:db8::7");
}

static void test_no_address(void **state)
{
    NEEDS_NETWORK();
    static const char *const records[] = {"ns.example.org A 192.0.2.7", NULL};
    AUTO_RESULT result;
    add_resolver(records);
    ask(DNS_ADDRESSES, "other.example.org", NULL, &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_NETWORK);
    assert_non_null(strstr(result.err.text, "other.example.org"));
}

/* What resolvers say is remembered for a moment, not for long. */
static void test_remembered_for_a_moment(void **state)
{
    NEEDS_NETWORK();
    static const char *const names[] = {"_acme-challenge.www.example.org", "_b.www.example.org",
                                        "_c.www.example.org"};
    three_servers(GOOD, GOOD, GOOD);
    struct dns *dns = new_dns();
    int asked[COUNT_OF(names)];
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        AUTO_RESULT result;
        if (i == 2)
            clock_freeze(FROZEN_S, clock_mono_ms() + 30000);
        ask_with(dns, DNS_WHERE, names[i], NULL, 60000, &result);
        assert_ok(result);
        asked[i] = fakes[0].queries;
    }
    assert_int_equal(asked[1], asked[0]);
    assert_int_equal(asked[2], 2 * asked[0]);
    dns_free(dns);
}

static void test_hidden_primary(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    static const char *const hidden_world[] = {
        "example.org SOA hidden.example.org", "example.org NS ns2.example.org",
        "hidden.example.org A 127.0.0.11", "ns2.example.org A 127.0.0.12", NULL};
    static const char *const hidden_zone[] = {"example.org SOA hidden.example.org",
                                              "a.example.org A 192.0.2.1",
                                              "_acme-challenge.example.org TXT v", NULL};
    add_resolver(hidden_world);
    struct fake *primary = add_fake("127.0.0.11", DEAD, hidden_zone);
    add_fake("127.0.0.12", GOOD, hidden_zone);
    ask(DNS_WHERE, "_acme-challenge.example.org", NULL, &result);
    assert_ok(result);
    assert_list(&result.answer.servers, "127.0.0.11#53 127.0.0.12#53");
    result_clear(&result);
    /* the world cannot see it, so it need not have the record */
    ask(DNS_TXT_EVERYWHERE, "_acme-challenge.example.org", "v", &result);
    assert_ok(result);
    assert_int_equal(primary->queries, 0);
}

static void test_aliases(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    static const char *const wide[] = {
        "example.org SOA ns1.example.org", "example.org NS ns1.example.org",
        "ns1.example.org A 127.0.0.11",    "example.net SOA ns2.example.net",
        "example.net NS ns2.example.net",  "ns2.example.net A 127.0.0.12",
        "acme.test SOA ns.acme.test",      "acme.test NS ns.acme.test",
        "ns.acme.test A 127.0.0.13",       "www.example.org CNAME host.example.net",
        "host.example.net A 192.0.2.1",    NULL};
    static const char *const org[] = {"example.org SOA ns1.example.org",
                                      "www.example.org CNAME host.example.net",
                                      "_acme-challenge.www.example.org CNAME hop.example.net", NULL};
    static const char *const net[] = {"example.net SOA ns2.example.net",
                                      "hop.example.net CNAME 1234.auth.ACME.test", NULL};
    static const char *const acme[] = {"acme.test SOA ns.acme.test", "1234.auth.acme.test TXT proof", NULL};
    struct fake *resolver = add_resolver(wide);
    add_fake("127.0.0.11", GOOD, org);
    add_fake("127.0.0.12", GOOD, net);
    add_fake("127.0.0.13", GOOD, acme);
    ask(DNS_WHERE, "_acme-challenge.www.example.org", NULL, &result);
    assert_ok(result);
    assert_string_equal(result.answer.name, "1234.auth.acme.test");
    assert_string_equal(result.answer.zone, "acme.test");
    assert_list(&result.answer.servers, "127.0.0.13#53");
    assert_false(strlist_has(&resolver->names, "1234.auth.acme.test")); /* nor of where an alias leads */
    result_clear(&result);
    ask(DNS_TXT_EVERYWHERE, "_acme-challenge.www.example.org", "proof", &result);
    assert_ok(result);
    assert_string_equal(result.answer.name, "1234.auth.acme.test");
    result_clear(&result);
    ask(DNS_TXT, "_acme-challenge.www.example.org", NULL, &result);
    assert_ok(result);
    assert_list(&result.answer.values, "proof");
}

static void test_alias_circle(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    static const char *const circle[] = {
        "example.org SOA ns1.example.org", "_acme-challenge.example.org CNAME b.example.org",
        "b.example.org CNAME c.example.org", "c.example.org CNAME b.example.org", NULL};
    static const char *const self[] = {"example.org SOA ns1.example.org",
                                       "_acme-challenge.example.org CNAME _acme-challenge.example.org", NULL};
    add_resolver(world);
    struct fake *server = add_fake("127.0.0.11", GOOD, circle);
    ask(DNS_WHERE, "_acme-challenge.example.org", NULL, &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_CONFIG);
    assert_text(result.err.text, "circle");
    server->records = self;
    ask(DNS_TXT, "_acme-challenge.example.org", NULL, &result);
    assert_false(result.ok);
    assert_text(result.err.text, "circle");
    assert_true(server->queries < 20);
}

static void test_alias_chain(void **state)
{
    NEEDS_NETWORK();
    char lines[20][80];
    const char *records[21] = {"example.org SOA ns1.example.org"};
    for (int i = 0; i < 17; i++) {
        sprintf(lines[i], "n%d.example.org CNAME n%d.example.org", i, i + 1);
        records[1 + i] = lines[i];
    }
    AUTO_RESULT result;
    add_resolver(world);
    add_fake("127.0.0.11", GOOD, records);
    ask(DNS_WHERE, "n1.example.org", NULL, &result); /* 16 of them */
    assert_ok(result);
    assert_string_equal(result.answer.name, "n17.example.org");
    result_clear(&result);
    ask(DNS_WHERE, "n0.example.org", NULL, &result);
    assert_false(result.ok);
    assert_text(result.err.text, "more than 16 aliases");
}

static void test_wildcard_alias(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    static const char *const wild[] = {"example.org SOA ns1.example.org",
                                       "*.example.org CNAME host.example.net", "www.example.org A 192.0.2.1",
                                       NULL};
    static const char *const wide[] = {
        "example.org SOA ns1.example.org", "example.org NS ns1.example.org",
        "ns1.example.org A 127.0.0.11",    "*.example.org CNAME host.example.net",
        "example.net SOA ns2.example.net", "example.net NS ns2.example.net",
        "ns2.example.net A 127.0.0.12",    NULL};
    static const char *const net[] = {"example.net SOA ns2.example.net", "host.example.net TXT persistent",
                                      NULL};
    add_resolver(wide);
    struct fake *server = add_fake("127.0.0.11", GOOD, wild);
    add_fake("127.0.0.12", GOOD, net);
    static const char *const names[] = {"_acme-challenge.example.org", "_acme-challenge.a.b.example.org"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        ask(DNS_WHERE, names[i], NULL, &result);
        assert_ok(result);
        assert_string_equal(result.answer.name, names[i]);
        assert_string_equal(result.answer.zone, "example.org");
        assert_list(&result.answer.servers, "127.0.0.11#53");
        result_clear(&result);
    }
    /* what is there now is what a CA would see */
    ask(DNS_TXT, "_acme-challenge.example.org", NULL, &result);
    assert_ok(result);
    assert_list(&result.answer.values, "persistent");
    result_clear(&result);
    server->more = "_acme-challenge.example.org TXT v";
    ask(DNS_TXT_EVERYWHERE, "_acme-challenge.example.org", "v", &result);
    assert_ok(result);
}

static void test_delegation_with_glue(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    /* the resolver knows nothing of the child; its server's address is in the delegation alone */
    static const char *const parent[] = {"example.org SOA ns1.example.org", "example.org NS ns1.example.org",
                                         "_acme-challenge.example.org NS ns._acme-challenge.example.org",
                                         "ns._acme-challenge.example.org A 127.0.0.14", NULL};
    static const char *const child[] = {"_acme-challenge.example.org SOA ns._acme-challenge.example.org",
                                        "_acme-challenge.example.org TXT deep",
                                        "ns._acme-challenge.example.org A 127.0.0.14", NULL};
    add_resolver(world);
    add_fake("127.0.0.11", GOOD, parent);
    add_fake("127.0.0.14", GOOD, child);
    ask(DNS_WHERE, "_acme-challenge.example.org", NULL, &result);
    assert_ok(result);
    assert_string_equal(result.answer.zone, "_acme-challenge.example.org");
    assert_list(&result.answer.servers, "127.0.0.14#53");
    result_clear(&result);
    ask(DNS_TXT, "_acme-challenge.example.org", NULL, &result);
    assert_ok(result);
    assert_list(&result.answer.values, "deep");
}

/* A delegation may name any address, but only of names within the zone that it comes from. */
static void test_foreign_glue(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    static const char *const parent[] = {
        "example.org SOA ns1.example.org",    "example.org NS ns1.example.org",
        "sub.example.org NS sub.example.org", "sub.example.org NS ns.victim.test",
        "ns.victim.test A 127.0.0.14",        NULL};
    add_resolver(world);
    add_fake("127.0.0.11", GOOD, parent);
    struct fake *child = add_fake("127.0.0.14", GOOD, zone);
    ask(DNS_WHERE, "_acme-challenge.sub.example.org", NULL, &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_NETWORK);
    assert_text(result.err.text, "has an address");
    assert_int_equal(child->queries, 0);
}

static void test_unknown_domain(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    static const char *const root[] = {". SOA a.root-servers.net", NULL};
    add_resolver(root);
    ask(DNS_WHERE, "_acme-challenge.www.exmaple.org", NULL, &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_CONFIG);
    assert_text(result.err.text, "no zone");
}

static void test_many_name_servers(void **state)
{
    NEEDS_NETWORK();
    char lines[80][80];
    const char *records[100] = {"example.org SOA ns0.example.org"};
    size_t n = 1;
    for (int i = 0; i < 40; i++) {
        sprintf(lines[2 * i], "example.org NS ns%d.example.org", i);
        sprintf(lines[2 * i + 1], "ns%d.example.org A 127.0.1.%d", i, i + 1);
        records[n++] = lines[2 * i];
        records[n++] = lines[2 * i + 1];
    }
    AUTO_RESULT result;
    struct fake *resolver = add_resolver(records);
    add_fake("127.0.1.1", GOOD, zone);
    ask(DNS_WHERE, "_acme-challenge.example.org", NULL, &result);
    assert_ok(result);
    assert_int_equal(result.answer.servers.n, 16);
    assert_true(resolver->queries <= 3 + 2 * 16);
}

static void test_many_addresses(void **state)
{
    NEEDS_NETWORK();
    char lines[60][80];
    const char *records[64] = {"example.org SOA ns.example.org", "example.org NS ns.example.org"};
    for (int i = 0; i < 60; i++) {
        sprintf(lines[i], "ns.example.org A 127.0.1.%d", i + 1);
        records[2 + i] = lines[i];
    }
    records[62] = "ns.example.org A 0.0.0.0"; /* nobody's address */
    AUTO_RESULT result;
    add_resolver(records);
    add_fake("127.0.1.1", GOOD, zone);
    ask(DNS_WHERE, "_acme-challenge.example.org", NULL, &result);
    assert_ok(result);
    assert_int_equal(result.answer.servers.n, 32);
    assert_false(strlist_has(&result.answer.servers, "0.0.0.0#53"));
}

/* -- servers of many manners ---------------------------------------------------------------------------- */

/* Alone, it gets its answer across all the same. */
static void test_odd_but_usable(void **state)
{
    NEEDS_NETWORK();
    static const enum manner manners[] = {GOOD,      DROPS_UDP, WRONG_ID,       WRONG_QUESTION, WRONG_SOURCE,
                                          TRUNCATES, NO_EDNS,   NOT_EDNS_DROPS, UPPER_CASE};
    for (size_t i = 0; i < COUNT_OF(manners); i++) {
        AUTO_RESULT result;
        end_test(NULL);
        start_test(NULL);
        add_resolver(world)->manner = manners[i];
        add_fake("127.0.0.11", manners[i], zone);
        ask(DNS_TXT, "text.example.org", NULL, &result);
        if (!result.ok)
            fail_msg("manner %d: %s", (int)manners[i], result.err.text);
        assert_list(&result.answer.values, "hello");
        if (manners[i] == WRONG_ID || manners[i] == WRONG_QUESTION)
            assert_int_equal(clock_mono_ms(), 1000000); /* many guesses: no waiting for an end of them */
    }
}

/* The next one is asked. */
static void test_unusable_then_good(void **state)
{
    NEEDS_NETWORK();
    static const enum manner manners[] = {DEAD,  CLOSES, CLOSES_EMPTY, LOOPS,        GARBAGE,
                                          SHORT, LAME,   SAYS_REFUSED, SAYS_SERVFAIL};
    for (size_t i = 0; i < COUNT_OF(manners); i++) {
        AUTO_RESULT result;
        end_test(NULL);
        start_test(NULL);
        three_servers(manners[i], manners[i], GOOD);
        ask(DNS_TXT, "text.example.org", NULL, &result);
        if (!result.ok)
            fail_msg("manner %d: %s", (int)manners[i], result.err.text);
        assert_list(&result.answer.values, "hello");
    }
}

/* All of them: an error that names each, and what it did. */
static void test_all_unusable(void **state)
{
    NEEDS_NETWORK();
    static const struct {
        enum manner manner;
        const char *says;
    } rows[] = {
        {DEAD, "no answer"},       {CLOSES, "middle of its answer"}, {CLOSES_EMPTY, "without an answer"},
        {LOOPS, "cannot be read"}, {GARBAGE, "cannot be read"},      {SHORT, "no answer"},
        {LAME, "no authority"},    {SAYS_REFUSED, "REFUSED"},        {SAYS_SERVFAIL, "SERVFAIL"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_RESULT result;
        end_test(NULL);
        start_test(NULL);
        three_servers(rows[i].manner, rows[i].manner, rows[i].manner);
        ask(DNS_TXT, "text.example.org", NULL, &result);
        assert_false(result.ok);
        assert_int_equal(result.err.code, ERR_NETWORK);
        assert_text(result.err.text, rows[i].says);
        assert_text(result.err.text, "127.0.0.11#53");
        assert_text(result.err.text, "127.0.0.13#53");
        assert_true(result.err.advice[0] != '\0');
        for (size_t j = 1; j < n_fakes; j++) /* twice by UDP and once by TCP, for each of two questions */
            assert_true(fakes[j].queries <= 6);
    }
}

static void test_nobody_listens(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    add_resolver(world);
    ask(DNS_TXT, "text.example.org", NULL, &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_NETWORK);
    assert_text(result.err.text, "refused");
}

static void test_no_resolver(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    ask(DNS_WHERE, "_acme-challenge.example.org", NULL, &result); /* nobody there */
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_NETWORK);
    assert_text(result.err.text, RESOLVER);
    assert_text(result.err.advice, "resolv.conf");
    add_resolver(world)->manner = DEAD;
    ask(DNS_CAA, "example.org", NULL, &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_NETWORK);
}

static void test_deadline(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    add_resolver(world)->manner = DEAD;
    struct dns *dns = new_dns();
    int64_t began = clock_mono_ms();
    ask_with(dns, DNS_WHERE, "_acme-challenge.example.org", NULL, 2500, &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_TIMEOUT);
    assert_text(result.err.text, "example.org");
    assert_int_equal(clock_mono_ms() - began, 2500);
    ask_with(dns, DNS_WHERE, "_acme-challenge.example.org", NULL, 0, &result);
    assert_int_equal(result.err.code, ERR_TIMEOUT);
    dns_free(dns);
}

static void test_second_resolver(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result = {0};
    three_servers(GOOD, GOOD, GOOD);
    fakes[0].manner = SAYS_SERVFAIL;
    struct fake *other = add_fake_on("127.0.0.54", 5353, GOOD, world);
    other->recursive = true;
    char *list[] = {(char *)"not an address", (char *)RESOLVER, (char *)"127.0.0.54#5353"};
    struct strlist resolvers = {list, 3};
    struct dns_question question = {
        .kind = DNS_TXT, .name = "text.example.org", .resolvers = &resolvers, .timeout_ms = 30000};
    struct dns *dns = new_dns();
    dns_ask(dns, &question, take_result, &result);
    run_until(dns, &result.calls, 1);
    assert_ok(result);
    assert_true(other->queries > 0);
    dns_free(dns);
}

static void test_only_ipv6(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    static const char *const six[] = {"example.org SOA ns.example.org", "example.org NS ns.example.org",
                                      "ns.example.org AAAA ::1", NULL};
    add_resolver(six);
    add_fake("::1", GOOD, zone);
    ask(DNS_TXT, "text.example.org", NULL, &result);
    assert_ok(result);
    assert_list(&result.answer.values, "hello");
    assert_list(&result.answer.servers, "::1#53");
}

static void test_thousands_of_records(void **state)
{
    NEEDS_NETWORK();
    enum { N = 1500 };
    static char lines[N][40];
    static const char *records[N + 3] = {"example.org SOA ns1.example.org"};
    for (int i = 0; i < N; i++) {
        sprintf(lines[i], "t.example.org TXT v%d", i);
        records[1 + i] = lines[i];
    }
    AUTO_RESULT result;
    add_resolver(world);
    add_fake("127.0.0.11", GOOD, records);
    ask(DNS_TXT, "t.example.org", NULL, &result);
    assert_ok(result);
    assert_int_equal(result.answer.values.n, N);
    assert_true(strlist_has(&result.answer.values, "v1499"));
}

static void test_long_values(void **state)
{
    NEEDS_NETWORK();
    char line[700] = "t.example.org TXT ";
    for (size_t i = strlen(line); i < 680; i++)
        line[i] = (char)('a' + i % 26);
    line[680] = '\0';
    const char *records[] = {"example.org SOA ns1.example.org", line, NULL};
    AUTO_RESULT result;
    add_resolver(world);
    add_fake("127.0.0.11", GOOD, records);
    ask(DNS_TXT, "t.example.org", NULL, &result);
    assert_ok(result);
    assert_list(&result.answer.values, line + strlen("t.example.org TXT "));
    result_clear(&result);
    ask(DNS_TXT, "nothing.example.org", NULL, &result); /* none is success */
    assert_ok(result);
    assert_int_equal(result.answer.values.n, 0);
}

/* -- everywhere ----------------------------------------------------------------------------------------- */

#define CHALLENGE "_acme-challenge.www.example.org"

static void test_everywhere_waits(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result = {0};
    three_servers(GOOD, GOOD, GOOD);
    char *resolver[] = {(char *)RESOLVER};
    struct strlist resolvers = {resolver, 1};
    struct dns_question question = {.kind = DNS_TXT_EVERYWHERE,
                                    .name = CHALLENGE,
                                    .value = "secret",
                                    .resolvers = &resolvers,
                                    .timeout_ms = 600000};
    struct dns *dns = new_dns();
    dns_ask(dns, &question, take_result, &result);
    for (int i = 0; i < 200; i++)
        turn(dns);
    assert_int_equal(result.calls, 0);
    fakes[1].more = CHALLENGE " TXT secret";
    fakes[2].more = CHALLENGE " TXT secret";
    fakes[3].more = CHALLENGE " TXT other";
    int before = fakes[3].queries;
    int64_t began = clock_mono_ms();
    for (int i = 0; i < 200; i++)
        turn(dns);
    assert_int_equal(result.calls, 0);
    int64_t passed = clock_mono_ms() - began;
    assert_true(fakes[3].queries - before >= 2);
    assert_true(fakes[3].queries - before <= passed / 1000 + 1); /* once a second */
    int first = fakes[1].queries;
    fakes[3].more = CHALLENGE " TXT secret";
    run_until(dns, &result.calls, 1);
    assert_ok(result);
    assert_string_equal(result.answer.name, CHALLENGE);
    assert_string_equal(result.answer.zone, "example.org");
    assert_int_equal(fakes[1].queries, first); /* who has it is left alone */
    assert_int_equal(dns_timeout_ms(dns), -1);
    dns_free(dns);
}

/* A resolver that fails for a while does not end the waiting. */
static void test_everywhere_outlasts_the_resolver(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result = {0}, late = {0};
    char *resolver[] = {(char *)RESOLVER};
    struct strlist resolvers = {resolver, 1};
    three_servers(GOOD, GOOD, GOOD);
    for (size_t i = 1; i <= 3; i++)
        fakes[i].more = CHALLENGE " TXT secret";
    const struct dns_question question = {.kind = DNS_TXT_EVERYWHERE,
                                          .name = CHALLENGE,
                                          .value = "secret",
                                          .resolvers = &resolvers,
                                          .timeout_ms = 60000};
    struct dns *dns = new_dns();
    fakes[0].manner = DEAD;
    dns_ask(dns, &question, take_result, &result);
    int64_t began = clock_mono_ms();
    while (clock_mono_ms() - began < 20000)
        turn(dns);
    assert_int_equal(result.calls, 0);
    assert_true(fakes[0].queries < 20);
    fakes[0].manner = GOOD;
    run_until(dns, &result.calls, 1);
    assert_ok(result);
    dns_free(dns);
    fakes[0].manner = DEAD;
    ask(DNS_TXT_EVERYWHERE, CHALLENGE, "secret", &late);
    assert_false(late.ok);
    assert_int_equal(late.err.code, ERR_TIMEOUT);
    assert_text(late.err.text, RESOLVER);
    assert_true(late.err.advice[0] != '\0');
}

static void test_everywhere_says_who_lacks_it(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    three_servers(GOOD, GOOD, DEAD);
    fakes[1].more = CHALLENGE " TXT secret";
    fakes[2].more = CHALLENGE " TXT old\033[31mvalue";
    ask(DNS_TXT_EVERYWHERE, CHALLENGE, "secret", &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_TIMEOUT);
    assert_text(result.err.text, "ns2.example.org (127.0.0.12#53)");
    assert_text(result.err.text, "old?[31mvalue");
    assert_text(result.err.text, "ns3.example.net (127.0.0.13#53): no answer");
    assert_null(strstr(result.err.text, "127.0.0.11"));
    assert_text(result.err.text, "2 of 3");
    assert_string_equal(result.err.subject, CHALLENGE);
    assert_true(result.err.advice[0] != '\0');
    fakes[2].manner = SAYS_REFUSED;
    fakes[3].manner = GOOD;
    ask(DNS_TXT_EVERYWHERE, CHALLENGE, "secret", &result);
    assert_text(result.err.text, "(127.0.0.12#53): REFUSED");
    assert_text(result.err.text, "(127.0.0.13#53): has nothing of that name");
}

/* One address of a name server is silent, or of a family that is not to be had here: its other one does. */
static void test_everywhere_excuses(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    static const char *const dual[] = {"example.org SOA ns1.example.org",
                                       "example.org NS ns1.example.org",
                                       "example.org NS ns2.example.org",
                                       "ns1.example.org A 127.0.0.11",
                                       "ns1.example.org AAAA ::1",
                                       "ns2.example.org A 127.0.0.12",
                                       "example.org NS ns3.example.org",
                                       "ns3.example.org AAAA 2001:db8::53",
                                       NULL};
    add_resolver(dual);
    struct fake *four = add_fake("127.0.0.11", GOOD, zone), *six = add_fake("::1", DEAD, zone);
    struct fake *other = add_fake("127.0.0.12", GOOD, zone);
    four->more = other->more = CHALLENGE " TXT secret";
    ask(DNS_TXT_EVERYWHERE, CHALLENGE, "secret", &result);
    assert_ok(result);
    result_clear(&result);
    /* but one that answers counts */
    six->manner = GOOD;
    ask(DNS_TXT_EVERYWHERE, CHALLENGE, "secret", &result);
    assert_false(result.ok);
    assert_text(result.err.text, "ns1.example.org (::1#53)");
    assert_null(strstr(result.err.text, "2001:db8::53"));
    /* and another name's answer does not stand in for a silent one */
    six->manner = other->manner = DEAD;
    ask(DNS_TXT_EVERYWHERE, CHALLENGE, "secret", &result);
    assert_false(result.ok);
    assert_text(result.err.text, "ns2.example.org (127.0.0.12#53): no answer");
    assert_null(strstr(result.err.text, "::1#53"));
}

struct crowd {
    int calls, good;
};

static void count_result(void *ctx, const struct dns_answer *answer, const struct err *err)
{
    struct crowd *crowd = ctx;
    crowd->calls++;
    crowd->good += answer != NULL;
    if (err != NULL && err->code != ERR_TIMEOUT)
        fail_msg("%s", err->text);
}

static void ask_crowd(struct dns *dns, int n, const char *value, int64_t timeout_ms, struct crowd *crowd)
{
    char *resolver[] = {(char *)RESOLVER};
    struct strlist resolvers = {resolver, 1};
    for (int i = 0; i < n; i++) {
        char name[64];
        sprintf(name, "_acme-challenge.h%d.example.org", i);
        const struct dns_question question = {.kind = DNS_TXT_EVERYWHERE,
                                              .name = name,
                                              .value = value,
                                              .resolvers = &resolvers,
                                              .timeout_ms = timeout_ms};
        dns_ask(dns, &question, count_result, crowd);
    }
}

static void test_everywhere_for_many(void **state)
{
    NEEDS_NETWORK();
    enum { N = 200 };
    struct crowd crowd = {0};
    three_servers(GOOD, GOOD, GOOD);
    for (size_t i = 1; i <= 3; i++)
        fakes[i].more = "*.example.org TXT all";
    struct dns *dns = new_dns();
    most_open = 0;
    ask_crowd(dns, N, "all", 60000, &crowd);
    run_until(dns, &crowd.calls, N);
    assert_int_equal(crowd.good, N);
    assert_true(most_open <= 100);
    assert_true(fakes[0].queries < 2 * N + 20); /* the zone itself is looked up once */
    dns_free(dns);
}

/* A dead server costs the others nothing, and is not hammered. */
static void test_everywhere_with_a_dead_one(void **state)
{
    NEEDS_NETWORK();
    enum { N = 200 };
    struct crowd crowd = {0};
    three_servers(GOOD, GOOD, DEAD);
    for (size_t i = 1; i <= 3; i++)
        fakes[i].more = "*.example.org TXT all";
    struct dns *dns = new_dns();
    most_open = 0;
    ask_crowd(dns, N, "all", 60000, &crowd);
    int64_t began = clock_mono_ms();
    while (clock_mono_ms() - began < 40000)
        turn(dns);
    assert_int_equal(crowd.calls, 0);
    assert_true(most_open <= 100);
    int asked = fakes[3].queries;
    assert_true(asked < 3 * N);
    fakes[3].manner = GOOD; /* back to life */
    run_until(dns, &crowd.calls, N);
    assert_int_equal(crowd.good, N);
    dns_free(dns);
}

/* -- CAA ------------------------------------------------------------------------------------------------ */

static void test_caa(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    static const char *const records[] = {
        "org SOA a.org",
        "example.org SOA ns1.example.org",
        "example.org CAA 0:issue ca.example; accounturi=https://ca.example/1",
        "example.org CAA 128:iodef mailto:x@example.org",
        "a.www.example.org A 192.0.2.1",
        "alias.example.org CNAME target.example.net",
        "empty.example.org CNAME none.example.net",
        "target.example.net CAA 0:issuewild ;",
        "none.example.net A 192.0.2.1",
        "example.net SOA ns.example.net",
        "free.org SOA ns.free.org",
        "long.example.org SOA ns1.example.org",
        NULL,
    };
    struct fake *resolver = add_resolver(records);
    ask(DNS_CAA, "*.a.www.example.org", NULL, &result);
    assert_ok(result);
    assert_string_equal(result.answer.name, "example.org");
    assert_int_equal(result.answer.n_caa, 2);
    assert_string_equal(result.answer.caa[0].tag, "issue");
    assert_string_equal(result.answer.caa[0].value, "ca.example; accounturi=https://ca.example/1");
    assert_int_equal(result.answer.caa[1].flags, 128);
    result_clear(&result);
    ask(DNS_CAA, "alias.example.org", NULL, &result);
    assert_ok(result);
    assert_string_equal(result.answer.name, "target.example.net");
    assert_string_equal(result.answer.caa[0].value, ";");
    result_clear(&result);
    /* up the tree of the name itself, not of what it is an alias to */
    ask(DNS_CAA, "empty.example.org", NULL, &result);
    assert_ok(result);
    assert_string_equal(result.answer.name, "example.org");
    result_clear(&result);
    ask(DNS_CAA, "www.free.org", NULL, &result);
    assert_ok(result);
    assert_int_equal(result.answer.n_caa, 0);
    assert_string_equal(result.answer.name, "");
    result_clear(&result);
    char *line = mem_fmt("long.example.org CAA 0:issue %0600d", 1);
    resolver->more = line;
    ask(DNS_CAA, "long.example.org", NULL, &result); /* cut short it could mean something else */
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_PROTOCOL);
    free(line);
    resolver->more = NULL;
    resolver->manner = SAYS_SERVFAIL;
    ask(DNS_CAA, "www.example.org", NULL, &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_NETWORK);
    assert_text(result.err.text, "SERVFAIL");
}

/* A resolver that does not follow aliases by itself. */
static void test_caa_step_by_step(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    static const char *const records[] = {
        "a.example.org CNAME b.example.org",    "b.example.org CNAME c.example.org",
        "c.example.org CAA 0:issue ca.example", "x.example.org CNAME y.example.org",
        "y.example.org CNAME x.example.org",    NULL};
    add_fake(RESOLVER, GOOD, records);
    ask(DNS_CAA, "a.example.org", NULL, &result);
    assert_ok(result);
    assert_string_equal(result.answer.name, "c.example.org");
    result_clear(&result);
    ask(DNS_CAA, "x.example.org", NULL, &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_CONFIG);
    assert_text(result.err.text, "circle");
}

/* -- updates -------------------------------------------------------------------------------------------- */

static void make_update(struct buf *packet)
{
    buf_add(packet, "\xAB\xCD\x28\0\0\1\0\0\0\0\0\0", 12);
    put_name(packet, "example.org");
    put16(packet, DNS_TYPE_SOA);
    put16(packet, 1);
}

static void ask_update(const struct strlist *servers, const struct buf *packet, struct result *out)
{
    struct dns *dns = new_dns();
    const struct dns_question question = {.kind = DNS_UPDATE,
                                          .name = CHALLENGE,
                                          .servers = servers,
                                          .packet = packet->data,
                                          .packet_len = packet->len,
                                          .timeout_ms = 60000};
    *out = (struct result){0};
    dns_ask(dns, &question, take_result, out);
    run_until(dns, &out->calls, 1);
    dns_free(dns);
}

static void test_update(void **state)
{
    NEEDS_NETWORK();
    AUTO_RESULT result;
    AUTO_BUF packet = BUF_INIT, tsig = BUF_INIT;
    char *list[] = {(char *)"127.0.0.11", (char *)"127.0.0.12"};
    struct strlist servers = {list, 2}, none = STRLIST_INIT;
    make_update(&packet);
    struct fake *first = add_fake("127.0.0.11", DEAD, NULL), *second = add_fake("127.0.0.12", GOOD, NULL);
    ask_update(&servers, &packet, &result);
    assert_ok(result);
    assert_int_equal(result.answer.rcode, 0);
    assert_list(&result.answer.servers, "127.0.0.12#53");
    result_clear(&result);
    /* whoever answers first has the word, whatever it says */
    first->manner = GOOD;
    first->rcode = DNS_REFUSED;
    int before = second->queries;
    ask_update(&servers, &packet, &result);
    assert_ok(result);
    assert_int_equal(result.answer.rcode, DNS_REFUSED);
    assert_int_equal(second->queries, before);
    result_clear(&result);
    /* NOTAUTH has its reason in the TSIG record */
    put_name(&tsig, "key");
    put16(&tsig, 250);
    put16(&tsig, 255);
    buf_add(&tsig, "\0\0\0\0", 4);
    put16(&tsig, 29);
    put_name(&tsig, "hmac-sha256");
    buf_add(&tsig, "\0\0\0\0\0\0\1\54\0\0\xAB\xCD\0\21\0\0", 16);
    first->rcode = DNS_NOTAUTH;
    first->extra = tsig.data;
    first->extra_len = tsig.len;
    ask_update(&servers, &packet, &result);
    assert_ok(result);
    assert_int_equal(result.answer.rcode, DNS_BADKEY);
    result_clear(&result);
    first->extra = "\377\377\377"; /* not a record: the header still tells */
    first->extra_len = 3;
    ask_update(&servers, &packet, &result);
    assert_ok(result);
    assert_int_equal(result.answer.rcode, DNS_NOTAUTH);
    result_clear(&result);
    first->manner = second->manner = DEAD;
    ask_update(&servers, &packet, &result);
    assert_false(result.ok);
    assert_int_equal(result.err.code, ERR_NETWORK);
    assert_text(result.err.text, "127.0.0.12#53: no answer");
    ask_update(&none, &packet, &result);
    assert_false(result.ok);
    while (packet.len < 3000)
        put_record(&packet, "a.example.org", DNS_TYPE_TXT, "\4long", 5);
    second->manner = GOOD; /* too long for a datagram */
    second->rcode = DNS_NOERROR;
    ask_update(&servers, &packet, &result);
    assert_ok(result);
    assert_list(&result.answer.servers, "127.0.0.12#53");
}

/* -- the frame ------------------------------------------------------------------------------------------ */

static void test_bad_questions(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        ".",
        "a..b",
        "a b",
        "ex\\ample.org",
        "toolongtoolongtoolongtoolongtoolongtoolongtoolongtoolongtoolongtoolong.org"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        AUTO_RESULT result;
        ask(DNS_TXT, bad[i], NULL, &result);
        assert_false(result.ok);
        assert_int_equal(result.err.code, dns_available() ? ERR_NAME : ERR_NETWORK);
    }
}

static void test_built_without(void **state)
{
    (void)state;
    if (dns_available())
        skip();
    for (int kind = 0; kind < DNS_KINDS; kind++) {
        AUTO_RESULT result;
        ask((enum dns_kind)kind, "example.org", "v", &result);
        assert_false(result.ok);
        assert_int_equal(result.err.code, ERR_NETWORK);
        assert_text(result.err.text, "libldns");
    }
}

static void test_dropped(void **state)
{
    NEEDS_NETWORK();
    struct result result = {0};
    char *list[] = {(char *)"127.0.0.11"};
    struct strlist servers = {list, 1};
    AUTO_BUF packet = BUF_INIT;
    struct crowd crowd = {0};
    three_servers(DEAD, GOOD, TRUNCATES);
    make_update(&packet);
    for (int rounds = 0; rounds < 60; rounds++) { /* let go at every stage */
        struct dns *dns = new_dns();
        struct dns_question update = {.kind = DNS_UPDATE,
                                      .name = CHALLENGE,
                                      .servers = &servers,
                                      .packet = packet.data,
                                      .packet_len = packet.len,
                                      .timeout_ms = 60000};
        dns_ask(dns, &update, take_result, &result);
        ask_crowd(dns, 5, "never", 60000, &crowd);
        for (int i = 0; i < rounds; i++)
            turn(dns);
        dns_free(dns);
    }
    assert_int_equal(result.calls, 0);
    assert_int_equal(crowd.calls, 0);
    dns_free(NULL);
}

static void ask_from_within(void *ctx, const struct dns_answer *answer, const struct err *err)
{
    struct {
        struct dns *dns;
        struct result result;
    } *chain = ctx;
    char *resolver[] = {(char *)RESOLVER};
    struct strlist resolvers = {resolver, 1};
    const struct dns_question question = {
        .kind = DNS_TXT, .name = "text.example.org", .resolvers = &resolvers, .timeout_ms = 30000};
    assert_non_null(answer);
    assert_null(err);
    dns_ask(chain->dns, &question, take_result, &chain->result);
}

static void test_ask_from_within(void **state)
{
    NEEDS_NETWORK();
    struct {
        struct dns *dns;
        struct result result;
    } chain = {.dns = new_dns()};
    char *resolver[] = {(char *)RESOLVER};
    struct strlist resolvers = {resolver, 1};
    const struct dns_question question = {
        .kind = DNS_WHERE, .name = "x.example.org", .resolvers = &resolvers, .timeout_ms = 30000};
    three_servers(GOOD, GOOD, GOOD);
    dns_ask(chain.dns, &question, ask_from_within, &chain);
    run_until(chain.dns, &chain.result.calls, 1);
    assert_ok(chain.result);
    assert_list(&chain.result.answer.values, "hello");
    result_clear(&chain.result);
    dns_free(chain.dns);
}

static void test_resolv_conf(void **state)
{
    (void)state;
    char path[] = "/tmp/test_dns_XXXXXX";
    static const char text[] =
        "# nameserver 192.0.2.9\nsearch example.org\n nameserver\t192.0.2.1 \nnameserver 2001:DB8::1\r\n"
        "nameserver nonsense\nnameserver\nnameserver 0.0.0.0\nnameserver fe80::1%lo\nnameserver 192.0.2.1";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    struct dns *dns = dns_new_from(path);
    unlink(path);
    assert_int_equal(dns->n_resolvers, 4);
    assert_string_equal(dns->resolvers[0]->text, "192.0.2.1#53");
    assert_string_equal(dns->resolvers[1]->text, "2001:db8::1#53");
    assert_string_equal(dns->resolvers[2]->text, "fe80::1%lo#53");
    dns_free(dns);
    dns = new_dns();
    assert_int_equal(dns->n_resolvers, 1);
    assert_string_equal(dns->resolvers[0]->text, "127.0.0.1#53");
    static const char *const bad[] = {"",
                                      "127.0.0.1#",
                                      "127.0.0.1#0",
                                      "127.0.0.1#65536",
                                      "127.0.0.1#53x",
                                      "127.1",
                                      "224.0.0.1",
                                      "255.255.255.255",
                                      "::",
                                      "ff02::1",
                                      "::ffff:127.0.0.1",
                                      "a",
                                      "#53",
                                      "127.0.0.1#-1",
                                      "1111111111111111111111111111111111111111111111111111111111111111111"};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_null(dns_host_get(dns, bad[i]));
    assert_ptr_equal(dns_host_get(dns, "127.0.0.1#53"), dns->resolvers[0]);
    assert_ptr_not_equal(dns_host_get(dns, "127.0.0.1#54"), dns->resolvers[0]);
    dns_free(dns);
}

/* -- setup ---------------------------------------------------------------------------------------------- */

static bool tell_kernel(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool told = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return told;
}

/* A network of our own with nothing but loopback; without root, within a user namespace where we are root. */
static bool own_network(void)
{
    char users[64], groups[64];
    struct ifreq lo = {.ifr_name = "lo"};
    snprintf(users, sizeof users, "0 %ld 1\n", (long)geteuid());
    snprintf(groups, sizeof groups, "0 %ld 1\n", (long)getegid());
    if (unshare(CLONE_NEWNET) != 0 &&
        (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 || !tell_kernel("/proc/self/setgroups", "deny") ||
         !tell_kernel("/proc/self/uid_map", users) || !tell_kernel("/proc/self/gid_map", groups)))
        return false;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool up = fd >= 0 && ioctl(fd, SIOCGIFFLAGS, &lo) == 0;
    lo.ifr_flags |= IFF_UP;
    up = up && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
    if (fd >= 0)
        close(fd);
    return up;
}

#define with_servers(test) cmocka_unit_test_setup_teardown(test, start_test, end_test)

int main(void)
{
    have_network = own_network();
    if (getenv("TEST_DEBUG") != NULL)
        log_set_level(LOG_LEVEL_DEBUG);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_fits),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_resolv_conf),
        with_servers(test_where),
        with_servers(test_addresses),
        with_servers(test_no_address),
        with_servers(test_where_leaves_no_trace),
        with_servers(test_remembered_for_a_moment),
        with_servers(test_hidden_primary),
        with_servers(test_aliases),
        with_servers(test_alias_circle),
        with_servers(test_alias_chain),
        with_servers(test_wildcard_alias),
        with_servers(test_delegation_with_glue),
        with_servers(test_foreign_glue),
        with_servers(test_unknown_domain),
        with_servers(test_many_name_servers),
        with_servers(test_many_addresses),
        with_servers(test_odd_but_usable),
        with_servers(test_unusable_then_good),
        with_servers(test_all_unusable),
        with_servers(test_nobody_listens),
        with_servers(test_no_resolver),
        with_servers(test_deadline),
        with_servers(test_second_resolver),
        with_servers(test_only_ipv6),
        with_servers(test_thousands_of_records),
        with_servers(test_long_values),
        with_servers(test_everywhere_waits),
        with_servers(test_everywhere_outlasts_the_resolver),
        with_servers(test_everywhere_says_who_lacks_it),
        with_servers(test_everywhere_excuses),
        with_servers(test_everywhere_for_many),
        with_servers(test_everywhere_with_a_dead_one),
        with_servers(test_caa),
        with_servers(test_caa_step_by_step),
        with_servers(test_update),
        with_servers(test_bad_questions),
        with_servers(test_built_without),
        with_servers(test_dropped),
        with_servers(test_ask_from_within),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
