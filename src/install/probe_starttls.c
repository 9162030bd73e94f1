/*
 * probe_starttls.c - what mail servers, databases and others want to hear before TLS begins.
 *
 * All that a server says here is limited, and the connection's one deadline holds. What it has sent beyond
 * the answer that lets TLS begin was not protected by it: somebody in between could have put it there, so it
 * is refused rather than read as a part of what follows.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "probe_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tlsup/buf.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

enum { TALK_BYTES = 64 * 1024, LINE_BYTES = 4096, LDAP_BYTES = 4096, SAID_BYTES = 200 };

/* What has come, and how far it is understood. */
struct talk {
    struct conn *conn;
    const char *protocol;
    struct buf data;
    size_t at;
};

static void talk_clear(struct talk *talk)
{
    buf_clear(&talk->data);
}

/* -- words of errors ---------------------------------------------------------------------------------- */

/* A server's own words, as far as a person can use them. */
static void quote(const char *text, size_t len, char out[SAID_BYTES])
{
    size_t n = 0;
    while (len > 0 && strchr("\r\n \t", text[len - 1]) != NULL)
        len--;
    for (; n < len && n < SAID_BYTES - 4; n++)
        out[n] = isprint((unsigned char)text[n]) ? text[n] : '?';
    snprintf(out + n, SAID_BYTES - n, "%s", n < len ? "..." : "");
}

static bool refused(const struct talk *talk, const char *text, size_t len, struct err *err)
{
    char said[SAID_BYTES];
    quote(text, len, said);
    err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, talk->conn->name, "%s will not begin TLS: it says \"%s\"",
            talk->conn->where, said);
    return err_advise(err, "See the TLS settings of the service that speaks %s there, and its log.",
                      talk->protocol);
}

static bool not_offered(const struct talk *talk, struct err *err)
{
    err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, talk->conn->name, "%s speaks %s, and does not offer TLS",
            talk->conn->where, talk->protocol);
    return err_advise(err,
                      "Give the service its certificate and switch TLS on in its settings; see its log.");
}

static bool looks_like_tls(const struct conn *conn)
{
    return conn->n_first > 1 && conn->first[0] >= SSL3_RT_CHANGE_CIPHER_SPEC &&
           conn->first[0] <= SSL3_RT_APPLICATION_DATA && conn->first[1] == SSL3_VERSION_MAJOR;
}

/* It is another service, or no good one. */
static bool strange(const struct talk *talk, const char *text, size_t len, struct err *err)
{
    const struct conn *conn = talk->conn;
    char said[SAID_BYTES];
    if (looks_like_tls(conn)) {
        err_set(err, ERR_PROTOCOL, NEXT_LOCAL_FAULT, conn->name, "%s speaks TLS from the first byte, not %s",
                conn->where, talk->protocol);
        return err_advise(err, "Write HOST:PORT/tls.");
    }
    quote(text, len, said);
    err_set(err, ERR_PROTOCOL, NEXT_LOCAL_FAULT, conn->name, "the answer of %s is not %s: it says \"%s\"",
            conn->where, talk->protocol, said);
    return err_advise(err, "Write the protocol that is spoken there, HOST:PORT/PROTOCOL, or HOST:PORT/tls.");
}

static bool strange_data(const struct talk *talk, struct err *err)
{
    return strange(talk, buf_str(&talk->data), talk->data.len, err);
}

/* -- reading and writing ------------------------------------------------------------------------------ */

static bool more(struct talk *talk, struct err *err)
{
    char bytes[2048];
    size_t n;
    if (!conn_recv(talk->conn, bytes, sizeof bytes, &n, err))
        return false;
    if (n == 0) {
        err_set(err, ERR_NETWORK, NEXT_LOCAL_FAULT, talk->conn->name,
                "%s closed the connection before TLS began", talk->conn->where);
        return err_advise(err, "See the service's log.");
    }
    buf_add(&talk->data, bytes, n);
    if (talk->data.len > TALK_BYTES)
        return err_set(err, ERR_PROTOCOL, NEXT_LOCAL_FAULT, talk->conn->name, "%s talks without end",
                       talk->conn->where);
    return true;
}

static bool say(struct talk *talk, const void *data, size_t len, struct err *err)
{
    return conn_send(talk->conn, data, len, err);
}

static bool say_text(struct talk *talk, const char *text, struct err *err)
{
    return say(talk, text, strlen(text), err);
}

