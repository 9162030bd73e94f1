/*
 * test_apache.c - Apache edited for real: every fixture passes the server's own test before and after each
 * edit, serves the challenge and the certificate when it runs, and is byte for byte the same when the edits
 * are taken back.
 *
 * The running server lives in a network namespace; without root, or without Apache, those tests are skipped.
 * TLSUP_SRCDIR is the source tree.
 *
 * A fixture begins with lines "#: KEY VALUE":
 *   second no: not with two certificates;   dangling PATH: a link to nowhere;   tls-version spoken by default
 *   layout    debian (sites-enabled; when nothing is said), confd (conf.d with an ssl.conf), single (all in
 * the main file), bare (modules too), tree (the lines behind "#: file PATH" are that file; the first is the
 * main one) modules   loaded besides the stock ones;   listen PORT instead of 80; names to be served owner
 * explicit|default (the host with the line "# @owner"), main, none challenge, https    ok, or "refuse TEXT"
 * with a part of the reason redirect yes: asked for, and made (asked-redirect: only asked for);   hsts
 * SECONDS and profile NAME: asked for;   no-hsts yes: not sent by us;   site-has, site-lacks TEXT in the
 * files that were there;   redirects yes: the host does so itself;   swapped yes: another host's certificate
 * is replaced has, lacks TEXT     of the companion;   tls-status of "/" over TLS;   tls-of NAME STATUS
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "../../src/install/apache_edit.h"
#include "../../src/install/apache_server.h"
#include "../../src/install/driver.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

#define THUMBPRINT "nP1qzpXGymHBrUEepNY9HCsQk7K8KhOypzEt62jcerQ"
#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA"
#define FILE_MAX (1u << 20)

static char base[64]; /* temporary directory of the run */

/* -- where things are -- */

static const char *source_dir(void)
{
    const char *dir = getenv("TLSUP_SRCDIR");
    return dir ? dir : getenv("srcdir") ? getenv("srcdir") : ".";
}

static const char *binary(void)
{
    static const char *const known[] = {"/usr/sbin/apache2", "/usr/sbin/httpd"};
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (access(known[i], X_OK) == 0)
            return known[i];
    }
    return NULL;
}

static const char *module_dir(void)
{
    static const char *const known[] = {"/usr/lib/apache2/modules", "/usr/lib64/httpd/modules",
                                        "/usr/lib/httpd/modules"};
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (fs_is_dir(known[i]))
            return known[i];
    }
    return NULL;
}

static void need_apache(void)
{
    if (binary() && module_dir())
        return;
    print_message("no Apache on this machine: skipped\n");
    skip();
}

/* -- files -- */

static void put(const char *path, const char *text, size_t len)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *dir = fs_dirname(path);
    if (!fs_mkdirs(dir, 0755, &err) || !fs_write(path, text, len, 0644, &err))
        fail_msg("%s", err.text);
}

static void putf(const char *path, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void putf(const char *path, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    assert_true(len >= 0);
    put(path, text, (size_t)len);
    free(text);
}

static void slurp(const char *path, struct buf *out)
{
    struct err err = ERR_INIT;
    if (!fs_read(path, FILE_MAX, out, &err))
        fail_msg("%s", err.text);
}

/* A certificate of its own for CN, into DIR/cert.pem, key.pem (and as a live directory). */
static void add_names(X509 *cert, const char *names)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void make_certificate(const char *dir, const char *name, const char *names, bool rsa)
{
    struct err err = ERR_INIT;
    assert_true(fs_mkdirs(dir, 0755, &err));
    EVP_PKEY *key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_non_null(key);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), (long)strlen(dir));
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name,
                               -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_set_version(cert, X509_VERSION_3);
    add_names(cert, names);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    static const char *const certs[][2] = {{"cert.pem", "fullchain.pem"},
                                           {"cert-rsa.pem", "fullchain-rsa.pem"}};
    static const char *const keys[][2] = {{"key.pem", "privkey.pem"}, {"key-rsa.pem", "privkey-rsa.pem"}};
    for (size_t i = 0; i < 2; i++) {
        AUTO_FREE char *cert_path = fs_join(dir, certs[rsa][i]);
        AUTO_FREE char *key_path = fs_join(dir, keys[rsa][i]);
        FILE *file = fopen(cert_path, "w");
        assert_true(file && PEM_write_X509(file, cert) == 1);
        fclose(file);
        file = fopen(key_path, "w");
        assert_true(file && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
        fclose(file);
    }
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* -- one fixture -- */

struct fixture {
    char *name, *text;
    size_t len;
    struct strlist meta; /* "key value" */
};

static const char *meta(const struct fixture *fixture, const char *key, size_t nth)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < fixture->meta.n; i++) {
        const char *line = fixture->meta.v[i];
        if (strncmp(line, key, len) == 0 && line[len] == ' ' && nth-- == 0)
            return line + len + 1;
    }
    return NULL;
}

static bool says(const struct fixture *fixture, const char *key, const char *value)
{
    const char *is = meta(fixture, key, 0);
    return is && strcmp(is, value) == 0;
}

/* Everything in one file? */
static bool is_single(const struct fixture *fixture)
{
    return says(fixture, "layout", "single") || says(fixture, "layout", "bare");
}

static void fixture_load(const char *name, struct fixture *out)
{
    AUTO_FREE char *path = mem_fmt("%s/tests/fixtures/apache/%s", source_dir(), name);
    struct buf text = BUF_INIT;
    slurp(path, &text);
    *out = (struct fixture){.name = mem_dup(name), .len = text.len};
    AUTO_STRLIST lines = STRLIST_INIT;
    strlist_split(&lines, buf_str(&text), "\r\n");
    for (size_t i = 0; i < lines.n; i++) {
        if (strncmp(lines.v[i], "#: ", 3) == 0)
            strlist_add(&out->meta, lines.v[i] + 3);
    }
    out->text = buf_take(&text);
}

static void fixture_clear(struct fixture *fixture)
{
    free(fixture->name);
    free(fixture->text);
    strlist_clear(&fixture->meta);
}

/* The fixtures take their time waiting for Apache: several processes share them. */
enum { SHARES = 6 };
static size_t share = SHARES; /* which of them is ours; SHARES: we hand them out */

static void fixture_names(struct strlist *out)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *dir = mem_fmt("%s/tests/fixtures/apache", source_dir());
    AUTO_STRLIST all = STRLIST_INIT;
    assert_true(fs_list(dir, &all, &err));
    const char *only = getenv("TLSUP_FIXTURE");
    size_t seen = 0;
    for (size_t i = 0; i < all.n; i++) {
        const char *dot = strrchr(all.v[i], '.');
        if (dot && strcmp(dot, ".conf") == 0 && seen++ % SHARES == share && (!only || strstr(all.v[i], only)))
            strlist_add(out, all.v[i]);
    }
    assert_true(seen >= 80);
}

/* -- a private configuration directory -- */

static struct strlist *files_into;

static int note_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)type;
    (void)ftw;
    if (!S_ISREG(st->st_mode) || strstr(path, "/run/") || strstr(path, "/www/"))
        return 0;
    AUTO_BUF text = BUF_INIT;
    slurp(path, &text);
    strlist_add(files_into, path);
    strlist_add(files_into, buf_str(&text));
    return 0;
}

struct place {
    char root[96], conf[128], site[160], journal[128], live[128];
    struct strlist files; /* of the person's, each followed by what is in it */
    const char *second;   /* "rsa": there is a second certificate */
    struct web web;
};

