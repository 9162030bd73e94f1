#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "timer.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "tlsup/buf.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

#ifndef TLSUP_CONFIG_DIR
#define TLSUP_CONFIG_DIR "/etc/tlsup"
#endif
#ifndef TLSUP_STATE_DIR
#define TLSUP_STATE_DIR "/var/lib/tlsup"
#endif
#ifndef TLSUP_SBIN_DIR
#define TLSUP_SBIN_DIR "/usr/local/sbin"
#endif

#define UNIT_WRITE_DIR "/etc/systemd/system"
#define CRON_DIR "/etc/cron.d"
#define MARKER "# Written by tlsup: "

enum { FILE_LIMIT_BYTES = 65536, SYSTEMCTL_TIMEOUT_MS = 60000, PATH_BYTES = 4096 };

/* Where systemd looks for units by itself, in its order. */
static const char *const unit_dirs[] = {UNIT_WRITE_DIR, "/run/systemd/system",
                                        "/usr/local/lib/systemd/system", "/usr/lib/systemd/system",
                                        "/lib/systemd/system"};
static const char *const cron_daemons[] = {"/usr/sbin/cron", "/usr/sbin/crond", "/usr/local/sbin/cron"};
static const char *const cron_processes[] = {"cron", "crond"};

static const char *root;

void timer_set_root(const char *directory)
{
    root = directory;
}

/* A path of the machine, or of the machine of a test; the caller frees. */
static char *at(const char *path)
{
    return mem_fmt("%s%s", root != NULL ? root : "", path);
}

static bool is_there(const char *path)
{
    AUTO_FREE char *full = at(path);
    return access(full, F_OK) == 0;
}

static bool may_write_system(void)
{
    AUTO_FREE char *etc = at("/etc");
    return root != NULL ? access(etc, W_OK) == 0 : geteuid() == 0;
}

static bool systemd_runs(void)
{
    AUTO_FREE char *dir = at("/run/systemd/system");
    return fs_is_dir(dir);
}

/* -- one store, one timer ---------------------------------------------------------------------------- */

/* What belongs to the store of these directories. */
struct job {
    bool own_config, own_state; /* not the built-in ones */
    const char *config_dir, *state_dir;
    char name[128]; /* "tlsup", "tlsup-srv-tls": of the unit and of the cron file */
};

static void job_init(struct job *job, const char *config_dir, const char *state_dir)
{
    job->config_dir = config_dir;
    job->state_dir = state_dir;
    job->own_config = strcmp(config_dir, TLSUP_CONFIG_DIR) != 0;
    job->own_state = strcmp(state_dir, TLSUP_STATE_DIR) != 0;
    const char *from = job->own_state ? state_dir : job->own_config ? config_dir : "";
    size_t len = (size_t)snprintf(job->name, sizeof job->name, "tlsup");
    /* letters, digits and '-' are all that both cron and systemd take in a file's name */
    for (; *from != '\0' && len + 1 < sizeof job->name; from++)
        if (isalnum((unsigned char)*from))
            job->name[len++] = *from;
        else if (job->name[len - 1] != '-')
            job->name[len++] = '-';
    while (job->name[len - 1] == '-')
        len--;
    job->name[len] = '\0';
}

static bool check_path(const char *path, struct err *err)
{
    for (const char *c = path; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c))
            return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path,
                           "a directory with a control character in its name cannot be put into a timer");
    return true;
}

/* The program that the timer is to run: the installed one, or else this one. */
static bool program_path(char *out, size_t size, struct err *err)
{
    static const char gone[] = " (deleted)";
    if (is_there(TLSUP_SBIN_DIR "/tlsup")) {
        snprintf(out, size, "%s", TLSUP_SBIN_DIR "/tlsup");
        return true;
    }
    ssize_t len = readlink("/proc/self/exe", out, size - 1);
    if (len <= 0)
        return err_errno(err, errno, "/proc/self/exe", "cannot tell where the program tlsup lies");
    out[len] = '\0';
    size_t tail = strlen(gone);
    if ((size_t)len > tail && strcmp(out + len - tail, gone) == 0)
        return err_set(err, ERR_NOT_FOUND, NEXT_LOCAL_FAULT, out,
                       "the program that runs now was replaced or removed; a timer cannot start it");
    return check_path(out, err);
}

