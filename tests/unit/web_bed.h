/*
 * web_bed.h - whole configurations to try the installer on: trees of the fixtures in a file system and a
 * network of one's own, and what a tree looks like.
 *
 * To be included after cmocka. A program enters its own namespaces first (bed_isolate): its directory is then
 * a file system in memory, everything else is read-only, and only loopback is there; so even a configuration
 * made by chance can do no harm.
 */
#ifndef TLSUP_TESTS_WEB_BED_H
#define TLSUP_TESTS_WEB_BED_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "../../src/install/driver.h"
#include "../fuzz/grammar_nginx.h"
#include "../fuzz/judge.h"
#include "tlsup/clock.h"
#include "tlsup/log.h"

#define BED_FUNCTION __attribute__((unused)) static
#define BED_THUMBPRINT "Abcdefghijklmnopqrstuvwxyz0123456789_-ABCDE"
#define BED_FILE_LIMIT ((size_t)16 << 20)

/* The expression uses `err`; it must be true. */
#define ok(expression)                                                                                       \
    do {                                                                                                     \
        struct err err = ERR_INIT;                                                                           \
        if (!(expression)) {                                                                                 \
            fail_msg("%s: %s", #expression, err.text);                                                       \
        }                                                                                                    \
    } while (0)

static char bed_base[64]; /* the program's directory */

/* -- a world of one's own -- */

BED_FUNCTION bool bed_run(const char *const *argv)
{
    struct spawn_result result = {0};
    struct err err = ERR_INIT;
    bool done = spawn_run(argv, NULL, &result, &err) && result.status == 0;
    spawn_result_clear(&result);
    return done;
}

BED_FUNCTION bool bed_network(void)
{
    static const char *const commands[][8] = {
        {"ip", "link", "set", "lo", "up", NULL},
        {"ip", "addr", "add", "192.0.2.1/24", "dev", "lo", NULL},
        {"ip", "addr", "add", "2001:db8::1/128", "dev", "lo", NULL},
        {"ip", "addr", "add", "2001:db8::2/128", "dev", "lo", NULL},
        {"ip", "addr", "add", "2001:db8::20/128", "dev", "lo", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (!bed_run(commands[i]))
            return false;
    }
    return true;
}

/* False, with a word about it, where that is not allowed: then nothing can be tested here. */
BED_FUNCTION bool bed_isolate(const char *name)
{
    snprintf(bed_base, sizeof bed_base, "/tmp/%s.XXXXXX", name);
    if (mkdtemp(bed_base) == NULL)
        return false;
    bool own = geteuid() == 0 && unshare(CLONE_NEWNS | CLONE_NEWNET) == 0 &&
               mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               mount("tmpfs", bed_base, "tmpfs", 0, "mode=755") == 0 &&
               mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0 && bed_network() &&
               chdir(bed_base) == 0;
    (void)!mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); /* for Unix sockets */
    if (!own)
        print_message("no namespaces of our own (%s): skipped\n",
                      geteuid() == 0 ? strerror(errno) : "not root");
    signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_LEVEL_ERROR);
    return own;
}

/* The namespaces end with the process; the directory below them is left empty. To be called by whoever made
 * them before. */
BED_FUNCTION void bed_remove_base(void)
{
    (void)!chdir("/");
    if (umount2(bed_base, MNT_DETACH) != 0)
        (void)errno;
    (void)!mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL);
    (void)!rmdir(bed_base);
}

BED_FUNCTION const char *bed_source(void)
{
    static char absolute[4096];
    const char *dir = getenv("TLSUP_SRCDIR");
    dir = dir != NULL ? dir : getenv("srcdir") != NULL ? getenv("srcdir") : ".";
    return absolute[0] != '\0' || realpath(dir, absolute) != NULL ? absolute : dir;
}

/* -- files -- */

BED_FUNCTION void bed_put(const char *dir, const char *name, const char *text, size_t len)
{
    AUTO_FREE char *path = fs_join(dir, name);
    AUTO_FREE char *parent = fs_dirname(path);
    ok(fs_mkdirs(parent, 0755, &err));
    FILE *file = fopen(path, "we"); /* no fsync: there are many */
    if (file == NULL || fwrite(text, 1, len, file) != len || fclose(file) != 0)
        fail_msg("%s: %s", path, strerror(errno));
}

