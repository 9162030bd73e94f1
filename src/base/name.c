#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/name.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifdef HAVE_LIBIDN2
#include <idn2.h>
#endif
#ifdef HAVE_LIBPSL
#include <libpsl.h>
#endif

#include "tlsup/mem.h"

#define NAME_MAX_OCTETS (NAME_MAX_BYTES - 1)
#define LABEL_MAX_OCTETS 63
#define TYPED_MAX_BYTES 1024 /* UTF-8 of a legal name can be longer than its A-labels */
#define ACE_PREFIX "xn--"
#define ACE_PREFIX_LEN 4
#define WILDCARD_LEN 2 /* "*." */

/* Names that no CA validates on the public network (RFC 6761, RFC 6762, RFC 7686, RFC 8375). */
static const char *const special_use[] = {"local", "localhost", "onion", "internal", "home.arpa"};

static bool ascii_only(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++)
        if (*c >= 0x80)
            return false;
    return true;
}

static bool all_digits(const char *text, size_t len)
{
    return len > 0 && strspn(text, "0123456789") >= len;
}

/* -- UTF-8 ----------------------------------------------------------------------------------------------- */

/* Length of the UTF-8 sequence at `c`, 0 when it is not one (overlong forms and surrogates included). */
static size_t utf8_sequence(const unsigned char *c)
{
    static const struct {
        unsigned char first, last; /* of the lead byte */
        unsigned char low, high;   /* of the byte after it */
        size_t len;
    } forms[] = {
        {0x01, 0x7F, 0x00, 0xFF, 1}, {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
        {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3},
        {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4},
    };
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        if (c[0] < forms[i].first || c[0] > forms[i].last)
            continue;
        if (forms[i].len > 1 && (c[1] < forms[i].low || c[1] > forms[i].high))
            return 0;
        for (size_t k = 2; k < forms[i].len; k++)
            if ((c[k] & 0xC0) != 0x80)
                return 0;
        return forms[i].len;
    }
    return 0;
}

static bool valid_utf8(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    while (*c != '\0') {
        size_t len = utf8_sequence(c);
        if (len == 0)
            return false;
        c += len;
    }
    return true;
}

/* -- refusing -------------------------------------------------------------------------------------------- */

#define SHOWN_MAX_BYTES 120
#define ELLIPSIS "…"

/* `typed` as an error quotes it: of bounded length, cut between characters, always UTF-8. */
static void show(const char *typed, char out[SHOWN_MAX_BYTES + sizeof ELLIPSIS])
{
    size_t len = 0, step;
    for (const unsigned char *c = (const unsigned char *)typed; *c != '\0'; c += step, len += step) {
        size_t sequence = utf8_sequence(c);
        step = sequence > 0 ? sequence : 1;
        if (len + step > SHOWN_MAX_BYTES) {
            memcpy(out + len, ELLIPSIS, sizeof ELLIPSIS);
            return;
        }
        if (sequence > 0)
            memcpy(out + len, c, step);
        else
            out[len] = '?';
    }
    out[len] = '\0';
}

