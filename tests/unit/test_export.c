/*
 * test_export.c - copies of certificates: how people write them down, and what is written.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/compat.h"
#include "tlsup/export.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/pkcs12.h"

/* -- specifications ----------------------------------------------------------------------------------- */

static void test_spec_whole(void **state)
{
    (void)state;
    struct export_spec spec;
    struct err err = ERR_INIT;
    assert_true(export_spec_parse("p12  /srv/x.p12\towner=www-data:1000 mode=640 password-file=/etc/pass "
                                  "friendly-name=my-site legacy=yes",
                                  &spec, &err));
    assert_int_equal(spec.format, EXPORT_P12);
    assert_string_equal(spec.path, "/srv/x.p12");
    assert_string_equal(spec.owner, "www-data:1000");
    assert_int_equal(spec.mode, 0640);
    assert_string_equal(spec.password_file, "/etc/pass");
    assert_string_equal(spec.friendly_name, "my-site");
    assert_true(spec.legacy);
    export_spec_clear(&spec);
    assert_null(spec.path);
}

static void test_spec_round_trip(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"combined /etc/haproxy/a.pem", NULL},
        {"fullchain /a", NULL},
        {"cert /a mode=0644", NULL},
        {"chain /a owner=:ssl-cert", NULL},
        {"key /a owner=0:0 mode=0440", NULL},
        {"pem /etc/prosody/certs/mail owner=prosody", NULL},
        {"pem /etc/prosody/certs/mail// ", "pem /etc/prosody/certs/mail"},
        {"der /a/b", NULL},
        {"p12 /a.pfx", NULL},
        {"pfx /a.pfx mode=600", "p12 /a.pfx mode=0600"},
        {"jks /a.jks password-file=/p friendly-name=tomcat", NULL},
        {"jks /a.jks password-file=/p legacy=no", "jks /a.jks password-file=/p"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct export_spec spec;
        struct err err = ERR_INIT;
        if (!export_spec_parse(rows[i][0], &spec, &err))
            fail_msg("%s: %s", rows[i][0], err.text);
        AUTO_FREE char *text = export_spec_text(&spec);
        assert_string_equal(text, rows[i][1] != NULL ? rows[i][1] : rows[i][0]);
        export_spec_clear(&spec);
    }
}

static void test_spec_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "FORMAT PATH"},
        {"p12", "FORMAT PATH"},
        {"zip /a", "combined, fullchain"},
        {"P12 /a", "no format"},
        {"p12 a.p12", "absolute"},
        {"p12 -", "standard output"},
        {"combined /", "is a directory"},
        {"pem ///", "root directory"},
        {"combined /a/", "is a directory"},
        {"combined /a /b", "white space"},
        {"combined /a b", "NAME=VALUE"},
        {"combined /a colour=red", "colour"},
        {"combined /a path=/b", "path"},
        {"combined /a owner=", "USER:GROUP"},
        {"combined /a owner=:", "USER:GROUP"},
        {"combined /a owner=a:", "USER:GROUP"},
        {"combined /a owner=a:b:c", "USER:GROUP"},
        {"combined /a owner=-x", "USER:GROUP"},
        {"combined /a owner=a;b", "USER:GROUP"},
        {"combined /a owner=a owner=b", "twice"},
        {"combined /a mode=", "octal"},
        {"combined /a mode=rw", "octal"},
        {"combined /a mode=9", "octal"},
        {"combined /a mode=0666", "everybody could change"},
        {"cert /a mode=0646", "everybody could change"},
        {"combined /a mode=0755", "not one for a file"},
        {"combined /a mode=4600", "not one for a file"},
        {"combined /a mode=0040", "not one for a file"},
        {"combined /a mode=000", "not one for a file"},
        {"combined /a mode=77777777777777777777", "octal"},
        {"combined /a mode=0644", "read the private key"},
        {"key /a mode=0604", "read the private key"},
        {"p12 /a mode=0644", "read the private key"},
        {"pem /a mode=0644", "read the private key"},
        {"jks /a", "password-file"},
        {"combined /a password-file=/p", "p12 and jks"},
        {"der /a friendly-name=x", "p12 and jks"},
        {"cert /a legacy=yes", "p12 and jks"},
        {"p12 /a legacy=maybe", "'yes' or 'no'"},
        {"p12 /a password-file=p", "absolute"},
        {"p12 /a password-file=", "absolute"},
        {"p12 /a friendly-name=", "one word"},
        {"p12 /a friendly-name=\x01", "one word"},
        {"combined /a\x01", "absolute"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct export_spec spec = {.path = (char *)(uintptr_t)0x5a};
        struct err err = ERR_INIT;
        if (export_spec_parse(rows[i].text, &spec, &err))
            fail_msg("'%s' was accepted", rows[i].text);
        assert_int_equal(err.code, ERR_CONFIG);
        if (strstr(err.text, rows[i].says) == NULL)
            fail_msg("'%s': %s", rows[i].text, err.text);
        assert_ptr_equal(spec.path, (void *)(uintptr_t)0x5a);
    }
}

