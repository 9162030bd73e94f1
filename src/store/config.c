#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

#define CA_URL_MAX_BYTES 512 /* as in the state files */
#define CA_DIR_NAME_MAX 120
#define CERT_NAME_MAX 200
#define HASH_HEX_BYTES 13
#define KEYWORD_MAX 24

/* -- certificate authorities -------------------------------------------------------------------------- */

static const struct {
    const char *name;
    const char *url;
} presets[] = {
    {"letsencrypt", CONFIG_DEFAULT_CA},
    {"letsencrypt-staging", CONFIG_STAGING_CA},
};

/* The name for a URL, or NULL. */
static const char *preset_name(const char *url)
{
    for (size_t i = 0; i < COUNT_OF(presets); i++)
        if (strcmp(presets[i].url, url) == 0)
            return presets[i].name;
    return NULL;
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* What follows "scheme://", up to the path. */
static const char *url_authority(const char *url, size_t *len)
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
    while (n < len && (is_alnum(authority[n]) || authority[n] == '.' || authority[n] == '-'))
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
        if (*c <= ' ' || *c > '~' || strchr("#\"<>\\^`{|}", *c) != NULL)
            return false;
    const char *authority = url_authority(url, &len);
    host = host_len(authority, len);
    return host > 0 && (host == len || port_valid(authority + host, len - host));
}

