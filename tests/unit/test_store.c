/*
 * test_store.c - what the store keeps is whole, private and there again after a crash, a full disk or an
 * attack.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/store/store_internal.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/store.h"

#define NAME "example.org"
#define CA "https://ca.example.org/directory"
#define CA_DIR "ca.example.org_directory"

/* -- a chain of two, made on the spot ----------------------------------------------------------------- */

static struct key *keys[2];
static struct cert_chain *chains[2];

/* The certificate of that number as the only one of a version. */
#define PART(which) (&(struct store_part){keys[which], chains[which]})

static EVP_PKEY *openssl_key(const struct key *key)
{
    AUTO_BUF pem = BUF_SECRET;
    struct err err = ERR_INIT;
    assert_true(key_to_pem(key, &pem, &err));
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
    BIO_free(bio);
    assert_non_null(pkey);
    return pkey;
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(cert, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static X509 *make_cert(const char *common_name, long serial, EVP_PKEY *key, X509 *issuer,
                       EVP_PKEY *issuer_key)
{
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_pubkey(cert, key);
    X509_NAME *subject = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(issuer != NULL ? issuer : cert));
    if (issuer == NULL) {
        add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
        add_extension(cert, cert, NID_subject_key_identifier, "hash");
    } else {
        add_extension(cert, issuer, NID_authority_key_identifier, "keyid");
        add_extension(cert, issuer, NID_subject_alt_name, "DNS:" NAME);
    }
    assert_true(X509_sign(cert, issuer_key, EVP_sha256()) > 0);
    return cert;
}

static struct cert_chain *make_chain(const struct key *key, long serial)
{
    struct err err = ERR_INIT;
    struct key *ca = NULL;
    struct cert_chain *chain = NULL;
    char *pem = NULL;
    assert_true(key_generate(KEY_ECDSA_P256, &ca, &err));
    EVP_PKEY *ca_pkey = openssl_key(ca), *pkey = openssl_key(key);
    X509 *issuer = make_cert("Test CA", 1, ca_pkey, NULL, ca_pkey);
    X509 *leaf = make_cert(NAME, serial, pkey, issuer, ca_pkey);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, leaf);
    PEM_write_bio_X509(bio, issuer);
    long len = BIO_get_mem_data(bio, &pem);
    if (!cert_chain_parse(pem, (size_t)len, "test", &chain, &err))
        fail_msg("%s", err.text);
    BIO_free(bio);
    X509_free(leaf);
    X509_free(issuer);
    EVP_PKEY_free(pkey);
    EVP_PKEY_free(ca_pkey);
    key_free(ca);
    return chain;
}

static int make_chains(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_ERROR);
    for (size_t i = 0; i < 2; i++) {
        struct err err = ERR_INIT;
        if (!key_generate(KEY_ECDSA_P256, &keys[i], &err))
            return -1;
        chains[i] = make_chain(keys[i], 100 + (long)i);
    }
    return 0;
}

static int free_chains(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        key_free(keys[i]);
        cert_chain_free(chains[i]);
    }
    return 0;
}

/* -- fixture ------------------------------------------------------------------------------------------ */

static char root[64], config_dir[96], state_dir[96];

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/tlsup-store-XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    snprintf(config_dir, sizeof config_dir, "%s/etc", root);
    snprintf(state_dir, sizeof state_dir, "%s/var", root);
    return 0;
}

static int remove_root(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    return fs_remove_tree(root, &err) ? 0 : -1;
}

/* Assert success, showing the error otherwise. */
#define MUST(call)                                                                                           \
    do {                                                                                                     \
        struct err err = ERR_INIT;                                                                           \
        if (!(call))                                                                                         \
            fail_msg("%s: %s", #call, err.text);                                                             \
    } while (0)

/* Assert failure with a code and a part of the text. */
#define MUST_FAIL(call, expected_code, part)                                                                 \
    do {                                                                                                     \
        struct err err = ERR_INIT;                                                                           \
        assert_false(call);                                                                                  \
        if (err.code != (expected_code) || strstr(err.text, part) == NULL)                                   \
            fail_msg("%s: %s: %s", #call, err_code_name(err.code), err.text);                                \
    } while (0)

static struct store *open_store(enum store_mode mode)
{
    struct store *store = NULL;
    MUST(store_open(config_dir, state_dir, mode, &store, &err));
    return store;
}

static char *in_state(const char *path)
{
    return fs_join(state_dir, path);
}

static void assert_mode(const char *path_in_state, mode_t expected)
{
    struct stat st;
    AUTO_FREE char *path = in_state(path_in_state);
    if (lstat(path, &st) != 0)
        fail_msg("%s: %s", path, strerror(errno));
    if ((st.st_mode & 07777) != expected)
        fail_msg("%s has mode %04o, not %04o", path, (unsigned)(st.st_mode & 07777), (unsigned)expected);
}

static void put_text(const char *path, const char *text)
{
    MUST(fs_write(path, text, strlen(text), 0644, &err));
}

static void put_config(const char *file, const char *text)
{
    AUTO_FREE char *path = fs_join(config_dir, file);
    put_text(path, text);
}

static bool need_root(void)
{
    if (geteuid() == 0)
        return true;
    print_message("skipped: needs root\n");
    return false;
}

/* -- the layout --------------------------------------------------------------------------------------- */

static void writing_makes_the_layout_whatever_the_umask(void **state)
{
    (void)state;
    static const mode_t umasks[] = {0, 022, 077, 0777};
    for (size_t i = 0; i < COUNT_OF(umasks); i++) {
        mode_t before = umask(umasks[i]);
        struct store *store = open_store(STORE_WRITE);
        struct key *key = NULL;
        int version = 0;
        MUST(store_account_key(store, CA, NULL, true, &key, &err));
        MUST(store_pending_key_save(store, NAME, 0, keys[0], &err));
        MUST(store_version_add(store, NAME, PART(0), 1, &version, &err));
        MUST(store_account_save(store, CA, NULL, &(struct account_record){.created_s = 1}, &err));
        MUST(store_state_save(store, NAME, &(struct cert_state)CERT_STATE_INIT, &err));
        umask(before);
        key_free(key);
        store_close(store);
        assert_mode("", 0711);
        assert_mode("certs", 0711);
        assert_mode("live", 0711);
        assert_mode("accounts", 0700);
        assert_mode("challenges", 0755);
        assert_mode("journal", 0700);
        assert_mode("state", 0711);
        assert_mode("../etc", 0755);
        assert_mode("../etc/certs.d", 0755);
        assert_mode("accounts/key.pem", 0600);
        assert_mode("accounts/" CA_DIR, 0700);
        assert_mode("accounts/" CA_DIR "/account.json", 0600);
        assert_mode("certs/" NAME, 0755);
        assert_mode("certs/" NAME "/pending.pem", 0600);
        assert_mode("certs/" NAME "/0001", 0755);
        assert_mode("certs/" NAME "/0001/privkey.pem", 0600);
        assert_mode("certs/" NAME "/0001/cert.pem", 0644);
        assert_mode("certs/" NAME "/0001/chain.pem", 0644);
        assert_mode("certs/" NAME "/0001/fullchain.pem", 0644);
        MUST(fs_remove_tree(state_dir, &err));
        MUST(fs_remove_tree(config_dir, &err));
    }
}

static bool set_label(const char *path, const char *label)
{
    return lsetxattr(path, "security.selinux", label, strlen(label) + 1, 0) == 0;
}

static void assert_label(const char *path, const char *label)
{
    char got[256] = "";
    ssize_t n = lgetxattr(path, "security.selinux", got, sizeof got - 1);
    assert_true(n > 0);
    assert_string_equal(got, label);
}

/* With SELinux a confined web server reads certificates by their type, or not at all. */
static void certificates_get_the_type_that_web_servers_read(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    (void)state;
    AUTO_FREE char *certs = fs_join(state_dir, "certs");
    AUTO_FREE char *live = fs_join(state_dir, "live");
    AUTO_FREE char *old = fs_join(certs, "old");
    AUTO_FREE char *mine = fs_join(certs, "mine");
    AUTO_FREE char *link = fs_join(live, "old");
    store_close(store);
    MUST(fs_mkdirs(old, 0700, &err));
    MUST(fs_mkdirs(mine, 0700, &err));
    assert_int_equal(symlink("../certs/old", link), 0);
    if (!set_label(old, "system_u:object_r:var_lib_t:s0") ||
        !set_label(mine, "system_u:object_r:my_own_t:s0")) {
        print_message("skipped: this file system takes no security labels from us\n");
        skip();
    }
    store_label_set_switch("/does/not/exist");
    store_close(open_store(STORE_WRITE));
    assert_label(old, "system_u:object_r:var_lib_t:s0"); /* SELinux is off */
    store_label_set_switch("/");
    store_close(open_store(STORE_WRITE));
    store_label_set_switch("/does/not/exist");
    assert_label(certs, "system_u:object_r:cert_t:s0");
    assert_label(old, "system_u:object_r:cert_t:s0");
    assert_label(link, "system_u:object_r:cert_t:s0");
    assert_label(mine, "system_u:object_r:my_own_t:s0"); /* somebody's choice */
    AUTO_FREE char *challenges = fs_join(state_dir, "challenges");
    assert_label(challenges, "system_u:object_r:httpd_sys_content_t:s0");
}

static void reading_needs_nothing_and_makes_nothing(void **state)
{
    struct store *store = open_store(STORE_READ);
    struct cert_config config;
    struct cert_state cert_state = CERT_STATE_INIT;
    struct account_record account;
    struct cert_chain *chain = NULL;
    struct key *key = NULL;
    AUTO_STRLIST names = STRLIST_INIT;
    AUTO_BUF json = BUF_INIT;
    int64_t fetched_s = 5;
    int version = 5;
    (void)state;
    MUST(store_defaults(store, &config, &err));
    assert_string_equal(config.server, CONFIG_DEFAULT_CA);
    cert_config_clear(&config);
    MUST(store_cert_names(store, &names, &err));
    assert_int_equal(names.n, 0);
    MUST_FAIL(store_cert_config(store, NAME, &config, &err), ERR_NOT_FOUND,
              "there is no certificate 'example.org'");
    MUST_FAIL(store_account_key(store, CA, NULL, false, &key, &err), ERR_NOT_FOUND, "key.pem");
    MUST_FAIL(store_account_key(store, CA, NULL, true, &key, &err), ERR_INTERNAL, "reading only");
    MUST(store_account_load(store, CA, NULL, &account, &err));
    assert_string_equal(account.url, "");
    store_directory_load(store, CA, &json, &fetched_s);
    assert_int_equal(fetched_s, 0);
    MUST_FAIL(store_pending_key_load(store, NAME, 0, &key, &err), ERR_NOT_FOUND, "pending.pem");
    MUST(store_live_version(store, NAME, &version, &err));
    assert_int_equal(version, 0);
    MUST_FAIL(store_live_chain(store, NAME, &chain, &err), ERR_NOT_FOUND, "no live version");
    MUST_FAIL(store_version_chain(store, NAME, 1, 0, &chain, &err), ERR_NOT_FOUND, "0001/fullchain.pem");
    MUST(store_state_load(store, NAME, &cert_state, &err));
    assert_int_equal(cert_state.version, 0);
    MUST_FAIL(store_version_add(store, NAME, PART(0), 1, &version, &err), ERR_INTERNAL, "reading only");
    MUST_FAIL(store_cert_delete(store, NAME, &err), ERR_INTERNAL, "reading only");
    store_close(store);
    assert_false(fs_exists(state_dir));
    assert_false(fs_exists(config_dir));
}

static void directories_are_absolute_without_final_slash(void **state)
{
    struct store *store = NULL;
    char here[4096];
    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(root), 0);
    MUST(store_open("etc/", "./var//", STORE_READ, &store, &err));
    assert_int_equal(chdir(here), 0);
    AUTO_FREE char *expected = mem_fmt("%s/./var", root);
    assert_string_equal(store_state_dir(store), expected);
    assert_string_equal(store_config_dir(store), config_dir);
    AUTO_FREE char *journal = mem_fmt("%s/journal", expected);
    assert_string_equal(store_journal_dir(store), journal);
    AUTO_FREE char *live = mem_fmt("%s/live/" NAME, expected);
    AUTO_FREE char *live_path = store_live_path(store, NAME);
    assert_string_equal(live_path, live);
    AUTO_FREE char *target = store_version_link_target(NAME, 7);
    assert_string_equal(target, "../certs/" NAME "/0007");
    AUTO_FREE char *large = store_version_link_target(NAME, 12345);
    assert_string_equal(large, "../certs/" NAME "/12345");
    store_close(store);
    MUST_FAIL(store_open("", state_dir, STORE_READ, &store, &err), ERR_USAGE, "empty");
    store_close(NULL);
}

static void no_path_is_made_of_a_bad_name(void **state)
{
    static const char *const bad[] = {"", "..", "../x", "a/b", ".hidden", "-x", "a\nb"};
    struct store *store = open_store(STORE_WRITE);
    struct cert_config config = {0};
    struct cert_state cert_state = CERT_STATE_INIT;
    struct cert_chain *chain = NULL;
    struct key *key = NULL;
    int version = 0;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        static const char part[] = "cannot be the name of a certificate";
        config.name = mem_dup(bad[i]);
        MUST_FAIL(store_cert_config(store, bad[i], &config, &err), ERR_NAME, part);
        MUST_FAIL(store_cert_config_save(store, &config, &err), ERR_NAME, part);
        MUST_FAIL(store_pending_key_load(store, bad[i], 0, &key, &err), ERR_NAME, part);
        MUST_FAIL(store_pending_key_save(store, bad[i], 0, keys[0], &err), ERR_NAME, part);
        MUST_FAIL(store_pending_key_drop(store, bad[i], 0, &err), ERR_NAME, part);
        MUST_FAIL(store_version_add(store, bad[i], PART(0), 1, &version, &err), ERR_NAME, part);
        MUST_FAIL(store_version_drop(store, bad[i], 1, &err), ERR_NAME, part);
        MUST_FAIL(store_version_prune(store, bad[i], 1, &err), ERR_NAME, part);
        MUST_FAIL(store_live_switch(store, bad[i], 1, &err), ERR_NAME, part);
        MUST_FAIL(store_live_version(store, bad[i], &version, &err), ERR_NAME, part);
        MUST_FAIL(store_live_chain(store, bad[i], &chain, &err), ERR_NAME, part);
        MUST_FAIL(store_version_chain(store, bad[i], 1, 0, &chain, &err), ERR_NAME, part);
        MUST_FAIL(store_state_load(store, bad[i], &cert_state, &err), ERR_NAME, part);
        MUST_FAIL(store_state_save(store, bad[i], &cert_state, &err), ERR_NAME, part);
        MUST_FAIL(store_cert_delete(store, bad[i], &err), ERR_NAME, part);
        assert_null(store_live_path(store, bad[i]));
        assert_null(store_version_path(store, bad[i], 1));
        assert_null(store_version_link_target(bad[i], 1));
        cert_config_clear(&config);
    }
    config.name = NULL;
    MUST_FAIL(store_cert_config_save(store, &config, &err), ERR_NAME, "cannot be the name");
    store_close(store);
}

