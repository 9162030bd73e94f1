#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/log.h"

#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tlsup/buf.h"
#include "tlsup/clock.h"
#include "tlsup/mem.h"

#ifndef _PATH_LOG
#define _PATH_LOG "/dev/log"
#endif

enum {
    LINE_MAX_BYTES = 64 * 1024,
    SYSLOG_LINE_MAX_BYTES = 4000, /* what common daemons take whole */
    SECRET_MIN_BYTES = 4,
    SECRET_WORD_MIN_BYTES = 8,
    SYSLOG_PATIENCE_MS = 500,
    FACILITY_DAEMON = 3 << 3,
};

static enum log_level shown = LOG_LEVEL_WARN;
static void (*before_line)(void);

enum sink_kind { SINK_NONE, SINK_FILE, SINK_SYSLOG };

static struct {
    enum sink_kind kind;
    int fd;
    enum log_level level;
    char *path;
    pid_t opened_by; /* it alone complains of a log that cannot be written */
    bool broken;
} sink = {.fd = -1};

static char command_name[64], about[208];
static struct strlist secrets; /* the longest first: one may be a part of another */

void log_set_level(enum log_level level)
{
    shown = level;
}

bool log_enabled(enum log_level level)
{
    return level <= shown;
}

static bool sink_takes(enum log_level level)
{
    return sink.kind != SINK_NONE && level <= sink.level;
}

bool log_wanted(enum log_level level)
{
    return log_enabled(level) || sink_takes(level);
}

void log_set_before_line(void (*before)(void))
{
    before_line = before;
}

void log_set_command(const char *command)
{
    snprintf(command_name, sizeof command_name, "%s", command != NULL ? command : "");
}

void log_about(const char *cert_name)
{
    snprintf(about, sizeof about, "%s", cert_name != NULL ? cert_name : "");
}

/* -- secrets ------------------------------------------------------------------------------------------ */

#define MASK "[not shown]"

void log_secret(const char *text)
{
    size_t at = 0;
    if (text == NULL || strlen(text) < SECRET_MIN_BYTES || strlist_has(&secrets, text))
        return;
    strlist_add(&secrets, text);
    char *added = secrets.v[secrets.n - 1];
    while (at + 1 < secrets.n && strlen(secrets.v[at]) >= strlen(added))
        at++;
    memmove(&secrets.v[at + 1], &secrets.v[at], (secrets.n - 1 - at) * sizeof *secrets.v);
    secrets.v[at] = added;
}

/* "Bearer", "webhooks" and "application" are words of ours as well; tokens have a digit somewhere. */
static bool may_be_secret(const char *word)
{
    return strlen(word) >= SECRET_WORD_MIN_BYTES && strpbrk(word, "0123456789") != NULL;
}

void log_secret_words(const char *text, const char *separators)
{
    AUTO_STRLIST words = STRLIST_INIT;
    log_secret(text);
    strlist_split(&words, text != NULL ? text : "", separators);
    for (size_t i = 0; i < words.n; i++)
        if (may_be_secret(words.v[i]))
            log_secret(words.v[i]);
}

/* The secret that begins here, NULL. */
static const char *secret_at(const char *text)
{
    for (size_t i = 0; i < secrets.n; i++)
        if (strncmp(text, secrets.v[i], strlen(secrets.v[i])) == 0)
            return secrets.v[i];
    return NULL;
}