static const struct {
    const char *name, *depends;
    bool stock;
} modules[] = {
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

static void put_modules(const struct place *place, const struct fixture *fixture)
{
    const char *wanted = meta(fixture, "modules", 0);
    AUTO_STRLIST extra = STRLIST_INIT;
    strlist_split(&extra, wanted ? wanted : "", " ");
    for (size_t i = 0; i < COUNT_OF(modules); i++) {
        AUTO_FREE char *load = mem_fmt("%s/mods-available/%s.load", place->root, modules[i].name);
        AUTO_FREE char *link = mem_fmt("%s/mods-enabled/%s.load", place->root, modules[i].name);
        AUTO_FREE char *target = mem_fmt("../mods-available/%s.load", modules[i].name);
        putf(load, "# Depends: %s\nLoadModule %s_module %s/mod_%s.so\n", modules[i].depends, modules[i].name,
             module_dir(), modules[i].name);
        if (modules[i].stock || strlist_has(&extra, modules[i].name))
            assert_int_equal(symlink(target, link), 0);
    }
    AUTO_FREE char *mime = mem_fmt("%s/mods-available/mime.conf", place->root);
    AUTO_FREE char *mime_link = mem_fmt("%s/mods-enabled/mime.conf", place->root);
    putf(mime, "<IfModule mod_mime.c>\nTypesConfig /dev/null\n</IfModule>\n");
    if (strlist_has(&extra, "mime"))
        assert_int_equal(symlink("../mods-available/mime.conf", mime_link), 0);
    AUTO_FREE char *ssl = mem_fmt("%s/mods-available/ssl.conf", place->root);
    putf(ssl, "<IfModule mod_ssl.c>\nSSLSessionCache shmcb:%s/run/cache(512000)\n</IfModule>\n", place->root);
}

/* What every server needs that a user runs in a directory of its own. */
static void server_lines(const struct place *place, struct buf *text)
{
    buf_addf(text,
             "Define WWW %s/www\nDefine OLD %s/old\nDefine MODULES %s\nDefaultRuntimeDir %s/run\nPidFile "
             "%s/run/pid\nErrorLog "
             "%s/run/error.log\n"
             "User #%d\nGroup #%d\nThreadsPerChild 4\nServerLimit 1\nMaxRequestWorkers 4\nStartServers 1\n",
             place->root, base, module_dir(), place->root, place->root, place->root,
             geteuid() ? (int)geteuid() : 65534, geteuid() ? (int)getegid() : 65534);
}

static bool is_tree(const struct fixture *fixture)
{
    return says(fixture, "layout", "tree");
}

/* The files of a fixture that is a whole tree; the first is the main one. */
static void put_tree(struct place *place, const struct fixture *fixture)
{
    static const char mark[] = "#: file ";
    for (const char *at = strstr(fixture->text, mark); at;) {
        at += strlen(mark);
        AUTO_FREE char *name = mem_ndup(at, strcspn(at, "\r\n"));
        at += strcspn(at, "\n");
        at += *at == '\n';
        const char *next = strstr(at, mark);
        AUTO_BUF text = BUF_INIT;
        bool is_main = !place->conf[0];
        AUTO_FREE char *path = fs_join(place->root, name);
        if (is_main)
            buf_addf(&text, "ServerRoot %s\n", place->root);
        if (is_main)
            server_lines(place, &text);
        buf_add(&text, at, next ? (size_t)(next - at) : strlen(at));
        put(path, text.data, text.len);
        snprintf(is_main ? place->conf : place->site, is_main ? sizeof place->conf : sizeof place->site, "%s",
                 path);
        at = next;
    }
    const char *dangling = meta(fixture, "dangling", 0);
    AUTO_FREE char *link = fs_join(place->root, dangling ? dangling : "");
    assert_true(!dangling || symlink("/nowhere/at/all", link) == 0);
    assert_true(place->conf[0] == '/');
}

static void put_main(const struct place *place, const struct fixture *fixture)
{
    const char *listen = meta(fixture, "listen", 0);
    AUTO_BUF text = BUF_INIT;
    server_lines(place, &text);
    for (size_t i = 0; i < COUNT_OF(modules) && says(fixture, "layout", "bare"); i++) {
        if (modules[i].stock)
            buf_addf(&text, "LoadModule %s_module %s/mod_%s.so\n", modules[i].name, module_dir(),
                     modules[i].name);
    }
    if (!says(fixture, "layout", "bare"))
        buf_adds(&text, "IncludeOptional mods-enabled/*.load\nIncludeOptional mods-enabled/*.conf\n");
    buf_addf(&text, "Listen %s\n", listen ? listen : "80");
    if (!meta(fixture, "layout", 0))
        buf_adds(&text, "<IfModule ssl_module>\n\tListen 443\n</IfModule>\n");
    buf_adds(&text, "ServerName main.example\n");
    if (is_single(fixture))
        buf_add(&text, fixture->text, fixture->len);
    else
        buf_addf(&text, "IncludeOptional %s/*.conf\n",
                 says(fixture, "layout", "confd") ? "conf.d" : "sites-enabled");
    put(place->conf, text.data, text.len);
}

static void put_site(struct place *place, const struct fixture *fixture)
{
    bool confd = says(fixture, "layout", "confd");
    if (is_single(fixture)) {
        snprintf(place->site, sizeof place->site, "%s", place->conf);
        return;
    }
    snprintf(place->site, sizeof place->site, "%s/%s/m-site.conf", place->root,
             confd ? "conf.d" : "sites-available");
    put(place->site, fixture->text, fixture->len);
    if (confd) {
        AUTO_FREE char *ssl = mem_fmt("%s/conf.d/ssl.conf", place->root);
        putf(ssl,
             "Listen 443 https\n<VirtualHost _default_:443>\nSSLEngine on\nDocumentRoot ${WWW}\n"
             "SSLCertificateFile ${OLD}/cert.pem\nSSLCertificateKeyFile ${OLD}/key.pem\n</VirtualHost>\n");
    } else {
        AUTO_FREE char *link = mem_fmt("%s/sites-enabled/m-site.conf", place->root);
        assert_int_equal(symlink("../sites-available/m-site.conf", link), 0);
    }
}

/* What is there before anything is edited. */
static void snapshot_files(struct place *place)
{
    files_into = &place->files;
    assert_int_equal(nftw(place->root, note_file, 16, FTW_PHYS), 0);
}

static void place_make(struct place *place, const struct fixture *fixture)
{
    static unsigned count;
    struct err err = ERR_INIT;
    *place = (struct place){0};
    snprintf(place->root, sizeof place->root, "%s/%u", base, count++);
    if (!is_tree(fixture))
        snprintf(place->conf, sizeof place->conf, "%s/apache2.conf", place->root);
    snprintf(place->journal, sizeof place->journal, "%s-journal", place->root);
    snprintf(place->live, sizeof place->live, "%s/live", base);
    static const char *const dirs[] = {"run", "www", "extra", "mods-enabled", "mods-available"};
    for (size_t i = 0; i < (is_tree(fixture) ? 3 : COUNT_OF(dirs)); i++) {
        AUTO_FREE char *dir = mem_fmt("%s/%s", place->root, dirs[i]);
        assert_true(fs_mkdirs(dir, 0755, &err));
    }
    static const char *const debian[] = {"sites-enabled", "sites-available"};
    for (size_t i = 0; i < COUNT_OF(debian) && !meta(fixture, "layout", 0); i++) {
        AUTO_FREE char *dir = mem_fmt("%s/%s", place->root, debian[i]);
        assert_true(fs_mkdirs(dir, 0755, &err));
    }
    assert_true(fs_mkdirs(place->journal, 0700, &err));
    AUTO_FREE char *page = mem_fmt("%s/www/index.html", place->root);
    putf(page, "the page\n");
    static const char *const extra[] = {"to-https.conf", "certificate.conf"};
    for (size_t i = 0; i < COUNT_OF(extra); i++) {
        AUTO_FREE char *from = mem_fmt("%s/tests/fixtures/apache/extra/%s", source_dir(), extra[i]);
        AUTO_FREE char *to = mem_fmt("%s/extra/%s", place->root, extra[i]);
        AUTO_BUF text = BUF_INIT;
        slurp(from, &text);
        put(to, text.data, text.len);
    }
    if (is_tree(fixture)) {
        put_tree(place, fixture);
    } else {
        if (!says(fixture, "layout", "bare"))
            put_modules(place, fixture);
        put_main(place, fixture);
        put_site(place, fixture);
    }
    snapshot_files(place);
    if (!apache_describe(binary(), place->conf, &place->web))
        fail_msg("%s: no Apache", binary());
}

/* -- what the tree looks like -- */

static struct buf *snapshot_into;
static const char *snapshot_root;

static int snapshot_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)type;
    (void)ftw;
    if (strstr(path, "/run/"))
        return 0;
    buf_addf(snapshot_into, "%s %o %d %d\n", path + strlen(snapshot_root), (unsigned)st->st_mode,
             (int)st->st_uid, (int)st->st_nlink);
    if (S_ISLNK(st->st_mode)) {
        char target[512];
        ssize_t n = readlink(path, target, sizeof target);
        buf_add(snapshot_into, target, n > 0 ? (size_t)n : 0);
    } else if (S_ISREG(st->st_mode)) {
        slurp(path, snapshot_into);
    }
    return 0;
}

static void snapshot(const char *root, struct buf *out)
{
    snapshot_into = out;
    snapshot_root = root;
    assert_int_equal(nftw(root, snapshot_entry, 16, FTW_PHYS), 0);
}

static void assert_same(const struct buf *a, const struct buf *b, const char *what)
{
    if (a->len != b->len || memcmp(buf_str(a), buf_str(b), a->len) != 0)
        fail_msg("%s: differs:\n--- expected\n%s\n--- is\n%s", what, buf_str(a), buf_str(b));
}

/* What is left of a file without our blocks and marks: what the person wrote. */
static void without_blocks(const char *text, struct buf *out)
{
    int depth = 0;
    while (*text) {
        size_t len = strcspn(text, "\n");
        len += text[len] == '\n';
        AUTO_FREE char *line = mem_ndup(text, len);
        const char *word = line + strspn(line, " \t");
        bool end = strncmp(word, "# tlsup end: ", 13) == 0;
        depth += strncmp(word, "# tlsup begin: ", 15) == 0;
        if (depth == 0) {
            const char *retired = "#replaced by tlsup# ";
            buf_adds(out, strncmp(line, retired, strlen(retired)) == 0 ? line + strlen(retired) : line);
        }
        depth -= end;
        text += len;
    }
}