static void assert_list(const char *dir_in_state, const char *expected);

/* -- configuration ------------------------------------------------------------------------------------ */

static void certificates_are_those_with_a_file(void **state)
{
    AUTO_STRLIST names = STRLIST_INIT;
    struct store *store = open_store(STORE_WRITE);
    (void)state;
    put_config("certs.d/a.example.conf", "");
    put_config("certs.d/a.example-b.conf", "");
    put_config("certs.d/_wildcard.example.org.conf", "");
    put_config("certs.d/-bad.conf", "");
    put_config("certs.d/x y.conf", "");
    put_config("certs.d/README", "");
    put_config("certs.d/.hidden.conf", "");
    put_config("certs.d/.conf", "");
    put_config("certs.d/old.conf~", "");
    put_config("certs.d/old.conf.dpkg-old", "");
    MUST(store_cert_names(store, &names, &err));
    AUTO_FREE char *joined = strlist_join(&names, " ");
    assert_string_equal(joined, "_wildcard.example.org a.example a.example-b");
    store_close(store);
}

static void configuration_comes_back_over_defaults(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct cert_config config, again;
    (void)state;
    put_config("tlsup.conf", "email = admin@example.org\nredirect = yes\n");
    MUST(store_defaults(store, &config, &err));
    config.name = mem_dup(NAME);
    strlist_add(&config.names, NAME);
    config.redirect = false;
    MUST(store_cert_config_save(store, &config, &err));
    MUST(store_cert_config(store, NAME, &again, &err));
    assert_string_equal(again.name, NAME);
    assert_string_equal(again.email, "admin@example.org");
    assert_false(again.redirect);
    cert_config_clear(&again);
    /* the default is not frozen into the file */
    put_config("tlsup.conf", "email = other@example.org\n");
    MUST(store_cert_config(store, NAME, &again, &err));
    assert_string_equal(again.email, "other@example.org");
    cert_config_clear(&again);
    cert_config_clear(&config);
    store_close(store);
}

static void an_unchanged_file_keeps_its_comments(void **state)
{
    static const char text[] = "# mine\nnames=example.org\n\nkey-type = p384\n";
    struct store *store = open_store(STORE_WRITE);
    struct cert_config config;
    AUTO_BUF after = BUF_INIT;
    AUTO_FREE char *path = fs_join(config_dir, "certs.d/" NAME ".conf");
    (void)state;
    put_text(path, text);
    MUST(store_cert_config(store, NAME, &config, &err));
    MUST(store_cert_config_save(store, &config, &err));
    MUST(fs_read(path, 4096, &after, &err));
    assert_string_equal(after.data, text);
    config.key_type = KEY_RSA_2048;
    MUST(store_cert_config_save(store, &config, &err));
    buf_reset(&after);
    MUST(fs_read(path, 4096, &after, &err));
    assert_non_null(strstr(after.data, "key-type = rsa-2048\n"));
    cert_config_clear(&config);
    store_close(store);
}

static void what_would_not_read_back_is_not_saved(void **state)
{
    static const char *const webroots[] = {"/srv/a\ndeploy-hook = /tmp/evil", "/srv/a # b", "/srv/a ",
                                           "relative", "/x\r"};
    struct store *store = open_store(STORE_WRITE);
    AUTO_FREE char *path = fs_join(config_dir, "certs.d/" NAME ".conf");
    (void)state;
    for (size_t i = 0; i < COUNT_OF(webroots); i++) {
        struct cert_config config;
        MUST(store_defaults(store, &config, &err));
        config.name = mem_dup(NAME);
        strlist_add(&config.names, NAME);
        config.webroot = mem_dup(webroots[i]);
        config.challenges[0] = CHALLENGE_VIA_WEBROOT;
        MUST_FAIL(store_cert_config_save(store, &config, &err), ERR_CONFIG, "cannot be saved");
        assert_false(fs_exists(path));
        cert_config_clear(&config);
    }
    store_close(store);
}

static void a_password_in_the_configuration_is_private(void **state)
{
    static const struct {
        const char *proxy, *key;
        mode_t mode;
    } rows[] = {{"http://proxy.example:3128", NULL, 0644},
                {"http://u:p@proxy.example:3128", NULL, 0600},
                {NULL, "pkcs11:object=a", 0644},
                {NULL, "pkcs11:object=a?pin-value=1234", 0600}};
    struct store *store = open_store(STORE_WRITE);
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct cert_config config;
        MUST(store_defaults(store, &config, &err));
        config.name = mem_dup(NAME);
        strlist_add(&config.names, NAME);
        config.proxy = mem_dup(rows[i].proxy);
        config.key = mem_dup(rows[i].key);
        MUST(store_cert_config_save(store, &config, &err));
        assert_mode("../etc/certs.d/" NAME ".conf", rows[i].mode);
        cert_config_clear(&config);
    }
    store_close(store);
}

static void a_broken_configuration_is_told_by_file_and_line(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct cert_config config;
    (void)state;
    put_config("certs.d/" NAME ".conf", "names = example.org\nsever = x\n");
    MUST_FAIL(store_cert_config(store, NAME, &config, &err), ERR_CONFIG,
              "/etc/certs.d/example.org.conf:2: unknown key");
    put_config("tlsup.conf", "\nfoo\n");
    MUST_FAIL(store_cert_config(store, NAME, &config, &err), ERR_CONFIG, "/etc/tlsup.conf:2: ");
    MUST_FAIL(store_defaults(store, &config, &err), ERR_CONFIG, "/etc/tlsup.conf:2: ");
    store_close(store);
}

/* -- accounts ----------------------------------------------------------------------------------------- */

static void assert_thumbprint(struct store *store, const char *ca, const char *expected)
{
    char thumbprint[KEY_THUMBPRINT_BYTES];
    struct key *key = NULL;
    MUST(store_account_key(store, ca, NULL, false, &key, &err));
    MUST(key_thumbprint(key, thumbprint, &err));
    assert_string_equal(thumbprint, expected);
    key_free(key);
}

static void one_account_key_serves_all_but_those_with_their_own(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct key *key = NULL;
    char shared[KEY_THUMBPRINT_BYTES], own[KEY_THUMBPRINT_BYTES];
    AUTO_BUF pem = BUF_SECRET;
    (void)state;
    MUST(store_account_key(store, CA, NULL, true, &key, &err));
    assert_int_equal(key_type_of(key), KEY_ECDSA_P256);
    MUST(key_thumbprint(key, shared, &err));
    key_free(key);
    MUST(key_thumbprint(keys[1], own, &err));
    MUST(key_to_pem(keys[1], &pem, &err));
    MUST(store_account_save(store, "https://other.example/d", NULL, &(struct account_record){.created_s = 1},
                            &err));
    AUTO_FREE char *path = in_state("accounts/other.example_d/key.pem");
    MUST(fs_write(path, pem.data, pem.len, 0600, &err));
    assert_thumbprint(store, CA, shared);
    assert_thumbprint(store, CONFIG_DEFAULT_CA, shared);
    assert_thumbprint(store, "https://other.example/d", own);
    /* made once only */
    MUST(store_account_key(store, CA, NULL, true, &key, &err));
    key_free(key);
    assert_thumbprint(store, CA, shared);
    store_close(store);
}