PRINTF_LIKE(3, 4)
static bool refuse(struct err *err, const char *typed, const char *fmt, ...)
{
    char shown[SHOWN_MAX_BYTES + sizeof ELLIPSIS], reason[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    show(typed, shown);
    return err_set(err, ERR_NAME, NEXT_FIX_CONFIG, shown, "'%s' %s", shown, reason);
}

/* -- internationalised names ----------------------------------------------------------------------------- */

#ifdef HAVE_LIBIDN2
/* The A-label form of `typed`, NULL on failure; the caller frees. */
static char *to_ascii(const char *typed, int *status)
{
    char *ascii = NULL, *copy = NULL;
    *status = idn2_to_ascii_8z(typed, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
    if (*status == IDN2_OK)
        copy = mem_dup(ascii);
    idn2_free(ascii);
    return copy;
}

/* The U-label form of an ASCII name that stands for it and nothing else: it converts back to the same
 * A-labels and is not plain ASCII. NULL otherwise; the caller frees. */
static char *to_unicode(const char *ascii)
{
    int status;
    char *unicode = NULL, *copy = NULL;
    if (idn2_to_unicode_8z8z(ascii, &unicode, 0) == IDN2_OK && !ascii_only(unicode)) {
        AUTO_FREE char *back = to_ascii(unicode, &status);
        if (back != NULL && strcasecmp(back, ascii) == 0)
            copy = mem_dup(unicode);
    }
    idn2_free(unicode);
    return copy;
}

static bool idn_to_ascii(const char *typed, const char *name, char **ascii, struct err *err)
{
    int status;
    *ascii = to_ascii(name, &status);
    if (*ascii != NULL)
        return true;
    if (status == IDN2_TOO_BIG_LABEL || status == IDN2_TOO_BIG_DOMAIN || status == IDN2_PUNYCODE_BIG_OUTPUT)
        return refuse(err, typed, "is too long for a host name in its ASCII form");
    return refuse(err, typed, "is not a valid internationalised name: %s", idn2_strerror(status));
}

static bool ace_label_valid(const char *label)
{
    AUTO_FREE char *unicode = to_unicode(label);
    return unicode != NULL;
}
#else
static bool idn_to_ascii(const char *typed, const char *name, char **ascii, struct err *err)
{
    (void)name;
    (void)ascii;
    refuse(err, typed, "has letters beyond ASCII, and this build has no libidn2 to convert them");
    return err_advise(err, "give the name in its ASCII form, which begins with xn--");
}

/* Left to the CA, which decodes it as well. */
static bool ace_label_valid(const char *label)
{
    (void)label;
    return true;
}

static char *to_unicode(const char *ascii)
{
    (void)ascii;
    return NULL;
}
#endif

/* -- IP addresses ---------------------------------------------------------------------------------------- */

/* RFC 5952 text of an IPv6 address. inet_ntop() writes it, save that it gives the first 96 zero bits a dotted
 * tail, which RFC 5952 section 5 keeps for well-known prefixes such as ::ffff:0:0/96. */
static void format_ipv6(const struct in6_addr *address, char out[NAME_MAX_BYTES])
{
    const unsigned char *b = address->s6_addr;
    unsigned high = (unsigned)b[12] << 8 | b[13], low = (unsigned)b[14] << 8 | b[15];
    if (IN6_IS_ADDR_V4COMPAT(address) && high != 0)
        snprintf(out, NAME_MAX_BYTES, "::%x:%x", high, low);
    else if (IN6_IS_ADDR_V4COMPAT(address))
        snprintf(out, NAME_MAX_BYTES, "::%x", low);
    else if (inet_ntop(AF_INET6, address, out, NAME_MAX_BYTES) == NULL)
        out[0] = '\0';
}

static bool normalize_ipv6(const char *typed, const char *text, char out[NAME_MAX_BYTES], struct err *err)
{
    struct in6_addr address;
    if (strchr(text, '%') != NULL) {
        refuse(err, typed, "has a zone id: it is an address of one link only");
        return err_advise(err, "a certificate can carry global addresses only");
    }
    if (inet_pton(AF_INET6, text, &address) != 1)
        return refuse(err, typed, "is not a valid IPv6 address");
    format_ipv6(&address, out);
    return true;
}

static bool normalize_ipv4(const char *text, char out[NAME_MAX_BYTES])
{
    struct in_addr address;
    char canonical[INET_ADDRSTRLEN];
    if (inet_pton(AF_INET, text, &address) != 1 ||
        inet_ntop(AF_INET, &address, canonical, sizeof canonical) == NULL || strcmp(canonical, text) != 0)
        return false;
    snprintf(out, NAME_MAX_BYTES, "%s", canonical);
    return true;
}

/* Programs read a name whose last label is a number ("127.1", "0x7f.1") as an IPv4 address; no such
 * top-level domain can exist. */
static bool ends_in_number(const char *name)
{
    const char *dot = strrchr(name, '.');
    const char *last = dot != NULL ? dot + 1 : name;
    if (last[0] == '0' && (last[1] == 'x' || last[1] == 'X'))
        return last[2 + strspn(last + 2, "0123456789abcdefABCDEF")] == '\0';
    return all_digits(last, strlen(last));
}

/* -- what people paste instead of a name ----------------------------------------------------------------- */

/* Advise the host inside `typed` ("https://me@example.org:8443/x" has example.org), if there is a good one.
 */
static bool advise_host(struct err *err, const char *typed)
{
    struct err ignored = ERR_INIT;
    char name[NAME_MAX_BYTES];
    const char *scheme = strstr(typed, "://");
    const char *start = scheme != NULL ? scheme + 3 : typed;
    for (size_t i = strcspn(start, "/?#\\"); i > 0; i--)
        if (start[i - 1] == '@') {
            start += i;
            break;
        }
    size_t len = start[0] == '[' ? strcspn(start, "]") + 1 : strcspn(start, ":/?#\\");
    if (len > strlen(start) || strcspn(start, "/?#\\") < len)
        return false;
    AUTO_FREE char *host = mem_ndup(start, len);
    if (!name_normalize(host, name, &ignored))
        return err_advise(err, "give the host name alone");
    return err_advise(err, "give the name alone: %s", name);
}

/* "host:443", "[v6]:443": a lone colon, or one after the bracket, is never part of an address. */
static bool has_port(const char *typed)
{
    const char *bracket = strchr(typed, ']');
    if (typed[0] == '[')
        return bracket != NULL && bracket[1] == ':';
    const char *colon = strchr(typed, ':');
    return colon != NULL && strchr(colon + 1, ':') == NULL;
}

static bool check_plain(const char *typed, struct err *err)
{
    const char *reason = NULL;
    if (strstr(typed, "://") != NULL)
        reason = "is a URL, not a name";
    else if (strpbrk(typed, "/\\?#") != NULL)
        reason = "has a path after the name";
    else if (strchr(typed, '@') != NULL)
        reason = "is an e-mail address, not a host name";
    else if (has_port(typed))
        reason = "has a port, and certificates have none";
    if (reason == NULL)
        return true;
    refuse(err, typed, "%s", reason);
    return advise_host(err, typed);
}

/* -- labels ---------------------------------------------------------------------------------------------- */

static bool refuse_character(const char *typed, char c, struct err *err)
{
    if (c == '*') {
        refuse(err, typed, "has a '*' that is not its whole first label");
        return err_advise(err, "a wildcard name has the form *.example.org");
    }
    if (c == '_')
        return refuse(err, typed, "has the character '_', which CAs do not allow in certificates");
    if (c == ' ')
        return refuse(err, typed, "has a space in it");
    if (isgraph((unsigned char)c))
        return refuse(err, typed, "has the character '%c', which host names cannot have", c);
    return refuse(err, typed, "has a control character (0x%02x)", (unsigned)(unsigned char)c);
}

/* One label, lower case already. */
static bool check_label(const char *typed, const char *label, size_t len, struct err *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    size_t good = strspn(label, allowed);
    if (good < len)
        return refuse_character(typed, label[good], err);
    if (len == 0)
        return refuse(err, typed, "has an empty label (a dot too many)");
    if (len > LABEL_MAX_OCTETS)
        return refuse(err, typed, "has a label of %zu characters, and 63 is the limit", len);
    if (label[0] == '-' || label[len - 1] == '-')
        return refuse(err, typed, "has a label that begins or ends with a hyphen");
    if (strncmp(label, ACE_PREFIX, ACE_PREFIX_LEN) != 0)
        return true;
    AUTO_FREE char *copy = mem_ndup(label, len);
    if (!ace_label_valid(copy))
        return refuse(err, typed, "has the label '%s', which is not a valid internationalised label", copy);
    return true;
}

static bool is_special_use(const char *name, const char *suffix)
{
    size_t len = strlen(name), suffix_len = strlen(suffix);
    return len >= suffix_len && strcmp(name + len - suffix_len, suffix) == 0 &&
           (len == suffix_len || name[len - suffix_len - 1] == '.');
}

static bool check_reach(const char *typed, const char *name, struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(special_use); i++)
        if (is_special_use(name, special_use[i])) {
            refuse(err, typed, "ends in .%s, which is for private use: no CA can validate it",
                   special_use[i]);
            return err_advise(err, "use a name of a domain that you have registered");
        }
    if (strchr(name, '.') != NULL)
        return true;
    refuse(err, typed, "is a single label: a CA needs the full name");
    return err_advise(err, "give it with its domain, as in www.example.org");
}

/* The ASCII name without its wildcard label: lower-cased in place, its final dot cut, checked. */
static bool check_ascii(const char *typed, char *name, struct err *err)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++)
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] = (char)(name[i] - 'A' + 'a');
    if (len > 1 && name[len - 1] == '.')
        name[--len] = '\0';
    if (ends_in_number(name)) {
        refuse(err, typed, "is neither a host name nor a complete IPv4 address");
        return err_advise(err,
                          "an IPv4 address has four decimal numbers from 0 to 255 without leading zeros");
    }
    for (const char *label = name;; label++) {
        size_t label_len = strcspn(label, ".");
        if (!check_label(typed, label, label_len, err))
            return false;
        label += label_len;
        if (*label == '\0')
            return check_reach(typed, name, err);
    }
}

