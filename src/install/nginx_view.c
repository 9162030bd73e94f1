/*
 * nginx_view.c - what nginx itself says that it reads, and what lies beside it unread.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "nginx_model.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

enum { DUMP_SINCE = 1009002, DUMP_SPARE_BYTES = 1 << 20 };

#define HEADER "# configuration file "

/* ---- the server's own view ---- */

/* How much `nginx -T` will say when it sees what we see. */
static size_t expected_bytes(const struct nginx_config *config)
{
    size_t n = 0;
    for (size_t i = 0; i < config->n_loads; i++) {
        const struct nginx_load *load = &config->loads[i];
        n += sizeof HEADER + strlen(load->path) + config->files[load->file]->text.len + 4;
    }
    return n;
}

static bool differs(struct err *err, const char *path, const char *fmt, ...) PRINTF_LIKE(3, 4);
static bool differs(struct err *err, const char *path, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(err, ERR_WEBSERVER, NEXT_REFUSED, path, "nginx and tlsup do not read the same configuration: %s",
            text);
    return err_advise(err, "Nothing was changed. Compare the files with what \"nginx -T\" prints; if nobody "
                           "edits them just now, "
                           "change them by hand, with the certificate of `tlsup issue`.");
}

/* The path in the header at `at` of the dump; NULL: there is none. The caller frees. */
static char *header_path(const struct buf *dump, size_t at)
{
    size_t skip = sizeof HEADER - 1;
    if (dump->len - at < skip || memcmp(dump->data + at, HEADER, skip) != 0) {
        return NULL;
    }
    const char *path = dump->data + at + skip;
    const char *end = memmem(path, dump->len - at - skip, ":\n", 2);
    return end != NULL ? mem_ndup(path, (size_t)(end - path)) : NULL;
}

/* One file by two spellings of its path. */
static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return strcmp(a, b) == 0 ||
           (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}

/* Where the text of this file begins in the dump, or 0. */
static size_t text_after_header(const struct buf *dump, size_t at, const char *path)
{
    AUTO_FREE char *found = header_path(dump, at);
    return found != NULL && same_file(found, path) ? at + sizeof HEADER - 1 + strlen(found) + 2 : 0;
}

static bool is_text_at(const struct buf *dump, size_t at, const struct buf *text)
{
    return dump->len - at > text->len && memcmp(dump->data + at, buf_str(text), text->len) == 0 &&
           dump->data[at + text->len] == '\n';
}

/* The header of the main file: what loaded modules print comes before it. */
static bool find_start(const struct buf *dump, const char *path, size_t *at)
{
    for (const char *line = buf_str(dump); line != NULL;) {
        size_t here = (size_t)(line - buf_str(dump));
        if (here < dump->len && text_after_header(dump, here, path) > 0) {
            *at = here;
            return true;
        }
        line = memchr(line, '\n', dump->len - here);
        line = line != NULL ? line + 1 : NULL;
    }
    return false;
}

/* Known lengths, not headers, say where a file ends: its text may hold a line that looks like one. */
static bool compare_files(const struct nginx_config *config, const struct buf *dump, struct err *err)
{
    const char *main_file = config->loads[0].path;
    size_t at;
    if (!find_start(dump, main_file, &at)) {
        return differs(err, main_file, "nginx -T does not begin with %s", main_file);
    }
    for (size_t i = 0; i < config->n_loads; i++) {
        const struct nginx_load *load = &config->loads[i];
        const struct buf *text = &config->files[load->file]->text;
        size_t begin = text_after_header(dump, at, load->path);
        if (begin == 0 && load->maybe) {
            continue;
        }
        if (begin == 0) {
            AUTO_FREE char *other = header_path(dump, at);
            return differs(err, load->path, "after %s nginx reads %s, not %s",
                           i > 0 ? config->loads[i - 1].path : main_file,
                           other != NULL ? other : "nothing more", load->path);
        }
        if (!is_text_at(dump, begin, text)) {
            return differs(err, load->path, "%s has another content for nginx", load->path);
        }
        at = begin + text->len + 1;
    }
    if (at < dump->len) {
        AUTO_FREE char *more = header_path(dump, at);
        return differs(err, more != NULL ? more : main_file, "nginx reads %s too",
                       more != NULL ? more : "something more");
    }
    return true;
}