BED_FUNCTION void bed_putf(const char *dir, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);
BED_FUNCTION void bed_putf(const char *dir, const char *name, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    assert_true(len >= 0);
    bed_put(dir, name, text, (size_t)len);
    free(text);
}

BED_FUNCTION void bed_slurp(const char *path, struct buf *out)
{
    ok(fs_read(path, BED_FILE_LIMIT, out, &err));
}

BED_FUNCTION void bed_link(const char *dir, const char *link, const char *target)
{
    AUTO_FREE char *path = fs_join(dir, link);
    AUTO_FREE char *parent = fs_dirname(path);
    ok(fs_mkdirs(parent, 0755, &err));
    assert_int_equal(symlink(target, path), 0);
}

/* -- certificates: made once, copied into each tree -- */

struct bed_pair {
    struct buf cert, key;
};
static struct bed_pair bed_pairs[3]; /* ECDSA (the old one), RSA (the old second), ECDSA (the new one) */

BED_FUNCTION void bed_pem(struct buf *out, BIO *bio)
{
    char *data = NULL;
    long n = BIO_get_mem_data(bio, &data);
    buf_add(out, data, (size_t)n);
    BIO_free(bio);
}

BED_FUNCTION void bed_make_pair(struct bed_pair *pair, long serial, bool rsa)
{
    EVP_PKEY *key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name,
                                                serial == 3 ? "DNS:example.org" : "DNS:nobody.invalid");
    assert_true(key != NULL && cert != NULL && names != NULL);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)"leaf",
                               -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_set_version(cert, X509_VERSION_3);
    assert_int_equal(X509_add_ext(cert, names, -1), 1);
    X509_EXTENSION_free(names);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
    bed_pem(&pair->cert, bio);
    bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    bed_pem(&pair->key, bio);
    X509_free(cert);
    EVP_PKEY_free(key);
}

BED_FUNCTION void bed_put_pair(const char *dir, size_t which, const char *cert, const char *key)
{
    struct bed_pair *pair = &bed_pairs[which];
    if (pair->cert.len == 0)
        bed_make_pair(pair, (long)which + 1, which == 1);
    bed_put(dir, cert, buf_str(&pair->cert), pair->cert.len);
    bed_put(dir, key, buf_str(&pair->key), pair->key.len);
}

BED_FUNCTION void bed_forget_pairs(void)
{
    for (size_t i = 0; i < COUNT_OF(bed_pairs); i++) {
        buf_clear(&bed_pairs[i].cert);
        buf_clear(&bed_pairs[i].key);
    }
}

/* -- a bed -- */

struct bed {
    char root[96];    /* the tree: all that may change lies here */
    char journal[96]; /* beside it */
    char live[160];
    struct strlist names;  /* to be served */
    struct strlist edited; /* files of the fixture itself, below root */
    bool refused;          /* the fixture is one that is refused */
    struct web web;
};

static unsigned bed_count; /* the number of the next */

BED_FUNCTION void bed_open(struct bed *bed)
{
    *bed = (struct bed){0};
    snprintf(bed->root, sizeof bed->root, "%s/%u", bed_base, bed_count);
    snprintf(bed->journal, sizeof bed->journal, "%s/%u-journal", bed_base, bed_count++);
    snprintf(bed->live, sizeof bed->live, "%s/live/example.org", bed_base);
    if (!fs_is_dir(bed->live)) {
        bed_put_pair(bed->live, 2, "fullchain.pem", "privkey.pem");
        bed_put_pair(bed->live, 1, "fullchain-rsa.pem", "privkey-rsa.pem");
    }
    ok(fs_mkdirs(bed->root, 0755, &err));
    ok(fs_mkdirs(bed->journal, 0700, &err));
}

BED_FUNCTION void bed_close(struct bed *bed)
{
    struct err err = ERR_INIT;
    strlist_clear(&bed->names);
    strlist_clear(&bed->edited);
    if (bed->root[0] != '\0' && (!fs_remove_tree(bed->root, &err) || !fs_remove_tree(bed->journal, &err)))
        print_message("%s\n", err.text);
}
#define AUTO_BED CLEANUP(bed_close) struct bed

