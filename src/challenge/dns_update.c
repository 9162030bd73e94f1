#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/dns_update.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_LDNS
#include <ldns/ldns.h>
#endif

#include "dns_internal.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"

#define KEY_FILE_BYTES 65536
#define VALUE_MAX_BYTES 8192
#define STRING_MAX_BYTES 255
#define TSIG_FUDGE_S 300
#define OPCODE_UPDATE 5
#define TYPE_TSIG 250
#define CLASS_ANY 255

/* RFC 8945 section 6; the wire's names, and what people and tools write. */
static const struct {
    const char *name, *wire, *digest;
} algorithms[] = {
    {"hmac-sha256", "hmac-sha256", "SHA256"}, {"hmac-sha512", "hmac-sha512", "SHA512"},
    {"hmac-sha384", "hmac-sha384", "SHA384"}, {"hmac-sha224", "hmac-sha224", "SHA224"},
    {"hmac-sha1", "hmac-sha1", "SHA1"},       {"hmac-md5", "hmac-md5.sig-alg.reg.int", "MD5"},
};

static bool same_word(const char *a, const char *b, size_t len)
{
    return strlen(a) == len && strncasecmp(a, b, len) == 0;
}

/* Its row, or -1. A final dot is no part of it. */
static int find_algorithm(const char *name)
{
    size_t len = strlen(name);
    if (len > 0 && name[len - 1] == '.')
        len--;
    for (size_t i = 0; i < COUNT_OF(algorithms); i++)
        if (same_word(algorithms[i].name, name, len) || same_word(algorithms[i].wire, name, len))
            return (int)i;
    return -1;
}

/* -- key files ------------------------------------------------------------------------------------------- */

static bool is_base64_char(char c)
{
    return isalnum((unsigned char)c) || c == '+' || c == '/';
}

/* The length of the key, 0 when it is none. */
static size_t decode_secret(const char *text, unsigned char *out, size_t size)
{
    size_t len = strlen(text), bare = len;
    while (bare > 0 && len - bare < 2 && text[bare - 1] == '=')
        bare--;
    for (size_t i = 0; i < bare; i++)
        if (!is_base64_char(text[i]))
            return 0;
    if (len == 0 || len % 4 != 0 || len / 4 * 3 > size)
        return 0;
    int n = EVP_DecodeBlock(out, (const unsigned char *)text, (int)len);
    return n < 0 ? 0 : (size_t)n - (len - bare);
}

/* A word of a key file: a quoted string, a name, or one of { } ; -- NULL at the end. The caller wipes. */
static bool next_word(const char **at, char *out, size_t size)
{
    size_t len = 0;
    const char *c = *at;
    bool quoted = *c == '"';
    if (*c == '\0')
        return false;
    if (quoted) {
        for (c++; *c != '\0' && *c != '"' && *c != '\n'; c++)
            if (len + 1 < size)
                out[len++] = *c;
        c += *c == '"' ? 1 : 0;
    } else if (strchr("{};", *c) != NULL) {
        out[len++] = *c++;
    } else {
        for (; *c != '\0' && strchr(" \t\r\n\"{};", *c) == NULL; c++)
            if (len + 1 < size)
                out[len++] = *c;
    }
    out[len] = '\0';
    *at = c;
    return true;
}

/* Blanks in the place of the three kinds of comment; not within a word, since base64 may have "//". */
static void blank_comments(char *text)
{
    bool quoted = false;
    for (char *c = text; *c != '\0'; c++) {
        const char *end = NULL;
        quoted = *c == '"' ? !quoted : quoted && *c != '\n';
        if (quoted || (c > text && strchr(" \t\r\n{};\"", c[-1]) == NULL))
            continue;
        if (strncmp(c, "/*", 2) == 0)
            end = strstr(c + 2, "*/") != NULL ? strstr(c + 2, "*/") + 2 : c + strlen(c);
        else if (*c == '#' || strncmp(c, "//", 2) == 0)
            end = c + strcspn(c, "\n");
        while (end != NULL && c + 1 < end)
            *c++ = ' ';
        if (end != NULL && *c != '\n')
            *c = ' ';
    }
}

struct fields {
    char name[256], algorithm[64], secret[512];
};

/* Cut where it is too long: then it is no good name, algorithm or secret either. */
static bool copy_word(const char *word, char *out, size_t size)
{
    size_t len = strlen(word) < size ? strlen(word) : size - 1;
    memcpy(out, word, len);
    out[len] = '\0';
    return true;
}