bool nginx_compare(const struct web *web, const struct sites *sites, struct err *err)
{
    const struct nginx_config *config = &nginx_model_of(sites)->config;
    const char *argv[NGINX_ARGV_MAX];
    struct spawn_result result = {0};
    struct spawn_options options = {.output_limit = expected_bytes(config) + DUMP_SPARE_BYTES,
                                    .raw_output = true};
    if (web->version_number < DUMP_SINCE) {
        log_info("nginx %s does not tell what it reads: not compared", web->version);
        return nginx_driver.test(web, err);
    }
    nginx_argv(web, "-T", argv);
    if (!spawn_run(argv, &options, &result, err)) {
        return err_context(err, "asking nginx for its configuration");
    }
    bool same;
    if (result.status != 0 || result.timed_out) {
        /* Its words are on the other channel. */
        same = nginx_driver.test(web, err) && err_set(err, ERR_WEBSERVER, NEXT_LOCAL_FAULT, web->conf,
                                                      "nginx -T %s, while nginx -t accepts the configuration",
                                                      result.timed_out ? "does not end" : "fails");
    } else {
        same = compare_files(config, &result.output, err);
    }
    spawn_result_clear(&result);
    return same;
}

/* ---- sites that are not enabled ---- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool ends_with(const char *text, const char *suffix)
{
    size_t a = strlen(text), b = strlen(suffix);
    return a >= b && strcmp(text + a - b, suffix) == 0;
}

/* What editors and package managers leave behind. */
static bool is_leftover(const char *name)
{
    static const char *const ends[] = {"~",    ".bak",  ".old",      ".orig",     ".save",   ".swp",
                                       ".rej", ".dist", ".dpkg-new", ".dpkg-old", ".rpmnew", ".rpmsave"};
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        if (ends_with(name, ends[i])) {
            return true;
        }
    }
    return name[0] == '.' || strstr(name, ".dpkg-") != NULL;
}

/* The files of "x-available" that the include of "x-enabled" (`pattern`) does not bring. */
static void add_disabled(const struct nginx_config *config, const char *pattern, const char *available,
                         struct strlist *paths, struct strlist *enablers)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    if (!fs_list(available, &names, &ignored)) {
        return;
    }
    for (size_t i = 0; i < names.n; i++) {
        AUTO_FREE char *path = fs_join(available, names.v[i]);
        AUTO_FREE char *real = realpath(path, NULL);
        struct stat st;
        if (!is_leftover(names.v[i]) && real != NULL && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
            nginx_index_get(&config->by_real, real) == NULL) {
            strlist_add(paths, path);
            strlist_add(enablers, pattern);
        }
    }
}

bool nginx_read_disabled(const struct web *web, const struct sites *sites, struct sites *out, struct err *err)
{
    static const char suffix[] = "-enabled";
    const struct nginx_model *model = nginx_model_of(sites);
    AUTO_NODES order = {0};
    AUTO_STRLIST seen = STRLIST_INIT, paths = STRLIST_INIT, enablers = STRLIST_INIT;
    (void)err;
    if (model->http != NULL) {
        nginx_children(&model->config, model->http, true, &order);
    }
    for (size_t i = 0; i < order.n; i++) {
        const char *pattern = nginx_is(order.v[i], "include") ? order.v[i]->target : NULL;
        AUTO_FREE char *dir = pattern != NULL ? fs_dirname(pattern) : mem_dup("");
        if (!ends_with(dir, suffix) || strlen(base_name(dir)) <= sizeof suffix - 1) {
            continue;
        }
        AUTO_FREE char *available = mem_fmt("%.*s-available", (int)(strlen(dir) - (sizeof suffix - 1)), dir);
        if (!strlist_has(&seen, available)) {
            strlist_add(&seen, available);
            add_disabled(&model->config, pattern, available, &paths, &enablers);
        }
    }
    nginx_model_read_disabled(web, &paths, &enablers, out);
    return true;
}

/* A word for the shell. Appends. */
static void shell_word(const char *text, struct buf *out)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:,@+%=";
    if (text[0] != '\0' && strspn(text, plain) == strlen(text)) {
        buf_adds(out, text);
        return;
    }
    buf_addc(out, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            buf_adds(out, "'\\''");
        } else {
            buf_addc(out, *text);
        }
    }
    buf_addc(out, '\'');
}

char *nginx_enable_command(const struct web *web, const struct site *site)
{
    (void)web;
    const char *pattern = site->enabled ? NULL : nginx_server_of(site)->enabler;
    if (pattern == NULL) {
        return mem_dup("");
    }
    const char *name = base_name(site->file);
    AUTO_FREE char *dir = fs_dirname(pattern);
    AUTO_FREE char *same = fs_join(dir, name);
    AUTO_FREE char *conf = mem_fmt("%s.conf", same);
    bool wants_conf = fnmatch(pattern, same, FNM_PATHNAME | FNM_PERIOD) != 0 &&
                      fnmatch(pattern, conf, FNM_PATHNAME | FNM_PERIOD) == 0;
    AUTO_FREE char *link = wants_conf ? mem_dup(conf) : mem_fmt("%s/", dir);
    AUTO_BUF command = BUF_INIT;
    buf_adds(&command, "ln -s ");
    shell_word(site->file, &command);
    buf_addc(&command, ' ');
    shell_word(link, &command);
    return buf_take(&command);
}
