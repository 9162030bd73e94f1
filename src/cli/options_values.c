#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "options_internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/clock.h"
#include "tlsup/export_spec.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

#define EMAIL_MAX_BYTES 254
#define SECRET_FILE_BYTES ((size_t)4096)
#define LIST_SEPARATORS ", \t"

static void *member(const struct parser *p, const struct option *option)
{
    return (char *)p->request + option->offset;
}

static void put_text(char **field, const char *text)
{
    char *copy = mem_dup(text);
    free(*field);
    *field = copy;
}

/* Try a value as a configuration file would take it, for the errors are the same. */
static bool try_setting(struct parser *p, const struct option *option, const char *key, const char *value,
                        struct err *err)
{
    (void)option;
    return config_set(&p->scratch, key, value, err) || err_context(err, "--%s", option->name);
}

/* -- the simple kinds --------------------------------------------------------------------------------- */

bool apply_nothing(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)p, (void)option, (void)value, (void)err;
    return true;
}

bool apply_flag(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)value, (void)err;
    *(bool *)member(p, option) = true;
    return true;
}

bool apply_choice(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)value, (void)err;
    *(enum choice *)member(p, option) = (enum choice)option->number;
    return true;
}

bool apply_web(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)value, (void)err;
    p->request->web = (enum web_kind)option->number;
    return true;
}

bool apply_with(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    static const enum web_kind kinds[] = {WEB_NGINX, WEB_APACHE};
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(value, web_kind_name(kinds[i])) == 0) {
            p->request->with = kinds[i];
            return true;
        }
    return usage(p, err, "--%s: '%s' is neither nginx nor apache", option->name, value);
}

bool apply_tls_profile(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (!try_setting(p, option, "tls-profile", value, err))
        return false;
    p->request->has_tls_profile = true;
    p->request->tls_profile = p->scratch.tls_profile;
    return true;
}

bool apply_hsts(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (!try_setting(p, option, "hsts", value, err))
        return false;
    p->request->hsts_s = p->scratch.hsts_s;
    p->request->hsts = p->scratch.hsts_s > 0 ? CHOICE_YES : CHOICE_NO;
    return true;
}

bool apply_level(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)value, (void)err;
    p->request->log_level = (enum log_level)option->number;
    p->request->quiet = option->number == LOG_LEVEL_ERROR;
    return true;
}

bool apply_ip_version(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)value, (void)err;
    p->request->ip_version = option->number;
    return true;
}

/* A text whose option has the name of its key. */
bool apply_setting(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (strcmp(value, "none") == 0) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "--%s: none takes a default back in a file, not here",
                option->name);
        return err_advise(err, "remove the key %s from the certificate's file in certs.d", option->name);
    }
    if (!try_setting(p, option, option->name, value, err))
        return false;
    put_text(member(p, option), value);
    return true;
}

bool apply_seconds(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    int64_t seconds;
    if (!try_setting(p, option, option->name, value, err) || !config_duration(value, &seconds))
        return false;
    *(int *)member(p, option) = (int)seconds;
    return true;
}

/* -- paths -------------------------------------------------------------------------------------------- */

bool options_absolute(const char *path, char **out, struct err *err)
{
    if (path[0] == '/') {
        *out = mem_dup(path);
        return true;
    }
    AUTO_FREE char *here = getcwd(NULL, 0);
    if (here == NULL)
        return err_errno(err, errno, path, "cannot tell in which directory %s lies", path);
    while (strncmp(path, "./", 2) == 0)
        path += 2 + strspn(path + 2, "/");
    *out = strcmp(path, ".") == 0 || path[0] == '\0' ? mem_dup(here) : fs_join(here, path);
    return true;
}

bool apply_path(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_FREE char *path = NULL;
    if (!options_absolute(value, &path, err))
        return false;
    put_text(member(p, option), path);
    return true;
}

/* A file that is not there would be found out at a renewal months from now. */
bool apply_file(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_FREE char *path = NULL;
    if (!options_absolute(value, &path, err))
        return false;
    if (access(path, R_OK) != 0)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path, "--%s: cannot read %s: %s", option->name, path,
                       strerror(errno));
    if (fs_is_dir(path))
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path, "--%s: cannot read %s: it is a directory",
                       option->name, path);
    put_text(member(p, option), path);
    return true;
}

bool apply_from(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (strcmp(value, "-") != 0)
        return apply_file(p, option, value, err);
    put_text(member(p, option), value);
    return true;
}

