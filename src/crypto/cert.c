#include "tlsup/cert.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "key_internal.h"
#include "tlsup/b64.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

#define CHAIN_MAX_CERTS 10
#define CHAIN_MAX_BYTES (256 * 1024)
#define CLOCK_SKEW_S 3600
#define SERIAL_MAX_BYTES 23 /* RFC 5280 4.1.2.2 allows 20; what cert_info.serial can hold */
#define NAMES_SHOWN 5

struct cert_chain {
    X509 *certs[CHAIN_MAX_CERTS]; /* with all but their public keys: see outline_context() */
    size_t count;
    char *subject;
};

static void openssl_free_ptr(unsigned char **data)
{
    OPENSSL_free(*data);
}

static void san_free_ptr(GENERAL_NAMES **names)
{
    GENERAL_NAMES_free(*names);
}

static void akid_free_ptr(AUTHORITY_KEYID **akid)
{
    AUTHORITY_KEYID_free(*akid);
}

static void bio_free_ptr(BIO **bio)
{
    BIO_free(*bio);
}

void cert_chain_free(struct cert_chain *chain)
{
    if (!chain)
        return;
    for (size_t i = 0; i < chain->count; i++)
        X509_free(chain->certs[i]);
    free(chain->subject);
    free(chain);
}

void cert_chain_free_ptr(struct cert_chain **chain)
{
    cert_chain_free(*chain);
}

void cert_info_clear(struct cert_info *info)
{
    strlist_clear(&info->names);
    *info = (struct cert_info)CERT_INFO_INIT;
}