/* The next line without its line end, borrowed until the next read. */
static bool read_line(struct talk *talk, const char **line, struct err *err)
{
    for (;;) {
        char *start = talk->data.data != NULL ? talk->data.data + talk->at : NULL;
        size_t len = talk->data.len - talk->at;
        char *newline = len > 0 ? memchr(start, '\n', len) : NULL;
        if (newline != NULL) {
            talk->at += (size_t)(newline - start) + 1;
            *newline = '\0';
            if (newline > start && newline[-1] == '\r')
                newline[-1] = '\0';
            *line = start;
            return true;
        }
        if (len > LINE_BYTES)
            return strange(talk, start, len, err);
        if (!more(talk, err))
            return false;
    }
}

/* So many bytes, borrowed until the next read. */
static bool read_bytes(struct talk *talk, size_t n, const unsigned char **bytes, struct err *err)
{
    while (talk->data.len - talk->at < n)
        if (!more(talk, err))
            return false;
    *bytes = (const unsigned char *)talk->data.data + talk->at;
    talk->at += n;
    return true;
}

/* -- replies of three digits: SMTP, FTP, NNTP --------------------------------------------------------- */

/* Does the line, behind its code, name this capability? */
static bool names(const char *text, const char *capability)
{
    size_t len = strlen(capability);
    return strncasecmp(text, capability, len) == 0 &&
           (text[len] == '\0' || text[len] == ' ' || text[len] == '\r');
}

struct reply {
    int code;
    bool offers;      /* the capability that was looked for is among its lines */
    const char *line; /* the last one, borrowed until the next read */
};

/* "250-FIRST", ... "250 LAST". FTP lets lines in between be anything. */
static bool read_reply(struct talk *talk, const char *capability, struct reply *out, struct err *err)
{
    char code[4] = "";
    *out = (struct reply){0};
    for (;;) {
        const char *line;
        if (!read_line(talk, &line, err))
            return false;
        bool coded = strspn(line, "0123456789") == 3 && (line[3] == '\0' || line[3] == ' ' || line[3] == '-');
        if (!coded && code[0] == '\0')
            return strange(talk, line, strlen(line), err);
        if (!coded || (code[0] != '\0' && strncmp(line, code, 3) != 0))
            continue;
        snprintf(code, sizeof code, "%.3s", line);
        out->offers = out->offers || (capability != NULL && line[3] != '\0' && names(line + 4, capability));
        if (line[3] == '-')
            continue;
        out->code = atoi(code);
        out->line = line;
        return true;
    }
}

/* What is said, if anything; then the one code that goes on. */
static bool expect(struct talk *talk, const char *text, int code, struct err *err)
{
    struct reply reply;
    if ((text != NULL && !say_text(talk, text, err)) || !read_reply(talk, NULL, &reply, err))
        return false;
    return reply.code == code || refused(talk, reply.line, strlen(reply.line), err);
}

static bool talk_smtp(struct talk *talk, struct err *err)
{
    struct reply reply;
    if (!expect(talk, NULL, 220, err) || !say_text(talk, "EHLO localhost\r\n", err) ||
        !read_reply(talk, "STARTTLS", &reply, err))
        return false;
    if (reply.code != 250)
        return refused(talk, reply.line, strlen(reply.line), err);
    return reply.offers ? expect(talk, "STARTTLS\r\n", 220, err) : not_offered(talk, err);
}

static bool talk_ftp(struct talk *talk, struct err *err)
{
    return expect(talk, NULL, 220, err) && expect(talk, "AUTH TLS\r\n", 234, err);
}

static bool talk_nntp(struct talk *talk, struct err *err)
{
    struct reply reply;
    if (!read_reply(talk, NULL, &reply, err))
        return false;
    if (reply.code != 200 && reply.code != 201)
        return refused(talk, reply.line, strlen(reply.line), err);
    return expect(talk, "STARTTLS\r\n", 382, err);
}

/* -- lines of words: IMAP, POP3, ManageSieve ---------------------------------------------------------- */

static bool begins(const char *line, const char *word)
{
    size_t len = strlen(word);
    return strncasecmp(line, word, len) == 0 && (line[len] == '\0' || line[len] == ' ');
}

