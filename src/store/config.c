#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "config_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/machine_config.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

#define KEYWORD_MAX 24
#define HOOK_TIMEOUT_S 120
#define DNS_TIMEOUT_S 180
#define REQUEST_TIMEOUT_S 120

/* -- the structure ------------------------------------------------------------------------------------ */

#define AT(member) offsetof(struct cert_config, member)

static const size_t texts[] = {
    AT(name),
    AT(server),
    AT(account),
    AT(ca_bundle),
    AT(email),
    AT(webroot),
    AT(challenge_hook),
    AT(cleanup_hook),
    AT(hook_env),
    AT(dns_update_server),
    AT(dns_update_key),
    AT(dns_update_zone),
    AT(key),
    AT(csr),
    AT(profile),
    AT(preferred_chain),
    AT(proxy),
    AT(interface),
    AT(nginx_conf),
    AT(nginx_bin),
    AT(apache_conf),
    AT(apache_ctl),
    AT(hook_user),
};

static const size_t lists[] = {AT(names),        AT(fallbacks),  AT(dns_servers), AT(pre_hooks),
                               AT(deploy_hooks), AT(post_hooks), AT(exports),     AT(verify)};

static char **text_at(struct cert_config *config, size_t offset)
{
    return (char **)(void *)((char *)config + offset);
}

static struct strlist *list_at(struct cert_config *config, size_t offset)
{
    return (struct strlist *)(void *)((char *)config + offset);
}

void cert_config_init(struct cert_config *config)
{
    memset(config, 0, sizeof *config);
    config->server = mem_dup(CONFIG_DEFAULT_CA);
    config->challenges[0] = CHALLENGE_VIA_WEB_SERVER;
    config->n_challenges = 1;
    config->hook_timeout_s = HOOK_TIMEOUT_S;
    config->dns_timeout_s = DNS_TIMEOUT_S;
    config->dns_check = true;
    config->timeout_s = REQUEST_TIMEOUT_S;
    config->deploy_timeout_s = CONFIG_DEPLOY_TIMEOUT_S;
    config->keep = CONFIG_KEEP;
}

void cert_config_clear(struct cert_config *config)
{
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        free(*text_at(config, texts[i]));
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        strlist_clear(list_at(config, lists[i]));
    memset(config, 0, sizeof *config);
}

void cert_config_copy(struct cert_config *to, const struct cert_config *from)
{
    struct cert_config copy = *from;
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        *text_at(&copy, texts[i]) = mem_dup(*text_at(&copy, texts[i]));
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        struct strlist borrowed = *list_at(&copy, lists[i]);
        *list_at(&copy, lists[i]) = (struct strlist)STRLIST_INIT;
        strlist_copy(list_at(&copy, lists[i]), &borrowed);
    }
    cert_config_clear(to);
    *to = copy;
}

static char *value_of(enum setting_id id, const struct cert_config *config)
{
    return config_settings[id].get(&config_settings[id], config);
}

static bool same_value(enum setting_id id, const struct cert_config *a, const struct cert_config *b)
{
    AUTO_FREE char *left = value_of(id, a);
    AUTO_FREE char *right = value_of(id, b);
    return strcmp(left, right) == 0;
}

bool cert_config_same(const struct cert_config *a, const struct cert_config *b)
{
    enum setting_id id = 0;
    while (id < SETTINGS && same_value(id, a, b))
        id++;
    return id == SETTINGS;
}

bool cert_config_has_challenge(const struct cert_config *config, enum config_challenge via)
{
    for (size_t i = 0; i < config->n_challenges; i++)
        if (config->challenges[i] == via)
            return true;
    return false;
}

/* -- reading: what was meant ---------------------------------------------------------------------------- */

