#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "config_internal.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/export_spec.h"
#include "tlsup/http.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"
#include "tlsup/verify.h"

#define NONE "none" /* takes back a default */
#define LIST_SEPARATORS ", \t"
#define TOKEN_MAX 128
#define ZONE_MAX 253
#define LABEL_MAX 63
#define DAY_S 86400
#define KEEP_MAX 1000
#define USER_MAX 32
#define VALID_FOR_MIN_S 60
#define VALID_FOR_MAX_S (INT64_C(3650) * DAY_S)

static bool refuse(struct err *why, const char *value, const char *accepted)
{
    return err_set(why, ERR_CONFIG, NEXT_FIX_CONFIG, NULL, "'%s' is not %s", value, accepted);
}

static void *member(const struct setting *setting, struct cert_config *config)
{
    return (char *)config + setting->offset;
}

static const void *const_member(const struct setting *setting, const struct cert_config *config)
{
    return (const char *)config + setting->offset;
}

static void replace(char **field, const char *value)
{
    char *copy = mem_dup(value);
    free(*field);
    *field = copy;
}

static bool find_word(const char *const *words, size_t count, const char *value, unsigned *index)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(words[i], value) == 0) {
            *index = i;
            return true;
        }
    return false;
}

/* -- times -------------------------------------------------------------------------------------------- */

static const struct {
    char letter;
    int64_t seconds;
} units[] = {{'d', DAY_S}, {'h', 3600}, {'m', 60}, {'s', 1}};

bool config_duration(const char *text, int64_t *seconds)
{
    size_t digits = strspn(text, "0123456789");
    int64_t unit = text[digits] == '\0' ? 1 : 0;
    for (size_t i = 0; i < COUNT_OF(units); i++)
        if (text[digits] == units[i].letter && text[digits + 1] == '\0')
            unit = units[i].seconds;
    if (digits < 1 || digits > 12 || unit == 0)
        return false;
    *seconds = strtoll(text, NULL, 10) * unit; /* 10^12 days are far from the end of 64 bits */
    return true;
}

/* In the largest unit that tells it exactly. */
static char *duration_text(int64_t seconds)
{
    size_t i = 0;
    while (seconds % units[i].seconds != 0)
        i++;
    return mem_fmt("%" PRId64 "%c", seconds / units[i].seconds, units[i].letter);
}

static bool set_seconds(const struct setting *setting, struct cert_config *config, const char *value,
                        struct err *why)
{
    int64_t seconds = 0;
    if (!config_duration(value, &seconds) || seconds < 1 || seconds > setting->max)
        return err_set(why, ERR_CONFIG, NEXT_FIX_CONFIG, NULL, "'%s' is not a number of seconds from 1 to %d",
                       value, setting->max);
    *(int *)member(setting, config) = (int)seconds;
    return true;
}

static char *get_seconds(const struct setting *setting, const struct cert_config *config)
{
    return mem_fmt("%d", *(const int *)const_member(setting, config));
}

static bool set_valid_for(const struct setting *setting, struct cert_config *config, const char *value,
                          struct err *why)
{
    int64_t seconds = 0;
    (void)setting;
    if (strcmp(value, NONE) != 0 &&
        (!config_duration(value, &seconds) || seconds < VALID_FOR_MIN_S || seconds > VALID_FOR_MAX_S))
        return refuse(why, value, "a time like 30d, 12h or 90m, from a minute to ten years, or none");
    config->valid_for_s = seconds;
    return true;
}

static char *get_valid_for(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return config->valid_for_s > 0 ? duration_text(config->valid_for_s) : mem_dup(NONE);
}

/* -- texts -------------------------------------------------------------------------------------------- */

static bool is_token(const char *value, size_t max, const char *besides);

static bool set_text(const struct setting *setting, struct cert_config *config, const char *value,
                     struct err *why)
{
    bool none = strcmp(value, NONE) == 0;
    if (!none && setting->check != NULL && !setting->check(value, why))
        return false;
    replace(member(setting, config), none ? NULL : value);
    return true;
}

static char *get_text(const struct setting *setting, const struct cert_config *config)
{
    const char *text = *(char *const *)const_member(setting, config);
    return mem_dup(text != NULL ? text : NONE);
}