static void a_damaged_account_key_is_not_replaced(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct key *key = NULL;
    AUTO_FREE char *path = in_state("accounts/key.pem");
    AUTO_BUF after = BUF_INIT;
    (void)state;
    put_text(path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    MUST_FAIL(store_account_key(store, CA, NULL, true, &key, &err), ERR_CRYPTO, path);
    put_text(path, "");
    MUST_FAIL(store_account_key(store, CA, NULL, true, &key, &err), ERR_CRYPTO, path);
    MUST(fs_read(path, 100, &after, &err));
    assert_int_equal(after.len, 0);
    store_close(store);
}

static void account_records_come_back(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct account_record record = {.server = CA, .url = "https://ca.example.org/acct/1", .created_s = 7},
                          again;
    AUTO_FREE char *path = in_state("accounts/" CA_DIR "/account.json");
    (void)state;
    MUST(store_account_save(store, CA, NULL, &record, &err));
    MUST(store_account_load(store, CA, NULL, &again, &err));
    assert_memory_equal(&again, &record, sizeof again);
    MUST(store_account_load(store, CONFIG_DEFAULT_CA, NULL, &again, &err));
    assert_string_equal(again.url, "");
    put_text(path, "{");
    MUST_FAIL(store_account_load(store, CA, NULL, &again, &err), ERR_CONFIG, path);
    MUST(store_account_forget(store, CA, NULL, &err));
    MUST(store_account_forget(store, CA, NULL, &err));
    MUST(store_account_load(store, CA, NULL, &again, &err));
    assert_string_equal(again.url, "");
    store_close(store);
}

static void the_server_of_a_record_is_filled_in(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct account_record record;
    (void)state;
    MUST(store_account_save(store, CA, "second",
                            &(struct account_record){.server = "https://lies.example/", .created_s = 1},
                            &err));
    MUST(store_account_load(store, CA, "second", &record, &err));
    assert_string_equal(record.server, CA);
    assert_mode("accounts/" CA_DIR "/second", 0700);
    assert_mode("accounts/" CA_DIR "/second/account.json", 0600);
    store_close(store);
}

static void thumbprint_of(struct store *store, const char *ca, const char *account,
                          char out[KEY_THUMBPRINT_BYTES])
{
    AUTO_KEY *key = NULL;
    MUST(store_account_key(store, ca, account, false, &key, &err));
    MUST(key_thumbprint(key, out, &err));
}

static void assert_account_key(struct store *store, const char *ca, const char *account,
                               const struct key *expected)
{
    char left[KEY_THUMBPRINT_BYTES], right[KEY_THUMBPRINT_BYTES];
    thumbprint_of(store, ca, account, left);
    MUST(key_thumbprint(expected, right, &err));
    assert_string_equal(left, right);
}

static void named_accounts_have_keys_and_records_of_their_own(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct key *key = NULL;
    struct account_record record;
    char shared[KEY_THUMBPRINT_BYTES], second[KEY_THUMBPRINT_BYTES], again[KEY_THUMBPRINT_BYTES];
    (void)state;
    MUST(store_account_key(store, CA, NULL, true, &key, &err));
    key_free(key);
    assert_true(store_account_key_shared(store, CA, NULL));
    assert_false(store_account_key_shared(store, CA, "second"));
    MUST_FAIL(store_account_key(store, CA, "second", false, &key, &err), ERR_NOT_FOUND, "/second/key.pem");
    MUST(store_account_key(store, CA, "second", true, &key, &err));
    key_free(key);
    thumbprint_of(store, CA, NULL, shared);
    thumbprint_of(store, CA, "second", second);
    assert_string_not_equal(shared, second);
    thumbprint_of(store, CA, "default", again);
    assert_string_equal(again, shared);
    assert_mode("accounts/" CA_DIR "/second/key.pem", 0600);
    MUST(store_account_save(store, CA, "second",
                            &(struct account_record){.url = "https://ca.example.org/acct/2"}, &err));
    MUST(store_account_load(store, CA, NULL, &record, &err));
    assert_string_equal(record.url, "");
    MUST(store_account_forget(store, CA, "second", &err));
    MUST(store_account_load(store, CA, "second", &record, &err));
    assert_string_equal(record.url, "");
    thumbprint_of(store, CA, "second", again);
    assert_string_equal(again, second);
    store_close(store);
}

static void no_path_is_made_of_a_bad_account(void **state)
{
    static const char *const bad[] = {"",
                                      "..",
                                      "a/b",
                                      "a.b",
                                      "a b",
                                      "\xc3\xa4",
                                      "0123456789012345678901234567890123456789012345678901234567890123x"};
    static const char part[] = "cannot be the name of an account";
    struct store *store = open_store(STORE_WRITE);
    struct account_record record = {0};
    struct key *key = NULL;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_false(store_account_name_valid(bad[i]));
        MUST_FAIL(store_account_key(store, CA, bad[i], true, &key, &err), ERR_CONFIG, part);
        MUST_FAIL(store_account_key_import(store, CA, bad[i], keys[0], NULL, &err), ERR_CONFIG, part);
        MUST_FAIL(store_account_load(store, CA, bad[i], &record, &err), ERR_CONFIG, part);
        MUST_FAIL(store_account_save(store, CA, bad[i], &record, &err), ERR_CONFIG, part);
        MUST_FAIL(store_account_forget(store, CA, bad[i], &err), ERR_CONFIG, part);
        MUST_FAIL(store_account_next_save(store, CA, bad[i], keys[0], &err), ERR_CONFIG, part);
        MUST_FAIL(store_account_next_load(store, CA, bad[i], &key, &err), ERR_CONFIG, part);
        MUST_FAIL(store_account_next_commit(store, CA, bad[i], &err), ERR_CONFIG, part);
        MUST_FAIL(store_account_next_drop(store, CA, bad[i], &err), ERR_CONFIG, part);
    }
    assert_false(store_account_name_valid(NULL));
    assert_true(store_account_name_valid("Work_1-a"));
    assert_list("accounts", "");
    store_close(store);
}

static void an_imported_key_is_the_accounts_own_and_loses_none(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct key *key = NULL;
    (void)state;
    MUST(store_account_key(store, CA, NULL, true, &key, &err));
    MUST(store_account_key_import(store, CA, NULL, keys[0], NULL, &err));
    assert_false(store_account_key_shared(store, CA, NULL));
    assert_account_key(store, CA, NULL, keys[0]);
    assert_account_key(store, CONFIG_DEFAULT_CA, NULL, key); /* the one for the others stays */
    MUST(
        store_account_key_import(store, CA, NULL, keys[0], NULL, &err)); /* the same again: nothing to keep */
    assert_list("accounts/" CA_DIR, "key.pem");
    MUST(store_account_key_import(store, CA, NULL, keys[1], NULL, &err));
    MUST(store_account_key_import(store, CA, NULL, keys[0], NULL, &err));
    assert_account_key(store, CA, NULL, keys[0]);
    assert_list("accounts/" CA_DIR, "key-old-1.pem key-old-2.pem key.pem");
    assert_mode("accounts/" CA_DIR "/key-old-1.pem", 0600);
    AUTO_KEY *old = NULL;
    AUTO_BUF pem = BUF_SECRET;
    AUTO_FREE char *path = in_state("accounts/" CA_DIR "/key-old-2.pem");
    MUST(fs_read(path, 65536, &pem, &err));
    MUST(key_from_pem(pem.data, pem.len, path, &old, &err));
    MUST(store_account_key_import(store, CA, "second", old, NULL, &err));
    assert_account_key(store, CA, "second", keys[1]);
    MUST_FAIL(store_account_key_import(store, CA, NULL, NULL, "/etc/passwd", &err), ERR_CONFIG, "");
    assert_account_key(store, CA, NULL, keys[0]);
    key_free(key);
    store_close(store);
}

static void save_record(struct store *store, const char *ca, const char *account, const struct key *key)
{
    struct account_record record = {.url = "https://ca.example.org/acct/1", .status = "valid"};
    MUST(key_thumbprint(key, record.thumbprint, &err));
    MUST(store_account_save(store, ca, account, &record, &err));
}

static void a_key_change_goes_by_the_thumbprint(void **state)
{
    static const char *const accounts[] = {NULL, "second"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(accounts); i++) {
        const char *account = accounts[i];
        struct store *store = open_store(STORE_WRITE);
        struct key *next = NULL;
        MUST(store_account_key_import(store, CA, account, keys[0], NULL, &err));
        save_record(store, CA, account, keys[0]);
        MUST_FAIL(store_account_next_load(store, CA, account, &next, &err), ERR_NOT_FOUND, "no change");
        MUST_FAIL(store_account_next_commit(store, CA, account, &err), ERR_NOT_FOUND, "no change");
        MUST(store_account_next_drop(store, CA, account, &err));
        MUST(store_account_next_save(store, CA, account, keys[1], &err));
        assert_account_key(store, CA, account, keys[0]);
        /* what the CA may know is not overwritten, nor is the account's key behind its back */
        MUST(store_account_next_save(store, CA, account, keys[1], &err));
        MUST_FAIL(store_account_next_save(store, CA, account, keys[0], &err), ERR_EXISTS, "under way");
        MUST_FAIL(store_account_key_import(store, CA, account, keys[1], NULL, &err), ERR_EXISTS, "under way");
        MUST(store_account_next_load(store, CA, account, &next, &err));
        save_record(store, CA, account, next); /* the CA has taken it */
        key_free(next);
        assert_account_key(store, CA, account, keys[1]);
        MUST(store_account_next_commit(store, CA, account, &err));
        assert_account_key(store, CA, account, keys[1]);
        MUST_FAIL(store_account_next_load(store, CA, account, &next, &err), ERR_NOT_FOUND, "no change");
        /* the CA has refused */
        MUST(store_account_next_save(store, CA, account, keys[0], &err));
        MUST(store_account_next_drop(store, CA, account, &err));
        assert_account_key(store, CA, account, keys[1]);
        /* a record of neither: the present one */
        MUST(store_account_next_save(store, CA, account, keys[0], &err));
        MUST(store_account_save(store, CA, account, &(struct account_record){.thumbprint = "x"}, &err));
        assert_account_key(store, CA, account, keys[1]);
        store_close(store);
        MUST(fs_remove_tree(state_dir, &err));
    }
}

/* The key for all CAs is changed for all of them, or not at all. */
static void the_shared_key_is_not_taken_from_others(void **state)
{
    static const char other[] = "https://other.example/d";
    struct store *store = open_store(STORE_WRITE);
    struct key *key = NULL;
    (void)state;
    MUST(store_account_key(store, CA, NULL, true, &key, &err));
    save_record(store, CA, NULL, key);
    save_record(store, other, NULL, key);
    MUST(store_account_key_import(store, "https://third.example/d", NULL, keys[0], NULL, &err));
    save_record(store, "https://third.example/d", NULL, keys[0]);
    MUST(store_account_save(store, "https://fourth.example/d", NULL, &(struct account_record){.created_s = 1},
                            &err));
    MUST(store_account_next_save(store, CA, NULL, keys[1], &err));
    assert_list(
        "accounts",
        "ca.example.org_directory fourth.example_d key-next.pem key.pem other.example_d third.example_d");
    save_record(store, CA, NULL, keys[1]);
    assert_account_key(store, CA, NULL, keys[1]);
    assert_account_key(store, other, NULL, key);
    MUST_FAIL(store_account_next_commit(store, CA, NULL, &err), ERR_MISMATCH, "still goes by the old one");
    assert_account_key(store, CA, NULL, keys[1]);
    assert_account_key(store, other, NULL, key);
    save_record(store, other, NULL, keys[1]);
    MUST(store_account_next_commit(store, other, NULL, &err));
    assert_account_key(store, CA, NULL, keys[1]);
    assert_account_key(store, other, NULL, keys[1]);
    key_free(key);
    store_close(store);
}