static void test_spec_word_by_word(void **state)
{
    (void)state;
    struct export_spec spec = {.format = EXPORT_COMBINED};
    struct err err = ERR_INIT;
    assert_true(export_spec_set(&spec, "path", "/srv/with white space.pem", &err));
    assert_true(export_spec_set(&spec, "path", "-", &err));
    assert_true(export_spec_check(&spec, &err));
    assert_true(export_spec_set(&spec, "mode", "0600", &err));
    assert_false(export_spec_check(&spec, &err));
    export_spec_clear(&spec);
    err_clear(&err);
    spec.format = EXPORT_PEM;
    assert_true(export_spec_set(&spec, "path", "-", &err));
    assert_false(export_spec_check(&spec, &err));
    assert_non_null(strstr(err.text, "standard output"));
    export_spec_clear(&spec);
    err_clear(&err);
    assert_false(export_spec_set(&spec, "path", "", &err));
}

/* -- a store with versions of one certificate --------------------------------------------------------- */

#define NAME "example.org"
#define NOBODY 65534
#define STRANGER 65533

static char base[64];
static struct store *store;
static struct key *ec_key, *rsa_key;
static struct cert_chain *long_chain, *short_chain, *rsa_chain;
/* The versions: of three certificates, of two, with both key types, with its key elsewhere. */
enum { LONG = 1, SHORT, DUAL, ELSEWHERE };

static char *below(const char *name)
{
    return fs_join(base, name);
}

static X509 *sign(EVP_PKEY *key, const char *name, EVP_PKEY *issuer_key, const char *issuer)
{
    X509 *cert = X509_new();
    X509_NAME *from = X509_NAME_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 7);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC, (const unsigned char *)name,
                               -1, -1, 0);
    X509_NAME_add_entry_by_txt(from, "CN", MBSTRING_ASC, (const unsigned char *)issuer, -1, -1, 0);
    X509_set_issuer_name(cert, from);
    X509_NAME_free(from);
    assert_true(X509_sign(cert, issuer_key, EVP_sha256()) > 0);
    return cert;
}

static struct cert_chain *make_chain(const struct key *key, int n)
{
    struct err err = ERR_INIT;
    struct cert_chain *chain = NULL;
    EVP_PKEY *above = EVP_EC_gen("P-256");
    BIO *bio = BIO_new(BIO_s_mem());
    char *pem;
    for (int i = 0; i < n; i++) {
        X509 *cert = sign(i == 0 ? key_pkey(key) : above, i == 0 ? "leaf" : "above", above, "above");
        assert_true(PEM_write_bio_X509(bio, cert) == 1);
        X509_free(cert);
    }
    long len = BIO_get_mem_data(bio, &pem);
    assert_true(cert_chain_parse(pem, (size_t)len, "test", &chain, &err));
    BIO_free(bio);
    EVP_PKEY_free(above);
    return chain;
}

static void add_version(const struct store_part *parts, size_t n, int wanted)
{
    struct err err = ERR_INIT;
    int version;
    if (!store_version_add(store, NAME, parts, n, &version, &err))
        fail_msg("%s", err.text);
    assert_int_equal(version, wanted);
}