static bool check_path(const char *value, struct err *why)
{
    if (value[0] != '/' || strlen(value) >= PATH_MAX)
        return refuse(why, value, "an absolute path ('/...') or none");
    return true;
}

static bool check_program(const char *value, struct err *why)
{
    /* The habit of writing a shell command here is strong; better told now than at the first renewal. */
    if (value[0] != '/' || strpbrk(value, " \t") != NULL) {
        refuse(why, value, "the absolute path of one program, without arguments, or none");
        return err_advise(why, "put the command into an executable script and give the script's path");
    }
    return check_path(value, why);
}

static const struct strlist *const_list(const struct setting *setting, const struct cert_config *config)
{
    return const_member(setting, config);
}

static bool set_list(const struct setting *setting, struct cert_config *config, const char *value,
                     struct err *why)
{
    struct strlist *list = member(setting, config);
    if (strcmp(value, NONE) == 0) {
        strlist_clear(list);
        return true;
    }
    if (!setting->check(value, why))
        return false;
    if (strlist_has(list, value))
        return err_set(why, ERR_CONFIG, NEXT_FIX_CONFIG, NULL, "'%s' is there twice", value);
    strlist_add(list, value);
    return true;
}

static char *get_list(const struct setting *setting, const struct cert_config *config)
{
    const struct strlist *list = const_list(setting, config);
    return list->n > 0 ? strlist_join(list, "\n") : mem_dup(NONE);
}

static bool check_export(const char *value, struct err *why)
{
    struct export_spec spec;
    if (!export_spec_parse(value, &spec, why))
        return false;
    export_spec_clear(&spec);
    return true;
}

static bool set_verify(const struct setting *setting, struct cert_config *config, const char *value,
                       struct err *why)
{
    AUTO_STRLIST words = STRLIST_INIT;
    struct verify_target target;
    (void)setting;
    if (strcmp(value, NONE) != 0)
        strlist_split(&words, value, LIST_SEPARATORS);
    for (size_t i = 0; i < words.n; i++)
        if (!verify_target_parse(words.v[i], &target, why))
            return false;
    strlist_copy(&config->verify, &words);
    return true;
}

static char *get_verify(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return config->verify.n > 0 ? strlist_join(&config->verify, " ") : mem_dup(NONE);
}

static bool set_keep(const struct setting *setting, struct cert_config *config, const char *value,
                     struct err *why)
{
    size_t digits = strspn(value, "0123456789");
    (void)setting;
    if (digits == 0 || digits > 4 || value[digits] != '\0' || atoi(value) < 1 || atoi(value) > KEEP_MAX)
        return refuse(why, value, "a number of versions from 1 to 1000");
    config->keep = atoi(value);
    return true;
}

static char *get_keep(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return mem_fmt("%d", config->keep);
}

static bool check_user(const char *value, struct err *why)
{
    return is_token(value, USER_MAX, "._-") ||
           refuse(why, value, "the name of a user of this machine, or none");
}

/* An address that goes into a mailto URL as it is (RFC 8555 7.3: one address, no header fields). */
static bool email_valid(const char *value)
{
    const char *at = strchr(value, '@');
    if (at == NULL || at == value || strchr(at + 1, '@') != NULL || strlen(value) > 254)
        return false;
    for (const char *c = value; *c != '\0'; c++)
        if (*c <= ' ' || *c > '~' || strchr("\"(),:;<>?%[\\]&#/", *c) != NULL)
            return false;
    return config_alnum(at[1]);
}

static bool check_email(const char *value, struct err *why)
{
    return email_valid(value) || refuse(why, value, "one address like admin@example.org, or none");
}

static bool is_token(const char *value, size_t max, const char *besides)
{
    size_t len = strlen(value);
    for (const char *c = value; *c != '\0'; c++)
        if (!config_alnum(*c) && strchr(besides, *c) == NULL)
            return false;
    return len > 0 && len <= max;
}

static bool check_profile(const char *value, struct err *why)
{
    return is_token(value, TOKEN_MAX, "._~:/+@-") ||
           refuse(why, value, "the name of a profile, one word like shortlived, or none");
}

static bool check_interface(const char *value, struct err *why)
{
    return is_token(value, LABEL_MAX, "._:@%-") ||
           refuse(why, value, "the name of a network interface, an address of this machine, or none");
}