/* key "NAME" { algorithm ...; secret "..."; }; -- the first one; other statements are passed over. */
static bool parse_key_block(const char *text, struct fields *out)
{
    char word[512], last[64] = "";
    int depth = 0;
    bool inside = false;
    while (*(text += strspn(text, " \t\r\n")) != '\0' && next_word(&text, word, sizeof word)) {
        if (strcmp(word, "{") == 0)
            depth++;
        else if (strcmp(word, "}") == 0)
            depth -= depth > 0 ? 1 : 0;
        else if (depth == 0 && strcmp(last, "key") == 0)
            inside = copy_word(word, out->name, sizeof out->name);
        else if (inside && depth == 1 && strcmp(last, "algorithm") == 0)
            copy_word(word, out->algorithm, sizeof out->algorithm);
        else if (inside && depth == 1 && strcmp(last, "secret") == 0)
            copy_word(word, out->secret, sizeof out->secret);
        if (inside && depth == 0 && strcmp(word, "}") == 0)
            break;
        copy_word(word, last, sizeof last);
    }
    OPENSSL_cleanse(word, sizeof word);
    OPENSSL_cleanse(last, sizeof last);
    return inside;
}

/* "[ALGORITHM:]NAME:SECRET", as nsupdate and dig take it behind -y. */
static bool parse_line(const char *text, struct fields *out)
{
    AUTO_STRLIST words = STRLIST_INIT;
    AUTO_STRLIST parts = STRLIST_INIT;
    strlist_split(&words, text, " \t\r\n");
    if (words.n == 1)
        strlist_split(&parts, words.v[0], ":");
    if (parts.n == 2 || parts.n == 3) {
        snprintf(out->algorithm, sizeof out->algorithm, "%.63s", parts.n == 3 ? parts.v[0] : "hmac-sha256");
        snprintf(out->name, sizeof out->name, "%.255s", parts.v[parts.n - 2]);
        snprintf(out->secret, sizeof out->secret, "%.511s", parts.v[parts.n - 1]);
    }
    for (size_t i = 0; i < words.n; i++)
        OPENSSL_cleanse(words.v[i], strlen(words.v[i]));
    bool found = parts.n == 2 || parts.n == 3;
    for (size_t i = 0; i < parts.n; i++)
        OPENSSL_cleanse(parts.v[i], strlen(parts.v[i]));
    return found;
}

static bool check_fields(const char *path, const struct fields *fields, struct dns_tsig *out, struct err *err)
{
    struct dns_tsig tsig = {0};
    char name[DNS_NAME_BYTES];
    unsigned char key[sizeof tsig.secret];
    int row = find_algorithm(fields->algorithm);
    if (!dns_name_clean(fields->name, name) || strcmp(name, ".") == 0)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path,
                       "the key in %s has a name that cannot be one: \"%.100s\"", path, fields->name);
    if (fields->algorithm[0] == '\0')
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "the key \"%s\" in %s has no algorithm", name,
                       path);
    if (row < 0)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path,
                       "the key \"%s\" in %s has an unknown algorithm: \"%.60s\"", name, path,
                       fields->algorithm) ||
               err_advise(err, "make a key of hmac-sha256 with tsig-keygen");
    if (strlen(fields->secret) >= sizeof tsig.secret || decode_secret(fields->secret, key, sizeof key) == 0)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path,
                       "the key \"%s\" in %s has no secret, or one that is not base64 of at "
                       "most %zu characters",
                       name, path, sizeof tsig.secret - 1);
    OPENSSL_cleanse(key, sizeof key);
    snprintf(tsig.name, sizeof tsig.name, "%.255s", name);
    snprintf(tsig.algorithm, sizeof tsig.algorithm, "%s", algorithms[row].name);
    snprintf(tsig.secret, sizeof tsig.secret, "%.255s", fields->secret);
    *out = tsig;
    OPENSSL_cleanse(&tsig, sizeof tsig);
    return true;
}

static bool read_private(const char *path, int fd, struct buf *out, struct err *err)
{
    struct stat info;
    char block[4096];
    ssize_t n;
    if (fstat(fd, &info) != 0)
        return err_errno(err, errno, path, "cannot look at the key file %s", path);
    if (!S_ISREG(info.st_mode))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "the key file %s is not a regular file", path);
    if ((info.st_mode & (S_IROTH | S_IWOTH)) != 0)
        return err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
                       "the key file %s is open to everybody on this machine (mode %03o)", path,
                       (unsigned)info.st_mode & 0777) ||
               err_advise(err, "chmod 0600 %s; and if others use this machine, make a new key", path);
    while ((n = read(fd, block, sizeof block)) > 0)
        buf_add(out, block, (size_t)n);
    OPENSSL_cleanse(block, sizeof block);
    if (n < 0)
        return err_errno(err, errno, path, "cannot read the key file %s", path);
    if (out->overflow)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "the key file %s is larger than %d bytes",
                       path, KEY_FILE_BYTES);
    return true;
}

