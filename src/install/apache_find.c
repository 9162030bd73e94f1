/*
 * apache_find.c - which Apache, with which main file; and how it is asked (see apache_server.h).
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apache_server.h"
#include "driver.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

#define MASTERS_MAX 64
#define DUMP_LIMIT_BYTES (64u << 20)

static const char *const binaries[] = {"/usr/sbin/apache2",       "/usr/sbin/httpd",
                                       "/usr/local/sbin/httpd",   "/usr/sbin/httpd2",
                                       "/usr/sbin/httpd-prefork", "/usr/local/apache2/bin/httpd",
                                       "/opt/local/sbin/httpd",   "/usr/bin/httpd"};
static const char *const processes[] = {"apache2",      "httpd",       "httpd2", "httpd-prefork",
                                        "httpd-worker", "httpd-event", NULL};

/* -- a program -- */

/* What `-V` says of itself: the text between the quotes of `-D NAME="..."`. */
static bool compiled_in(const char *text, const char *name, char *out, size_t size)
{
    AUTO_FREE char *key = mem_fmt("-D %s=\"", name);
    const char *from = strstr(text, key);
    if (!from)
        return false;
    from += strlen(key);
    snprintf(out, size, "%.*s", (int)strcspn(from, "\"\n"), from);
    return true;
}

static bool read_version(const char *text, struct web *out)
{
    const char *mark = "Server version: Apache/";
    const char *from = strstr(text, mark);
    if (!from)
        return false;
    from += strlen(mark);
    snprintf(out->version, sizeof out->version, "%.*s", (int)strspn(from, "0123456789."), from);
    int major = 0, minor = 0, patch = 0;
    if (sscanf(out->version, "%3d.%3d.%3d", &major, &minor, &patch) < 2)
        return false;
    out->version_number = major * 1000000 + minor * 1000 + patch;
    return true;
}

/* The defaults that are compiled into the program. */
struct build {
    char root[512], conf[512];
};

/* Is this an Apache? (busybox has an httpd as well.) Fills the version; apachectl hands the question on. */
static bool examine(const char *program, struct web *out, struct build *build)
{
    const char *argv[] = {program, "-V", NULL};
    struct spawn_result result = {0};
    struct err ignored = ERR_INIT;
    bool ok = spawn_run(argv, NULL, &result, &ignored) && read_version(buf_str(&result.output), out);
    if (ok) {
        const char *text = buf_str(&result.output);
        if (!compiled_in(text, "HTTPD_ROOT", build->root, sizeof build->root))
            snprintf(build->root, sizeof build->root, "/");
        if (!compiled_in(text, "SERVER_CONFIG_FILE", build->conf, sizeof build->conf))
            snprintf(build->conf, sizeof build->conf, "conf/httpd.conf");
    }
    spawn_result_clear(&result);
    return ok;
}

static bool is_script(const char *path)
{
    char head[2] = {0};
    FILE *file = fopen(path, "re");
    size_t n = file ? fread(head, 1, sizeof head, file) : 0;
    if (file)
        fclose(file);
    return n == 2 && head[0] == '#' && head[1] == '!';
}

/* -- the running ones -- */

/* The paths that one was started with. */
struct started {
    pid_t pid;
    char program[256];
    char root[512], conf[512]; /* -d, -f; "" = not given */
};

static void program_of(pid_t pid, char *out, size_t size)
{
    char path[PATH_MAX];
    AUTO_FREE char *link = mem_fmt("/proc/%ld/exe", (long)pid);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    char *deleted = strstr(path, " (deleted)");
    if (deleted)
        *deleted = '\0'; /* replaced by an upgrade */
    snprintf(out, size, "%.*s", (int)size - 1, path);
}

static void read_started(pid_t pid, struct started *out)
{
    AUTO_STRLIST words = STRLIST_INIT;
    *out = (struct started){.pid = pid};
    program_of(pid, out->program, sizeof out->program);
    apache_command_line(pid, &words);
    for (size_t i = 1; i < words.n; i++) {
        const char *word = words.v[i];
        if (word[0] != '-' || (word[1] != 'd' && word[1] != 'f'))
            continue;
        char *to = word[1] == 'd' ? out->root : out->conf;
        if (word[2])
            snprintf(to, sizeof out->conf, "%s", word + 2);
        else if (i + 1 < words.n)
            snprintf(to, sizeof out->conf, "%s", words.v[++i]);
    }
}

/* The main file and the ServerRoot of a program that was started so. */
static void set_paths(const struct build *build, const struct started *started, struct web *out)
{
    const char *root = started && started->root[0] ? started->root : build->root;
    const char *conf = started && started->conf[0] ? started->conf : build->conf;
    AUTO_FREE char *joined = conf[0] == '/' ? mem_dup(conf) : fs_join(root, conf);
    snprintf(out->conf, sizeof out->conf, "%s", joined);
    snprintf(out->prefix, sizeof out->prefix, "%s", root);
}