static bool check_key(const char *value, struct err *why)
{
    if (key_is_uri(value) && strpbrk(value, " \t") == NULL)
        return true;
    refuse(why, value, "a key on a token (pkcs11:..., handle:... or tpm2:...), or none");
    return err_advise(why, "keys in files are made by tlsup itself, of the type that key-type says");
}

static bool host_valid(const char *value)
{
    size_t label = 0, len = strlen(value);
    if (len > 0 && value[len - 1] == '.')
        len--;
    for (size_t i = 0; i < len; i++) {
        bool dot = value[i] == '.';
        if ((dot && label == 0) ||
            (!dot &&
             (!(config_alnum(value[i]) || value[i] == '-' || value[i] == '_') || ++label > LABEL_MAX)))
            return false;
        label = dot ? 0 : label;
    }
    return len > 0 && len <= ZONE_MAX && label > 0;
}

static bool check_zone(const char *value, struct err *why)
{
    return host_valid(value) ||
           refuse(why, value, "the name of a DNS zone like example.org (IDNs as xn--...), or none");
}

static bool set_account(const struct setting *setting, struct cert_config *config, const char *value,
                        struct err *why)
{
    if (!config_account_name_valid(value))
        return refuse(why, value, "a name for an account: 1 to 64 letters, digits, '_' and '-'");
    replace(member(setting, config), strcmp(value, CONFIG_DEFAULT_ACCOUNT) != 0 ? value : NULL);
    return true;
}

static char *get_account(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return mem_dup(config->account != NULL ? config->account : CONFIG_DEFAULT_ACCOUNT);
}

static bool set_proxy(const struct setting *setting, struct cert_config *config, const char *value,
                      struct err *why)
{
    bool direct = strcmp(value, "direct") == 0, none = strcmp(value, NONE) == 0;
    if (!direct && !none && strpbrk(value, " \t") != NULL)
        return err_set(why, ERR_CONFIG, NEXT_FIX_CONFIG, NULL,
                       "a proxy has no white space in it; percent-encode it in passwords");
    if (!direct && !none && !http_proxy_check(value, why))
        return false;
    replace(member(setting, config), direct ? "" : none ? NULL : value);
    return true;
}

static char *get_proxy(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    const char *proxy = config->proxy;
    return mem_dup(proxy == NULL ? NONE : proxy[0] == '\0' ? "direct" : proxy);
}

/* -- words -------------------------------------------------------------------------------------------- */

static const char *const yes_no_words[] = {"no", "yes"};

static bool set_yes_no(const struct setting *setting, struct cert_config *config, const char *value,
                       struct err *why)
{
    unsigned index;
    if (!find_word(yes_no_words, COUNT_OF(yes_no_words), value, &index))
        return refuse(why, value, "yes or no");
    *(bool *)member(setting, config) = index == 1;
    return true;
}

static char *get_yes_no(const struct setting *setting, const struct cert_config *config)
{
    return mem_dup(yes_no_words[*(const bool *)const_member(setting, config)]);
}

static bool set_install(const struct setting *setting, struct cert_config *config, const char *value,
                        struct err *why)
{
    static const enum web_kind kinds[] = {WEB_NONE, WEB_NGINX, WEB_APACHE};
    (void)setting;
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(web_kind_name(kinds[i]), value) == 0) {
            config->install = kinds[i];
            return true;
        }
    return refuse(why, value, "nginx, apache or none");
}

static char *get_install(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return mem_dup(web_kind_name(config->install));
}

static bool set_hsts(const struct setting *setting, struct cert_config *config, const char *value,
                     struct err *why)
{
    unsigned index;
    int64_t seconds = 0;
    (void)setting;
    if (find_word(yes_no_words, COUNT_OF(yes_no_words), value, &index))
        seconds = index == 1 ? CONFIG_HSTS_S : 0;
    else if (!config_duration(value, &seconds) || seconds < 1 || seconds > VALID_FOR_MAX_S)
        return refuse(why, value, "yes, no or a time like 180d, ten years at most");
    config->hsts_s = seconds;
    return true;
}