static int setup(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    log_set_level(LOG_LEVEL_ERROR);
    umask(022);
    snprintf(base, sizeof base, "/tmp/tlsup-export-XXXXXX");
    if (mkdtemp(base) == NULL || chmod(base, 0755) != 0)
        return -1;
    AUTO_FREE char *config = below("etc");
    AUTO_FREE char *var = below("var");
    AUTO_FREE char *out = below("out");
    assert_true(key_generate(KEY_ECDSA_P256, &ec_key, &err) && key_generate(KEY_RSA_2048, &rsa_key, &err));
    long_chain = make_chain(ec_key, 3);
    short_chain = make_chain(ec_key, 2);
    rsa_chain = make_chain(rsa_key, 2);
    if (!store_open(config, var, STORE_WRITE, &store, &err))
        fail_msg("%s", err.text);
    add_version(&(struct store_part){ec_key, long_chain}, 1, LONG);
    add_version(&(struct store_part){ec_key, short_chain}, 1, SHORT);
    add_version((struct store_part[]){{ec_key, long_chain}, {rsa_key, rsa_chain}}, 2, DUAL);
    add_version(&(struct store_part){NULL, long_chain}, 1, ELSEWHERE);
    return mkdir(out, 0755);
}

static int teardown(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    store_close(store);
    key_free(ec_key);
    key_free(rsa_key);
    cert_chain_free(long_chain);
    cert_chain_free(short_chain);
    cert_chain_free(rsa_chain);
    return fs_remove_tree(base, &err) ? 0 : -1;
}

/* Before each test: an empty directory to write into. */
static int fresh_out(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    AUTO_FREE char *out = below("out");
    return fs_remove_tree(out, &err) && mkdir(out, 0755) == 0 ? 0 : -1;
}

/* "%" in the text is the directory of the test. */
static bool write_text(const char *text, int version, int part, struct err *err)
{
    AUTO_BUF whole = BUF_INIT;
    struct export_spec spec;
    *err = (struct err)ERR_INIT;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '%')
            buf_addf(&whole, "%s/out", base);
        else
            buf_addc(&whole, *c);
    }
    if (!export_spec_parse(buf_str(&whole), &spec, err))
        fail_msg("%s", err->text);
    bool ok = export_write(store, NAME, version, part, &spec, err);
    export_spec_clear(&spec);
    return ok;
}

static void write_ok(const char *text, int version)
{
    struct err err;
    if (!write_text(text, version, 0, &err))
        fail_msg("%s: %s", text, err.text);
}

static void write_fails(const char *text, int version, enum err_code code, const char *says)
{
    struct err err;
    if (write_text(text, version, 0, &err))
        fail_msg("%s was written", text);
    if (err.code != code || strstr(err.text, says) == NULL)
        fail_msg("%s: %s: %s", text, err_code_name(err.code), err.text);
}

static char *out_path(const char *name)
{
    return mem_fmt("%s/out/%s", base, name);
}

static struct stat look(const char *name)
{
    struct stat st;
    AUTO_FREE char *path = out_path(name);
    if (lstat(path, &st) != 0)
        fail_msg("%s: %s", path, strerror(errno));
    return st;
}

static bool is_there(const char *name)
{
    AUTO_FREE char *path = out_path(name);
    return fs_exists(path);
}

static void put(const char *name, const char *text, mode_t mode)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *path = out_path(name);
    assert_true(fs_write(path, text, strlen(text), mode, &err));
}

static void make_directory(const char *name, mode_t mode, uid_t uid, gid_t gid)
{
    AUTO_FREE char *path = out_path(name);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, mode), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(path, uid, gid), 0);
}

static void read_file(const char *name, struct buf *out)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *path = out_path(name);
    if (!fs_read(path, 1 << 20, out, &err))
        fail_msg("%s", err.text);
}

static void expect_text(const char *name, const char *text)
{
    AUTO_BUF data = BUF_SECRET;
    read_file(name, &data);
    assert_string_equal(buf_str(&data), text);
}

static void expect_mode(const char *name, mode_t mode, uid_t uid, gid_t gid)
{
    struct stat st = look(name);
    if ((st.st_mode & 07777) != mode || st.st_uid != uid || st.st_gid != gid)
        fail_msg("%s: mode %04o uid %d gid %d", name, st.st_mode & 07777, (int)st.st_uid, (int)st.st_gid);
}

