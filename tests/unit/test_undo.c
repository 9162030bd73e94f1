/*
 * test_undo.c - certificates installed and taken back in every order, in trees of nginx and Apache where they
 * share files, blocks, modules and default servers.
 *
 * The oracle: after any sequence the tree is to the byte what a fresh installation of the remaining
 * certificates, in their order, makes of it; and that passes the server's own test, serves each of them, and
 * answers their challenges. With none left it is the tree of the beginning.
 *
 * As root, in a network namespace (nginx binds its ports in its test); skipped otherwise.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "../../src/install/txn_internal.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/txn.h"
#include "tlsup/web.h"

#ifdef __SANITIZE_ADDRESS__
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "quarantine_size_mb=1";
}
#endif

#define THUMBPRINT "nP1qzpXGymHBrUEepNY9HCsQk7K8KhOypzEt62jcerQ"
#define CERTS 3

static size_t installed, undone, refused;
static char top[64]; /* everything of this run */

static void must(bool ok, const struct err *err)
{
    if (!ok)
        fail_msg("%s: %s: %s", err_code_name(err->code), err->subject, err->text);
}
#define ok(expression)                                                                                       \
    do {                                                                                                     \
        struct err err = ERR_INIT;                                                                           \
        bool fine_ = (expression);                                                                           \
        must(fine_, &err);                                                                                   \
    } while (0)

/* -- the certificates ----------------------------------------------------------------------------------- */

struct cert {
    const char *name;
    const char *names;
    bool challenge; /* by http */
};
/* A wildcard over others' names; names apart, which share files, modules and default servers; one that takes
 * over what the others have. */
static const struct cert sets[][CERTS] = {
    {{"a", "example.org *.example.org", false},
     {"b", "sub.example.org", true},
     {"c", "www.example.org other.test", true}},
    {{"a", "example.org", true}, {"b", "sub.example.org", true}, {"c", "other.test", true}},
    {{"a", "example.org sub.example.org", true},
     {"b", "sub.example.org", true},
     {"c", "sub.example.org example.org www.example.org other.test", false}},
};
static size_t set; /* the one in use */

static const struct cert *cert_of(const char *name)
{
    for (size_t i = 0; i < CERTS; i++)
        if (strcmp(sets[set][i].name, name) == 0)
            return &sets[set][i];
    return NULL;
}

static void write_pem(const char *dir, const char *name, X509 *cert, EVP_PKEY *key)
{
    AUTO_FREE char *path = fs_join(dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(cert != NULL ? PEM_write_X509(file, cert)
                                  : PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL),
                     1);
    fclose(file);
}

static void make_certificate(const char *dir, const char *names_text)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, names_text, " ");
    AUTO_FREE char *joined = strlist_join(&words, ",DNS:");
    AUTO_FREE char *alternative = mem_fmt("DNS:%s", joined);
    ok(fs_mkdirs(dir, 0755, &err));
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_set_version(cert, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alternative);
    X509_add_ext(cert, names, -1);
    X509_EXTENSION_free(names);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    write_pem(dir, "fullchain.pem", cert, NULL);
    write_pem(dir, "privkey.pem", NULL, key);
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* -- the trees ------------------------------------------------------------------------------------------ */

struct part {
    const char *path;
    const char *text; /* "-> TARGET": a link; "@" stands for the top directory */
};

struct base {
    const char *label;
    enum web_kind kind;
    const char *edited; /* where a person adds a line */
    struct part parts[24];
};

#define NGINX_MAIN(body)                                                                                     \
    "pid @/nginx.pid;\nerror_log @/error.log;\nevents { worker_connections 64; }\nhttp {\n"                  \
    "    access_log off;\n    client_body_temp_path @/t1;\n    proxy_temp_path @/t2;\n"                      \
    "    fastcgi_temp_path @/t3;\n    scgi_temp_path @/t4;\n    uwsgi_temp_path @/t5;\n" body "}\n"

#define APACHE_MAIN                                                                                          \
    "ServerRoot @/etc\nServerName localhost\nPidFile @/apache.pid\nErrorLog @/error.log\n"                   \
    "LoadModule mpm_event_module MODULES/mod_mpm_event.so\n"                                                 \
    "LoadModule authz_core_module MODULES/mod_authz_core.so\n"                                               \
    "LoadModule authn_core_module MODULES/mod_authn_core.so\n"                                               \
    "LoadModule alias_module MODULES/mod_alias.so\n"                                                         \
    "LoadModule dir_module MODULES/mod_dir.so\n"                                                             \
    "IncludeOptional mods-enabled/*.load\nIncludeOptional mods-enabled/*.conf\nInclude ports.conf\n"         \
    "IncludeOptional sites-enabled/*.conf\n"

