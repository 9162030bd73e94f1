/*
 * test_import.c - the files of other clients, as they come and as they should not: read without a shell, into
 * plain structs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/store/import_internal.h"

static char root[] = "/tmp/tlsup-import-XXXXXX";
static struct import_store store;
static struct err err;

static int setup(void **state)
{
    (void)state;
    struct err none = ERR_INIT;
    err_clear(&err);
    store = (struct import_store)IMPORT_STORE_INIT;
    return fs_remove_tree(root, &none) && fs_mkdirs(root, 0755, &none) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    import_store_clear(&store);
    return 0;
}

static void put(const char *path, const char *text)
{
    AUTO_FREE char *full = fs_join(root, path);
    AUTO_FREE char *dir = fs_dirname(full);
    assert_true(fs_mkdirs(dir, 0755, &err));
    assert_true(fs_write(full, text, strlen(text), 0644, &err));
}

static const char *setting(const struct import_cert *cert, const char *key)
{
    for (size_t i = 0; i < cert->keys.n; i++)
        if (strcmp(cert->keys.v[i], key) == 0)
            return cert->values.v[i];
    return NULL;
}

static const char *file_text(const struct import_cert *cert, const char *key)
{
    for (size_t i = 0; i < cert->n_files; i++)
        if (cert->files[i].key != NULL && strcmp(cert->files[i].key, key) == 0)
            return buf_str(&cert->files[i].text);
    return NULL;
}

/* -- NAME=value ---------------------------------------------------------------------------------------------
 */

