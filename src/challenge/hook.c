#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/hook.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/dns_record.h"
#include "tlsup/mem.h"

#ifndef TLSUP_LIBEXEC_DIR
#define TLSUP_LIBEXEC_DIR "/usr/libexec/tlsup"
#endif

enum { ENV_FILE_LIMIT_BYTES = 65536 };

/* -- the contracts --------------------------------------------------------------------------------------- */

/* What a job comes to, in the terms that the contracts share. */
struct terms {
    const struct hook_job *job;
    bool present;
    const char *domain; /* the name without "*." */
    const char *value;  /* what the challenge's answer is to show */
};

static void add(struct strlist *list, const char *name, const char *value)
{
    AUTO_FREE char *entry = mem_fmt("%s=%s", name, value != NULL ? value : "");
    strlist_add(list, entry);
}

static void add_number(struct strlist *list, const char *name, int value)
{
    AUTO_FREE char *text = mem_fmt("%d", value);
    add(list, name, text);
}

static void add_all(struct strlist *list, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        strlist_add(list, words[i] != NULL ? words[i] : "");
}

static const char *present_or_cleanup(const struct terms *t)
{
    return t->present ? "present" : "cleanup";
}

static const char *without_wildcard(const char *name)
{
    return strncmp(name, "*.", 2) == 0 ? name + 2 : name;
}

static void make_tlsup(const struct terms *t, struct hook_command *out)
{
    const struct hook_job *job = t->job;
    AUTO_FREE char *names = strlist_join(job->all_names, " ");
    const char *const argv[] = {job->program, present_or_cleanup(t)};
    add_all(&out->argv, argv, COUNT_OF(argv));
    add(&out->env, "TLSUP_ACT", present_or_cleanup(t));
    add(&out->env, "TLSUP_TYPE", challenge_type_name(job->type));
    add(&out->env, "TLSUP_NAME", job->name);
    add(&out->env, "TLSUP_DOMAIN", t->domain);
    add(&out->env, "TLSUP_RECORD", job->record);
    add(&out->env, "TLSUP_VALUE", t->value);
    add(&out->env, "TLSUP_TOKEN", job->token);
    add(&out->env, "TLSUP_KEY_AUTHORIZATION", job->key_authorization);
    add(&out->env, "TLSUP_CERT", job->cert_name);
    add(&out->env, "TLSUP_NAMES", names);
    add_number(&out->env, "TLSUP_REMAINING", job->remaining);
    add(&out->env, "TLSUP_FAILED", t->present ? "" : job->failed ? "1" : "0");
    add(&out->env, "TLSUP_OUTPUT", t->present ? "" : job->present_output);
}

static void make_certbot(const struct terms *t, struct hook_command *out)
{
    const struct hook_job *job = t->job;
    const char *program = t->present ? job->program : job->cleanup_program;
    AUTO_STRLIST domains = STRLIST_INIT;
    if (program == NULL)
        return;
    for (size_t i = 0; i < job->all_names->n; i++)
        strlist_add(&domains, without_wildcard(job->all_names->v[i]));
    AUTO_FREE char *all = strlist_join(&domains, ",");
    strlist_add(&out->argv, program);
    add(&out->env, "CERTBOT_DOMAIN", t->domain);
    add(&out->env, "CERTBOT_IDENTIFIER", t->domain);
    add(&out->env, "CERTBOT_VALIDATION", t->value);
    if (job->type == CHALLENGE_HTTP_01)
        add(&out->env, "CERTBOT_TOKEN", job->token);
    add_number(&out->env, "CERTBOT_REMAINING_CHALLENGES", job->remaining);
    add(&out->env, "CERTBOT_ALL_DOMAINS", all);
    add(&out->env, "CERTBOT_ALL_IDENTIFIERS", all);
    if (!t->present)
        add(&out->env, "CERTBOT_AUTH_OUTPUT", job->present_output);
}

static void make_dehydrated(const struct terms *t, struct hook_command *out)
{
    const char *const argv[] = {t->job->program, t->present ? "deploy_challenge" : "clean_challenge",
                                t->domain, t->job->token, t->value};
    add_all(&out->argv, argv, COUNT_OF(argv));
}

static void make_uacme(const struct terms *t, struct hook_command *out)
{
    const char *const argv[] = {t->job->program,
                                t->present       ? "begin"
                                : t->job->failed ? "failed"
                                                 : "done",
                                challenge_type_name(t->job->type),
                                t->domain,
                                t->job->token,
                                t->value};
    add_all(&out->argv, argv, COUNT_OF(argv));
}