bool dns_tsig_read(const char *path, struct dns_tsig *out, struct err *err)
{
    AUTO_BUF text = {.secret = true, .limit = KEY_FILE_BYTES};
    struct fields fields = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return err_errno(err, errno, path, "cannot open the key file %s", path);
    bool good = read_private(path, fd, &text, err);
    close(fd);
    if (!good)
        return false;
    if (strlen(buf_str(&text)) == text.len) {
        if (text.len > 0)
            blank_comments(text.data);
        good = parse_key_block(buf_str(&text), &fields) || parse_line(buf_str(&text), &fields);
    } else {
        good = false; /* a NUL */
    }
    if (good)
        good = check_fields(path, &fields, out, err);
    else
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "there is no key in %s", path);
    OPENSSL_cleanse(&fields, sizeof fields);
    return good ||
           err_advise(
               err,
               "write it as tsig-keygen does: key \"NAME\" { algorithm hmac-sha256; secret \"BASE64\"; };");
}

/* -- the packet ------------------------------------------------------------------------------------------ */

#ifdef HAVE_LDNS

static void put16(struct buf *out, unsigned value)
{
    buf_addc(out, (char)(value >> 8 & 0xFF));
    buf_addc(out, (char)(value & 0xFF));
}

/* A clean name in its canonical wire form. */
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

static void put_time(struct buf *out, int64_t when_s)
{
    put16(out, (unsigned)(when_s >> 32 & 0xFFFF));
    put16(out, (unsigned)(when_s >> 16 & 0xFFFF));
    put16(out, (unsigned)(when_s & 0xFFFF));
}

/* Append the TSIG record (RFC 8945 sections 4.2 and 4.3). Signed here rather than by libldns: that knows no
 * SHA-224, and SHA-384 by a wrong name. */
static bool sign(struct buf *packet, const struct dns_tsig *tsig, struct err *err)
{
    unsigned char key[sizeof tsig->secret], mac[EVP_MAX_MD_SIZE];
    unsigned mac_len = 0;
    char name[DNS_NAME_BYTES];
    int row = find_algorithm(tsig->algorithm);
    size_t key_len = decode_secret(tsig->secret, key, sizeof key);
    int64_t now = clock_now_s();
    AUTO_BUF text = BUF_INIT, record = BUF_INIT;
    if (row < 0 || key_len == 0 || !dns_name_clean(tsig->name, name))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, tsig->name,
                       "the TSIG key \"%s\" cannot be used: its %s is not valid", tsig->name,
                       row < 0        ? "algorithm"
                       : key_len == 0 ? "secret"
                                      : "name");
    put_name(&record, name);
    buf_add(&text, packet->data, packet->len);
    buf_add(&text, record.data, record.len);
    put16(&text, CLASS_ANY);
    buf_add(&text, "\0\0\0\0", 4); /* TTL */
    put_name(&text, algorithms[row].wire);
    put_time(&text, now);
    put16(&text, TSIG_FUDGE_S);
    buf_add(&text, "\0\0\0\0", 4); /* no error, no other data */
    const EVP_MD *digest = EVP_get_digestbyname(algorithms[row].digest);
    bool made = digest != NULL && HMAC(digest, key, (int)key_len, (const unsigned char *)text.data, text.len,
                                       mac, &mac_len) != NULL;
    OPENSSL_cleanse(key, sizeof key);
    if (!made)
        return err_set(err, ERR_CRYPTO, NEXT_FIX_CONFIG, tsig->name, "OpenSSL does not make %s here",
                       algorithms[row].name) ||
               err_advise(err, "use a key of hmac-sha256");
    AUTO_BUF rdata = BUF_INIT;
    put_name(&rdata, algorithms[row].wire);
    put_time(&rdata, now);
    put16(&rdata, TSIG_FUDGE_S);
    put16(&rdata, mac_len);
    buf_add(&rdata, mac, mac_len);
    buf_add(&rdata, packet->data, 2); /* the original id */
    buf_add(&rdata, "\0\0\0\0", 4);
    put16(&record, TYPE_TSIG);
    put16(&record, CLASS_ANY);
    buf_add(&record, "\0\0\0\0", 4);
    put16(&record, (unsigned)rdata.len);
    buf_add(&record, rdata.data, rdata.len);
    buf_add(packet, record.data, record.len);
    packet->data[11]++; /* there were no additional records */
    return true;
}