#define APACHE_MODS                                                                                          \
    {"mods-available/ssl.load",                                                                              \
     "# Depends: setenvif mime socache_shmcb\nLoadModule ssl_module MODULES/mod_ssl.so\n"},                  \
        {"mods-available/ssl.conf",                                                                          \
         "<IfModule mod_ssl.c>\nSSLSessionCache shmcb:@/ssl_scache(512000)\n</IfModule>\n"},                 \
        {"mods-available/setenvif.load", "LoadModule setenvif_module MODULES/mod_setenvif.so\n"},            \
        {"mods-available/mime.load", "LoadModule mime_module MODULES/mod_mime.so\n"},                        \
        {"mods-available/mime.conf", "<IfModule mod_mime.c>\nTypesConfig /etc/mime.types\n</IfModule>\n"},   \
        {"mods-available/socache_shmcb.load",                                                                \
         "LoadModule socache_shmcb_module MODULES/mod_socache_shmcb.so\n"},                                  \
        {"mods-available/rewrite.load", "LoadModule rewrite_module MODULES/mod_rewrite.so\n"},               \
    {                                                                                                        \
        "mods-enabled/keep", ""                                                                              \
    }

static const struct base bases[] = {
    {"nginx, one file with a wildcard and a default server",
     WEB_NGINX,
     "nginx.conf",
     {{"nginx.conf",
       NGINX_MAIN("    server {\n        listen 80 default_server;\n        server_name _;\n"
                  "        return 404;\n    }\n"
                  "    server {\n        listen 80;\n        listen [::]:80;\n"
                  "        server_name example.org www.example.org;\n        root /srv;\n    }\n"
                  "    server {\n        listen 80;\n        server_name *.example.org;\n"
                  "        root /srv;\n    }\n"
                  "    server {\n        listen 80;\n        server_name sub.example.org;\n"
                  "        root /srv;\n    }\n"
                  "    server {\n        listen 80;\n        server_name other.test;\n"
                  "        location / { proxy_pass http://127.0.0.1:9; }\n    }\n")}}},
    {"nginx, sites with an old certificate that all share",
     WEB_NGINX,
     "sites-available/site",
     {{"nginx.conf", NGINX_MAIN("    include @/etc/sites-enabled/*;\n")},
      {"sites-available/site",
       "server {\n    listen 80;\n    listen 443 ssl;\n"
       "    server_name example.org;\n    ssl_certificate @/old/fullchain.pem;\n"
       "    ssl_certificate_key @/old/privkey.pem;\n    root /srv;\n}\n"
       "server {\n    listen 80;\n    listen 443 ssl;\n    server_name sub.example.org;\n"
       "    ssl_certificate @/old/fullchain.pem;\n"
       "    ssl_certificate_key @/old/privkey.pem;\n    root /srv;\n}\n"},
      {"sites-enabled/site", "-> ../sites-available/site"},
      {"sites-available/rest", "server {\n    listen 80;\n    server_name www.example.org other.test;\n"
                               "    return 301 /there;\n}\n"},
      {"sites-enabled/rest", "-> ../sites-available/rest"}}},
    {"nginx, only a default server",
     WEB_NGINX,
     "nginx.conf",
     {{"nginx.conf", NGINX_MAIN("    include @/etc/conf.d/*.conf;\n    server {\n"
                                "        listen 80 default_server;\n        listen [::]:80 default_server;\n"
                                "        server_name _;\n        root /srv;\n    }\n")},
      {"conf.d/keep", ""}}},
    {"nginx, one block for all the names",
     WEB_NGINX,
     "nginx.conf",
     {{"nginx.conf",
       NGINX_MAIN("    server {\n        listen 80;\n        server_name .example.org other.test;\n"
                  "        root /srv;\n    }\n")}}},
    {"nginx, options of shared sockets",
     WEB_NGINX,
     "conf.d/one.conf",
     {{"nginx.conf", NGINX_MAIN("    include @/etc/conf.d/*.conf;\n")},
      {"conf.d/one.conf", "server {\n    listen 80;\n    listen [::]:80 ipv6only=on;\n"
                          "    server_name example.org *.example.org;\n    root /srv;\n}\n"},
      {"conf.d/two.conf", "server {\n    listen 80;\n    listen [::]:80;\n    server_name sub.example.org;\n"
                          "    root /srv;\n}\n"},
      {"conf.d/three.conf", "server {\n    listen [::]:80;\n    listen 80;\n"
                            "    server_name www.example.org other.test;\n    root /srv;\n}\n"}}},
    {"Apache, Debian's layout without ssl",
     WEB_APACHE,
     "sites-available/000.conf",
     {{"apache2.conf", APACHE_MAIN},
      {"ports.conf", "Listen 80\n<IfModule ssl_module>\n    Listen 443\n</IfModule>\n"},
      APACHE_MODS,
      {"sites-available/000.conf", "<VirtualHost *:80>\n    DocumentRoot /srv\n</VirtualHost>\n"},
      {"sites-enabled/000.conf", "-> ../sites-available/000.conf"},
      {"sites-available/org.conf",
       "<VirtualHost *:80>\n    ServerName example.org\n    ServerAlias *.example.org\n"
       "    DocumentRoot /srv\n</VirtualHost>\n<VirtualHost *:80>\n    ServerName sub.example.org\n"
       "    DocumentRoot /srv\n</VirtualHost>\n"},
      {"sites-enabled/org.conf", "-> ../sites-available/org.conf"}}},
    {"Apache, one host for all, no Listen 443",
     WEB_APACHE,
     "apache2.conf",
     {{"apache2.conf", APACHE_MAIN "<VirtualHost *:80>\n    ServerName example.org\n"
                                   "    ServerAlias *.example.org other.test\n    DocumentRoot /srv\n"
                                   "</VirtualHost>\n"},
      {"ports.conf", "Listen 80\n"},
      APACHE_MODS,
      {"sites-available/keep", ""},
      {"sites-enabled/keep", ""}}},
    {"Apache, hosts with an old certificate",
     WEB_APACHE,
     "sites-enabled/tls.conf",
     {{"apache2.conf", APACHE_MAIN},
      {"ports.conf", "Listen 80\n<IfModule ssl_module>\n    Listen 443\n</IfModule>\n"},
      APACHE_MODS,
      {"mods-enabled/ssl.load", "-> ../mods-available/ssl.load"},
      {"mods-enabled/ssl.conf", "-> ../mods-available/ssl.conf"},
      {"mods-enabled/socache_shmcb.load", "-> ../mods-available/socache_shmcb.load"},
      {"sites-enabled/tls.conf",
       "<VirtualHost *:80>\n    ServerName example.org\n    ServerAlias *.example.org\n</VirtualHost>\n"
       "<VirtualHost *:443>\n    ServerName example.org\n    ServerAlias *.example.org\n    SSLEngine on\n"
       "    SSLCertificateFile @/old/fullchain.pem\n    SSLCertificateKeyFile @/old/privkey.pem\n"
       "</VirtualHost>\n<VirtualHost *:443>\n    ServerName sub.example.org\n    SSLEngine on\n"
       "    SSLCertificateFile @/old/fullchain.pem\n    SSLCertificateKeyFile @/old/privkey.pem\n"
       "</VirtualHost>\n"}}},
};

