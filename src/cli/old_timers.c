#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "old_timers.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

#define MARK "#switched off by tlsup: "
#define ENDING ".disabled-by-tlsup"

enum { FILE_BYTES = 256 * 1024, CRONTAB_BYTES = 1024 * 1024, COMMAND_MS = 60000 };

/* Packages' units, the words by which a line of a person's is known, and what such a file is called. */
static const struct client {
    const char *units[4];
    const char *word;
    const char *verbs[4]; /* one of them stands behind the word where it renews */
    const char *file;
} clients[IMPORT_CLIENTS] = {
    [IMPORT_CERTBOT] = {{"certbot.timer", "snap.certbot.renew.timer", "certbot-renew.timer"},
                        "certbot",
                        {"renew", "certonly"},
                        "certbot"},
    [IMPORT_ACME_SH] = {{"acme.sh.timer", "acme_letsencrypt.timer", "acmesh.timer"},
                        "acme.sh",
                        {"cron", "renew", "renew-all", "renewAll"},
                        "acme"},
    [IMPORT_DEHYDRATED] = {{"dehydrated.timer"}, "dehydrated", {"cron", "-c"}, "dehydrated"},
    [IMPORT_LEGO] = {{"lego.timer", "lego-renew.timer"}, "lego", {"renew", "run"}, "lego"},
    [IMPORT_UACME] = {{"uacme.timer"}, "uacme", {"issue"}, "uacme"},
};

static const char *const cron_dirs[] = {"/etc/cron.d", "/etc/cron.hourly", "/etc/cron.daily",
                                        "/etc/cron.weekly", "/etc/cron.monthly"};

const char *old_timer_kind_name(enum old_timer_kind kind)
{
    static const char *const names[] = {[OLD_TIMER_SYSTEMD] = "systemd",
                                        [OLD_TIMER_CRON_FILE] = "cron-file",
                                        [OLD_TIMER_CRONTAB] = "crontab"};
    return names[kind];
}

char *old_timer_describe(const struct old_timer *timer)
{
    return timer->kind == OLD_TIMER_SYSTEMD ? mem_fmt("the systemd timer %s", timer->where)
           : timer->kind == OLD_TIMER_CRON_FILE
               ? mem_fmt("the cron file %s", timer->where)
               : mem_fmt("a line in the crontab of %s (%s)", timer->where, timer->line);
}

void old_timers_clear(struct old_timers *timers)
{
    for (size_t i = 0; i < timers->n; i++) {
        free(timers->v[i].where);
        free(timers->v[i].line);
        free(timers->v[i].undo);
    }
    free(timers->v);
    *timers = (struct old_timers){0};
}

static void add(struct old_timers *timers, enum old_timer_kind kind, const char *where, const char *line,
                bool mixed)
{
    for (size_t i = 0; i < timers->n; i++)
        if (timers->v[i].kind == kind && strcmp(timers->v[i].where, where) == 0 && kind != OLD_TIMER_CRONTAB)
            return;
    timers->v = mem_resize(timers->v, timers->n + 1, sizeof *timers->v);
    timers->v[timers->n++] =
        (struct old_timer){.kind = kind, .where = mem_dup(where), .line = mem_dup(line), .mixed = mixed};
    printable(timers->v[timers->n - 1].line);
}

/* -- lines ------------------------------------------------------------------------------------------------
 */

static bool is_part_of_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* A word of its own: "lego", not "allegory". What is behind it, NULL = it is not there. */
static const char *behind_word(const char *text, const char *end, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = text; (at = memmem(at, (size_t)(end - at), word, len)) != NULL; at++) {
        bool begins = at == text || !is_part_of_word(at[-1]);
        bool ends = at + len >= end || !is_part_of_word(at[len]);
        if (begins && ends)
            return at + len;
    }
    return NULL;
}

/* Does it renew by that client? What only reads the client's files (backups) does not; nor what is about
 * tlsup. */