static bool normalize_dns(const char *typed, char out[NAME_MAX_BYTES], struct err *err)
{
    bool wildcard = name_is_wildcard(typed);
    const char *base = typed + (wildcard ? WILDCARD_LEN : 0);
    AUTO_FREE char *ascii = NULL;
    if (ascii_only(base))
        ascii = mem_dup(base);
    else if (!idn_to_ascii(typed, base, &ascii, err))
        return false;
    if (!check_ascii(typed, ascii, err))
        return false;
    size_t len = strlen(ascii) + (wildcard ? WILDCARD_LEN : 0);
    if (len > NAME_MAX_OCTETS)
        return refuse(err, typed, "has %zu characters, and %d is the limit", len, NAME_MAX_OCTETS);
    snprintf(out, NAME_MAX_BYTES, "%s%s", wildcard ? "*." : "", ascii);
    return true;
}

/* -- the interface --------------------------------------------------------------------------------------- */

bool name_normalize(const char *typed, char out[NAME_MAX_BYTES], struct err *err)
{
    if (typed == NULL || typed[0] == '\0')
        return err_set(err, ERR_NAME, NEXT_FIX_CONFIG, "", "the name is empty");
    if (strlen(typed) > TYPED_MAX_BYTES)
        return refuse(err, typed, "is too long: a name has at most %d characters", NAME_MAX_OCTETS);
    if (!valid_utf8(typed)) {
        refuse(err, typed, "is not valid UTF-8");
        return err_advise(err, "give the name in its ASCII form, which begins with xn--");
    }
    if (!check_plain(typed, err))
        return false;
    if (typed[0] == '[') {
        size_t len = strlen(typed);
        if (typed[len - 1] != ']')
            return refuse(err, typed, "has a bracket that does not close");
        AUTO_FREE char *inner = mem_ndup(typed + 1, len - 2);
        return normalize_ipv6(typed, inner, out, err);
    }
    if (strchr(typed, ':') != NULL)
        return normalize_ipv6(typed, typed, out, err);
    return normalize_ipv4(typed, out) || normalize_dns(typed, out, err);
}

