#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "config_internal.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "tlsup/ca.h"

#define CA_URL_MAX_BYTES 512 /* as in the state files */
#define CA_DIR_NAME_MAX 120
#define CERT_NAME_MAX 200
#define ACCOUNT_NAME_MAX 64
#define HASH_HEX_BYTES 13

/* -- certificate authorities -------------------------------------------------------------------------- */

const char *config_preset_name(const char *url)
{
    const char *name = ca_by_url(url)->name;
    return name[0] != '\0' ? name : NULL;
}

bool config_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* What follows "scheme://", up to the path. */
static const char *authority_of(const char *url, size_t *len)
{
    const char *start = strstr(url, "://");
    start = start != NULL ? start + 3 : url;
    *len = strcspn(start, "/?#");
    return start;
}

/* The length of the host at the start of an authority without user information; 0 when there is none. */
static size_t host_len(const char *authority, size_t len)
{
    size_t n = 0;
    if (len > 0 && authority[0] == '[') {
        n = 1 + strspn(authority + 1, "0123456789abcdefABCDEF:.");
        return n > 2 && n < len && authority[n] == ']' ? n + 1 : 0;
    }
    while (n < len && (config_alnum(authority[n]) || authority[n] == '.' || authority[n] == '-'))
        n++;
    return n;
}

static bool port_valid(const char *text, size_t len)
{
    unsigned port = 0;
    if (len < 2 || len > 6 || text[0] != ':')
        return false;
    for (size_t i = 1; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        port = port * 10 + (unsigned)(text[i] - '0');
    }
    return port >= 1 && port <= 65535;
}

static bool directory_url_valid(const char *url)
{
    size_t len, host;
    if (strncmp(url, "https://", 8) != 0 || strlen(url) >= CA_URL_MAX_BYTES)
        return false;
    for (const char *c = url; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~' || strchr("#\"<>\\^`{|},", *c) != NULL) /* ',' stands between URLs */
            return false;
    const char *authority = authority_of(url, &len);
    host = host_len(authority, len);
    return host > 0 && (host == len || port_valid(authority + host, len - host));
}

bool config_ca_url(const char *text, const char **url, struct err *err)
{
    AUTO_BUF known = BUF_INIT;
    const struct ca *preset;
    for (size_t i = 0; (preset = ca_at(i)) != NULL; i++) {
        if (strcmp(text, preset->name) == 0) {
            *url = preset->url;
            return true;
        }
        buf_addf(&known, "%s, ", preset->name);
    }
    if (directory_url_valid(text)) {
        *url = text;
        return true;
    }
    return err_set(
        err, ERR_CONFIG, NEXT_FIX_CONFIG, text,
        "'%s' is not a certificate authority; accepted are %sor the https:// URL of an ACME directory", text,
        buf_str(&known));
}

const char *config_ca_name(const char *url, char out[256])
{
    size_t len;
    const char *name = config_preset_name(url);
    if (name != NULL) {
        snprintf(out, 256, "%s", name);
    } else {
        const char *authority = authority_of(url, &len);
        size_t host = host_len(authority, len);
        bool whole = host < len && port_valid(authority + host, len - host); /* several may share a host */
        size_t shown = whole ? len : host;
        snprintf(out, 256, "%.*s", (int)(shown < 255 ? shown : 255), authority);
    }
    return out;
}

static const char *short_hash(const char *text, char out[HASH_HEX_BYTES])
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((const unsigned char *)text, strlen(text), digest);
    for (size_t i = 0; i < (HASH_HEX_BYTES - 1) / 2; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    return out;
}

/* May `c`, which follows `before` in the name, stand for itself? A '.' never follows another. */
static bool stands_for_itself(char c, char before)
{
    return config_alnum(c) || (c == '-' && before != '\0') || (c == '.' && before != '\0' && before != '.');
}

/* The name tells the URL exactly as long as '/' is the only character replaced, and never twice in a row;
 * every other URL gets "__" and a hash, which such a name cannot contain. */
const char *config_ca_dir_name(const char *url, char out[256])
{
    char hash[HASH_HEX_BYTES];
    size_t len = 0;
    bool exact = strncmp(url, "https://", 8) == 0;
    const char *c = exact ? url + 8 : url;
    for (; *c != '\0' && len < CA_DIR_NAME_MAX; c++) {
        char before = len > 0 ? out[len - 1] : '\0';
        bool itself = stands_for_itself(*c, before);
        if (!itself && (*c != '/' || before == '_' || before == '\0'))
            exact = false;
        out[len++] = itself ? *c : '_';
    }
    out[len] = '\0';
    if (!exact || *c != '\0' || len == 0)
        snprintf(out + len, 256 - len, "__%s", short_hash(url, hash));
    return out;
}

/* -- names of certificates and accounts ----------------------------------------------------------------- */

static bool cert_name_char(char c)
{
    return config_alnum(c) || c == '.' || c == '_' || c == '@' || c == '-';
}

bool config_cert_name_valid(const char *name)
{
    size_t len = strlen(name);
    if (len < 1 || len > CERT_NAME_MAX || name[0] == '.' || name[0] == '-')
        return false;
    for (size_t i = 0; i < len; i++)
        if (!cert_name_char(name[i]))
            return false;
    return true;
}

bool config_account_name_valid(const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < len; i++)
        if (!config_alnum(name[i]) && name[i] != '_' && name[i] != '-')
            return false;
    return len >= 1 && len <= ACCOUNT_NAME_MAX;
}

void config_cert_name_for(const char *first_name, char out[256])
{
    char hash[HASH_HEX_BYTES];
    const char *rest = first_name;
    size_t len = 0;
    if (strncmp(first_name, "*.", 2) == 0) {
        len = (size_t)snprintf(out, 256, "_wildcard");
        rest = first_name + 1;
    }
    for (; *rest != '\0' && len < CERT_NAME_MAX; rest++) {
        bool good = cert_name_char(*rest) && (len > 0 || (*rest != '.' && *rest != '-'));
        out[len++] = good ? *rest : '_';
    }
    if (len == 0)
        out[len++] = '_';
    out[len] = '\0';
    if (*rest != '\0') {
        len = CERT_NAME_MAX - HASH_HEX_BYTES;
        snprintf(out + len, 256 - len, "-%s", short_hash(first_name, hash));
    }
}
