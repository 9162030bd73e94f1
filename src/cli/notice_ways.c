#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "notice_ways.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "tlsup/http.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/notifier.h"
#include "tlsup/spawn.h"
#include "tlsup/url.h"

enum {
    PROGRAM_TIMEOUT_MS = 60 * 1000,
    SECRET_FILE_BYTES = 16 * 1024,
    LIST_MAX_BYTES = 64 * 1024, /* of names in one variable: the system refuses twice that */
    OUTPUT_SHOWN_BYTES = 500,
};

struct way {
    char *name;
    bool people;
    bool (*send)(struct ways *ways, const struct way *way, const struct notice *notice, struct err *err);
    char *to; /* of mail by SMTP: one recipient each */
};

struct ways {
    const struct machine_config *config;
    struct notifier *notifier;
    struct err mail_server_down; /* the first recipient has waited for it, the others need not */
    struct way *v;
    size_t n;
};

/* -- files with secrets --------------------------------------------------------------------------------- */

static bool private_enough(const char *path, const struct stat *st, struct err *err)
{
    if (!S_ISREG(st->st_mode))
        return err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path, "%s is no regular file", path);
    if ((st->st_uid == 0 || st->st_uid == geteuid()) && (st->st_mode & (S_IRWXG | S_IRWXO)) == 0)
        return true;
    err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
            "%s is for secrets, but others than root may read or change it", path);
    return err_advise(err, "chown %u %s && chmod 600 %s", (unsigned)geteuid(), path, path);
}

/* The file that was looked at is the one that is read. */
static bool read_secret_file(const char *path, struct buf *out, struct err *err)
{
    struct stat st;
    char block[1024];
    ssize_t n;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_errno(err, errno, path, "cannot read %s", path);
    bool ok = fstat(fd, &st) == 0 ? private_enough(path, &st, err)
                                  : err_errno(err, errno, path, "cannot look at %s", path);
    while (ok && out->len <= SECRET_FILE_BYTES && (n = read(fd, block, sizeof block)) != 0) {
        if (n < 0 && errno != EINTR)
            ok = err_errno(err, errno, path, "cannot read %s", path);
        else if (n > 0)
            buf_add(out, block, (size_t)n);
    }
    close(fd);
    if (ok && out->len > SECRET_FILE_BYTES)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is larger than %d bytes", path,
                       SECRET_FILE_BYTES);
    return ok;
}

/* Its lines without comments, blanks at the ends, and empty ones. */
static bool read_secret_lines(const char *path, struct strlist *lines, struct err *err)
{
    AUTO_BUF text = BUF_SECRET;
    AUTO_STRLIST all = STRLIST_INIT;
    if (!read_secret_file(path, &text, err))
        return false;
    if (strlen(buf_str(&text)) != text.len)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s has a NUL byte in it", path);
    strlist_split(&all, buf_str(&text), "\r\n");
    for (size_t i = 0; i < all.n; i++) {
        char *line = all.v[i] + strspn(all.v[i], " \t");
        size_t len = strlen(line);
        while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
            line[--len] = '\0';
        if (len > 0 && line[0] != '#')
            strlist_add(lines, line);
    }
    return true;
}

static bool read_login(const char *path, struct strlist *lines, struct err *err)
{
    if (!read_secret_lines(path, lines, err))
        return false;
    const char *colon = lines->n > 0 ? strchr(lines->v[0], ':') : NULL;
    if (colon == NULL || colon == lines->v[0] || colon[1] == '\0')
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "the first line of %s is not USER:PASSWORD",
                       path);
    log_secret(colon + 1);
    return true;
}

static bool header_valid(const char *line)
{
    size_t name = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
    if (name == 0 || line[name] != ':')
        return false;
    for (const char *c = line; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' && *c != '\t')
            return false;
    return line[name + 1 + strspn(line + name + 1, " \t")] != '\0';
}

static bool read_headers(const char *path, struct strlist *lines, struct err *err)
{
    if (!read_secret_lines(path, lines, err))
        return false;
    for (size_t i = 0; i < lines->n; i++) {
        if (!header_valid(lines->v[i]))
            return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "line %zu of %s is not 'Name: value'",
                           i + 1, path);
        const char *value = strchr(lines->v[i], ':') + 1;
        log_secret_words(value + strspn(value, " \t"), " \t,;=\"");
    }
    return true;
}

/* -- what is secret ------------------------------------------------------------------------------------- */