static const char *first_of(const char *const *paths)
{
    for (; *paths != NULL; paths++)
        if (access(*paths, X_OK) == 0)
            return *paths;
    return NULL;
}

static const char *program_of(enum web_kind kind)
{
    static const char *const nginx[] = {"/usr/sbin/nginx", "/usr/local/sbin/nginx", NULL};
    static const char *const apache[] = {"/usr/sbin/apache2", "/usr/sbin/httpd", NULL};
    return first_of(kind == WEB_NGINX ? nginx : apache);
}

static const char *module_dir(void)
{
    static const char *const known[] = {"/usr/lib/apache2/modules", "/usr/lib64/httpd/modules",
                                        "/usr/lib/httpd/modules", NULL};
    return first_of(known);
}

static void replace(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '@') {
            buf_adds(out, top);
        } else if (strncmp(text, "MODULES", 7) == 0) {
            buf_adds(out, module_dir());
            text += 6;
        } else {
            buf_addc(out, *text);
        }
    }
}

struct world {
    const struct base *base;
    char *etc, *journal, *live;
    struct web web;
    struct strlist standing; /* names of the certificates installed, in order */
    bool edited;             /* by a person */
    bool mixed;              /* one was installed again over another: no fresh installation is like it */
};

static void put_part(const struct world *w, const struct part *part, size_t n)
{
    static const mode_t modes[] = {0644, 0640, 0600, 0664};
    AUTO_FREE char *path = fs_join(w->etc, part->path);
    AUTO_FREE char *dir = fs_dirname(path);
    AUTO_BUF text = BUF_INIT;
    ok(fs_mkdirs(dir, 0755, &err));
    if (strncmp(part->text, "-> ", 3) == 0) {
        assert_int_equal(symlink(part->text + 3, path), 0);
        return;
    }
    replace(&text, part->text);
    ok(fs_write(path, buf_str(&text), text.len, modes[n % COUNT_OF(modes)], &err));
    assert_int_equal(chown(path, (uid_t)n, (gid_t)(n + 1)), 0);
    assert_int_equal(chmod(path, modes[n % COUNT_OF(modes)]), 0);
}