static void add_hex(const unsigned char *bytes, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

void cert_sha256(const void *der, size_t len, char out[65])
{
    key_sha256_hex(der, len, out);
}

/* -- parsing ----------------------------------------------------------------------------------- */

/* Where we are in a PEM text. OpenSSL's reader skips what it does not like; here, what is not understood is
 * refused. */
struct pem {
    const char *at;
    const char *end;
    const char *line; /* trimmed */
    size_t len;
    size_t line_number;
    struct buf body; /* base64 of the block so far */
    bool inside;
};

static const char begin_cert[] = "-----BEGIN CERTIFICATE-----";
static const char end_cert[] = "-----END CERTIFICATE-----";

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bool next_line(struct pem *pem)
{
    if (pem->at == pem->end)
        return false;
    const char *newline = memchr(pem->at, '\n', (size_t)(pem->end - pem->at));
    const char *from = pem->at;
    const char *to = newline ? newline : pem->end;
    pem->at = newline ? newline + 1 : pem->end;
    pem->line_number++;
    while (from < to && is_blank(*from))
        from++;
    while (to > from && is_blank(to[-1]))
        to--;
    pem->line = from;
    pem->len = (size_t)(to - from);
    return true;
}

static bool line_is(const struct pem *pem, const char *text)
{
    return pem->len == strlen(text) && memcmp(pem->line, text, pem->len) == 0;
}

static bool line_has(const struct pem *pem, const char *text)
{
    return memmem(pem->line, pem->len, text, strlen(text)) != NULL;
}

static bool pem_error(const struct pem *pem, const char *subject, const char *what, struct err *err)
{
    ERR_clear_error();
    err_set(err, ERR_CRYPTO, NEXT_REFUSED, subject, "line %zu: %s", pem->line_number, what);
    return err_advise(err, "give PEM certificates and nothing else, the server's own certificate first");
}

/* OpenSSL decodes the public key of every certificate that it reads, which takes ten times as long as all the
 * rest. In a context without providers it leaves that out; where a key is wanted, whole() reads the
 * certificate once more. NULL, the default context: it cannot be had. */
static OSSL_LIB_CTX *outline_context(void)
{
    static OSSL_LIB_CTX *context;
    static bool made;

    if (!made) {
        made = true;
        context = OSSL_LIB_CTX_new();
        if (context && !OSSL_PROVIDER_load(context, "null")) {
            OSSL_LIB_CTX_free(context);
            context = NULL;
        }
    }
    return context;
}

/* The certificate as OpenSSL can check it, with its public key. The caller's; NULL when it cannot be had. */
static X509 *whole(const X509 *cert)
{
    CLEANUP(openssl_free_ptr) unsigned char *der = NULL;
    int len = i2d_X509(cert, &der);
    const unsigned char *at = der;

    return len > 0 ? d2i_X509(NULL, &at, len) : NULL;
}

/* Strict base64 of a whole block, in place. */
static bool decode_body(struct buf *body)
{
    size_t padding = 0;

    while (padding < 2 && padding < body->len && body->data[body->len - 1 - padding] == '=')
        padding++;
    if (body->len == 0 || body->len % 4 != 0)
        return false;
    for (size_t i = 0; i < body->len - padding; i++)
        if (!isalnum((unsigned char)body->data[i]) && body->data[i] != '+' && body->data[i] != '/')
            return false;
    AUTO_FREE unsigned char *der = mem_alloc(body->len);
    int len = EVP_DecodeBlock(der, (unsigned char *)body->data, (int)body->len);
    if (len < 0)
        return false;
    buf_reset(body);
    buf_add(body, der, (size_t)len - padding);
    return true;
}

static bool add_cert(struct pem *pem, struct cert_chain *chain, struct err *err)
{
    if (chain->count == CHAIN_MAX_CERTS)
        return pem_error(pem, chain->subject, "there are more than 10 certificates", err);
    if (!decode_body(&pem->body))
        return pem_error(pem, chain->subject,
                         "the certificate that ends here is not whole: its base64 is damaged or cut off",
                         err);
    const unsigned char *at = (unsigned char *)pem->body.data;
    const unsigned char *end = at + pem->body.len;
    X509 *cert = X509_new_ex(outline_context(), NULL);
    bool read = cert && d2i_X509(&cert, &at, (long)pem->body.len); /* else `cert` is NULL again */
    if (cert)
        chain->certs[chain->count++] = cert;
    if (!read || at != end)
        return pem_error(pem, chain->subject, "what ends here is not a certificate", err);
    buf_reset(&pem->body);
    return true;
}

static bool outside_line(struct pem *pem, const char *subject, struct err *err)
{
    if (line_is(pem, begin_cert))
        pem->inside = true;
    else if (line_has(pem, "PRIVATE KEY-----"))
        return pem_error(pem, subject, "there is a private key among the certificates", err);
    else if (line_has(pem, "-----BEGIN") || line_has(pem, "-----END"))
        return pem_error(pem, subject, "this is not the beginning of a certificate", err);
    return true;
}

static bool inside_line(struct pem *pem, struct cert_chain *chain, struct err *err)
{
    if (line_is(pem, end_cert)) {
        pem->inside = false;
        return add_cert(pem, chain, err);
    }
    if (line_has(pem, "-"))
        return pem_error(pem, chain->subject, "the certificate before this line has no end", err);
    buf_add(&pem->body, pem->line, pem->len);
    return true;
}

static bool parse_lines(struct pem *pem, struct cert_chain *chain, struct err *err)
{
    while (next_line(pem))
        if (!(pem->inside ? inside_line(pem, chain, err) : outside_line(pem, chain->subject, err)))
            return false;
    if (pem->inside)
        return pem_error(pem, chain->subject, "the text ends in the middle of a certificate", err);
    if (chain->count == 0)
        return pem_error(pem, chain->subject, "there is no certificate in it", err);
    if (ASN1_STRING_length(X509_get0_serialNumber(chain->certs[0])) >= SERIAL_MAX_BYTES)
        return pem_error(pem, chain->subject, "the serial number of the first certificate is too long", err);
    return true;
}

bool cert_chain_parse(const char *pem, size_t len, const char *subject, struct cert_chain **out,
                      struct err *err)
{
    static const char utf8_mark[] = "\xEF\xBB\xBF"; /* some editors begin a text with it */

    if (!pem || len == 0)
        return err_set(err, ERR_CRYPTO, NEXT_REFUSED, subject, "there is no certificate: the text is empty");
    if (len > CHAIN_MAX_BYTES)
        return err_set(err, ERR_CRYPTO, NEXT_REFUSED, subject,
                       "%zu bytes are too many for a certificate chain", len);
    if (memchr(pem, '\0', len))
        return err_set(err, ERR_CRYPTO, NEXT_REFUSED, subject,
                       "this is not a PEM text: it has a NUL byte in it");
    struct pem state = {.at = pem, .end = pem + len};
    if (len >= 3 && memcmp(pem, utf8_mark, 3) == 0)
        state.at += 3;
    struct cert_chain *chain = mem_alloc(sizeof *chain);
    chain->subject = mem_dup(subject ? subject : "");
    bool ok = parse_lines(&state, chain, err);
    buf_clear(&state.body);
    if (ok)
        *out = chain;
    else
        cert_chain_free(chain);
    return ok;
}

/* -- names ------------------------------------------------------------------------------------- */

/* What subjectAltName says: names as text, and the count of entries that are not names as we know them. */
struct san {
    struct strlist names;
    size_t odd;
};
#define AUTO_SAN CLEANUP(san_clear) struct san

static void san_clear(struct san *san)
{
    strlist_clear(&san->names);
}

/* A name as it is compared: lower case, an IP address in the one text that inet_ntop() gives. True when it is
 * an address. */
static bool comparable(const char *name, char out[NAME_MAX_BYTES])
{
    unsigned char ip[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, name, ip) == 1)
        return inet_ntop(AF_INET, ip, out, NAME_MAX_BYTES) != NULL;
    if (inet_pton(AF_INET6, name, ip) == 1)
        return inet_ntop(AF_INET6, ip, out, NAME_MAX_BYTES) != NULL;
    snprintf(out, NAME_MAX_BYTES, "%s", name);
    for (char *c = out; *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    return false;
}

static bool is_name_char(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("-_.*", c));
}