/* Behind the host: chat services put a token there. */
static void register_path(const char *url)
{
    const char *host = url != NULL ? strstr(url, "://") : NULL;
    const char *path = host != NULL ? strpbrk(host + 3, "/?") : NULL;
    if (path != NULL && strlen(path) > strlen("/webhook/"))
        log_secret_words(path, "/?&=");
}

void ways_register_secrets(const struct machine_config *config, const char *proxy)
{
    register_path(config->notify_webhook);
    register_path(config->heartbeat);
    const char *at = proxy != NULL ? strrchr(proxy, '@') : NULL;
    if (at == NULL)
        return;
    AUTO_FREE char *user = mem_ndup(proxy, (size_t)(at - proxy));
    const char *scheme = strstr(user, "://");
    const char *password = strchr(scheme != NULL ? scheme + 3 : user, ':');
    if (password != NULL)
        log_secret(password + 1);
}

/* "https://hooks.example.org" of an address whose path may be secret. */
static char *shown_url(const char *url)
{
    const char *host = strstr(url, "://");
    return host != NULL ? mem_ndup(url, (size_t)(host - url) + 3 + strcspn(host + 3, "/?#")) : mem_dup(url);
}

/* -- programs ------------------------------------------------------------------------------------------- */

static bool program_failed(const char *program, const struct spawn_result *result, struct err *err)
{
    int status = result->status;
    AUTO_BUF output = BUF_INIT;
    log_redact(buf_str(&result->output), &output); /* before it is cut */
    size_t len = output.len;
    while (len > 0 && strchr(" \t\n", output.data[len - 1]) != NULL)
        len--;
    size_t skipped = len > OUTPUT_SHOWN_BYTES ? len - OUTPUT_SHOWN_BYTES : 0;
    AUTO_FREE char *last = mem_ndup(buf_str(&output) + skipped, len - skipped);
    if (result->timed_out)
        err_set(err, ERR_HOOK, NEXT_FIX_CONFIG, program, "%s did not end within %d seconds", program,
                PROGRAM_TIMEOUT_MS / 1000);
    else if (status > 128)
        err_set(err, ERR_HOOK, NEXT_FIX_CONFIG, program, "%s was ended by signal %d%s%s", program,
                status - 128, len > 0 ? ": " : "", last);
    else
        err_set(err, ERR_HOOK, NEXT_FIX_CONFIG, program, "%s failed with exit status %d%s%s", program, status,
                len > 0 ? ": " : "", last);
    return err_advise(err, "mend it, then try it: tlsup notify");
}

static bool run_program(const char *const *argv, const char *const *env, const struct buf *input,
                        struct err *err)
{
    struct spawn_options options = {
        .timeout_ms = PROGRAM_TIMEOUT_MS, .env = env, .input = buf_str(input), .input_len = input->len};
    struct spawn *spawn;
    struct spawn_result result = {0};
    if (!spawn_start(argv, &options, &spawn, err))
        return false;
    while (!spawn_step(spawn, &result)) {
        output_tick();
        usleep(5000);
    }
    bool ok = result.status == 0 && !result.timed_out;
    if (ok && result.output.len > 0)
        log_info("%s says: %s", argv[0], buf_str(&result.output));
    if (!ok)
        (void)program_failed(argv[0], &result, err);
    spawn_result_clear(&result);
    return ok;
}

/* -- mail ----------------------------------------------------------------------------------------------- */

static char *sender(const struct machine_config *config, const struct notice *notice)
{
    return config->notify_from != NULL ? mem_dup(config->notify_from) : mem_fmt("root@%s", notice->host);
}

static const char *find_sendmail(const struct machine_config *config, struct err *err)
{
    static const char *const usual[] = {"/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/sendmail",
                                        "/usr/local/sbin/sendmail"};
    if (config->notify_sendmail != NULL)
        return spawn_check_program(config->notify_sendmail, false, err) ? config->notify_sendmail : NULL;
    for (size_t i = 0; i < COUNT_OF(usual); i++)
        if (access(usual[i], X_OK) == 0)
            return usual[i];
    err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, "sendmail",
            "this machine has no sendmail program that mail could be sent with");
    (void)err_advise(
        err, "install a mail server such as postfix, exim, msmtp-mta or dma, or name a mail server in "
             "tlsup.conf: notify-smtp = smtp://HOST:587");
    return NULL;
}