static char *get_hsts(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return config->hsts_s == 0               ? mem_dup("no")
           : config->hsts_s == CONFIG_HSTS_S ? mem_dup("yes")
                                             : duration_text(config->hsts_s);
}

static bool set_tls_profile(const struct setting *setting, struct cert_config *config, const char *value,
                            struct err *why)
{
    static const enum web_tls_profile profiles[] = {WEB_TLS_INTERMEDIATE, WEB_TLS_MODERN, WEB_TLS_OLD};
    (void)setting;
    for (size_t i = 0; i < COUNT_OF(profiles); i++)
        if (strcmp(web_tls_profile_name(profiles[i]), value) == 0) {
            config->tls_profile = profiles[i];
            return true;
        }
    return refuse(why, value, "intermediate, modern or old");
}

static char *get_tls_profile(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return mem_dup(web_tls_profile_name(config->tls_profile));
}

static const char *const ip_words[] = {"any", "4", "6"};
static const int ip_versions[] = {0, 4, 6};

static bool set_ip_version(const struct setting *setting, struct cert_config *config, const char *value,
                           struct err *why)
{
    unsigned index;
    (void)setting;
    if (!find_word(ip_words, COUNT_OF(ip_words), value, &index))
        return refuse(why, value, "4, 6 or any");
    config->ip_version = ip_versions[index];
    return true;
}

static char *get_ip_version(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return mem_dup(config->ip_version == 4 ? "4" : config->ip_version == 6 ? "6" : "any");
}

static bool set_hook_contract(const struct setting *setting, struct cert_config *config, const char *value,
                              struct err *why)
{
    (void)setting;
    return hook_contract_parse(value, &config->hook_contract, why);
}

static char *get_hook_contract(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return mem_dup(hook_contract_name(config->hook_contract));
}

/* -- lists -------------------------------------------------------------------------------------------- */

static bool set_names(const struct setting *setting, struct cert_config *config, const char *value,
                      struct err *why)
{
    AUTO_STRLIST typed = STRLIST_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    (void)setting;
    strlist_split(&typed, value, LIST_SEPARATORS);
    if (typed.n == 0)
        return refuse(why, value, "a list of names");
    if (!name_normalize_list(&typed, &names, why))
        return false;
    strlist_copy(&config->names, &names);
    return true;
}

static char *get_names(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return strlist_join(&config->names, " ");
}

static bool set_server(const struct setting *setting, struct cert_config *config, const char *value,
                       struct err *why)
{
    AUTO_STRLIST words = STRLIST_INIT;
    AUTO_STRLIST urls = STRLIST_INIT;
    (void)setting;
    strlist_split(&words, value, LIST_SEPARATORS);
    if (words.n == 0)
        return refuse(why, value, "a certificate authority");
    for (size_t i = 0; i < words.n; i++) {
        const char *url;
        if (!config_ca_url(words.v[i], &url, why))
            return false;
        if (strlist_has(&urls, url))
            return err_set(why, ERR_CONFIG, NEXT_FIX_CONFIG, NULL, "'%s' is there twice", words.v[i]);
        strlist_add(&urls, url);
    }
    replace(&config->server, urls.v[0]);
    strlist_clear(&config->fallbacks);
    for (size_t i = 1; i < urls.n; i++)
        strlist_add(&config->fallbacks, urls.v[i]);
    return true;
}

static void add_server(struct buf *out, const char *url)
{
    const char *name = config_preset_name(url);
    buf_addf(out, "%s%s", out->len > 0 ? " " : "", name != NULL ? name : url);
}

static char *get_server(const struct setting *setting, const struct cert_config *config)
{
    AUTO_BUF text = BUF_INIT;
    (void)setting;
    add_server(&text, config->server != NULL ? config->server : CONFIG_DEFAULT_CA);
    for (size_t i = 0; i < config->fallbacks.n; i++)
        add_server(&text, config->fallbacks.v[i]);
    return buf_take(&text);
}