static void a_key_on_a_token_is_told_from_one_in_a_file(void **state)
{
    static const char *const bad[] = {"", "\n", "/etc/passwd\n", "pkcs11:a\npkcs11:b\n", "pkcs11:a b\n"};
    struct store *store = open_store(STORE_WRITE);
    struct key *key = NULL;
    AUTO_FREE char *path = in_state("accounts/" CA_DIR "/key.uri");
    (void)state;
    MUST(store_account_key_import(store, CA, NULL, keys[0], NULL, &err));
    MUST(fs_remove_tree(path, &err));
    AUTO_FREE char *pem = in_state("accounts/" CA_DIR "/key.pem");
    assert_int_equal(unlink(pem), 0);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        put_text(path, bad[i]);
        MUST_FAIL(store_account_key(store, CA, NULL, true, &key, &err), ERR_CRYPTO, path);
        assert_false(store_account_key_shared(store, CA, NULL));
    }
    store_close(store);
}

static void all_accounts_are_listed(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct store_account *accounts = NULL;
    size_t n = 5;
    (void)state;
    MUST(store_accounts(store, &accounts, &n, &err));
    assert_int_equal(n, 0);
    store_accounts_free(accounts);
    save_record(store, "https://z.example/d", NULL, keys[0]);
    save_record(store, CA, "second", keys[0]);
    save_record(store, CA, NULL, keys[1]);
    MUST(store_account_save(store, CA, "a", &(struct account_record){.created_s = 5}, &err));
    /* of an older version, without its server: a preset is recognised, another CA is not */
    AUTO_FREE char *preset = in_state("accounts/acme-v02.api.letsencrypt.org_directory");
    AUTO_FREE char *unknown = in_state("accounts/old.example_d");
    AUTO_FREE char *liar = in_state("accounts/liar.example_d");
    AUTO_FREE char *broken = in_state("accounts/broken.example_d");
    AUTO_FREE char *dirs[] = {mem_fmt("%s/account.json", preset), mem_fmt("%s/account.json", unknown),
                              mem_fmt("%s/account.json", liar), mem_fmt("%s/account.json", broken)};
    assert_int_equal(mkdir(preset, 0700) | mkdir(unknown, 0700) | mkdir(liar, 0700) | mkdir(broken, 0700), 0);
    put_text(dirs[0], "{\"url\": \"https://le.example/acct/1\"}");
    put_text(dirs[1], "{\"url\": \"https://old.example/acct/1\"}");
    put_text(dirs[2], "{\"server\": \"https://acme-v02.api.letsencrypt.org/directory\"}");
    put_text(dirs[3], "{");
    MUST(store_accounts(store, &accounts, &n, &err));
    AUTO_BUF found = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        buf_addf(&found, "%s %s %s\n", accounts[i].ca_url, accounts[i].account, accounts[i].record.url);
    assert_string_equal(
        buf_str(&found), CONFIG_DEFAULT_CA
        "  https://le.example/acct/1\n" CA "  https://ca.example.org/acct/1\n" CA " a \n" CA
        " second https://ca.example.org/acct/1\nhttps://z.example/d  https://ca.example.org/acct/1\n");
    store_accounts_free(accounts);
    for (size_t i = 1; i < COUNT_OF(dirs); i++)
        free(dirs[i]); /* the first is freed by itself */
    store_close(store);
}

static void what_was_asked_of_a_ca_is_remembered(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct ledger ledger = LEDGER_INIT, again = LEDGER_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    AUTO_FREE char *path = in_state("accounts/" CA_DIR "/ledger.json");
    (void)state;
    store_ledger_load(store, CA, &again);
    assert_int_equal(again.n, 0);
    strlist_add(&names, NAME);
    ledger_note(&ledger, LEDGER_ORDER, &names, false, clock_now_s());
    MUST(store_ledger_save(store, CA, &ledger, &err));
    assert_mode("accounts/" CA_DIR "/ledger.json", 0600);
    store_ledger_load(store, CA, &again);
    assert_int_equal(again.n, 1);
    assert_int_equal(again.v[0].event, LEDGER_ORDER);
    store_ledger_load(store, CONFIG_DEFAULT_CA, &again);
    assert_int_equal(again.n, 0);
    put_text(path, "not a ledger");
    store_ledger_load(store, CA, &again);
    assert_int_equal(again.n, 0);
    ledger_clear(&ledger);
    store_close(store);
}

static void keys_that_others_know_are_remembered(void **state)
{
    static const char first[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    static const char second[] = "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    struct store *store = open_store(STORE_WRITE);
    AUTO_FREE char *path = in_state("compromised");
    AUTO_BUF text = BUF_INIT;
    bool compromised = true;
    (void)state;
    MUST(store_key_compromised(store, first, &compromised, &err));
    assert_false(compromised);
    MUST(store_key_compromised_add(store, first, &err));
    MUST(store_key_compromised_add(store, first, &err));
    MUST(store_key_compromised(store, first, &compromised, &err));
    assert_true(compromised);
    MUST(store_key_compromised(store, second, &compromised, &err));
    assert_false(compromised);
    /* an editor may have taken the last newline away */
    put_text(path, first);
    MUST(store_key_compromised_add(store, second, &err));
    MUST(fs_read(path, 1000, &text, &err));
    AUTO_FREE char *expected = mem_fmt("%s\n%s\n", first, second);
    assert_string_equal(text.data, expected);
    MUST_FAIL(store_key_compromised_add(store, "", &err), ERR_INTERNAL, "not the hash");
    MUST_FAIL(store_key_compromised(store, "../x", &compromised, &err), ERR_INTERNAL, "not the hash");
    store_close(store);
    /* what cannot be read is not taken for a no */
    store = open_store(STORE_READ);
    MUST_FAIL(store_key_compromised_add(store, second, &err), ERR_INTERNAL, "reading only");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkdir(path, 0755), 0);
    struct err err = ERR_INIT;
    assert_false(store_key_compromised(store, second, &compromised, &err));
    store_close(store);
}

static void a_hostile_ca_url_stays_below_accounts(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    AUTO_STRLIST above = STRLIST_INIT, entries = STRLIST_INIT;
    AUTO_FREE char *accounts = in_state("accounts");
    (void)state;
    MUST(store_account_save(store, "https://../../../x", NULL, &(struct account_record){.created_s = 1},
                            &err));
    MUST(store_account_save(store, "..", NULL, &(struct account_record){.created_s = 1}, &err));
    MUST(store_account_save(store, "", NULL, &(struct account_record){.created_s = 1}, &err));
    MUST(fs_list(accounts, &entries, &err));
    assert_int_equal(entries.n, 3);
    MUST(fs_list(root, &above, &err));
    assert_int_equal(above.n, 2);
    store_close(store);
}

static void the_directory_document_is_kept_byte_for_byte(void **state)
{
    static const char json[] = "{\"newNonce\": \"https://ca.example.org/n\"}\n\0x";
    static const char *const bad[] = {"",
                                      "fetched_s",
                                      "fetched_s \n{}",
                                      "fetched_s x\n{}",
                                      "fetched_s 12",
                                      "{}",
                                      "fetched_s 99999999999999999999\n{}",
                                      "fetched_s -1\n{}"};
    struct store *store = open_store(STORE_WRITE);
    AUTO_FREE char *path = in_state("accounts/" CA_DIR "/directory.cache");
    AUTO_BUF out = BUF_INIT;
    int64_t fetched_s = 0;
    (void)state;
    MUST(store_directory_save(store, CA, json, sizeof json, 1795000000, &err));
    store_directory_load(store, CA, &out, &fetched_s);
    assert_int_equal(fetched_s, 1795000000);
    assert_int_equal(out.len, sizeof json);
    assert_memory_equal(out.data, json, sizeof json);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        put_text(path, bad[i]);
        fetched_s = 5;
        store_directory_load(store, CA, &out, &fetched_s);
        assert_int_equal(fetched_s, 0);
        assert_int_equal(out.len, 0);
    }
    store_close(store);
}

/* -- versions ----------------------------------------------------------------------------------------- */

static int add(struct store *store, size_t which)
{
    int version = 0;
    MUST(store_version_add(store, NAME, PART(which), 1, &version, &err));
    return version;
}

/* Key and certificate of a version directory, or of `live`, belong together. */
static void assert_matching(const char *dir_in_state)
{
    AUTO_BUF key_pem = BUF_SECRET;
    AUTO_BUF chain_pem = BUF_INIT;
    AUTO_KEY *key = NULL;
    AUTO_CHAIN *chain = NULL;
    AUTO_FREE char *dir = in_state(dir_in_state);
    AUTO_FREE char *key_path = fs_join(dir, "privkey.pem");
    AUTO_FREE char *chain_path = fs_join(dir, "fullchain.pem");
    MUST(fs_read(key_path, 65536, &key_pem, &err));
    MUST(fs_read(chain_path, 65536, &chain_pem, &err));
    MUST(key_from_pem(key_pem.data, key_pem.len, key_path, &key, &err));
    MUST(cert_chain_parse(chain_pem.data, chain_pem.len, chain_path, &chain, &err));
    MUST(cert_chain_check(chain, key, NULL, clock_now_s(), &err));
}

static void assert_serial(const struct cert_chain *chain, const char *expected)
{
    struct cert_info info = CERT_INFO_INIT;
    MUST(cert_chain_info(chain, &info, &err));
    assert_string_equal(info.serial, expected);
    cert_info_clear(&info);
}

static void versions_follow_each_other_and_live_is_switched(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct cert_chain *chain = NULL;
    AUTO_BUF cert = BUF_INIT;
    AUTO_BUF full = BUF_INIT;
    int live = 0;
    (void)state;
    assert_int_equal(add(store, 0), 1);
    MUST(store_live_version(store, NAME, &live, &err));
    assert_int_equal(live, 0);
    MUST(store_live_switch(store, NAME, 1, &err));
    assert_int_equal(add(store, 1), 2);
    MUST(store_live_version(store, NAME, &live, &err));
    assert_int_equal(live, 1);
    MUST(store_live_chain(store, NAME, &chain, &err));
    assert_serial(chain, "64");
    cert_chain_free(chain);
    MUST(store_live_switch(store, NAME, 2, &err));
    MUST(store_live_chain(store, NAME, &chain, &err));
    assert_serial(chain, "65");
    cert_chain_free(chain);
    MUST(store_version_chain(store, NAME, 1, 0, &chain, &err));
    assert_serial(chain, "64");
    cert_chain_free(chain);
    assert_matching("certs/" NAME "/0001");
    assert_matching("live/" NAME);
    /* fullchain is cert and chain, in this order */
    AUTO_FREE char *cert_path = in_state("live/" NAME "/cert.pem");
    AUTO_FREE char *chain_path = in_state("live/" NAME "/chain.pem");
    AUTO_FREE char *full_path = in_state("live/" NAME "/fullchain.pem");
    MUST(fs_read(cert_path, 65536, &cert, &err));
    MUST(fs_read(chain_path, 65536, &cert, &err));
    MUST(fs_read(full_path, 65536, &full, &err));
    assert_string_equal(buf_str(&cert), buf_str(&full));
    store_close(store);
}