/* Without our blocks, every file is what the person wrote. */
static void assert_person_bytes(const struct place *place)
{
    for (size_t i = 0; i < place->files.n; i += 2) {
        AUTO_BUF text = BUF_INIT;
        AUTO_BUF rest = BUF_INIT;
        slurp(place->files.v[i], &text);
        without_blocks(buf_str(&text), &rest);
        const char *before = place->files.v[i + 1];
        bool added = rest.len == strlen(before) + 1 && buf_str(&rest)[rest.len - 1] == '\n';
        if (strncmp(buf_str(&rest), before, strlen(before)) != 0 || (rest.len != strlen(before) && !added))
            fail_msg("%s: was\n%s\nand is\n%s", place->files.v[i], before, buf_str(&rest));
    }
}

/* -- the edits -- */

static void assert_tests(const struct place *place, const struct fixture *fixture, const char *when)
{
    struct err err = ERR_INIT;
    struct sites sites = SITES_INIT;
    if (!apache_driver.read(&place->web, &sites, &err) || !apache_driver.compare(&place->web, &sites, &err))
        fail_msg("%s %s: %s", fixture->name, when, err.text);
    sites_clear(&sites);
}

static struct txn *begin(const struct place *place)
{
    struct err err = ERR_INIT;
    struct txn *txn = NULL;
    if (!txn_begin(place->journal, "cert", "test", &txn, &err))
        fail_msg("%s", err.text);
    return txn;
}

static bool edit_challenge(const struct place *place, const struct fixture *fixture, struct txn *txn,
                           struct err *err)
{
    struct sites sites = SITES_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    strlist_split(&names, meta(fixture, "names", 0), " ");
    bool ok = apache_driver.read(&place->web, &sites, err) &&
              apache_driver.edit_challenge(&place->web, &sites, &names, THUMBPRINT, txn, err);
    sites_clear(&sites);
    return ok;
}

static bool edit_https(const struct place *place, const struct fixture *fixture, struct txn *txn,
                       struct err *err)
{
    struct sites sites = SITES_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    strlist_split(&names, meta(fixture, "names", 0), " ");
    struct web_https https = {
        .names = &names, .live_dir = place->live, .second = place->second, .cert_name = names.v[0]};
    const char *hsts = meta(fixture, "hsts", 0);
    https.hsts_s = hsts ? atol(hsts) : 0;
    https.profile = says(fixture, "profile", "modern") ? WEB_TLS_MODERN
                    : says(fixture, "profile", "old")  ? WEB_TLS_OLD
                                                       : WEB_TLS_INTERMEDIATE;
    https.redirect = says(fixture, "redirect", "yes") || says(fixture, "asked-redirect", "yes");
    bool ok = apache_driver.read(&place->web, &sites, err) &&
              apache_driver.edit_https(&place->web, &sites, &https, txn, err);
    sites_clear(&sites);
    return ok;
}

typedef bool (*edit_function)(const struct place *, const struct fixture *, struct txn *, struct err *);

/* Returns the applied transaction; NULL when the fixture says that the edit is refused. */
static struct txn *apply(const struct place *place, const struct fixture *fixture, edit_function edit,
                         const char *key)
{
    struct err err = ERR_INIT;
    struct txn *txn = begin(place);
    const char *expected = meta(fixture, key, 0);
    const char *refusal = expected && strncmp(expected, "refuse ", 7) == 0 ? expected + 7 : NULL;
    bool ok = edit(place, fixture, txn, &err);
    if (refusal) {
        if (ok || !strstr(err.text, refusal))
            fail_msg("%s: %s is not refused with \"%s\" but: %s", fixture->name, key, refusal,
                     ok ? "done" : err.text);
        txn_free(txn);
        return NULL;
    }
    if (!ok || !txn_apply(txn, &err))
        fail_msg("%s: %s: %s", fixture->name, key, err.text);
    assert_true(txn_count(txn) > 0);
    return txn;
}

static void assert_nothing_to_do(const struct place *place, const struct fixture *fixture, edit_function edit)
{
    struct err err = ERR_INIT;
    struct txn *txn = begin(place);
    if (!edit(place, fixture, txn, &err))
        fail_msg("%s, again: %s", fixture->name, err.text);
    AUTO_BUF diff = BUF_INIT;
    txn_diff(txn, &diff);
    if (txn_count(txn))
        fail_msg("%s: a second run would change:\n%s", fixture->name, buf_str(&diff));
    txn_free(txn);
}

static void take_back(struct txn *txn)
{
    struct err err = ERR_INIT;
    if (txn && !txn_rollback(txn, &err))
        fail_msg("%s", err.text);
    txn_free(txn);
}

/* The companion's text, wherever it lies; "" when there is none. */
static void read_companion(const struct place *place, const struct fixture *fixture, struct buf *out)
{
    AUTO_STRLIST names = STRLIST_INIT;
    strlist_split(&names, meta(fixture, "names", 0), " ");
    static const char *const dirs[] = {"sites-available/", "conf.d/",   "sites-available/zzz-",
                                       "conf.d/zzz-",      "Includes/", "Includes/zzz-",
                                       "vhosts.d/",        "first/",    "sites-enabled/"};
    for (size_t i = 0; i < COUNT_OF(dirs); i++) {
        AUTO_FREE char *path = mem_fmt("%s/%s%s-tlsup.conf", place->root, dirs[i], names.v[0]);
        if (fs_exists(path)) {
            slurp(path, out);
            return;
        }
    }
    AUTO_BUF conf = BUF_INIT;
    slurp(place->conf, &conf);
    const char *from = strstr(buf_str(&conf), "# tlsup begin: companion");
    buf_adds(out, from ? from : "");
}

static void assert_companion(const struct place *place, const struct fixture *fixture)
{
    AUTO_BUF text = BUF_INIT;
    read_companion(place, fixture, &text);
    assert_int_equal(text.len == 0, says(fixture, "swapped", "yes"));
    for (size_t i = 0; meta(fixture, "has", i); i++) {
        if (!strstr(buf_str(&text), meta(fixture, "has", i)))
            fail_msg("%s: the companion lacks \"%s\":\n%s", fixture->name, meta(fixture, "has", i),
                     buf_str(&text));
    }
    for (size_t i = 0; meta(fixture, "lacks", i); i++) {
        if (strstr(buf_str(&text), meta(fixture, "lacks", i)))
            fail_msg("%s: the companion has \"%s\":\n%s", fixture->name, meta(fixture, "lacks", i),
                     buf_str(&text));
    }
    AUTO_BUF files = BUF_INIT;
    for (size_t i = 0; i < place->files.n; i += 2)
        slurp(place->files.v[i], &files);
    for (size_t i = 0; meta(fixture, "site-has", i); i++) {
        if (!strstr(buf_str(&files), meta(fixture, "site-has", i)))
            fail_msg("%s: the site lacks \"%s\":\n%s", fixture->name, meta(fixture, "site-has", i),
                     buf_str(&files));
    }
    for (size_t i = 0; meta(fixture, "site-lacks", i); i++) {
        if (strstr(buf_str(&files), meta(fixture, "site-lacks", i)))
            fail_msg("%s: the site has \"%s\":\n%s", fixture->name, meta(fixture, "site-lacks", i),
                     buf_str(&files));
    }
}

static void assert_owner(const struct place *place, const struct fixture *fixture)
{
    struct sites sites = SITES_INIT;
    struct err err = ERR_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    strlist_split(&names, meta(fixture, "names", 0), " ");
    if (!apache_driver.read(&place->web, &sites, &err))
        fail_msg("%s: %s", fixture->name, err.text);
    const struct site *by_name = apache_driver.owner(&sites, names.v[0], 80, true);
    const struct site *any = apache_driver.owner(&sites, names.v[0], 80, false);
    const char *expected = meta(fixture, "owner", 0);
    if (strcmp(expected, "none") == 0) {
        assert_null(any);
    } else if (strcmp(expected, "main") == 0) {
        assert_null(by_name);
        assert_ptr_equal(any, &sites.v[sites.n - 1]);
    } else {
        if (strcmp(expected, "explicit") == 0)
            assert_ptr_equal(any, by_name);
        else
            assert_null(by_name);
        assert_non_null(any);
        AUTO_BUF text = BUF_INIT;
        slurp(any->file, &text);
        const char *mark = strstr(buf_str(&text), "# @owner");
        size_t at = (size_t)(mark - buf_str(&text));
        if (!mark || at < any->begin || at >= any->end)
            fail_msg("%s: the owner is the host in line %zu", fixture->name, any->line);
        assert_true(any->n_listens > 0);
        if (any->redirects_only != says(fixture, "redirects", "yes"))
            fail_msg("%s: redirects_only is %d", fixture->name, any->redirects_only);
    }
    sites_clear(&sites);
}

static size_t occurrences(const char *text, const char *word)
{
    size_t n = 0;
    for (; (text = strstr(text, word)); text += strlen(word))
        n++;
    return n;
}