static void test_values_as_a_shell_reads_them(void **state)
{
    static const struct {
        const char *line, *value; /* NULL = left out */
    } rows[] = {
        {"A=plain", "plain"},
        {"  A=indented", "indented"},
        {"export A=exported", "exported"},
        {"A='it'\\''s'", "it's"},
        {"A=\"double \\\"quoted\\\"\"", "double \"quoted\""},
        {"A=\"two\nlines\"", "two\nlines"},
        {"A=x # comment", "x"},
        {"A=x;B=y", "x"},
        {"A=", ""},
        {"A=\"$BASE/x\"", "/base/x"},
        {"A=${BASE}/x", "/base/x"},
        {"A='$BASE'", "$BASE"},
        {"A=$UNKNOWN.x", ".x"},
        {"A=\\$BASE", "$BASE"},
        {"A=$BASE", "/base"},
        {"A=\"$BASE\"", "/base"},
        {"A=$(id)", NULL},
        {"A=`id`", NULL},
        {"A=\"x`id`\"", NULL},
        {"A=${BASE:-x}", NULL},
        {"A=$", NULL},
        {"A='no end", NULL},
        {"A=\"no end", NULL},
        {"A=end\\", "end\\"},
        {"#A=commented", NULL},
        {"A = spaced", NULL},
        {"=x", NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct import_vars vars = {0};
        import_vars_set(&vars, "BASE", "/base");
        import_vars_read(&vars, rows[i].line);
        const char *value = import_var(&vars, "A");
        if (rows[i].value == NULL)
            assert_null(value);
        else if (value == NULL || strcmp(value, rows[i].value) != 0)
            fail_msg("%s: '%s'", rows[i].line, value != NULL ? value : "(none)");
        import_vars_clear(&vars);
    }
}

static void test_later_values_count(void **state)
{
    struct import_vars vars = {0};
    (void)state;
    import_vars_read(&vars, "A=1\nif x; then\n  A=2\nfi\n$(touch /tmp/never)\nB=$A$A\n");
    assert_string_equal(import_var(&vars, "A"), "2");
    assert_string_equal(import_var(&vars, "B"), "22");
    import_vars_clear(&vars);
}

/* A small file must not take all memory. */
static void test_values_that_double(void **state)
{
    struct import_vars vars = {0};
    AUTO_BUF text = BUF_INIT;
    (void)state;
    buf_adds(&text, "X=0123456789abcdef\n");
    for (int i = 0; i < 20; i++)
        buf_adds(&text, "X=$X$X\n");
    import_vars_read(&vars, buf_str(&text));
    assert_true(strlen(import_var(&vars, "X")) < 512 * 1024);
    import_vars_clear(&vars);
}

/* -- certbot
 * -------------------------------------------------------------------------------------------------- */

static struct import_cert *certbot(const char *params)
{
    AUTO_FREE char *conf =
        mem_fmt("version = 2.1.0\n[renewalparams]\nserver = https://ca.test/dir\n%s", params);
    put("renewal/a.test.conf", conf);
    put("live/a.test/fullchain.pem", "chain");
    put("live/a.test/privkey.pem", "key");
    import_store_clear(&store);
    err_clear(&err);
    if (!import_read(IMPORT_CERTBOT, root, 5, &store, &err))
        fail_msg("%s", err.text);
    assert_int_equal(store.n_certs, 1);
    return &store.certs[0];
}

static void test_certbot_values(void **state)
{
    (void)state;
    struct import_cert *cert = certbot(
        "authenticator = standalone\npre_hook = echo \"a b\" 'c'\nrenew_hook = \"one, two\" # comment\n"
        "post_hook = '''first\nsecond \"x\"'''\nkey_type = rsa\n");
    assert_string_equal(file_text(cert, "pre-hook"), "#!/bin/sh\necho \"a b\" 'c'\n");
    assert_string_equal(file_text(cert, "deploy-hook"), "#!/bin/sh\none, two\n");
    assert_string_equal(file_text(cert, "post-hook"), "#!/bin/sh\nfirst\nsecond \"x\"\n");
    assert_string_equal(setting(cert, "challenge"), "standalone");
    assert_string_equal(cert->server, "https://ca.test/dir");
}

static void test_certbot_ways(void **state)
{
    static const struct {
        const char *params, *challenge, *webroot;
    } rows[] = {
        {"authenticator = nginx\n", "web-server", NULL},
        {"authenticator = apache\n", "web-server", NULL},
        {"authenticator = webroot\nwebroot_path = /srv/a,\n", "webroot", "/srv/a"},
        {"authenticator = webroot\nwebroot_path = /srv/a, /srv/b\n", "web-server", NULL},
        {"authenticator = webroot\n[[webroot_map]]\na.test = /srv/a\nb.test = /srv/a\n", "webroot", "/srv/a"},
        {"authenticator = webroot\n[[webroot_map]]\na.test = /srv/a\nb.test = /srv/b\n", "web-server", NULL},
        {"authenticator = webroot\n", "web-server", NULL},
        {"authenticator = manual\nmanual_auth_hook = /bin/x\npref_challs = dns-01,\n", "dns", NULL},
        {"authenticator = manual\nmanual_auth_hook = /bin/x\n", "http-hook", NULL},
        {"authenticator = manual\n", NULL, NULL},
        {"authenticator = dns-route53\n", NULL, NULL},
        {"authenticator = None\n", NULL, NULL},
        {"", NULL, NULL},
    };
    (void)state;
    if (geteuid() != 0)
        skip();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct import_cert *cert = certbot(rows[i].params);
        const char *challenge = setting(cert, "challenge"), *webroot = setting(cert, "webroot");
        if ((challenge == NULL) != (rows[i].challenge == NULL) ||
            (challenge != NULL && strcmp(challenge, rows[i].challenge) != 0))
            fail_msg("%s: %s", rows[i].params, challenge != NULL ? challenge : "(none)");
        assert_int_equal(err_isset(&cert->err), rows[i].challenge == NULL);
        if (rows[i].webroot != NULL)
            assert_string_equal(webroot, rows[i].webroot);
        else
            assert_null(webroot);
    }
}

static void test_certbot_without_a_key(void **state)
{
    (void)state;
    put("renewal/a.test.conf", "[renewalparams]\nauthenticator = standalone\n");
    assert_true(import_read(IMPORT_CERTBOT, root, 5, &store, &err));
    assert_true(err_isset(&store.certs[0].err));
    assert_non_null(strstr(store.certs[0].err.text, "privkey.pem"));
}

/* -- acme.sh
 * ---------------------------------------------------------------------------------------------------- */

