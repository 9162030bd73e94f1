#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/machine_config.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"
#include "tlsup/url.h"

#define NONE "none" /* takes back a default */
#define LIST_SEPARATORS ", \t"
#define ADDRESS_MAX 254

struct key {
    const char *name;
    /* What is wrong with the value, without file, line or key. */
    bool (*set)(const struct key *key, struct machine_config *config, const char *value, struct err *why);
    size_t offset;
    bool (*check)(const char *value, struct err *why); /* of a text that is not "none" */
};

static bool refuse(struct err *why, const char *value, const char *accepted)
{
    return err_set(why, ERR_CONFIG, NEXT_FIX_CONFIG, NULL, "'%s' is not %s", value, accepted);
}

/* An address with a token in it is as good as a password. */
static bool refuse_unseen(struct err *why, const char *accepted)
{
    return err_set(why, ERR_CONFIG, NEXT_FIX_CONFIG, NULL, "the value is not %s", accepted);
}

static void *member(const struct key *key, struct machine_config *config)
{
    return (char *)config + key->offset;
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

/* -- texts -------------------------------------------------------------------------------------------- */

static bool set_text(const struct key *key, struct machine_config *config, const char *value, struct err *why)
{
    bool none = strcmp(value, NONE) == 0;
    if (!none && !key->check(value, why))
        return false;
    replace(member(key, config), none ? NULL : value);
    return true;
}

static bool check_path(const char *value, struct err *why)
{
    if (value[0] != '/' || strlen(value) >= PATH_MAX)
        return refuse(why, value, "an absolute path ('/...') or none");
    return true;
}

static bool check_program(const char *value, struct err *why)
{
    if (value[0] == '/' && strpbrk(value, " \t") == NULL)
        return check_path(value, why);
    (void)refuse(why, value, "the absolute path of one program, without arguments, or none");
    return err_advise(why, "put the command into an executable script and give the script's path");
}

static bool address_character(char c)
{
    return c > ' ' && c <= '~' && strchr("\"(),:;<>?%[\\]&#/", c) == NULL;
}

/* With a domain, or without for mail on this machine. It goes into headers and onto command lines as it is.
 */
static bool address_valid(const char *value, bool local)
{
    const char *at = strchr(value, '@');
    bool ok = value[0] != '\0' && value[0] != '-' && strlen(value) <= ADDRESS_MAX;
    for (const char *c = value; *c != '\0'; c++)
        ok = ok && address_character(*c);
    if (at == NULL)
        return ok && local;
    return ok && at != value && strchr(at + 1, '@') == NULL && at[1] != '\0' && at[1] != '.' && at[1] != '-';
}

static bool check_from(const char *value, struct err *why)
{
    return address_valid(value, false) || refuse(why, value, "one address like tlsup@example.org, or none");
}

/* "127.0.0.1", "[::1]" or "localhost", with a port or without, and no more than that. */
static bool is_loopback(const char *authority)
{
    static const char *const hosts[] = {"localhost", "[::1]"};
    size_t len = authority[0] == '[' ? strcspn(authority, "]") + 1 : strcspn(authority, ":");
    for (size_t i = 0; i < COUNT_OF(hosts); i++)
        if (len == strlen(hosts[i]) && strncmp(authority, hosts[i], len) == 0)
            return true;
    return strncmp(authority, "127.", 4) == 0 && strspn(authority, "0123456789.") >= len;
}

/* Host and port of a URL of that scheme; the rest of the rules is those of https. */
static bool authority_of(const char *url, const char *scheme, char *out, size_t size)
{
    size_t len = strlen(scheme);
    if (strncmp(url, scheme, len) != 0)
        return false;
    AUTO_FREE char *like = mem_fmt("https://%s", url + len);
    return url_authority(like, out, size);
}

bool machine_config_loopback(const char *url)
{
    static const char *const schemes[] = {"https://", "http://", "smtps://", "smtp://"};
    char authority[URL_MAX_BYTES];
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        if (authority_of(url, schemes[i], authority, sizeof authority))
            return is_loopback(authority);
    return false;
}

static bool check_web_url(const char *value, struct err *why)
{
    char authority[URL_MAX_BYTES];
    if (url_valid(value))
        return true;
    if (!authority_of(value, "http://", authority, sizeof authority))
        return refuse_unseen(why,
                             "an address that begins with https://, without user, spaces or '#', or none");
    if (is_loopback(authority))
        return true;
    (void)err_set(why, ERR_CONFIG, NEXT_FIX_CONFIG, NULL,
                  "what is told would go to %s unprotected: http is for this machine itself alone",
                  authority);
    return err_advise(why, "give the address with https://");
}

static bool check_smtp_url(const char *value, struct err *why)
{
    char authority[URL_MAX_BYTES];
    const char *host = strstr(value, "://");
    if ((authority_of(value, "smtp://", authority, sizeof authority) ||
         authority_of(value, "smtps://", authority, sizeof authority)) &&
        host[3 + strcspn(host + 3, "/?")] == '\0')
        return true;
    (void)refuse_unseen(why, "smtp://HOST, smtp://HOST:PORT, the same with smtps://, or none");
    return err_advise(why, "user and password go into a file of root's, named by notify-smtp-login");
}

/* -- the others --------------------------------------------------------------------------------------- */

static bool set_addresses(const struct key *key, struct machine_config *config, const char *value,
                          struct err *why)
{
    AUTO_STRLIST words = STRLIST_INIT, once = STRLIST_INIT;
    if (strcmp(value, NONE) != 0)
        strlist_split(&words, value, LIST_SEPARATORS);
    for (size_t i = 0; i < words.n; i++) {
        if (!address_valid(words.v[i], true))
            return refuse(why, words.v[i], "an address like admin@example.org, or a user of this machine");
        if (!strlist_has(&once, words.v[i]))
            strlist_add(&once, words.v[i]);
    }
    strlist_copy(member(key, config), &once);
    return true;
}

static bool set_notify_on(const struct key *key, struct machine_config *config, const char *value,
                          struct err *why)
{
    static const char *const words[] = {
        [NOTIFY_FAILURE] = "failure", [NOTIFY_ALL] = "all", [NOTIFY_NEVER] = "never"};
    unsigned index;
    (void)key;
    if (!find_word(words, COUNT_OF(words), value, &index))
        return refuse(why, value, "one of failure, all, never");
    config->notify_on = (enum notify_on)index;
    return true;
}

static bool set_flag(const struct key *key, struct machine_config *config, const char *value, struct err *why)
{
    static const char *const words[] = {"no", "yes"};
    unsigned index;
    if (!find_word(words, COUNT_OF(words), value, &index))
        return refuse(why, value, "yes or no");
    *(bool *)member(key, config) = index == 1;
    return true;
}

static bool set_log(const struct key *key, struct machine_config *config, const char *value, struct err *why)
{
    bool system = strcmp(value, "syslog") == 0 || strcmp(value, "journal") == 0,
         none = strcmp(value, NONE) == 0;
    (void)key;
    if (!system && !none && (value[0] != '/' || strlen(value) >= PATH_MAX))
        return refuse(why, value, "syslog, journal, the absolute path of a file, or none");
    replace(&config->log, none ? NULL : system ? "syslog" : value);
    return true;
}

static bool set_log_level(const struct key *key, struct machine_config *config, const char *value,
                          struct err *why)
{
    static const char *const words[] = {[LOG_LEVEL_ERROR] = "error",
                                        [LOG_LEVEL_WARN] = "warning",
                                        [LOG_LEVEL_INFO] = "info",
                                        [LOG_LEVEL_DEBUG] = "debug"};
    unsigned index;
    (void)key;
    if (!find_word(words, COUNT_OF(words), value, &index))
        return refuse(why, value, "one of error, warning, info, debug");
    config->log_level = (enum log_level)index;
    return true;
}

/* -- the table ---------------------------------------------------------------------------------------- */

#define AT(member) offsetof(struct machine_config, member)

static const struct key keys[] = {
    {"notify-on", set_notify_on, 0, NULL},
    {"notify-mail", set_addresses, AT(notify_mail), NULL},
    {"notify-from", set_text, AT(notify_from), check_from},
    {"notify-sendmail", set_text, AT(notify_sendmail), check_program},
    {"notify-smtp", set_text, AT(notify_smtp), check_smtp_url},
    {"notify-smtp-login", set_text, AT(notify_smtp_login), check_path},
    {"notify-webhook", set_text, AT(notify_webhook), check_web_url},
    {"notify-webhook-headers", set_text, AT(notify_webhook_headers), check_path},
    {"notify-command", set_text, AT(notify_command), check_program},
    {"notify-syslog", set_flag, AT(notify_syslog), NULL},
    {"heartbeat", set_text, AT(heartbeat), check_web_url},
    {"metrics-file", set_text, AT(metrics_file), check_path},
    {"log", set_log, 0, NULL},
    {"log-level", set_log_level, 0, NULL},
};

void machine_config_init(struct machine_config *config)
{
    *config = (struct machine_config){
        .notify_on = NOTIFY_FAILURE, .notify_syslog = true, .log_level = LOG_LEVEL_INFO};
}

void machine_config_clear(struct machine_config *config)
{
    strlist_clear(&config->notify_mail);
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (keys[i].set == set_text)
            free(*(char **)member(&keys[i], config));
    free(config->log);
    *config = (struct machine_config){0};
}

static const struct key *find_key(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

bool machine_config_has(const char *key)
{
    return find_key(key) != NULL;
}

const char *machine_config_key_at(size_t index)
{
    return index < COUNT_OF(keys) ? keys[index].name : NULL;
}

bool machine_config_set(struct machine_config *config, const char *key, const char *value, struct err *err)
{
    const struct key *found = find_key(key);
    if (found == NULL)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, key, "there is no key of this name");
    return found->set(found, config, value, err);
}