/* A tree as at the beginning. */
static void world_reset(struct world *w, const struct base *base)
{
    struct err err = ERR_INIT;
    strlist_clear(&w->standing);
    w->edited = w->mixed = false;
    must(fs_remove_tree(w->etc, &err) && fs_remove_tree(w->journal, &err) && fs_remove_tree(w->live, &err) &&
             fs_mkdirs(w->etc, 0755, &err) && fs_mkdirs(w->journal, 0700, &err) &&
             fs_mkdirs(w->live, 0755, &err),
         &err);
    for (size_t n = 0; base->parts[n].path != NULL; n++)
        put_part(w, &base->parts[n], n);
    if (w->base == base)
        return;
    w->base = base;
    AUTO_FREE char *conf = fs_join(w->etc, base->parts[0].path);
    struct web_hints hints = {0};
    if (base->kind == WEB_NGINX)
        hints = (struct web_hints){.nginx_bin = program_of(WEB_NGINX), .nginx_conf = conf};
    else
        hints = (struct web_hints){.apache_ctl = program_of(WEB_APACHE), .apache_conf = conf};
    must(web_find(base->kind, &hints, &w->web, &err), &err);
}

static void world_init(struct world *w)
{
    *w = (struct world){0};
    w->etc = mem_fmt("%s/etc", top);
    w->journal = mem_fmt("%s/journal", top);
    w->live = mem_fmt("%s/live", top);
}

static void world_clear(struct world *w)
{
    free(w->etc);
    free(w->journal);
    free(w->live);
    strlist_clear(&w->standing);
}
#define WORLD(name) CLEANUP(world_clear) struct world name

static void describe_dir(const char *dir, struct buf *out)
{
    AUTO_STRLIST names = STRLIST_INIT;
    ok(fs_list(dir, &names, &err));
    for (size_t i = 0; i < names.n; i++) {
        AUTO_FREE char *path = fs_join(dir, names.v[i]);
        struct stat st;
        char target[256] = "";
        assert_int_equal(lstat(path, &st), 0);
        buf_addf(out, "== %s %o %u:%u", path, st.st_mode, st.st_uid, st.st_gid);
        if (S_ISLNK(st.st_mode) && readlink(path, target, sizeof(target) - 1) > 0)
            buf_addf(out, " -> %s", target);
        buf_addc(out, '\n');
        if (S_ISREG(st.st_mode))
            ok(fs_read(path, (size_t)1 << 20, out, &err));
        if (S_ISDIR(st.st_mode))
            describe_dir(path, out);
    }
}

static char *describe(const struct world *w)
{
    AUTO_BUF out = BUF_INIT;
    describe_dir(w->etc, &out);
    describe_dir(w->live, &out);
    return buf_take(&out);
}

/* -- install, undo, a person ---------------------------------------------------------------------------- */

static bool edit_challenge(struct world *w, const struct cert *cert, struct txn *txn, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct sites sites = SITES_INIT;
    strlist_split(&names, cert->names, " ");
    bool fine = !cert->challenge || (web_read(&w->web, &sites, err) &&
                                     web_edit_challenge(&w->web, &sites, &names, THUMBPRINT, txn, err));
    sites_clear(&sites);
    return fine;
}

static bool edit_https(struct world *w, const struct cert *cert, struct txn *txn, struct err *err)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct sites sites = SITES_INIT;
    AUTO_FREE char *live = fs_join(w->live, cert->name);
    AUTO_FREE char *target = mem_fmt("../certs/%zu%s/1", set, cert->name);
    strlist_split(&names, cert->names, " ");
    struct web_https https = {.names = &names, .live_dir = live, .cert_name = cert->name};
    bool fine = web_read(&w->web, &sites, err) && txn_symlink(txn, live, target, err) &&
                web_edit_https(&w->web, &sites, &https, txn, err);
    sites_clear(&sites);
    return fine;
}

static bool finish(struct world *w, struct txn *txn, struct err *err)
{
    (void)w;
    return txn_apply(txn, err) && txn_note(txn, TXN_TESTED, err) && txn_note(txn, TXN_RELOADING, err) &&
           txn_note(txn, TXN_VERIFIED, err) && txn_commit(txn, err);
}

static void forget_name(struct strlist *list, const char *name)
{
    AUTO_STRLIST rest = STRLIST_INIT;
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->v[i], name) != 0)
            strlist_add(&rest, list->v[i]);
    strlist_copy(list, &rest);
}

static bool install_part(struct world *w, const struct cert *cert,
                         bool (*edit)(struct world *, const struct cert *, struct txn *, struct err *),
                         bool *changed, struct err *err)
{
    struct txn *txn = NULL;
    bool fine = txn_begin(w->journal, cert->name, "install", &txn, err) && edit(w, cert, txn, err) &&
                txn_check(txn, err) && finish(w, txn, err);
    *changed = *changed || (fine && txn_count(txn) > 0);
    txn_free(txn);
    return fine;
}