static void assert_key(struct store *store, int version, int part, const struct key *expected)
{
    AUTO_KEY *key = NULL;
    char left[KEY_SPKI_BYTES], right[KEY_SPKI_BYTES];
    MUST(store_version_key(store, NAME, version, part, &key, &err));
    MUST(key_spki_sha256(key, left, &err));
    MUST(key_spki_sha256(expected, right, &err));
    assert_string_equal(left, right);
}

static void two_certificates_are_one_version(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct key *rsa = NULL, *key = NULL;
    struct cert_chain *chain = NULL;
    int version = 0;
    (void)state;
    MUST(key_generate(KEY_RSA_2048, &rsa, &err));
    struct cert_chain *rsa_chain = make_chain(rsa, 102);
    const struct store_part parts[] = {{keys[0], chains[0]}, {rsa, rsa_chain}},
                            turned[] = {{rsa, rsa_chain}, {keys[0], chains[0]}};
    MUST(store_version_add(store, NAME, parts, 2, &version, &err));
    assert_list("certs/" NAME "/0001", "cert-rsa.pem cert.pem chain-rsa.pem chain.pem fullchain-rsa.pem "
                                       "fullchain.pem privkey-rsa.pem privkey.pem");
    assert_mode("certs/" NAME "/0001/privkey-rsa.pem", 0600);
    assert_mode("certs/" NAME "/0001/fullchain-rsa.pem", 0644);
    MUST(store_version_add(store, NAME, turned, 2, &version, &err));
    assert_list("certs/" NAME "/0002", "cert-ecdsa.pem cert.pem chain-ecdsa.pem chain.pem "
                                       "fullchain-ecdsa.pem fullchain.pem privkey-ecdsa.pem privkey.pem");
    assert_key(store, 1, 0, keys[0]);
    assert_key(store, 1, 1, rsa);
    assert_key(store, 2, 0, rsa);
    assert_key(store, 2, 1, keys[0]);
    MUST(store_version_chain(store, NAME, 1, 1, &chain, &err));
    assert_serial(chain, "66");
    cert_chain_free(chain);
    MUST(store_version_chain(store, NAME, 2, 1, &chain, &err));
    assert_serial(chain, "64");
    cert_chain_free(chain);
    MUST(store_live_switch(store, NAME, 2, &err));
    MUST(store_live_chain(store, NAME, &chain, &err));
    assert_serial(chain, "66");
    cert_chain_free(chain);
    /* half of the second is not whole */
    AUTO_FREE char *path = in_state("certs/" NAME "/0001/cert-rsa.pem");
    assert_int_equal(unlink(path), 0);
    MUST_FAIL(store_live_switch(store, NAME, 1, &err), ERR_NOT_FOUND, "0001/cert-rsa.pem does not exist");
    /* one of one part has no second */
    MUST(store_version_add(store, NAME, parts, 1, &version, &err));
    MUST_FAIL(store_version_chain(store, NAME, version, 1, &chain, &err), ERR_NOT_FOUND, "0003/");
    MUST_FAIL(store_version_key(store, NAME, version, 1, &key, &err), ERR_NOT_FOUND, "0003/");
    MUST_FAIL(store_version_add(store, NAME, parts, 0, &version, &err), ERR_INTERNAL, "not 0");
    MUST_FAIL(store_version_add(store, NAME, parts, 3, &version, &err), ERR_INTERNAL, "not 3");
    cert_chain_free(rsa_chain);
    key_free(rsa);
    store_close(store);
}

static void a_certificate_may_come_without_its_key(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct key *key = NULL;
    int version = 0;
    (void)state;
    MUST(store_version_add(store, NAME, &(struct store_part){NULL, chains[0]}, 1, &version, &err));
    assert_list("certs/" NAME "/0001", "cert.pem chain.pem fullchain.pem privkey.elsewhere");
    MUST(store_live_switch(store, NAME, 1, &err));
    MUST_FAIL(store_version_key(store, NAME, 1, 0, &key, &err), ERR_NOT_FOUND, "is not held here");
    MUST_FAIL(store_version_key(store, NAME, 7, 0, &key, &err), ERR_NOT_FOUND, "0007/privkey.pem");
    /* a key that was here and is lost is something else */
    assert_int_equal(add(store, 0), 2);
    AUTO_FREE char *path = in_state("certs/" NAME "/0002/privkey.pem");
    assert_int_equal(unlink(path), 0);
    MUST_FAIL(store_live_switch(store, NAME, 2, &err), ERR_NOT_FOUND, "0002/privkey.pem does not exist");
    /* and so is one on a token */
    AUTO_FREE char *uri = in_state("certs/" NAME "/0002/privkey.uri");
    put_text(uri, "pkcs11:object=nowhere?module-path=/nowhere/lib.so\n");
    MUST(store_live_switch(store, NAME, 2, &err));
    MUST_FAIL(store_version_key(store, NAME, 2, 0, &key, &err), ERR_CRYPTO, "");
    store_close(store);
}

static void numbers_are_never_used_again(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct cert_state cert_state = CERT_STATE_INIT;
    (void)state;
    assert_int_equal(add(store, 0), 1);
    assert_int_equal(add(store, 0), 2);
    MUST(store_live_switch(store, NAME, 1, &err));
    cert_state.version = 2;
    MUST(store_state_save(store, NAME, &cert_state, &err));
    MUST(store_version_drop(store, NAME, 2, &err));
    assert_int_equal(add(store, 0), 3);
    AUTO_FREE char *far = in_state("certs/" NAME "/12345");
    AUTO_FREE char *not_one = in_state("certs/" NAME "/0099999");
    AUTO_FREE char *short_one = in_state("certs/" NAME "/777");
    assert_int_equal(mkdir(far, 0755), 0);
    assert_int_equal(mkdir(not_one, 0755), 0);
    assert_int_equal(mkdir(short_one, 0755), 0);
    assert_int_equal(add(store, 0), 12346);
    /* neither a damaged state nor a strange live link costs us a certificate that the CA has given */
    AUTO_FREE char *state_file = in_state("state/" NAME ".json");
    AUTO_FREE char *live = in_state("live/" NAME);
    put_text(state_file, "{");
    assert_int_equal(unlink(live), 0);
    assert_int_equal(symlink("/elsewhere", live), 0);
    assert_int_equal(add(store, 0), 12347);
    AUTO_FREE char *last = in_state("certs/" NAME "/999999999");
    assert_int_equal(mkdir(last, 0755), 0);
    int version = 0;
    MUST_FAIL(store_version_add(store, NAME, PART(0), 1, &version, &err), ERR_IO, "no version numbers left");
    store_close(store);
}

static char *list(const char *dir_in_state)
{
    AUTO_STRLIST entries = STRLIST_INIT;
    AUTO_FREE char *dir = in_state(dir_in_state);
    MUST(fs_list(dir, &entries, &err));
    return strlist_join(&entries, " ");
}

static void assert_list(const char *dir_in_state, const char *expected)
{
    AUTO_FREE char *found = list(dir_in_state);
    assert_string_equal(found, expected);
}

static void pruning_keeps_the_newest_the_live_one_and_the_one_before(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    (void)state;
    MUST(store_version_prune(store, NAME, 3, &err));
    for (int i = 0; i < 6; i++)
        add(store, 0);
    MUST(store_live_switch(store, NAME, 2, &err));
    MUST(store_version_prune(store, NAME, 10, &err));
    assert_list("certs/" NAME, "0001 0002 0003 0004 0005 0006");
    MUST(store_version_prune(store, NAME, 2, &err));
    assert_list("certs/" NAME, "0001 0002 0005 0006"); /* the one before the live one stays as well */
    MUST(store_version_prune(store, NAME, -1, &err));
    assert_list("certs/" NAME, "0001 0002");
    MUST_FAIL(store_version_drop(store, NAME, 2, &err), ERR_MISMATCH, "is the live one");
    MUST(store_version_drop(store, NAME, 1, &err));
    assert_matching("live/" NAME);
    store_close(store);
}

static void live_goes_to_whole_versions_only(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    int live = 0;
    (void)state;
    MUST_FAIL(store_live_switch(store, NAME, 1, &err), ERR_NOT_FOUND, "0001/privkey.pem does not exist");
    add(store, 0);
    add(store, 1);
    MUST(store_live_switch(store, NAME, 1, &err));
    AUTO_FREE char *path = in_state("certs/" NAME "/0002/chain.pem");
    assert_int_equal(unlink(path), 0);
    MUST_FAIL(store_live_switch(store, NAME, 2, &err), ERR_NOT_FOUND, "0002/chain.pem does not exist");
    MUST(store_live_version(store, NAME, &live, &err));
    assert_int_equal(live, 1);
    AUTO_FREE char *chain_path = in_state("certs/" NAME "/0001/fullchain.pem");
    struct cert_chain *chain = NULL;
    put_text(chain_path, "not a certificate");
    MUST_FAIL(store_live_chain(store, NAME, &chain, &err), ERR_CRYPTO, chain_path);
    store_close(store);
}

static void strange_live_links_are_told(void **state)
{
    static const char *const targets[] = {"../certs/other/0001",
                                          "/etc",
                                          "../certs/" NAME "/1",
                                          "../certs/" NAME "/0000",
                                          "../certs/" NAME "/00001",
                                          "../certs/" NAME "/0001/",
                                          "x"};
    struct store *store = open_store(STORE_WRITE);
    AUTO_FREE char *link = in_state("live/" NAME);
    int live = 0;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(targets); i++) {
        unlink(link);
        assert_int_equal(symlink(targets[i], link), 0);
        MUST_FAIL(store_live_version(store, NAME, &live, &err), ERR_MISMATCH, targets[i]);
    }
    assert_int_equal(unlink(link), 0);
    assert_int_equal(mkdir(link, 0755), 0);
    MUST_FAIL(store_live_version(store, NAME, &live, &err), ERR_MISMATCH, "is not a symbolic link");
    add(store, 0);
    MUST_FAIL(store_live_switch(store, NAME, 1, &err), ERR_EXISTS, link);
    store_close(store);
}

static void pending_keys_wait_and_go(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct key *key = NULL;
    char expected[KEY_THUMBPRINT_BYTES], found[KEY_THUMBPRINT_BYTES];
    (void)state;
    MUST(store_pending_key_save(store, NAME, 0, keys[0], &err));
    MUST(store_pending_key_save(store, NAME, 0, keys[1], &err));
    MUST(store_pending_key_load(store, NAME, 0, &key, &err));
    MUST(key_thumbprint(keys[1], expected, &err));
    MUST(key_thumbprint(key, found, &err));
    assert_string_equal(found, expected);
    key_free(key);
    add(store, 1); /* lets it be: the order may yet need it */
    MUST(store_pending_key_drop(store, NAME, 0, &err));
    MUST(store_pending_key_drop(store, NAME, 0, &err));
    MUST_FAIL(store_pending_key_load(store, NAME, 0, &key, &err), ERR_NOT_FOUND, "pending.pem");
    assert_list("certs/" NAME, "0001");
    /* each part has one of its own */
    MUST(store_pending_key_save(store, NAME, 0, keys[0], &err));
    MUST(store_pending_key_save(store, NAME, 1, keys[1], &err));
    assert_mode("certs/" NAME "/pending-2.pem", 0600);
    MUST(store_pending_key_drop(store, NAME, 0, &err));
    MUST(store_pending_key_load(store, NAME, 1, &key, &err));
    MUST(key_thumbprint(key, found, &err));
    assert_string_equal(found, expected);
    key_free(key);
    MUST(store_pending_key_drop(store, NAME, 1, &err));
    MUST_FAIL(store_pending_key_load(store, NAME, 1, &key, &err), ERR_NOT_FOUND, "pending-2.pem");
    store_close(store);
}