static bool push_string(ldns_rr *rr, const char *text, size_t len)
{
    uint8_t string[1 + STRING_MAX_BYTES];
    string[0] = (uint8_t)len;
    memcpy(string + 1, text, len);
    ldns_rdf *rdf = ldns_rdf_new_frm_data(LDNS_RDF_TYPE_STR, len + 1, string);
    return rdf != NULL && ldns_rr_push_rdf(rr, rdf);
}

static ldns_rr *make_record(enum dns_update_act act, const char *name, const char *value, int ttl_s)
{
    bool add = act == DNS_UPDATE_ADD, good;
    ldns_rdf *owner = ldns_dname_new_frm_str(name);
    ldns_rr *rr = ldns_rr_new();
    if (owner == NULL || rr == NULL)
        mem_exhausted();
    ldns_rr_set_owner(rr, owner);
    ldns_rr_set_type(rr, LDNS_RR_TYPE_TXT);
    /* class NONE, TTL 0: delete the record that has these data (RFC 2136 section 2.5.4) */
    ldns_rr_set_class(rr, add ? LDNS_RR_CLASS_IN : LDNS_RR_CLASS_NONE);
    ldns_rr_set_ttl(rr, add ? (uint32_t)ttl_s : 0);
    size_t len = strlen(value), at = 0;
    do {
        size_t part = len - at < STRING_MAX_BYTES ? len - at : STRING_MAX_BYTES;
        good = push_string(rr, value + at, part);
        at += part;
    } while (good && at < len);
    if (!good)
        mem_exhausted();
    return rr;
}

static bool make_packet(ldns_rr *rr, const char *zone, struct buf *out)
{
    uint8_t *wire = NULL;
    size_t len = 0;
    ldns_rr_list *updates = ldns_rr_list_new();
    ldns_rdf *zone_name = ldns_dname_new_frm_str(zone);
    if (updates == NULL || zone_name == NULL || !ldns_rr_list_push_rr(updates, rr))
        mem_exhausted();
    ldns_pkt *packet = ldns_update_pkt_new(zone_name, LDNS_RR_CLASS_IN, NULL, updates, NULL);
    bool written = packet != NULL && ldns_pkt2wire(&wire, packet, &len) == LDNS_STATUS_OK;
    if (written)
        buf_add(out, wire, len);
    LDNS_FREE(wire);
    ldns_pkt_free(packet);
    ldns_rr_list_deep_free(updates);
    return written;
}

static bool build(enum dns_update_act act, const char *zone, const char *name, const char *value, int ttl_s,
                  struct buf *out, struct err *err)
{
    unsigned char id[2];
    if (!make_packet(make_record(act, name, value, ttl_s), zone, out) || out->len < DNS_HEADER_BYTES)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, name, "the update of %s cannot be put into a packet",
                       name);
    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
        return err_errno(err, errno, name, "no random number for the update of %s", name);
    memcpy(out->data, id, sizeof id);
    out->data[2] = OPCODE_UPDATE << 3; /* and no flags: libldns would ask for recursion */
    return true;
}

#else

static bool sign(struct buf *packet, const struct dns_tsig *tsig, struct err *err)
{
    (void)packet, (void)tsig;
    return err_isset(err);
}

static bool build(enum dns_update_act act, const char *zone, const char *name, const char *value, int ttl_s,
                  struct buf *out, struct err *err)
{
    (void)act, (void)zone, (void)value, (void)ttl_s, (void)out;
    err_set(err, ERR_NETWORK, NEXT_FIX_CONFIG, name,
            "this tlsup was built without libldns, and cannot make DNS updates");
    return err_advise(err, "install a tlsup built with libldns, or let a hook see to DNS");
}

#endif