static bool send_by_sendmail(struct ways *ways, const struct way *way, const struct notice *notice,
                             struct err *err)
{
    AUTO_BUF message = BUF_INIT;
    AUTO_FREE char *from = sender(ways->config, notice);
    const char *program = find_sendmail(ways->config, err);
    const char *const argv[] = {program, "-i", "-t", "-f", from, NULL};
    (void)way;
    if (program == NULL)
        return false;
    notice_mail(notice, from, &ways->config->notify_mail, &message);
    return run_program(argv, NULL, &message, err);
}

static void on_tick(void *ctx)
{
    (void)ctx;
    output_tick();
}

static bool carry_out(struct ways *ways, const struct notifier_job *job, struct err *err)
{
    return notifier_carry_out(ways->notifier, job, on_tick, NULL, err);
}

static bool is_down(const struct err *err)
{
    return err->code == ERR_NETWORK || err->code == ERR_TIMEOUT;
}

static bool send_by_smtp(struct ways *ways, const struct way *way, const struct notice *notice,
                         struct err *err)
{
    const struct machine_config *config = ways->config;
    AUTO_BUF message = BUF_INIT;
    AUTO_FREE char *from = sender(config, notice);
    AUTO_STRLIST login = STRLIST_INIT;
    if (err_isset(&ways->mail_server_down)) {
        *err = ways->mail_server_down;
        return false;
    }
    if (config->notify_smtp_login != NULL && !read_login(config->notify_smtp_login, &login, err))
        return false;
    notice_mail(notice, from, &config->notify_mail, &message);
    struct notifier_job job = {.kind = NOTIFIER_MAIL,
                               .url = config->notify_smtp,
                               .loopback = machine_config_loopback(config->notify_smtp),
                               .login = login.n > 0 ? login.v[0] : NULL,
                               .from = from,
                               .to = way->to,
                               .body = buf_str(&message),
                               .body_len = message.len};
    bool ok = carry_out(ways, &job, err);
    if (!ok && is_down(err))
        ways->mail_server_down = *err;
    return ok;
}

/* -- webhook, heartbeat --------------------------------------------------------------------------------- */

static bool send_by_webhook(struct ways *ways, const struct way *way, const struct notice *notice,
                            struct err *err)
{
    const struct machine_config *config = ways->config;
    AUTO_BUF json = BUF_INIT;
    AUTO_STRLIST headers = STRLIST_INIT;
    (void)way;
    if (config->notify_webhook_headers != NULL &&
        !read_headers(config->notify_webhook_headers, &headers, err))
        return false;
    notice_json(notice, &json);
    struct notifier_job job = {.kind = NOTIFIER_POST,
                               .url = config->notify_webhook,
                               .loopback = machine_config_loopback(config->notify_webhook),
                               .headers = &headers,
                               .body = buf_str(&json),
                               .body_len = json.len};
    return carry_out(ways, &job, err);
}

bool ways_has_heartbeat(const struct ways *ways)
{
    return ways->config->heartbeat != NULL;
}

bool ways_heartbeat(struct ways *ways, struct err *err)
{
    struct notifier_job job = {.kind = NOTIFIER_GET,
                               .url = ways->config->heartbeat,
                               .loopback = machine_config_loopback(ways->config->heartbeat)};
    return carry_out(ways, &job, err);
}

/* -- command -------------------------------------------------------------------------------------------- */

static bool is_renewed(const struct notice_cert *cert)
{
    return cert->renewed;
}

static bool is_any(const struct notice_cert *cert)
{
    (void)cert;
    return true;
}

static char *names_that(const struct notice *notice, const char *variable,
                        bool (*is)(const struct notice_cert *))
{
    AUTO_BUF list = BUF_INIT;
    buf_addf(&list, "%s=", variable);
    size_t head = list.len;
    for (size_t i = 0; i < notice->n_certs && list.len < LIST_MAX_BYTES; i++)
        if (is(&notice->certs[i]))
            buf_addf(&list, "%s%s", list.len > head ? " " : "", notice->certs[i].name);
    return buf_take(&list);
}

static char *subject_variable(const struct notice *notice)
{
    AUTO_BUF line = BUF_INIT;
    buf_adds(&line, "TLSUP_SUBJECT=");
    notice_subject(notice, &line);
    return buf_take(&line);
}