/* What people call a thing elsewhere, too far from our word for a spelling check. */
static const struct {
    const char *habit;
    const char *key;
} habits[] = {
    {"domain", "names"},
    {"domains", "names"},
    {"hosts", "names"},
    {"authenticator", "challenge"},
    {"installer", "install"},
    {"webroot-path", "webroot"},
    {"webroot_path", "webroot"},
    {"contact", "email"},
    {"mail", "email"},
    {"ca", "server"},
    {"directory", "server"},
    {"renew-hook", "deploy-hook"},
    {"renew_hook", "deploy-hook"},
    {"hook", "deploy-hook"},
    {"cafile", "ca-bundle"},
    {"challenges", "challenge"},
    {"preferred-challenges", "challenge"},
    {"pref_challs", "challenge"},
    {"auth-hook", "challenge-hook"},
    {"dns-hook", "challenge-hook"},
    {"manual-auth-hook", "challenge-hook"},
    {"manual_auth_hook", "challenge-hook"},
    {"manual-cleanup-hook", "cleanup-hook"},
    {"manual_cleanup_hook", "cleanup-hook"},
    {"nameservers", "dns-servers"},
    {"resolvers", "dns-servers"},
    {"tsig-key", "dns-update-key"},
    {"preferred-profile", "profile"},
    {"required-profile", "profile"},
    {"allow-subset-of-names", "partial"},
    {"rsa-key-size", "key-type"},
    {"elliptic-curve", "key-type"},
};

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t d[KEYWORD_MAX + 1][KEYWORD_MAX + 1];
    for (size_t i = 0; i <= a_len; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= b_len; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= a_len; i++)
        for (size_t j = 1; j <= b_len; j++) {
            size_t change = a[i - 1] != b[j - 1];
            d[i][j] = smallest(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    return d[a_len][b_len];
}

/* Of certificates first, then of the machine; NULL past the last. */
static const char *key_at(size_t i)
{
    return i < SETTINGS ? config_settings[i].key : machine_config_key_at(i - SETTINGS);
}

/* The key that was probably meant, or NULL. */
static const char *meant_key(const char *typed)
{
    const char *best = NULL;
    size_t best_distance = 3, len = strlen(typed);
    for (size_t i = 0; i < COUNT_OF(habits); i++)
        if (strcasecmp(habits[i].habit, typed) == 0)
            return habits[i].key;
    for (size_t i = 0; len <= KEYWORD_MAX && key_at(i) != NULL; i++) {
        const char *key = key_at(i);
        size_t distance = edit_distance(typed, len, key, strlen(key));
        if (strcasecmp(typed, key) == 0)
            return key;
        if (distance < best_distance && distance < len) {
            best_distance = distance;
            best = key;
        }
    }
    return best;
}

/* -- reading ------------------------------------------------------------------------------------------ */

struct parser {
    const char *path;
    bool is_cert;
    size_t line;
    size_t seen_on[SETTINGS]; /* line, 0 = not given */
    struct cert_config *config;
    struct machine_config *machine; /* NULL = checked only */
    struct strlist seen_machine;
    struct err *err;
};

/* "PATH:LINE: text"; line 0 = the file as a whole. Of an over-long path the end tells more. */
static bool PRINTF_LIKE(3, 4) fault(const struct parser *parser, size_t line, const char *fmt, ...)
{
    char text[1024], where[400];
    size_t len = strlen(parser->path);
    const char *shown = len > 360 ? parser->path + len - 360 : parser->path;
    int head = snprintf(where, sizeof where, "%s%s", shown != parser->path ? "..." : "", shown);
    if (line > 0)
        snprintf(where + head, sizeof where - (size_t)head, ":%zu", line);
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return err_set(parser->err, ERR_CONFIG, NEXT_FIX_CONFIG, parser->path, "%s: %s", where, text);
}

static bool unknown_key(const struct parser *parser, const char *key)
{
    AUTO_BUF known = BUF_INIT;
    const char *meant = meant_key(key);
    if (meant != NULL)
        return fault(parser, parser->line, "unknown key '%.64s'; did you mean '%s'?", key, meant);
    for (size_t i = parser->is_cert ? 0 : 1; i < SETTINGS; i++)
        buf_addf(&known, "%s%s", buf_str(&known)[0] != '\0' ? ", " : "", config_settings[i].key);
    for (size_t i = SETTINGS; !parser->is_cert && key_at(i) != NULL; i++)
        buf_addf(&known, ", %s", key_at(i));
    return fault(parser, parser->line, "unknown key '%.64s'; accepted are %s", key, buf_str(&known));
}

static bool bad_value(const struct parser *parser, const char *key, const struct err *why)
{
    bool about = why->subject[0] != '\0' && strstr(why->text, why->subject) == NULL;
    fault(parser, parser->line, "%s: %.200s%s%s", key, about ? why->subject : "", about ? ": " : "",
          why->text);
    return why->advice[0] != '\0' ? err_advise(parser->err, "%s", why->advice) : false;
}

/* Habits of other formats that would otherwise become part of a value. */
static bool check_value(const struct parser *parser, const char *key, const char *value)
{
    if (value[0] == '\0')
        return fault(parser, parser->line, "%s has no value; remove the line, or give one", key);
    if (value[0] == '"' || value[0] == '\'')
        return fault(parser, parser->line, "%s: values are written without quotes", key);
    if (strstr(value, " #") != NULL || strstr(value, "\t#") != NULL || strstr(value, " ;") != NULL ||
        strstr(value, "\t;") != NULL)
        return fault(parser, parser->line, "%s: a comment must be on a line of its own", key);
    return true;
}

/* About the machine: in tlsup.conf alone. */
static bool apply_machine(struct parser *parser, const char *key, const char *value)
{
    struct err why = ERR_INIT;
    struct machine_config scratch;
    if (parser->is_cert)
        return fault(
            parser, parser->line,
            "'%s' is about the whole machine: it belongs into tlsup.conf, not into a certificate's file",
            key);
    if (strlist_has(&parser->seen_machine, key))
        return fault(parser, parser->line, "'%s' is given a second time; keep one of them", key);
    strlist_add(&parser->seen_machine, key);
    if (!check_value(parser, key, value))
        return false;
    machine_config_init(&scratch);
    bool ok = machine_config_set(parser->machine != NULL ? parser->machine : &scratch, key, value, &why);
    machine_config_clear(&scratch);
    return ok || bad_value(parser, key, &why);
}

static bool apply(struct parser *parser, const char *key, const char *value)
{
    enum setting_id index = config_find(key);
    struct err why = ERR_INIT;
    if (index == SETTINGS && machine_config_has(key))
        return apply_machine(parser, key, value);
    if (index == SETTINGS)
        return unknown_key(parser, key);
    if (index == NAMES && !parser->is_cert)
        return fault(
            parser, parser->line,
            "'names' belongs into a certificate's own file, certs.d/NAME.conf, not into the defaults");
    if (parser->seen_on[index] != 0 && !config_settings[index].many)
        return fault(parser, parser->line,
                     "'%s' is given a second time (first on line %zu); keep one of them", key,
                     parser->seen_on[index]);
    if (!check_value(parser, key, value))
        return false;
    if (config_settings[index].many && parser->seen_on[index] == 0)
        strlist_clear(list_at(parser->config, config_settings[index].offset)); /* the defaults' */
    if (!config_settings[index].set(&config_settings[index], parser->config, value, &why))
        return bad_value(parser, key, &why);
    parser->seen_on[index] = parser->line;
    return true;
}

/* Cut white space at both ends, in place; returns the first character left. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t len = strlen(text);
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        text[--len] = '\0';
    return text;
}

static bool parse_setting(struct parser *parser, char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (((unsigned char)*c < 0x20 && *c != '\t') || *c == 0x7F)
            return fault(parser, parser->line, "control character 0x%02x; only text is accepted",
                         (unsigned)*c);
    if (text[0] == '[')
        return fault(parser, parser->line, "sections are not used here; remove this line");
    char *equals = strchr(text, '=');
    if (equals == NULL || equals == text)
        return fault(parser, parser->line, "'%.64s' is not of the form 'key = value'", text);
    *equals = '\0';
    return apply(parser, trim(text), trim(equals + 1));
}

static bool parse_line(struct parser *parser, const char *start, size_t len)
{
    if (len > 0 && start[len - 1] == '\r')
        len--;
    if (len > CONFIG_LINE_BYTES)
        return fault(parser, parser->line, "the line is longer than %zu bytes", CONFIG_LINE_BYTES);
    if (memchr(start, '\0', len) != NULL)
        return fault(parser, parser->line, "a NUL byte; this is not a text file");
    AUTO_FREE char *copy = mem_ndup(start, len);
    char *text = trim(copy);
    if (text[0] == '\0' || text[0] == '#' || text[0] == ';')
        return true;
    return parse_setting(parser, text);
}

/* Byte order marks: the one of UTF-8 is skipped, UTF-16 is not text to us. */
static bool skip_bom(const struct parser *parser, const char **text, size_t *len)
{
    if (*len >= 2 && (memcmp(*text, "\xFF\xFE", 2) == 0 || memcmp(*text, "\xFE\xFF", 2) == 0))
        return fault(parser, 1, "the file is UTF-16; save it as UTF-8");
    if (*len >= 3 && memcmp(*text, "\xEF\xBB\xBF", 3) == 0) {
        *text += 3;
        *len -= 3;
    }
    return true;
}

static bool parse_lines(struct parser *parser, const char *text, size_t len)
{
    while (len > 0) {
        const char *newline = memchr(text, '\n', len);
        size_t line_len = newline != NULL ? (size_t)(newline - text) : len;
        parser->line++;
        if (!parse_line(parser, text, line_len))
            return false;
        size_t used = newline != NULL ? line_len + 1 : line_len;
        text += used;
        len -= used;
    }
    return true;
}

/* What else is asked for by a key that only one way needs. */
static void imply_challenges(const struct parser *parser, struct cert_config *config)
{
    const bool implied[CHALLENGE_VIAS] = {
        [CHALLENGE_VIA_WEBROOT] = parser->seen_on[WEBROOT] != 0 && config->webroot != NULL,
        [CHALLENGE_VIA_DNS] = (parser->seen_on[CHALLENGE_HOOK] != 0 && config->challenge_hook != NULL) ||
                              (parser->seen_on[DNS_UPDATE_SERVER] != 0 && config->dns_update_server != NULL),
    };
    size_t n = 0;
    for (unsigned via = 0; via < CHALLENGE_VIAS; via++)
        if (implied[via])
            config->challenges[n++] = (enum config_challenge)via;
    config->n_challenges = n > 0 ? n : config->n_challenges;
}

/* What no single line can tell. */
static bool finish(struct parser *parser)
{
    struct cert_config *config = parser->config;
    struct err why = ERR_INIT;
    enum setting_id about = SETTINGS;
    if (parser->seen_on[CHALLENGE] == 0)
        imply_challenges(parser, config);
    if (!parser->is_cert)
        return true;
    if (parser->seen_on[NAMES] == 0 && config->csr == NULL)
        return fault(parser, 0, "'names' is missing; add a line like 'names = example.org www.example.org'");
    if (config_contradiction(config, &about, &why))
        return true;
    fault(parser, parser->seen_on[about], "%s", why.text);
    return why.advice[0] != '\0' ? err_advise(parser->err, "%s", why.advice) : false;
}

bool config_read_both(const char *text, size_t len, const char *subject, bool is_cert,
                      struct cert_config *config, struct machine_config *machine, struct err *err)
{
    struct cert_config result = {0};
    struct parser parser = {
        .path = subject, .is_cert = is_cert, .config = &result, .machine = machine, .err = err};
    cert_config_copy(&result, config);
    bool ok =
        len <= CONFIG_FILE_BYTES || fault(&parser, 0, "the file is longer than %zu bytes", CONFIG_FILE_BYTES);
    ok = ok && skip_bom(&parser, &text, &len) && parse_lines(&parser, text, len) && finish(&parser);
    strlist_clear(&parser.seen_machine);
    struct cert_config *unused = ok ? config : &result;
    cert_config_clear(unused);
    if (ok)
        *config = result;
    return ok;
}

bool config_read_text(const char *text, size_t len, const char *subject, bool is_cert,
                      struct cert_config *config, struct err *err)
{
    return config_read_both(text, len, subject, is_cert, config, NULL, err);
}

/* Root runs the deploy hooks named in these files, so nobody else may be able to write one. */
static bool check_writers(const char *path, const struct stat *st, struct err *err)
{
    if (geteuid() != 0)
        return true;
    if (st->st_uid != 0) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
                "%s belongs to user %u, who could make root run any program through it", path,
                (unsigned)st->st_uid);
        return err_advise(err, "look the file over, then: chown root %s", path);
    }
    if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
                "%s can be written by others (mode %04o), who could make root run any program through it",
                path, (unsigned)(st->st_mode & 07777));
        return err_advise(err, "look the file over, then: chmod go-w %s", path);
    }
    return true;
}