/* So would a program. */
bool apply_program(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    struct stat st;
    AUTO_FREE char *path = NULL;
    const char *name = option->name;
    if (!options_absolute(value, &path, err))
        return false;
    bool found = stat(path, &st) == 0;
    int why = errno;
    if (!found && strpbrk(value, " \t;|&") != NULL) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, value,
                "--%s takes the path of a program, not a command line", name);
        return err_advise(err, "put the commands into a script, make it executable, and give its path");
    }
    if (!found)
        return err_errno(err, why, path, "--%s: cannot find %s", name, path);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 0111) == 0) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path, "--%s: %s is not an executable file", name, path);
        return err_advise(err, "make it one: chmod +x %s", path);
    }
    put_text(member(p, option), path);
    return true;
}

#ifndef TLSUP_LIBEXEC_DIR
#define TLSUP_LIBEXEC_DIR "/usr/libexec/tlsup"
#endif

static bool is_short_name(const struct option *option, const char *value)
{
    return strcmp(option->name, "deploy-hook") == 0 &&
           value[strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

/* False, for it is an error. */
static bool name_deployers(const char *value, struct err *err)
{
    err_clear(err);
    err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, value,
            "--deploy-hook: cannot find '%s': there is neither a program nor a deployer of that name", value);
    return err_advise(
        err,
        "give the path of a program, or one of the deployers that come with tlsup: dovecot, exim, haproxy, "
        "lighttpd, postfix, postgresql, prosody");
}

/* "postfix": the deployer of that name that comes with tlsup. NULL when there is none; a file in the working
 * directory is "./postfix". */
static char *shipped_deployer(const struct option *option, const char *value)
{
    if (!is_short_name(option, value) || strcmp(value, "common") == 0)
        return NULL;
    char *path = mem_fmt("%s/deploy-%s", TLSUP_LIBEXEC_DIR, value);
    if (access(path, X_OK) == 0)
        return path;
    free(path);
    return NULL;
}

/* Each once, in the order given. */
bool apply_programs(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    char *path = NULL;
    AUTO_FREE char *shipped = shipped_deployer(option, value);
    struct option one = *option;
    struct request scratch = {0}, *request = p->request;
    one.offset = offsetof(struct request, nginx_bin); /* any text */
    p->request = &scratch;
    bool ok = apply_program(p, &one, shipped != NULL ? shipped : value, err) ||
              (is_short_name(option, value) && !fs_exists(value) && name_deployers(value, err));
    p->request = request;
    path = scratch.nginx_bin;
    struct strlist *list = member(p, option);
    if (ok && !strlist_has(list, path))
        strlist_add(list, path);
    free(path);
    return ok;
}

/* certbot's hooks, which are called as certbot calls them. */
bool apply_manual_hook(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    struct request *request = p->request;
    if (request->has_hook_contract && request->hook_contract != HOOK_CERTBOT)
        return usage(p, err, "--%s is called as certbot does it, which --hook-contract %s contradicts",
                     option->name, hook_contract_name(request->hook_contract));
    request->has_hook_contract = true;
    request->hook_contract = HOOK_CERTBOT;
    return apply_program(p, option, value, err);
}

bool apply_contract(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    enum hook_contract contract;
    if (!hook_contract_parse(value, &contract, err))
        return err_context(err, "--%s", option->name);
    if (p->request->has_hook_contract && p->request->hook_contract != contract)
        return usage(p, err,
                     "--hook-contract %s contradicts --manual-auth-hook, which is called as certbot does it",
                     value);
    p->request->has_hook_contract = true;
    p->request->hook_contract = contract;
    return true;
}

bool apply_words(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    struct strlist *list = member(p, option);
    if (!try_setting(p, option, option->name, value, err))
        return false;
    strlist_split(list, value, ", \t");
    return true;
}

bool apply_number(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (!try_setting(p, option, "keep", value, err))
        return false;
    *(int *)member(p, option) = p->scratch.keep;
    return true;
}

bool apply_text(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (value[0] == '\0' || strpbrk(value, " \t") != NULL)
        return usage(p, err, "--%s takes one word, not '%s'", option->name, value);
    put_text(member(p, option), value);
    return true;
}

bool apply_format(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    enum export_format format;
    if (!export_format_parse(value, &format, err))
        return err_context(err, "--%s", option->name);
    put_text(member(p, option), value);
    return true;
}

bool apply_to(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (strcmp(value, "-") != 0)
        return apply_path(p, option, value, err);
    put_text(member(p, option), value);
    return true;
}

bool apply_from_client(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    static const char *const clients[] = {"certbot", "acme.sh", "dehydrated", "lego", "uacme"};
    for (size_t i = 0; i < COUNT_OF(clients); i++)
        if (strcasecmp(clients[i], value) == 0 || (i == 1 && strcasecmp(value, "acmesh") == 0)) {
            put_text(member(p, option), clients[i]);
            return true;
        }
    return usage(p, err, "--from takes certbot, acme.sh, dehydrated, lego or uacme, not '%s'", value);
}

/* -- names -------------------------------------------------------------------------------------------- */

bool apply_domains(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)option, (void)err;
    strlist_split(&p->names, value, ",");
    return true;
}