static bool runs_client(const char *line, size_t len, const struct client *client)
{
    const char *end = line + len, *behind = behind_word(line, end, client->word);
    size_t blank = strspn(line, " \t");
    if (behind == NULL || blank >= len || line[blank] == '#' || memmem(line, len, "tlsup", 5) != NULL)
        return false;
    for (size_t i = 0; i < COUNT_OF(client->verbs) && client->verbs[i] != NULL; i++)
        if (behind_word(behind, end, client->verbs[i]) != NULL)
            return true;
    return false;
}

static bool systemd_runs(void)
{
    return fs_is_dir("/run/systemd/system");
}

/* Debian's crontabs do nothing where systemd runs, and say so. */
static bool is_idle(const char *line, size_t len)
{
    return systemd_runs() && memmem(line, len, "! -d /run/systemd/system", 24) != NULL;
}

enum grammar { CRONTAB, SCRIPT, UNIT };

/* In scripts and units a backslash leads into the next line. */
static size_t line_length(const char *text, enum grammar grammar)
{
    size_t len = strcspn(text, "\n");
    while (grammar != CRONTAB && len > 0 && text[len] == '\n' && text[len - 1] == '\\')
        len += 1 + strcspn(text + len + 1, "\n");
    return len;
}

/* Does it run anything? No comment, no assignment. */
static bool is_work(const char *line, size_t len, enum grammar grammar)
{
    size_t blank = strspn(line, " \t\r");
    if (blank >= len || line[blank] == '#')
        return false;
    if (grammar == UNIT) {
        static const char key[] = "ExecStart";
        const char *behind = line + blank + strlen(key);
        return strncmp(line + blank, key, strlen(key)) == 0 && behind[strspn(behind, " \t")] == '=';
    }
    return grammar == SCRIPT || memchr(line, '=', strcspn(line, " \t\n")) == NULL;
}

/* The first line that renews by the client; NULL. The caller frees. */
static char *line_of(const char *text, const struct client *client, enum grammar grammar)
{
    for (; *text != '\0'; text += *text == '\n') {
        size_t len = line_length(text, grammar);
        if (is_work(text, len, grammar) && runs_client(text, len, client) && !is_idle(text, len))
            return mem_ndup(text, len);
        text += len;
    }
    return NULL;
}

/* Is there work that is none of the client's? */
static bool has_other_work(const char *text, const struct client *client, enum grammar grammar)
{
    for (; *text != '\0'; text += *text == '\n') {
        size_t len = line_length(text, grammar);
        if (is_work(text, len, grammar) && !runs_client(text, len, client))
            return true;
        text += len;
    }
    return false;
}

/* -- finding ----------------------------------------------------------------------------------------------
 */

static bool answer_of(const char *const *argv, struct buf *out)
{
    static const char *const env[] = {"SYSTEMD_COLORS=0", "SYSTEMD_PAGER=", NULL};
    const struct spawn_options options = {
        .timeout_ms = COMMAND_MS, .env = env, .raw_output = true, .output_limit = CRONTAB_BYTES};
    struct spawn_result result;
    struct err ignored = ERR_INIT;
    if (!spawn_run(argv, &options, &result, &ignored))
        return false;
    bool ok = result.status == 0 && !result.timed_out && result.output.len < CRONTAB_BYTES;
    if (ok && result.output.len > 0)
        buf_add(out, result.output.data, result.output.len);
    spawn_result_clear(&result);
    return ok;
}

static bool unit_is_on(const char *unit)
{
    const char *const argv[] = {"systemctl", "show", "--property=LoadState,UnitFileState,ActiveState", unit,
                                NULL};
    AUTO_BUF said = BUF_INIT;
    return answer_of(argv, &said) && strstr(buf_str(&said), "LoadState=loaded") != NULL &&
           (strstr(buf_str(&said), "UnitFileState=enabled") != NULL ||
            strstr(buf_str(&said), "ActiveState=active") != NULL);
}