static void left_overs_are_swept(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    (void)state;
    add(store, 0);
    AUTO_FREE char *building = in_state("certs/" NAME "/.new-0002");
    AUTO_FREE char *doomed = in_state("certs/" NAME "/.old-0001");
    AUTO_FREE char *half = in_state("certs/" NAME "/.new-0002/.privkey.pem.tlsup-new");
    assert_int_equal(mkdir(building, 0700), 0);
    assert_int_equal(mkdir(doomed, 0755), 0);
    put_text(half, "-----BEGIN");
    assert_int_equal(add(store, 1), 2);
    assert_list("certs/" NAME, "0001 0002");
    assert_matching("certs/" NAME "/0002");
    store_close(store);
}

static void state_comes_back(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct cert_state before = CERT_STATE_INIT, after = CERT_STATE_INIT;
    AUTO_FREE char *path = in_state("state/" NAME ".json");
    (void)state;
    before.version = 3;
    before.step = DEPLOY_INSTALLED;
    MUST(store_state_save(store, NAME, &before, &err));
    MUST(store_state_load(store, NAME, &after, &err));
    assert_int_equal(after.version, 3);
    assert_int_equal(after.step, DEPLOY_INSTALLED);
    put_text(path, "{\n\"live\": x}");
    AUTO_FREE char *place = mem_fmt("%s:2:9: malformed JSON", path);
    MUST_FAIL(store_state_load(store, NAME, &after, &err), ERR_CONFIG, place);
    assert_int_equal(after.version, 3);
    assert_int_equal(unlink(path), 0);
    MUST(store_state_load(store, NAME, &after, &err));
    assert_int_equal(after.version, 0);
    store_close(store);
}

/* A clock that was years ahead, and is right again: no pause that it made hides anything. */
static void future_is_forgotten(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct deployment one = {.kind = DEPLOYMENT_HOOK, .what = mem_dup("/a"), .wanted = 1, .failures = 1};
    struct cert_state before = CERT_STATE_INIT, after = CERT_STATE_INIT;
    struct hook_debt debt = {.program = mem_dup("/b"), .post = true};
    struct run_state run = {.debts = &debt, .n_debts = 1}, run_after = RUN_STATE_INIT;
    int64_t now_s = clock_now_s(), far_s = now_s + 3000 * INT64_C(86400), soon_s = now_s + 3000;
    (void)state;
    for (int ahead = 0; ahead < 2; ahead++) {
        int64_t failed_s = ahead ? far_s : now_s - 60, next_s = ahead ? far_s + 60 : soon_s;
        before.failures = 1;
        before.failed_s = one.failed_s = debt.failed_s = failed_s;
        before.next_try_s = one.next_try_s = debt.next_try_s = next_s;
        before.missing_try_s = before.ari.next_check_s = next_s;
        before.verified_s = failed_s;
        before.deployments = &one;
        before.n_deployments = 1;
        MUST(store_state_save(store, NAME, &before, &err));
        MUST(store_run_state_save(store, &run, &err));
        MUST(store_state_load(store, NAME, &after, &err));
        MUST(store_run_state_load(store, &run_after, &err));
        assert_int_equal(after.failures, 1);
        assert_int_equal(after.next_try_s, ahead ? 0 : soon_s);
        assert_int_equal(after.deployments[0].next_try_s, ahead ? 0 : soon_s);
        assert_int_equal(after.missing_try_s, ahead ? 0 : soon_s);
        assert_int_equal(after.ari.next_check_s, ahead ? 0 : soon_s);
        assert_int_equal(after.verified_s, ahead ? 0 : now_s - 60);
        assert_int_equal(run_after.debts[0].next_try_s, ahead ? 0 : soon_s);
    }
    cert_state_clear(&after);
    run_state_clear(&run_after);
    free(one.what);
    free(debt.program);
    store_close(store);
}

/* What hooks that failed are to be told of a large fleet is kept, however much it is. */
static void large_run_state_comes_back(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct hook_debt debts[4] = {{0}};
    struct run_state before = {.debts = debts, .n_debts = COUNT_OF(debts)}, after = RUN_STATE_INIT;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(debts); i++) {
        debts[i] = (struct hook_debt){.program = mem_fmt("/hook-%zu", i), .post = true, .failures = 1};
        for (int n = 0; n < 2000; n++) {
            AUTO_FREE char *name = mem_fmt("%0200d.example.org", n);
            strlist_add(&debts[i].renewed_names, name);
        }
    }
    MUST(store_run_state_save(store, &before, &err));
    MUST(store_run_state_load(store, &after, &err));
    assert_int_equal(after.n_debts, COUNT_OF(debts));
    assert_int_equal(after.debts[3].renewed_names.n, 2000);
    run_state_clear(&after);
    for (size_t i = 0; i < COUNT_OF(debts); i++)
        hook_debt_clear(&debts[i]);
    store_close(store);
}

static void fill_certificate(struct store *store)
{
    put_config("certs.d/" NAME ".conf", "names = " NAME "\n");
    MUST(store_state_save(store, NAME, &(struct cert_state)CERT_STATE_INIT, &err));
    MUST(store_pending_key_save(store, NAME, 0, keys[0], &err));
    add(store, 0);
    MUST(store_live_switch(store, NAME, 1, &err));
    add(store, 1);
}

static void assert_gone(void)
{
    assert_list("certs", "");
    assert_list("live", "");
    assert_list("state", "");
    assert_list("../etc/certs.d", "");
}

static void deleting_leaves_nothing(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    (void)state;
    fill_certificate(store);
    MUST(store_cert_delete(store, NAME, &err));
    assert_gone();
    MUST_FAIL(store_cert_delete(store, NAME, &err), ERR_NOT_FOUND, "there is no certificate");
    /* what a run cut short has left is removed by the next */
    add(store, 0);
    MUST(store_cert_delete(store, NAME, &err));
    assert_gone();
    store_close(store);
}

static void read_below_state(const char *file, struct buf *out)
{
    AUTO_FREE char *path = fs_join(state_dir, file);
    buf_reset(out);
    MUST(fs_read(path, 65536, out, &err));
}

/* The state is for everybody to read: what a hook has printed may be a secret. */
static void what_hooks_have_printed_is_for_root(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    struct cert_state kept = CERT_STATE_INIT;
    AUTO_BUF text = BUF_INIT;
    AUTO_FREE char *output = fs_join(state_dir, "state/" NAME ".output");
    (void)state;
    fill_certificate(store);
    err_set(&kept.last_error, ERR_ACME, NEXT_REFUSED, NAME,
            "2 of 3 names could not be proven\na: the challenge hook /h failed:\n| t0ken=1\nb: refused");
    kept.deployments = mem_array(1, sizeof *kept.deployments);
    kept.deployments[0] = (struct deployment){.what = mem_dup("/d"), .wanted = 1, .failures = 1};
    kept.n_deployments = 1;
    err_set(&kept.deployments[0].last_error, ERR_HOOK, NEXT_RETRY_LATER, "/d",
            "the deploy hook /d failed:\n| t0ken=2");
    MUST(store_state_save(store, NAME, &kept, &err));
    read_below_state("state/" NAME ".json", &text);
    assert_null(strstr(buf_str(&text), "t0ken"));
    assert_non_null(strstr(buf_str(&text), "b: refused"));
    assert_mode("state/" NAME ".json", 0644);
    assert_mode("state/" NAME ".output", 0600);
    MUST(store_state_load(store, NAME, &kept, &err));
    assert_non_null(strstr(kept.last_error.text, "| t0ken=1\nb: refused"));
    assert_non_null(strstr(kept.deployments[0].last_error.text, "failed:\n| t0ken=2"));
    MUST(fs_write(output, "{ damaged", 9, 0600, &err));
    MUST(store_state_load(store, NAME, &kept, &err));
    assert_string_equal(kept.deployments[0].last_error.text, "the deploy hook /d failed");
    err_clear(&kept.deployments[0].last_error);
    MUST(store_state_save(store, NAME, &kept, &err)); /* nothing that was printed is in it */
    assert_false(fs_exists(output));
    err_context(&kept.last_error, "again:\n| t0ken");
    MUST(store_state_save(store, NAME, &kept, &err));
    assert_true(fs_exists(output));
    MUST(store_cert_delete(store, NAME, &err));
    assert_false(fs_exists(output));
    cert_state_clear(&kept);
    store_close(store);
}

/* -- the lock ----------------------------------------------------------------------------------------- */