/* A dNSName counts its bytes, so it can hold a NUL, or the text of an address, to pass for what it is not. */
static bool dns_text(const unsigned char *data, size_t len, char out[NAME_MAX_BYTES])
{
    char text[NAME_MAX_BYTES];

    if (len == 0 || len >= sizeof text)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_name_char(data[i]))
            return false;
    memcpy(text, data, len);
    text[len] = '\0';
    return !comparable(text, out);
}

static bool entry_text(const GENERAL_NAME *entry, char out[NAME_MAX_BYTES])
{
    int kind;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(entry, &kind);

    if ((kind != GEN_DNS && kind != GEN_IPADD) || !value)
        return false; /* the value of other kinds is not even a string */
    const unsigned char *data = ASN1_STRING_get0_data(value);
    size_t len = (size_t)ASN1_STRING_length(value);
    if (kind == GEN_DNS)
        return dns_text(data, len, out);
    if (len == sizeof(struct in_addr))
        return inet_ntop(AF_INET, data, out, NAME_MAX_BYTES) != NULL;
    return len == sizeof(struct in6_addr) && inet_ntop(AF_INET6, data, out, NAME_MAX_BYTES) != NULL;
}

/* False when the extension is there and cannot be read, or is there twice. */
static bool san_read(const X509 *cert, struct san *san)
{
    int critical = -1;
    char text[NAME_MAX_BYTES];
    CLEANUP(san_free_ptr)
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, &critical, NULL);

    if (!names) {
        ERR_clear_error();
        return critical == -1;
    }
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        if (entry_text(sk_GENERAL_NAME_value(names, i), text))
            strlist_add(&san->names, text);
        else
            san->odd++;
    return true;
}

/* The names of `a` that `b` lacks, as "x, y and 3 more"; "" when there are none. */
static void difference(const struct strlist *a, const struct strlist *b, struct buf *out)
{
    size_t count = 0;

    for (size_t i = 0; i < a->n; i++) {
        if (strlist_has(b, a->v[i]) || count++ >= NAMES_SHOWN)
            continue;
        buf_addf(out, "%s%s", count > 1 ? ", " : "", a->v[i]);
    }
    if (count > NAMES_SHOWN)
        buf_addf(out, " and %zu more", count - NAMES_SHOWN);
}

