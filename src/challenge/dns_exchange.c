#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "dns_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "tlsup/clock.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"

#define MAX_ACTIVE 100
#define MAX_ACTIVE_OF_HOST 50
#define UDP_TRIES 2
#define UDP_WAIT_MS 1500
#define RESOLVER_SECOND_WAIT_MS 3000 /* a resolver may have to go far */
#define TCP_WAIT_MS 3000
#define GIVE_UP_MS 20000 /* one query, all its servers */
#define SILENCE_MS 3000
#define PROBE_MS 10000
#define MAX_STRAYS 32
#define READS_PER_CALL 16
#define FAULTS_BYTES 700

_Static_assert(MAX_ACTIVE <= DNS_MAX_POLLFDS, "pollfds hold all");
_Static_assert(DNS_MAX_SERVERS <= 32, "tcp_tried has a bit for each");

/* -- servers --------------------------------------------------------------------------------------------- */

static bool parse_port(const char *text, in_port_t *port)
{
    char *end;
    if (text == NULL) {
        *port = htons(53);
        return true;
    }
    unsigned long value = strtoul(text, &end, 10);
    *port = htons((uint16_t)value);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && value > 0 && value <= UINT16_MAX;
}

static bool parse_v4(const char *text, in_port_t port, struct dns_host *host)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = port};
    if (inet_pton(AF_INET, text, &v4.sin_addr) != 1)
        return false;
    uint32_t address = ntohl(v4.sin_addr.s_addr);
    if (address >> 24 == 0 || address >> 28 >= 14) /* this network, multicast, reserved, broadcast */
        return false;
    memcpy(&host->address, &v4, sizeof v4);
    host->address_len = sizeof v4;
    return true;
}

static bool parse_v6(const char *text, const char *scope, in_port_t port, struct dns_host *host)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = port};
    if (inet_pton(AF_INET6, text, &v6.sin6_addr) != 1 || IN6_IS_ADDR_UNSPECIFIED(&v6.sin6_addr) ||
        IN6_IS_ADDR_MULTICAST(&v6.sin6_addr) || IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
        return false;
    if (scope != NULL && (v6.sin6_scope_id = if_nametoindex(scope)) == 0)
        v6.sin6_scope_id = (uint32_t)strtoul(scope, NULL, 10);
    memcpy(&host->address, &v6, sizeof v6);
    host->address_len = sizeof v6;
    return true;
}

/* "ADDRESS[%SCOPE][#PORT]" */
static bool parse_host(const char *text, struct dns_host *host)
{
    char copy[sizeof host->text - 8], shown[INET6_ADDRSTRLEN];
    in_port_t port;
    if (strlen(text) >= sizeof copy)
        return false;
    strcpy(copy, text);
    char *address = copy, *port_text = strchr(copy, '#'), *scope = strchr(copy, '%');
    if (port_text != NULL)
        *port_text++ = '\0';
    if (scope != NULL)
        *scope++ = '\0';
    if (!parse_port(port_text, &port) ||
        (!parse_v4(address, port, host) && !parse_v6(address, scope, port, host)))
        return false;
    const void *binary = host->address.ss_family == AF_INET
                             ? (const void *)&((struct sockaddr_in *)&host->address)->sin_addr
                             : (const void *)&((struct sockaddr_in6 *)&host->address)->sin6_addr;
    inet_ntop(host->address.ss_family, binary, shown, sizeof shown);
    snprintf(host->text, sizeof host->text, "%s%s%.15s#%d", shown, scope != NULL ? "%" : "",
             scope != NULL ? scope : "", ntohs(port));
    return true;
}

struct dns_host *dns_host_get(struct dns *dns, const char *text)
{
    struct dns_host parsed = {0};
    if (!parse_host(text, &parsed))
        return NULL;
    for (struct dns_host *host = dns->hosts; host != NULL; host = host->next)
        if (strcmp(host->text, parsed.text) == 0)
            return host;
    struct dns_host *host = mem_alloc(sizeof *host);
    *host = parsed;
    host->next = dns->hosts;
    host->answered_ms = INT64_MIN;
    dns->hosts = host;
    return host;
}