/* Applied, that is; the fixture has the file with our lines among its files. */
static void second_comes_and_goes(struct place *place, const struct fixture *fixture)
{
    AUTO_BUF one = BUF_INIT;
    AUTO_BUF two = BUF_INIT;
    AUTO_BUF back = BUF_INIT;
    snapshot(place->root, &one);
    place->second = "rsa";
    struct txn *there = apply(place, fixture, edit_https, "https");
    assert_tests(place, fixture, "with two certificates");
    assert_person_bytes(place);
    assert_nothing_to_do(place, fixture, edit_https);
    assert_nothing_to_do(place, fixture, edit_challenge);
    snapshot(place->root, &two);
    AUTO_FREE char *first = mem_fmt("SSLCertificateFile \"%s/fullchain.pem\"", place->live);
    AUTO_FREE char *second = mem_fmt("SSLCertificateFile \"%s/fullchain-rsa.pem\"", place->live);
    AUTO_FREE char *key = mem_fmt("SSLCertificateKeyFile \"%s/privkey-rsa.pem\"", place->live);
    size_t pairs = occurrences(buf_str(&one), first);
    if (!pairs || occurrences(buf_str(&two), first) != pairs || occurrences(buf_str(&two), second) != pairs ||
        occurrences(buf_str(&two), key) != pairs ||
        occurrences(buf_str(&two), "\n") != occurrences(buf_str(&one), "\n") + 2 * pairs)
        fail_msg("%s: not two lines more for each of %zu hosts:\n%s", fixture->name, pairs, buf_str(&two));
    place->second = NULL;
    struct txn *home = apply(place, fixture, edit_https, "https");
    assert_tests(place, fixture, "with one certificate again");
    snapshot(place->root, &back);
    assert_same(&one, &back, fixture->name);
    take_back(home);
    take_back(there);
}