/* False when the server's configuration has no place for it; nothing is changed then. */
static bool install(struct world *w, const char *name)
{
    const struct cert *cert = cert_of(name);
    struct err err = ERR_INIT;
    struct txn *look = NULL;
    bool fine = txn_begin(w->journal, name, "a look ahead", &look, &err) && edit_https(w, cert, look, &err);
    txn_free(look);
    if (!fine) {
        if (getenv("VERBOSE") != NULL)
            print_message("%s: no place for %s: %s\n", w->base->label, name, err.text);
        return false;
    }
    bool changed = false;
    must(install_part(w, cert, edit_challenge, &changed, &err) &&
             install_part(w, cert, edit_https, &changed, &err),
         &err);
    installed += changed;
    w->mixed = w->mixed || (changed && strlist_has(&w->standing, name));
    if (changed) { /* again: it has the last word now */
        forget_name(&w->standing, name);
        strlist_add(&w->standing, name);
    }
    return true;
}

static bool concerns(void *ctx, const char *owner)
{
    (void)ctx;
    return cert_of(owner) != NULL;
}

static bool redo(void *ctx, const char *owner, struct txn *txn, struct err *err)
{
    return edit_challenge(ctx, cert_of(owner), txn, err) && edit_https(ctx, cert_of(owner), txn, err);
}

static bool undo(struct world *w, const char *name, struct strlist *messages, struct err *err)
{
    const struct txn_redo others = {.concerns = concerns, .edit = redo, .ctx = w};
    struct txn *txn = NULL;
    bool fine = txn_begin(w->journal, name, "undo", &txn, err) && txn_undo(txn, &others, messages, err) &&
                txn_check(txn, err) && finish(w, txn, err);
    txn_free(txn);
    if (fine)
        forget_name(&w->standing, name);
    undone += fine;
    return fine;
}

/* False: another one rests on it, and nothing was touched. */
static bool may_undo(struct world *w, const char *name)
{
    AUTO_STRLIST messages = STRLIST_INIT;
    struct err err = ERR_INIT;
    AUTO_FREE char *before = describe(w);
    if (!undo(w, name, &messages, &err)) {
        AUTO_FREE char *after = describe(w);
        if (err.code != ERR_WEBSERVER || strstr(err.advice, "Undo ") == NULL)
            must(false, &err);
        assert_string_equal(before, after);
        refused++;
        return false;
    }
    if (messages.n > 0 && !w->edited)
        fail_msg("%s: undo of %s says: %s", w->base->label, name, messages.v[0]);
    return true;
}

static void person_edits(struct world *w)
{
    AUTO_FREE char *path = fs_join(w->etc, w->base->edited);
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    fputs("# a person was here\n", file);
    fclose(file);
    w->edited = true;
}

/* -- the oracle ----------------------------------------------------------------------------------------- */

/* What stands, as text: "?" when it is the result of more than that, "+" when a person has edited, then the
 * certificates in order. */
static char *key_of(const struct world *w)
{
    AUTO_FREE char *names = strlist_join(&w->standing, "");
    bool mixed = w->mixed && w->standing.n > 0;
    return mem_fmt("%s%s%s", mixed ? "?" : "", w->edited ? "+" : "", names);
}

static struct strlist known_keys, known_trees;
static struct strlist proven; /* trees that the server accepts, and serves what stands in them */

static void forget_known(void)
{
    strlist_clear(&known_keys);
    strlist_clear(&known_trees);
    strlist_clear(&proven);
}

static void is_served(struct world *w)
{
    struct sites sites = SITES_INIT;
    ok(web_read(&w->web, &sites, &err));
    for (size_t i = 0; i < w->standing.n; i++) {
        const struct cert *cert = cert_of(w->standing.v[i]);
        AUTO_STRLIST names = STRLIST_INIT;
        size_t served = 0;
        strlist_split(&names, cert->names, " ");
        for (size_t k = 0; k < names.n; k++) {
            const struct site *site = sites_owner(&w->web, &sites, names.v[k], 443, false);
            if (site != NULL && strstr(site->certificate, w->live) != NULL)
                served++;
            else if (names.v[k][0] != '*')
                fail_msg("%s: %s of %s is not served (%s)", w->base->label, names.v[k], cert->name,
                         site == NULL ? "nobody" : site->certificate);
        }
        assert_true(served > 0);
        struct txn *txn = NULL;
        ok(txn_begin(w->journal, "nobody", "look", &txn, &err) && edit_challenge(w, cert, txn, &err));
        if (txn_count(txn) > 0)
            fail_msg("%s: challenges of %s are not answered", w->base->label, cert->name);
        txn_free(txn);
    }
    sites_clear(&sites);
}

static const char *known_tree(const char *key)
{
    for (size_t i = 0; i < known_keys.n; i++)
        if (strcmp(known_keys.v[i], key) == 0)
            return known_trees.v[i];
    return NULL;
}

/* A fresh installation of the same certificates in the same order. Where that cannot be (one was only
 * possible since another had been there) nothing is known. */
static void learn(struct world *w, const char *key)
{
    const char *names = key;
    bool fine = *names != '?';
    world_reset(w, w->base);
    if (*names == '+') {
        person_edits(w);
        names++;
    }
    for (; *names != '\0' && fine; names++) {
        char name[2] = {*names, '\0'};
        fine = install(w, name);
    }
    AUTO_FREE char *tree = fine ? describe(w) : mem_dup("");
    strlist_add(&known_keys, key);
    strlist_add(&known_trees, tree);
}