/* A main file that a person named, with the program's own name for it, lies in a ServerRoot of its own
 * (Debian: /etc/apache2-NAME). */
static void set_hinted_conf(const struct build *build, const char *conf, struct web *out)
{
    size_t conf_len = strlen(conf), tail = strlen(build->conf);
    snprintf(out->conf, sizeof out->conf, "%s", conf);
    if (build->conf[0] != '/' && conf_len > tail + 1 && conf[conf_len - tail - 1] == '/' &&
        strcmp(conf + conf_len - tail, build->conf) == 0)
        snprintf(out->prefix, sizeof out->prefix, "%.*s", (int)(conf_len - tail - 1), conf);
}

static bool same_file(const char *a, const char *b)
{
    AUTO_FREE char *real_a = realpath(a, NULL);
    AUTO_FREE char *real_b = realpath(b, NULL);
    return strcmp(a, b) == 0 || (real_a && real_b && strcmp(real_a, real_b) == 0);
}

/* -- what a person says -- */

static bool check_hints(const struct web_hints *hints, struct err *err)
{
    if (hints->apache_ctl && !spawn_check_program(hints->apache_ctl, false, err))
        return err_advise(
            err, "Give the path of apachectl, or of the server's own program, such as /usr/sbin/apache2.");
    if (!hints->apache_conf)
        return true;
    AUTO_BUF text = BUF_INIT;
    if (fs_read(hints->apache_conf, 16u << 20, &text, err))
        return true;
    (void)err_context(err, "Apache's main file");
    return err_advise(err, "Give the file that Apache is started with, such as /etc/apache2/apache2.conf.");
}

/* The program behind an apachectl: the one of its name, or its neighbour, with the same version. */
static bool program_behind(const char *ctl, const struct web *wanted, char *out, size_t size)
{
    AUTO_FREE char *dir = fs_dirname(ctl);
    AUTO_FREE char *stem = mem_dup(strrchr(ctl, '/') + 1);
    size_t len = strlen(stem);
    if (len > 3 && strcmp(stem + len - 3, "ctl") == 0)
        stem[len - 3] = '\0';
    const char *const names[] = {stem, "httpd", "apache2"};
    for (size_t i = 0; i < COUNT_OF(names) + COUNT_OF(binaries); i++) {
        AUTO_FREE char *path =
            i < COUNT_OF(names) ? fs_join(dir, names[i]) : mem_dup(binaries[i - COUNT_OF(names)]);
        struct web found = {0};
        struct build build;
        if (access(path, X_OK) == 0 && !is_script(path) && examine(path, &found, &build) &&
            found.version_number == wanted->version_number) {
            snprintf(out, size, "%s", path);
            return true;
        }
    }
    return false;
}

/* --apache-ctl is apachectl or the server's own program: both answer -V, and apachectl is a script. */
static bool take_control(const char *ctl, struct web *out, struct build *build, struct err *err)
{
    if (!examine(ctl, out, build)) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, ctl,
                "%s is not an Apache HTTP Server, nor its apachectl", ctl);
        return err_advise(
            err, "Give the path of apachectl, or of the server's own program, such as /usr/sbin/apache2.");
    }
    if (!is_script(ctl)) {
        snprintf(out->bin, sizeof out->bin, "%s", ctl);
        return true;
    }
    snprintf(out->ctl, sizeof out->ctl, "%s", ctl);
    if (program_behind(ctl, out, out->bin, sizeof out->bin))
        return true;
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, ctl, "the server's program behind %s is not found", ctl);
    return err_advise(err, "Give the path of that program instead.");
}

/* -- which of those that run -- */

static bool refuse_several(const struct started *list, size_t n, struct err *err)
{
    AUTO_BUF confs = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        buf_addf(&confs, "%s%s (process %ld)", i ? ", " : "", list[i].conf, (long)list[i].pid);
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, "apache", "several Apaches are running: %.800s",
            buf_str(&confs));
    return err_advise(err, "Say which one by its main file: --apache-conf FILE");
}

static bool refuse_other(const struct started *running, const char *conf, struct err *err)
{
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, conf, "the running Apache (process %ld) reads %s, not %s",
            (long)running->pid, running->conf, conf);
    return err_advise(err, "Name the file that it reads, or start Apache with the other one first.");
}