bool dns_update_make(enum dns_update_act act, const char *zone, const char *name, const char *value,
                     int ttl_s, const struct dns_tsig *tsig, struct buf *out, struct err *err)
{
    char clean_zone[DNS_NAME_BYTES], clean_name[DNS_NAME_BYTES];
    AUTO_BUF packet = BUF_INIT;
    if (!dns_name_clean(zone, clean_zone))
        return err_set(err, ERR_NAME, NEXT_FIX_CONFIG, zone, "\"%.300s\" cannot be a zone", zone);
    if (!dns_name_clean(name, clean_name) || strcmp(clean_name, ".") == 0)
        return err_set(err, ERR_NAME, NEXT_FIX_CONFIG, name, "\"%.300s\" cannot be a name in DNS", name);
    if (!dns_name_within(clean_name, clean_zone))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, name, "%s is not in the zone %s", clean_name,
                       clean_zone) ||
               err_advise(err, "name the zone that it is in, or none, for it to be found");
    if (strlen(value) > VALUE_MAX_BYTES)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, name, "the value for %s is longer than %d octets",
                       clean_name, VALUE_MAX_BYTES);
    if (!build(act, clean_zone, clean_name, value, ttl_s > 0 ? ttl_s : 0, &packet, err))
        return false;
    if (tsig != NULL && tsig->name[0] != '\0' && !sign(&packet, tsig, err))
        return false;
    buf_add(out, packet.data, packet.len);
    return true;
}

/* -- the answer ------------------------------------------------------------------------------------------ */

static const struct result {
    int rcode;
    enum err_code code;
    enum err_next next;
    const char *text, *advice;
} results[] = {
    {DNS_FORMERR, ERR_PROTOCOL, NEXT_REFUSED, "does not understand the update (FORMERR)",
     "check that it is the zone's primary, and takes dynamic updates (RFC 2136)"},
    {DNS_SERVFAIL, ERR_NETWORK, NEXT_RETRY_LATER, "failed to carry out the update (SERVFAIL)",
     "look into its log: often its zone file or journal is not writable, or the zone is not loaded"},
    {DNS_NXDOMAIN, ERR_CONFIG, NEXT_FIX_CONFIG, "says that a name of the update does not exist (NXDOMAIN)",
     NULL},
    {DNS_NOTIMP, ERR_CONFIG, NEXT_FIX_CONFIG, "takes no dynamic updates (NOTIMP)",
     "send them to the zone's primary server, or let a hook see to DNS"},
    {DNS_REFUSED, ERR_CONFIG, NEXT_FIX_CONFIG, "does not allow the update (REFUSED)",
     "allow this key to change the TXT records of the zone: update-policy or allow-update in BIND, acl in "
     "Knot"},
    {DNS_NOTAUTH, ERR_CONFIG, NEXT_FIX_CONFIG,
     "has no authority for the zone, or does not accept the key (NOTAUTH)",
     "check the zone's name, that this is its primary server, and that it knows the key by this name"},
    {DNS_NOTZONE, ERR_CONFIG, NEXT_FIX_CONFIG, "says that the name is not in the zone (NOTZONE)",
     "check the zone's name"},
    {DNS_BADVERS, ERR_CONFIG, NEXT_FIX_CONFIG, "finds the update's signature wrong (BADSIG)",
     "the secret or the algorithm is another one there: compare the key file with the server's"},
    {DNS_BADKEY, ERR_CONFIG, NEXT_FIX_CONFIG, "does not know the key (BADKEY)",
     "check the key's name and algorithm, and that the server's configuration has it"},
    {DNS_BADTIME, ERR_CONFIG, NEXT_FIX_CONFIG, "finds the update's time wrong (BADTIME)",
     "the clocks of this machine and the server are more than 5 minutes apart: set them (NTP)"},
    {22, ERR_CONFIG, NEXT_FIX_CONFIG, "finds the update's signature cut too short (BADTRUNC)", NULL},
};

bool dns_update_result(int rcode, const char *server, const char *zone, const struct dns_tsig *tsig,
                       struct err *err)
{
    char number[16];
    bool is_signed = tsig != NULL && tsig->name[0] != '\0';
    if (rcode == DNS_NOERROR)
        return true;
    AUTO_FREE char *key =
        is_signed ? mem_fmt("the key \"%s\" (%s)", tsig->name, tsig->algorithm) : mem_dup("no key");
    for (size_t i = 0; i < COUNT_OF(results); i++) {
        const struct result *row = &results[i];
        if (row->rcode != rcode)
            continue;
        err_set(err, row->code, row->next, zone, "the name server %s %s: zone %s, %s", server, row->text,
                zone, key);
        if (!is_signed && (rcode == DNS_REFUSED || rcode == DNS_NOTAUTH))
            err_advise(err, "give a TSIG key that may change the TXT records of the zone");
        return row->advice != NULL ? err_advise(err, "%s", row->advice) : false;
    }
    return err_set(err, ERR_PROTOCOL, NEXT_REFUSED, zone,
                   "the name server %s answers the update with %s: zone %s, %s", server,
                   dns_rcode_name(rcode, number), zone, key);
}