struct seen {
    char *key, *tree;
};

/* The first difference, with its surroundings. */
static void differ(const struct world *w, const char *what, const char *is, const char *should)
{
    size_t at = 0, line = 0;
    for (; is[at] != '\0' && is[at] == should[at]; at++)
        if (is[at] == '\n')
            line = at + 1;
    size_t from = line > 300 ? line - 300 : 0;
    fail_msg("%s: certificates %zu: %s: it is\n...%.900s\n---- and should be\n...%.900s", w->base->label, set,
             what, is + from, should + from);
}

/* Sequences are told once what they ended in, and compared later: the world is one. */
struct trace {
    struct seen v[64];
    size_t n;
};

static void note(struct world *w, struct trace *trace)
{
    assert_true(trace->n < COUNT_OF(trace->v));
    struct seen *seen = &trace->v[trace->n++];
    *seen = (struct seen){key_of(w), describe(w)};
    AUTO_FREE char *both = mem_fmt("%s\n%s", seen->key, seen->tree);
    if (strlist_has(&proven, both))
        return;
    ok(web_test(&w->web, &err));
    is_served(w);
    strlist_add(&proven, both);
}

static void compare(struct world *w, struct trace *trace, const char *what)
{
    for (size_t i = 0; i < trace->n; i++) {
        struct seen *seen = &trace->v[i];
        if (known_tree(seen->key) == NULL)
            learn(w, seen->key);
        if (known_tree(seen->key)[0] != '\0' && strcmp(known_tree(seen->key), seen->tree) != 0) {
            AUTO_FREE char *where = mem_fmt("%s, step %zu, standing \"%s\"", what, i + 1, seen->key);
            differ(w, where, seen->tree, known_tree(seen->key));
        }
        free(seen->key);
        free(seen->tree);
    }
    trace->n = 0;
}

/* -- sequences ------------------------------------------------------------------------------------------ */

static const char *const orders[] = {"abc", "acb", "bac", "bca", "cab", "cba"};

/* Upper case: install; lower case: undo; "+": a person's edit. What cannot be installed is left out. */
static void play(struct world *w, const struct base *base, const char *steps, struct trace *trace)
{
    world_reset(w, base);
    for (; *steps != '\0'; steps++) {
        char name[2] = {(char)(*steps | 0x20), '\0'};
        if (*steps == '+')
            person_edits(w);
        else if (*steps < 'a')
            (void)install(w, name);
        else if (strlist_has(&w->standing, name))
            (void)may_undo(w, name);
        note(w, trace);
    }
    for (size_t i = 0; i < CERTS * CERTS && w->standing.n > 0; i++) { /* those that others rested on */
        AUTO_FREE char *name = mem_dup(w->standing.v[i % w->standing.n]);
        (void)may_undo(w, name);
    }
    note(w, trace);
    assert_int_equal(w->standing.n, 0);
}

static void need(enum web_kind kind)
{
    if (geteuid() != 0 || program_of(kind) == NULL || (kind == WEB_APACHE && module_dir() == NULL)) {
        print_message("not root, or no %s: skipped\n", web_kind_name(kind));
        skip();
    }
}

static void check(struct world *w, const struct base *base, const char *steps)
{
    struct trace trace = {0};
    play(w, base, steps, &trace);
    compare(w, &trace, steps);
}

static void every_order(enum web_kind kind, const char *between)
{
    need(kind);
    WORLD(w);
    world_init(&w);
    size_t sequences = 0;
    for (size_t b = 0; b < COUNT_OF(bases) * COUNT_OF(sets); b++) {
        const struct base *base = &bases[b / COUNT_OF(sets)];
        if (base->kind != kind)
            continue;
        set = b % COUNT_OF(sets);
        if (*between != '\0' && set != b / COUNT_OF(sets) % COUNT_OF(sets))
            continue; /* of those, one set of certificates a tree */
        forget_known();
        for (size_t i = 0; i < COUNT_OF(orders); i++)
            for (size_t k = 0; k < COUNT_OF(orders); k++) {
                char steps[16] = "";
                for (size_t n = 0; n < CERTS; n++)
                    steps[n] = (char)(orders[i][n] & ~0x20);
                snprintf(steps + CERTS, sizeof(steps) - CERTS, "%s%s", between, orders[k]);
                check(&w, base, steps);
                sequences++;
            }
    }
    print_message("%s: %zu sequences: %zu installed, %zu undone, %zu first refused\n", web_kind_name(kind),
                  sequences, installed, undone, refused);
    installed = undone = refused = 0;
}

static void nginx_in_every_order(void **state)
{
    (void)state;
    every_order(WEB_NGINX, "");
}