static bool mismatch(const struct cert_chain *chain, struct err *err, const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool mismatch(const struct cert_chain *chain, struct err *err, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    ERR_clear_error();
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err_set(err, ERR_MISMATCH, NEXT_REFUSED, chain->subject, "%s", text);
    return false;
}

static bool check_names(const struct cert_chain *chain, const struct strlist *names, struct err *err)
{
    AUTO_SAN san = {0};
    AUTO_STRLIST wanted = STRLIST_INIT;
    AUTO_BUF extra = BUF_INIT;
    AUTO_BUF missing = BUF_INIT;
    char text[NAME_MAX_BYTES];

    if (names->n == 0)
        return mismatch(chain, err, "no names were ordered, so no certificate can fit");
    for (size_t i = 0; i < names->n; i++) {
        comparable(names->v[i], text);
        strlist_add(&wanted, text);
    }
    if (!san_read(chain->certs[0], &san))
        return mismatch(chain, err, "the names of the certificate cannot be read");
    difference(&san.names, &wanted, &extra);
    difference(&wanted, &san.names, &missing);
    if (missing.len > 0)
        return mismatch(chain, err, "the certificate lacks a name that was ordered: %s%s%s",
                        buf_str(&missing), extra.len > 0 ? "; and it has one that was not: " : "",
                        buf_str(&extra));
    if (extra.len > 0)
        return mismatch(chain, err, "the certificate has a name that was not ordered: %s", buf_str(&extra));
    if (san.odd > 0)
        return mismatch(chain, err, "the certificate has %zu more name%s of a kind that was not ordered",
                        san.odd, san.odd > 1 ? "s" : "");
    return true;
}

/* -- checking ---------------------------------------------------------------------------------- */

static bool time_of(const ASN1_TIME *when, int64_t *when_s)
{
    struct tm utc = {0};
    if (!when || ASN1_TIME_to_tm(when, &utc) != 1)
        return false;
    *when_s = timegm(&utc);
    return true;
}

static bool leaf_times(const X509 *leaf, int64_t *from_s, int64_t *to_s)
{
    return time_of(X509_get0_notBefore(leaf), from_s) && time_of(X509_get0_notAfter(leaf), to_s);
}

static bool check_times(const struct cert_chain *chain, int64_t now_s, struct err *err)
{
    int64_t from_s, to_s;
    char from[CLOCK_TEXT_BYTES], to[CLOCK_TEXT_BYTES];

    if (!leaf_times(chain->certs[0], &from_s, &to_s))
        return mismatch(chain, err, "the dates of the certificate cannot be read");
    clock_format_utc(from_s, from);
    clock_format_utc(to_s, to);
    if (to_s <= from_s)
        return mismatch(chain, err, "the certificate ends (%s) before it begins (%s)", to, from);
    if (to_s <= now_s)
        mismatch(chain, err, "the certificate expired at %s", to);
    else if (from_s - CLOCK_SKEW_S > now_s)
        mismatch(chain, err, "the certificate is not valid before %s", from);
    else
        return true;
    return err_advise(err, "if the date is wrong on this machine, set the clock (timedatectl shows it)");
}

static bool check_kind(const struct cert_chain *chain, X509 *leaf, struct err *err)
{
    uint32_t flags = X509_get_extension_flags(leaf);

    if (flags & EXFLAG_CA)
        return mismatch(chain, err, "the first certificate is a CA's, not a server's");
    if (flags & EXFLAG_INVALID)
        return mismatch(chain, err, "the certificate has an extension that cannot be read");
    return true;
}

static bool check_key(const struct cert_chain *chain, const X509 *leaf, const struct key *key,
                      struct err *err)
{
    EVP_PKEY *leaf_key = X509_get0_pubkey(leaf);

    if (!leaf_key || EVP_PKEY_eq(leaf_key, key_public(key)) != 1)
        return mismatch(chain, err, "the certificate does not belong to the private key");
    return true;
}

static bool check_links(const struct cert_chain *chain, X509 *const *certs, struct err *err)
{
    for (size_t i = 0; i + 1 < chain->count; i++) {
        X509 *cert = certs[i], *issuer = certs[i + 1];
        int why = X509_check_issued(issuer, cert);
        if (why == X509_V_OK && X509_verify(cert, X509_get0_pubkey(issuer)) == 1)
            continue;
        return mismatch(
            chain, err, "certificate %zu of the chain is not signed by the next one (%s)", i + 1,
            X509_verify_cert_error_string(why == X509_V_OK ? X509_V_ERR_CERT_SIGNATURE_FAILURE : why));
    }
    return true;
}

/* A chain with the public keys. */
struct wholes {
    X509 *certs[CHAIN_MAX_CERTS];
};

static void wholes_clear(struct wholes *wholes)
{
    for (size_t i = 0; i < CHAIN_MAX_CERTS; i++)
        X509_free(wholes->certs[i]);
}

bool cert_chain_check(const struct cert_chain *chain, const struct key *key, const struct strlist *names,
                      int64_t now_s, struct err *err)
{
    CLEANUP(wholes_clear) struct wholes wholes = {0};

    for (size_t i = 0; i < chain->count; i++)
        if (!(wholes.certs[i] = whole(chain->certs[i])))
            return key_openssl_error(err, chain->subject, "the certificate cannot be read once more");
    return check_kind(chain, wholes.certs[0], err) && (!key || check_key(chain, wholes.certs[0], key, err)) &&
           (!names || check_names(chain, names, err)) && check_times(chain, now_s, err) &&
           check_links(chain, wholes.certs, err);
}

/* -- describing -------------------------------------------------------------------------------- */

/* The content octets of the serial number, as DER has them: a first byte of 80 or more has a 00 before it. */
static size_t serial_octets(const X509 *cert, unsigned char octets[SERIAL_MAX_BYTES])
{
    CLEANUP(openssl_free_ptr) unsigned char *der = NULL;
    int len = i2d_ASN1_INTEGER(X509_get0_serialNumber(cert), &der);

    /* a tag and one byte of length come first: the parser has let through no long one */
    if (len < 3 || len - 2 > SERIAL_MAX_BYTES)
        return 0;
    memcpy(octets, der + 2, (size_t)len - 2);
    return (size_t)len - 2;
}

static void ari_id_of(const X509 *cert, const unsigned char *serial, size_t serial_len,
                      struct cert_info *info)
{
    AUTO_BUF id = {.limit = sizeof info->ari_id - 1};
    CLEANUP(akid_free_ptr)
    AUTHORITY_KEYID *authority = X509_get_ext_d2i(cert, NID_authority_key_identifier, NULL, NULL);
    const ASN1_OCTET_STRING *key_id = authority ? authority->keyid : NULL;

    if (!key_id || ASN1_STRING_length(key_id) <= 0 || serial_len == 0)
        return;
    b64url_encode(ASN1_STRING_get0_data(key_id), (size_t)ASN1_STRING_length(key_id), &id);
    buf_addc(&id, '.');
    b64url_encode(serial, serial_len, &id);
    if (!id.overflow)
        memcpy(info->ari_id, id.data, id.len + 1);
}

/* Cut a UTF-8 text to fit, at the beginning of a character. */
static size_t fitting(const unsigned char *text, size_t len, size_t max)
{
    if (len <= max)
        return len;
    while (max > 0 && (text[max] & 0xC0) == 0x80)
        max--;
    return max;
}

static bool name_part(const X509_NAME *name, int nid, char *out, size_t size)
{
    CLEANUP(openssl_free_ptr) unsigned char *text = NULL;
    int at = X509_NAME_get_index_by_NID(name, nid, -1);
    int len =
        at < 0 ? -1 : ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));

    if (len <= 0)
        return false;
    size_t kept = fitting(text, (size_t)len, size - 1);
    for (size_t i = 0; i < kept; i++)
        out[i] = text[i] < ' ' ? '?' : (char)text[i];
    out[kept] = '\0';
    printable(out);
    return true;
}