/* -- lists ----------------------------------------------------------------------------------------------- */

static void list_remove(struct dns_exchange *x)
{
    struct dns *dns = x->dns;
    if (x->list == NULL)
        return;
    if (x->prev != NULL)
        x->prev->next = x->next;
    else
        *x->list = x->next;
    if (x->next != NULL)
        x->next->prev = x->prev;
    else if (x->list == &dns->queued)
        dns->queued_last = x->prev;
    x->prev = x->next = NULL;
    x->list = NULL;
}

static void list_push(struct dns_exchange *x, struct dns_exchange **list)
{
    x->list = list;
    x->prev = NULL;
    x->next = *list;
    if (*list != NULL)
        (*list)->prev = x;
    *list = x;
}

static void queue_append(struct dns_exchange *x)
{
    struct dns *dns = x->dns;
    x->list = &dns->queued;
    x->next = NULL;
    x->prev = dns->queued_last;
    if (x->prev != NULL)
        x->prev->next = x;
    else
        dns->queued = x;
    dns->queued_last = x;
}

/* -- the end of an exchange ----------------------------------------------------------------------------- */

static struct dns_host *host_of(const struct dns_exchange *x)
{
    return x->hosts[x->step % x->n_hosts];
}

static void close_socket(struct dns_exchange *x)
{
    if (x->fd < 0)
        return;
    close(x->fd);
    x->fd = -1;
    host_of(x)->active--;
}

static void exchange_free(struct dns_exchange *x)
{
    close_socket(x);
    if (x->list == &x->dns->active)
        x->dns->n_active--;
    list_remove(x);
    free(x->name);
    free(x->zone);
    buf_clear(&x->query);
    buf_clear(&x->edns);
    buf_clear(&x->out);
    buf_clear(&x->in);
    buf_clear(&x->faults);
    dns_message_free(x->message);
    free(x);
}

void dns_exchange_cancel(struct dns_exchange *x)
{
    if (x != NULL)
        exchange_free(x);
}

bool dns_exchange_unreachable(const struct dns_exchange *x)
{
    return x->message == NULL && x->elsewhere == x->n_hosts;
}

static void log_exchange(const struct dns_exchange *x)
{
    char number[16];
    if (x->message != NULL)
        log_debug("dns: %s answers about %s (%s): %s, %zu records", x->host->text, x->name,
                  dns_type_name(x->type), dns_rcode_name(x->message->rcode, number), x->message->n);
    else
        log_debug("dns: no answer about %s (%s): %s", x->name, dns_type_name(x->type), buf_str(&x->faults));
}

static void finish(struct dns_exchange *x)
{
    close_socket(x);
    if (x->list == &x->dns->active)
        x->dns->n_active--;
    list_remove(x);
    x->state = X_OVER;
    list_push(x, &x->dns->finished);
    log_exchange(x);
}

/* -- one attempt ----------------------------------------------------------------------------------------- */

static void attempt(struct dns_exchange *x);

static void note_fault(struct dns_exchange *x, const char *what)
{
    AUTO_FREE char *fault = mem_fmt("%s: %s", host_of(x)->text, what);
    if (x->faults.len + strlen(fault) + 2 > FAULTS_BYTES || strstr(buf_str(&x->faults), fault) != NULL)
        return;
    buf_addf(&x->faults, "%s%s", x->faults.len > 0 ? "; " : "", fault);
}

static void next_server(struct dns_exchange *x, const char *fault)
{
    note_fault(x, fault);
    close_socket(x);
    x->step++;
    attempt(x);
}

/* An error that the socket layer gave at once: this machine has no way to such an address. */
static bool is_no_route(int errnum)
{
    return errnum == ENETUNREACH || errnum == EAFNOSUPPORT || errnum == EADDRNOTAVAIL;
}