static void apache_in_every_order(void **state)
{
    (void)state;
    every_order(WEB_APACHE, "");
}

static void nginx_with_a_persons_edit(void **state)
{
    (void)state;
    every_order(WEB_NGINX, "+");
}

static void apache_with_a_persons_edit(void **state)
{
    (void)state;
    every_order(WEB_APACHE, "+");
}

/* Installed again, taken back in between, a person here and there: random walks, always the same ones. */
static void random_walks(enum web_kind kind)
{
    need(kind);
    WORLD(w);
    world_init(&w);
    unsigned seed = 7;
    for (size_t b = 0; b < COUNT_OF(bases) * COUNT_OF(sets); b++) {
        const struct base *base = &bases[b / COUNT_OF(sets)];
        if (base->kind != kind)
            continue;
        set = b % COUNT_OF(sets);
        forget_known();
        for (int walk = 0; walk < 10; walk++) {
            char steps[16];
            for (size_t n = 0; n < 12; n++)
                steps[n] = (char)("ABCabcABCabc"[rand_r(&seed) % 12]);
            if (walk % 4 == 3)
                steps[rand_r(&seed) % 6] = '+';
            memcpy(steps + 12, "abc", 4);
            check(&w, base, steps);
        }
    }
}

static void nginx_random_walks(void **state)
{
    (void)state;
    random_walks(WEB_NGINX);
}

static void apache_random_walks(void **state)
{
    (void)state;
    random_walks(WEB_APACHE);
}

/* -- crashes -------------------------------------------------------------------------------------------- */

#ifdef TEST_HOOKS

static void copy_tree(const char *from, const char *to)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *command = mem_fmt("cp -a %s %s", from, to);
    must(fs_remove_tree(to, &err), &err);
    assert_int_equal(system(command), 0); /* NOLINT: our own words */
}

static void store_world(const struct world *w, bool back)
{
    const char *const dirs[] = {w->etc, w->journal, w->live};
    for (size_t i = 0; i < COUNT_OF(dirs); i++) {
        AUTO_FREE char *stored = mem_fmt("%s.stored", dirs[i]);
        copy_tree(back ? stored : dirs[i], back ? dirs[i] : stored);
    }
}

/* In a process of its own that dies before its N-th step. False: it came to its end. */
static bool dies(struct world *w, unsigned long n, bool (*work)(struct world *w))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char text[24];
        snprintf(text, sizeof(text), "%lu", n);
        setenv("TLSUP_TEST_CRASH", text, 1);
        txn_steps_done = 0;
        _exit(work(w) ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return true;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return false;
}

static bool undo_a(struct world *w)
{
    struct err err = ERR_INIT;
    AUTO_STRLIST messages = STRLIST_INIT;
    return undo(w, "a", &messages, &err);
}

static bool recover(struct world *w)
{
    struct err err = ERR_INIT;
    struct txn_recovery out = {0};
    bool fine = txn_recover(w->journal, &out, &err) && out.kept == 0;
    txn_recovery_clear(&out);
    return fine;
}