/* -- nginx: tests/fixtures/nginx, whose lines "#@ ..." say what test_nginx.c reads -- */

BED_FUNCTION bool bed_starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

BED_FUNCTION void bed_nginx_base(struct bed *bed)
{
    static const char main_inc[] = "pid nginx.pid;\nerror_log stderr;\nevents { worker_connections 64; }\n";
    bed_put(bed->root, "main.inc", main_inc, strlen(main_inc));
    bed_put(bed->root, "http.inc", NGINX_HTTP, strlen(NGINX_HTTP));
    bed_putf(bed->root, "mime.inc", "types { text/html html; }\n");
    bed_putf(bed->root, "html/index.html", "the page\n");
    bed_putf(bed->root, "htpasswd", "a:b\n");
    bed_put_pair(bed->root, 0, "old.pem", "old.key");
    bed_put_pair(bed->root, 1, "old2.pem", "old2.key");
}

/* What web_find() would say, asked once: it starts the program. */
BED_FUNCTION void bed_nginx_web(struct bed *bed)
{
    static struct web found;
    AUTO_FREE char *conf = fs_join(bed->root, "nginx.conf");
    if (found.kind == WEB_NONE) {
        struct web_hints hints = {.nginx_bin = nginx_program(), .nginx_conf = conf};
        ok(nginx_driver.find(&hints, &found, &err));
    }
    bed->web = found;
    snprintf(bed->web.conf, sizeof bed->web.conf, "%s", conf);
    snprintf(bed->web.conf_arg, sizeof bed->web.conf_arg, "%s", conf);
    snprintf(bed->web.prefix, sizeof bed->web.prefix, "%s/", bed->root);
    snprintf(bed->web.prefix_arg, sizeof bed->web.prefix_arg, "%s/", bed->root);
}

BED_FUNCTION void bed_nginx_directive(struct bed *bed, const char *line, char **file)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, line, " ");
    if (bed_starts(line, "names ")) {
        strlist_split(&bed->names, line + 6, " ");
    } else if (bed_starts(line, "refuse ")) {
        bed->refused = true;
    } else if (bed_starts(line, "file ")) {
        free(*file);
        *file = mem_dup(line + 5);
    } else if (bed_starts(line, "dir ")) {
        AUTO_FREE char *path = fs_join(bed->root, line + 4);
        ok(fs_mkdirs(path, 0755, &err));
    } else if (bed_starts(line, "link ")) {
        AUTO_FREE char *target = fs_join(bed->root, words.v[2]);
        bed_link(bed->root, words.v[1], target);
    }
}

/* nginx takes a relative name of a Unix socket from its working directory, which is none of ours. */
BED_FUNCTION void bed_name_sockets(const struct bed *bed, const struct buf *part, struct buf *out)
{
    static const char word[] = "listen unix:";
    const char *data = buf_str(part), *at = strstr(data, word);
    size_t head = at != NULL ? (size_t)(at - data) + strlen(word) : 0;
    buf_add(out, data, head);
    if (at != NULL && data[head] != '/')
        buf_addf(out, "%s/", bed->root);
    buf_add(out, data + head, part->len - head);
}

BED_FUNCTION void bed_part(struct bed *bed, const char *file, struct buf *part)
{
    if (part->len > 0) {
        AUTO_BUF text = BUF_INIT;
        bed_name_sockets(bed, part, &text);
        bed_put(bed->root, file, buf_str(&text), text.len);
        strlist_add(&bed->edited, file);
        buf_reset(part);
    }
}

BED_FUNCTION void bed_nginx(struct bed *bed, const char *fixture)
{
    AUTO_BUF text = BUF_INIT, part = BUF_INIT;
    AUTO_FREE char *path = mem_fmt("%s/tests/fixtures/nginx/%s", bed_source(), fixture);
    char *file = mem_dup("nginx.conf");
    bed_open(bed);
    bed_nginx_base(bed);
    bed_slurp(path, &text);
    for (const char *at = buf_str(&text), *next; *at != '\0'; at = next) {
        next = strchr(at, '\n');
        next = next != NULL ? next + 1 : at + strlen(at);
        if (!bed_starts(at, "#@ ")) {
            buf_add(&part, at, (size_t)(next - at));
            continue;
        }
        AUTO_FREE char *line = mem_ndup(at + 3, (size_t)(next - at) - 3);
        line[strcspn(line, "\r\n")] = '\0';
        bed_part(bed, file, &part);
        bed_nginx_directive(bed, line, &file);
    }
    bed_part(bed, file, &part);
    free(file);
    bed_nginx_web(bed);
}