static bool read_fd(int fd, const char *path, struct buf *out, struct err *err)
{
    char block[8192];
    for (;;) {
        ssize_t n = read(fd, block, sizeof block);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, errno, path, "cannot read %s", path);
        if (n == 0)
            return true;
        buf_add(out, block, (size_t)n);
        if (out->len > CONFIG_FILE_BYTES)
            return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s: the file is longer than %zu bytes",
                           path, CONFIG_FILE_BYTES);
    }
}

/* The file that is checked must be the file that is read: all on one descriptor. */
static bool read_checked(int fd, const char *path, struct buf *out, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_errno(err, errno, path, "cannot look at %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is %s, not a file", path,
                       S_ISDIR(st.st_mode) ? "a directory" : "a device, socket or pipe");
    return check_writers(path, &st, err) && read_fd(fd, path, out, err);
}

static bool open_failed(int errnum, const char *path, bool is_cert, struct err *err)
{
    if (errnum == ENOENT && fs_exists(path))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is a symbolic link to nothing", path);
    if (errnum == ENOENT && !is_cert)
        return true;
    return err_errno(err, errnum, path, "cannot read %s", path);
}

static bool read_file(const char *path, bool is_cert, struct cert_config *config,
                      struct machine_config *machine, struct err *err)
{
    AUTO_BUF text = BUF_INIT;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return open_failed(errno, path, is_cert, err);
    bool ok = read_checked(fd, path, &text, err);
    close(fd);
    return ok && config_read_both(buf_str(&text), text.len, path, is_cert, config, machine, err);
}