/* A child that holds the store until it is killed. */
static pid_t hold_in_child(void)
{
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct store *store = NULL;
        struct err err = ERR_INIT;
        if (!store_open(config_dir, state_dir, STORE_WRITE, &store, &err) || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void one_writer_at_a_time(void **state)
{
    struct store *store = NULL;
    int status;
    (void)state;
    pid_t child = hold_in_child();
    AUTO_FREE char *holder = mem_fmt("process %ld", (long)child);
    MUST_FAIL(store_open(config_dir, state_dir, STORE_WRITE, &store, &err), ERR_LOCKED, holder);
    store_close(open_store(STORE_READ)); /* looking is always possible */
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    store_close(open_store(STORE_WRITE));
    store = open_store(STORE_WRITE);
    struct store *second = NULL;
    MUST_FAIL(store_open(config_dir, state_dir, STORE_WRITE, &second, &err), ERR_LOCKED, "holds the lock");
    assert_null(second);
    store_close(store);
    store_close(open_store(STORE_WRITE));
}

/* -- permissions and attacks -------------------------------------------------------------------------- */

/* Run `job` in a child as user nobody; its status. */
static int as_nobody(int (*job)(void))
{
    int status = -1;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(100);
        _exit(job());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 200;
}

static int try_to_write(void)
{
    struct store *store = NULL;
    struct err err = ERR_INIT;
    if (store_open(config_dir, state_dir, STORE_WRITE, &store, &err) || store != NULL)
        return 1;
    if (err.code != ERR_PERMISSION)
        return 2;
    if (strstr(err.advice, "sudo") == NULL || strstr(err.advice, "--state-dir") == NULL)
        return 3;
    return strstr(err.text, state_dir) != NULL ? 0 : 4;
}

static int try_to_read(void)
{
    struct store *store = NULL;
    struct key *key = NULL;
    struct cert_chain *chain = NULL;
    struct cert_state cert_state = CERT_STATE_INIT;
    struct err err = ERR_INIT;
    if (!store_open(config_dir, state_dir, STORE_READ, &store, &err))
        return 1;
    /* what is public is readable, keys are not */
    if (!store_live_chain(store, NAME, &chain, &err) || !store_state_load(store, NAME, &cert_state, &err))
        return 2;
    cert_chain_free(chain);
    if (store_pending_key_load(store, NAME, 0, &key, &err) || err.code != ERR_PERMISSION)
        return 3;
    err_clear(&err);
    if (store_account_key(store, CA, NULL, false, &key, &err) || err.code != ERR_PERMISSION)
        return 4;
    store_close(store);
    return 0;
}

static int write_our_own(void)
{
    struct store *store = NULL;
    struct err err = ERR_INIT;
    char etc[128], var[128];
    int version = 0;
    snprintf(etc, sizeof etc, "%s/own/etc", root);
    snprintf(var, sizeof var, "%s/own/var", root);
    if (!store_open(etc, var, STORE_WRITE, &store, &err))
        return 1;
    bool ok = store_version_add(store, NAME, PART(0), 1, &version, &err) &&
              store_live_switch(store, NAME, version, &err);
    store_close(store);
    return ok ? 0 : 2;
}

static void others_may_not_write_and_are_told_what_to_do(void **state)
{
    (void)state;
    if (!need_root())
        skip();
    assert_int_equal(chmod(root, 0755), 0);
    assert_int_equal(as_nobody(try_to_write), 0); /* nothing there yet */
    struct store *store = open_store(STORE_WRITE);
    fill_certificate(store);
    struct key *key = NULL;
    MUST(store_account_key(store, CA, NULL, true, &key, &err));
    key_free(key);
    store_close(store);
    assert_int_equal(as_nobody(try_to_write), 0);
    assert_int_equal(as_nobody(try_to_read), 0);
    AUTO_FREE char *own = fs_join(root, "own");
    assert_int_equal(mkdir(own, 0755), 0);
    assert_int_equal(chown(own, 65534, 65534), 0);
    assert_int_equal(as_nobody(write_our_own), 0);
}

static void foreign_directories_and_links_are_refused(void **state)
{
    static const char *const subs[] = {"certs", "live",   "accounts",       "challenges", "journal",
                                       "state", "../etc", "../etc/certs.d", "../var"};
    struct store *store = NULL;
    (void)state;
    if (!need_root())
        skip();
    AUTO_FREE char *elsewhere = fs_join(root, "elsewhere");
    assert_int_equal(mkdir(elsewhere, 0755), 0);
    for (size_t i = 0; i < COUNT_OF(subs); i++) {
        store_close(open_store(STORE_WRITE));
        AUTO_FREE char *path = in_state(subs[i]);
        AUTO_FREE char *plain = strcmp(subs[i], "../var") == 0 ? mem_dup(state_dir) : mem_dup(path);
        MUST(fs_remove_tree(plain, &err));
        /* a link of somebody else's, though it leads to a directory of root's */
        assert_int_equal(symlink(elsewhere, plain), 0);
        assert_int_equal(lchown(plain, 65534, 65534), 0);
        MUST_FAIL(store_open(config_dir, state_dir, STORE_WRITE, &store, &err), ERR_PERMISSION,
                  "belongs to user 65534");
        /* root's own link to a directory of somebody else's */
        assert_int_equal(lchown(plain, 0, 0), 0);
        assert_int_equal(chown(elsewhere, 65534, 65534), 0);
        MUST_FAIL(store_open(config_dir, state_dir, STORE_WRITE, &store, &err), ERR_PERMISSION,
                  "belongs to user 65534");
        /* root's own link to root's own directory is how people move things */
        assert_int_equal(chown(elsewhere, 0, 0), 0);
        store_close(open_store(STORE_WRITE));
        assert_int_equal(unlink(plain), 0);
        MUST(fs_remove_tree(elsewhere, &err));
        assert_int_equal(mkdir(elsewhere, 0755), 0);
        /* somebody else's directory */
        assert_int_equal(mkdir(plain, 0755), 0);
        assert_int_equal(chown(plain, 65534, 65534), 0);
        MUST_FAIL(store_open(config_dir, state_dir, STORE_WRITE, &store, &err), ERR_PERMISSION,
                  "belongs to user 65534");
        MUST(fs_remove_tree(plain, &err));
    }
}

static void a_state_directory_open_to_others_is_refused(void **state)
{
    struct store *store = NULL;
    (void)state;
    if (!need_root())
        skip();
    store_close(open_store(STORE_WRITE));
    AUTO_FREE char *certs = in_state("certs");
    assert_int_equal(chmod(state_dir, 0777), 0);
    MUST_FAIL(store_open(config_dir, state_dir, STORE_WRITE, &store, &err), ERR_PERMISSION,
              "can be written by others");
    assert_int_equal(chmod(state_dir, 0711), 0);
    assert_int_equal(chmod(certs, 0731), 0);
    MUST_FAIL(store_open(config_dir, state_dir, STORE_WRITE, &store, &err), ERR_PERMISSION,
              "can be written by others");
    assert_int_equal(chmod(certs, 0711), 0);
    store_close(open_store(STORE_WRITE));
}

static void a_link_in_place_of_a_certificate_directory_is_refused(void **state)
{
    struct store *store = open_store(STORE_WRITE);
    int version = 0;
    (void)state;
    if (!need_root()) {
        store_close(store);
        skip();
    }
    AUTO_FREE char *trap = fs_join(root, "trap");
    AUTO_FREE char *link = in_state("certs/" NAME);
    assert_int_equal(mkdir(trap, 0755), 0);
    assert_int_equal(chown(trap, 65534, 65534), 0);
    assert_int_equal(symlink(trap, link), 0);
    MUST_FAIL(store_version_add(store, NAME, PART(0), 1, &version, &err), ERR_PERMISSION, link);
    MUST_FAIL(store_pending_key_save(store, NAME, 0, keys[0], &err), ERR_PERMISSION, link);
    assert_list("../trap", "");
    store_close(store);
}

static void things_in_the_way_are_named(void **state)
{
    struct store *store = NULL;
    (void)state;
    put_text(state_dir, "a file");
    MUST_FAIL(store_open(config_dir, state_dir, STORE_WRITE, &store, &err), ERR_EXISTS, state_dir);
    assert_int_equal(unlink(state_dir), 0);
    assert_int_equal(symlink("nowhere", state_dir), 0);
    MUST_FAIL(store_open(config_dir, state_dir, STORE_WRITE, &store, &err), ERR_NOT_FOUND, state_dir);
    assert_int_equal(unlink(state_dir), 0);
    assert_int_equal(mkdir(state_dir, 0711), 0);
    AUTO_FREE char *certs = in_state("certs");
    put_text(certs, "");
    MUST_FAIL(store_open(config_dir, state_dir, STORE_WRITE, &store, &err), ERR_EXISTS, "is not a directory");
    /* the refused opening has let go of the lock */
    assert_int_equal(unlink(certs), 0);
    store_close(open_store(STORE_WRITE));
}

/* -- crashes: the process is killed before every single system call ----------------------------------- */

static int private_keys_seen;

static int check_private(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    AUTO_BUF content = BUF_INIT;
    (void)ftw;
    if (type != FTW_F)
        return 0;
    MUST(fs_read(path, 65536, &content, &err));
    if (strstr(buf_str(&content), "PRIVATE") == NULL)
        return 0;
    private_keys_seen++;
    if ((st->st_mode & 077) != 0)
        fail_msg("%s has mode %04o", path, (unsigned)(st->st_mode & 07777));
    return 0;
}

static void assert_keys_private(void)
{
    assert_int_equal(nftw(state_dir, check_private, 16, FTW_PHYS), 0);
}

/* Run `job` in a child and kill it as it enters its `limit`th system call: true when it had ended before. */
static bool run_and_kill(int (*job)(void), int limit)
{
    int status = 0, calls = 0;
    bool entering = true;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        umask(0);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(77);
        raise(SIGSTOP);
        _exit(job());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    while (WIFSTOPPED(status)) {
        if (WSTOPSIG(status) == SIGTRAP) {
            calls += entering;
            entering = !entering;
        }
        if (calls > limit) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            return false;
        }
        if (ptrace(PTRACE_SYSCALL, child, NULL, NULL) != 0)
            break;
        waitpid(child, &status, 0);
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("skipped: no ptrace here\n");
        skip();
    }
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return true;
}

static void assert_versions_whole(void)
{
    AUTO_STRLIST entries = STRLIST_INIT;
    AUTO_FREE char *dir = in_state("certs/" NAME);
    MUST(fs_list(dir, &entries, &err));
    for (size_t i = 0; i < entries.n; i++) {
        if (entries.v[i][0] == '.' || strcmp(entries.v[i], "pending.pem") == 0)
            continue;
        AUTO_FREE char *version = fs_join("certs/" NAME, entries.v[i]);
        AUTO_FREE char *key = fs_join(version, "privkey.pem");
        assert_matching(version);
        assert_mode(version, 0755);
        assert_mode(key, 0600);
        AUTO_FREE char *files = list(version);
        assert_string_equal(files, "cert.pem chain.pem fullchain.pem privkey.pem");
    }
}

static int job_renew(void)
{
    struct store *store = NULL;
    struct err err = ERR_INIT;
    struct cert_state state = CERT_STATE_INIT;
    if (!store_open(config_dir, state_dir, STORE_WRITE, &store, &err) ||
        !store_version_add(store, NAME, PART(1), 1, &state.version, &err) ||
        !store_state_save(store, NAME, &state, &err) ||
        !store_live_switch(store, NAME, state.version, &err) || !store_version_prune(store, NAME, 1, &err))
        return 1;
    store_close(store);
    return 0;
}

static void a_renewal_killed_anywhere_leaves_a_whole_certificate(void **state)
{
    bool done = false;
    int points = 0;
    (void)state;
    while (!done) {
        struct store *store = open_store(STORE_WRITE);
        struct cert_state cert_state = CERT_STATE_INIT;
        int before = add(store, 0), live = 0;
        MUST(store_live_switch(store, NAME, before, &err));
        MUST(store_version_prune(store, NAME, 1, &err));
        store_close(store);
        done = run_and_kill(job_renew, points++);
        assert_keys_private();
        assert_versions_whole();
        assert_matching("live/" NAME);
        store = open_store(STORE_WRITE); /* no stale lock */
        MUST(store_state_load(store, NAME, &cert_state, &err));
        MUST(store_live_version(store, NAME, &live, &err));
        assert_true(live == before || live > before);
        int next = add(store, 1);
        assert_true(next > live && next > cert_state.version);
        AUTO_FREE char *entries = list("certs/" NAME);
        assert_null(strstr(entries, ".new-"));
        assert_null(strstr(entries, ".old-"));
        store_close(store);
    }
    assert_true(points > 60); /* it was indeed killed in the midst of things */
    assert_true(private_keys_seen > points);
}

static int job_delete(void)
{
    struct store *store = NULL;
    struct err err = ERR_INIT;
    if (!store_open(config_dir, state_dir, STORE_WRITE, &store, &err) ||
        !store_cert_delete(store, NAME, &err))
        return 1;
    store_close(store);
    return 0;
}

static void a_deletion_killed_anywhere_can_be_completed(void **state)
{
    bool done = false;
    (void)state;
    for (int point = 0; !done; point++) {
        struct store *store = open_store(STORE_WRITE);
        fill_certificate(store);
        store_close(store);
        done = run_and_kill(job_delete, point);
        AUTO_FREE char *live = in_state("live/" NAME);
        if (fs_exists(live))
            assert_matching("live/" NAME); /* nothing that is served is missing its key */
        store = open_store(STORE_WRITE);
        struct err err = ERR_INIT;
        if (!store_cert_delete(store, NAME, &err))
            assert_int_equal(err.code, ERR_NOT_FOUND);
        assert_gone();
        store_close(store);
    }
}

/* The order that is right: record first, then the key. */
static int job_change_key(void)
{
    struct store *store = NULL;
    struct err err = ERR_INIT;
    struct account_record record = {.url = "https://ca.example.org/acct/1"};
    if (!store_open(config_dir, state_dir, STORE_WRITE, &store, &err) ||
        !store_account_next_save(store, CA, NULL, keys[1], &err) ||
        !key_thumbprint(keys[1], record.thumbprint, &err) ||
        !store_account_save(store, CA, NULL, &record, &err) ||
        !store_account_next_commit(store, CA, NULL, &err))
        return 1;
    store_close(store);
    return 0;
}

/* And the other way round. */
static int job_change_key_early(void)
{
    struct store *store = NULL;
    struct err err = ERR_INIT;
    struct account_record record = {.url = "https://ca.example.org/acct/1"};
    if (!store_open(config_dir, state_dir, STORE_WRITE, &store, &err) ||
        !store_account_next_save(store, CA, NULL, keys[1], &err) ||
        !store_account_next_commit(store, CA, NULL, &err) ||
        !key_thumbprint(keys[1], record.thumbprint, &err) ||
        !store_account_save(store, CA, NULL, &record, &err))
        return 1;
    store_close(store);
    return 0;
}

static bool is_key(const char *thumbprint, const struct key *key)
{
    char found[KEY_THUMBPRINT_BYTES];
    MUST(key_thumbprint(key, found, &err));
    return strcmp(found, thumbprint) == 0;
}

/* Whatever the CA has seen, the key that goes with it is there. */
static void assert_change_survived(bool by_record)
{
    struct store *store = open_store(STORE_WRITE);
    struct account_record record;
    struct key *next = NULL;
    struct err missing = ERR_INIT;
    char found[KEY_THUMBPRINT_BYTES];
    MUST(store_account_load(store, CA, NULL, &record, &err));
    thumbprint_of(store, CA, NULL, found);
    if (by_record)
        assert_string_equal(found, record.thumbprint);
    bool has_next = store_account_next_load(store, CA, NULL, &next, &missing);
    assert_true(is_key(found, keys[1]) ||
                (is_key(found, keys[0]) && (has_next || is_key(record.thumbprint, keys[0]))));
    key_free(next);
    /* the next run completes it */
    if (has_next) {
        save_record(store, CA, NULL, keys[1]);
        MUST(store_account_next_commit(store, CA, NULL, &err));
        thumbprint_of(store, CA, NULL, found);
        assert_true(is_key(found, keys[1]));
    }
    store_close(store);
}

static void change_and_kill(int (*job)(void), bool by_record, bool shared)
{
    bool done = false;
    int points = 0;
    while (!done) {
        struct store *store = open_store(STORE_WRITE);
        AUTO_BUF pem = BUF_SECRET;
        AUTO_FREE char *path = in_state(shared ? "accounts/key.pem" : "accounts/" CA_DIR "/key.pem");
        save_record(store, CA, NULL, keys[0]);
        MUST(key_to_pem(keys[0], &pem, &err));
        MUST(fs_write(path, pem.data, pem.len, 0600, &err));
        store_close(store);
        done = run_and_kill(job, points++);
        assert_keys_private();
        assert_change_survived(by_record);
        MUST(fs_remove_tree(state_dir, &err));
    }
    assert_true(points > 60);
}

static void a_key_change_killed_anywhere_leaves_the_key_to_use(void **state)
{
    (void)state;
    change_and_kill(job_change_key, true, false);
    change_and_kill(job_change_key, true, true);
    change_and_kill(job_change_key_early, false, false);
}

static int job_import(void)
{
    struct store *store = NULL;
    struct err err = ERR_INIT;
    if (!store_open(config_dir, state_dir, STORE_WRITE, &store, &err) ||
        !store_account_key_import(store, CA, NULL, keys[1], NULL, &err))
        return 1;
    store_close(store);
    return 0;
}

static void an_import_killed_anywhere_loses_no_key(void **state)
{
    bool done = false;
    int points = 0;
    (void)state;
    while (!done) {
        char found[KEY_THUMBPRINT_BYTES];
        struct store *store = open_store(STORE_WRITE);
        MUST(store_account_key_import(store, CA, NULL, keys[0], NULL, &err));
        store_close(store);
        done = run_and_kill(job_import, points++);
        assert_keys_private();
        store = open_store(STORE_WRITE);
        thumbprint_of(store, CA, NULL, found);
        AUTO_FREE char *files = list("accounts/" CA_DIR);
        assert_true(is_key(found, keys[0]) ||
                    (is_key(found, keys[1]) && strstr(files, "key-old-1.pem") != NULL));
        assert_true(!done || is_key(found, keys[1]));
        store_close(store);
        MUST(fs_remove_tree(state_dir, &err));
    }
    assert_true(points > 40);
}

/* -- full disks --------------------------------------------------------------------------------------- */

static int failures_seen[3];

/* One life of a certificate on whatever room there is: 0 when all of it fitted, 1 when something did not and
 * was handled. */
static int live_on_little(void)
{
    struct store *store = NULL;
    struct err err = ERR_INIT;
    int version = 0, live = 0;
    if (!store_open(config_dir, state_dir, STORE_WRITE, &store, &err)) {
        assert_int_equal(err.code, ERR_NO_SPACE);
        failures_seen[0]++;
        return 1;
    }
    bool first =
        store_version_add(store, NAME, PART(0), 1, &version, &err) && store_live_switch(store, NAME, 1, &err);
    if (!first) {
        assert_int_equal(err.code, ERR_NO_SPACE);
        assert_non_null(strstr(err.text, state_dir));
        assert_true(err.advice[0] != '\0');
        AUTO_FREE char *entries = list("certs/" NAME);
        assert_true(strcmp(entries, version == 1 ? "0001" : "") == 0);
        failures_seen[1]++;
        store_close(store);
        return 1;
    }
    struct cert_state cert_state = {.version = 2};
    if (!store_version_add(store, NAME, PART(1), 1, &version, &err) ||
        !store_state_save(store, NAME, &cert_state, &err) || !store_live_switch(store, NAME, 2, &err)) {
        assert_int_equal(err.code, ERR_NO_SPACE);
        AUTO_FREE char *entries = list("certs/" NAME);
        assert_true(strcmp(entries, version == 2 ? "0001 0002" : "0001") == 0);
        err_clear(&err);
        assert_true(store_live_version(store, NAME, &live, &err));
        assert_int_equal(live, 1);
        assert_matching("live/" NAME);
        failures_seen[2]++;
        store_close(store);
        return 1;
    }
    assert_matching("live/" NAME);
    store_close(store);
    return 0;
}

/* A mount namespace of this program's own; it ends with it. */
static bool own_mounts(void)
{
    if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0)
        return true;
    print_message("skipped: needs root and a mount namespace\n");
    return false;
}