static bool talk_imap(struct talk *talk, struct err *err)
{
    const char *line;
    if (!read_line(talk, &line, err))
        return false;
    if (begins(line, "* BYE") || begins(line, "* PREAUTH"))
        return refused(talk, line, strlen(line), err);
    if (!begins(line, "* OK"))
        return strange(talk, line, strlen(line), err);
    if (!say_text(talk, "a1 STARTTLS\r\n", err))
        return false;
    do {
        if (!read_line(talk, &line, err))
            return false;
        if (begins(line, "* BYE"))
            return refused(talk, line, strlen(line), err);
    } while (line[0] == '*');
    return begins(line, "a1 OK") || refused(talk, line, strlen(line), err);
}

static bool talk_pop3(struct talk *talk, struct err *err)
{
    const char *line;
    if (!read_line(talk, &line, err))
        return false;
    if (begins(line, "-ERR"))
        return refused(talk, line, strlen(line), err);
    if (!begins(line, "+OK"))
        return strange(talk, line, strlen(line), err);
    if (!say_text(talk, "STLS\r\n", err) || !read_line(talk, &line, err))
        return false;
    return begins(line, "+OK") || refused(talk, line, strlen(line), err);
}

/* Capabilities in quotation marks, a line each, and OK, NO or BYE at the end. */
static bool read_sieve(struct talk *talk, bool *offers, struct err *err)
{
    for (;;) {
        const char *line;
        if (!read_line(talk, &line, err))
            return false;
        if (begins(line, "OK"))
            return true;
        if (begins(line, "NO") || begins(line, "BYE"))
            return refused(talk, line, strlen(line), err);
        if (line[0] != '"')
            return strange(talk, line, strlen(line), err);
        *offers = *offers || strncasecmp(line, "\"STARTTLS\"", strlen("\"STARTTLS\"")) == 0;
    }
}

static bool talk_sieve(struct talk *talk, struct err *err)
{
    bool offers = false;
    if (!read_sieve(talk, &offers, err))
        return false;
    return offers ? say_text(talk, "STARTTLS\r\n", err) && read_sieve(talk, &offers, err)
                  : not_offered(talk, err);
}

/* -- binary ones: LDAP, PostgreSQL, MySQL ------------------------------------------------------------- */

/* One element of BER with this tag at the beginning of what is left; `rest` moves behind it. */
struct ber {
    const unsigned char *data;
    size_t len;
};

static bool ber_take(struct ber *rest, unsigned tag, struct ber *out)
{
    size_t head = 2, len;
    if (rest->len < 2 || rest->data[0] != tag)
        return false;
    len = rest->data[1];
    if (len >= 0x80) {
        size_t count = len & 0x7f;
        if (count < 1 || count > 4 || rest->len < head + count)
            return false;
        for (len = 0; count > 0; count--)
            len = len << 8 | rest->data[head++];
    }
    if (rest->len - head < len)
        return false;
    *out = (struct ber){rest->data + head, len};
    *rest = (struct ber){rest->data + head + len, rest->len - head - len};
    return true;
}

/* One whole message. Some servers write every length in four bytes. */
static bool read_ldap(struct talk *talk, struct ber *out, struct err *err)
{
    const unsigned char *bytes;
    size_t at = talk->at, count = 0;
    if (!read_bytes(talk, 2, &bytes, err))
        return false;
    size_t len = bytes[1];
    if (bytes[0] != 0x30 || len == 0x80 || len > 0x84)
        return strange_data(talk, err);
    if (len > 0x80) {
        count = len & 0x7f;
        if (!read_bytes(talk, count, &bytes, err))
            return false;
        for (len = 0; count > 0; count--)
            len = len << 8 | *bytes++;
    }
    if (len > LDAP_BYTES)
        return strange_data(talk, err);
    if (!read_bytes(talk, len, &bytes, err))
        return false;
    *out = (struct ber){(const unsigned char *)talk->data.data + at, talk->at - at};
    return true;
}

/* RFC 4511, 4.14: an extended request; its answer has a result code and words. */
static bool talk_ldap(struct talk *talk, struct err *err)
{
    static const char request[] = "\x30\x1d\x02\x01\x01\x77\x18\x80\x16"
                                  "1.3.6.1.4.1.1466.20037";
    struct ber message, body, id, response, code, dn, words;
    if (!say(talk, request, sizeof request - 1, err) || !read_ldap(talk, &message, err))
        return false;
    if (!ber_take(&message, 0x30, &body) || !ber_take(&body, 0x02, &id) ||
        !ber_take(&body, 0x78, &response) || !ber_take(&response, 0x0a, &code) ||
        !ber_take(&response, 0x04, &dn) || !ber_take(&response, 0x04, &words) || code.len != 1)
        return strange_data(talk, err);
    if (code.data[0] == 0)
        return true;
    char said[SAID_BYTES], text[SAID_BYTES + 32];
    quote((const char *)words.data, words.len, said);
    snprintf(text, sizeof text, "result %d%s%s", code.data[0], said[0] != '\0' ? ", " : "", said);
    return refused(talk, text, strlen(text), err);
}