bool apply_ip_address(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, value, ",");
    for (size_t i = 0; i < words.n; i++) {
        char name[NAME_MAX_BYTES];
        struct err why = ERR_INIT;
        if (!name_normalize(words.v[i], name, &why) || !name_is_ip(name))
            return usage(p, err, "--%s: '%s' is not an IP address", option->name, words.v[i]);
        strlist_add(&p->names, name);
    }
    return true;
}

static bool check_cert_name(const struct parser *p, const char *name, struct err *err)
{
    if (config_cert_name_valid(name))
        return true;
    return usage(p, err,
                 "'%s' cannot be the name of a certificate: letters, digits and . _ @ - can, 200 at most",
                 name);
}

/* "*.example.org" is kept under a name that fits a file. */
bool options_add_certificate(struct parser *p, const char *typed, struct err *err)
{
    char name[256];
    snprintf(name, sizeof name, "%s", typed);
    if (strlen(typed) < sizeof name && !config_cert_name_valid(typed) && name_is_wildcard(typed))
        config_cert_name_for(typed, name);
    if (!check_cert_name(p, strlen(typed) < sizeof name ? name : typed, err))
        return false;
    if (!strlist_has(&p->request->arguments, name))
        strlist_add(&p->request->arguments, name);
    return true;
}

bool apply_cert_name(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)option;
    if ((ON(p->command) & ON_NEW) == 0)
        return options_add_certificate(p, value, err);
    if (!check_cert_name(p, value, err))
        return false;
    put_text(&p->request->cert_name, value);
    return true;
}

/* -- CA and account ----------------------------------------------------------------------------------- */

static bool add_server(struct request *request, const char *url, struct err *err)
{
    if (request->server != NULL &&
        (strcmp(request->server, url) == 0 || strlist_has(&request->fallbacks, url)))
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "'%s' is there twice", url);
    if (request->server == NULL)
        request->server = mem_dup(url);
    else
        strlist_add(&request->fallbacks, url);
    return true;
}

bool apply_server(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, option->value != NULL ? value : "letsencrypt-staging", LIST_SEPARATORS);
    if (words.n == 0)
        return usage(p, err, "--server: '%s' names no CA", value);
    for (size_t i = 0; i < words.n; i++) {
        const char *url;
        if (!config_ca_url(words.v[i], &url, err) || !add_server(p->request, url, err))
            return err_context(err, "--server");
    }
    if (p->request->fallbacks.n > 0 && (ON(p->command) & (ON_NEW | ON(COMMAND_RECONFIGURE))) == 0)
        return usage(p, err, "tlsup %s is about one CA; --server was given %zu", command_name(p->command),
                     p->request->fallbacks.n + 1);
    return true;
}

bool apply_email(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    static const char mailto[] = "mailto:";
    (void)option;
    if (strncasecmp(value, mailto, strlen(mailto)) == 0)
        value += strlen(mailto);
    const char *at = strchr(value, '@');
    bool ok = at != NULL && at > value && at[1] != '\0' && strchr(at + 1, '@') == NULL &&
              strlen(value) <= EMAIL_MAX_BYTES;
    /* these would begin a second address or header fields in a mailto URL (RFC 8555, 7.3) */
    for (const char *c = value; ok && *c != '\0'; c++)
        ok = !isspace((unsigned char)*c) && !iscntrl((unsigned char)*c) && strchr(",?<>\"", *c) == NULL;
    if (!ok)
        return usage(p, err, "'%s' is no e-mail address", value);
    put_text(&p->request->email, value);
    return true;
}

bool apply_account(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (!try_setting(p, option, "account", value, err))
        return false;
    put_text(&p->request->account, value);
    return true;
}