bool name_normalize_list(const struct strlist *typed, struct strlist *out, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    for (size_t i = 0; i < typed->n; i++) {
        char name[NAME_MAX_BYTES];
        if (!name_normalize(typed->v[i], name, err))
            return false;
        if (!strlist_has(&names, name))
            strlist_add(&names, name);
    }
    strlist_copy(out, &names);
    return true;
}

const char *name_display(const char *ascii, char out[2 * NAME_MAX_BYTES + 4])
{
    const size_t room = 2 * NAME_MAX_BYTES + 4;
    const char *star = name_is_wildcard(ascii) ? "*." : "";
    AUTO_FREE char *unicode = to_unicode(ascii + strlen(star));
    snprintf(out, room, "%s", ascii);
    /* a U-label can be several times as long as its A-label */
    if (unicode != NULL && strlen(ascii) + strlen(star) + strlen(unicode) + sizeof " ()" <= room)
        snprintf(out, room, "%s (%s%s)", ascii, star, unicode);
    printable(out);
    return out;
}

/* The address bytes of an IP name, length 0 for other names. */
static size_t ip_bytes(const char *name, unsigned char bytes[sizeof(struct in6_addr)])
{
    if (inet_pton(AF_INET, name, bytes) == 1)
        return sizeof(struct in_addr);
    return inet_pton(AF_INET6, name, bytes) == 1 ? sizeof(struct in6_addr) : 0;
}

bool name_is_ip(const char *name)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return ip_bytes(name, bytes) > 0;
}