/* X.timer of a person's whose X.service runs the client. */
static void find_own_units(const struct client *client, struct old_timers *out)
{
    static const char dir[] = "/etc/systemd/system";
    AUTO_STRLIST files = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    if (!fs_list(dir, &files, &ignored))
        return;
    for (size_t i = 0; i < files.n; i++) {
        size_t len = strlen(files.v[i]);
        if (len <= 6 || strcmp(files.v[i] + len - 6, ".timer") != 0)
            continue;
        AUTO_FREE char *service = mem_fmt("%s/%.*s.service", dir, (int)(len - 6), files.v[i]);
        AUTO_BUF text = BUF_INIT;
        err_clear(&ignored);
        AUTO_FREE char *line =
            fs_read(service, FILE_BYTES, &text, &ignored) ? line_of(buf_str(&text), client, UNIT) : NULL;
        if (line != NULL && unit_is_on(files.v[i]))
            add(out, OLD_TIMER_SYSTEMD, files.v[i], line, has_other_work(buf_str(&text), client, UNIT));
    }
}

static void find_units(enum import_client client, struct old_timers *out)
{
    if (!systemd_runs())
        return;
    for (size_t i = 0; i < COUNT_OF(clients[client].units) && clients[client].units[i] != NULL; i++)
        if (unit_is_on(clients[client].units[i]))
            add(out, OLD_TIMER_SYSTEMD, clients[client].units[i], "", false);
    find_own_units(&clients[client], out);
}

/* What all a script does cannot be told from its lines: its name says what it is for. */
static bool is_mixed(const char *name, const char *text, const struct client *client, enum grammar grammar)
{
    return grammar == SCRIPT ? strstr(name, client->file) == NULL : has_other_work(text, client, grammar);
}

static void find_cron_files(const struct client *client, struct old_timers *out)
{
    for (size_t d = 0; d < COUNT_OF(cron_dirs); d++) {
        AUTO_STRLIST files = STRLIST_INIT;
        struct err ignored = ERR_INIT;
        if (!fs_list(cron_dirs[d], &files, &ignored))
            continue;
        for (size_t i = 0; i < files.n; i++) {
            AUTO_FREE char *path = fs_join(cron_dirs[d], files.v[i]);
            AUTO_BUF text = BUF_INIT;
            err_clear(&ignored);
            if (strchr(files.v[i], '.') != NULL || !fs_read(path, FILE_BYTES, &text, &ignored))
                continue; /* cron passes over names with a dot */
            enum grammar grammar = d > 0 ? SCRIPT : CRONTAB;
            AUTO_FREE char *line = line_of(buf_str(&text), client, grammar);
            if (line != NULL)
                add(out, OLD_TIMER_CRON_FILE, path, line,
                    is_mixed(files.v[i], buf_str(&text), client, grammar));
        }
    }
}

static bool read_crontab(const char *user, struct buf *out)
{
    const char *const as_root[] = {"crontab", "-u", user, "-l", NULL};
    const char *const own[] = {"crontab", "-l", NULL};
    return spawn_find("crontab") && answer_of(geteuid() == 0 ? as_root : own, out) &&
           memchr(buf_str(out), '\0', out->len) == NULL;
}

static void find_crontab(const char *user, const struct client *client, struct old_timers *out)
{
    AUTO_BUF text = BUF_INIT;
    if (!read_crontab(user, &text))
        return;
    for (const char *at = buf_str(&text); *at != '\0'; at += *at == '\n') {
        size_t len = strcspn(at, "\n");
        AUTO_FREE char *one = mem_ndup(at, len);
        AUTO_FREE char *line = line_of(one, client, CRONTAB);
        if (line != NULL)
            add(out, OLD_TIMER_CRONTAB, user, line, false);
        at += len;
    }
}

static void find_crontabs(const struct client *client, const char *dir, struct old_timers *out)
{
    AUTO_STRLIST users = STRLIST_INIT;
    struct stat st;
    const struct passwd *user = getpwuid(geteuid());
    if (user != NULL)
        strlist_add(&users, user->pw_name);
    if (stat(dir, &st) == 0 && geteuid() == 0 && (user = getpwuid(st.st_uid)) != NULL &&
        !strlist_has(&users, user->pw_name))
        strlist_add(&users, user->pw_name);
    for (size_t i = 0; i < users.n; i++)
        find_crontab(users.v[i], client, out);
}