/* Visible ASCII, and it fits into the account's record. */
static bool check_credential(struct parser *p, const struct option *option, const char *value, size_t max,
                             struct err *err)
{
    bool ok = value[0] != '\0' && strlen(value) < max;
    for (const char *c = value; ok && *c != '\0'; c++)
        ok = *c > ' ' && *c <= '~';
    return ok || usage(p, err,
                       "--%s: what was given is not what a CA gives: 1 to %zu letters, digits and signs, "
                       "without spaces",
                       option->name, max - 1);
}

bool apply_eab_kid(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (!check_credential(p, option, value, 256, err))
        return false;
    put_text(&p->request->eab_kid, value);
    return true;
}

static bool read_standard_input(const struct option *option, struct buf *out, struct err *err)
{
    char block[512];
    ssize_t n;
    while (out->len <= SECRET_FILE_BYTES && (n = read(STDIN_FILENO, block, sizeof block)) != 0) {
        if (n > 0)
            buf_add(out, block, (size_t)n);
        else if (errno != EINTR)
            return err_errno(err, errno, NULL, "--%s: cannot read standard input", option->name);
    }
    return true;
}

/* "@FILE", "-", or the secret itself. What a file ends with is an editor's. */
bool apply_secret(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_BUF text = BUF_SECRET;
    AUTO_FREE char *path = NULL;
    if (strcmp(value, "-") == 0) {
        if (!read_standard_input(option, &text, err))
            return false;
    } else if (value[0] == '@') {
        if (!options_absolute(value + 1, &path, err))
            return false;
        if (!fs_read(path, SECRET_FILE_BYTES, &text, err))
            return err_context(err, "--%s", option->name);
    } else {
        buf_adds(&text, value);
    }
    while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL)
        text.data[--text.len] = '\0';
    if (strlen(buf_str(&text)) != text.len)
        return usage(p, err, "--%s: there is a NUL byte in it", option->name);
    if (!check_credential(p, option, buf_str(&text), 512, err))
        return false;
    put_text(member(p, option), buf_str(&text));
    return true;
}

bool apply_eab_alg(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    static const char *const algorithms[] = {"HS256", "HS384", "HS512"};
    for (size_t i = 0; i < COUNT_OF(algorithms); i++)
        if (strcasecmp(value, algorithms[i]) == 0) {
            put_text(&p->request->eab_alg, algorithms[i]);
            return true;
        }
    return usage(p, err, "--%s: '%s' is not HS256, HS384 or HS512", option->name, value);
}

bool apply_proxy(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (strcmp(value, "none") == 0) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "--proxy: 'none' is no proxy");
        return err_advise(err, "without any proxy: --proxy direct");
    }
    if (!try_setting(p, option, "proxy", value, err))
        return false;
    put_text(&p->request->proxy, p->scratch.proxy);
    return true;
}

/* -- the order ---------------------------------------------------------------------------------------- */

bool apply_key_word(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_STRLIST words = STRLIST_INIT;
    (void)err;
    if (option->number == WORD_RSA_KEY_SIZE)
        p->rsa_key_size = value;
    else if (option->number == WORD_ELLIPTIC_CURVE)
        p->elliptic_curve = value;
    else
        strlist_split(&words, value, LIST_SEPARATORS);
    for (size_t i = 0; i < words.n; i++)
        if (!strlist_has(&p->key_types, words.v[i]))
            strlist_add(&p->key_types, words.v[i]);
    return true;
}

bool apply_profile(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (!try_setting(p, option, "profile", value, err))
        return false;
    put_text(&p->request->profile, value);
    p->request->profile_required = (enum choice)option->number;
    return true;
}

bool apply_valid_for(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    if (!try_setting(p, option, "valid-for", value, err))
        return false;
    p->request->valid_for_s = p->scratch.valid_for_s;
    return p->request->valid_for_s > 0 ||
           usage(p, err, "--%s: '%s' is not a time like 30d", option->name, value);
}

/* RFC 3339, a date alone (its midnight in UTC), or "+30d" from now. */
bool apply_instant(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    int64_t span, *when_s = member(p, option);
    char midnight[CLOCK_TEXT_BYTES];
    if (value[0] == '+' && config_duration(value + 1, &span) && span < INT64_C(100) * 366 * 86400) {
        *when_s = clock_now_s() + span;
        return true;
    }
    snprintf(midnight, sizeof midnight, "%.12sT00:00:00Z", value);
    if ((strlen(value) == 10 && clock_parse_rfc3339(midnight, when_s)) || clock_parse_rfc3339(value, when_s))
        return true;
    return usage(
        p, err,
        "--%s: '%s' is not a date like 2027-01-31, a time like 2027-01-31T12:00:00Z, or +30d from now",
        option->name, value);
}