/* Bytes of "-----BEGIN … PRIVATE KEY-----" that begins here; 0 = it does not. */
static size_t key_header_at(const char *text)
{
    static const char begin[] = "-----BEGIN ", key[] = "PRIVATE KEY-----";
    if (strncmp(text, begin, strlen(begin)) != 0)
        return 0;
    const char *label = text + strlen(begin);
    size_t len = strspn(label, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ");
    const char *end = strstr(label, key);
    return end != NULL && end < label + len ? (size_t)(end - text) + strlen(key) : 0;
}

/* Up to the end of the block that begins here; of one that was cut, up to the end of the text. */
static const char *skip_key(const char *text)
{
    const char *end = strstr(text, "-----END ");
    const char *dashes = end != NULL ? strstr(end + strlen("-----END "), "-----") : NULL;
    return dashes != NULL ? dashes + strlen("-----") : strchr(text, '\0');
}

void log_redact(const char *text, struct buf *out)
{
    while (*text != '\0') {
        size_t header = text[0] == '-' ? key_header_at(text) : 0;
        const char *secret = header == 0 ? secret_at(text) : NULL;
        if (header > 0) {
            buf_add(out, text, header);
            buf_adds(out, " " MASK);
            text = skip_key(text + header);
        } else if (secret != NULL) {
            buf_adds(out, MASK);
            text += strlen(secret);
        } else {
            buf_addc(out, *text++);
        }
    }
}

/* -- the log ------------------------------------------------------------------------------------------ */

static void close_sink(void)
{
    if (sink.fd >= 0)
        close(sink.fd);
    sink.fd = -1;
    sink.kind = SINK_NONE;
}

void log_close(void)
{
    close_sink();
    free(sink.path);
    sink.path = NULL;
    sink.broken = false;
}

int log_descriptor(void)
{
    return sink.fd;
}

static void use_sink(enum sink_kind kind, int fd, const char *path, enum log_level level)
{
    log_close();
    sink.kind = kind;
    sink.fd = fd;
    sink.level = level;
    sink.path = mem_dup(path);
    sink.opened_by = getpid();
}

/* Whoever owns it, or may write it, could have us write anywhere, or change what happened. */
static bool check_file(int fd, const char *path, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_errno(err, errno, path, "cannot look at the log %s", path);
    if (!S_ISREG(st.st_mode)) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "the log %s is no regular file", path);
        return err_advise(err, "name another one in tlsup.conf (log = /path/file), or log = syslog");
    }
    if (st.st_uid == geteuid() && (st.st_mode & S_IWOTH) == 0)
        return true;
    err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path, "the log %s %s", path,
            st.st_uid != geteuid() ? "belongs to another user" : "can be written by everybody");
    return err_advise(err, "chown %u %s && chmod 640 %s", (unsigned)geteuid(), path, path);
}

bool log_open_file(const char *path, enum log_level level, struct err *err)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0640);
    if (fd < 0 && errno == ELOOP)
        return err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
                       "the log %s is a symbolic link, which is not followed", path);
    if (fd < 0)
        return err_errno(err, errno, path, "cannot open the log %s", path);
    if (!check_file(fd, path, err)) {
        close(fd);
        return false;
    }
    use_sink(SINK_FILE, fd, path, level);
    return true;
}

/* A connected socket: a library's would be closed in a sandboxed child, its number taken by another
 * connection. */
static int connect_syslog(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = _PATH_LOG};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static bool no_syslog(int errnum, struct err *err)
{
    err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, _PATH_LOG, "the system's log cannot be reached (%s): %s",
            _PATH_LOG, strerror(errnum));
    return err_advise(
        err, "is a syslog daemon or systemd-journald running here? In a container there is often none");
}

bool log_open_syslog(enum log_level level, struct err *err)
{
    int fd = connect_syslog();
    if (fd < 0)
        return no_syslog(errno, err);
    tzset(); /* before a child gives up files */
    use_sink(SINK_SYSLOG, fd, NULL, level);
    return true;
}

/* RFC 3164, as syslog daemons expect it from programs of the same machine. */
static void syslog_line(enum log_level level, const char *text, struct buf *out)
{
    static const int severities[] = {3, 4, 6, 7};
    char when[32] = "";
    struct tm local;
    time_t now = (time_t)clock_now_s();
    if (localtime_r(&now, &local) != NULL)
        strftime(when, sizeof when, "%b %e %H:%M:%S", &local);
    buf_addf(out, "<%d>%s tlsup[%ld]: %s", FACILITY_DAEMON | severities[level], when, (long)getpid(), text);
    if (out->len > SYSLOG_LINE_MAX_BYTES) {
        out->len = SYSLOG_LINE_MAX_BYTES;
        out->data[out->len] = '\0';
    }
}

/* A daemon that does not read must hold nobody up. */
static bool send_line(int fd, const struct buf *line, int patience_ms)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    for (;;) {
        ssize_t n = send(fd, line->data, line->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            return true;
        if (errno == EINTR)
            continue;
        if ((errno != EAGAIN && errno != EWOULDBLOCK) || patience_ms <= 0 || poll(&room, 1, patience_ms) <= 0)
            return false;
        patience_ms = 0;
    }
}

/* One line of what may be several. */
static void flatten(char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '\n' || *text == '\t')
            *text = *text == '\n' ? '|' : ' ';
}