/* Those that run, with their main files as absolute paths; of the hinted program alone, if there is one. */
static size_t list_running(const char *program, struct started *list)
{
    pid_t pids[MASTERS_MAX];
    size_t n = web_masters(processes, pids, MASTERS_MAX), kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct started *one = &list[kept];
        struct web web = {.kind = WEB_APACHE};
        struct build build;
        read_started(pids[i], one);
        if ((program[0] && !same_file(program, one->program)) || !examine(one->program, &web, &build))
            continue;
        set_paths(&build, one, &web);
        snprintf(one->conf, sizeof one->conf, "%s", web.conf);
        snprintf(one->root, sizeof one->root, "%s", web.prefix);
        kept++;
    }
    return kept;
}

/* NULL in *out: none runs. */
static bool choose_running(const struct started *list, size_t n, const char *conf, const struct started **out,
                           struct err *err)
{
    *out = NULL;
    for (size_t i = 0; i < n && conf; i++) {
        if (!same_file(list[i].conf, conf))
            continue;
        if (*out)
            return refuse_several(list, n, err);
        *out = &list[i];
    }
    if (*out || n == 0)
        return true;
    if (n > 1)
        return refuse_several(list, n, err);
    if (conf)
        return refuse_other(&list[0], conf, err);
    *out = &list[0];
    return true;
}

/* -- find -- */

/* apache2ctl knows Debian's envvars. */
static void neighbour_control(struct web *out)
{
    const char *base = strrchr(out->bin, '/');
    if (out->ctl[0] || !base || strcmp(base, "/apache2") != 0)
        return;
    AUTO_FREE char *ctl = mem_fmt("%sctl", out->bin);
    if (access(ctl, X_OK) == 0)
        snprintf(out->ctl, sizeof out->ctl, "%s", ctl);
}

static void set_modules(struct web *out)
{
    struct apache_model model = {0};
    struct err ignored = ERR_INIT;
    if (!apache_model_read(out, NULL, NULL, &model, &ignored)) {
        log_debug("apache: %s", ignored.text);
        return;
    }
    out->has_ssl = apache_tree_has(&model.tree, "ssl_module");
    out->has_http2 = apache_tree_has(&model.tree, "http2_module");
    out->has_rewrite = apache_tree_has(&model.tree, "rewrite_module");
    apache_model_clear(&model);
}

static bool installed(struct web *out, struct build *build)
{
    for (size_t i = 0; i < COUNT_OF(binaries); i++) {
        if (access(binaries[i], X_OK) == 0 && examine(binaries[i], out, build)) {
            snprintf(out->bin, sizeof out->bin, "%s", binaries[i]);
            return true;
        }
    }
    return false;
}

static bool find_at(const struct web_hints *hints, struct started *list, struct web *out, struct err *err)
{
    struct web web = {.kind = WEB_APACHE};
    struct build build;
    const struct started *running;
    if (!check_hints(hints, err) ||
        (hints->apache_ctl && !take_control(hints->apache_ctl, &web, &build, err)))
        return false;
    size_t n = list_running(web.bin, list);
    if (!choose_running(list, n, hints->apache_conf, &running, err))
        return false;
    if (running) {
        web.master_pid = running->pid;
        snprintf(web.bin, sizeof web.bin, "%s", running->program);
        if (!examine(web.bin, &web, &build))
            return false;
    } else if (!web.bin[0] && !installed(&web, &build)) {
        return false;
    }
    set_paths(&build, running, &web);
    if (hints->apache_conf && !running)
        set_hinted_conf(&build, hints->apache_conf, &web);
    if (!hints->apache_ctl)
        neighbour_control(&web);
    set_modules(&web);
    *out = web;
    return true;
}

bool apache_find(const struct web_hints *hints, struct web *out, struct err *err)
{
    static const struct web_hints none = {0};
    struct started *list = mem_array(MASTERS_MAX, sizeof *list);
    bool ok = find_at(hints ? hints : &none, list, out, err);
    free(list);
    return ok;
}

bool apache_describe(const char *bin, const char *conf, struct web *out)
{
    struct web web = {.kind = WEB_APACHE};
    struct build build;
    if (!examine(bin, &web, &build))
        return false;
    snprintf(web.bin, sizeof web.bin, "%s", bin);
    set_paths(&build, NULL, &web);
    if (conf)
        set_hinted_conf(&build, conf, &web);
    set_modules(&web);
    *out = web;
    return true;
}

/* -- asking it -- */

/* Debian's apache2ctl reads APACHE_CONFDIR/apache2.conf; for any other file the server is asked itself. */
static bool ctl_fits(const struct web *web)
{
    AUTO_FREE char *conf = fs_join(web->prefix, "apache2.conf");
    return web->ctl[0] && strcmp(conf, web->conf) == 0;
}

/* The program, its paths, and what else the running one was told. */
static void direct_words(const struct web *web, struct strlist *out)
{
    const char *const paths[] = {web->bin, "-d", web->prefix, "-f", web->conf};
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        strlist_add(out, paths[i]);
    AUTO_STRLIST words = STRLIST_INIT;
    apache_command_line(web->master_pid, &words);
    for (size_t i = 1; i < words.n; i++) {
        const char *word = words.v[i];
        if (word[0] != '-' || !word[1] || !strchr("DCc", word[1]))
            continue;
        strlist_add(out, word);
        if (!word[2] && i + 1 < words.n)
            strlist_add(out, words.v[++i]);
    }
}