/* 'S', 'N', or the error message of a server that knows neither. */
static bool talk_postgres(struct talk *talk, struct err *err)
{
    static const char request[] = "\0\0\0\x08\x04\xd2\x16\x2f";
    const unsigned char *answer;
    if (!say(talk, request, sizeof request - 1, err) || !read_bytes(talk, 1, &answer, err))
        return false;
    if (answer[0] == 'S')
        return true;
    return answer[0] == 'N' ? not_offered(talk, err) : strange_data(talk, err);
}

enum { MYSQL_LIMIT = 4096, MYSQL_SSL = 0x0800, MYSQL_41 = 0x0200, MYSQL_SECURE = 0x8000 };

/* The greeting's capabilities; a server that will have none of us sends an error instead. */
static bool read_mysql(struct talk *talk, unsigned *capabilities, struct err *err)
{
    const unsigned char *p;
    if (!read_bytes(talk, 4, &p, err))
        return false;
    size_t len = p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16;
    if (len < 2 || len > MYSQL_LIMIT || p[3] != 0)
        return strange_data(talk, err);
    if (!read_bytes(talk, len, &p, err))
        return false;
    if (p[0] == 0xff)
        return len > 3 ? refused(talk, (const char *)p + 3, len - 3, err) : strange_data(talk, err);
    const unsigned char *end = p[0] == 10 ? memchr(p, '\0', len) : NULL;
    size_t at = end != NULL ? (size_t)(end - p) + 1 + 4 + 8 + 1 : len; /* connection id, salt, filler */
    if (at + 2 > len)
        return strange_data(talk, err);
    *capabilities = p[at] | (unsigned)p[at + 1] << 8;
    return true;
}

static bool talk_mysql(struct talk *talk, struct err *err)
{
    unsigned char request[36] = {32, 0, 0, 1};
    unsigned capabilities = 0, ours = MYSQL_SSL | MYSQL_41 | MYSQL_SECURE;
    if (!read_mysql(talk, &capabilities, err))
        return false;
    if ((capabilities & MYSQL_SSL) == 0)
        return not_offered(talk, err);
    request[4] = (unsigned char)(ours & 0xff);
    request[5] = (unsigned char)(ours >> 8);
    request[11] = 1;  /* packets of 16 MiB at most */
    request[12] = 33; /* UTF-8 */
    return say(talk, request, sizeof request, err);
}

/* -- XMPP --------------------------------------------------------------------------------------------- */

/* Read on until one of these stands in what has come; the earliest of them in the text counts. */
static bool read_until(struct talk *talk, const char *const *marks, size_t n, size_t *which, struct err *err)
{
    for (;;) {
        const char *start = buf_str(&talk->data) + talk->at, *first = NULL;
        if (strlen(start) != talk->data.len - talk->at)
            return strange_data(talk, err); /* a NUL */
        for (size_t i = 0; i < n; i++) {
            const char *found = strstr(start, marks[i]);
            if (found != NULL && (first == NULL || found < first)) {
                first = found;
                *which = i;
            }
        }
        if (first != NULL) {
            talk->at += (size_t)(first - start);
            return true;
        }
        if (!more(talk, err))
            return false;
    }
}

/* To the end of the tag at which we stand. */
static bool skip_tag(struct talk *talk, struct err *err)
{
    static const char *const end[] = {">"};
    size_t which;
    if (!read_until(talk, end, 1, &which, err))
        return false;
    talk->at++;
    return true;
}

/* What stands there tells why: "host-unknown", "not-authorized". */
static bool xmpp_refused(struct talk *talk, struct err *err)
{
    static const char *const ends[] = {"</stream:error>", "</failure>", "/>"};
    size_t from = talk->at, which;
    struct err ignored = ERR_INIT;
    if (!read_until(talk, ends, COUNT_OF(ends), &which, &ignored))
        talk->at = talk->data.len;
    return refused(talk, buf_str(&talk->data) + from, talk->at - from, err);
}