bool log_syslog(enum log_level level, const char *text, struct err *err)
{
    AUTO_BUF safe = BUF_INIT, line = BUF_INIT;
    log_redact(text, &safe);
    if (safe.len > 0) {
        printable(safe.data);
        flatten(safe.data);
    }
    syslog_line(level, buf_str(&safe), &line);
    int fd = connect_syslog();
    bool ok = fd >= 0 && send_line(fd, &line, SYSLOG_PATIENCE_MS);
    int saved = errno;
    if (fd >= 0)
        close(fd);
    return ok || no_syslog(saved, err);
}

static void show(enum log_level level, const char *text);

static void give_up(int errnum)
{
    bool ours = getpid() == sink.opened_by && !sink.broken;
    sink.broken = true;
    if (!ours)
        return;
    AUTO_FREE char *text = mem_fmt("the log %s cannot be written: %s",
                                   sink.path != NULL ? sink.path : _PATH_LOG, strerror(errnum));
    if (log_enabled(LOG_LEVEL_WARN))
        show(LOG_LEVEL_WARN, text);
}

static void add_file_line(enum log_level level, const char *text, struct buf *line)
{
    static const char *const words[] = {"error", "warning", "info", "debug"};
    char when[CLOCK_TEXT_BYTES];
    buf_addf(line, "%s %s %s[%ld]", clock_format_utc(clock_now_s(), when), words[level],
             command_name[0] != '\0' ? command_name : "tlsup", (long)getpid());
    if (about[0] != '\0')
        buf_addf(line, " [%s]", about);
    buf_addf(line, " %s\n", text);
}

static void add_syslog_line(enum log_level level, const char *text, struct buf *line)
{
    AUTO_FREE char *whole = mem_fmt("%s%s%s%s%s%s", command_name, command_name[0] != '\0' ? ": " : "",
                                    about[0] != '\0' ? "[" : "", about, about[0] != '\0' ? "] " : "", text);
    syslog_line(level, whole, line);
}

/* After a failure the next lines are tried all the same: a full disk does not stay full. */
static void to_sink(enum log_level level, const char *text)
{
    AUTO_BUF line = BUF_INIT;
    AUTO_FREE char *flat = mem_dup(text);
    int saved = errno;
    flatten(flat);
    if (sink.kind == SINK_SYSLOG) {
        add_syslog_line(level, flat, &line);
        if (!send_line(sink.fd, &line, sink.broken ? 0 : SYSLOG_PATIENCE_MS))
            give_up(errno);
    } else {
        add_file_line(level, flat, &line);
        ssize_t n = write(sink.fd, line.data, line.len); /* one write a line: processes share the file */
        if (n != (ssize_t)line.len)
            give_up(n < 0 ? errno : ENOSPC);
    }
    errno = saved;
}

/* -- lines -------------------------------------------------------------------------------------------- */

static void show(enum log_level level, const char *text)
{
    static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
    AUTO_FREE char *line = mem_fmt("%s%s\n", prefix[level], text);
    if (before_line != NULL)
        before_line();
    ssize_t ignored = write(STDERR_FILENO, line, strlen(line)); /* one write a line here, too */
    (void)ignored;
}

static void PRINTF_LIKE(4, 0)
    line(enum log_level level, bool to_stderr, bool to_log, const char *fmt, va_list args)
{
    AUTO_BUF text = {.limit = LINE_MAX_BYTES};
    AUTO_FREE char *raw = NULL;
    if (!to_stderr && !to_log)
        return;
    if (vasprintf(&raw, fmt, args) < 0)
        mem_exhausted();
    if (strlen(raw) >= LINE_MAX_BYTES)
        raw[LINE_MAX_BYTES - 1] = '\0';
    printable(raw);
    log_redact(raw, &text);
    if (to_stderr)
        show(level, buf_str(&text));
    if (to_log)
        to_sink(level, buf_str(&text));
}

#define LOG_FUNCTION(name, level)                                                                            \
    void name(const char *fmt, ...)                                                                          \
    {                                                                                                        \
        va_list args;                                                                                        \
        va_start(args, fmt);                                                                                 \
        line(level, log_enabled(level), sink_takes(level), fmt, args);                                       \
        va_end(args);                                                                                        \
    }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warn, LOG_LEVEL_WARN)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

void log_note(enum log_level level, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    line(level, false, sink_takes(level), fmt, args);
    va_end(args);
}
