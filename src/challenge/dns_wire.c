#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "dns_internal.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifdef HAVE_LDNS
#include <ldns/ldns.h>
#endif

#include "tlsup/mem.h"

#define OPCODE_UPDATE 5

/* -- names ----------------------------------------------------------------------------------------------- */

static bool is_plain_char(unsigned char c)
{
    return c > 0x20 && c < 0x7F && c != '\\' && c != '"' && c != '(' && c != ')' && c != ';' && c != '@';
}

bool dns_name_clean(const char *text, char out[DNS_NAME_BYTES])
{
    size_t len = strlen(text), label = 0;
    char clean[DNS_NAME_BYTES];
    if (strcmp(text, ".") == 0) {
        memcpy(out, ".", 2);
        return true;
    }
    if (len > 0 && text[len - 1] == '.')
        len--;
    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!is_plain_char(c))
            return false;
        label = c == '.' ? 0 : label + 1;
        if (label > 63 || (c == '.' && (i == 0 || text[i - 1] == '.')))
            return false;
        clean[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    if (label == 0)
        return false;
    clean[len] = '\0';
    memcpy(out, clean, len + 1);
    return true;
}

bool dns_name_within(const char *name, const char *zone)
{
    size_t name_len = strlen(name), zone_len = strlen(zone);
    if (strcmp(zone, ".") == 0)
        return true;
    if (name_len < zone_len || strcmp(name + name_len - zone_len, zone) != 0)
        return false;
    return name_len == zone_len || name[name_len - zone_len - 1] == '.';
}

bool dns_name_parent(char name[DNS_NAME_BYTES])
{
    const char *dot = strchr(name, '.');
    if (strcmp(name, ".") == 0)
        return false;
    if (dot == NULL)
        memcpy(name, ".", 2);
    else
        memmove(name, dot + 1, strlen(dot + 1) + 1);
    return true;
}

/* -- messages, as bytes ---------------------------------------------------------------------------------- */

static unsigned get16(const unsigned char *bytes)
{
    return (unsigned)bytes[0] << 8 | bytes[1];
}

static int opcode_of(const unsigned char *message)
{
    return message[2] >> 3 & 0xF;
}

void dns_wire_add_edns(struct buf *query)
{
    static const unsigned char record[] = {0, 0, 41, DNS_UDP_BYTES >> 8, DNS_UDP_BYTES & 0xFF, 0, 0, 0,
                                           0, 0, 0};
    buf_add(query, record, sizeof record);
    query->data[11] = 1; /* records in the additional section */
}

/* Where the first question ends; 0 when there is none that was written without compression, as ours are. */
static size_t question_end(const unsigned char *message, size_t len)
{
    size_t at = DNS_HEADER_BYTES;
    while (at < len && message[at] != 0) {
        if (message[at] > 63)
            return 0;
        at += (size_t)message[at] + 1;
    }
    return at + 5 <= len ? at + 5 : 0;
}

/* Length octets are no letters: names can be compared as they are, whatever the case that comes back. */
static bool same_question(const unsigned char *a, const unsigned char *b, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        unsigned char x = a[i], y = b[i];
        if (x >= 'A' && x <= 'Z')
            x = (unsigned char)(x + ('a' - 'A'));
        if (y >= 'A' && y <= 'Z')
            y = (unsigned char)(y + ('a' - 'A'));
        if (x != y)
            return false;
    }
    return true;
}

enum dns_fit dns_wire_fits(const void *query, size_t query_len, const void *answer, size_t len)
{
    const unsigned char *asked = query, *got = answer;
    if (len < DNS_HEADER_BYTES || query_len < DNS_HEADER_BYTES || get16(asked) != get16(got) ||
        (got[2] & 0x80) == 0 || opcode_of(asked) != opcode_of(got))
        return DNS_FITS_NOT;
    size_t end = question_end(asked, query_len);
    bool bare = get16(got + 4) == 0;
    if (bare && (got[3] & 0xF) == DNS_NOERROR && opcode_of(asked) != OPCODE_UPDATE)
        return DNS_FITS_NOT;
    if (!bare &&
        (get16(got + 4) != 1 || end == 0 || len < end || !same_question(asked, got, DNS_HEADER_BYTES, end)))
        return DNS_FITS_NOT;
    return (got[2] & 0x02) != 0 ? DNS_TRUNCATED : DNS_FITS;
}

/* -- messages, understood -------------------------------------------------------------------------------- */

void dns_message_free(struct dns_message *message)
{
    if (message == NULL)
        return;
    for (size_t i = 0; i < message->n; i++) {
        free(message->v[i].owner);
        free(message->v[i].data);
    }
    free(message->v);
    free(message);
}

const struct dns_record *dns_message_find(const struct dns_message *message, enum dns_section section,
                                          enum dns_type type, const char *owner)
{
    for (size_t i = 0; i < message->n; i++) {
        const struct dns_record *record = &message->v[i];
        if (record->section == section && record->type == type &&
            (owner == NULL || strcmp(record->owner, owner) == 0))
            return record;
    }
    return NULL;
}