bool name_is_wildcard(const char *name)
{
    return name[0] == '*' && name[1] == '.';
}

bool name_matches(const char *pattern, const char *name)
{
    unsigned char a[sizeof(struct in6_addr)], b[sizeof(struct in6_addr)];
    size_t a_len = ip_bytes(pattern, a), b_len = ip_bytes(name, b);
    if (a_len > 0 || b_len > 0)
        return a_len == b_len && memcmp(a, b, a_len) == 0;
    if (strcasecmp(pattern, name) == 0)
        return pattern[0] != '\0';
    const char *dot = strchr(name, '.');
    return name_is_wildcard(pattern) && pattern[WILDCARD_LEN] != '\0' && dot != NULL && dot > name &&
           name[0] != '*' && strcasecmp(pattern + 1, dot) == 0;
}

/* -- registered domains ---------------------------------------------------------------------------------- */

/* The start of the last `count` labels; the whole name when it has no more. */
static const char *last_labels(const char *name, int count)
{
    const char *start = name + strlen(name);
    while (start > name)
        if (*--start == '.' && --count == 0)
            return start + 1;
    return name;
}

/* Without libpsl: the suffixes of two labels below which most registrations are made. */
static const char *by_table(const char *name)
{
    static const char *const suffixes[] = {
        "ac.at",  "co.at",  "or.at",  "asn.au", "com.au", "edu.au", "gov.au", "id.au",  "net.au", "org.au",
        "com.ar", "com.bd", "com.br", "net.br", "org.br", "com.cn", "net.cn", "org.cn", "com.co", "com.cy",
        "com.ec", "com.eg", "com.es", "com.gr", "com.hk", "org.hk", "co.hu",  "co.id",  "or.id",  "web.id",
        "ac.il",  "co.il",  "org.il", "ac.in",  "co.in",  "net.in", "org.in", "ac.jp",  "co.jp",  "go.jp",
        "ne.jp",  "or.jp",  "co.ke",  "ac.kr",  "co.kr",  "or.kr",  "com.mx", "org.mx", "com.my", "com.ng",
        "ac.nz",  "co.nz",  "net.nz", "org.nz", "com.pe", "com.ph", "com.pk", "com.pl", "net.pl", "org.pl",
        "com.pt", "com.py", "com.ru", "com.sa", "com.sg", "edu.sg", "ac.th",  "co.th",  "com.tr", "org.tr",
        "com.tw", "org.tw", "com.ua", "co.ug",  "ac.uk",  "co.uk",  "gov.uk", "ltd.uk", "me.uk",  "net.uk",
        "nhs.uk", "org.uk", "plc.uk", "com.uy", "com.ve", "com.vn", "ac.za",  "co.za",  "org.za",
    };
    const char *two = last_labels(name, 2);
    for (size_t i = 0; i < COUNT_OF(suffixes); i++)
        if (strcmp(two, suffixes[i]) == 0)
            return last_labels(name, 3);
    return two;
}

#ifdef HAVE_LIBPSL
/* Loaded once and kept: the list has ten thousand rules. */
static const char *by_list(const char *name)
{
    static psl_ctx_t *list;
    if (list == NULL)
        list = psl_latest(NULL);
    if (list == NULL)
        return by_table(name);
    const char *domain = psl_registrable_domain(list, name);
    return domain != NULL ? domain : name; /* a suffix itself */
}
#else
static const char *by_list(const char *name)
{
    return by_table(name);
}
#endif

bool name_registered_domain(const char *name, char out[NAME_MAX_BYTES])
{
    struct in6_addr address;
    char domain[NAME_MAX_BYTES];
    const char *base = name + (name_is_wildcard(name) ? WILDCARD_LEN : 0);
    size_t len = strlen(base);
    if (len == 0 || len >= sizeof domain || base[0] == '.' || base[len - 1] == '.' || !ascii_only(base))
        return false;
    if (inet_pton(AF_INET6, base, &address) == 1) {
        memset(address.s6_addr + 8, 0, 8);
        format_ipv6(&address, domain);
        snprintf(out, NAME_MAX_BYTES, "%.*s/64", NAME_MAX_BYTES - 4, domain);
        return true;
    }
    snprintf(out, NAME_MAX_BYTES, "%s", name_is_ip(base) ? base : by_list(base));
    return true;
}