static struct import_cert *acme_sh(const char *lines)
{
    AUTO_FREE char *conf = mem_fmt("Le_Domain='a.test'\nLe_API='https://ca.test/dir'\n%s", lines);
    put("account.conf", "SAVED_CF_Token='t'\n");
    put("a.test_ecc/a.test.conf", conf);
    put("a.test_ecc/a.test.key", "key");
    put("a.test_ecc/fullchain.cer", "chain");
    import_store_clear(&store);
    err_clear(&err);
    assert_true(import_read(IMPORT_ACME_SH, root, 5, &store, &err));
    assert_int_equal(store.n_certs, 1);
    return &store.certs[0];
}

static void test_acme_sh_commands(void **state)
{
    (void)state;
    /* "nginx -s reload" */
    struct import_cert *cert = acme_sh(
        "Le_ReloadCmd='__ACME_BASE64__START_bmdpbnggLXMgcmVsb2Fk__ACME_BASE64__END_'\nLe_PreHook='plain'\n");
    assert_string_equal(file_text(cert, "deploy-hook"), "#!/bin/sh\nnginx -s reload\n");
    assert_string_equal(file_text(cert, "pre-hook"), "#!/bin/sh\nplain\n");
    assert_string_equal(setting(cert, "challenge"), "standalone");
    assert_string_equal(cert->name, "a.test");
    /* what is damaged is no command: neither is a NUL in it */
    cert = acme_sh("Le_ReloadCmd='__ACME_BASE64__START_!!!!__ACME_BASE64__END_'\nLe_PostHook='__ACME_BASE64__"
                   "START_YQBi__ACME_BASE64__END_'\n");
    assert_null(file_text(cert, "deploy-hook"));
    assert_null(file_text(cert, "post-hook"));
}

static void test_acme_sh_copies(void **state)
{
    (void)state;
    struct import_cert *cert =
        acme_sh("Le_RealKeyPath='/x/all.pem'\nLe_RealCertPath='/x/all.pem'\nLe_RealCACertPath='relative'\n");
    assert_string_equal(setting(cert, "export"), "combined /x/all.pem");
    assert_int_equal(cert->notes.n, 1);
    cert = acme_sh("Le_RealCertPath='/x/a.pem'\nLe_RealCACertPath='/x/a.pem'\n");
    assert_string_equal(setting(cert, "export"), "fullchain /x/a.pem");
}