static bool is_on_curve(const EC_GROUP *group, const unsigned char *point, size_t len)
{
    EC_POINT *decoded = EC_POINT_new(group);
    bool is = decoded && EC_POINT_oct2point(group, decoded, point, len, NULL) == 1;

    EC_POINT_free(decoded);
    return is;
}

/* "p256" of a key on one of the usual curves; NULL: on none of these, or on no curve at all. */
static const char *usual_curve(const X509_ALGOR *algorithm, const unsigned char *point, size_t len)
{
    static struct {
        int nid;
        const char *word;
        EC_GROUP *group; /* made when it is met, and kept */
    } curves[] = {
        {NID_X9_62_prime256v1, "p256", NULL}, {NID_secp384r1, "p384", NULL}, {NID_secp521r1, "p521", NULL}};
    const void *curve = NULL;
    int kind;

    X509_ALGOR_get0(NULL, &kind, &curve, algorithm);
    int nid = kind == V_ASN1_OBJECT ? OBJ_obj2nid(curve) : NID_undef;
    for (size_t i = 0; i < COUNT_OF(curves); i++) {
        if (curves[i].nid != nid)
            continue;
        if (!curves[i].group)
            curves[i].group = EC_GROUP_new_by_curve_name(nid);
        return curves[i].group && is_on_curve(curves[i].group, point, len) ? curves[i].word : NULL;
    }
    return NULL;
}

/* The words for the keys that nearly all certificates have, without the long way through the providers. */
static bool usual_key_words(const X509 *cert, char *out, size_t size)
{
    ASN1_OBJECT *kind;
    X509_ALGOR *algorithm;
    const unsigned char *bytes;
    const char *curve = NULL;
    int len;

    if (X509_PUBKEY_get0_param(&kind, &bytes, &len, &algorithm, X509_get_X509_PUBKEY(cert)) != 1)
        return false;
    int nid = OBJ_obj2nid(kind);
    AUTO_PKEY *rsa = nid == NID_rsaEncryption ? d2i_PublicKey(EVP_PKEY_RSA, NULL, &bytes, len) : NULL;
    if (nid == NID_X9_62_id_ecPublicKey)
        curve = usual_curve(algorithm, bytes, (size_t)len);
    if (rsa)
        snprintf(out, size, "rsa-%d", EVP_PKEY_get_bits(rsa));
    else if (curve)
        snprintf(out, size, "ecdsa-%s", curve);
    return rsa || curve;
}