bool config_read_file(const char *path, bool is_cert, struct cert_config *config, struct err *err)
{
    return read_file(path, is_cert, config, NULL, err);
}

bool config_read_machine(const char *path, struct machine_config *machine, struct err *err)
{
    struct cert_config unused;
    cert_config_init(&unused);
    bool ok = read_file(path, false, &unused, machine, err);
    cert_config_clear(&unused);
    return ok;
}

/* -- writing ------------------------------------------------------------------------------------------ */

/* Does a key that is written imply a way, which the challenge must then speak against? */
static bool implies(const struct cert_config *config, const struct cert_config *defaults)
{
    return (config->webroot != NULL && !same_value(WEBROOT, config, defaults)) ||
           (config->challenge_hook != NULL && !same_value(CHALLENGE_HOOK, config, defaults)) ||
           (config->dns_update_server != NULL && !same_value(DNS_UPDATE_SERVER, config, defaults));
}

void config_write_text(const struct cert_config *config, const struct cert_config *defaults, struct buf *out)
{
    buf_adds(out, "# Written by tlsup. Edit it freely: tlsup.conf(5) describes the keys, tlsup.conf has the "
                  "defaults.\n");
    for (enum setting_id id = 0; id < SETTINGS; id++) {
        AUTO_FREE char *value = value_of(id, config);
        bool wanted =
            id == NAMES ? config->names.n > 0 || config->csr == NULL
                        : !same_value(id, config, defaults) || (id == CHALLENGE && implies(config, defaults));
        AUTO_STRLIST lines = STRLIST_INIT;
        strlist_split(&lines, value, "\n"); /* several for a key that may be given several times */
        if (wanted && lines.n == 0)
            buf_addf(out, "%s = \n", config_settings[id].key);
        for (size_t i = 0; wanted && i < lines.n; i++)
            buf_addf(out, "%s = %s\n", config_settings[id].key, lines.v[i]);
    }
}