/* All old or all new, and from there all can be taken back. */
static bool ended_well(struct world *w, const char *before, const char *after, const char *bare)
{
    AUTO_FREE char *now = describe(w);
    bool is_new = strcmp(now, after) == 0;
    if (!is_new && strcmp(now, before) != 0)
        differ(w, "after a crash and its recovery", now, before);
    AUTO_STRLIST standing = STRLIST_INIT;
    strlist_copy(&standing, &w->standing);
    if (is_new)
        forget_name(&w->standing, "a");
    static const char *const names[] = {"b", "a", "c"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (strlist_has(&w->standing, names[i]))
            assert_true(may_undo(w, names[i]));
    AUTO_FREE char *end = describe(w);
    if (strcmp(end, bare) != 0)
        differ(w, "all taken back after a recovery", end, bare);
    strlist_copy(&w->standing, &standing);
    return is_new;
}

static void crash_everywhere(const struct base *base, size_t with_set)
{
    WORLD(w);
    world_init(&w);
    set = with_set;
    world_reset(&w, base);
    AUTO_FREE char *bare = describe(&w);
    assert_true(install(&w, "a") && install(&w, "b") && install(&w, "c"));
    AUTO_FREE char *before = describe(&w);
    store_world(&w, false);
    AUTO_STRLIST messages = STRLIST_INIT;
    ok(undo(&w, "a", &messages, &err));
    AUTO_FREE char *after = describe(&w);
    strlist_clear(&w.standing);
    for (size_t i = 0; i < CERTS; i++)
        strlist_add(&w.standing, sets[set][i].name);
    unsigned long n, n_new = 0, in_recovery = 0;
    for (n = 1;; n++) {
        store_world(&w, true);
        if (!dies(&w, n, undo_a))
            break;
        ok(web_test(&w.web, &err)); /* at every point, without any recovery */
        assert_true(recover(&w));
        bool is_new = ended_well(&w, before, after, bare);
        n_new += is_new;
        for (unsigned long m = 1; is_new && n_new % 8 == 1; m++, in_recovery++) {
            store_world(&w, true);
            assert_true(dies(&w, n, undo_a));
            if (!dies(&w, m, recover))
                break;
            assert_true(recover(&w));
            assert_true(ended_well(&w, before, after, bare));
        }
    }
    print_message("%s: crash points of an undo: %lu, finished after %lu; %lu in its recovery\n", base->label,
                  n - 1, n_new, in_recovery);
    assert_true(n_new > 0 && n_new < n - 1);
}

/* No space at one step, or at all from one step on: all old or all new as well, and what could not be
 * finished is finished by the next run. */
static void fail_everywhere(const struct base *base, size_t with_set, const char *lasting)
{
    WORLD(w);
    world_init(&w);
    set = with_set;
    world_reset(&w, base);
    AUTO_FREE char *bare = describe(&w);
    assert_true(install(&w, "a") && install(&w, "b") && install(&w, "c"));
    AUTO_FREE char *before = describe(&w);
    store_world(&w, false);
    AUTO_STRLIST messages = STRLIST_INIT;
    txn_steps_done = 0;
    ok(undo(&w, "a", &messages, &err));
    unsigned long steps = txn_steps_done;
    AUTO_FREE char *after = describe(&w);
    unsigned long n_new = 0;
    for (unsigned long n = 1; n <= steps; n++) {
        struct err err = ERR_INIT;
        AUTO_FREE char *text = mem_fmt("%lu%s", n, lasting);
        store_world(&w, true);
        strlist_clear(&w.standing);
        for (size_t i = 0; i < CERTS; i++)
            strlist_add(&w.standing, sets[set][i].name);
        setenv("TLSUP_TEST_FAIL", text, 1);
        txn_steps_done = 0;
        bool fine = undo(&w, "a", &messages, &err);
        unsetenv("TLSUP_TEST_FAIL");
        assert_true(fine || err.code == ERR_NO_SPACE);
        assert_true(recover(&w));
        if (fine)
            strlist_add(&w.standing, "a");
        bool is_new = ended_well(&w, before, after, bare);
        assert_true(is_new || !fine); /* proven, and only not written down: the next run has finished it */
        n_new += is_new;
    }
    print_message("%s: %lu steps without space%s: put back after %lu\n", base->label, steps, lasting,
                  steps - n_new);
    assert_true(n_new > 0 && n_new < steps);
}

static void failure_at_every_step(void **state)
{
    (void)state;
    need(WEB_NGINX);
    fail_everywhere(&bases[2], 1, "");
    fail_everywhere(&bases[2], 1, "+");
}

static void crash_at_every_step(void **state)
{
    (void)state;
    need(WEB_NGINX);
    crash_everywhere(&bases[1], 1);
    crash_everywhere(&bases[2], 1);
}

static void crash_at_every_step_apache(void **state)
{
    (void)state;
    need(WEB_APACHE);
    crash_everywhere(&bases[5], 1);
}

#endif

/* -- main ----------------------------------------------------------------------------------------------- */

static int setup(void **state)
{
    (void)state;
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(top, sizeof(top), "%s/tlsup-undo-XXXXXX", parent);
    assert_non_null(mkdtemp(top));
    assert_int_equal(chmod(top, 0755), 0);
    log_set_level(LOG_LEVEL_ERROR);
    for (size_t i = 0; i < COUNT_OF(sets); i++)
        for (size_t k = 0; k < CERTS; k++) {
            AUTO_FREE char *dir = mem_fmt("%s/certs/%zu%s/1", top, i, sets[i][k].name);
            make_certificate(dir, sets[i][k].names);
        }
    AUTO_FREE char *old = mem_fmt("%s/old", top);
    make_certificate(old, "example.org sub.example.org");
    if (geteuid() == 0 && unshare(CLONE_NEWNET) != 0)
        return -1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    forget_known();
    return fs_remove_tree(top, &err) ? 0 : -1;
}

int main(void)
{
    if (getenv("TLSUP_TEST_BRIEF") != NULL) {
        puts("skipped: this is a brief run, and it takes long");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nginx_in_every_order),       cmocka_unit_test(apache_in_every_order),
        cmocka_unit_test(nginx_with_a_persons_edit),  cmocka_unit_test(apache_with_a_persons_edit),
        cmocka_unit_test(nginx_random_walks),         cmocka_unit_test(apache_random_walks),
#ifdef TEST_HOOKS
        cmocka_unit_test(failure_at_every_step),      cmocka_unit_test(crash_at_every_step),
        cmocka_unit_test(crash_at_every_step_apache),
#endif
    };
    cmocka_set_test_filter(getenv("TLSUP_TEST_ONLY"));
    return cmocka_run_group_tests(tests, setup, teardown);
}
