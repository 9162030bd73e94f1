#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/hooks.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/quote.h"
#include "tlsup/spawn.h"

enum {
    SHOWN_LINES = 8,
    VARIABLE_BYTES = 120 * 1024, /* the system takes 128 KiB for one variable, with its name */
};

static const char *const when_names[] = {[HOOK_PRE] = "pre", [HOOK_DEPLOY] = "deploy", [HOOK_POST] = "post"};

const char *hook_when_name(enum hook_when when)
{
    return (size_t)when < COUNT_OF(when_names) ? when_names[when] : "";
}

/* -- the programs of a directory ------------------------------------------------------------------------ */

static bool ends_in(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);
    return len > end_len && strcmp(name + len - end_len, end) == 0;
}

/* What editors and packages leave behind: nobody means it to run. */
static bool is_left_over(const char *name)
{
    static const char *const ends[] = {"~", ".bak", ".swp"};
    static const char *const marks[] = {".dpkg-", ".rpm"};
    if (name[0] == '.')
        return true;
    for (size_t i = 0; i < COUNT_OF(ends); i++)
        if (ends_in(name, ends[i]))
            return true;
    for (size_t i = 0; i < COUNT_OF(marks); i++)
        if (strstr(name, marks[i]) != NULL)
            return true;
    return false;
}

/* A name that cannot be written down could not be tried again. */
static bool has_plain_name(const char *name)
{
    for (const char *c = name; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f)
            return false;
    return true;
}

static bool is_to_run(const char *path, const char *name)
{
    struct stat st;
    const char *why_not = NULL;
    if (!has_plain_name(name))
        why_not = "its name has other characters than those of ASCII";
    else if (stat(path, &st) != 0)
        why_not = strerror(errno);
    else if (!S_ISREG(st.st_mode))
        why_not = "it is not a file";
    else if (access(path, X_OK) != 0)
        why_not = "it is not executable (chmod +x)";
    if (why_not != NULL)
        log_warn("%s is not run: %s", path, why_not);
    return why_not == NULL;
}

static bool check_directory(const char *dir, struct err *err)
{
    struct stat st;
    if (stat(dir, &st) != 0)
        return err_errno(err, errno, dir, "cannot look at the directory of hooks %s", dir);
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, dir, "%s is not a directory", dir);
    if (geteuid() != 0)
        return true;
    if (st.st_uid != 0) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, dir,
                "the hooks in %s would run as root, but it belongs to somebody else (uid %ld)", dir,
                (long)st.st_uid);
        return err_advise(err, "look at what is in it, then: chown root %s", dir);
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, dir,
                "the hooks in %s would run as root, but others may write into it (mode %04o)", dir,
                (unsigned)(st.st_mode & 07777));
        return err_advise(err, "look at what is in it, then: chmod go-w %s", dir);
    }
    return true;
}

char *hooks_directory(const char *config_dir, enum hook_when when)
{
    return mem_fmt("%s/hooks/%s", config_dir, hook_when_name(when));
}

bool hooks_list(const char *config_dir, enum hook_when when, struct strlist *programs, struct err *err)
{
    AUTO_FREE char *dir = hooks_directory(config_dir, when);
    AUTO_STRLIST names = STRLIST_INIT;
    if (!fs_exists(dir))
        return true;
    if (!check_directory(dir, err) || !fs_list(dir, &names, err))
        return false;
    for (size_t i = 0; i < names.n; i++) {
        AUTO_FREE char *path = fs_join(dir, names.v[i]);
        if (!is_left_over(names.v[i]) && is_to_run(path, names.v[i]))
            strlist_add(programs, path);
    }
    return true;
}

/* -- what they are told --------------------------------------------------------------------------------- */

static void set(struct strlist *env, const char *name, const char *value)
{
    AUTO_FREE char *entry = mem_fmt("%s=%s", name, value);
    strlist_add(env, entry);
}

/* Names separated by spaces: as many as the system lets a variable hold. */
static void set_list(struct strlist *env, const char *name, const struct strlist *list)
{
    AUTO_FREE char *text = strlist_join(list, " ");
    if (strlen(text) > VARIABLE_BYTES) {
        text[VARIABLE_BYTES] = '\0';
        char *last = strrchr(text, ' ');
        if (last != NULL)
            *last = '\0';
        log_warn("%s has not all of the %zu names: the system does not take so many", name, list->n);
    }
    set(env, name, text);
}

/* A key on a token, or one that is held elsewhere, has no file. */
static void set_file(struct strlist *env, const char *const names[2], const char *live_dir, const char *file)
{
    AUTO_FREE char *path = fs_join(live_dir, file);
    for (size_t i = 0; i < 2 && fs_exists(path); i++)
        set(env, names[i], path);
}