static const struct {
    const char *word;
    enum challenge_type type;
} vias[CHALLENGE_VIAS] = {
    [CHALLENGE_VIA_WEB_SERVER] = {"web-server", CHALLENGE_HTTP_01},
    [CHALLENGE_VIA_STANDALONE] = {"standalone", CHALLENGE_HTTP_01},
    [CHALLENGE_VIA_WEBROOT] = {"webroot", CHALLENGE_HTTP_01},
    [CHALLENGE_VIA_HTTP_HOOK] = {"http-hook", CHALLENGE_HTTP_01},
    [CHALLENGE_VIA_TLS_ALPN] = {"tls-alpn", CHALLENGE_TLS_ALPN_01},
    [CHALLENGE_VIA_DNS] = {"dns", CHALLENGE_DNS_01},
    [CHALLENGE_VIA_DNS_ACCOUNT] = {"dns-account", CHALLENGE_DNS_ACCOUNT_01},
    [CHALLENGE_VIA_DNS_PERSIST] = {"dns-persist", CHALLENGE_DNS_PERSIST_01},
};

const char *config_challenge_name(enum config_challenge via)
{
    return (unsigned)via < CHALLENGE_VIAS ? vias[via].word : "";
}

enum challenge_type config_challenge_type(enum config_challenge via)
{
    return (unsigned)via < CHALLENGE_VIAS ? vias[via].type : CHALLENGE_UNKNOWN;
}

static bool add_challenge(struct cert_config *config, const char *word, struct err *why)
{
    unsigned via = 0;
    while (via < CHALLENGE_VIAS && strcmp(vias[via].word, word) != 0)
        via++;
    if (via == CHALLENGE_VIAS)
        return refuse(
            why, word,
            "web-server, standalone, webroot, http-hook, tls-alpn, dns, dns-account or dns-persist");
    if (cert_config_has_challenge(config, (enum config_challenge)via))
        return err_set(why, ERR_CONFIG, NEXT_FIX_CONFIG, NULL, "'%s' is there twice", word);
    config->challenges[config->n_challenges++] = (enum config_challenge)via;
    return true;
}

static bool set_challenge(const struct setting *setting, struct cert_config *config, const char *value,
                          struct err *why)
{
    AUTO_STRLIST words = STRLIST_INIT;
    (void)setting;
    strlist_split(&words, value, LIST_SEPARATORS);
    if (words.n == 0)
        return refuse(why, value, "a way to answer challenges");
    config->n_challenges = 0;
    for (size_t i = 0; i < words.n; i++)
        if (!add_challenge(config, words.v[i], why))
            return false;
    return true;
}

static char *get_challenge(const struct setting *setting, const struct cert_config *config)
{
    AUTO_BUF text = BUF_INIT;
    (void)setting;
    for (size_t i = 0; i < config->n_challenges; i++)
        buf_addf(&text, "%s%s", i > 0 ? " " : "", config_challenge_name(config->challenges[i]));
    return mem_dup(buf_str(&text));
}

static bool set_key_type(const struct setting *setting, struct cert_config *config, const char *value,
                         struct err *why)
{
    enum key_type types[2] = {KEY_ECDSA_P256, KEY_ECDSA_P256};
    AUTO_STRLIST words = STRLIST_INIT;
    (void)setting;
    strlist_split(&words, value, LIST_SEPARATORS);
    if (words.n < 1 || words.n > COUNT_OF(types))
        return refuse(why, value, "one key type, or two: one of RSA and one of ECDSA");
    for (size_t i = 0; i < words.n; i++)
        if (!key_type_parse(words.v[i], &types[i], why))
            return false;
    config->key_type = types[0];
    config->dual = words.n == 2;
    config->second_key_type = types[1];
    return true;
}

static char *get_key_type(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return mem_fmt("%s%s%s", key_type_name(config->key_type), config->dual ? " " : "",
                   config->dual ? key_type_name(config->second_key_type) : "");
}

/* -- addresses of name servers ------------------------------------------------------------------------ */

/* 1 to 65535, without a leading zero. */
static bool port_valid(const char *text)
{
    size_t len = strlen(text);
    return len >= 1 && len <= 5 && text[0] != '0' && strspn(text, "0123456789") == len && atoi(text) <= 65535;
}

/* Split "[address]:port", "address#port", "address:port" (not of an IPv6 address without brackets); `port`
 * stays "" where none is given. */
