#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/ca.h"

#include <string.h>
#include <strings.h>

#include "tlsup/compat.h"

enum {
    CAREFUL_REQUESTS_S = 100, /* a public CA that publishes no limit */
    PRIVATE_REQUESTS_S = 500, /* any other: what is in flight bounds it before, and its own "slow down" */
};

/* Let's Encrypt lets 250 requests a second pass, but only 125 at once; at staging 20 new orders, 40 at once.
 * The lower figure is one that no burst of ours can pass. */
static const struct ca presets[] = {
    {
        .name = "letsencrypt",
        .url = "https://acme-v02.api.letsencrypt.org/directory",
        .external_account = false,
        .eab_url = "",
        .eab_page = "",
        .caa = "letsencrypt.org",
        .ip_profile = "shortlived",
        .staging = "https://acme-staging-v02.api.letsencrypt.org/directory",
        .same_set = 5,
        .per_domain = 50,
        .orders_3h = 300,
        .failures_h = 5,
        .requests_s = 125,
        .new_nonces_s = 20,
        .new_nonces_burst = 10,
    },
    {
        .name = "letsencrypt-staging",
        .url = "https://acme-staging-v02.api.letsencrypt.org/directory",
        .external_account = false,
        .eab_url = "",
        .eab_page = "",
        .caa = "letsencrypt.org",
        .ip_profile = "shortlived",
        .staging = "https://acme-staging-v02.api.letsencrypt.org/directory",
        .same_set = 30000,
        .orders_3h = 1500,
        .failures_h = 200,
        .requests_s = 40,
        .new_nonces_s = 20,
        .new_nonces_burst = 10,
    },
    {
        .name = "zerossl",
        .url = "https://acme.zerossl.com/v2/DV90",
        .external_account = true,
        .eab_url = "https://api.zerossl.com/acme/eab-credentials-email",
        .eab_page = "https://app.zerossl.com/developer",
        .caa = "sectigo.com",
        .ip_profile = "",
        .staging = "",
        .requests_s = CAREFUL_REQUESTS_S,
    },
    {
        .name = "google",
        .url = "https://dv.acme-v02.api.pki.goog/directory",
        .external_account = true,
        .eab_url = "",
        .eab_page = "https://cloud.google.com/certificate-manager/docs/public-ca-tutorial",
        .caa = "pki.goog",
        .ip_profile = "",
        .staging = "https://dv.acme-v02.test-api.pki.goog/directory",
        .requests_s = CAREFUL_REQUESTS_S,
    },
    {
        .name = "google-test",
        .url = "https://dv.acme-v02.test-api.pki.goog/directory",
        .external_account = true,
        .eab_url = "",
        .eab_page = "https://cloud.google.com/certificate-manager/docs/public-ca-tutorial",
        .caa = "pki.goog",
        .ip_profile = "",
        .staging = "https://dv.acme-v02.test-api.pki.goog/directory",
        .requests_s = CAREFUL_REQUESTS_S,
    },
    {
        .name = "sslcom-rsa",
        .url = "https://acme.ssl.com/sslcom-dv-rsa",
        .external_account = true,
        .eab_url = "",
        .eab_page = "https://secure.ssl.com/",
        .caa = "ssl.com",
        .ip_profile = "",
        .staging = "",
        .requests_s = CAREFUL_REQUESTS_S,
    },
    {
        .name = "sslcom-ecc",
        .url = "https://acme.ssl.com/sslcom-dv-ecc",
        .external_account = true,
        .eab_url = "",
        .eab_page = "https://secure.ssl.com/",
        .caa = "ssl.com",
        .ip_profile = "",
        .staging = "",
        .requests_s = CAREFUL_REQUESTS_S,
    },
    {
        .name = "actalis",
        .url = "https://acme-api.actalis.com/acme/directory",
        .external_account = true,
        .eab_url = "",
        .eab_page = "https://www.actalis.com/",
        .caa = "actalis.it",
        .ip_profile = "",
        .staging = "",
        .requests_s = CAREFUL_REQUESTS_S,
    },
    {
        .name = "sectigo",
        .url = "https://acme.sectigo.com/v2/DV",
        .external_account = true,
        .eab_url = "",
        .eab_page = "https://cert-manager.com/",
        .caa = "sectigo.com",
        .ip_profile = "",
        .staging = "",
        .requests_s = CAREFUL_REQUESTS_S,
    },
};

static const struct ca unknown = {
    .name = "",
    .url = "",
    .external_account = false,
    .eab_url = "",
    .eab_page = "",
    .caa = "",
    .ip_profile = "",
    .staging = "",
    .requests_s = PRIVATE_REQUESTS_S,
};

const struct ca *ca_at(size_t index)
{
    return index < COUNT_OF(presets) ? &presets[index] : NULL;
}

const struct ca *ca_by_name(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(presets); i++)
        if (strcmp(presets[i].name, name) == 0)
            return &presets[i];
    return NULL;
}

/* The path after the authority, and how long scheme and authority are without a port of 443. */
static const char *split(const char *url, size_t *origin_len)
{
    const char *scheme = strstr(url, "://");
    const char *authority = scheme != NULL ? scheme + 3 : url;
    const char *path = authority + strcspn(authority, "/?#");
    *origin_len = (size_t)(path - url);
    if (path - authority > 4 && strncmp(path - 4, ":443", 4) == 0)
        *origin_len -= 4;
    return path;
}

static bool same_directory(const char *a, const char *b)
{
    size_t a_origin, b_origin;
    const char *a_path = split(a, &a_origin), *b_path = split(b, &b_origin);
    size_t a_len = strlen(a_path), b_len = strlen(b_path);
    a_len -= a_len > 0 && a_path[a_len - 1] == '/';
    b_len -= b_len > 0 && b_path[b_len - 1] == '/';
    return a_origin == b_origin && strncasecmp(a, b, a_origin) == 0 && a_len == b_len &&
           memcmp(a_path, b_path, a_len) == 0;
}

const struct ca *ca_by_url(const char *url)
{
    for (size_t i = 0; i < COUNT_OF(presets); i++)
        if (same_directory(presets[i].url, url))
            return &presets[i];
    return &unknown;
}