bool config_ca_url(const char *text, const char **url, struct err *err)
{
    AUTO_BUF known = BUF_INIT;
    for (size_t i = 0; i < COUNT_OF(presets); i++) {
        if (strcmp(text, presets[i].name) == 0) {
            *url = presets[i].url;
            return true;
        }
        buf_addf(&known, "%s, ", presets[i].name);
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
    const char *name = preset_name(url);
    if (name != NULL) {
        snprintf(out, 256, "%s", name);
    } else {
        const char *authority = url_authority(url, &len);
        size_t host = host_len(authority, len);
        snprintf(out, 256, "%.*s", (int)(host < 255 ? host : 255), authority);
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
    return is_alnum(c) || (c == '-' && before != '\0') || (c == '.' && before != '\0' && before != '.');
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

/* -- names of certificates ---------------------------------------------------------------------------- */

static bool cert_name_char(char c)
{
    return is_alnum(c) || c == '.' || c == '_' || c == '@' || c == '-';
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

/* -- the structure ------------------------------------------------------------------------------------ */

void cert_config_init(struct cert_config *config)
{
    memset(config, 0, sizeof *config);
    config->server = mem_dup(CONFIG_DEFAULT_CA);
    config->challenge = CHALLENGE_VIA_WEB_SERVER;
    config->key_type = KEY_ECDSA_P256;
    config->install = WEB_NONE;
}

void cert_config_clear(struct cert_config *config)
{
    strlist_clear(&config->names);
    free(config->name);
    free(config->server);
    free(config->ca_bundle);
    free(config->email);
    free(config->webroot);
    free(config->deploy_hook);
    memset(config, 0, sizeof *config);
}

void cert_config_copy(struct cert_config *to, const struct cert_config *from)
{
    struct cert_config copy = *from;
    copy.names = (struct strlist)STRLIST_INIT;
    strlist_copy(&copy.names, &from->names);
    copy.name = mem_dup(from->name);
    copy.server = mem_dup(from->server);
    copy.ca_bundle = mem_dup(from->ca_bundle);
    copy.email = mem_dup(from->email);
    copy.webroot = mem_dup(from->webroot);
    copy.deploy_hook = mem_dup(from->deploy_hook);
    cert_config_clear(to);
    *to = copy;
}

/* -- values ------------------------------------------------------------------------------------------- */

#define ABSENT "none" /* takes back a default */

/* Setters say what is wrong with the value only; the parser puts file, line and key before it. */
static bool refuse(struct err *why, const char *value, const char *accepted)
{
    return err_set(why, ERR_CONFIG, NEXT_FIX_CONFIG, NULL, "'%s' is not %s", value, accepted);
}

static void replace(char **field, const char *value)
{
    free(*field);
    *field = strcmp(value, ABSENT) != 0 ? mem_dup(value) : NULL;
}

static char *text_of(const char *field)
{
    return mem_dup(field != NULL ? field : ABSENT);
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

static bool set_names(struct cert_config *config, const char *value, struct err *why)
{
    AUTO_STRLIST typed = STRLIST_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    strlist_split(&typed, value, ", \t");
    if (typed.n == 0)
        return refuse(why, value, "a list of names");
    if (!name_normalize_list(&typed, &names, why))
        return false;
    strlist_copy(&config->names, &names);
    return true;
}

static char *get_names(const struct cert_config *config)
{
    return strlist_join(&config->names, " ");
}

static bool set_server(struct cert_config *config, const char *value, struct err *why)
{
    const char *url;
    if (!config_ca_url(value, &url, why))
        return false;
    replace(&config->server, url);
    return true;
}

static char *get_server(const struct cert_config *config)
{
    const char *url = config->server != NULL ? config->server : CONFIG_DEFAULT_CA;
    const char *name = preset_name(url);
    return mem_dup(name != NULL ? name : url);
}

static bool path_valid(const char *value, struct err *why)
{
    if (strcmp(value, ABSENT) == 0)
        return true;
    if (value[0] != '/' || strlen(value) >= PATH_MAX)
        return refuse(why, value, "an absolute path ('/...') or none");
    return true;
}

static bool set_ca_bundle(struct cert_config *config, const char *value, struct err *why)
{
    if (!path_valid(value, why))
        return false;
    replace(&config->ca_bundle, value);
    return true;
}

static char *get_ca_bundle(const struct cert_config *config)
{
    return text_of(config->ca_bundle);
}

static bool set_webroot(struct cert_config *config, const char *value, struct err *why)
{
    if (!path_valid(value, why))
        return false;
    replace(&config->webroot, value);
    return true;
}

static char *get_webroot(const struct cert_config *config)
{
    return text_of(config->webroot);
}

static bool set_deploy_hook(struct cert_config *config, const char *value, struct err *why)
{
    /* The habit of writing a shell command here is strong; better told now than at the first renewal. */
    if (strcmp(value, ABSENT) != 0 && (value[0] != '/' || strpbrk(value, " \t") != NULL)) {
        refuse(why, value, "the absolute path of one program, without arguments, or none");
        return err_advise(why, "put the command into an executable script and give the script's path");
    }
    if (!path_valid(value, why))
        return false;
    replace(&config->deploy_hook, value);
    return true;
}

static char *get_deploy_hook(const struct cert_config *config)
{
    return text_of(config->deploy_hook);
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
    return is_alnum(at[1]);
}

static bool set_email(struct cert_config *config, const char *value, struct err *why)
{
    if (strcmp(value, ABSENT) != 0 && !email_valid(value))
        return refuse(why, value, "one address like admin@example.org, or none");
    replace(&config->email, value);
    return true;
}

static char *get_email(const struct cert_config *config)
{
    return text_of(config->email);
}

static const char *const yes_no_words[] = {"no", "yes"};

static bool set_yes_no(bool *field, const char *value, struct err *why)
{
    unsigned index;
    if (!find_word(yes_no_words, COUNT_OF(yes_no_words), value, &index))
        return refuse(why, value, "yes or no");
    *field = index == 1;
    return true;
}

static bool set_agree_tos(struct cert_config *config, const char *value, struct err *why)
{
    return set_yes_no(&config->agree_tos, value, why);
}

static char *get_agree_tos(const struct cert_config *config)
{
    return mem_dup(yes_no_words[config->agree_tos]);
}

static bool set_redirect(struct cert_config *config, const char *value, struct err *why)
{
    return set_yes_no(&config->redirect, value, why);
}

static char *get_redirect(const struct cert_config *config)
{
    return mem_dup(yes_no_words[config->redirect]);
}

static const char *const challenge_words[] = {
    [CHALLENGE_VIA_WEB_SERVER] = "web-server",
    [CHALLENGE_VIA_STANDALONE] = "standalone",
    [CHALLENGE_VIA_WEBROOT] = "webroot",
};

static bool set_challenge(struct cert_config *config, const char *value, struct err *why)
{
    unsigned index;
    if (!find_word(challenge_words, COUNT_OF(challenge_words), value, &index))
        return refuse(why, value, "web-server, standalone or webroot");
    config->challenge = (enum config_challenge)index;
    return true;
}

static char *get_challenge(const struct cert_config *config)
{
    return mem_dup(challenge_words[config->challenge]);
}

static bool set_install(struct cert_config *config, const char *value, struct err *why)
{
    static const enum web_kind kinds[] = {WEB_NONE, WEB_NGINX, WEB_APACHE};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(web_kind_name(kinds[i]), value) == 0) {
            config->install = kinds[i];
            return true;
        }
    return refuse(why, value, "nginx, apache or none");
}

static char *get_install(const struct cert_config *config)
{
    return mem_dup(web_kind_name(config->install));
}

static bool set_key_type(struct cert_config *config, const char *value, struct err *why)
{
    return key_type_parse(value, &config->key_type, why);
}

static char *get_key_type(const struct cert_config *config)
{
    return mem_dup(key_type_name(config->key_type));
}

/* -- keys --------------------------------------------------------------------------------------------- */

enum setting_id {
    NAMES,
    SERVER,
    CA_BUNDLE,
    EMAIL,
    AGREE_TOS,
    CHALLENGE,
    WEBROOT,
    KEY_TYPE,
    INSTALL,
    REDIRECT,
    DEPLOY_HOOK,
    SETTINGS
};

static const struct setting {
    const char *key;
    bool (*set)(struct cert_config *config, const char *value, struct err *why);
    char *(*get)(const struct cert_config *config); /* as it is written in a file; the caller frees */
} settings[SETTINGS] = {
    [NAMES] = {"names", set_names, get_names},
    [SERVER] = {"server", set_server, get_server},
    [CA_BUNDLE] = {"ca-bundle", set_ca_bundle, get_ca_bundle},
    [EMAIL] = {"email", set_email, get_email},
    [AGREE_TOS] = {"agree-tos", set_agree_tos, get_agree_tos},
    [CHALLENGE] = {"challenge", set_challenge, get_challenge},
    [WEBROOT] = {"webroot", set_webroot, get_webroot},
    [KEY_TYPE] = {"key-type", set_key_type, get_key_type},
    [INSTALL] = {"install", set_install, get_install},
    [REDIRECT] = {"redirect", set_redirect, get_redirect},
    [DEPLOY_HOOK] = {"deploy-hook", set_deploy_hook, get_deploy_hook},
};

bool cert_config_same(const struct cert_config *a, const struct cert_config *b)
{
    bool same = true;
    for (size_t i = 0; same && i < COUNT_OF(settings); i++) {
        AUTO_FREE char *left = settings[i].get(a);
        AUTO_FREE char *right = settings[i].get(b);
        same = strcmp(left, right) == 0;
    }
    return same;
}

/* What people call a thing elsewhere, too far from our word for a spelling check. */
static const struct {
    const char *habit;
    const char *key;
} habits[] = {
    {"domain", "names"},
    {"domains", "names"},
    {"hosts", "names"},
    {"authenticator", "challenge"},
    {"installer", "install"},
    {"webroot-path", "webroot"},
    {"webroot_path", "webroot"},
    {"contact", "email"},
    {"mail", "email"},
    {"ca", "server"},
    {"directory", "server"},
    {"renew-hook", "deploy-hook"},
    {"renew_hook", "deploy-hook"},
    {"hook", "deploy-hook"},
    {"cafile", "ca-bundle"},
};

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t d[KEYWORD_MAX + 1][KEYWORD_MAX + 1];
    for (size_t i = 0; i <= a_len; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= b_len; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= a_len; i++)
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = a[i - 1] != b[j - 1];
            d[i][j] = smallest(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    return d[a_len][b_len];
}

/* The key that was probably meant, or NULL. */
static const char *meant_key(const char *typed)
{
    const char *best = NULL;
    size_t best_distance = 3, len = strlen(typed);
    for (size_t i = 0; i < COUNT_OF(habits); i++)
        if (strcasecmp(habits[i].habit, typed) == 0)
            return habits[i].key;
    for (size_t i = 0; len <= KEYWORD_MAX && i < COUNT_OF(settings); i++) {
        size_t distance = edit_distance(typed, len, settings[i].key, strlen(settings[i].key));
        if (strcasecmp(typed, settings[i].key) == 0)
            return settings[i].key;
        if (distance < best_distance && distance < len) {
            best_distance = distance;
            best = settings[i].key;
        }
    }
    return best;
}

/* -- reading ------------------------------------------------------------------------------------------ */

struct parser {
    const char *path;
    bool is_cert;
    size_t line;
    size_t seen_on[SETTINGS]; /* line, 0 = not given */
    struct cert_config *config;
    struct err *err;
};

/* "PATH:LINE: text"; line 0 = the file as a whole. Of an over-long path the end tells more. */
static bool PRINTF_LIKE(3, 4) fault(const struct parser *parser, size_t line, const char *fmt, ...)
{
    char text[1024], where[400];
    size_t len = strlen(parser->path);
    const char *shown = len > 360 ? parser->path + len - 360 : parser->path;
    int head = snprintf(where, sizeof where, "%s%s", shown != parser->path ? "..." : "", shown);
    if (line > 0)
        snprintf(where + head, sizeof where - (size_t)head, ":%zu", line);
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(parser->err, ERR_CONFIG, NEXT_FIX_CONFIG, parser->path, "%s: %s", where, text);
}

static bool unknown_key(const struct parser *parser, const char *key)
{
    AUTO_BUF known = BUF_INIT;
    const char *meant = meant_key(key);
    if (meant != NULL)
        return fault(parser, parser->line, "unknown key '%.64s'; did you mean '%s'?", key, meant);
    for (size_t i = parser->is_cert ? 0 : 1; i < COUNT_OF(settings); i++)
        buf_addf(&known, "%s%s", buf_str(&known)[0] != '\0' ? ", " : "", settings[i].key);
    return fault(parser, parser->line, "unknown key '%.64s'; accepted are %s", key, buf_str(&known));
}

/* SETTINGS when there is none of that name. */
static size_t find_setting(const char *key)
{
    size_t i = 0;
    while (i < SETTINGS && strcmp(settings[i].key, key) != 0)
        i++;
    return i;
}

static bool bad_value(const struct parser *parser, const char *key, const struct err *why)
{
    bool about = why->subject[0] != '\0' && strstr(why->text, why->subject) == NULL;
    fault(parser, parser->line, "%s: %.200s%s%s", key, about ? why->subject : "", about ? ": " : "",
          why->text);
    return why->advice[0] != '\0' ? err_advise(parser->err, "%s", why->advice) : false;
}

/* Habits of other formats that would otherwise become part of a value. */
static bool check_value(const struct parser *parser, const char *key, const char *value)
{
    if (value[0] == '\0')
        return fault(parser, parser->line, "%s has no value; remove the line, or give one", key);
    if (value[0] == '"' || value[0] == '\'')
        return fault(parser, parser->line, "%s: values are written without quotes", key);
    if (strstr(value, " #") != NULL || strstr(value, "\t#") != NULL || strstr(value, " ;") != NULL ||
        strstr(value, "\t;") != NULL)
        return fault(parser, parser->line, "%s: a comment must be on a line of its own", key);
    return true;
}

static bool apply(struct parser *parser, const char *key, const char *value)
{
    size_t index = find_setting(key);
    struct err why = ERR_INIT;
    if (index == SETTINGS)
        return unknown_key(parser, key);
    if (index == NAMES && !parser->is_cert)
        return fault(
            parser, parser->line,
            "'names' belongs into a certificate's own file, certs.d/NAME.conf, not into the defaults");
    if (parser->seen_on[index] != 0)
        return fault(parser, parser->line,
                     "'%s' is given a second time (first on line %zu); keep one of them", key,
                     parser->seen_on[index]);
    if (!check_value(parser, key, value))
        return false;
    if (!settings[index].set(parser->config, value, &why))
        return bad_value(parser, key, &why);
    parser->seen_on[index] = parser->line;
    return true;
}

/* Cut white space at both ends, in place; returns the first character left. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t len = strlen(text);
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        text[--len] = '\0';
    return text;
}

static bool parse_setting(struct parser *parser, char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7F)
            return fault(parser, parser->line, "control character 0x%02x; only text is accepted",
                         (unsigned)*c);
    if (text[0] == '[')
        return fault(parser, parser->line, "sections are not used here; remove this line");
    char *equals = strchr(text, '=');
    if (equals == NULL || equals == text)
        return fault(parser, parser->line, "'%.64s' is not of the form 'key = value'", text);
    *equals = '\0';
    return apply(parser, trim(text), trim(equals + 1));
}

static bool parse_line(struct parser *parser, const char *start, size_t len)
{
    if (len > 0 && start[len - 1] == '\r')
        len--;
    if (len > CONFIG_LINE_BYTES)
        return fault(parser, parser->line, "the line is longer than %zu bytes", CONFIG_LINE_BYTES);
    if (memchr(start, '\0', len) != NULL)
        return fault(parser, parser->line, "a NUL byte; this is not a text file");
    AUTO_FREE char *copy = mem_ndup(start, len);
    char *text = trim(copy);
    if (text[0] == '\0' || text[0] == '#' || text[0] == ';')
        return true;
    return parse_setting(parser, text);
}

/* Byte order marks: the one of UTF-8 is skipped, UTF-16 is not text to us. */
static bool skip_bom(const struct parser *parser, const char **text, size_t *len)
{
    if (*len >= 2 && (memcmp(*text, "\xFF\xFE", 2) == 0 || memcmp(*text, "\xFE\xFF", 2) == 0))
        return fault(parser, 1, "the file is UTF-16; save it as UTF-8");
    if (*len >= 3 && memcmp(*text, "\xEF\xBB\xBF", 3) == 0) {
        *text += 3;
        *len -= 3;
    }
    return true;
}

static bool parse_lines(struct parser *parser, const char *text, size_t len)
{
    while (len > 0) {
        const char *newline = memchr(text, '\n', len);
        size_t line_len = newline != NULL ? (size_t)(newline - text) : len;
        parser->line++;
        if (!parse_line(parser, text, line_len))
            return false;
        size_t used = newline != NULL ? line_len + 1 : line_len;
        text += used;
        len -= used;
    }
    return true;
}

/* What no single line can tell. */
static bool finish(struct parser *parser)
{
    struct cert_config *config = parser->config;
    if (parser->seen_on[WEBROOT] != 0 && config->webroot != NULL && parser->seen_on[CHALLENGE] == 0)
        config->challenge = CHALLENGE_VIA_WEBROOT;
    if (!parser->is_cert)
        return true;
    if (parser->seen_on[NAMES] == 0)
        return fault(parser, 0, "'names' is missing; add a line like 'names = example.org www.example.org'");
    if (config->challenge == CHALLENGE_VIA_WEBROOT && config->webroot == NULL)
        return fault(parser, parser->seen_on[CHALLENGE],
                     "challenge = webroot needs a 'webroot = /path' that the web server serves");
    return true;
}

bool config_read_text(const char *text, size_t len, const char *subject, bool is_cert,
                      struct cert_config *config, struct err *err)
{
    struct cert_config result = {0};
    struct parser parser = {.path = subject, .is_cert = is_cert, .config = &result, .err = err};
    cert_config_copy(&result, config);
    bool ok =
        len <= CONFIG_FILE_BYTES || fault(&parser, 0, "the file is longer than %zu bytes", CONFIG_FILE_BYTES);
    ok = ok && skip_bom(&parser, &text, &len) && parse_lines(&parser, text, len) && finish(&parser);
    struct cert_config *unused = ok ? config : &result;
    cert_config_clear(unused);
    if (ok)
        *config = result;
    return ok;
}

/* Root runs the deploy hooks named in these files, so nobody else may be able to write one. */
static bool check_writers(const char *path, const struct stat *st, struct err *err)
{
    if (geteuid() != 0)
        return true;
    if (st->st_uid != 0) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
                "%s belongs to user %u, who could make root run any program through it", path,
                (unsigned)st->st_uid);
        return err_advise(err, "look the file over, then: chown root %s", path);
    }
    if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
                "%s can be written by others (mode %04o), who could make root run any program through it",
                path, (unsigned)(st->st_mode & 07777));
        return err_advise(err, "look the file over, then: chmod go-w %s", path);
    }
    return true;
}