static void any_key_words(const unsigned char *spki, size_t len, char *out, size_t size)
{
    AUTO_PKEY *pkey = d2i_PUBKEY(NULL, &spki, (long)len);
    char group[24] = "";

    if (!pkey) {
        snprintf(out, size, "unknown");
    } else if (EVP_PKEY_is_a(pkey, "EC") == 1 &&
               EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) == 1) {
        snprintf(out, size, "ecdsa-%s", group);
    } else {
        const char *type = EVP_PKEY_get0_type_name(pkey);
        snprintf(out, size, "%.31s", type ? type : "unknown");
        for (char *c = out; *c != '\0'; c++)
            *c = (char)tolower((unsigned char)*c);
    }
}

/* The CN of a certificate's issuer, else the O, else "". */
static void issuer_words(const X509 *cert, char *out, size_t size)
{
    const X509_NAME *issuer = X509_get_issuer_name(cert);

    *out = '\0';
    if (!name_part(issuer, NID_commonName, out, size))
        name_part(issuer, NID_organizationName, out, size);
}

static bool describe_key(const X509 *cert, struct cert_info *info)
{
    CLEANUP(openssl_free_ptr) unsigned char *spki = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &spki);

    if (len <= 0)
        return false;
    key_sha256_hex(spki, (size_t)len, info->spki);
    if (!usual_key_words(cert, info->key_type, sizeof info->key_type))
        any_key_words(spki, (size_t)len, info->key_type, sizeof info->key_type);
    return true;
}

static bool info_fill(const X509 *leaf, struct cert_info *info)
{
    unsigned char serial[SERIAL_MAX_BYTES];
    CLEANUP(openssl_free_ptr) unsigned char *der = NULL;
    AUTO_SAN san = {0};
    int len = i2d_X509(leaf, &der);

    if (len <= 0 || !describe_key(leaf, info) || !leaf_times(leaf, &info->not_before_s, &info->not_after_s) ||
        !san_read(leaf, &san))
        return false;
    strlist_copy(&info->names, &san.names);
    size_t serial_len = serial_octets(leaf, serial);
    add_hex(serial, serial_len, info->serial);
    ari_id_of(leaf, serial, serial_len, info);
    cert_sha256(der, (size_t)len, info->sha256);
    issuer_words(leaf, info->issuer, sizeof info->issuer);
    ERR_clear_error();
    return true;
}

bool cert_chain_info(const struct cert_chain *chain, struct cert_info *info, struct err *err)
{
    cert_info_clear(info);
    if (info_fill(chain->certs[0], info))
        return true;
    cert_info_clear(info);
    return key_openssl_error(err, chain->subject, "the names or the dates of the certificate cannot be read");
}

bool cert_chain_issuers(const struct cert_chain *chain, struct strlist *out, struct err *err)
{
    char issuer[sizeof((struct cert_info *)NULL)->issuer];

    (void)err;
    for (size_t i = 0; i < chain->count; i++) {
        issuer_words(chain->certs[i], issuer, sizeof issuer);
        strlist_add(out, issuer);
    }
    ERR_clear_error();
    return true;
}

bool cert_chain_leaf_der(const struct cert_chain *chain, struct buf *out, struct err *err)
{
    CLEANUP(openssl_free_ptr) unsigned char *der = NULL;
    int len = i2d_X509(chain->certs[0], &der);

    if (len <= 0)
        return key_openssl_error(err, chain->subject, "cannot encode the certificate");
    buf_add(out, der, (size_t)len);
    return true;
}

bool cert_chain_pem(const struct cert_chain *chain, struct buf *cert, struct buf *rest, struct buf *full,
                    struct err *err)
{
    CLEANUP(bio_free_ptr) BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    size_t leaf_len = 0;

    for (size_t i = 0; i < chain->count; i++) {
        if (!bio || PEM_write_bio_X509(bio, chain->certs[i]) != 1)
            return key_openssl_error(err, chain->subject, "cannot encode the certificate chain");
        if (i == 0)
            leaf_len = (size_t)BIO_get_mem_data(bio, &text);
    }
    size_t len = (size_t)BIO_get_mem_data(bio, &text);
    if (cert)
        buf_add(cert, text, leaf_len);
    if (rest)
        buf_add(rest, text + leaf_len, len - leaf_len);
    if (full)
        buf_add(full, text, len);
    return true;
}