/* Grow a tiny file system step by step until all fits. */
static void grow(const char *limit)
{
    bool fitted = false;
    for (int room = 2; room < 200 && !fitted; room++) {
        AUTO_FREE char *options = mem_fmt("mode=0711,%s=%d", limit, room);
        assert_int_equal(mkdir(state_dir, 0711), 0);
        assert_int_equal(mount("tmpfs", state_dir, "tmpfs", 0, options), 0);
        fitted = live_on_little() == 0;
        assert_int_equal(umount(state_dir), 0);
        assert_int_equal(rmdir(state_dir), 0);
    }
    assert_true(fitted);
}

static void a_full_disk_costs_nothing_that_was_there(void **state)
{
    (void)state;
    if (!own_mounts())
        skip();
    grow("nr_inodes");
    for (size_t i = 0; i < COUNT_OF(failures_seen); i++)
        assert_true(failures_seen[i] > 0);
    memset(failures_seen, 0, sizeof failures_seen);
    grow("nr_blocks");
    assert_true(failures_seen[1] > 0);
    assert_true(failures_seen[2] > 0);
}

static void a_read_only_file_system_is_told(void **state)
{
    struct store *store = NULL;
    struct err err = ERR_INIT;
    (void)state;
    if (!own_mounts())
        skip();
    assert_int_equal(mount("tmpfs", root, "tmpfs", MS_RDONLY, "mode=0755"), 0);
    assert_false(store_open(config_dir, state_dir, STORE_WRITE, &store, &err));
    assert_int_equal(umount(root), 0);
    assert_int_equal(err.code, ERR_PERMISSION);
    assert_non_null(strstr(err.advice, "read-only"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_root, remove_root)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(writing_makes_the_layout_whatever_the_umask),
        TEST(certificates_get_the_type_that_web_servers_read),
        TEST(reading_needs_nothing_and_makes_nothing),
        TEST(directories_are_absolute_without_final_slash),
        TEST(no_path_is_made_of_a_bad_name),
        TEST(certificates_are_those_with_a_file),
        TEST(configuration_comes_back_over_defaults),
        TEST(an_unchanged_file_keeps_its_comments),
        TEST(what_would_not_read_back_is_not_saved),
        TEST(a_password_in_the_configuration_is_private),
        TEST(a_broken_configuration_is_told_by_file_and_line),
        TEST(one_account_key_serves_all_but_those_with_their_own),
        TEST(a_damaged_account_key_is_not_replaced),
        TEST(account_records_come_back),
        TEST(the_server_of_a_record_is_filled_in),
        TEST(named_accounts_have_keys_and_records_of_their_own),
        TEST(no_path_is_made_of_a_bad_account),
        TEST(an_imported_key_is_the_accounts_own_and_loses_none),
        TEST(a_key_change_goes_by_the_thumbprint),
        TEST(the_shared_key_is_not_taken_from_others),
        TEST(a_key_on_a_token_is_told_from_one_in_a_file),
        TEST(all_accounts_are_listed),
        TEST(what_was_asked_of_a_ca_is_remembered),
        TEST(keys_that_others_know_are_remembered),
        TEST(a_hostile_ca_url_stays_below_accounts),
        TEST(the_directory_document_is_kept_byte_for_byte),
        TEST(versions_follow_each_other_and_live_is_switched),
        TEST(two_certificates_are_one_version),
        TEST(a_certificate_may_come_without_its_key),
        TEST(numbers_are_never_used_again),
        TEST(pruning_keeps_the_newest_the_live_one_and_the_one_before),
        TEST(live_goes_to_whole_versions_only),
        TEST(strange_live_links_are_told),
        TEST(pending_keys_wait_and_go),
        TEST(left_overs_are_swept),
        TEST(state_comes_back),
        TEST(future_is_forgotten),
        TEST(large_run_state_comes_back),
        TEST(what_hooks_have_printed_is_for_root),
        TEST(deleting_leaves_nothing),
        TEST(one_writer_at_a_time),
        TEST(others_may_not_write_and_are_told_what_to_do),
        TEST(foreign_directories_and_links_are_refused),
        TEST(a_state_directory_open_to_others_is_refused),
        TEST(a_link_in_place_of_a_certificate_directory_is_refused),
        TEST(things_in_the_way_are_named),
        TEST(a_renewal_killed_anywhere_leaves_a_whole_certificate),
        TEST(a_deletion_killed_anywhere_can_be_completed),
        TEST(a_key_change_killed_anywhere_leaves_the_key_to_use),
        TEST(an_import_killed_anywhere_loses_no_key),
        TEST(a_full_disk_costs_nothing_that_was_there),
        TEST(a_read_only_file_system_is_told),
    };
    return cmocka_run_group_tests_name("store", tests, make_chains, free_chains);
}