/* Nothing but this in the directory: no temporary files are left, above all. */
static void expect_entries(const char *dir, const char *wanted)
{
    struct err err = ERR_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    AUTO_FREE char *path = out_path(dir);
    assert_true(fs_list(path, &names, &err));
    AUTO_FREE char *text = strlist_join(&names, " ");
    assert_string_equal(text, wanted);
}

/* -- formats ------------------------------------------------------------------------------------------ */

static void test_pem_formats(void **state)
{
    (void)state;
    AUTO_BUF key = BUF_SECRET, cert = BUF_INIT, rest = BUF_INIT, full = BUF_INIT;
    struct err err = ERR_INIT;
    assert_true(key_to_pem(ec_key, &key, &err) && cert_chain_pem(long_chain, &cert, &rest, &full, &err));
    AUTO_FREE char *combined = mem_fmt("%s%s", key.data, full.data);
    write_ok("combined %/combined.pem", LONG);
    write_ok("fullchain %/fullchain.pem", LONG);
    write_ok("cert %/cert.pem", LONG);
    write_ok("chain %/chain.pem", LONG);
    write_ok("key %/key.pem", LONG);
    write_ok("pem %/all", LONG);
    expect_text("combined.pem", combined);
    expect_text("fullchain.pem", full.data);
    expect_text("cert.pem", cert.data);
    expect_text("chain.pem", rest.data);
    expect_text("key.pem", key.data);
    expect_text("all/privkey.pem", key.data);
    expect_text("all/cert.pem", cert.data);
    expect_text("all/chain.pem", rest.data);
    expect_text("all/fullchain.pem", full.data);
    expect_mode("combined.pem", 0600, geteuid(), getegid());
    expect_mode("key.pem", 0600, geteuid(), getegid());
    expect_mode("fullchain.pem", 0644, geteuid(), getegid());
    expect_mode("all", 0755, geteuid(), getegid());
    expect_mode("all/privkey.pem", 0600, geteuid(), getegid());
    expect_mode("all/fullchain.pem", 0644, geteuid(), getegid());
    expect_entries("", "all cert.pem chain.pem combined.pem fullchain.pem key.pem");
    expect_entries("all", "cert.pem chain.pem fullchain.pem privkey.pem");
}

/* Of a longer chain before, nothing is left. */
static void test_der(void **state)
{
    (void)state;
    AUTO_BUF written = BUF_INIT, wanted = BUF_INIT, key = BUF_SECRET, key_wanted = BUF_SECRET;
    struct err err = ERR_INIT;
    bool there;
    write_ok("der %/der mode=0640", LONG);
    expect_entries("der", "cert.der chain-1.der chain-2.der privkey.der");
    expect_mode("der/privkey.der", 0640, geteuid(), getegid());
    expect_mode("der/cert.der", 0644, geteuid(), getegid());
    write_ok("der %/der", SHORT);
    expect_entries("der", "cert.der chain-1.der privkey.der");
    read_file("der/chain-1.der", &written);
    assert_true(cert_der_at(short_chain, 1, &wanted, &there, &err) && there);
    assert_int_equal(written.len, wanted.len);
    assert_memory_equal(written.data, wanted.data, wanted.len);
    read_file("der/privkey.der", &key);
    assert_true(pkcs8_encode(ec_key, &key_wanted, &err));
    assert_int_equal(key.len, key_wanted.len);
    assert_memory_equal(key.data, key_wanted.data, key.len);
}

static void expect_pkcs12(const char *name, const char *password, const char *friendly_name, bool legacy)
{
    AUTO_BUF data = BUF_SECRET;
    read_file(name, &data);
    struct pkcs12_options options = {password, friendly_name, legacy};
    assert_true(pkcs12_says(data.data, data.len, ec_key, long_chain, &options));
}

static void test_pkcs12(void **state)
{
    (void)state;
    put("pass", "geheim7\nsecond line\n", 0600);
    put("bare", "without a newline", 0400);
    write_ok("p12 %/a.p12", LONG);
    write_ok("p12 %/b.p12 password-file=%/pass friendly-name=web", LONG);
    write_ok("p12 %/c.p12 password-file=%/bare legacy=yes", LONG);
    write_ok("jks %/d.jks password-file=%/pass", LONG);
    expect_pkcs12("a.p12", "", NAME, false);
    expect_pkcs12("b.p12", "geheim7", "web", false);
    expect_pkcs12("c.p12", "without a newline", NAME, true);
    expect_pkcs12("d.jks", "geheim7", "1", false);
    expect_mode("a.p12", 0600, geteuid(), getegid());
}