/* -- the command line, in three languages ------------------------------------------------------------ */

typedef void (*quote_function)(struct buf *out, const char *word);

static bool is_plain_word(const char *word)
{
    return word[strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._-+@:,=")] ==
           '\0';
}

/* A word for sh, in a crontab: there a bare % is the end of the line, even in quotes. */
static void quote_cron(struct buf *out, const char *word)
{
    if (is_plain_word(word)) {
        buf_adds(out, word);
        return;
    }
    buf_addc(out, '\'');
    for (; *word != '\0'; word++)
        if (*word == '\'')
            buf_adds(out, "'\\''");
        else if (*word == '%')
            buf_adds(out, "'\\%'");
        else
            buf_addc(out, *word);
    buf_addc(out, '\'');
}

/* A word of ExecStart=: quotes, specifiers and variables (systemd.service(5), systemd.unit(5)). */
static void quote_systemd(struct buf *out, const char *word)
{
    if (is_plain_word(word)) {
        buf_adds(out, word);
        return;
    }
    buf_addc(out, '"');
    for (; *word != '\0'; word++) {
        if (*word == '"' || *word == '\\')
            buf_addc(out, '\\');
        if (*word == '%' || *word == '$')
            buf_addc(out, *word);
        buf_addc(out, *word);
    }
    buf_addc(out, '"');
}

static void add_command(struct buf *out, const char *program, const char *command, const struct job *job,
                        quote_function quote)
{
    quote(out, program);
    buf_addf(out, " %s -q", command);
    if (job->own_config) {
        buf_adds(out, " --config-dir ");
        quote(out, job->config_dir);
    }
    if (job->own_state) {
        buf_adds(out, " --state-dir ");
        quote(out, job->state_dir);
    }
}

/* Each hour, at a minute of its own, so that not all machines of the world ask at once; never at the full
 * hour. What fails for a moment is tried again soon, and a run with nothing due costs next to nothing. */
static int random_minute(void)
{
    unsigned char dice;
    if (getrandom(&dice, sizeof dice, 0) != sizeof dice)
        dice = (unsigned char)(getpid() ^ clock_mono_ms());
    return 1 + dice % 59;
}

static void add_crontab_time(struct buf *out, int minute)
{
    buf_addf(out, "%d * * * * ", minute);
}

/* An error leaves the person with a line to put into a crontab by hand. */
static bool advise_crontab(const struct job *job, struct err *err)
{
    struct err ignored = ERR_INIT;
    char program[PATH_BYTES];
    AUTO_BUF line = BUF_INIT;
    if (!program_path(program, sizeof program, &ignored))
        snprintf(program, sizeof program, "%s", TLSUP_SBIN_DIR "/tlsup");
    add_crontab_time(&line, random_minute());
    add_command(&line, program, "renew", job, quote_cron);
    return err_advise(err, "to have certificates renewed, add this line with crontab -e:\n      %s",
                      buf_str(&line));
}

/* -- systemd ----------------------------------------------------------------------------------------- */

static bool systemctl(const char *const *arguments, struct spawn_result *result, struct err *err)
{
    static const char *const env[] = {"TZ=UTC", "SYSTEMD_COLORS=0", "SYSTEMD_PAGER=", NULL};
    const struct spawn_options options = {.timeout_ms = SYSTEMCTL_TIMEOUT_MS, .env = env};
    AUTO_FREE char *program = root != NULL ? at("/usr/bin/systemctl") : mem_dup("systemctl");
    const char *argv[8] = {program};
    for (size_t i = 0; i + 2 < COUNT_OF(argv) && arguments[i] != NULL; i++)
        argv[i + 1] = arguments[i];
    return spawn_run(argv, &options, result, err);
}

/* Run it for its effect. */
static bool systemctl_do(const char *verb, const char *option, const char *unit, struct err *err)
{
    const char *arguments[4] = {verb};
    size_t n = 1;
    if (option != NULL)
        arguments[n++] = option;
    if (unit != NULL)
        arguments[n++] = unit;
    struct spawn_result result;
    if (!systemctl(arguments, &result, err))
        return false;
    bool ok = result.status == 0 && !result.timed_out;
    while (result.output.len > 0 && isspace((unsigned char)result.output.data[result.output.len - 1]))
        result.output.data[--result.output.len] = '\0';
    if (!ok)
        err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, unit != NULL ? unit : "systemd",
                "systemctl %s failed with status %d: %s", verb, result.status,
                result.timed_out         ? "it did not come to an end"
                : result.output.len == 0 ? "it gave no reason"
                                         : buf_str(&result.output));
    spawn_result_clear(&result);
    return ok;
}