static void tell_deploy(const struct hook_deploy *deploy, struct strlist *env)
{
    static const struct {
        const char *names[2];
        const char *file;
    } files[] = {
        {{"TLSUP_PRIVKEY", "CERT_KEY_PATH"}, "privkey.pem"},
        {{"TLSUP_CERTFILE", "CERT_PATH"}, "cert.pem"},
        {{"TLSUP_CHAIN", "CA_CERT_PATH"}, "chain.pem"},
        {{"TLSUP_FULLCHAIN", "CERT_FULLCHAIN_PATH"}, "fullchain.pem"},
    };
    char when[CLOCK_TEXT_BYTES], version[16];
    snprintf(version, sizeof version, "%d", deploy->version);
    set(env, "RENEWED_LINEAGE", deploy->live_dir);
    set_list(env, "RENEWED_DOMAINS", deploy->names);
    set(env, "TLSUP_CERT", deploy->cert_name);
    set_list(env, "TLSUP_NAMES", deploy->names);
    set(env, "TLSUP_VERSION", version);
    set(env, "TLSUP_LIVE", deploy->live_dir);
    set(env, "TLSUP_NOT_AFTER", clock_format_utc(deploy->not_after_s, when));
    set(env, "TLSUP_CA", deploy->ca_url);
    set(env, "Le_Domain", deploy->names->n > 0 ? deploy->names->v[0] : deploy->cert_name);
    for (size_t i = 0; i < COUNT_OF(files); i++)
        set_file(env, files[i].names, deploy->live_dir, files[i].file);
}

static void tell_post(const struct hook_post *post, struct strlist *env)
{
    set_list(env, "RENEWED_DOMAINS", post->renewed_names);
    set_list(env, "FAILED_DOMAINS", post->failed_names);
    set_list(env, "TLSUP_RENEWED", post->renewed);
    set_list(env, "TLSUP_FAILED", post->failed);
}

static void tell(const struct hook_run *run, struct strlist *env)
{
    set(env, "TLSUP_HOOK", hook_when_name(run->when));
    if (run->when == HOOK_DEPLOY && run->deploy != NULL)
        tell_deploy(run->deploy, env);
    if (run->when == HOOK_POST && run->post != NULL)
        tell_post(run->post, env);
}

/* -- running one ---------------------------------------------------------------------------------------- */

/* As a whole, before it is cut into lines: a key that it prints goes nowhere. */
static void mask_secrets(struct spawn_result *result)
{
    AUTO_BUF safe = BUF_INIT;
    log_redact(buf_str(&result->output), &safe);
    buf_reset(&result->output);
    buf_adds(&result->output, buf_str(&safe));
}

static void log_output(const char *program, const struct spawn_result *result)
{
    AUTO_STRLIST lines = STRLIST_INIT;
    const char *slash = strrchr(program, '/');
    if (!log_wanted(LOG_LEVEL_INFO))
        return;
    strlist_split(&lines, buf_str(&result->output), "\n");
    for (size_t i = 0; i < lines.n; i++)
        log_info("%s: %s", slash != NULL ? slash + 1 : program, lines.v[i]);
}

static char *describe_end(const struct hook_run *run, const struct spawn_result *result)
{
    if (result->timed_out)
        return mem_fmt("did not end within %d seconds, and was killed", run->timeout_s);
    if (result->status > 128 && result->status < 128 + NSIG) /* 255 is what many a script ends with */
        return mem_fmt("was ended by signal %d (%s)", result->status - 128, strsignal(result->status - 128));
    return mem_fmt("failed with status %d", result->status);
}

static bool tell_failure(const struct hook_run *run, const struct spawn_result *result, struct err *err)
{
    char last[1024];
    AUTO_BUF quoted = BUF_INIT;
    AUTO_FREE char *end = describe_end(run, result);
    quote_add(spawn_last_lines(result, SHOWN_LINES, last, sizeof last), &quoted);
    err_set(err, ERR_HOOK, NEXT_RETRY_LATER, run->program, "the %s hook %s %s%s%s", hook_when_name(run->when),
            run->program, end, last[0] != '\0' ? ":" : "", buf_str(&quoted));
    if (last[0] == '\0')
        (void)err_advise(err, "it printed nothing: see its own log, or have it say what it does");
    return false;
}

bool hooks_run(const struct hook_run *run, struct err *err)
{
    AUTO_STRLIST env = STRLIST_INIT;
    const char *const argv[] = {run->program, NULL};
    struct spawn_options options = {.timeout_ms = (int64_t)run->timeout_s * 1000, .user = run->user};
    struct spawn_result result;
    if (!spawn_check_program_for(run->program, false, run->user, err))
        return err_context(err, "the %s hook %.300s", hook_when_name(run->when), run->program);
    tell(run, &env);
    env.v = mem_resize(env.v, env.n + 1, sizeof *env.v);
    env.v[env.n] = NULL;
    options.env = (const char *const *)env.v;
    log_info("running the %s hook %s%s%s", hook_when_name(run->when), run->program,
             run->user != NULL ? " as " : "", run->user != NULL ? run->user : "");
    if (!spawn_run(argv, &options, &result, err))
        return err_context(err, "the %s hook", hook_when_name(run->when));
    mask_secrets(&result);
    log_output(run->program, &result);
    bool ok = result.status == 0 && !result.timed_out;
    if (!ok)
        tell_failure(run, &result, err);
    spawn_result_clear(&result);
    return ok;
}