/* -- Apache: tests/fixtures/apache, whose lines "#: KEY VALUE" test_apache.c explains -- */

struct bed_meta {
    struct strlist lines;
};

BED_FUNCTION const char *bed_meta(const struct bed_meta *meta, const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < meta->lines.n; i++) {
        if (strncmp(meta->lines.v[i], key, len) == 0 && meta->lines.v[i][len] == ' ')
            return meta->lines.v[i] + len + 1;
    }
    return "";
}

static const struct {
    const char *name, *depends;
    bool stock;
} bed_modules[] = {
    {"mpm_event", "", true},
    {"authz_core", "", true},
    {"authz_host", "", true},
    {"alias", "", true},
    {"dir", "", true},
    {"mime", "", false},
    {"setenvif", "", false},
    {"socache_shmcb", "", false},
    {"ssl", "setenvif mime socache_shmcb", false},
    {"rewrite", "", false},
    {"proxy", "", false},
    {"proxy_http", "proxy", false},
    {"macro", "", false},
    {"auth_basic", "", false},
    {"authn_core", "", false},
    {"authn_file", "", false},
    {"authz_user", "", false},
    {"http2", "", false},
    {"headers", "", false},
    {"env", "", false},
    {"access_compat", "", false},
    {"autoindex", "", false},
    {"userdir", "", false},
    {"status", "", false},
    {"proxy_fcgi", "proxy", false},
    {"vhost_alias", "", false},
    {"expires", "", false},
    {"deflate", "", false},
    {"negotiation", "", false},
};

BED_FUNCTION void bed_apache_modules(struct bed *bed, const char *wanted)
{
    AUTO_STRLIST extra = STRLIST_INIT;
    strlist_split(&extra, wanted, " ");
    for (size_t i = 0; i < COUNT_OF(bed_modules); i++) {
        const char *name = bed_modules[i].name;
        AUTO_FREE char *load = mem_fmt("mods-available/%s.load", name);
        AUTO_FREE char *link = mem_fmt("mods-enabled/%s.load", name);
        AUTO_FREE char *target = mem_fmt("../mods-available/%s.load", name);
        bed_putf(bed->root, load, "# Depends: %s\nLoadModule %s_module %s/mod_%s.so\n",
                 bed_modules[i].depends, name, apache_modules(), name);
        if (bed_modules[i].stock || strlist_has(&extra, name))
            bed_link(bed->root, link, target);
    }
    bed_putf(bed->root, "mods-available/mime.conf",
             "<IfModule mod_mime.c>\nTypesConfig /dev/null\n</IfModule>\n");
    if (strlist_has(&extra, "mime"))
        bed_link(bed->root, "mods-enabled/mime.conf", "../mods-available/mime.conf");
    bed_putf(bed->root, "mods-available/ssl.conf",
             "<IfModule mod_ssl.c>\nSSLSessionCache shmcb:%s/run/cache(512000)\n</IfModule>\n", bed->root);
}

/* The head of every main file. */
BED_FUNCTION void bed_apache_head(const struct bed *bed, struct buf *out)
{
    buf_addf(
        out,
        "Define WWW %s/www\nDefine OLD %s/old\nDefaultRuntimeDir %s/run\nPidFile %s/run/pid\nErrorLog "
        "%s/run/error.log\n"
        "User #65534\nGroup #65534\nThreadsPerChild 4\nServerLimit 1\nMaxRequestWorkers 4\nStartServers 1\n",
        bed->root, bed_base, bed->root, bed->root, bed->root);
}