const char *dns_message_end(const struct dns_message *message, const char *name)
{
    for (int hops = 0; hops < DNS_MAX_ALIASES; hops++) {
        const struct dns_record *alias = dns_message_find(message, DNS_ANSWER, DNS_TYPE_CNAME, name);
        if (alias == NULL)
            break;
        name = alias->data;
    }
    return name;
}

const char *dns_rcode_name(int rcode, char out[16])
{
    static const char *const names[] = {
        [DNS_NOERROR] = "NOERROR",
        [DNS_FORMERR] = "FORMERR",
        [DNS_SERVFAIL] = "SERVFAIL",
        [DNS_NXDOMAIN] = "NXDOMAIN",
        [DNS_NOTIMP] = "NOTIMP",
        [DNS_REFUSED] = "REFUSED",
        [6] = "YXDOMAIN",
        [7] = "YXRRSET",
        [8] = "NXRRSET",
        [DNS_NOTAUTH] = "NOTAUTH",
        [DNS_NOTZONE] = "NOTZONE",
        [DNS_BADVERS] = "BADVERS",
        [DNS_BADKEY] = "BADKEY",
        [DNS_BADTIME] = "BADTIME",
    };
    if (rcode >= 0 && (size_t)rcode < COUNT_OF(names) && names[rcode] != NULL)
        return names[rcode];
    snprintf(out, 16, "error %d", rcode & 0xFFFF);
    return out;
}

const char *dns_type_name(enum dns_type type)
{
    switch (type) {
    case DNS_TYPE_A:
        return "A";
    case DNS_TYPE_NS:
        return "NS";
    case DNS_TYPE_CNAME:
        return "CNAME";
    case DNS_TYPE_SOA:
        return "SOA";
    case DNS_TYPE_TXT:
        return "TXT";
    case DNS_TYPE_AAAA:
        return "AAAA";
    case DNS_TYPE_CAA:
        return "CAA";
    }
    return "update";
}

#ifdef HAVE_LDNS

bool dns_available(void)
{
    return true;
}

bool dns_wire_query(const char *name, enum dns_type type, bool recursive, struct buf *out)
{
    uint8_t *wire = NULL;
    size_t len = 0;
    ldns_rdf *dname = ldns_dname_new_frm_str(name);
    ldns_pkt *packet = NULL;
    if (dname != NULL)
        packet = ldns_pkt_query_new(dname, (ldns_rr_type)type, LDNS_RR_CLASS_IN, recursive ? LDNS_RD : 0);
    if (packet == NULL) {
        ldns_rdf_deep_free(dname);
        return false;
    }
    ldns_pkt_set_id(packet, 0);
    bool written = ldns_pkt2wire(&wire, packet, &len) == LDNS_STATUS_OK;
    if (written)
        buf_add(out, wire, len);
    LDNS_FREE(wire);
    ldns_pkt_free(packet);
    return written;
}

static bool name_text(const ldns_rdf *rdf, char out[DNS_NAME_BYTES])
{
    char text[DNS_NAME_BYTES];
    size_t len = 0;
    if (rdf == NULL || ldns_rdf_get_type(rdf) != LDNS_RDF_TYPE_DNAME || ldns_rdf_size(rdf) > 255)
        return false;
    const uint8_t *wire = ldns_rdf_data(rdf);
    size_t size = ldns_rdf_size(rdf), at = 0;
    while (at < size && wire[at] != 0) {
        size_t label = wire[at++];
        if (label > 63 || at + label > size || memchr(wire + at, '.', label) != NULL ||
            memchr(wire + at, '\0', label) != NULL)
            return false;
        memcpy(text + len, wire + at, label);
        len += label;
        text[len++] = '.';
        at += label;
    }
    if (at >= size)
        return false;
    if (len == 0)
        text[len++] = '.';
    text[len] = '\0';
    return dns_name_clean(text, out);
}

static void add_octets(struct buf *text, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        buf_addc(text, bytes[i] != 0 ? (char)bytes[i] : '\1');
}

static const ldns_rdf *rdata(const ldns_rr *rr, size_t i)
{
    return i < ldns_rr_rd_count(rr) ? ldns_rr_rdf(rr, i) : NULL;
}

static bool read_name(const ldns_rr *rr, struct dns_record *out)
{
    char name[DNS_NAME_BYTES];
    if (!name_text(rdata(rr, 0), name))
        return false;
    out->data = mem_dup(name);
    return true;
}

static bool read_address(const ldns_rr *rr, struct dns_record *out)
{
    char text[INET6_ADDRSTRLEN];
    const ldns_rdf *rdf = rdata(rr, 0);
    bool v4 = out->type == DNS_TYPE_A;
    if (rdf == NULL || ldns_rdf_size(rdf) != (v4 ? 4u : 16u) ||
        inet_ntop(v4 ? AF_INET : AF_INET6, ldns_rdf_data(rdf), text, sizeof text) == NULL)
        return false;
    out->data = mem_dup(text);
    return true;
}

