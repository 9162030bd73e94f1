/*
 * fuzz_dns.c - any bytes as an answer from the network: understood or refused, and what is understood is
 * plain text within bounds.
 *
 * The first byte chooses: the bytes alone, or behind the header and question of a fitting answer, so that the
 * records are reached at once.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/challenge/dns_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int holds)
{
    if (!holds)
        abort();
}

static void require_name(const char *text)
{
    char clean[DNS_NAME_BYTES];
    require(dns_name_clean(text, clean));
    require(strcmp(clean, text) == 0);
}

static void look_at(const struct dns_record *record, size_t size)
{
    require_name(record->owner);
    require(record->data != NULL && record->section < DNS_SECTIONS);
    require(strlen(record->tag) < sizeof record->tag);
    if (record->type == DNS_TYPE_TXT || record->type == DNS_TYPE_CAA)
        require(strlen(record->data) <= size);
    else if (record->type != DNS_TYPE_A && record->type != DNS_TYPE_AAAA)
        require_name(record->data);
}

static void parse(const uint8_t *data, size_t size)
{
    struct dns_message *message;
    if (!dns_wire_parse(data, size, &message))
        return;
    require(message->n <= size / 11);
    for (size_t i = 0; i < message->n; i++) {
        look_at(&message->v[i], size);
        require_name(dns_message_end(message, message->v[i].owner));
        require(dns_message_find(message, message->v[i].section, message->v[i].type, message->v[i].owner) !=
                NULL);
    }
    dns_message_free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF query = BUF_INIT, answer = BUF_INIT;
    if (size < 1 || size > DNS_MESSAGE_BYTES)
        return 0;
    require(dns_wire_query("a.example.org", DNS_TYPE_TXT, true, &query));
    if ((data[0] & 1) != 0 && size > 7) { /* the six bytes of the counts, then records */
        buf_add(&answer, query.data, query.len);
        answer.data[2] = (char)(answer.data[2] | 0x80 | (data[0] & 0x02 ? 5 << 3 : 0));
        memcpy(answer.data + 6, data + 1, 6);
        buf_add(&answer, data + 7, size - 7);
        require((data[0] & 0x02) != 0 ||
                dns_wire_fits(query.data, query.len, answer.data, answer.len) == DNS_FITS);
    } else {
        buf_add(&answer, data + 1, size - 1);
        (void)dns_wire_fits(query.data, query.len, answer.data, answer.len);
    }
    (void)dns_wire_fits(answer.data, answer.len, query.data, query.len);
    if (answer.len > 0)
        parse((const uint8_t *)answer.data, answer.len);
    return 0;
}