static bool run(const struct web *web, const char *const *args, struct spawn_options *options,
                struct spawn_result *out, struct err *err)
{
    AUTO_STRLIST env = STRLIST_INIT;
    AUTO_STRLIST words = STRLIST_INIT;
    if (ctl_fits(web)) {
        AUTO_FREE char *dir = mem_fmt("APACHE_CONFDIR=%s", web->prefix);
        strlist_add(&env, dir);
        strlist_add(&words, web->ctl);
    } else {
        apache_environment(web, &env);
        direct_words(web, &words);
    }
    for (; *args; args++)
        strlist_add(&words, *args);
    const char **argv = mem_array(words.n + 1, sizeof *argv);
    const char **entries = mem_array(env.n + 1, sizeof *entries);
    for (size_t i = 0; i < words.n; i++)
        argv[i] = words.v[i];
    for (size_t i = 0; i < env.n; i++)
        entries[i] = env.v[i];
    options->env = entries;
    bool ok = spawn_run(argv, options, out, err);
    free(argv);
    free(entries);
    return ok;
}

bool apache_test(const struct web *web, struct err *err)
{
    static const char *const args[] = {"-t", NULL};
    struct spawn_options options = {.timeout_ms = web->test_ms};
    struct spawn_result result = {0};
    bool ok = run(web, args, &options, &result, err);
    AUTO_STRLIST command = STRLIST_INIT;
    apache_test_command(web, &command);
    if (ok && result.timed_out) {
        ok = err_set(err, ERR_TIMEOUT, NEXT_FIX_CONFIG, web->conf,
                     "Apache's own configuration test did not end");
        (void)err_advise(err, "See what it waits for: %s", command.v[0]);
    } else if (ok && result.status != 0) {
        ok = err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, web->conf,
                     "Apache's own configuration test fails:\n%.1200s", buf_str(&result.output));
        (void)err_advise(err, "Mend what it names, then see that `%s` passes.", command.v[0]);
    }
    spawn_result_clear(&result);
    return ok;
}

char *apache_test_with(const struct web *web, const struct strlist *lines)
{
    struct spawn_options options = {.timeout_ms = web->test_ms};
    struct spawn_result result = {0};
    struct err err = ERR_INIT;
    const char **args = mem_array(2 * lines->n + 2, sizeof *args);
    args[0] = "-t";
    for (size_t i = 0; i < lines->n; i++) {
        args[2 * i + 1] = "-C";
        args[2 * i + 2] = lines->v[i];
    }
    bool fails = run(web, args, &options, &result, &err) && !result.timed_out && result.status != 0;
    char *words = mem_dup(fails && apache_test(web, &err) ? buf_str(&result.output) : "");
    spawn_result_clear(&result);
    free(args);
    return words;
}

bool apache_dump(const struct web *web, const char *const *args, struct buf *out, struct err *err)
{
    struct spawn_options options = {.raw_output = true, .output_limit = DUMP_LIMIT_BYTES};
    struct spawn_result result = {0};
    bool ok = run(web, args, &options, &result, err);
    if (ok && (result.status != 0 || result.timed_out))
        ok = apache_test(web, err) &&
             err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, web->conf,
                     "Apache passes its configuration test, but does not say what it reads");
    if (ok)
        buf_add(out, buf_str(&result.output), result.output.len);
    spawn_result_clear(&result);
    return ok;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void apache_test_command(const struct web *web, struct strlist *out)
{
    AUTO_BUF text = BUF_INIT;
    struct web plain = {0};
    struct build build = {0};
    if (ctl_fits(web)) {
        if (strcmp(web->prefix, "/etc/apache2") != 0)
            buf_addf(&text, "APACHE_CONFDIR=%s ", web->prefix);
        buf_addf(&text, "%s configtest", spawn_find(base_of(web->ctl)) ? base_of(web->ctl) : web->ctl);
        strlist_add(out, buf_str(&text));
        return;
    }
    buf_adds(&text, spawn_find(base_of(web->bin)) ? base_of(web->bin) : web->bin);
    if (examine(web->bin, &plain, &build))
        set_paths(&build, NULL, &plain);
    if (strcmp(plain.prefix, web->prefix) != 0)
        buf_addf(&text, " -d %s", web->prefix);
    if (strcmp(plain.conf, web->conf) != 0)
        buf_addf(&text, " -f %s", web->conf);
    buf_adds(&text, " -t");
    strlist_add(out, buf_str(&text));
}