BED_FUNCTION void bed_apache_main(struct bed *bed, const struct bed_meta *meta, const struct buf *text)
{
    const char *layout = bed_meta(meta, "layout"), *listen = bed_meta(meta, "listen");
    bool bare = strcmp(layout, "bare") == 0, single = bare || strcmp(layout, "single") == 0,
         confd = strcmp(layout, "confd") == 0;
    AUTO_BUF conf = BUF_INIT;
    bed_apache_head(bed, &conf);
    for (size_t i = 0; bare && i < COUNT_OF(bed_modules); i++) {
        if (bed_modules[i].stock)
            buf_addf(&conf, "LoadModule %s_module %s/mod_%s.so\n", bed_modules[i].name, apache_modules(),
                     bed_modules[i].name);
    }
    buf_addf(&conf, "%sListen %s\n%sServerName main.example\n",
             bare ? "" : "IncludeOptional mods-enabled/*.load\nIncludeOptional mods-enabled/*.conf\n",
             listen[0] != '\0' ? listen : "80",
             layout[0] == '\0' ? "<IfModule ssl_module>\n\tListen 443\n</IfModule>\n" : "");
    if (single)
        buf_add(&conf, buf_str(text), text->len);
    else
        buf_addf(&conf, "IncludeOptional %s/*.conf\n", confd ? "conf.d" : "sites-enabled");
    bed_put(bed->root, "apache2.conf", buf_str(&conf), conf.len);
    strlist_add(&bed->edited, single  ? "apache2.conf"
                              : confd ? "conf.d/m-site.conf"
                                      : "sites-available/m-site.conf");
    if (!single)
        bed_put(bed->root, bed->edited.v[0], buf_str(text), text->len);
    if (confd)
        bed_putf(
            bed->root, "conf.d/ssl.conf",
            "Listen 443 https\n<VirtualHost _default_:443>\nSSLEngine on\nDocumentRoot ${WWW}\n"
            "SSLCertificateFile ${OLD}/cert.pem\nSSLCertificateKeyFile ${OLD}/key.pem\n</VirtualHost>\n");
    if (layout[0] == '\0')
        bed_link(bed->root, "sites-enabled/m-site.conf", "../sites-available/m-site.conf");
}

/* Like web_find(), which would start the program for each. The modules are those of the tree. */
BED_FUNCTION void bed_apache_web(struct bed *bed)
{
    AUTO_FREE char *conf = fs_join(bed->root, "apache2.conf");
    struct web_hints hints = {.apache_ctl = apache_program(), .apache_conf = conf};
    ok(apache_driver.find(&hints, &bed->web, &err));
    bed->web.master_pid = 0;
    bed->web.ctl[0] = '\0';
}

BED_FUNCTION void bed_apache(struct bed *bed, const char *fixture)
{
    AUTO_BUF text = BUF_INIT;
    AUTO_STRLIST lines = STRLIST_INIT;
    struct bed_meta meta = {STRLIST_INIT};
    AUTO_FREE char *path = mem_fmt("%s/tests/fixtures/apache/%s", bed_source(), fixture);
    bed_open(bed);
    bed_slurp(path, &text);
    strlist_split(&lines, buf_str(&text), "\r\n");
    for (size_t i = 0; i < lines.n; i++) {
        if (bed_starts(lines.v[i], "#: "))
            strlist_add(&meta.lines, lines.v[i] + 3);
    }
    strlist_split(&bed->names, bed_meta(&meta, "names"), " ");
    bed->refused =
        bed_starts(bed_meta(&meta, "challenge"), "refuse") || bed_starts(bed_meta(&meta, "https"), "refuse");
    static const char *const extra[] = {"to-https.conf", "certificate.conf"};
    for (size_t i = 0; i < COUNT_OF(extra); i++) {
        AUTO_BUF copy = BUF_INIT;
        AUTO_FREE char *from = mem_fmt("%s/tests/fixtures/apache/extra/%s", bed_source(), extra[i]);
        AUTO_FREE char *to = mem_fmt("extra/%s", extra[i]);
        bed_slurp(from, &copy);
        bed_put(bed->root, to, buf_str(&copy), copy.len);
    }
    bed_putf(bed->root, "run/.keep", "%s", "");
    bed_putf(bed->root, "www/index.html", "the page\n");
    AUTO_FREE char *old = mem_fmt("%s/old", bed_base);
    if (!fs_is_dir(old)) {
        bed_put_pair(old, 0, "cert.pem", "key.pem");
        bed_put_pair(old, 1, "cert-rsa.pem", "key-rsa.pem");
    }
    if (strcmp(bed_meta(&meta, "layout"), "bare") != 0)
        bed_apache_modules(bed, bed_meta(&meta, "modules"));
    bed_apache_main(bed, &meta, &text);
    strlist_clear(&meta.lines);
    bed_apache_web(bed);
}