static bool read_txt(const ldns_rr *rr, struct dns_record *out)
{
    AUTO_BUF text = BUF_INIT;
    for (size_t i = 0; i < ldns_rr_rd_count(rr); i++) {
        const ldns_rdf *string = ldns_rr_rdf(rr, i);
        if (ldns_rdf_size(string) > 1)
            add_octets(&text, ldns_rdf_data(string) + 1, ldns_rdf_size(string) - 1);
    }
    out->data = buf_take(&text);
    return true;
}

static bool read_caa(const ldns_rr *rr, struct dns_record *out)
{
    const ldns_rdf *flags = rdata(rr, 0), *tag = rdata(rr, 1), *value = rdata(rr, 2);
    AUTO_BUF tag_text = BUF_INIT, text = BUF_INIT;
    if (flags == NULL || tag == NULL || ldns_rdf_size(flags) != 1 || ldns_rdf_size(tag) < 1)
        return false;
    out->flags = ldns_rdf_data(flags)[0];
    add_octets(&tag_text, ldns_rdf_data(tag) + 1, ldns_rdf_size(tag) - 1);
    snprintf(out->tag, sizeof out->tag, "%s", buf_str(&tag_text));
    if (value != NULL)
        add_octets(&text, ldns_rdf_data(value), ldns_rdf_size(value));
    out->data = buf_take(&text);
    return true;
}

typedef bool read_fn(const ldns_rr *rr, struct dns_record *out);

static read_fn *reader_of(ldns_rr_type type)
{
    static const struct {
        enum dns_type type;
        read_fn *read;
    } readers[] = {
        {DNS_TYPE_A, read_address},  {DNS_TYPE_AAAA, read_address}, {DNS_TYPE_NS, read_name},
        {DNS_TYPE_CNAME, read_name}, {DNS_TYPE_SOA, read_name},     {DNS_TYPE_TXT, read_txt},
        {DNS_TYPE_CAA, read_caa},
    };
    for (size_t i = 0; i < COUNT_OF(readers); i++)
        if ((int)readers[i].type == (int)type)
            return readers[i].read;
    return NULL;
}

static void add_section(struct dns_message *message, enum dns_section section, const ldns_rr_list *list)
{
    for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(list, i);
        char owner[DNS_NAME_BYTES];
        read_fn *read = reader_of(ldns_rr_get_type(rr));
        struct dns_record record = {.section = section, .type = (enum dns_type)ldns_rr_get_type(rr)};
        if (read == NULL || ldns_rr_get_class(rr) != LDNS_RR_CLASS_IN || !name_text(ldns_rr_owner(rr), owner))
            continue;
        if (!read(rr, &record))
            continue;
        record.owner = mem_dup(owner);
        message->v = mem_resize(message->v, message->n + 1, sizeof *message->v);
        message->v[message->n++] = record;
    }
}

/* An answer to a signed update has the reason in its TSIG record (RFC 8945 section 4.2), rcode NOTAUTH in its
 * header. */
static int tsig_error(const ldns_pkt *packet)
{
    const ldns_rr *tsig = ldns_pkt_tsig(packet);
    const ldns_rdf *error = tsig != NULL ? rdata(tsig, 5) : NULL;
    return error != NULL && ldns_rdf_size(error) == 2 ? (int)get16(ldns_rdf_data(error)) : 0;
}

bool dns_wire_parse(const void *data, size_t len, struct dns_message **out)
{
    const unsigned char *bytes = data;
    ldns_pkt *packet = NULL;
    if (len < DNS_HEADER_BYTES || len > DNS_MESSAGE_BYTES)
        return false;
    bool update = opcode_of(bytes) == OPCODE_UPDATE;
    if (ldns_wire2pkt(&packet, data, len) != LDNS_STATUS_OK && !update)
        return false;
    struct dns_message *message = mem_alloc(sizeof *message);
    message->rcode = bytes[3] & 0xF;
    message->authoritative = (bytes[2] & 0x04) != 0;
    if (packet != NULL && update) {
        int error = tsig_error(packet);
        message->rcode = message->rcode == DNS_NOTAUTH && error != 0 ? error : message->rcode;
    } else if (packet != NULL) {
        message->rcode |= ldns_pkt_edns_extended_rcode(packet) << 4;
        add_section(message, DNS_ANSWER, ldns_pkt_answer(packet));
        add_section(message, DNS_AUTHORITY, ldns_pkt_authority(packet));
        add_section(message, DNS_ADDITIONAL, ldns_pkt_additional(packet));
    }
    ldns_pkt_free(packet);
    *out = message;
    return true;
}

#else /* without libldns no question is sent, and so nothing can come */

bool dns_available(void)
{
    return false;
}

bool dns_wire_query(const char *name, enum dns_type type, bool recursive, struct buf *out)
{
    (void)name, (void)type, (void)recursive, (void)out;
    return false;
}

bool dns_wire_parse(const void *data, size_t len, struct dns_message **out)
{
    (void)data, (void)len, (void)out;
    return false;
}

#endif