static void test_acme_sh_ways(void **state)
{
    static const struct {
        const char *webroot, *challenge;
    } rows[] = {
        {"no", "standalone"},
        {"alpn", "tls-alpn"},
        {"nginx:", "web-server"},
        {"apache", "web-server"},
        {"stateless", "web-server"},
        {"/srv/www", "webroot"},
        {"dns", NULL},
        {"dns_missing", NULL},
        {"../../etc", NULL},
        {"dns_../../x", NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_FREE char *line = mem_fmt("Le_Webroot='%s'\n", rows[i].webroot);
        struct import_cert *cert = acme_sh(line);
        const char *challenge = setting(cert, "challenge");
        if ((challenge == NULL) != (rows[i].challenge == NULL) ||
            (challenge != NULL && strcmp(challenge, rows[i].challenge) != 0))
            fail_msg("%s: %s", rows[i].webroot, challenge != NULL ? challenge : "(none)");
        assert_int_equal(err_isset(&cert->err), rows[i].challenge == NULL);
    }
}

/* -- dehydrated
 * ---------------------------------------------------------------------------------------------------- */

static void test_dehydrated(void **state)
{
    (void)state;
    put("config",
        "CA=letsencrypt-test\nCERTDIR=\"${BASEDIR}/c\"\nWELLKNOWN=\"$BASEDIR/it's\"\nPRIVATE_KEY_RENEW=no\n");
    put("domains.txt", "# none\r\n\r\nA.test  b.test >alias\r\n> nothing\nc.test > ../../etc\nd.test\n");
    put("c/alias/fullchain.pem", "chain");
    put("c/alias/privkey.pem", "key");
    assert_true(import_read(IMPORT_DEHYDRATED, root, 5, &store, &err));
    assert_int_equal(store.n_certs, 3);
    struct import_cert *cert = &store.certs[0];
    assert_string_equal(cert->name, "alias");
    assert_string_equal(setting(cert, "names"), "a.test b.test");
    assert_string_equal(setting(cert, "reuse-key"), "yes");
    assert_string_equal(cert->server, "https://acme-staging-v02.api.letsencrypt.org/directory");
    assert_non_null(strstr(file_text(cert, "challenge-hook"), "it'\\''s"));
    assert_true(err_isset(&store.certs[1].err));
    assert_true(err_isset(&store.certs[2].err));
}

/* -- lego, uacme
 * ------------------------------------------------------------------------------------------------------ */

static void test_lego(void **state)
{
    (void)state;
    put("accounts/ca_443/me@a.test/account.json", "{\"email\": \"me@a.test\", \"registration\": {\"uri\": "
                                                  "\"https://acme-v02.api.letsencrypt.org/acme/acct/1\"}}");
    put("accounts/ca_443/me@a.test/keys/me@a.test.key", "key");
    put("accounts/ca_443/broken/account.json", "{");
    put("certificates/_.a.test.crt", "-----BEGIN CERTIFICATE-----\nleaf");
    put("certificates/_.a.test.issuer.crt", "issuer");
    put("certificates/_.a.test.key", "key");
    put("certificates/_.a.test.json", "{\"certUrl\": \"https://acme-v02.api.letsencrypt.org/acme/cert/1\"}");
    put("certificates/x.crt", "no key, no json");
    assert_true(import_read(IMPORT_LEGO, root, 5, &store, &err));
    assert_int_equal(store.n_accounts, 1);
    assert_string_equal(store.accounts[0].server, "https://acme-v02.api.letsencrypt.org/directory");
    assert_int_equal(store.n_certs, 2);
    assert_string_equal(store.certs[0].account, store.accounts[0].id);
    assert_non_null(strstr(buf_str(&store.certs[0].versions[0].chain), "issuer"));
    assert_true(err_isset(&store.certs[1].err));
}

static void test_uacme(void **state)
{
    (void)state;
    put("private/key.pem", "account");
    put("private/a.test/key.pem", "key");
    put("a.test/cert.pem", "chain");
    put("private/gone.test/key.pem", "key");
    assert_true(import_read(IMPORT_UACME, root, 5, &store, &err));
    assert_int_equal(store.n_certs, 1);
    assert_string_equal(setting(&store.certs[0], "reuse-key"), "yes");
    assert_string_equal(store.certs[0].account, store.accounts[0].id);
}

/* -- all
 * -------------------------------------------------------------------------------------------------------------
 */

static void test_nothing_there(void **state)
{
    (void)state;
    for (enum import_client client = 0; client < IMPORT_CLIENTS; client++) {
        err_clear(&err);
        assert_false(import_read(client, root, 5, &store, &err));
        assert_int_equal(err.code, ERR_NOT_FOUND);
        assert_non_null(strstr(err.text, root));
        assert_true(err.advice[0] != '\0');
    }
}

static void test_clients(void **state)
{
    enum import_client client;
    (void)state;
    for (enum import_client each = 0; each < IMPORT_CLIENTS; each++) {
        assert_true(import_client_parse(import_client_name(each), &client, &err));
        assert_int_equal(client, each);
    }
    err_clear(&err);
    assert_false(import_client_parse("caddy", &client, &err));
    assert_int_equal(err.code, ERR_USAGE);
}

int main(void)
{
    if (mkdtemp(root) == NULL)
        return 99;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_as_a_shell_reads_them),
        cmocka_unit_test(test_later_values_count),
        cmocka_unit_test(test_values_that_double),
        cmocka_unit_test_setup_teardown(test_certbot_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_certbot_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_certbot_without_a_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_acme_sh_commands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_acme_sh_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_acme_sh_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dehydrated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lego, setup, teardown),
        cmocka_unit_test_setup_teardown(test_uacme, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_there, setup, teardown),
        cmocka_unit_test(test_clients),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    struct err none = ERR_INIT;
    (void)!fs_remove_tree(root, &none);
    return failed;
}