/* RFC 5280 section 5.3.1; 7 is not used. */
static const char *const reasons[] = {
    "unspecified",   "keyCompromise",        "cACompromise",    "affiliationChanged",
    "superseded",    "cessationOfOperation", "certificateHold", NULL,
    "removeFromCRL", "privilegeWithdrawn",   "aACompromise",
};

/* Without '-' and '_', for these words are written in many ways. */
static bool same_reason(const char *typed, const char *reason)
{
    for (; *typed != '\0' || *reason != '\0'; typed++, reason++) {
        typed += strspn(typed, "-_");
        if (tolower((unsigned char)*typed) != tolower((unsigned char)*reason))
            return false;
        if (*typed == '\0')
            return true;
    }
    return true;
}

bool apply_reason(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    char number[4];
    for (int i = 0; i < (int)COUNT_OF(reasons); i++) {
        snprintf(number, sizeof number, "%d", i);
        if (reasons[i] != NULL && (strcmp(value, number) == 0 || same_reason(value, reasons[i]))) {
            p->request->reason = i;
            return true;
        }
    }
    return usage(
        p, err,
        "--%s: '%s' is no reason; there are unspecified, keyCompromise, affiliationChanged, superseded, "
        "cessationOfOperation and the others of RFC 5280, or their numbers",
        option->name, value);
}

/* -- challenges --------------------------------------------------------------------------------------- */

void options_add_way(struct request *request, enum config_challenge via)
{
    for (size_t i = 0; i < request->n_challenges; i++)
        if (request->challenges[i] == via)
            return;
    request->has_challenge = true;
    request->challenges[request->n_challenges++] = via;
}

bool apply_way(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)value, (void)err;
    options_add_way(p->request, (enum config_challenge)option->number);
    return true;
}

bool apply_webroot(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_FREE char *path = NULL;
    if (!options_absolute(value, &path, err))
        return false;
    if (!fs_is_dir(path))
        return usage(p, err, "the web root %s is not a directory", path);
    put_text(member(p, option), path);
    return apply_way(p, option, value, err);
}

/* Our words for ways, and those of the protocol for types, which stand for the first way of the type. */
static bool way_of(const char *word, enum config_challenge *out)
{
    for (enum config_challenge via = 0; via < CHALLENGE_VIAS; via++)
        if (strcasecmp(word, config_challenge_name(via)) == 0 ||
            strcasecmp(word, challenge_type_name(config_challenge_type(via))) == 0) {
            *out = via;
            return true;
        }
    return false;
}

bool apply_challenge(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, value, LIST_SEPARATORS);
    for (size_t i = 0; i < words.n; i++) {
        enum config_challenge via;
        if (!way_of(words.v[i], &via))
            return usage(p, err,
                         "--%s: '%s' is not web-server, standalone, webroot, http-hook, tls-alpn, dns, "
                         "dns-account or dns-persist",
                         option->name, words.v[i]);
        options_add_way(p->request, via);
    }
    p->listed = true;
    return words.n > 0 || usage(p, err, "--%s: '%s' names no way", option->name, value);
}

bool apply_preferred(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_STRLIST words = STRLIST_INIT;
    enum config_challenge via;
    strlist_split(&words, value, LIST_SEPARATORS);
    for (size_t i = 0; i < words.n; i++) {
        if (strcasecmp(words.v[i], "http") != 0 &&
            (!way_of(words.v[i], &via) || via == CHALLENGE_VIA_STANDALONE || via == CHALLENGE_VIA_WEBROOT ||
             via == CHALLENGE_VIA_HTTP_HOOK))
            return usage(p, err, "--%s: '%s' is not http, tls-alpn, dns, dns-account or dns-persist",
                         option->name, words.v[i]);
        strlist_add(&p->preferred, words.v[i]);
    }
    p->listed = true;
    return words.n > 0 || usage(p, err, "--%s: '%s' names no challenge", option->name, value);
}

bool apply_dns_servers(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, value, LIST_SEPARATORS);
    for (size_t i = 0; i < words.n; i++) {
        char server[CONFIG_DNS_SERVER_BYTES];
        if (!config_dns_server(words.v[i], false, server, err))
            return err_context(err, "--%s", option->name);
        if (!strlist_has(&p->request->dns_servers, server))
            strlist_add(&p->request->dns_servers, server);
    }
    return words.n > 0 || usage(p, err, "--%s: '%s' names no server", option->name, value);
}
