/* Keys on a token: SoftHSM, in a directory of its own, through whichever of OpenSSL's two ways is installed
 * (provider, engine); and keys of a TPM, which swtpm plays. What is not installed is skipped, by name. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/provider.h>
#include <openssl/x509.h>

#include "tlsup/b64.h"
#include "tlsup/cert.h"
#include "tlsup/csr.h"
#include "tlsup/fs.h"
#include "tlsup/jws.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

#define PIN "47 11%?&" /* with all that a URI must escape */
#define PIN_ESCAPED "47%2011%25%3F%26"

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED true
#else
#define SANITIZED false
#endif

static char dir[] = "/tmp/tlsup-token-XXXXXX";
static const char *module; /* of SoftHSM */
static char *softhsm_env, *pin_file;

/* -- helpers ----------------------------------------------------------------------------------- */

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

static bool run(const char *const *argv)
{
    const char *const env[] = {softhsm_env, NULL};
    const struct spawn_options options = {.env = env, .timeout_ms = 120000};
    struct spawn_result result = {0};
    struct err err = ERR_INIT;
    bool ok = spawn_run(argv, &options, &result, &err) && result.status == 0;
    if (!ok)
        print_message("%s: %s%s\n", argv[0], err.text, buf_str(&result.output));
    spawn_result_clear(&result);
    return ok;
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static char *uri_of(const char *path, const char *query)
{
    return mem_fmt("pkcs11:%s?module-path=%s%s%s", path, module, *query ? "&" : "", query);
}

static struct key *open_key(const char *path, const char *query)
{
    struct err err = ERR_INIT;
    struct key *key = NULL;
    AUTO_FREE char *uri = uri_of(path, query);
    if (!key_open_uri(uri, &key, &err))
        fail_msg("%s: %s", err.subject, err.text);
    assert_false(err_isset(&err));
    assert_int_equal(ERR_peek_error(), 0);
    assert_string_equal(key_uri(key), uri);
    return key;
}

/* Must be refused, with `part` in the text and advice; no PIN may be in what a person sees. */
static void refuse_uri(const char *uri, enum err_code code, const char *part)
{
    struct err err = ERR_INIT;
    struct key *key = NULL;
    if (key_open_uri(uri, &key, &err))
        fail_msg("accepted: %s", uri);
    assert_null(key);
    if (err.code != code || !strstr(err.text, part))
        fail_msg("%s: \"%s\" (%s), expected \"%s\"", uri, err.text, err_code_name(err.code), part);
    assert_int_equal(err.next, NEXT_FIX_CONFIG);
    assert_true(err.advice[0] != '\0');
    assert_null(strstr(err.text, "4711x"));
    assert_null(strstr(err.subject, "4711x"));
    assert_int_equal(ERR_peek_error(), 0);
}

static void refuse(const char *path, const char *query, const char *part)
{
    AUTO_FREE char *uri = uri_of(path, query);
    refuse_uri(uri, ERR_CRYPTO, part);
}

/* Verify what key_sign() made, with a public key that has never seen the token. */
static bool verify(EVP_PKEY *pkey, const char *digest, int width, const void *data, size_t len,
                   const struct buf *raw)
{
    unsigned char *der = NULL;
    const unsigned char *signature = (const unsigned char *)raw->data;
    size_t signature_len = raw->len;
    if (width > 0) {
        assert_int_equal(raw->len, 2 * width);
        ECDSA_SIG *pair = ECDSA_SIG_new();
        ECDSA_SIG_set0(pair, BN_bin2bn(signature, width, NULL), BN_bin2bn(signature + width, width, NULL));
        signature_len = (size_t)i2d_ECDSA_SIG(pair, &der);
        signature = der;
        ECDSA_SIG_free(pair);
    }
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool good = EVP_DigestVerifyInit_ex(ctx, NULL, digest, NULL, NULL, pkey, NULL) == 1 &&
                EVP_DigestVerify(ctx, signature, signature_len, data, len) == 1;
    EVP_MD_CTX_free(ctx);
    OPENSSL_free(der);
    ERR_clear_error();
    return good;
}

/* The public key of a key, by the way of a request that it has signed. */
static EVP_PKEY *public_of(const struct key *key)
{
    AUTO_STRLIST names = STRLIST_INIT;
    AUTO_BUF der = BUF_INIT;
    struct err err = ERR_INIT;
    strlist_add(&names, "token.example.org");
    if (!csr_make(key, &names, &der, &err))
        fail_msg("%s", err.text);
    const unsigned char *at = (const unsigned char *)der.data;
    X509_REQ *request = d2i_X509_REQ(NULL, &at, (long)der.len);
    EVP_PKEY *pkey = X509_REQ_get_pubkey(request);
    assert_int_equal(X509_REQ_verify(request, pkey), 1);
    X509_REQ_free(request);
    return pkey;
}

/* All that a key is asked for, once: the request, the signature, the JWK, the hash. */
static void use_key(struct key *key, enum key_type type)
{
    int width = type == KEY_ECDSA_P256 ? 32 : type == KEY_ECDSA_P384 ? 48 : 0;
    AUTO_STRLIST names = STRLIST_INIT;
    AUTO_STRLIST read = STRLIST_INIT;
    AUTO_BUF der = BUF_INIT;
    AUTO_BUF again = BUF_INIT;
    AUTO_BUF jwk = BUF_INIT;
    AUTO_BUF expected = BUF_INIT;
    AUTO_BUF pem = BUF_SECRET;
    AUTO_BUF jws = BUF_INIT;
    char spki[KEY_SPKI_BYTES], of_request[KEY_SPKI_BYTES], thumbprint[KEY_THUMBPRINT_BYTES];
    struct err err = ERR_INIT;
    assert_int_equal(key_type_of(key), type);
    EVP_PKEY *public = public_of(key);
    for (int i = 0; i < 20; i++) {
        AUTO_BUF raw = BUF_INIT;
        if (!key_sign(key, &i, sizeof i, &raw, &err))
            fail_msg("%s", err.text);
        assert_true(verify(public, width == 48 ? "SHA384" : "SHA256", width, &i, sizeof i, &raw));
        raw.data[raw.len / 3] ^= 1;
        assert_false(verify(public, width == 48 ? "SHA384" : "SHA256", width, &i, sizeof i, &raw));
    }
    assert_true(key_jwk(key, &jwk, &err));
    assert_true(key_public_jwk(public, &expected, &err));
    assert_string_equal(jwk.data, expected.data);
    assert_true(key_thumbprint(key, thumbprint, &err));
    strlist_add(&names, "a.example.org");
    assert_true(csr_make(key, &names, &der, &err));
    if (!csr_read(der.data, der.len, "request", &again, &read, of_request, &err))
        fail_msg("%s", err.text);
    assert_string_equal(read.v[0], "a.example.org");
    assert_true(key_spki_sha256(key, spki, &err));
    assert_string_equal(spki, of_request);
    const struct jws_header header = {.url = "https://ca.example/new-account", .nonce = "n"};
    assert_true(jws_sign(key, &header, "{}", 2, &jws, &err));
    assert_false(key_to_pem(key, &pem, &err));
    assert_int_equal(err.code, ERR_CRYPTO);
    assert_int_equal(pem.len, 0);
    EVP_PKEY_free(public);
}

/* -- what needs no token ----------------------------------------------------------------------- */

static void what_looks_like_a_uri(void **state)
{
    static const char *const uris[] = {"pkcs11:token=a", "PKCS11:x", "handle:0x81000001", "tpm2:/key.pem"};
    static const char *const others[] = {"",           "/etc/key.pem", "pkcs11", "file:/x",
                                         "-----BEGIN", "handle",       "{"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(uris); i++)
        assert_true(key_is_uri(uris[i]));
    for (size_t i = 0; i < COUNT_OF(others); i++)
        assert_false(key_is_uri(others[i]));
    assert_false(key_is_uri(NULL));
}

static void uris_that_say_too_little_or_too_much(void **state)
{
    static const struct {
        const char *uri, *part;
    } rows[] = {
        {"file:/x", "not the URI"},
        {"pkcs11:", "which key"},
        {"pkcs11:token=a", "which key"},
        {"pkcs11:token=a;", "which key"},
        {"pkcs11:token=a;object=b;object=c", "twice"},
        {"pkcs11:object=", "empty"},
        {"pkcs11:object", "empty"},
        {"pkcs11:object=%4", "not well written"},
        {"pkcs11:object=%zz", "not well written"},
        {"pkcs11:object=a%00b", "not well written"},
        {"pkcs11:object=a b", "not well written"},
        {"pkcs11:object=a\nb", "not well written"},
        {"pkcs11:object=a;colour=red", "\"colour\""},
        {"pkcs11:object=a;slot-id=1", "\"slot-id\""},
        {"pkcs11:object=a;type=public", "no private key"},
        {"pkcs11:object=a?pin-value=", "empty"},
        {"pkcs11:object=a?pin-value=4711x&pin-value=4711x", "twice"},
        {"pkcs11:object=a?pin-value=4711x%", "not well written"},
        {"pkcs11:object=a?pin-source=relative", "absolute"},
        {"pkcs11:object=a?pin-source=|command", "absolute"},
        {"pkcs11:object=a?pin-value=4711x&module-path=../x.so", "absolute"},
        {"pkcs11:object=a?module-path=", "absolute"},
        {"pkcs11:object=a?module-name=softhsm", "only"},
        {"pkcs11:object=a?pass", "only"},
        {"handle:", "persistent handle"},
        {"handle:0x01000000", "persistent handle"},
        {"handle:0x8100000", "persistent handle"},
        {"handle:0x81000000x", "persistent handle"},
        {"handle:0x81000000?module-path=/x", "only"},
        {"tpm2:key.pem", "absolute"},
        {"tpm2:", "absolute"},
    };
    AUTO_BUF big = BUF_INIT;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        refuse_uri(rows[i].uri, ERR_CONFIG, rows[i].part);
    buf_adds(&big, "pkcs11:object=");
    for (int i = 0; i < 5000; i++)
        buf_addc(&big, 'x');
    refuse_uri(big.data, ERR_CONFIG, "not the URI");
}

static void pin_files_that_hold_no_pin(void **state)
{
    static const struct {
        const char *content, *part;
        size_t len;
    } rows[] = {{"", "empty", 0},
                {"\n", "empty", 1},
                {"1\n2\n", "more than one line", 4},
                {"1\0002", "more than one line", 3}};
    AUTO_FREE char *path = fs_join(dir, "bad-pin");
    AUTO_FREE char *uri = mem_fmt("pkcs11:object=a?pin-source=%s", path);
    struct err err = ERR_INIT;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_true(fs_write(path, rows[i].content, rows[i].len, 0600, &err));
        refuse_uri(uri, ERR_CONFIG, rows[i].part);
    }
    assert_true(fs_remove(path, &err));
    struct key *key = NULL;
    assert_false(key_open_uri(uri, &key, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_has(err.text, "PIN");
}

static void opening_counts_as_holding_a_key(void **state)
{
    struct err err = ERR_INIT;
    struct key *key = NULL;
    (void)state;
    size_t before = key_count();
    assert_false(key_open_uri("pkcs11:", &key, &err));
    assert_true(key_count() > before);
}

/* -- PKCS#11 ----------------------------------------------------------------------------------- */

static void keys_of_a_token_are_used_as_any_other(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum key_type type;
    } rows[] = {{"token=tlsup-test;object=ec", KEY_ECDSA_P256},
                {"token=tlsup-test;object=ec;type=private", KEY_ECDSA_P256},
                {"token=tlsup-test;id=%02", KEY_RSA_2048},
                {"token=tlsup-test;object=ec384", KEY_ECDSA_P384},
                {"model=SoftHSM%20v2;token=tlsup-test;object=rsa;id=%02", KEY_RSA_2048}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_KEY *key = open_key(rows[i].path, "pin-value=" PIN_ESCAPED);
        use_key(key, rows[i].type);
    }
}

static void pins_come_from_files(void **state)
{
    (void)state;
    AUTO_FREE char *plain = mem_fmt("pin-source=%s", pin_file);
    AUTO_FREE char *as_uri = mem_fmt("pin-source=file:%s", pin_file);
    AUTO_FREE char *as_url = mem_fmt("pin-source=file://%s", pin_file);
    const char *const queries[] = {plain, as_uri, as_url};
    for (size_t i = 0; i < COUNT_OF(queries); i++) {
        AUTO_KEY *key = open_key("token=tlsup-test;object=ec", queries[i]);
        AUTO_BUF raw = BUF_INIT;
        struct err err = ERR_INIT;
        assert_true(key_sign(key, "x", 1, &raw, &err));
    }
}

static void many_keys_are_open_at_once(void **state)
{
    (void)state;
    AUTO_KEY *ec = open_key("token=tlsup-test;object=ec", "pin-value=" PIN_ESCAPED);
    AUTO_KEY *rsa = open_key("token=tlsup-test;object=rsa", "pin-value=" PIN_ESCAPED);
    refuse("token=tlsup-other;object=ec", "", "wants a PIN"); /* nobody tries that of another token */
    AUTO_KEY *other = open_key("token=tlsup-other;object=ec", "pin-value=0000");
    struct err err = ERR_INIT;
    AUTO_KEY *memory = NULL;
    assert_true(key_generate(KEY_ECDSA_P256, &memory, &err));
    refuse("token=tlsup-test;object=none", "pin-value=" PIN_ESCAPED, "no such private key");
    use_key(ec, KEY_ECDSA_P256);
    use_key(rsa, KEY_RSA_2048);
    use_key(other, KEY_ECDSA_P256);
    key_free(rsa);
    rsa = NULL;
    use_key(ec, KEY_ECDSA_P256);
    assert_null(key_uri(memory));
    AUTO_BUF jws = BUF_INIT;
    assert_true(jws_key_change(memory, ec, "https://ca.example/kc", "https://ca.example/a/1", &jws, &err));
    assert_true(
        jws_external_account(ec, "https://ca.example/na", "kid", "MDEyMzQ1Njc4OWFiY2RlZg", NULL, &jws, &err));
}

static void a_certificate_matches_its_key_on_the_token(void **state)
{
    (void)state;
    AUTO_KEY *key = open_key("token=tlsup-test;object=ec", "pin-value=" PIN_ESCAPED);
    AUTO_KEY *rsa = open_key("token=tlsup-test;object=rsa", "pin-value=" PIN_ESCAPED);
    AUTO_KEY *ca = NULL;
    struct err err = ERR_INIT;
    char *text;
    assert_true(key_generate(KEY_ECDSA_P256, &ca, &err));
    EVP_PKEY *public = public_of(key);
    X509 *cert = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
    X509_set_version(cert, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 7);
    X509_set_pubkey(cert, public);
    assert_true(X509_sign(cert, key_pkey(ca), EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, cert);
    long len = BIO_get_mem_data(bio, &text);
    AUTO_CHAIN *chain = NULL;
    assert_true(cert_chain_parse(text, (size_t)len, "leaf", &chain, &err));
    int64_t now_s = (int64_t)time(NULL);
    if (!cert_chain_check(chain, key, NULL, now_s, &err))
        fail_msg("%s", err.text);
    assert_false(cert_chain_check(chain, rsa, NULL, now_s, &err));
    assert_has(err.text, "does not belong");
    struct cert_info info = CERT_INFO_INIT;
    char spki[KEY_SPKI_BYTES];
    err_clear(&err);
    assert_true(cert_chain_info(chain, &info, &err));
    assert_true(key_spki_sha256(key, spki, &err));
    assert_string_equal(info.spki, spki);
    cert_info_clear(&info);
    BIO_free(bio);
    X509_free(cert);
    EVP_PKEY_free(public);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    refuse("token=tlsup-test;object=ec", "pin-value=4711x", "refuses the PIN");
    refuse("token=tlsup-test;object=ec", "", "wants a PIN");
    refuse("token=elsewhere;object=ec", "pin-value=4711x", "no token that the URI fits; it has \"tlsup-");
    refuse("serial=nothing;object=ec", "pin-value=4711x", "no token that the URI fits");
    refuse("token=tlsup-test;object=nothing", "pin-value=" PIN_ESCAPED, "no such private key");
    refuse("token=tlsup-test;id=%77", "pin-value=" PIN_ESCAPED, "no such private key");
    refuse_uri("pkcs11:object=a?pin-value=4711x&module-path=/nowhere/libsofthsm2.so", ERR_CRYPTO,
               "/nowhere/libsofthsm2.so");
    AUTO_FREE char *text = mem_fmt("pkcs11:object=a?pin-value=4711x&module-path=%s", pin_file);
    refuse_uri(text, ERR_CRYPTO, "cannot be used");
    refuse_uri("pkcs11:object=a?pin-value=4711x&module-path=libc.so.6", ERR_CRYPTO, "not a PKCS#11 module");
    /* and the right PIN works after that */
    AUTO_KEY *key = open_key("token=tlsup-test;object=ec", "pin-value=" PIN_ESCAPED);
    use_key(key, KEY_ECDSA_P256);
}

/* A PIN that fits one token must not be tried on another. */
static void one_token_must_be_meant(void **state)
{
    (void)state;
    refuse("object=ec", "pin-value=" PIN_ESCAPED, "2 tokens fit the URI");
    refuse("model=SoftHSM%20v2;id=%01", "pin-value=" PIN_ESCAPED, "2 tokens fit the URI");
}

static void an_engine_serves_one_module(void **state)
{
    AUTO_FREE char *other = fs_join(dir, "other-module.so");
    AUTO_FREE char *uri =
        mem_fmt("pkcs11:token=tlsup-test;object=ec?pin-value=%s&module-path=%s", PIN_ESCAPED, other);
    (void)state;
    AUTO_KEY *key = open_key("token=tlsup-test;object=ec", "pin-value=" PIN_ESCAPED);
    assert_int_equal(symlink(module, other), 0);
    refuse_uri(uri, ERR_CRYPTO, "one module");
    use_key(key, KEY_ECDSA_P256);
    unlink(other);
}

static void advice_names_the_package(void **state)
{
    struct err err = ERR_INIT;
    struct key *key = NULL;
    (void)state;
    assert_false(key_open_uri("pkcs11:object=a?module-path=/nowhere/libsofthsm2.so", &key, &err));
    assert_has(err.advice, "softhsm2");
}

static void keys_that_no_ca_takes(void **state)
{
    (void)state;
    refuse("token=tlsup-test;object=weak", "pin-value=" PIN_ESCAPED, "type or size");
}

/* No question may ever reach the terminal: with one of its own, in a session of its own, the process would
 * wait for ever. */
static void nothing_asks_on_the_terminal(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err err = ERR_INIT;
        struct key *key = NULL;
        AUTO_FREE char *uri = uri_of("token=tlsup-test;object=ec", "");
        setsid();
        int master = posix_openpt(O_RDWR);
        grantpt(master);
        unlockpt(master);
        int terminal = open(ptsname(master), O_RDWR); /* the controlling one, from here on */
        dup2(terminal, 0);
        alarm(60);
        bool opened = key_open_uri(uri, &key, &err);
        char byte;
        fcntl(master, F_SETFL, O_NONBLOCK);
        _exit(opened ? 1 : read(master, &byte, 1) > 0 ? 2 : 0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* An account key on a token is still open when the process ends: that must not end it by a signal. */
static void a_process_ends_well_with_an_open_key(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct err err = ERR_INIT;
        static struct key *key;
        static char *uri;
        uri = uri_of("token=tlsup-test;object=ec", "pin-value=" PIN_ESCAPED);
        alarm(60);
        exit(key_open_uri(uri, &key, &err) ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* -- a TPM ------------------------------------------------------------------------------------- */

static pid_t tpm = -1;
static char *tpm_env, *tpm_file, *tpm_pin_file;
static bool tpm_has_handles;

static bool tpm_run(const char *const *argv)
{
    AUTO_FREE char *tools = mem_fmt("TPM2TOOLS_TCTI=%s", strchr(tpm_env, '=') + 1);
    const char *const env[] = {tpm_env, tools, NULL};
    const struct spawn_options options = {.env = env, .timeout_ms = 120000, .dir = dir};
    struct spawn_result result = {0};
    struct err err = ERR_INIT;
    bool ok = spawn_run(argv, &options, &result, &err) && result.status == 0;
    if (!ok)
        print_message("%s: %s%s\n", argv[0], err.text, buf_str(&result.output));
    spawn_result_clear(&result);
    return ok;
}
#define TPM_RUN(...) tpm_run((const char *const[]){__VA_ARGS__, NULL})

/* swtpm, on sockets in our directory, with a key file that wants a PIN, and a persistent key that wants none.
 */
static bool start_tpm(void)
{
    AUTO_FREE char *state = mem_fmt("dir=%s", dir);
    AUTO_FREE char *server = mem_fmt("type=unixio,path=%s/tpm", dir);
    AUTO_FREE char *control = mem_fmt("type=unixio,path=%s/tpm.ctrl", dir);
    AUTO_FREE char *socket = fs_join(dir, "tpm.ctrl");
    if (!spawn_find("swtpm") || !spawn_find("openssl"))
        return false;
    tpm = fork();
    if (tpm == 0) {
        int null = open("/dev/null", O_RDWR); /* it talks */
        dup2(null, 1);
        dup2(null, 2);
        execlp("swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", state, "--server", server, "--ctrl",
               control, "--flags", "not-need-init,startup-clear", (char *)NULL);
        _exit(127);
    }
    for (int i = 0; i < 500 && !fs_exists(socket); i++)
        usleep(20000);
    tpm_env = mem_fmt("TPM2OPENSSL_TCTI=swtpm:path=%s/tpm", dir);
    tpm_file = fs_join(dir, "key.tss2");
    tpm_pin_file = fs_join(dir, "tpm-pin");
    struct err err = ERR_INIT;
    if (!TPM_RUN("openssl", "genpkey", "-provider", "tpm2", "-provider", "default", "-algorithm", "EC",
                 "-pkeyopt", "group:P-256", "-pkeyopt", "user-auth:4711", "-out", tpm_file) ||
        !fs_write(tpm_pin_file, "4711\n", 5, 0600, &err))
        return false;
    tpm_has_handles =
        spawn_find("tpm2_evictcontrol") &&
        TPM_RUN("tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc256:ecdsa", "-c", "p.ctx", "-a",
                "sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth") &&
        TPM_RUN("tpm2_flushcontext", "-t") &&
        TPM_RUN("tpm2_evictcontrol", "-C", "o", "-c", "p.ctx", "0x81000001") &&
        TPM_RUN("tpm2_flushcontext", "-t") &&
        TPM_RUN("tpm2_createprimary", "-Q", "-C", "o", "-G", "rsa2048:rsassa-sha256", "-p", "4711", "-c",
                "q.ctx", "-a", "sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth") &&
        TPM_RUN("tpm2_flushcontext", "-t") &&
        TPM_RUN("tpm2_evictcontrol", "-C", "o", "-c", "q.ctx", "0x81000002") &&
        TPM_RUN("tpm2_flushcontext", "-t");
    putenv(tpm_env);
    return true;
}

static void stop_tpm(void)
{
    if (tpm > 0) {
        kill(tpm, SIGTERM);
        waitpid(tpm, NULL, 0);
    }
    if (tpm_env)
        unsetenv("TPM2OPENSSL_TCTI");
    free(tpm_env);
    free(tpm_file);
    free(tpm_pin_file);
}

static struct key *open_tpm_key(const char *uri)
{
    struct err err = ERR_INIT;
    struct key *key = NULL;
    if (!key_open_uri(uri, &key, &err))
        fail_msg("%s: %s", err.subject, err.text);
    assert_string_equal(key_uri(key), uri);
    return key;
}

static void key_files_of_a_tpm(void **state)
{
    AUTO_FREE char *uri = mem_fmt("tpm2:%s?pin-source=%s", tpm_file, tpm_pin_file);
    (void)state;
    AUTO_KEY *key = open_tpm_key(uri);
    use_key(key, KEY_ECDSA_P256);
}

static void key_files_that_do_not_open(void **state)
{
    AUTO_FREE char *no_pin = mem_fmt("tpm2:%s", tpm_file);
    AUTO_FREE char *wrong_pin = mem_fmt("tpm2:%s?pin-value=4711x", tpm_file);
    AUTO_FREE char *other = mem_fmt("tpm2:%s", tpm_pin_file);
    struct err err = ERR_INIT;
    struct key *key = NULL;
    (void)state;
    refuse_uri(no_pin, ERR_CRYPTO, "wants a PIN");
    refuse_uri(other, ERR_CRYPTO, "not the key of a TPM");
    assert_false(key_open_uri(wrong_pin, &key, &err));
    assert_int_equal(err.code, ERR_CRYPTO);
    assert_null(strstr(err.subject, "4711x"));
    err_clear(&err);
    assert_false(key_open_uri("tpm2:/nowhere/key", &key, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
}

static void persistent_keys_of_a_tpm(void **state)
{
    (void)state;
    refuse_uri("handle:0x81000077", ERR_CRYPTO, "does not give this key");
    if (!tpm_has_handles) {
        print_message("skipped: tpm2_evictcontrol is not installed, so there are no persistent handles\n");
        skip();
    }
    AUTO_KEY *ec = open_tpm_key("handle:0x81000001");
    use_key(ec, KEY_ECDSA_P256);
    AUTO_KEY *rsa = open_tpm_key("handle:0x81000002?pin-value=4711");
    use_key(rsa, KEY_RSA_2048);
    use_key(ec, KEY_ECDSA_P256);
}

/* -- setting up -------------------------------------------------------------------------------- */

static const char *find_module(void)
{
    static const char *const paths[] = {
        "/usr/lib/softhsm/libsofthsm2.so",       "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/lib64/pkcs11/libsofthsm2.so",      "/usr/lib/pkcs11/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"};
    for (size_t i = 0; i < COUNT_OF(paths); i++)
        if (fs_exists(paths[i]))
            return paths[i];
    return NULL;
}

static bool make_key(const char *token, const char *pin, const char *type, const char *id, const char *label)
{
    return RUN("pkcs11-tool", "--module", module, "--token-label", token, "--login", "--pin", pin,
               "--keypairgen", "--key-type", type, "--id", id, "--label", label);
}

static bool make_tokens(void)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *conf = fs_join(dir, "softhsm2.conf");
    AUTO_FREE char *store = fs_join(dir, "tokens");
    AUTO_FREE char *text =
        mem_fmt("directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", store);
    softhsm_env = mem_fmt("SOFTHSM2_CONF=%s", conf);
    putenv(softhsm_env);
    return fs_mkdirs(store, 0700, &err) && fs_write(conf, text, strlen(text), 0600, &err) &&
           fs_write(pin_file, PIN "\n", strlen(PIN) + 1, 0600, &err) &&
           RUN("softhsm2-util", "--init-token", "--free", "--label", "tlsup-test", "--so-pin", "12345678",
               "--pin", PIN) &&
           RUN("softhsm2-util", "--init-token", "--free", "--label", "tlsup-other", "--so-pin", "12345678",
               "--pin", "0000") &&
           make_key("tlsup-test", PIN, "EC:prime256v1", "01", "ec") &&
           make_key("tlsup-test", PIN, "rsa:2048", "02", "rsa") &&
           make_key("tlsup-test", PIN, "EC:secp384r1", "03", "ec384") &&
           make_key("tlsup-test", PIN, "rsa:1024", "04", "weak") &&
           make_key("tlsup-other", "0000", "EC:prime256v1", "01", "ec");
}

/* Drivers stay loaded, and who has logged in stays so: each of the two ways gets a process of its own. The
 * exit status, or 99. */
static int in_child(int (*function)(void))
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0)
        exit(function());
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

static int has_provider(void)
{
    return OSSL_PROVIDER_load(NULL, "pkcs11") != NULL;
}

static int has_engine(void)
{
    struct err err = ERR_INIT;
    struct key *key = NULL;
    return key_open_uri("pkcs11:token=none;object=none", &key, &err) ||
           !strstr(err.text, "no working driver");
}

/* The wrong PINs come first: once logged in, a process has no more need of one. */
static const struct CMUnitTest pkcs11_tests[] = {
    cmocka_unit_test(nothing_asks_on_the_terminal),
    cmocka_unit_test(what_is_missing_is_named),
    cmocka_unit_test(keys_of_a_token_are_used_as_any_other),
    cmocka_unit_test(pins_come_from_files),
    cmocka_unit_test(many_keys_are_open_at_once),
    cmocka_unit_test(a_certificate_matches_its_key_on_the_token),
    cmocka_unit_test(one_token_must_be_meant),
    cmocka_unit_test(advice_names_the_package),
    cmocka_unit_test(keys_that_no_ca_takes),
    cmocka_unit_test(a_process_ends_well_with_an_open_key),
};

static int run_provider(void)
{
    return cmocka_run_group_tests_name("PKCS#11, provider", pkcs11_tests, NULL, NULL);
}

static int run_engine(void)
{
    const struct CMUnitTest own[] = {cmocka_unit_test(an_engine_serves_one_module)};
    int failed = cmocka_run_group_tests_name("PKCS#11, engine", pkcs11_tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("engine alone", own, NULL, NULL);
}

/* Each of the two ways that is there: with the provider first, then as if there were none. */
static int run_pkcs11(void)
{
    int failed = 0;
    module = find_module();
    if (!module || !spawn_find("softhsm2-util") || !spawn_find("pkcs11-tool")) {
        print_message("skipped: no PKCS#11 without softhsm2 and opensc (pkcs11-tool)\n");
        return 0;
    }
    if (!make_tokens()) {
        print_message("cannot make the tokens\n");
        return 1;
    }
    if (SANITIZED)
        print_message(
            "skipped: the provider pkcs11 loads modules in a way that the address sanitizer refuses\n");
    else if (in_child(has_provider))
        failed += in_child(run_provider);
    else
        print_message("skipped: OpenSSL's provider pkcs11 is not installed\n");
    AUTO_FREE char *modules = mem_dup(getenv("OPENSSL_MODULES"));
    setenv("OPENSSL_MODULES", dir, 1);
    if (in_child(has_engine))
        failed += in_child(run_engine);
    else
        print_message("skipped: OpenSSL's engine pkcs11 is not installed\n");
    unsetenv("OPENSSL_MODULES");
    if (modules)
        setenv("OPENSSL_MODULES", modules, 1);
    return failed;
}

static int run_tpm(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_files_of_a_tpm),
        cmocka_unit_test(key_files_that_do_not_open),
        cmocka_unit_test(persistent_keys_of_a_tpm),
    };
    int failed = 0;
    if (start_tpm())
        failed = cmocka_run_group_tests_name("TPM", tests, NULL, NULL);
    else
        print_message("skipped: no TPM without swtpm, openssl and tpm2-openssl\n");
    stop_tpm();
    return failed;
}

static void no_driver_is_said(void **state)
{
    AUTO_FREE char *engines = mem_dup(getenv("OPENSSL_ENGINES"));
    AUTO_FREE char *modules = mem_dup(getenv("OPENSSL_MODULES"));
    (void)state;
    setenv("OPENSSL_ENGINES", dir, 1);
    setenv("OPENSSL_MODULES", dir, 1);
    refuse_uri("pkcs11:token=a;object=b?pin-value=4711x", ERR_CRYPTO, "no working driver for PKCS#11");
    refuse_uri("handle:0x81000001?pin-value=4711x", ERR_CRYPTO, "no working driver for TPMs");
    unsetenv("OPENSSL_ENGINES");
    unsetenv("OPENSSL_MODULES");
    if (engines)
        setenv("OPENSSL_ENGINES", engines, 1);
    if (modules)
        setenv("OPENSSL_MODULES", modules, 1);
}

int main(void)
{
    const struct CMUnitTest uris[] = {
        cmocka_unit_test(what_looks_like_a_uri),      cmocka_unit_test(uris_that_say_too_little_or_too_much),
        cmocka_unit_test(pin_files_that_hold_no_pin), cmocka_unit_test(opening_counts_as_holding_a_key),
        cmocka_unit_test(no_driver_is_said),
    };
    struct err err = ERR_INIT;
    if (!mkdtemp(dir))
        return 99;
    pin_file = fs_join(dir, "pin");
    int failed = cmocka_run_group_tests_name("URIs", uris, NULL, NULL);
    failed += run_pkcs11();
    failed += run_tpm();
    if (!fs_remove_tree(dir, &err))
        print_message("%s\n", err.text);
    unsetenv("SOFTHSM2_CONF");
    free(softhsm_env);
    free(pin_file);
    return failed;
}