/* 0, or errno. */
static int open_socket(struct dns_exchange *x, int type)
{
    struct dns_host *host = host_of(x);
    int fd = socket(host->address.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    /* connected: the kernel chooses a port at random, and lets nobody else's datagrams in */
    if (connect(fd, (const struct sockaddr *)&host->address, host->address_len) != 0 &&
        errno != EINPROGRESS) {
        int failed = errno;
        close(fd);
        return failed;
    }
    x->fd = fd;
    host->active++;
    return 0;
}

/* A new id for every server: what one of them saw helps it nothing with the next. An update is signed as it
 * is. */
static void choose_id(struct dns_exchange *x)
{
    unsigned char id[2];
    if (x->mode == DNS_SEND)
        return;
    if (getrandom(id, sizeof id, GRND_NONBLOCK) != (ssize_t)sizeof id) {
        int64_t now = clock_mono_ms() ^ (int64_t)(intptr_t)x;
        memcpy(id, &now, sizeof id);
    }
    memcpy(x->query.data, id, sizeof id);
    memcpy(x->edns.data, id, sizeof id);
}

static const struct buf *packet_of(const struct dns_exchange *x)
{
    return x->with_edns ? &x->edns : &x->query;
}

static bool send_datagram(struct dns_exchange *x)
{
    const struct buf *packet = packet_of(x);
    x->sent++;
    x->due_ms =
        clock_mono_ms() + (x->sent > 1 && x->mode == DNS_RECURSIVE ? RESOLVER_SECOND_WAIT_MS : UDP_WAIT_MS);
    return send(x->fd, packet->data, packet->len, MSG_NOSIGNAL) == (ssize_t)packet->len;
}

static bool start_tcp(struct dns_exchange *x)
{
    const struct buf *packet = packet_of(x);
    unsigned char head[2] = {(unsigned char)(packet->len >> 8), (unsigned char)packet->len};
    close_socket(x);
    x->tcp_tried |= 1u << x->step % x->n_hosts;
    buf_reset(&x->out);
    buf_reset(&x->in);
    buf_add(&x->out, head, sizeof head);
    buf_add(&x->out, packet->data, packet->len);
    x->written = 0;
    int failed = open_socket(x, SOCK_STREAM);
    if (failed != 0) {
        next_server(x, strerror(failed));
        return false;
    }
    x->state = X_TCP_CONNECT;
    x->due_ms = clock_mono_ms() + TCP_WAIT_MS;
    return true;
}

static void start_udp(struct dns_exchange *x)
{
    x->sent = x->strays = 0;
    int failed = open_socket(x, SOCK_DGRAM);
    if (failed == 0) {
        x->state = X_UDP;
        if (send_datagram(x))
            return;
        failed = errno;
    }
    if (is_no_route(failed)) {
        x->elsewhere++;
        x->tcp_tried |= 1u << x->step % x->n_hosts;
    }
    next_server(x, strerror(failed));
}

/* Begin with the server of this step, or end when there is none left. */
static void attempt(struct dns_exchange *x)
{
    while (x->step >= x->n_hosts && x->step < 2 * x->n_hosts &&
           (x->skip_tcp || (x->tcp_tried >> x->step % x->n_hosts & 1) != 0))
        x->step++;
    int64_t now = clock_mono_ms();
    if (x->step >= 2 * x->n_hosts || now - x->began_ms >= GIVE_UP_MS) {
        finish(x);
        return;
    }
    choose_id(x);
    x->with_edns = x->mode != DNS_SEND && !host_of(x)->without_edns;
    if (x->step >= x->n_hosts || host_of(x)->only_tcp || packet_of(x)->len > DNS_UDP_BYTES)
        start_tcp(x);
    else
        start_udp(x);
}

/* -- answers --------------------------------------------------------------------------------------------- */

/* A delegation to below the zone, on the way to the name. */
static bool leads_down(const struct dns_exchange *x, const struct dns_message *message)
{
    for (size_t i = 0; i < message->n; i++) {
        const struct dns_record *ns = &message->v[i];
        if (ns->section == DNS_AUTHORITY && ns->type == DNS_TYPE_NS && strcmp(ns->owner, x->zone) != 0 &&
            dns_name_within(ns->owner, x->zone) && dns_name_within(x->name, ns->owner))
            return true;
    }
    return false;
}

/* NULL, or what is wrong with it. */
static const char *fault_of(const struct dns_exchange *x, const struct dns_message *message, char out[16])
{
    if (x->mode == DNS_SEND)
        return NULL;
    if (message->rcode != DNS_NOERROR && message->rcode != DNS_NXDOMAIN)
        return dns_rcode_name(message->rcode, out);
    if (x->mode == DNS_RECURSIVE || message->authoritative || leads_down(x, message))
        return NULL;
    return "has no authority for the zone";
}

static bool dislikes_edns(const struct dns_exchange *x, const struct dns_message *message)
{
    return x->with_edns && !host_of(x)->without_edns &&
           (message->rcode == DNS_FORMERR || message->rcode == DNS_NOTIMP || message->rcode == DNS_BADVERS);
}

static void take_answer(struct dns_exchange *x, const void *data, size_t len)
{
    struct dns_host *host = host_of(x);
    struct dns_message *message;
    char rcode[16];
    host->silent = false;
    host->answered_ms = clock_mono_ms();
    if (x->state == X_UDP)
        host->answered_by_udp = true;
    else if (!host->answered_by_udp && x->step >= x->n_hosts)
        host->only_tcp = true;
    if (!dns_wire_parse(data, len, &message)) {
        next_server(x, "sent an answer that cannot be read");
        return;
    }
    if (dislikes_edns(x, message)) {
        dns_message_free(message);
        host->without_edns = true;
        close_socket(x);
        x->tcp_tried &= ~(1u << x->step % x->n_hosts);
        attempt(x);
        return;
    }
    x->tcp_tried |= 1u << x->step % x->n_hosts; /* it would say the same again */
    const char *fault = fault_of(x, message, rcode);
    if (fault != NULL) {
        x->rcode = message->rcode;
        dns_message_free(message);
        next_server(x, fault);
        return;
    }
    x->message = message;
    x->host = host;
    finish(x);
}

static void read_datagrams(struct dns_exchange *x)
{
    unsigned char *data = x->dns->datagram;
    for (int i = 0; i < READS_PER_CALL; i++) {
        ssize_t len = recv(x->fd, data, sizeof x->dns->datagram, 0);
        if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return;
        if (len < 0) {
            next_server(x, strerror(errno));
            return;
        }
        switch (dns_wire_fits(x->query.data, x->query.len, data, (size_t)len)) {
        case DNS_FITS_NOT:
            /* somebody guesses: where a connection is needed, guessing helps nothing */
            if (++x->strays < MAX_STRAYS)
                continue;
            note_fault(x, "answers that do not belong to the question");
            start_tcp(x);
            return;
        case DNS_TRUNCATED:
            host_of(x)->silent = false;
            host_of(x)->answered_by_udp = true;
            host_of(x)->answered_ms = clock_mono_ms();
            start_tcp(x);
            return;
        case DNS_FITS:
            take_answer(x, data, (size_t)len);
            return;
        }
    }
}

static void write_stream(struct dns_exchange *x)
{
    while (x->written < x->out.len) {
        ssize_t n = send(x->fd, x->out.data + x->written, x->out.len - x->written, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return;
        if (n < 0) {
            next_server(x, strerror(errno));
            return;
        }
        x->written += (size_t)n;
    }
    x->state = X_TCP_READ;
}

/* How much is missing of the length and the message. */
static size_t missing(const struct buf *in)
{
    const unsigned char *head = (const unsigned char *)in->data;
    if (in->len < 2)
        return 2 - in->len;
    return 2 + ((size_t)head[0] << 8 | head[1]) - in->len;
}

static void take_stream(struct dns_exchange *x)
{
    AUTO_BUF whole = x->in;
    x->in = (struct buf)BUF_INIT;
    switch (dns_wire_fits(x->query.data, x->query.len, whole.data + 2, whole.len - 2)) {
    case DNS_FITS:
        take_answer(x, whole.data + 2, whole.len - 2);
        break;
    case DNS_TRUNCATED:
        next_server(x, "cut its answer short over TCP, too");
        break;
    case DNS_FITS_NOT:
        next_server(x, "sent an answer that does not belong to the question");
        break;
    }
}

static void read_stream(struct dns_exchange *x)
{
    for (int i = 0; i < READS_PER_CALL; i++) {
        size_t want = missing(&x->in);
        ssize_t n = recv(x->fd, x->dns->datagram, want, 0);
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return;
        if (n <= 0) {
            next_server(x, n < 0            ? strerror(errno)
                           : x->in.len == 0 ? "closed the connection without an answer"
                                            : "closed the connection in the middle of its answer");
            return;
        }
        buf_add(&x->in, x->dns->datagram, (size_t)n);
        if (x->in.len >= 2 && missing(&x->in) == 0) {
            take_stream(x);
            return;
        }
    }
}

static void finish_connect(struct dns_exchange *x)
{
    int failed = 0;
    socklen_t len = sizeof failed;
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof peer;
    if (getsockopt(x->fd, SOL_SOCKET, SO_ERROR, &failed, &len) == 0 && failed == 0) {
        if (getpeername(x->fd, (struct sockaddr *)&peer, &peer_len) != 0)
            return; /* not yet */
        x->state = X_TCP_WRITE;
        write_stream(x);
    } else {
        next_server(x, strerror(failed != 0 ? failed : errno));
    }
}

void dns_exchange_io(struct dns_exchange *x)
{
    switch (x->state) {
    case X_UDP:
        read_datagrams(x);
        break;
    case X_TCP_CONNECT:
        finish_connect(x);
        break;
    case X_TCP_WRITE:
        write_stream(x);
        break;
    case X_TCP_READ:
        read_stream(x);
        break;
    case X_QUEUED:
    case X_OVER:
        break;
    }
}

/* -- time ------------------------------------------------------------------------------------------------ */

/* Nothing came of this server while others had answers of it: one query may be slow, the server is not dead.
 */
static bool is_silent(const struct dns_exchange *x)
{
    return host_of(x)->answered_ms < x->began_ms;
}

static void give_up_udp(struct dns_exchange *x)
{
    struct dns_host *host = host_of(x);
    if (is_silent(x)) {
        x->skip_tcp = x->mode == DNS_POLL && host->silent && host->silent_until_ms > clock_mono_ms() &&
                      host->silent_until_ms <= clock_mono_ms() + SILENCE_MS;
        host->silent = true;
        host->silent_until_ms = clock_mono_ms() + SILENCE_MS;
    }
    next_server(x, "no answer");
}

static void on_late(struct dns_exchange *x)
{
    if (x->state != X_UDP) {
        if (is_silent(x)) {
            host_of(x)->silent = true;
            host_of(x)->silent_until_ms = clock_mono_ms() + SILENCE_MS;
        }
        next_server(x, x->state == X_TCP_CONNECT ? "no connection" : "no answer over TCP");
    } else if (x->sent >= UDP_TRIES) {
        give_up_udp(x);
    } else {
        /* some firewalls swallow EDNS */
        x->with_edns = false;
        if (!send_datagram(x))
            next_server(x, strerror(errno));
    }
}

/* Those that are known to be silent come last. */
static void live_first(struct dns_exchange *x)
{
    struct dns_host *sorted[DNS_MAX_SERVERS];
    size_t n = 0;
    for (int silent = 0; silent < 2; silent++)
        for (size_t i = 0; i < x->n_hosts; i++)
            if (x->hosts[i]->silent == (silent == 1))
                sorted[n++] = x->hosts[i];
    memcpy(x->hosts, sorted, n * sizeof sorted[0]);
}

/* A poll of a server that is silent: one of them finds out whether it still is, the others need not wait. */
static bool is_known_silent(struct dns_exchange *x)
{
    struct dns_host *host = x->hosts[0];
    int64_t now = clock_mono_ms();
    if (x->mode != DNS_POLL || !host->silent)
        return false;
    if (host->silent_until_ms > now)
        return true;
    host->silent_until_ms = now + PROBE_MS;
    return false;
}

static void start(struct dns_exchange *x)
{
    list_remove(x);
    x->began_ms = clock_mono_ms();
    if (x->n_hosts == 0 || (x->mode != DNS_SEND && x->query.len == 0)) {
        buf_adds(&x->faults, x->n_hosts == 0 ? "no server to ask" : "the name cannot be asked for");
        finish(x);
        return;
    }
    live_first(x);
    list_push(x, &x->dns->active);
    x->dns->n_active++;
    if (is_known_silent(x)) {
        note_fault(x, "no answer");
        finish(x);
        return;
    }
    attempt(x);
}

static bool start_queued(struct dns *dns)
{
    bool any = false;
    for (struct dns_exchange *x = dns->queued, *next; x != NULL && dns->n_active < MAX_ACTIVE; x = next) {
        next = x->next;
        if (x->n_hosts > 0 && x->hosts[0]->active >= MAX_ACTIVE_OF_HOST)
            continue;
        start(x);
        any = true;
    }
    return any;
}

static bool expire(struct dns *dns)
{
    bool any = false;
    int64_t now = clock_mono_ms();
    for (struct dns_exchange *x = dns->active, *next; x != NULL; x = next) {
        next = x->next;
        if (x->due_ms <= now) {
            on_late(x);
            any = true;
        }
    }
    return any;
}

static bool deliver(struct dns *dns)
{
    bool any = false;
    while (dns->finished != NULL) {
        struct dns_exchange *x = dns->finished;
        list_remove(x);
        x->done(x->ctx, x);
        exchange_free(x);
        any = true;
    }
    return any;
}

bool dns_exchanges_run(struct dns *dns)
{
    bool late = expire(dns);
    bool delivered = deliver(dns);
    return start_queued(dns) || late || delivered;
}

int64_t dns_exchanges_due_ms(const struct dns *dns)
{
    int64_t due = INT64_MAX;
    if (dns->finished != NULL)
        return 0;
    for (const struct dns_exchange *x = dns->active; x != NULL; x = x->next)
        due = x->due_ms < due ? x->due_ms : due;
    return due;
}

/* -- a new one ------------------------------------------------------------------------------------------- */

struct dns_exchange *dns_exchange_new(struct dns *dns, const struct dns_order *order, dns_exchange_fn *done,
                                      void *ctx)
{
    struct dns_exchange *x = mem_alloc(sizeof *x);
    x->dns = dns;
    x->fd = -1;
    x->rcode = -1;
    x->mode = order->mode;
    x->name = mem_dup(order->name != NULL ? order->name : "update");
    x->zone = mem_dup(order->zone);
    x->type = order->type;
    x->n_hosts = order->n_hosts < DNS_MAX_SERVERS ? order->n_hosts : DNS_MAX_SERVERS;
    if (x->n_hosts > 0)
        memcpy(x->hosts, order->hosts, x->n_hosts * sizeof x->hosts[0]);
    if (x->mode == DNS_SEND) {
        buf_add(&x->query, order->packet, order->packet_len);
    } else if (dns_wire_query(order->name, order->type, x->mode == DNS_RECURSIVE, &x->query)) {
        buf_add(&x->edns, x->query.data, x->query.len);
        dns_wire_add_edns(&x->edns);
    }
    x->done = done;
    x->ctx = ctx;
    queue_append(x);
    return x;
}