static bool split_port(const char *text, char *host, size_t size, const char **port)
{
    const char *end = text + strlen(text), *hash = strchr(text, '#'), *colon = strchr(text, ':');
    size_t skip = text[0] == '[';
    const char *stop = skip                                              ? strchr(text, ']')
                       : hash != NULL                                    ? hash
                       : colon != NULL && strchr(colon + 1, ':') == NULL ? colon
                                                                         : end;
    if (stop == NULL || (size_t)(stop - text) - skip >= size)
        return false;
    snprintf(host, size, "%.*s", (int)((size_t)(stop - text) - skip), text + skip);
    stop += skip;
    *port = stop[0] != '\0' ? stop + 1 : stop;
    return stop[0] == '\0' || ((stop[0] == ':' || stop[0] == '#') && port_valid(stop + 1));
}

bool config_dns_server(const char *text, bool host_names, char out[CONFIG_DNS_SERVER_BYTES], struct err *err)
{
    unsigned char address[16];
    char host[256], plain[INET6_ADDRSTRLEN];
    const char *port = "";
    bool ok = split_port(text, host, sizeof host, &port);
    int family = ok && inet_pton(AF_INET, host, address) == 1    ? AF_INET
                 : ok && inet_pton(AF_INET6, host, address) == 1 ? AF_INET6
                                                                 : 0;
    /* a name of digits alone is a mistyped address */
    bool named = ok && family == 0 && host_names && text[0] != '[' && host_valid(host) &&
                 strspn(host, "0123456789.") != strlen(host);
    if ((family == 0 && !named) || (text[0] == '[' && family != AF_INET6))
        return refuse(
            err, text,
            host_names ? "a name server: ns.example.org, 192.0.2.53, 192.0.2.53:5353, [2001:db8::53]:5353 or "
                         "primary"
                       : "the address of a name server: 192.0.2.1, 192.0.2.1#5353, 2001:db8::1 or "
                         "[2001:db8::1]:5353");
    if (family != 0)
        inet_ntop(family, address, plain, sizeof plain);
    snprintf(out, CONFIG_DNS_SERVER_BYTES, "%s%s%s", family != 0 ? plain : host, port[0] != '\0' ? "#" : "",
             port);
    return true;
}

static bool check_update_server(const char *value, struct err *why)
{
    char ignored[CONFIG_DNS_SERVER_BYTES];
    return strcmp(value, "primary") == 0 || config_dns_server(value, true, ignored, why);
}

static bool set_dns_servers(const struct setting *setting, struct cert_config *config, const char *value,
                            struct err *why)
{
    AUTO_STRLIST words = STRLIST_INIT;
    AUTO_STRLIST servers = STRLIST_INIT;
    char server[CONFIG_DNS_SERVER_BYTES];
    (void)setting;
    if (strcmp(value, NONE) != 0)
        strlist_split(&words, value, LIST_SEPARATORS);
    if (words.n == 0 && strcmp(value, NONE) != 0)
        return refuse(why, value, "a list of name servers, or none");
    for (size_t i = 0; i < words.n; i++) {
        if (!config_dns_server(words.v[i], false, server, why))
            return false;
        if (!strlist_has(&servers, server))
            strlist_add(&servers, server);
    }
    strlist_copy(&config->dns_servers, &servers);
    return true;
}

static char *get_dns_servers(const struct setting *setting, const struct cert_config *config)
{
    (void)setting;
    return config->dns_servers.n > 0 ? strlist_join(&config->dns_servers, " ") : mem_dup(NONE);
}

/* -- the table ---------------------------------------------------------------------------------------- */

#define AT(member) offsetof(struct cert_config, member)
#define TEXT(member, check) set_text, get_text, AT(member), check, 0, false
#define LIST(member, check) set_list, get_list, AT(member), check, 0, true
#define YES_NO(member) set_yes_no, get_yes_no, AT(member), NULL, 0, false
#define SECONDS(member, max) set_seconds, get_seconds, AT(member), NULL, max, false
#define OWN(name) set_##name, get_##name, 0, NULL, 0, false