static bool is_plain_name(const char *name)
{
    for (; *name != '\0'; name++)
        if (!isalnum((unsigned char)*name) && strchr("._-:", *name) == NULL)
            return false;
    return true;
}

static bool talk_xmpp_as(struct talk *talk, const char *namespace, struct err *err)
{
    static const char *const first[] = {"</stream:features>", "<stream:features/>", "<stream:error",
                                        "</stream:stream>"};
    static const char *const second[] = {"<proceed", "<failure", "<stream:error", "</stream:stream>"};
    const char *name = talk->conn->name;
    size_t which;
    if (!is_plain_name(name))
        return err_set(err, ERR_INTERNAL, NEXT_NONE, name, "not a name to ask for");
    AUTO_FREE char *header = mem_fmt(
        "<?xml version='1.0'?><stream:stream xmlns='%s' xmlns:stream='http://etherx.jabber.org/streams' "
        "to='%s' version='1.0'>",
        namespace, name);
    if (!say_text(talk, header, err))
        return false;
    if (!read_until(talk, (const char *const[]){"<"}, 1, &which, err) || talk->at != 0)
        return err_isset(err) ? false : strange_data(talk, err);
    if (!read_until(talk, first, COUNT_OF(first), &which, err))
        return false;
    if (which > 1)
        return xmpp_refused(talk, err);
    const char *offer = strstr(talk->data.data, "urn:ietf:params:xml:ns:xmpp-tls");
    if (offer == NULL || offer > talk->data.data + talk->at)
        return not_offered(talk, err);
    return skip_tag(talk, err) &&
           say_text(talk, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", err) &&
           read_until(talk, second, COUNT_OF(second), &which, err) &&
           (which == 0 ? skip_tag(talk, err) : xmpp_refused(talk, err));
}

static bool talk_xmpp(struct talk *talk, struct err *err)
{
    return talk_xmpp_as(talk, "jabber:client", err);
}

static bool talk_xmpp_server(struct talk *talk, struct err *err)
{
    return talk_xmpp_as(talk, "jabber:server", err);
}

/* -- all of them -------------------------------------------------------------------------------------- */

static const struct {
    const char *name; /* as people call it */
    bool (*talk)(struct talk *talk, struct err *err);
    bool server_first;
} protocols[STARTTLS_COUNT] = {
    [STARTTLS_SMTP] = {"SMTP", talk_smtp, true},
    [STARTTLS_IMAP] = {"IMAP", talk_imap, true},
    [STARTTLS_POP3] = {"POP3", talk_pop3, true},
    [STARTTLS_SIEVE] = {"ManageSieve", talk_sieve, true},
    [STARTTLS_LDAP] = {"LDAP", talk_ldap, false},
    [STARTTLS_POSTGRES] = {"PostgreSQL", talk_postgres, false},
    [STARTTLS_MYSQL] = {"MySQL", talk_mysql, true},
    [STARTTLS_XMPP] = {"XMPP", talk_xmpp, false},
    [STARTTLS_XMPP_SERVER] = {"XMPP", talk_xmpp_server, false},
    [STARTTLS_FTP] = {"FTP", talk_ftp, true},
    [STARTTLS_NNTP] = {"NNTP", talk_nntp, true},
};

/* From here on the connection counts as new: what came first is TLS. */
static bool no_more(struct talk *talk, struct err *err)
{
    size_t left = talk->data.len - talk->at;
    struct conn *conn = talk->conn;
    if (left > 0)
        return err_set(err, ERR_TLS, NEXT_LOCAL_FAULT, conn->name,
                       "%s sent %zu bytes behind its answer that TLS may begin: they could be anybody's, so "
                       "nothing more is read from it",
                       conn->where, left);
    conn->n_first = 0;
    conn->received = 0;
    conn->waits_for_tls = false;
    conn->talked = true;
    return true;
}

bool starttls_talk(struct conn *conn, enum starttls protocol, struct err *err)
{
    if (protocol == STARTTLS_NONE)
        return true;
    if ((size_t)protocol >= STARTTLS_COUNT)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, conn->name, "no protocol of this number");
    CLEANUP(talk_clear) struct talk talk = {.conn = conn, .protocol = protocols[protocol].name};
    conn->waits_for_tls = protocols[protocol].server_first;
    return protocols[protocol].talk(&talk, err) && no_more(&talk, err);
}