static void make_lego(const struct terms *t, struct hook_command *out)
{
    AUTO_FREE char *fqdn = mem_fmt("%s.", t->job->record);
    const char *const argv[] = {t->job->program, present_or_cleanup(t), fqdn, t->value};
    add_all(&out->argv, argv, COUNT_OF(argv));
    add(&out->env, "EXEC_PATH", t->job->program);
}

static void make_lego_raw(const struct terms *t, struct hook_command *out)
{
    const char *const argv[] = {t->job->program, present_or_cleanup(t), "--",
                                t->domain,       t->job->token,         t->job->key_authorization};
    add_all(&out->argv, argv, COUNT_OF(argv));
    add(&out->env, "EXEC_PATH", t->job->program);
    add(&out->env, "EXEC_MODE", "RAW");
}

static void make_acme_sh(const struct terms *t, struct hook_command *out)
{
    const char *const argv[] = {TLSUP_LIBEXEC_DIR "/acme-sh-dns", t->present ? "add" : "rm", t->job->program,
                                t->job->record, t->value};
    add_all(&out->argv, argv, COUNT_OF(argv));
    add(&out->env, "TLSUP_CERT", t->job->cert_name);
}

#define TAKES(type) (1u << (type))

static const struct {
    const char *name;
    unsigned takes;
    void (*make)(const struct terms *, struct hook_command *);
} contracts[HOOK_CONTRACTS] = {
    [HOOK_TLSUP] = {"tlsup",
                    TAKES(CHALLENGE_HTTP_01) | TAKES(CHALLENGE_TLS_ALPN_01) | TAKES(CHALLENGE_DNS_01) |
                        TAKES(CHALLENGE_DNS_ACCOUNT_01),
                    make_tlsup},
    [HOOK_CERTBOT] = {"certbot", TAKES(CHALLENGE_HTTP_01) | TAKES(CHALLENGE_DNS_01), make_certbot},
    [HOOK_DEHYDRATED] = {"dehydrated", TAKES(CHALLENGE_HTTP_01) | TAKES(CHALLENGE_DNS_01), make_dehydrated},
    [HOOK_UACME] = {"uacme",
                    TAKES(CHALLENGE_HTTP_01) | TAKES(CHALLENGE_TLS_ALPN_01) | TAKES(CHALLENGE_DNS_01),
                    make_uacme},
    [HOOK_LEGO] = {"lego", TAKES(CHALLENGE_DNS_01) | TAKES(CHALLENGE_DNS_ACCOUNT_01), make_lego},
    [HOOK_LEGO_RAW] = {"lego-raw", TAKES(CHALLENGE_DNS_01), make_lego_raw},
    [HOOK_ACME_SH] = {"acme.sh", TAKES(CHALLENGE_DNS_01) | TAKES(CHALLENGE_DNS_ACCOUNT_01), make_acme_sh},
};

const char *hook_contract_name(enum hook_contract contract)
{
    return (size_t)contract < COUNT_OF(contracts) ? contracts[contract].name : "unknown";
}

bool hook_contract_parse(const char *text, enum hook_contract *out, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    for (size_t i = 0; i < COUNT_OF(contracts); i++) {
        if (strcmp(text, contracts[i].name) == 0) {
            *out = (enum hook_contract)i;
            return true;
        }
        strlist_add(&names, contracts[i].name);
    }
    AUTO_FREE char *all = strlist_join(&names, ", ");
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, text, "\"%s\" is no kind of hook that is known", text);
    return err_advise(err, "known are: %s", all);
}

bool hook_contract_takes(enum hook_contract contract, enum challenge_type type)
{
    return (size_t)contract < COUNT_OF(contracts) && (size_t)type < CHALLENGE_TYPES &&
           (contracts[contract].takes & TAKES(type)) != 0;
}

void hook_command_make(enum hook_act act, const struct hook_job *job, struct hook_command *out)
{
    char hash[DNS_VALUE_BYTES];
    struct terms terms = {.job = job, .present = act == HOOK_PRESENT, .domain = without_wildcard(job->name)};
    dns_record_value(job->key_authorization, hash);
    terms.value = job->type == CHALLENGE_HTTP_01 ? job->key_authorization : hash;
    *out = (struct hook_command){STRLIST_INIT, STRLIST_INIT};
    contracts[job->contract].make(&terms, out);
}