static void edit_and_take_back(const char *name)
{
    struct fixture fixture;
    struct place place;
    fixture_load(name, &fixture);
    place_make(&place, &fixture);
    AUTO_BUF before = BUF_INIT;
    AUTO_BUF between = BUF_INIT;
    AUTO_BUF after = BUF_INIT;
    snapshot(place.root, &before);
    assert_tests(&place, &fixture, "as it is");
    assert_owner(&place, &fixture);
    struct txn *challenge = apply(&place, &fixture, edit_challenge, "challenge");
    assert_tests(&place, &fixture, "with the challenge");
    assert_person_bytes(&place);
    assert_nothing_to_do(&place, &fixture, edit_challenge);
    snapshot(place.root, &between);
    struct txn *https = apply(&place, &fixture, edit_https, "https");
    if (https) {
        assert_tests(&place, &fixture, "with https");
        assert_person_bytes(&place);
        assert_companion(&place, &fixture);
        assert_nothing_to_do(&place, &fixture, edit_https);
        assert_nothing_to_do(&place, &fixture, edit_challenge);
        if (!says(&fixture, "second", "no"))
            second_comes_and_goes(&place, &fixture);
    }
    take_back(https);
    snapshot(place.root, &after);
    assert_same(&between, &after, fixture.name);
    take_back(challenge);
    buf_reset(&after);
    snapshot(place.root, &after);
    assert_same(&before, &after, fixture.name);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

static void test_every_fixture(void **state)
{
    (void)state;
    need_apache();
    AUTO_STRLIST names = STRLIST_INIT;
    fixture_names(&names);
    for (size_t i = 0; i < names.n; i++)
        edit_and_take_back(names.v[i]);
    print_message("%zu fixtures edited and taken back\n", names.n);
}

/* Both edits in one transaction: the second sees what the first has staged. */
static void test_edits_compose(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    struct err err = ERR_INIT;
    fixture_load("01-stock-default.conf", &fixture);
    place_make(&place, &fixture);
    struct txn *txn = begin(&place);
    assert_true(edit_challenge(&place, &fixture, txn, &err) && edit_https(&place, &fixture, txn, &err));
    if (!txn_apply(txn, &err))
        fail_msg("%s", err.text);
    assert_tests(&place, &fixture, "with both");
    AUTO_BUF text = BUF_INIT;
    read_companion(&place, &fixture, &text);
    assert_non_null(strstr(buf_str(&text), "}." THUMBPRINT "\"")); /* its twin on port 80 answers as well */
    assert_nothing_to_do(&place, &fixture, edit_challenge);
    assert_nothing_to_do(&place, &fixture, edit_https);
    take_back(txn);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

static void edit_file(const char *path, const char *from, const char *to)
{
    AUTO_BUF text = BUF_INIT;
    slurp(path, &text);
    const char *at = strstr(buf_str(&text), from);
    assert_non_null(at);
    AUTO_BUF out = BUF_INIT;
    buf_add(&out, text.data, (size_t)(at - text.data));
    buf_adds(&out, to);
    buf_adds(&out, at + strlen(from));
    put(path, out.data, out.len);
}

/* A new account key: the answer is replaced, also in the twin of ours, which still counts as untouched. */
static void test_another_thumbprint(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    struct err err = ERR_INIT;
    struct sites sites = SITES_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    fixture_load("01-stock-default.conf", &fixture);
    place_make(&place, &fixture);
    strlist_split(&names, meta(&fixture, "names", 0), " ");
    struct txn *first = apply(&place, &fixture, edit_challenge, "challenge");
    struct txn *second = apply(&place, &fixture, edit_https, "https");
    struct txn *third = begin(&place);
    assert_true(apache_driver.read(&place.web, &sites, &err));
    assert_true(apache_driver.edit_challenge(&place.web, &sites, &names, "another", third, &err));
    sites_clear(&sites);
    assert_true(txn_apply(third, &err));
    AUTO_BUF text = BUF_INIT;
    read_companion(&place, &fixture, &text);
    assert_non_null(strstr(buf_str(&text), "}.another\""));
    assert_null(strstr(buf_str(&text), THUMBPRINT));
    assert_nothing_to_do(&place, &fixture, edit_https);
    edit_file(place.site, "ServerAdmin", "DirectoryIndex other.html\n\tServerAdmin");
    struct txn *fourth = apply(&place, &fixture, edit_https, "https"); /* it is still ours to renew */
    buf_reset(&text);
    read_companion(&place, &fixture, &text);
    assert_non_null(strstr(buf_str(&text), "DirectoryIndex other.html"));
    assert_non_null(strstr(buf_str(&text), "}.another\""));
    take_back(fourth);
    edit_file(place.site, "DirectoryIndex other.html\n\tServerAdmin", "ServerAdmin");
    take_back(third);
    take_back(second);
    take_back(first);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* Another certificate of ours takes the first one's place: one block, and the person's lines stay in
 * comments. */
static void test_swap_for_another_certificate(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    struct err err = ERR_INIT;
    struct sites sites = SITES_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    fixture_load("15-other-host-on-443.conf", &fixture);
    place_make(&place, &fixture);
    struct txn *first = apply(&place, &fixture, edit_https, "https");
    struct txn *second = begin(&place);
    strlist_add(&names, "example.org");
    struct web_https https = {
        .names = &names, .live_dir = "/var/lib/elsewhere/live/other", .cert_name = "other"};
    assert_true(apache_driver.read(&place.web, &sites, &err));
    if (!apache_driver.edit_https(&place.web, &sites, &https, second, &err) || !txn_apply(second, &err))
        fail_msg("%s", err.text);
    sites_clear(&sites);
    AUTO_BUF text = BUF_INIT;
    slurp(place.site, &text);
    assert_non_null(strstr(buf_str(&text), "\"/var/lib/elsewhere/live/other/fullchain.pem\""));
    assert_null(strstr(buf_str(&text), place.live));
    AUTO_BUF rest = BUF_INIT;
    without_blocks(buf_str(&text), &rest);
    assert_string_equal(buf_str(&rest), fixture.text);
    take_back(second);
    take_back(first);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* Two certificates, each with a host of its own: neither takes from the other, and each may go first. */
static void test_two_certificates(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    struct err err = ERR_INIT;
    struct sites sites = SITES_INIT;
    fixture_load("42-modules-in-main-file.conf", &fixture);
    place_make(&place, &fixture);
    struct txn *first = apply(&place, &fixture, edit_https, "https");
    struct txn *second = begin(&place);
    AUTO_STRLIST names = STRLIST_INIT;
    strlist_add(&names, "second.example");
    struct web_https https = {.names = &names, .live_dir = place.live, .cert_name = "second.example"};
    assert_true(apache_driver.read(&place.web, &sites, &err));
    if (!apache_driver.edit_https(&place.web, &sites, &https, second, &err) || !txn_apply(second, &err))
        fail_msg("%s", err.text);
    sites_clear(&sites);
    assert_tests(&place, &fixture, "with two certificates");
    assert_nothing_to_do(&place, &fixture, edit_https);
    AUTO_BUF text = BUF_INIT;
    AUTO_BUF rest = BUF_INIT;
    slurp(place.conf, &text);
    const char *from = strstr(buf_str(&text), "# tlsup begin: companion example.org ");
    const char *to = strstr(buf_str(&text), "# tlsup begin: companion second.example ");
    assert_true(from && to && from < to);
    buf_add(&rest, text.data, (size_t)(from - text.data));
    buf_adds(&rest, to);
    put(place.conf, rest.data, rest.len);
    assert_tests(&place, &fixture, "with the second certificate alone");
    assert_true(apache_driver.read(&place.web, &sites, &err));
    const struct site *site = apache_driver.owner(&sites, "second.example", 443, true);
    assert_true(site && site->n_listens > 0 && site->listens[0].ssl);
    sites_clear(&sites);
    txn_free(second);
    txn_free(first);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* A person's change in a companion is not overwritten. */
static void test_companion_changed_by_hand(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    struct err err = ERR_INIT;
    fixture_load("02-named.conf", &fixture);
    place_make(&place, &fixture);
    struct txn *https = apply(&place, &fixture, edit_https, "https");
    AUTO_FREE char *path = mem_fmt("%s/sites-available/example.org-tlsup.conf", place.root);
    edit_file(path, "SSLHonorCipherOrder off", "SSLHonorCipherOrder on");
    assert_nothing_to_do(&place, &fixture, edit_https);
    edit_file(path, "ServerAlias www.example.org", "");
    struct txn *again = begin(&place);
    assert_false(edit_https(&place, &fixture, again, &err));
    assert_non_null(strstr(err.text, "changed by hand"));
    txn_free(again);
    txn_free(https);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* The same for a second certificate: the file is a person's now, so the lines are changed as those of any
 * host, and what the person changed stays. */
static void test_second_certificate_in_a_companion_changed_by_hand(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    fixture_load("02-named.conf", &fixture);
    place_make(&place, &fixture);
    struct txn *https = apply(&place, &fixture, edit_https, "https");
    AUTO_FREE char *path = mem_fmt("%s/sites-available/example.org-tlsup.conf", place.root);
    edit_file(path, "SSLHonorCipherOrder off", "SSLHonorCipherOrder on");
    AUTO_BUF changed = BUF_INIT;
    AUTO_BUF text = BUF_INIT;
    slurp(path, &changed);
    place.second = "rsa";
    struct txn *two = apply(&place, &fixture, edit_https, "https");
    assert_tests(&place, &fixture, "with two certificates in a changed companion");
    slurp(path, &text);
    assert_non_null(strstr(buf_str(&text), "/privkey-rsa.pem\""));
    assert_non_null(strstr(buf_str(&text), "SSLHonorCipherOrder on"));
    assert_nothing_to_do(&place, &fixture, edit_https);
    place.second = NULL;
    struct txn *one = apply(&place, &fixture, edit_https, "https");
    assert_tests(&place, &fixture, "with one certificate in a changed companion");
    buf_reset(&text);
    slurp(path, &text);
    assert_null(strstr(buf_str(&text), "-rsa.pem"));
    take_back(one);
    take_back(two);
    buf_reset(&text);
    slurp(path, &text);
    assert_same(&changed, &text, "changed companion");
    txn_free(https);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* What the site is now is what its twin becomes. */
static void test_companion_follows_its_source(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    fixture_load("02-named.conf", &fixture);
    place_make(&place, &fixture);
    struct txn *first = apply(&place, &fixture, edit_https, "https");
    edit_file(place.site, "# a comment", "DirectoryIndex other.html\n# a comment");
    struct txn *second = apply(&place, &fixture, edit_https, "https");
    AUTO_BUF text = BUF_INIT;
    read_companion(&place, &fixture, &text);
    assert_non_null(strstr(buf_str(&text), "DirectoryIndex other.html"));
    txn_free(second);
    txn_free(first);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* The default host of port 443 stays the default, whatever our file is called. */
static void test_default_host_stays(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    struct err err = ERR_INIT;
    struct sites sites = SITES_INIT;
    fixture_load("23-confd-with-ssl.conf", &fixture);
    place_make(&place, &fixture);
    struct txn *https = apply(&place, &fixture, edit_https, "https");
    assert_true(apache_driver.read(&place.web, &sites, &err));
    const struct site *any = apache_driver.owner(&sites, "unknown.example", 443, false);
    assert_non_null(any);
    assert_non_null(strstr(any->file, "/ssl.conf"));
    const struct site *own = apache_driver.owner(&sites, "a.example.org", 443, true);
    assert_non_null(own);
    assert_non_null(strstr(own->file, "/zzz-a.example.org-tlsup.conf"));
    assert_true(own->listens[0].ssl);
    AUTO_FREE char *cert = mem_fmt("%s/fullchain.pem", place.live);
    assert_string_equal(own->certificate, cert);
    sites_clear(&sites);
    AUTO_BUF text = BUF_INIT;
    read_companion(&place, &fixture, &text);
    assert_null(strstr(buf_str(&text), "Listen"));
    take_back(https);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

static void test_unreadable_configuration_is_an_error(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    struct err err = ERR_INIT;
    struct sites sites = SITES_INIT;
    fixture_load("02-named.conf", &fixture);
    place_make(&place, &fixture);
    put(place.site, "<VirtualHost *:80>\n", 19);
    assert_false(apache_driver.read(&place.web, &sites, &err));
    assert_non_null(strstr(err.text, "m-site.conf:1"));
    err = (struct err)ERR_INIT;
    assert_false(apache_driver.test(&place.web, &err));
    assert_int_equal(err.code, ERR_WEBSERVER);
    assert_non_null(strstr(err.text, "VirtualHost")); /* the server's own words */
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* What a person says of the server is checked before it is believed. */
static void assert_refused(const char *ctl, const char *conf, enum err_code code, const char *why)
{
    struct web web;
    struct err err = ERR_INIT;
    struct web_hints hints = {.apache_ctl = ctl, .apache_conf = conf};
    assert_false(apache_driver.find(&hints, &web, &err));
    if ((code != ERR_NONE && err.code != code) || !strstr(err.text, why))
        fail_msg("%s, %s: \"%s\" instead of \"%s\"", ctl ? ctl : "-", conf ? conf : "-", err.text, why);
    assert_true(err.advice[0] != '\0');
}

static void test_hints(void **state)
{
    (void)state;
    need_apache();
    AUTO_FREE char *wrapper = mem_fmt("%s/ourctl", base);
    AUTO_FREE char *stranger = mem_fmt("%s/stranger", base);
    AUTO_FREE char *missing = mem_fmt("%s/missing", base);
    putf(wrapper, "#!/bin/sh\nexec %s \"$@\"\n", binary());
    putf(stranger, "#!/bin/sh\necho busybox\n");
    assert_int_equal(chmod(wrapper, 0755) | chmod(stranger, 0755), 0);
    assert_refused("/bin/true", NULL, ERR_WEBSERVER, "not an Apache");
    assert_refused(stranger, NULL, ERR_WEBSERVER, "not an Apache");
    assert_refused(missing, NULL, ERR_NOT_FOUND, "cannot find");
    assert_refused(NULL, missing, ERR_NOT_FOUND, "missing");
    assert_refused(NULL, base, ERR_NONE, "not a regular file");
    struct web web;
    struct err err = ERR_INIT;
    struct web_hints program = {.apache_ctl = binary()}, control = {.apache_ctl = wrapper};
    assert_true(apache_driver.find(&program, &web, &err));
    assert_string_equal(web.bin, binary());
    assert_true(web.version_number > 2004000 && web.version[0] == '2');
    assert_true(web.conf[0] == '/' && web.prefix[0] == '/');
    assert_true(apache_driver.find(&control, &web, &err));
    assert_string_equal(web.bin, binary());
    assert_string_equal(web.ctl, wrapper);
}

/* A first certificate's links may be taken away in the transaction that needs them anew. */
static void test_modules_of_the_staged_tree(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    struct err err = ERR_INIT;
    fixture_load("02-named.conf", &fixture);
    place_make(&place, &fixture);
    struct txn *first = apply(&place, &fixture, edit_https, "https");
    AUTO_FREE char *ssl = mem_fmt("%s/mods-enabled/ssl.load", place.root);
    AUTO_FREE char *conf = mem_fmt("%s/mods-enabled/ssl.conf", place.root);
    AUTO_FREE char *shmcb = mem_fmt("%s/mods-enabled/socache_shmcb.load", place.root);
    AUTO_FREE char *site = mem_fmt("%s/sites-enabled/example.org-tlsup.conf", place.root);
    AUTO_FREE char *text = mem_fmt("%s/sites-available/example.org-tlsup.conf", place.root);
    assert_true(fs_exists(ssl) && fs_exists(conf) && fs_exists(shmcb));
    assert_true(apache_describe(binary(), place.conf, &place.web) && place.web.has_ssl);
    struct txn *second = begin(&place);
    const char *const gone[] = {site, text, ssl, conf, shmcb};
    for (size_t i = 0; i < COUNT_OF(gone); i++)
        assert_true(txn_unlink(second, gone[i], &err));
    if (!edit_https(&place, &fixture, second, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < COUNT_OF(gone); i++) {
        if (!txn_exists(second, gone[i]))
            fail_msg("%s is not there again", gone[i]);
    }
    if (!txn_apply(second, &err))
        fail_msg("%s", err.text);
    assert_tests(&place, &fixture, "taken away and installed in one");
    assert_nothing_to_do(&place, &fixture, edit_https);
    /* And taken away for good: the next edit, of another web struct, sees no ssl. */
    struct txn *third = begin(&place);
    for (size_t i = 0; i < COUNT_OF(gone); i++)
        assert_true(txn_unlink(third, gone[i], &err));
    struct apache_model model;
    assert_true(apache_model_read(&place.web, third, NULL, &model, &err));
    assert_false(apache_tree_has(&model.tree, "ssl_module"));
    apache_model_clear(&model);
    txn_free(third);
    take_back(second);
    take_back(first);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* What belongs to one process for the whole server is not said twice. (No Apache with these modules is at
 * hand: its own test is left out.) */
static void test_wsgi(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    fixture_load("02-named.conf", &fixture);
    place_make(&place, &fixture);
    edit_file(place.site, "    ServerAlias www.example.org\n",
              "    ServerAlias www.example.org\n"
              "    WSGIDaemonProcess django python-home=/srv/venv python-path=/srv/app\n"
              "    WSGIImportScript /srv/app/wsgi.py process-group=django application-group=%{GLOBAL}\n"
              "    wsgiprocessgroup django\n"
              "    WSGIScriptAlias / /srv/app/wsgi.py process-group=django\n"
              "    Alias /static /srv/app/static\n");
    struct txn *https = apply(&place, &fixture, edit_https, "https");
    AUTO_BUF text = BUF_INIT;
    read_companion(&place, &fixture, &text);
    assert_null(strstr(buf_str(&text), "WSGIDaemonProcess"));
    assert_null(strstr(buf_str(&text), "WSGIImportScript"));
    assert_non_null(strstr(buf_str(&text), "wsgiprocessgroup django\n"));
    assert_non_null(strstr(buf_str(&text), "WSGIScriptAlias / /srv/app/wsgi.py process-group=django\n"));
    assert_non_null(strstr(buf_str(&text), "Alias /static /srv/app/static\n"));
    take_back(https);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* A host on an address of another machine alone never answers: that is said before anybody is asked. */
static void test_address_of_another_machine(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    struct err err = ERR_INIT;
    struct sites sites = SITES_INIT;
    fixture_load("02-named.conf", &fixture);
    place_make(&place, &fixture);
    putf(place.site, "<VirtualHost 198.51.100.77:80>\nServerName example.org\n</VirtualHost>\n");
    assert_true(apache_driver.read(&place.web, &sites, &err));
    const struct site *site = apache_driver.owner(&sites, "example.org", 80, true);
    assert_true(site && site->n_listens == 0);
    sites_clear(&sites);
    static const edit_function edits[] = {edit_challenge, edit_https};
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        struct txn *txn = begin(&place);
        err = (struct err)ERR_INIT;
        assert_false(edits[i](&place, &fixture, txn, &err));
        assert_non_null(strstr(err.text, "for 198.51.100.77, which this machine does not have"));
        assert_non_null(strstr(err.advice, "<VirtualHost *:80>"));
        txn_free(txn);
    }
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* A wildcard can be no ServerName. */
static void test_wildcard_alone(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    fixture_load("01-stock-default.conf", &fixture);
    place_make(&place, &fixture);
    for (size_t i = 0; i < fixture.meta.n; i++) {
        if (strncmp(fixture.meta.v[i], "names ", 6) == 0) {
            free(fixture.meta.v[i]);
            fixture.meta.v[i] = mem_dup("names *.example.org");
        }
    }
    struct txn *https = apply(&place, &fixture, edit_https, "https");
    assert_tests(&place, &fixture, "for a wildcard alone");
    AUTO_BUF text = BUF_INIT;
    snapshot(place.root, &text);
    assert_non_null(strstr(buf_str(&text), "ServerName any.example.org\n"));
    assert_non_null(strstr(buf_str(&text), "ServerAlias *.example.org\n"));
    take_back(https);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* A disabled file that has the name of ours stays as it is; ours, disabled, is written anew. */
static void test_disabled_file_of_our_name(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    struct err err = ERR_INIT;
    fixture_load("02-named.conf", &fixture);
    place_make(&place, &fixture);
    AUTO_FREE char *file = mem_fmt("%s/sites-available/example.org-tlsup.conf", place.root);
    AUTO_FREE char *link = mem_fmt("%s/sites-enabled/example.org-tlsup.conf", place.root);
    AUTO_FREE char *second = mem_fmt("%s/sites-enabled/zzz-example.org-tlsup.conf", place.root);
    putf(file, "# mine\n");
    struct txn *https = apply(&place, &fixture, edit_https, "https");
    AUTO_BUF text = BUF_INIT;
    slurp(file, &text);
    assert_string_equal(buf_str(&text), "# mine\n");
    assert_true(fs_exists(second) && !fs_exists(link));
    take_back(https);
    assert_true(fs_remove(file, &err));
    struct txn *first = apply(&place, &fixture, edit_https, "https");
    assert_true(fs_exists(link) && fs_remove(link, &err));
    struct txn *again = apply(&place, &fixture, edit_https, "https");
    assert_true(fs_exists(link) && !fs_exists(second));
    txn_free(again);
    txn_free(first);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* One macro's lines are several hosts': a redirect for one of them stays when the others are looked at. */
static void test_redirect_in_a_macro(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    fixture_load("14-macro.conf", &fixture);
    place_make(&place, &fixture);
    strlist_add(&fixture.meta, "redirect yes");
    struct txn *https = apply(&place, &fixture, edit_https, "https");
    assert_tests(&place, &fixture, "with a redirect");
    AUTO_BUF text = BUF_INIT;
    slurp(place.site, &text);
    assert_int_equal(occurrences(buf_str(&text), "# tlsup begin: redirect"), 1);
    assert_nothing_to_do(&place, &fixture, edit_https);
    take_back(https);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* What is defined anew after a site must not change its twin. */
static void test_defined_again_later(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    fixture_load("02-named.conf", &fixture);
    place_make(&place, &fixture);
    AUTO_FREE char *one = mem_fmt("%s/www/one", place.root);
    AUTO_FREE char *define = mem_fmt("Define ROOT %s\n    DocumentRoot ${ROOT}\n    # a comment", one);
    AUTO_FREE char *later = mem_fmt("%s/sites-enabled/n.conf", place.root);
    edit_file(place.site, "    DocumentRoot ${WWW}\n    # a comment", define);
    putf(later, "Define ROOT /elsewhere\n");
    struct txn *https = apply(&place, &fixture, edit_https, "https");
    AUTO_BUF text = BUF_INIT;
    read_companion(&place, &fixture, &text);
    AUTO_FREE char *expected = mem_fmt("DocumentRoot %s\n", one);
    if (!strstr(buf_str(&text), expected))
        fail_msg("%s", buf_str(&text));
    take_back(https);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* Strict-Transport-Security and the profile go as they came. */
static void test_turned_off_again(void **state)
{
    (void)state;
    need_apache();
    static const char *const names[] = {"75-hsts-links-mod-headers.conf",
                                        "68-certbot-twin-old-with-hsts.conf"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct fixture fixture;
        struct place place;
        fixture_load(names[i], &fixture);
        place_make(&place, &fixture);
        struct txn *on = apply(&place, &fixture, edit_https, "https");
        AUTO_BUF text = BUF_INIT;
        snapshot(place.root, &text);
        assert_true(occurrences(buf_str(&text), "Header always set Strict-Transport-Security") > 0);
        for (size_t k = 0; k < fixture.meta.n; k++) {
            if (strncmp(fixture.meta.v[k], "hsts ", 5) == 0 || strncmp(fixture.meta.v[k], "profile ", 8) == 0)
                fixture.meta.v[k][0] = '-';
        }
        struct txn *off = apply(&place, &fixture, edit_https, "https");
        assert_tests(&place, &fixture, "turned off again");
        buf_reset(&text);
        snapshot(place.root, &text);
        assert_int_equal(occurrences(buf_str(&text), "Header always set Strict-Transport-Security"), 0);
        assert_int_equal(occurrences(buf_str(&text), "+TLSv1.1"), 0);
        take_back(off);
        take_back(on);
        strlist_clear(&place.files);
        fixture_clear(&fixture);
    }
}

/* Sites that wait are shown with what enables them, and left alone. */
static void test_disabled_sites(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    struct err err = ERR_INIT;
    struct sites sites = SITES_INIT, disabled = SITES_INIT;
    fixture_load("70-disabled-site.conf", &fixture);
    place_make(&place, &fixture);
    AUTO_FREE char *broken = mem_fmt("%s/sites-available/broken.conf", place.root);
    putf(broken, "<VirtualHost *:80>\n");
    assert_true(apache_driver.read(&place.web, &sites, &err));
    assert_true(apache_driver.read_disabled(&place.web, &sites, &disabled, &err));
    assert_int_equal(disabled.n, 1);
    assert_false(disabled.v[0].enabled);
    assert_true(sites.v[0].enabled);
    assert_true(strlist_has(&disabled.v[0].names, "*.example.org"));
    AUTO_FREE char *command = apache_driver.enable_command(&place.web, &disabled.v[0]);
    AUTO_FREE char *expected =
        mem_fmt("ln -s ../sites-available/example.org.conf %s/sites-enabled/example.org.conf", place.root);
    assert_string_equal(command, expected);
    struct site debian = {.file = "/etc/apache2/sites-available/shop.conf"};
    AUTO_FREE char *usual = apache_driver.enable_command(&place.web, &debian);
    if (spawn_find("a2ensite"))
        assert_string_equal(usual, "a2ensite shop");
    sites_clear(&disabled);
    sites_clear(&sites);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

static void test_test_command(void **state)
{
    (void)state;
    need_apache();
    struct fixture fixture;
    struct place place;
    AUTO_STRLIST out = STRLIST_INIT;
    fixture_load("02-named.conf", &fixture);
    place_make(&place, &fixture);
    apache_driver.test_command(&place.web, &out);
    AUTO_FREE char *paths = mem_fmt(" -d %s -f %s -t", place.root, place.conf);
    assert_int_equal(out.n, 1);
    assert_non_null(strstr(out.v[0], paths));
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* -- the running server, in a network namespace of its own -- */

enum { PATIENCE_MS = 60000, STEP_MS = 20 }; /* a busy machine takes its time */

static bool lo_up(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = {.ifr_flags = IFF_UP | IFF_RUNNING};
    strcpy(request.ifr_name, "lo");
    bool ok = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    close(fd);
    return ok;
}

static int connect_to(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval wait = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

struct answer {
    int status, fields; /* fields: how often Strict-Transport-Security is sent */
    char location[256], body[512], common_name[128], protocol[16];
};

static void parse_answer(const char *text, struct answer *out)
{
    if (sscanf(text, "HTTP/1.%*d %d", &out->status) != 1)
        out->status = -1;
    const char *location = strcasestr(text, "\r\nLocation: ");
    if (location)
        snprintf(out->location, sizeof out->location, "%.*s", (int)strcspn(location + 12, "\r\n"),
                 location + 12);
    for (const char *at = text; (at = strcasestr(at, "\r\nStrict-Transport-Security: ")); at += 2)
        out->fields++;
    const char *body = strstr(text, "\r\n\r\n");
    snprintf(out->body, sizeof out->body, "%s", body ? body + 4 : "");
}

static struct answer get(const char *asked, const char *path, bool tls)
{
    AUTO_FREE char *name = asked[0] == '*' ? mem_fmt("some%s", asked + 1) : mem_dup(asked);
    struct answer answer = {.status = -1};
    char text[8192];
    size_t len = 0;
    int fd = connect_to(tls ? 443 : 80);
    if (fd < 0)
        return answer;
    AUTO_FREE char *request = mem_fmt("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, name);
    SSL_CTX *context = tls ? SSL_CTX_new(TLS_client_method()) : NULL;
    SSL *ssl = tls ? SSL_new(context) : NULL;
    if (ssl) {
        SSL_set_fd(ssl, fd);
        SSL_set_tlsext_host_name(ssl, name);
        if (SSL_connect(ssl) == 1) {
            X509 *cert = SSL_get1_peer_certificate(ssl);
            X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, answer.common_name,
                                      sizeof answer.common_name);
            X509_free(cert);
            snprintf(answer.protocol, sizeof answer.protocol, "%s", SSL_get_version(ssl));
        }
        SSL_write(ssl, request, (int)strlen(request));
    } else {
        assert_int_equal(write(fd, request, strlen(request)), strlen(request));
    }
    for (;;) {
        ssize_t n = ssl ? SSL_read(ssl, text + len, (int)(sizeof text - 1 - len))
                        : read(fd, text + len, sizeof text - 1 - len);
        if (n <= 0 || (len += (size_t)n) >= sizeof text - 1)
            break;
    }
    text[len] = '\0';
    SSL_free(ssl);
    SSL_CTX_free(context);
    close(fd);
    parse_answer(text, &answer);
    return answer;
}

/* A moment later: is there still time for what is waited for? */
static bool step(int64_t since_ms)
{
    nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000L}, NULL);
    return clock_mono_ms() - since_ms < PATIENCE_MS;
}

static pid_t server; /* ended after the test, when that has failed */
static char server_log[160];

static bool has_ended(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

/* The processes that serve: the master's children, as words. */
static void read_workers(pid_t master, struct strlist *out)
{
    AUTO_FREE char *path = mem_fmt("/proc/%ld/task/%ld/children", (long)master, (long)master);
    AUTO_BUF text = BUF_INIT;
    struct err err = ERR_INIT;
    strlist_clear(out);
    if (fs_read(path, 65536, &text, &err))
        strlist_split(out, buf_str(&text), " ");
}

static bool all_gone(const struct strlist *pids)
{
    for (size_t i = 0; i < pids->n; i++) {
        if (kill((pid_t)atoi(pids->v[i]), 0) == 0)
            return false;
    }
    return true;
}

/* Until there are workers, and none of `old`: with the first of them the sockets are open and signals are
 * taken; with the last of the old ones gone nobody answers by an old configuration. */
static bool wait_workers(pid_t master, const struct strlist *old)
{
    AUTO_STRLIST now = STRLIST_INIT;
    int64_t since_ms = clock_mono_ms();
    do {
        bool gone = all_gone(old);
        read_workers(master, &now);
        if (gone && now.n > 0)
            return true;
    } while (!has_ended(master) && step(since_ms));
    return false;
}

/* Does not return before it serves: a signal that comes before Apache handles it ends it. */
static pid_t start_server(const struct place *place)
{
    static const struct strlist nobody = STRLIST_INIT;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0); /* Apache may end its whole process group */
        execl(place->web.bin, place->web.bin, "-d", place->root, "-f", place->conf, "-DFOREGROUND",
              (char *)NULL);
        _exit(127);
    }
    server = pid;
    snprintf(server_log, sizeof server_log, "%s/run/error.log", place->root);
    if (!wait_workers(pid, &nobody))
        fail_msg("%s: Apache does not start", place->root);
    return pid;
}

static void stop_server(pid_t pid)
{
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
    server = 0;
}

/* After the test. Is the server still there, then it has failed: why, in Apache's own words. */
static int end_server(void **state)
{
    (void)state;
    if (server > 0) {
        AUTO_BUF text = BUF_INIT;
        struct err err = ERR_INIT;
        (void)!fs_read(server_log, FILE_MAX, &text, &err);
        fprintf(stderr, "-- Apache %s; its error log:\n%s\n", has_ended(server) ? "has ended" : "runs",
                buf_str(&text)); /* whole: cmocka would cut it */
        pid_t group = server;
        stop_server(server);
        kill(-group, SIGKILL); /* workers outlive a master that was killed */
    }
    return 0;
}

static bool serves_challenge(const struct strlist *names)
{
    for (size_t i = 0; i < names->n; i++) {
        struct answer answer = get(names->v[i], "/.well-known/acme-challenge/" TOKEN, false);
        if (answer.status != 200 || strcmp(answer.body, TOKEN "." THUMBPRINT) != 0)
            return false;
    }
    return true;
}

static bool serves_certificate(const struct strlist *names)
{
    for (size_t i = 0; i < names->n; i++) {
        if (strcmp(get(names->v[i], "/", true).common_name, "the new certificate") != 0)
            return false;
    }
    return true;
}

static void reload(pid_t pid)
{
    AUTO_STRLIST old = STRLIST_INIT;
    read_workers(pid, &old);
    assert_int_equal(kill(pid, SIGUSR1), 0);
    if (!wait_workers(pid, &old))
        fail_msg("Apache does not take up its new configuration");
}

static void check_live(const struct fixture *fixture, bool holds, const char *what)
{
    if (!holds)
        fail_msg("%s: the running server: %s", fixture->name, what);
}

static void check_https(const struct fixture *fixture, const struct strlist *names,
                        const struct answer *before)
{
    check_live(fixture, serves_certificate(names), "the new certificate is not served");
    check_live(fixture, serves_challenge(names), "the challenge is not answered any more");
    const char *status = meta(fixture, "tls-status", 0);
    struct answer tls = get(names->v[0], "/", true);
    if (status && tls.status != atoi(status))
        fail_msg("%s: https gives %d, not %s", fixture->name, tls.status, status);
    const char *version = meta(fixture, "tls-version", 0);
    if (version && strcmp(version, tls.protocol) != 0)
        fail_msg("%s: spoken is %s", fixture->name, tls.protocol);
    const char *hsts = meta(fixture, "hsts", 0);
    if (tls.fields != (hsts || says(fixture, "sends-hsts", "yes")))
        fail_msg("%s: Strict-Transport-Security is sent %d times", fixture->name, tls.fields);
    if (hsts && get(names->v[0], "/not-there-at-all", true).fields != 1 &&
        !says(fixture, "sends-hsts", "yes"))
        fail_msg("%s: no Strict-Transport-Security with an error", fixture->name);
    check_live(fixture, get(names->v[0], "/", false).fields == 0, "Strict-Transport-Security without TLS");
    const char *other = meta(fixture, "tls-of", 0);
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, other ? other : "", " ");
    if (words.n == 2 && get(words.v[0], "/", true).status != atoi(words.v[1]))
        fail_msg("%s: https for %s gives another status than %s", fixture->name, words.v[0], words.v[1]);
    struct answer plain = get(names->v[0], "/a%20b?x=%2F1", false);
    if (says(fixture, "redirect", "yes")) {
        AUTO_FREE char *location = mem_fmt("https://%s/a%%20b?x=%%2F1", names->v[0]);
        if (plain.status != 301 || strcmp(plain.location, location) != 0)
            fail_msg("%s: the redirect is %d to \"%s\"", fixture->name, plain.status, plain.location);
        assert_int_not_equal(get("somebody.else.example", "/", false).status, 301);
        return;
    }
    plain = get(names->v[0], "/", false);
    assert_int_equal(plain.status, before->status);
    assert_string_equal(plain.location, before->location);
    assert_string_equal(plain.body, before->body);
}

static void live_fixture(const char *name)
{
    struct fixture fixture;
    struct place place;
    AUTO_STRLIST names = STRLIST_INIT;
    fixture_load(name, &fixture);
    place_make(&place, &fixture);
    strlist_split(&names, meta(&fixture, "names", 0), " ");
    bool listens = !meta(&fixture, "listen", 0);
    pid_t pid = start_server(&place);
    struct answer before = get(names.v[0], "/", false);
    check_live(&fixture, before.status > 0 || !listens, "serves nothing");
    struct txn *challenge = apply(&place, &fixture, edit_challenge, "challenge");
    reload(pid);
    check_live(&fixture, serves_challenge(&names), "the challenge is not answered");
    struct answer after = get(names.v[0], "/", false);
    if (listens) {
        assert_int_equal(after.status, before.status);
        assert_string_equal(after.location, before.location);
    } else {
        before = after;
    }
    struct answer odd = get(names.v[0], "/.well-known/acme-challenge/a.b", false);
    check_live(&fixture, !strstr(odd.body, THUMBPRINT), "answers for what is no token");
    struct txn *https = apply(&place, &fixture, edit_https, "https");
    if (https) {
        reload(pid);
        check_https(&fixture, &names, &before);
        /* And once more: what the first reload loaded is loaded anew. */
        reload(pid);
        check_live(&fixture, serves_certificate(&names), "a second reload loses TLS");
    }
    assert_int_equal(kill(pid, 0), 0);
    take_back(https);
    take_back(challenge);
    stop_server(pid);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

/* Which of those that run is meant? */
static void test_running(void **state)
{
    (void)state;
    need_apache();
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0 || !lo_up()) {
        print_message("no network namespace of our own: running servers are not looked for\n");
        skip();
    }
    struct fixture fixture;
    struct place one, two;
    struct web web;
    struct err err = ERR_INIT;
    fixture_load("02-named.conf", &fixture);
    place_make(&one, &fixture);
    place_make(&two, &fixture);
    edit_file(two.conf, "Listen 80\n", "Listen 8080\n");
    pid_t first = start_server(&one);
    assert_true(apache_driver.find(NULL, &web, &err));
    assert_int_equal(web.master_pid, first);
    assert_string_equal(web.conf, one.conf);
    assert_string_equal(web.prefix, one.root);
    struct web_hints other = {.apache_conf = two.conf};
    assert_false(apache_driver.find(&other, &web, &err));
    assert_non_null(strstr(err.text, one.conf));
    assert_non_null(strstr(err.text, "not"));
    err = (struct err)ERR_INIT;
    pid_t second = start_server(&two);
    assert_false(apache_driver.find(NULL, &web, &err));
    assert_true(strstr(err.text, one.conf) && strstr(err.text, two.conf) &&
                strstr(err.advice, "--apache-conf"));
    err = (struct err)ERR_INIT;
    assert_true(apache_driver.find(&other, &web, &err));
    assert_int_equal(web.master_pid, second);
    assert_string_equal(web.conf, two.conf);
    stop_server(second);
    stop_server(first);
    strlist_clear(&one.files);
    strlist_clear(&two.files);
    fixture_clear(&fixture);
}

/* A name of nobody's is answered by another default host on each address: visitors keep the page they had. */
static void test_default_hosts_by_address(void **state)
{
    (void)state;
    need_apache();
    const char *const argv[] = {"ip", "addr", "add", "192.0.2.10/32", "dev", "lo", NULL};
    struct spawn_result result = {0};
    struct err err = ERR_INIT;
    bool ready = geteuid() == 0 && unshare(CLONE_NEWNET) == 0 && lo_up() &&
                 spawn_run(argv, NULL, &result, &err) && result.status == 0;
    spawn_result_clear(&result);
    if (!ready) {
        print_message("no second address in a network namespace of our own: skipped\n");
        skip();
    }
    struct fixture fixture;
    struct place place;
    fixture_load("01-stock-default.conf", &fixture);
    place_make(&place, &fixture);
    AUTO_FREE char *other = mem_fmt("%s/sites-enabled/zz.conf", place.root);
    putf(other,
         "<VirtualHost 192.0.2.10:80>\n    ServerName default\n    DocumentRoot /tmp\n</VirtualHost>\n");
    strlist_add(&fixture.meta, "redirect yes");
    struct txn *challenge = apply(&place, &fixture, edit_challenge, "challenge");
    struct txn *https = apply(&place, &fixture, edit_https, "https");
    assert_tests(&place, &fixture, "with two default hosts");
    AUTO_BUF text = BUF_INIT;
    AUTO_BUF site = BUF_INIT;
    read_companion(&place, &fixture, &text);
    assert_null(strstr(buf_str(&text), ":80"));
    assert_non_null(strstr(buf_str(&text), "<VirtualHost *:443>"));
    slurp(other, &site);
    assert_int_equal(occurrences(buf_str(&site), "# tlsup begin: challenge"), 2);
    assert_int_equal(occurrences(buf_str(&site), "# tlsup begin: redirect"), 1);
    assert_nothing_to_do(&place, &fixture, edit_challenge);
    assert_nothing_to_do(&place, &fixture, edit_https);
    take_back(https);
    take_back(challenge);
    strlist_clear(&place.files);
    fixture_clear(&fixture);
}

static void test_live(void **state)
{
    (void)state;
    need_apache();
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0 || !lo_up()) {
        print_message("no network namespace of our own: the running server is not tested\n");
        skip();
    }
    AUTO_STRLIST names = STRLIST_INIT;
    fixture_names(&names);
    for (size_t i = 0; i < names.n; i++)
        live_fixture(names.v[i]);
    print_message("%zu fixtures served\n", names.n);
}

/* -- the run -- */

static int make_base(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    strcpy(base, "/tmp/test_apache.XXXXXX");
    if (!mkdtemp(base) || chmod(base, 0755) != 0)
        return -1;
    AUTO_FREE char *old = fs_join(base, "old");
    AUTO_FREE char *live = fs_join(base, "live");
    make_certificate(old, "the old certificate", "DNS:example.org,DNS:lost.example", false);
    make_certificate(old, "the old second certificate", "DNS:example.org", true);
    make_certificate(live, "the new certificate", "DNS:example.org", false);
    make_certificate(live, "the second certificate", "DNS:example.org", true);
    return 0;
}

static int remove_base(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return getenv("TLSUP_KEEP") || fs_remove_tree(base, &err) ? 0 : -1;
}

static void test_fixtures(void **state)
{
    (void)state;
    need_apache();
    pid_t pids[SHARES];
    bool ok = true;
    for (size_t i = 0; i < SHARES; i++) {
        AUTO_FREE char *which = mem_fmt("%zu", i);
        pids[i] = fork();
        if (pids[i] == 0) {
            execl("/proc/self/exe", "test_apache", which, (char *)NULL);
            _exit(127);
        }
    }
    for (size_t i = 0; i < SHARES; i++) {
        int status = -1;
        ok = waitpid(pids[i], &status, 0) == pids[i] && status == 0 && ok;
    }
    assert_true(ok);
}

static int run_share(const char *which)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_fixture),
        cmocka_unit_test_teardown(test_live, end_server),
    };
    share = (size_t)atol(which);
    return cmocka_run_group_tests_name(which, tests, make_base, remove_base);
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return run_share(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hints),
        cmocka_unit_test(test_fixtures),
        cmocka_unit_test(test_edits_compose),
        cmocka_unit_test(test_another_thumbprint),
        cmocka_unit_test(test_swap_for_another_certificate),
        cmocka_unit_test(test_two_certificates),
        cmocka_unit_test(test_companion_changed_by_hand),
        cmocka_unit_test(test_second_certificate_in_a_companion_changed_by_hand),
        cmocka_unit_test(test_companion_follows_its_source),
        cmocka_unit_test(test_default_host_stays),
        cmocka_unit_test(test_unreadable_configuration_is_an_error),
        cmocka_unit_test(test_modules_of_the_staged_tree),
        cmocka_unit_test(test_wsgi),
        cmocka_unit_test(test_address_of_another_machine),
        cmocka_unit_test(test_wildcard_alone),
        cmocka_unit_test(test_redirect_in_a_macro),
        cmocka_unit_test(test_disabled_file_of_our_name),
        cmocka_unit_test(test_defined_again_later),
        cmocka_unit_test(test_turned_off_again),
        cmocka_unit_test(test_disabled_sites),
        cmocka_unit_test(test_test_command),
        cmocka_unit_test(test_default_hosts_by_address),
        cmocka_unit_test_teardown(test_running, end_server),
    };
    return cmocka_run_group_tests(tests, make_base, remove_base);
}