static bool send_by_command(struct ways *ways, const struct way *way, const struct notice *notice,
                            struct err *err)
{
    const char *program = ways->config->notify_command;
    const char *const argv[] = {program, NULL};
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *event = mem_fmt("TLSUP_EVENT=%s", notice_event_name(notice_event(notice)));
    AUTO_FREE char *host = mem_fmt("TLSUP_HOST=%s", notice->host);
    AUTO_FREE char *subject = subject_variable(notice);
    AUTO_FREE char *certs = names_that(notice, "TLSUP_CERTS", is_any);
    AUTO_FREE char *failed = names_that(notice, "TLSUP_FAILED", notice_fails);
    AUTO_FREE char *recovered = names_that(notice, "TLSUP_RECOVERED", notice_recovers);
    AUTO_FREE char *renewed = names_that(notice, "TLSUP_RENEWED", is_renewed);
    const char *const env[] = {event, host, subject, certs, failed, recovered, renewed, NULL};
    (void)way;
    if (!spawn_check_program(program, false, err))
        return false;
    notice_text(notice, &text);
    return run_program(argv, env, &text, err);
}

/* -- syslog --------------------------------------------------------------------------------------------- */

struct lines {
    bool ok;
    struct err *err;
};

static void syslog_one(void *ctx, bool failure, const char *text)
{
    struct lines *lines = ctx;
    if (lines->ok)
        lines->ok = log_syslog(failure ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, text, lines->err);
}

static bool send_by_syslog(struct ways *ways, const struct way *way, const struct notice *notice,
                           struct err *err)
{
    struct lines lines = {.ok = true, .err = err};
    (void)ways;
    (void)way;
    notice_lines(notice, syslog_one, &lines);
    return lines.ok;
}

/* -- which there are ------------------------------------------------------------------------------------ */

static void add_way(struct ways *ways, char *name, bool people,
                    bool (*send)(struct ways *, const struct way *, const struct notice *, struct err *),
                    const char *to)
{
    ways->v = mem_resize(ways->v, ways->n + 1, sizeof *ways->v);
    ways->v[ways->n++] = (struct way){.name = name, .people = people, .send = send, .to = mem_dup(to)};
}

static void add_mail(struct ways *ways)
{
    const struct strlist *to = &ways->config->notify_mail;
    AUTO_FREE char *all = strlist_join(to, ", ");
    if (to->n > 0 && ways->config->notify_smtp == NULL)
        add_way(ways, mem_fmt("mail to %s", all), true, send_by_sendmail, NULL);
    for (size_t i = 0; i < to->n && ways->config->notify_smtp != NULL;
         i++) /* one refused recipient is not all */
        add_way(ways, mem_fmt("mail to %s", to->v[i]), true, send_by_smtp, to->v[i]);
}

static void add_ways(struct ways *ways)
{
    const struct machine_config *config = ways->config;
    if (config->notify_on == NOTIFY_NEVER)
        return;
    add_mail(ways);
    if (config->notify_webhook != NULL) {
        AUTO_FREE char *url = shown_url(config->notify_webhook);
        add_way(ways, mem_fmt("webhook %s", url), true, send_by_webhook, NULL);
    }
    if (config->notify_command != NULL)
        add_way(ways, mem_fmt("command %s", config->notify_command), true, send_by_command, NULL);
    if (config->notify_syslog)
        add_way(ways, mem_dup("syslog"), false, send_by_syslog, NULL);
}

static bool needs_notifier(const struct ways *ways)
{
    bool needs = ways->config->heartbeat != NULL;
    for (size_t i = 0; i < ways->n; i++)
        needs |= ways->v[i].send == send_by_smtp || ways->v[i].send == send_by_webhook;
    return needs;
}

bool ways_open(const struct machine_config *config, const char *proxy, struct ways **out, struct err *err)
{
    struct notifier_options options = {.proxy = proxy};
    struct ways *ways = mem_alloc(sizeof *ways);
    ways->config = config;
    ways_register_secrets(config, proxy);
    add_ways(ways);
    if (needs_notifier(ways) && !notifier_start(&options, &ways->notifier, err)) {
        ways_close(ways);
        return false;
    }
    *out = ways;
    return true;
}

void ways_close(struct ways *ways)
{
    if (ways == NULL)
        return;
    notifier_stop(ways->notifier);
    for (size_t i = 0; i < ways->n; i++) {
        free(ways->v[i].name);
        free(ways->v[i].to);
    }
    free(ways->v);
    free(ways);
}

size_t ways_count(const struct ways *ways)
{
    return ways->n;
}

const char *ways_name(const struct ways *ways, size_t index)
{
    return ways->v[index].name;
}

bool ways_reaches_people(const struct ways *ways, size_t index)
{
    return ways->v[index].people;
}

bool ways_send(struct ways *ways, size_t index, const struct notice *notice, struct err *err)
{
    return ways->v[index].send(ways, &ways->v[index], notice, err);
}