static void test_password_files(void **state)
{
    (void)state;
    char huge[5000];
    memset(huge, 'x', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    put("open", "geheim7\n", 0644);
    put("group", "geheim7\n", 0640);
    put("empty", "", 0600);
    put("blank", "\ngeheim\n", 0600);
    put("short", "12345\n", 0600);
    put("huge", huge, 0600);
    make_directory("dir", 0700, 0, 0);
    write_fails("p12 %/a.p12 password-file=%/open", LONG, ERR_PERMISSION, "others may read the password");
    write_fails("p12 %/a.p12 password-file=%/group", LONG, ERR_PERMISSION, "mode 0640");
    write_fails("p12 %/a.p12 password-file=%/empty", LONG, ERR_CONFIG, "is not a password");
    write_fails("p12 %/a.p12 password-file=%/blank", LONG, ERR_CONFIG, "is not a password");
    write_fails("p12 %/a.p12 password-file=%/huge", LONG, ERR_CONFIG, "is not a password");
    write_fails("p12 %/a.p12 password-file=%/none", LONG, ERR_NOT_FOUND, "none");
    write_fails("p12 %/a.p12 password-file=%/dir", LONG, ERR_CONFIG, "not a regular file");
    write_fails("jks %/a.jks password-file=%/short", LONG, ERR_CONFIG, "too short");
    write_ok("p12 %/b.p12 password-file=%/short", LONG);
    assert_false(is_there("a.p12") || is_there("a.jks"));
    if (geteuid() == 0) {
        put("theirs", "geheim7\n", 0600);
        AUTO_FREE char *path = out_path("theirs");
        assert_int_equal(chown(path, NOBODY, NOBODY), 0);
        write_fails("p12 %/a.p12 password-file=%/theirs", LONG, ERR_PERMISSION, "others may read");
    }
}

static void test_two_key_types(void **state)
{
    (void)state;
    struct err err;
    AUTO_BUF key = BUF_SECRET;
    AUTO_FREE char *path = NULL;
    static const char *const texts[] = {"combined %/a.b/site.pem", "combined %/site", "combined %/.hidden",
                                        "pem %/pem", "der %/der"};
    make_directory("a.b", 0755, 0, 0);
    for (size_t i = 0; i < COUNT_OF(texts); i++)
        for (int part = 0; part < 2; part++)
            if (!write_text(texts[i], DUAL, part, &err))
                fail_msg("%s: %s", texts[i], err.text);
    expect_entries("a.b", "site-rsa.pem site.pem");
    expect_entries("pem", "cert-rsa.pem cert.pem chain-rsa.pem chain.pem fullchain-rsa.pem fullchain.pem "
                          "privkey-rsa.pem privkey.pem");
    expect_entries(
        "der", "cert-rsa.der cert.der chain-1.der chain-2.der chain-rsa-1.der privkey-rsa.der privkey.der");
    assert_true(is_there("site-rsa") && is_there(".hidden-rsa"));
    err_clear(&err);
    assert_true(key_to_pem(rsa_key, &key, &err));
    expect_text("pem/privkey-rsa.pem", key.data);
    struct export_spec spec;
    assert_true(export_spec_parse("combined /a.b/site.pem", &spec, &err));
    assert_true(export_path(store, NAME, DUAL, 1, &spec, &path, &err));
    assert_string_equal(path, "/a.b/site-rsa.pem");
    export_spec_clear(&spec);
    assert_false(write_text("combined %/x", LONG, 1, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void test_key_elsewhere(void **state)
{
    (void)state;
    write_ok("fullchain %/fullchain.pem", ELSEWHERE);
    write_ok("cert %/cert.pem", ELSEWHERE);
    write_fails("combined %/a", ELSEWHERE, ERR_CONFIG, "not held here");
    write_fails("p12 %/a", ELSEWHERE, ERR_CONFIG, "not held here");
    write_fails("pem %/dir", ELSEWHERE, ERR_CONFIG, "not held here");
    write_fails("combined %/a", 99, ERR_NOT_FOUND, "0099");
    expect_entries("", "cert.pem fullchain.pem");
}

/* -- replacing ---------------------------------------------------------------------------------------- */

static void test_the_same_is_left_alone(void **state)
{
    (void)state;
    static const char *const texts[][2] = {
        {"combined %/f", "f"},
        {"p12 %/p", "p"},
        {"pem %/d", "d/privkey.pem"},
        {"der %/e", "e/chain-1.der"},
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        write_ok(texts[i][0], LONG);
        struct stat before = look(texts[i][1]);
        write_ok(texts[i][0], LONG);
        struct stat after = look(texts[i][1]);
        assert_int_equal(before.st_ino, after.st_ino);
        assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    }
    /* other content, other mode */
    struct stat before = look("f");
    write_ok("combined %/f", SHORT);
    assert_int_not_equal(look("f").st_ino, before.st_ino);
    before = look("f");
    write_ok("combined %/f mode=0640", SHORT);
    assert_int_not_equal(look("f").st_ino, before.st_ino);
    expect_mode("f", 0640, geteuid(), getegid());
    before = look("p");
    write_ok("p12 %/p friendly-name=other", LONG);
    assert_int_not_equal(look("p").st_ino, before.st_ino);
}

/* A reader that has the old file open keeps the old file. */
static void test_never_written_into(void **state)
{
    (void)state;
    char bytes[16] = "";
    put("f", "old", 0600);
    AUTO_FREE char *path = out_path("f");
    int fd = open(path, O_RDONLY);
    write_ok("combined %/f", LONG);
    assert_int_equal(read(fd, bytes, sizeof bytes), 3);
    close(fd);
    assert_string_equal(bytes, "old");
}

static void test_mode_is_kept_unless_wide(void **state)
{
    (void)state;
    static const struct {
        mode_t before;
        const char *text;
        mode_t after;
    } cases[] = {
        {0640, "combined %/f", 0640}, {0440, "combined %/f", 0440}, {0644, "combined %/f", 0600},
        {0660, "combined %/f", 0600}, {0700, "combined %/f", 0600}, {0000, "combined %/f", 0600},
        {0640, "cert %/f", 0640},     {0666, "cert %/f", 0644},     {0640, "combined %/f mode=0600", 0600},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        put("f", "old", cases[i].before);
        write_ok(cases[i].text, LONG);
        expect_mode("f", cases[i].after, geteuid(), getegid());
    }
}

static void test_owner(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    AUTO_FREE char *path = out_path("kept");
    write_ok("combined %/a owner=65534:65533 mode=0640", LONG);
    expect_mode("a", 0640, NOBODY, STRANGER);
    write_ok("combined %/b owner=:65533 mode=0640", LONG);
    expect_mode("b", 0640, 0, STRANGER);
    write_ok("combined %/c owner=root", LONG);
    expect_mode("c", 0600, 0, 0);
    write_ok("pem %/d owner=65534:65534", LONG);
    expect_mode("d", 0755, 0, 0);
    expect_mode("d/privkey.pem", 0600, NOBODY, NOBODY);
    expect_mode("d/fullchain.pem", 0644, NOBODY, NOBODY);
    put("kept", "old", 0640);
    assert_int_equal(chown(path, NOBODY, STRANGER), 0);
    write_ok("combined %/kept", LONG);
    expect_mode("kept", 0640, NOBODY, STRANGER);
    write_ok("combined %/kept owner=:0", SHORT);
    expect_mode("kept", 0640, NOBODY, 0);
    write_fails("combined %/x owner=no-such-user", LONG, ERR_CONFIG, "no user 'no-such-user'");
    write_fails("combined %/x owner=root:no-such-group", LONG, ERR_CONFIG, "no group");
    assert_false(is_there("x"));
}

static void test_left_over_of_a_killed_run(void **state)
{
    (void)state;
    put(".f.tlsup-new", "half a key", 0600);
    write_ok("combined %/f", LONG);
    expect_entries("", "f");
    make_directory(".g.tlsup-new", 0755, 0, 0);
    write_fails("combined %/g", LONG, ERR_IO, "left-over");
}

/* -- places ------------------------------------------------------------------------------------------- */

static void test_what_is_in_the_way(void **state)
{
    (void)state;
    AUTO_FREE char *fifo = out_path("fifo");
    make_directory("dir", 0755, 0, 0);
    put("file", "x", 0644);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    write_fails("combined %/dir", LONG, ERR_CONFIG, "is a directory");
    write_fails("combined %/fifo", LONG, ERR_CONFIG, "not a regular file");
    write_fails("combined %/file/x", LONG, ERR_NOT_FOUND, "Not a directory");
    write_fails("pem %/file", LONG, ERR_NOT_FOUND, "Not a directory");
    write_fails("combined %/none/x", LONG, ERR_NOT_FOUND, "none");
    write_fails("pem %/none/x", LONG, ERR_NOT_FOUND, "none");
    struct err err;
    assert_false(write_text("combined %/none/x", LONG, 0, &err));
    assert_non_null(strstr(err.advice, "mkdir -p"));
    expect_text("file", "x");
}

/* Nothing is replaced until all can be. */
static void test_all_or_nothing(void **state)
{
    (void)state;
    write_ok("pem %/d", SHORT);
    AUTO_FREE char *path = out_path("d/fullchain.pem");
    assert_int_equal(unlink(path), 0);
    make_directory("d/fullchain.pem", 0755, 0, 0);
    struct stat before = look("d/privkey.pem"), cert = look("d/cert.pem");
    AUTO_BUF old = BUF_INIT;
    read_file("d/cert.pem", &old);
    write_fails("pem %/d", LONG, ERR_CONFIG, "is a directory");
    assert_int_equal(look("d/privkey.pem").st_ino, before.st_ino);
    assert_int_equal(look("d/cert.pem").st_ino, cert.st_ino);
    expect_text("d/cert.pem", old.data);
    expect_entries("d", "cert.pem chain.pem fullchain.pem privkey.pem");
}

static void test_no_space(void **state)
{
    (void)state;
    struct rlimit limit, small = {.rlim_cur = 100, .rlim_max = RLIM_INFINITY};
    put("f", "old", 0600);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small.rlim_max = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct err err;
    bool ok = write_text("combined %/f", LONG, 0, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_false(ok);
    assert_int_equal(err.code, ERR_IO);
    expect_text("f", "old");
    expect_entries("", "f");
}

static void make_link(const char *target, const char *name)
{
    AUTO_FREE char *path = out_path(name);
    assert_int_equal(symlink(target, path), 0);
}

static void test_links(void **state)
{
    (void)state;
    make_directory("real", 0755, 0, 0);
    make_directory("other", 0755, 0, 0);
    AUTO_FREE char *absolute = out_path("real");
    put("real/target", "old", 0600);
    make_link("real", "relative");
    make_link(absolute, "absolute");
    make_link("../real/target", "other/link");
    make_link("other/link", "two");
    make_link("real/new", "dangling");
    make_link("loop", "loop");
    write_ok("combined %/two", LONG);
    assert_true(S_ISLNK(look("two").st_mode) && S_ISLNK(look("other/link").st_mode));
    assert_true(S_ISREG(look("real/target").st_mode));
    assert_int_not_equal(look("real/target").st_size, 3);
    write_ok("combined %/dangling", LONG);
    write_ok("combined %/relative/a", LONG);
    write_ok("combined %/absolute/b", LONG);
    write_ok("combined %/relative/../real/./c", LONG);
    expect_entries("real", "a b c new target");
    write_fails("combined %/loop", LONG, ERR_IO, "loop");
    write_ok("pem %/relative", LONG);
    assert_true(is_there("real/fullchain.pem") && S_ISLNK(look("relative").st_mode));
}

static void give(const char *name, uid_t uid)
{
    AUTO_FREE char *path = out_path(name);
    assert_int_equal(lchown(path, uid, uid), 0);
}

/* In directories of others, root is not led anywhere. */
static void test_directories_of_others(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    make_directory("theirs", 0755, NOBODY, NOBODY);
    make_directory("theirs/sub", 0755, 0, 0);
    make_directory("group", 0775, 0, STRANGER);
    make_directory("all", 0777, 0, 0);
    make_directory("sticky", 01777, 0, 0);
    put("secret", "root's", 0600);
    write_fails("combined %/theirs/f", LONG, ERR_PERMISSION, "may change what is in");
    write_fails("combined %/theirs/sub/f", LONG, ERR_PERMISSION, "may change");
    write_fails("combined %/theirs/f owner=65533", LONG, ERR_PERMISSION, "may change");
    write_fails("combined %/theirs/f owner=root", LONG, ERR_PERMISSION, "may change");
    write_fails("pem %/theirs/d", LONG, ERR_PERMISSION, "may change");
    write_fails("pem %/theirs", LONG, ERR_PERMISSION, "may change");
    write_fails("combined %/group/f", LONG, ERR_PERMISSION, "the group");
    write_fails("combined %/all/f", LONG, ERR_PERMISSION, "everybody");
    write_fails("combined %/all/f owner=65534", LONG, ERR_PERMISSION, "everybody");
    write_ok("combined %/theirs/f owner=65534:65534", LONG);
    expect_mode("theirs/f", 0600, NOBODY, NOBODY);
    write_ok("combined %/theirs/sub/f owner=65534", LONG);
    write_ok("combined %/group/f owner=:65533 mode=0640", LONG);
    write_ok("combined %/sticky/f", LONG);
    /* a link of theirs to a file of root's */
    make_link("../secret", "theirs/link");
    make_link("../../secret", "theirs/sub/link");
    make_link("..", "theirs/up");
    make_link("../secret", "sticky/link");
    write_fails("combined %/theirs/link owner=65534", LONG, ERR_PERMISSION, "symbolic link");
    write_fails("combined %/theirs/up/secret owner=65534", LONG, ERR_PERMISSION, "symbolic link");
    write_fails("combined %/sticky/link", LONG, ERR_PERMISSION, "symbolic link");
    write_fails("pem %/theirs/up owner=65534", LONG, ERR_PERMISSION, "symbolic link");
    expect_text("secret", "root's");
    /* a file of theirs says not whose the new one is */
    put("sticky/bait", "x", 0640);
    give("sticky/bait", STRANGER);
    write_ok("combined %/sticky/bait", LONG);
    expect_mode("sticky/bait", 0600, 0, 0);
    put("theirs/bait", "x", 0640);
    give("theirs/bait", STRANGER);
    write_ok("combined %/theirs/bait owner=65534:65534", LONG);
    expect_mode("theirs/bait", 0600, NOBODY, NOBODY);
    /* a left-over that is a link to a file of root's is taken away, not written through */
    make_link("../secret", "theirs/.g.tlsup-new");
    write_ok("combined %/theirs/g owner=65534", LONG);
    expect_text("secret", "root's");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spec_whole),
        cmocka_unit_test(test_spec_round_trip),
        cmocka_unit_test(test_spec_refused),
        cmocka_unit_test(test_spec_word_by_word),
        cmocka_unit_test_setup(test_pem_formats, fresh_out),
        cmocka_unit_test_setup(test_der, fresh_out),
        cmocka_unit_test_setup(test_pkcs12, fresh_out),
        cmocka_unit_test_setup(test_password_files, fresh_out),
        cmocka_unit_test_setup(test_two_key_types, fresh_out),
        cmocka_unit_test_setup(test_key_elsewhere, fresh_out),
        cmocka_unit_test_setup(test_the_same_is_left_alone, fresh_out),
        cmocka_unit_test_setup(test_never_written_into, fresh_out),
        cmocka_unit_test_setup(test_mode_is_kept_unless_wide, fresh_out),
        cmocka_unit_test_setup(test_owner, fresh_out),
        cmocka_unit_test_setup(test_left_over_of_a_killed_run, fresh_out),
        cmocka_unit_test_setup(test_what_is_in_the_way, fresh_out),
        cmocka_unit_test_setup(test_all_or_nothing, fresh_out),
        cmocka_unit_test_setup(test_no_space, fresh_out),
        cmocka_unit_test_setup(test_links, fresh_out),
        cmocka_unit_test_setup(test_directories_of_others, fresh_out),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