static bool read_fd(int fd, const char *path, struct buf *out, struct err *err)
{
    char block[8192];
    for (;;) {
        ssize_t n = read(fd, block, sizeof block);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, path, "cannot read %s", path);
        if (n == 0)
            return true;
        buf_add(out, block, (size_t)n);
        if (out->len > CONFIG_FILE_BYTES)
            return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s: the file is longer than %zu bytes",
                           path, CONFIG_FILE_BYTES);
    }
}

/* The file that is checked must be the file that is read: all on one descriptor. */
static bool read_checked(int fd, const char *path, struct buf *out, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_errno(err, errno, path, "cannot look at %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is %s, not a file", path,
                       S_ISDIR(st.st_mode) ? "a directory" : "a device, socket or pipe");
    return check_writers(path, &st, err) && read_fd(fd, path, out, err);
}

static bool open_failed(int errnum, const char *path, bool is_cert, struct err *err)
{
    if (errnum == ENOENT && fs_exists(path))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is a symbolic link to nothing", path);
    if (errnum == ENOENT && !is_cert)
        return true;
    return err_errno(err, errnum, path, "cannot read %s", path);
}

bool config_read_file(const char *path, bool is_cert, struct cert_config *config, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return open_failed(errno, path, is_cert, err);
    bool ok = read_checked(fd, path, &text, err);
    close(fd);
    return ok && config_read_text(buf_str(&text), text.len, path, is_cert, config, err);
}

/* -- writing ------------------------------------------------------------------------------------------ */

void config_write_text(const struct cert_config *config, const struct cert_config *defaults, struct buf *out)
{
    bool webroot_given = false;
    buf_adds(out, "# Written by tlsup. Edit it freely: tlsup.conf(5) describes the keys, tlsup.conf has the "
                  "defaults.\n");
    for (int i = 0; i < SETTINGS; i++) {
        AUTO_FREE char *value = settings[i].get(config);
        AUTO_FREE char *standard = settings[i].get(defaults);
        if (i == CHALLENGE) {
            /* a webroot alone would imply the challenge */
            AUTO_FREE char *webroot = settings[WEBROOT].get(config);
            AUTO_FREE char *standard_webroot = settings[WEBROOT].get(defaults);
            webroot_given = config->webroot != NULL && strcmp(webroot, standard_webroot) != 0;
        }
        if (i == NAMES || strcmp(value, standard) != 0 || (i == CHALLENGE && webroot_given))
            buf_addf(out, "%s = %s\n", settings[i].key, value);
    }
}