/* -- all fixtures of a server; TLSUP_TEST_FIXTURE=NAME takes one alone -- */

BED_FUNCTION void bed_fixtures(enum web_kind kind, struct strlist *out)
{
    AUTO_STRLIST all = STRLIST_INIT;
    AUTO_FREE char *dir = mem_fmt("%s/tests/fixtures/%s", bed_source(), web_kind_name(kind));
    const char *only = getenv("TLSUP_TEST_FIXTURE");
    ok(fs_list(dir, &all, &err));
    for (size_t i = 0; i < all.n; i++) {
        const char *dot = strrchr(all.v[i], '.');
        if (dot != NULL && strcmp(dot, ".conf") == 0 && (only == NULL || strcmp(only, all.v[i]) == 0))
            strlist_add(out, all.v[i]);
    }
    assert_true(out->n >= 20 || (only != NULL && out->n == 1));
}

BED_FUNCTION void bed_fixture(struct bed *bed, enum web_kind kind, const char *name)
{
    if (kind == WEB_NGINX)
        bed_nginx(bed, name);
    else
        bed_apache(bed, name);
}

/* -- edits -- */

BED_FUNCTION struct txn *bed_begin(const struct bed *bed)
{
    struct txn *txn = NULL;
    ok(txn_begin(bed->journal, bed->names.v[0], "enable", &txn, &err));
    return txn;
}

BED_FUNCTION bool bed_stage(const struct bed *bed, bool redirect, struct txn *txn, struct err *err)
{
    struct sites sites = SITES_INIT;
    struct web_https https = {
        .names = &bed->names, .live_dir = bed->live, .cert_name = bed->names.v[0], .redirect = redirect};
    bool done = web_read(&bed->web, &sites, err) &&
                web_edit_challenge(&bed->web, &sites, &bed->names, BED_THUMBPRINT, txn, err) &&
                web_edit_https(&bed->web, &sites, &https, txn, err);
    sites_clear(&sites);
    return done;
}

/* -- what a tree looks like: every path with its kind, mode, owner, links, target or content -- */

static struct strlist *bed_found;
static const char *bed_found_root;

BED_FUNCTION int bed_find(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    static const char *const servers_own[] = {"/run", "/t1", "/t2", "/t3", "/t4", "/t5", "/nginx.pid"};
    (void)st;
    (void)type;
    (void)ftw;
    for (size_t i = 0; i < COUNT_OF(servers_own); i++) {
        if (bed_starts(path + strlen(bed_found_root), servers_own[i]))
            return 0;
    }
    strlist_add(bed_found, path);
    return 0;
}

BED_FUNCTION int bed_by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

BED_FUNCTION void bed_describe(const struct bed *bed, const char *path, struct buf *out)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    buf_addf(out, "%s %o %d:%d %d ", path + strlen(bed->root), (unsigned)st.st_mode, (int)st.st_uid,
             (int)st.st_gid, S_ISDIR(st.st_mode) ? 0 : (int)st.st_nlink);
    if (S_ISLNK(st.st_mode)) {
        char target[512];
        ssize_t n = readlink(path, target, sizeof target);
        buf_add(out, target, n > 0 ? (size_t)n : 0);
    } else if (S_ISREG(st.st_mode)) {
        bed_slurp(path, out);
    }
    buf_addc(out, '\n');
}

BED_FUNCTION void bed_look(const struct bed *bed, struct buf *out)
{
    AUTO_STRLIST paths = STRLIST_INIT;
    bed_found = &paths;
    bed_found_root = bed->root;
    assert_int_equal(nftw(bed->root, bed_find, 16, FTW_PHYS), 0);
    qsort(paths.v, paths.n, sizeof paths.v[0], bed_by_bytes);
    buf_reset(out);
    for (size_t i = 0; i < paths.n; i++)
        bed_describe(bed, paths.v[i], out);
}

BED_FUNCTION bool bed_same(const struct buf *a, const struct buf *b)
{
    return a->len == b->len && memcmp(buf_str(a), buf_str(b), a->len) == 0;
}

#endif