void old_timers_find(enum import_client client, const char *dir, struct old_timers *out)
{
    find_units(client, out);
    find_cron_files(&clients[client], out);
    find_crontabs(&clients[client], dir, out);
}

/* -- switching off ----------------------------------------------------------------------------------------
 */

static bool run_for_effect(const char *const *argv, const char *subject, struct err *err)
{
    const struct spawn_options options = {.timeout_ms = COMMAND_MS};
    struct spawn_result result;
    if (!spawn_run(argv, &options, &result, err))
        return false;
    bool ok = result.status == 0 && !result.timed_out;
    if (!ok)
        err_set(err, ERR_CHILD, NEXT_LOCAL_FAULT, subject, "%s %s failed: %.800s", argv[0], argv[1],
                result.timed_out ? "it did not come to an end" : buf_str(&result.output));
    spawn_result_clear(&result);
    return ok;
}

static bool disable_unit(struct old_timer *timer, struct err *err)
{
    const char *const argv[] = {"systemctl", "disable", "--now", timer->where, NULL};
    if (!run_for_effect(argv, timer->where, err))
        return err_advise(err, "switch it off by hand: systemctl disable --now %s", timer->where);
    timer->undo = mem_fmt("systemctl enable --now %s", timer->where);
    return true;
}

static bool disable_file(struct old_timer *timer, struct err *err)
{
    AUTO_FREE char *aside = mem_fmt("%s" ENDING, timer->where);
    if (fs_exists(aside))
        return err_set(err, ERR_EXISTS, NEXT_FIX_CONFIG, timer->where,
                       "%s is in the way: %s cannot be renamed", aside, timer->where);
    if (!fs_rename(timer->where, aside, err))
        return false;
    timer->undo = mem_fmt("mv %s %s", aside, timer->where);
    return true;
}

/* The line as it stands, with a mark before it. False when it is not there any more. */
static bool mark_line(const char *text, const char *line, struct buf *out)
{
    bool found = false;
    for (; *text != '\0'; text += *text == '\n') {
        size_t len = strcspn(text, "\n");
        AUTO_FREE char *one = mem_ndup(text, len);
        printable(one);
        if (!found && strcmp(one, line) == 0) {
            buf_adds(out, MARK);
            found = true;
        }
        buf_add(out, text, len);
        buf_addc(out, '\n');
        text += len;
    }
    return found;
}

static bool disable_line(struct old_timer *timer, const char *scratch_dir, struct err *err)
{
    AUTO_BUF text = BUF_INIT, changed = BUF_INIT;
    AUTO_FREE char *path = fs_join(scratch_dir, "crontab.new");
    const char *const as_root[] = {"crontab", "-u", timer->where, path, NULL};
    const char *const own[] = {"crontab", path, NULL};
    struct err ignored = ERR_INIT;
    if (!read_crontab(timer->where, &text) || !mark_line(buf_str(&text), timer->line, &changed))
        return err_set(err, ERR_MISMATCH, NEXT_FIX_CONFIG, timer->where,
                       "the crontab of %s has changed in the meantime", timer->where);
    bool ok = fs_write(path, changed.data, changed.len, 0600, err) &&
              run_for_effect(geteuid() == 0 ? as_root : own, timer->where, err);
    if (!fs_remove(path, &ignored))
        log_warn("%s", ignored.text);
    if (!ok)
        return err_advise(err, "take the line out by hand: crontab -e");
    timer->undo = mem_fmt("crontab -u %s -e, and take \"%s\" from before the line", timer->where, MARK);
    return true;
}

bool old_timer_disable(struct old_timer *timer, const char *scratch_dir, struct err *err)
{
    if (timer->mixed) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, timer->where, "it does other work as well");
        return err_advise(err, "take out of it by hand what is still to be switched off: %s", timer->line);
    }
    timer->disabled = timer->kind == OLD_TIMER_SYSTEMD     ? disable_unit(timer, err)
                      : timer->kind == OLD_TIMER_CRON_FILE ? disable_file(timer, err)
                                                           : disable_line(timer, scratch_dir, err);
    return timer->disabled;
}