/* The value in "KEY=value" lines, NULL when it is not there; the caller frees. */
static char *property(const char *text, const char *key)
{
    size_t len = strlen(key);
    while (*text != '\0') {
        size_t line = strcspn(text, "\n");
        if (line > len && strncmp(text, key, len) == 0 && text[len] == '=')
            return mem_ndup(text + len + 1, line - len - 1);
        text += line;
        text += *text == '\n';
    }
    return NULL;
}

/* "in 5 hours" */
static void say_when(int64_t when_s, char out[64])
{
    char span[CLOCK_TEXT_BYTES];
    int64_t left_s = when_s - clock_now_s();
    if (left_s <= 0)
        snprintf(out, 64, "now");
    else
        snprintf(out, 64, "in %s", clock_format_span(left_s, span));
}

/* systemd says "Sat 2026-11-21 03:12:44 UTC". */
static void say_next_elapse(const char *text, char out[64])
{
    char stamp[32];
    int64_t when_s;
    const char *date = text != NULL ? strchr(text, ' ') : NULL;
    if (date == NULL || strlen(date) != strlen(" 2026-11-21 03:12:44 UTC"))
        return;
    snprintf(stamp, sizeof stamp, "%.19sZ", date + 1);
    if (clock_parse_rfc3339(stamp, &when_s))
        say_when(when_s, out);
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* True when the unit is known to systemd at all; `out` is filled then. */
static bool look_systemd(const struct job *job, struct timer *out)
{
    struct err ignored = ERR_INIT;
    struct spawn_result result;
    AUTO_FREE char *unit = mem_fmt("%s.timer", job->name);
    const char *const arguments[] = {
        "show", "--property=LoadState,UnitFileState,ActiveState,NextElapseUSecRealtime", unit, NULL};
    if (!systemd_runs() || !systemctl(arguments, &result, &ignored))
        return false;
    AUTO_FREE char *load = property(buf_str(&result.output), "LoadState");
    AUTO_FREE char *file = property(buf_str(&result.output), "UnitFileState");
    AUTO_FREE char *active = property(buf_str(&result.output), "ActiveState");
    AUTO_FREE char *next = property(buf_str(&result.output), "NextElapseUSecRealtime");
    spawn_result_clear(&result);
    if (load == NULL || strcmp(load, "loaded") != 0)
        return false;
    *out = (struct timer){.kind = TIMER_SYSTEMD};
    snprintf(out->where, sizeof out->where, "%s", unit);
    /* "enabled-runtime" would be gone after the next start of the machine */
    out->active =
        file != NULL && active != NULL && strcmp(active, "active") == 0 &&
        (strcmp(file, "enabled") == 0 || strcmp(file, "static") == 0 || strcmp(file, "generated") == 0);
    if (out->active)
        say_next_elapse(next, out->next);
    return true;
}

/* A unit file that is on this machine already; the caller frees. NULL = none. */
static char *find_unit(const char *file)
{
    for (size_t i = 0; i < COUNT_OF(unit_dirs); i++) {
        AUTO_FREE char *path = fs_join(unit_dirs[i], file);
        if (is_there(path))
            return at(path);
    }
    return NULL;
}

static void service_text(const char *program, const struct job *job, struct buf *out)
{
    buf_adds(out, MARKER "it renews the certificates that are due.\n"
                         "[Unit]\n"
                         "Description=Renew TLS certificates that are due\n"
                         "Documentation=man:tlsup(1)\n"
                         "After=network-online.target nss-lookup.target\n"
                         "Wants=network-online.target\n"
                         "\n"
                         "[Service]\n"
                         "Type=oneshot\n"
                         "ExecStart=");
    add_command(out, program, "renew", job, quote_systemd);
    /* 4: try again later, 5: another run is at it; the next run of the timer sees to both. The file
     * systemd/tlsup.service.in has the same settings, and the reasons for them. */
    buf_adds(out,
             "\nSuccessExitStatus=4 5\n"
             "TimeoutStartSec=6h\n"
             "Nice=10\n"
             "IOSchedulingClass=idle\n"
             "KeyringMode=private\n"
             "LockPersonality=yes\n"
             "RestrictRealtime=yes\n"
             "SystemCallArchitectures=native\n"
             "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK\n"
             "CapabilityBoundingSet=~CAP_SYS_BOOT CAP_SYS_MODULE CAP_SYS_PACCT CAP_SYS_RAWIO CAP_SYS_TIME "
             "CAP_SYSLOG CAP_WAKE_ALARM\n");
}

/* After a power cut: before the web servers read what a killed run has left. */
static void recover_text(const char *program, const struct job *job, struct buf *out)
{
    buf_addf(out, MARKER "it ends an interrupted change of the web server's configuration.\n"
                         "[Unit]\n"
                         "Description=End an interrupted change of the web server's TLS configuration\n"
                         "Documentation=man:tlsup(1)\n"
                         "RequiresMountsFor=");
    quote_systemd(out, job->state_dir);
    buf_addc(out, ' ');
    quote_systemd(out, job->config_dir);
    buf_adds(out, "\nAfter=local-fs.target\n"
                  "Before=nginx.service apache2.service httpd.service openresty.service\n"
                  "ConditionDirectoryNotEmpty=");
    /* a condition takes its value as it stands, but for specifiers */
    for (const char *c = job->state_dir; *c != '\0'; c++)
        buf_addf(out, *c == '%' ? "%%%%" : "%c", *c);
    buf_adds(out, "/journal\n"
                  "\n"
                  "[Service]\n"
                  "Type=oneshot\n"
                  "ExecStart=");
    add_command(out, program, "recover", job, quote_systemd);
    buf_adds(out, "\nSuccessExitStatus=5\n"
                  "TimeoutStartSec=2min\n"
                  "LockPersonality=yes\n"
                  "RestrictRealtime=yes\n"
                  "\n"
                  "[Install]\n"
                  "WantedBy=multi-user.target\n");
}

static void timer_text(struct buf *out)
{
    buf_adds(out, MARKER "it renews the certificates that are due.\n"
                         "[Unit]\n"
                         "Description=Renew TLS certificates that are due, each hour at a random minute\n"
                         "Documentation=man:tlsup(1)\n"
                         "\n"
                         "[Timer]\n"
                         "OnCalendar=*-*-* *:07:00\n"
                         "RandomizedDelaySec=45min\n"
                         "AccuracySec=1min\n"
                         "Persistent=true\n"
                         "\n"
                         "[Install]\n"
                         "WantedBy=timers.target\n");
}

/* Is there a file of ours with this very text? */
static bool is_same(const char *path, const struct buf *text)
{
    struct err ignored = ERR_INIT;
    AUTO_BUF now = BUF_INIT;
    return fs_read(path, FILE_LIMIT_BYTES, &now, &ignored) && now.len == text->len &&
           memcmp(buf_str(&now), buf_str(text), text->len) == 0;
}

static bool is_ours(const char *path)
{
    struct err ignored = ERR_INIT;
    AUTO_BUF now = BUF_INIT;
    return fs_read(path, FILE_LIMIT_BYTES, &now, &ignored) && starts_with(buf_str(&now), MARKER);
}

static bool put_file(const char *path, const struct buf *text, bool *changed, struct err *err)
{
    if (is_same(path, text))
        return true;
    *changed = true;
    return fs_write(path, text->data, text->len, 0644, err);
}

/* One unit file: what others wrote is left alone; what we wrote ourselves is brought up to date. */
static bool ensure_unit(const char *file, const struct buf *text, bool *changed, struct err *err)
{
    AUTO_FREE char *dir = at(UNIT_WRITE_DIR);
    AUTO_FREE char *path = fs_join(dir, file);
    return fs_mkdirs(dir, 0755, err) && put_file(path, text, changed, err);
}

static bool is_foreign(const char *file)
{
    AUTO_FREE char *found = find_unit(file);
    return found != NULL && !is_ours(found);
}

/* The units lie where systemd finds them: those of the package, an administrator's, or ours. */
static bool ensure_units(const struct job *job, bool *changed, struct err *err)
{
    char program[PATH_BYTES];
    AUTO_BUF service = BUF_INIT, timer = BUF_INIT;
    AUTO_FREE char *service_file = mem_fmt("%s.service", job->name);
    AUTO_FREE char *timer_file = mem_fmt("%s.timer", job->name);
    if (!is_foreign(service_file)) {
        if (!program_path(program, sizeof program, err))
            return false;
        service_text(program, job, &service);
        if (!ensure_unit(service_file, &service, changed, err))
            return false;
    }
    timer_text(&timer);
    return is_foreign(timer_file) || ensure_unit(timer_file, &timer, changed, err);
}

static bool is_enabled(const char *unit)
{
    struct err ignored = ERR_INIT;
    struct spawn_result result;
    const char *const arguments[] = {"show", "--property=UnitFileState", unit, NULL};
    if (!systemctl(arguments, &result, &ignored))
        return false;
    AUTO_FREE char *file = property(buf_str(&result.output), "UnitFileState");
    spawn_result_clear(&result);
    return file != NULL && strcmp(file, "enabled") == 0;
}

/* The unit that recovers at the machine's start. */
static bool ensure_recover(const struct job *job, bool *changed, struct err *err)
{
    char program[PATH_BYTES];
    bool wrote = false;
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *file = mem_fmt("%s-recover.service", job->name);
    AUTO_FREE char *found = find_unit(file);
    if (found == NULL || is_ours(found)) {
        AUTO_FREE char *dir = at(UNIT_WRITE_DIR);
        AUTO_FREE char *path = fs_join(dir, file);
        if (!program_path(program, sizeof program, err) || !fs_mkdirs(dir, 0755, err))
            return false;
        recover_text(program, job, &text);
        if (!put_file(path, &text, &wrote, err) || (wrote && !systemctl_do("daemon-reload", NULL, NULL, err)))
            return false;
    }
    *changed |= wrote;
    return is_enabled(file) || systemctl_do("enable", NULL, file, err);
}

/* -- cron -------------------------------------------------------------------------------------------- */

static bool cron_installed(void)
{
    if (!is_there(CRON_DIR))
        return false;
    for (size_t i = 0; i < COUNT_OF(cron_daemons); i++) {
        char target[PATH_BYTES] = "";
        AUTO_FREE char *path = at(cron_daemons[i]);
        /* the crond of busybox does not read /etc/cron.d */
        ssize_t len = readlink(path, target, sizeof target - 1);
        if (access(path, X_OK) == 0 && (len <= 0 || strstr(target, "busybox") == NULL))
            return true;
    }
    return false;
}

static bool is_cron_process(const char *proc, const char *pid)
{
    struct err ignored = ERR_INIT;
    AUTO_BUF comm = BUF_INIT;
    AUTO_FREE char *path = mem_fmt("%s/%s/comm", proc, pid);
    if (!isdigit((unsigned char)pid[0]) || !fs_read(path, 256, &comm, &ignored))
        return false;
    if (comm.len > 0 && comm.data[comm.len - 1] == '\n')
        comm.data[comm.len - 1] = '\0';
    for (size_t i = 0; i < COUNT_OF(cron_processes); i++)
        if (strcmp(buf_str(&comm), cron_processes[i]) == 0)
            return true;
    return false;
}

static bool cron_runs(void)
{
    AUTO_FREE char *proc = at("/proc");
    bool found = false;
    DIR *dir = opendir(proc);
    struct dirent *entry;
    while (!found && dir != NULL && (entry = readdir(dir)) != NULL)
        found = is_cron_process(proc, entry->d_name);
    if (dir != NULL)
        closedir(dir);
    return found;
}

/* The program that stands before " renew" is there; a quoted path is not looked into. */
static bool renews_with_program(const char *line)
{
    const char *verb = strstr(line, "tlsup renew");
    if (verb == NULL)
        return strstr(line, " renew") != NULL && strchr(line, '\'') != NULL;
    const char *start = verb, *end = verb + strlen("tlsup");
    while (start > line && !isspace((unsigned char)start[-1]))
        start--;
    AUTO_FREE char *program = mem_ndup(start, (size_t)(end - start));
    return program[0] != '/' || is_there(program) || access(program, X_OK) == 0;
}

/* A line of cron.d that renews. `minute` gets when, where that is each hour and nothing waits before it; -1
 * otherwise. */
static bool parse_cron_line(const char *line, int *minute)
{
    int found, end = 0;
    line += strspn(line, " \t");
    if (*line == '#' || !renews_with_program(line))
        return false;
    bool hourly = sscanf(line, "%2d * * * * %n", &found, &end) == 1 && end > 0 && found >= 0 && found < 60;
    *minute = hourly && strstr(line, "sleep ") == NULL ? found : -1;
    return true;
}

static bool read_cron_file(const char *path, int *minute)
{
    struct err ignored = ERR_INIT;
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST lines = STRLIST_INIT;
    if (!fs_read(path, FILE_LIMIT_BYTES, &text, &ignored))
        return false;
    strlist_split(&lines, buf_str(&text), "\n");
    for (size_t i = 0; i < lines.n; i++)
        if (parse_cron_line(lines.v[i], minute))
            return true;
    return false;
}

/* Cron works in local time, whose offset need not be whole hours. */
static void say_next_cron(int minute, char out[64])
{
    struct tm local;
    time_t now = (time_t)clock_now_s();
    if (minute < 0 || localtime_r(&now, &local) == NULL)
        return;
    int minutes = (minute - local.tm_min + 60) % 60;
    say_when((int64_t)now - local.tm_sec + 60 * (minutes == 0 ? 60 : minutes), out);
}

static bool look_cron(const struct job *job, struct timer *out)
{
    int minute;
    AUTO_FREE char *name = fs_join(CRON_DIR, job->name);
    AUTO_FREE char *path = at(name);
    if (!read_cron_file(path, &minute))
        return false;
    *out = (struct timer){.kind = TIMER_CRON, .active = cron_runs()};
    snprintf(out->where, sizeof out->where, "%s", name);
    if (out->active)
        say_next_cron(minute, out->next);
    return true;
}

/* One that a former version wrote, which ran twice a day. */
static bool is_outdated_cron(const struct job *job)
{
    int minute;
    AUTO_FREE char *name = fs_join(CRON_DIR, job->name);
    AUTO_FREE char *path = at(name);
    return is_ours(path) && read_cron_file(path, &minute) && minute < 0;
}

static bool write_cron_file(const struct job *job, bool *changed, struct err *err)
{
    char program[PATH_BYTES];
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *name = fs_join(CRON_DIR, job->name);
    AUTO_FREE char *path = at(name);
    if (!program_path(program, sizeof program, err))
        return false;
    buf_adds(&text, MARKER "it renews the certificates that are due, each hour.\n"
                           "SHELL=/bin/sh\n"
                           "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
    add_crontab_time(&text, random_minute());
    buf_adds(&text, "root ");
    add_command(&text, program, "renew", job, quote_cron);
    buf_addc(&text, '\n');
    *changed = true;
    return fs_write(path, text.data, text.len, 0644, err);
}

/* -- look, and see to it ----------------------------------------------------------------------------- */

void timer_look_for(const char *config_dir, const char *state_dir, struct timer *out)
{
    struct job job;
    struct timer cron = {0};
    *out = (struct timer){0};
    job_init(&job, config_dir, state_dir);
    bool by_systemd = look_systemd(&job, out);
    /* a unit that lies there switched off must not hide a cron file that works */
    if (!out->active && look_cron(&job, &cron) && (cron.active || !by_systemd))
        *out = cron;
}

void timer_look(struct timer *out)
{
    timer_look_for(TLSUP_CONFIG_DIR, TLSUP_STATE_DIR, out);
}

/* The timer has taken over: a cron file that we wrote would run everything twice. */
static bool drop_cron_file(const struct job *job, bool *changed, struct err *err)
{
    AUTO_FREE char *name = fs_join(CRON_DIR, job->name);
    AUTO_FREE char *path = at(name);
    if (!is_ours(path))
        return true;
    *changed = true;
    return fs_remove(path, err);
}

static bool ensure_systemd(const struct job *job, struct timer *out, bool *changed, struct err *err)
{
    AUTO_FREE char *unit = mem_fmt("%s.timer", job->name);
    bool wrote = false;
    if (!ensure_units(job, &wrote, err))
        return false;
    if (wrote && !systemctl_do("daemon-reload", NULL, NULL, err))
        return err_advise(err, "see how systemd is: systemctl status");
    *changed |= wrote;
    if (!look_systemd(job, out) || !out->active) {
        if (!systemctl_do("enable", "--now", unit, err))
            return err_advise(err, "see what keeps it from starting: systemctl status %s", unit);
        *changed = true;
    }
    if (!look_systemd(job, out) || !out->active) {
        err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, unit, "systemd was told to start it, yet it is not active");
        return err_advise(err, "see what keeps it from starting: systemctl status %s", unit);
    }
    struct err recover = ERR_INIT; /* without it the next run recovers: later, but it does */
    if (!ensure_recover(job, changed, &recover))
        log_warn("no unit recovers at the start of the machine: %s", recover.text);
    return drop_cron_file(job, changed, err);
}

static bool ensure_cron(const struct job *job, struct timer *out, bool *changed, struct err *err)
{
    if ((!look_cron(job, out) || is_outdated_cron(job)) && !write_cron_file(job, changed, err))
        return false;
    if (!look_cron(job, out))
        return err_set(err, ERR_INTERNAL, NEXT_NONE, job->name,
                       "the cron file that was just written is not understood");
    if (out->active)
        return true;
    err_set(err, ERR_NOT_FOUND, NEXT_LOCAL_FAULT, out->where,
            "%s is in place to renew certificates, but no cron daemon is running", out->where);
    return err_advise(err, "start it, and see to it that it starts with the machine: service cron start");
}

bool timer_ensure(const char *config_dir, const char *state_dir, struct timer *out, bool *changed,
                  struct err *err)
{
    struct job job;
    struct timer found = {0};
    *changed = false;
    if (!check_path(config_dir, err) || !check_path(state_dir, err))
        return false;
    job_init(&job, config_dir, state_dir);
    if (!may_write_system()) {
        timer_look_for(config_dir, state_dir, out);
        if (out->active)
            return true;
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, "",
                "only root can set up a timer that renews certificates");
        return advise_crontab(&job, err);
    }
    if (systemd_runs() ? !ensure_systemd(&job, &found, changed, err)
                       : cron_installed() && !ensure_cron(&job, &found, changed, err))
        return false;
    if (!found.active) {
        err_set(err, ERR_NOT_FOUND, NEXT_FIX_CONFIG, "",
                "neither systemd nor a cron daemon is here to renew certificates by itself");
        return advise_crontab(&job, err);
    }
    *out = found;
    return true;
}

static bool refuse_foreign_cron(const char *name, struct err *err)
{
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, name, "%s calls tlsup renew, but was not written by tlsup",
            name);
    return err_advise(err, "remove it by hand, if nobody else needs it");
}

bool timer_off(const char *config_dir, const char *state_dir, bool *changed, struct err *err)
{
    struct job job;
    struct timer found = {0};
    *changed = false;
    job_init(&job, config_dir, state_dir);
    if (!may_write_system())
        return err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, "", "only root can switch the timer off"),
               err_advise(err, "run it with sudo");
    AUTO_FREE char *unit = mem_fmt("%s.timer", job.name);
    AUTO_FREE char *cron = fs_join(CRON_DIR, job.name);
    AUTO_FREE char *cron_path = at(cron);
    if (look_systemd(&job, &found) && (found.active || is_enabled(unit))) {
        if (!systemctl_do("disable", "--now", unit, err))
            return err_advise(err, "see how it is: systemctl status %s", unit);
        *changed = true;
    }
    if (look_cron(&job, &found) && !is_ours(cron_path))
        return refuse_foreign_cron(cron, err);
    return drop_cron_file(&job, changed, err);
}