void hook_command_clear(struct hook_command *command)
{
    strlist_clear(&command->argv);
    strlist_clear(&command->env);
}

/* -- credentials ----------------------------------------------------------------------------------------- */

static bool safe_for_secrets(const char *path, const struct stat *st, struct err *err)
{
    if (!S_ISREG(st->st_mode))
        return err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path, "%s is no regular file", path);
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
                "%s belongs to another user, who could have any program run with what is in it", path);
        return err_advise(err, "chown root %s", path);
    }
    if ((st->st_mode & (S_IWGRP | S_IWOTH | S_IROTH)) == 0)
        return true;
    err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path, "%s is for secrets, but %s", path,
            (st->st_mode & S_IROTH) != 0 ? "everybody can read it" : "others than its owner can write it");
    return err_advise(err, "chmod 600 %s", path);
}

/* The file that was looked at is the one that is read. */
static bool read_private(const char *path, struct buf *out, struct err *err)
{
    struct stat st;
    char block[4096];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_errno(err, errno, path, "cannot open %s", path);
    bool ok = fstat(fd, &st) == 0 ? safe_for_secrets(path, &st, err)
                                  : err_errno(err, errno, path, "cannot look at %s", path);
    while (ok && out->len <= ENV_FILE_LIMIT_BYTES && (n = read(fd, block, sizeof block)) != 0) {
        if (n < 0 && errno != EINTR)
            ok = err_errno(err, errno, path, "cannot read %s", path);
        else if (n > 0)
            buf_add(out, block, (size_t)n);
    }
    close(fd);
    if (ok && out->len > ENV_FILE_LIMIT_BYTES)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is larger than %d bytes", path,
                       ENV_FILE_LIMIT_BYTES);
    return ok;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static size_t name_len(const char *text)
{
    static const char characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    return *text >= '0' && *text <= '9' ? 0 : strspn(text, characters);
}

/* Takes the quotation marks away, or the blanks at the end; NULL when a quotation mark is not closed, or not
 * at the end. */
static char *value_of(char *text)
{
    char *end = strchr(text, '\0');
    while (end > text && is_blank(end[-1]))
        *--end = '\0';
    if (*text != '"' && *text != '\'')
        return text;
    char *closing = strchr(text + 1, *text);
    if (closing == NULL || closing[1] != '\0')
        return NULL;
    *closing = '\0';
    return text + 1;
}

/* As the shell has it: of two of the same name the later one holds. */
static void put(struct strlist *env, const char *name, size_t len, const char *value)
{
    char *entry = mem_fmt("%.*s=%s", (int)len, name, value);
    for (size_t i = 0; i < env->n; i++)
        if (strncmp(env->v[i], entry, len + 1) == 0) {
            free(env->v[i]);
            env->v[i] = entry;
            return;
        }
    strlist_add(env, entry);
    free(entry);
}

/* A line that may be changed; false when it is neither empty, a comment, nor NAME=value. */
static bool take_line(char *line, struct strlist *env)
{
    line += strspn(line, " \t");
    if (*line == '\0' || *line == '#')
        return true;
    if (strncmp(line, "export", strlen("export")) == 0 && is_blank(line[strlen("export")])) {
        line += strlen("export");
        line += strspn(line, " \t");
    }
    size_t len = name_len(line);
    if (len == 0 || line[len] != '=')
        return false;
    const char *value = value_of(line + len + 1);
    if (value == NULL)
        return false;
    put(env, line, len, value);
    return true;
}

static bool not_a_setting(const char *path, int number, struct err *err)
{
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s, line %d: not of the form NAME=value", path, number);
    return err_advise(err, "one setting a line; quotation marks around the whole value or not at all, '#' "
                           "begins a comment line");
}

bool hook_env_read(const char *path, struct strlist *env, struct err *err)
{
    AUTO_BUF text = BUF_SECRET;
    AUTO_STRLIST found = STRLIST_INIT;
    int number = 0;
    if (!read_private(path, &text, err))
        return false;
    if (text.len > 0 && memchr(text.data, '\0', text.len) != NULL)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is no text", path);
    strlist_copy(&found, env);
    for (char *line = text.data; line != NULL;) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end = '\0';
        if (end != NULL && end > line && end[-1] == '\r')
            end[-1] = '\0';
        number++;
        if (!take_line(line, &found))
            return not_a_setting(path, number, err);
        line = end != NULL ? end + 1 : NULL;
    }
    struct strlist before = *env;
    *env = found;
    found = before;
    return true;
}