const struct setting config_settings[SETTINGS] = {
    [NAMES] = {"names", OWN(names)},
    [SERVER] = {"server", OWN(server)},
    [ACCOUNT] = {"account", set_account, get_account, AT(account), NULL, 0, false},
    [CA_BUNDLE] = {"ca-bundle", TEXT(ca_bundle, check_path)},
    [EMAIL] = {"email", TEXT(email, check_email)},
    [AGREE_TOS] = {"agree-tos", YES_NO(agree_tos)},
    [CHALLENGE] = {"challenge", OWN(challenge)},
    [WEBROOT] = {"webroot", TEXT(webroot, check_path)},
    [CHALLENGE_HOOK] = {"challenge-hook", TEXT(challenge_hook, check_program)},
    [CLEANUP_HOOK] = {"cleanup-hook", TEXT(cleanup_hook, check_program)},
    [HOOK_CONTRACT] = {"hook-contract", OWN(hook_contract)},
    [HOOK_ENV] = {"hook-env", TEXT(hook_env, check_path)},
    [HOOK_TIMEOUT] = {"hook-timeout", SECONDS(hook_timeout_s, DAY_S)},
    [DNS_UPDATE_SERVER] = {"dns-update-server", TEXT(dns_update_server, check_update_server)},
    [DNS_UPDATE_KEY] = {"dns-update-key", TEXT(dns_update_key, check_path)},
    [DNS_UPDATE_ZONE] = {"dns-update-zone", TEXT(dns_update_zone, check_zone)},
    [DNS_SERVERS] = {"dns-servers", OWN(dns_servers)},
    [DNS_TIMEOUT] = {"dns-timeout", SECONDS(dns_timeout_s, DAY_S)},
    [DNS_CHECK] = {"dns-check", YES_NO(dns_check)},
    [KEY_TYPE] = {"key-type", OWN(key_type)},
    [KEY] = {"key", TEXT(key, check_key)},
    [REUSE_KEY] = {"reuse-key", YES_NO(reuse_key)},
    [CSR] = {"csr", TEXT(csr, check_path)},
    [PROFILE] = {"profile", TEXT(profile, check_profile)},
    [PROFILE_REQUIRED] = {"profile-required", YES_NO(profile_required)},
    [PREFERRED_CHAIN] = {"preferred-chain", TEXT(preferred_chain, NULL)},
    [VALID_FOR] = {"valid-for", OWN(valid_for)},
    [PARTIAL] = {"partial", YES_NO(partial)},
    [PROXY] = {"proxy", set_proxy, get_proxy, AT(proxy), NULL, 0, false},
    [IP_VERSION] = {"ip-version", OWN(ip_version)},
    [INTERFACE] = {"interface", TEXT(interface, check_interface)},
    [TIMEOUT] = {"timeout", SECONDS(timeout_s, DAY_S)},
    [INSTALL] = {"install", OWN(install)},
    [REDIRECT] = {"redirect", YES_NO(redirect)},
    [HSTS] = {"hsts", OWN(hsts)},
    [TLS_PROFILE] = {"tls-profile", OWN(tls_profile)},
    [NGINX_CONF] = {"nginx-conf", TEXT(nginx_conf, check_path)},
    [NGINX_BIN] = {"nginx-bin", TEXT(nginx_bin, check_path)},
    [APACHE_CONF] = {"apache-conf", TEXT(apache_conf, check_path)},
    [APACHE_CTL] = {"apache-ctl", TEXT(apache_ctl, check_path)},
    [PRE_HOOK] = {"pre-hook", LIST(pre_hooks, check_program)},
    [DEPLOY_HOOK] = {"deploy-hook", LIST(deploy_hooks, check_program)},
    [POST_HOOK] = {"post-hook", LIST(post_hooks, check_program)},
    [HOOK_USER] = {"hook-user", TEXT(hook_user, check_user)},
    [DEPLOY_TIMEOUT] = {"deploy-timeout", SECONDS(deploy_timeout_s, DAY_S)},
    [EXPORT] = {"export", LIST(exports, check_export)},
    [VERIFY] = {"verify", OWN(verify)},
    [KEEP] = {"keep", OWN(keep)},
};

enum setting_id config_find(const char *key)
{
    enum setting_id id = 0;
    while (id < SETTINGS && strcmp(config_settings[id].key, key) != 0)
        id++;
    return id;
}

bool config_set(struct cert_config *config, const char *key, const char *value, struct err *err)
{
    enum setting_id id = config_find(key);
    if (id == SETTINGS)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, key, "there is no configuration key '%s'", key);
    return config_settings[id].set(&config_settings[id], config, value, err);
}
