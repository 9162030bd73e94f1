/* The command line: what is accepted, and how what is not is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/cli/output.h"
#include "../../src/cli/request.h"
#include "tlsup/ca.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

enum { WORDS_MAX = 32 };

static char root[64];

static int setup_group(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test-options-XXXXXX");
    return mkdtemp(root) != NULL && chdir(root) == 0 ? 0 : -1;
}

static int teardown_group(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    return chdir("/") == 0 && fs_remove_tree(root, &err) ? 0 : -1;
}

/* Parse "enable example.org -n": words are separated by one space; '_' stands for a space within a word. */
static bool parse(const char *line, struct request *out, struct err *err)
{
    AUTO_STRLIST words = STRLIST_INIT;
    char *argv[WORDS_MAX] = {(char *)(uintptr_t) "tlsup"};
    strlist_split(&words, line, " ");
    assert_true(words.n + 1 < WORDS_MAX);
    for (size_t i = 0; i < words.n; i++) {
        bool script = strncmp(words.v[i], "dns_", 4) == 0; /* of acme.sh, as it is */
        for (char *c = words.v[i]; *c != '\0' && !script; c++)
            if (*c == '_')
                *c = ' ';
        argv[i + 1] = words.v[i];
    }
    return options_parse((int)words.n + 1, argv, out, err);
}

static void assert_parses(const char *line, struct request *out)
{
    struct err err = ERR_INIT;
    if (!parse(line, out, &err))
        fail_msg("tlsup %s: %s: %s", line, err.subject, err.text);
}

/* Refused, with these words in the text and in the advice. */
static void assert_refused(const char *line, const char *text, const char *advice)
{
    struct request request;
    struct err err = ERR_INIT;
    if (parse(line, &request, &err))
        fail_msg("tlsup %s was accepted", line);
    if (strstr(err.text, text) == NULL)
        fail_msg("tlsup %s: \"%s\" is not in \"%s\"", line, text, err.text);
    if (strstr(err.advice, advice) == NULL)
        fail_msg("tlsup %s: \"%s\" is not in the advice \"%s\"", line, advice, err.advice);
    if (strstr(err.text, "cannot") == NULL) /* usage and names; files that are not there are something else */
        assert_int_equal(err_exit_status(&err), 2);
    request_clear(&request);
}

static void assert_words(const struct strlist *list, const char *expected)
{
    AUTO_FREE char *joined = strlist_join(list, " ");
    assert_string_equal(joined, expected);
}

/* -- what is accepted -------------------------------------------------------------------------------- */

static void test_names_from_everywhere(void **state)
{
    struct request request;
    (void)state;
    assert_parses("enable Example.ORG. -d b.example.org,c.example.org www.example.org -dd.example.org "
                  "--domains=e.example.org --domain example.org",
                  &request);
    assert_int_equal(request.command, COMMAND_ENABLE);
    assert_words(&request.names,
                 "example.org www.example.org b.example.org c.example.org d.example.org e.example.org");
    request_clear(&request);
}

static void test_defaults(void **state)
{
    struct request request;
    (void)state;
    assert_parses("issue example.org", &request);
    assert_non_null(request.config_dir);
    assert_int_equal(request.config_dir[0], '/');
    assert_int_equal(request.state_dir[0], '/');
    assert_null(request.server);
    assert_null(request.email);
    assert_null(request.cert_name);
    assert_false(request.has_key_type);
    assert_false(request.has_challenge);
    assert_int_equal(request.web, WEB_NONE);
    assert_int_equal(request.redirect, CHOICE_UNSET);
    assert_int_equal(request.log_level, LOG_LEVEL_WARN);
    assert_false(request.quiet || request.agree_tos || request.force_renewal || request.no_timer ||
                 request.json);
    request_clear(&request);
}

static void test_every_option_of_enable(void **state)
{
    struct request request;
    (void)state;
    assert_parses(
        "--verbose enable -n --agree-tos -m mailto:admin@example.org --server https://ca.example/dir "
        "--cert-name web --key-type rsa-4096 --apache --no-redirect --force --no-timer --config-dir ./c "
        "--state-dir=/s example.org",
        &request);
    AUTO_FREE char *config_dir = fs_join(root, "c");
    assert_true(request.non_interactive && request.agree_tos && request.force_renewal && request.no_timer);
    assert_string_equal(request.email, "admin@example.org");
    assert_string_equal(request.server, "https://ca.example/dir");
    assert_string_equal(request.cert_name, "web");
    assert_true(request.has_key_type);
    assert_int_equal(request.key_type, KEY_RSA_4096);
    assert_int_equal(request.web, WEB_APACHE);
    assert_int_equal(request.redirect, CHOICE_NO);
    assert_string_equal(request.config_dir, config_dir);
    assert_string_equal(request.state_dir, "/s");
    assert_int_equal(request.log_level, LOG_LEVEL_INFO);
    request_clear(&request);
}

static void test_options_of_the_web_server(void **state)
{
    struct request request;
    (void)state;
    assert_parses(
        "enable --all --hsts-max-age 1d --tls-profile old --with nginx --nginx-bin /bin/true --plan",
        &request);
    assert_true(request.all && request.plan);
    assert_int_equal(request.hsts, CHOICE_YES);
    assert_int_equal(request.hsts_s, 86400);
    assert_true(request.has_tls_profile);
    assert_int_equal(request.tls_profile, WEB_TLS_OLD);
    assert_int_equal(request.with, WEB_NGINX);
    assert_string_equal(request.nginx_bin, "/bin/true");
    request_clear(&request);
    assert_parses("install example.org --no-hsts --apache-ctl /bin/true", &request);
    assert_int_equal(request.hsts, CHOICE_NO);
    request_clear(&request);
    assert_parses("check", &request);
    assert_int_equal(request.names.n, 0);
    request_clear(&request);
    assert_parses("check Example.ORG 192.0.2.1", &request);
    assert_int_equal(request.names.n, 2);
    assert_string_equal(request.names.v[0], "example.org");
    request_clear(&request);
}

static void test_clusters_and_the_end_of_options(void **state)
{
    struct request request;
    (void)state;
    assert_parses("issue -nvmadmin@example.org -- example.org", &request);
    assert_true(request.non_interactive);
    assert_int_equal(request.log_level, LOG_LEVEL_INFO);
    assert_string_equal(request.email, "admin@example.org");
    assert_words(&request.names, "example.org");
    request_clear(&request);
    assert_refused("issue -- --staging", "--staging", ""); /* a word now, and no name */
}

static void test_quiet_and_debug(void **state)
{
    static const struct {
        const char *line;
        enum log_level level;
        bool quiet;
    } rows[] = {
        {"renew -q", LOG_LEVEL_ERROR, true},          {"renew --quiet", LOG_LEVEL_ERROR, true},
        {"renew -v", LOG_LEVEL_INFO, false},          {"renew --debug", LOG_LEVEL_DEBUG, false},
        {"renew -q --debug", LOG_LEVEL_DEBUG, false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct request request;
        assert_parses(rows[i].line, &request);
        assert_int_equal(request.log_level, rows[i].level);
        assert_int_equal(request.quiet, rows[i].quiet);
        request_clear(&request);
    }
}

static void test_key_types_of_ours_and_of_certbot(void **state)
{
    static const struct {
        const char *options;
        enum key_type type;
    } rows[] = {
        {"--key-type ecdsa-p256", KEY_ECDSA_P256},
        {"--key-type P384", KEY_ECDSA_P384},
        {"--key-type rsa", KEY_RSA_2048},
        {"--key-type rsa --rsa-key-size 4096", KEY_RSA_4096},
        {"--rsa-key-size 3072", KEY_RSA_3072},
        {"--key-type ecdsa --elliptic-curve secp384r1", KEY_ECDSA_P384},
        {"--elliptic-curve secp256r1", KEY_ECDSA_P256},
        {"--key-type rsa --rsa-key-size 3072 --elliptic-curve secp384r1", KEY_RSA_3072},
        {"--key-type ecdsa --rsa-key-size 3072 --elliptic-curve secp384r1", KEY_ECDSA_P384},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct request request;
        AUTO_FREE char *line = mem_fmt("issue example.org %s", rows[i].options);
        assert_parses(line, &request);
        assert_true(request.has_key_type);
        assert_int_equal(request.key_type, rows[i].type);
        request_clear(&request);
    }
    assert_refused("issue example.org --key-type dsa", "dsa", "issue --help");
    assert_refused("issue example.org --key-type rsa --rsa-key-size 1024", "2048, 3072 or 4096",
                   "issue --help");
    assert_refused("issue example.org --rsa-key-size secp384r1", "2048, 3072 or 4096", "");
    assert_refused("issue example.org --elliptic-curve 2048", "secp256r1 or secp384r1", "");
    assert_refused("issue example.org --elliptic-curve ecdsa", "secp256r1 or secp384r1", "");
    assert_refused("issue example.org --key-type ecdsa --rsa-key-size 4096", "contradict", "");
    assert_refused("issue example.org --key-type rsa-2048 --rsa-key-size 4096", "contradict", "");
    assert_refused("issue example.org --rsa-key-size 4096 --elliptic-curve secp384r1", "exclude", "");
}

static void test_certificate_authorities(void **state)
{
    struct request request;
    (void)state;
    assert_parses("account show --server letsencrypt", &request);
    assert_string_equal(request.server, CONFIG_DEFAULT_CA);
    request_clear(&request);
    assert_parses("issue example.org --test-cert", &request);
    assert_string_equal(request.server, CONFIG_STAGING_CA);
    request_clear(&request);
    assert_refused("issue example.org --staging --server letsencrypt", "--server and --staging exclude", "");
    assert_refused("issue example.org --server http://ca.example/dir", "--server", "");
    assert_refused("issue example.org --server nonsense", "letsencrypt-staging", "issue --help");
}

/* The ways, in order. */
static void assert_ways(const struct request *request, const char *expected)
{
    AUTO_BUF ways = BUF_INIT;
    for (size_t i = 0; i < request->n_challenges; i++)
        buf_addf(&ways, "%s%s", i > 0 ? " " : "", config_challenge_name(request->challenges[i]));
    assert_string_equal(buf_str(&ways), expected);
    assert_int_equal(request->has_challenge, expected[0] != '\0');
}

static void test_challenges(void **state)
{
    struct request request;
    struct err err = ERR_INIT;
    (void)state;
    if (!fs_mkdirs("www", 0755, &err))
        fail_msg("%s", err.text);
    AUTO_FREE char *www = fs_join(root, "www");
    assert_parses("issue example.org -w www", &request);
    assert_true(request.has_challenge);
    assert_ways(&request, "webroot");
    assert_string_equal(request.webroot, www); /* remembered for renewals, which start elsewhere */
    request_clear(&request);
    assert_parses("issue example.org --standalone", &request);
    assert_ways(&request, "standalone");
    request_clear(&request);
    assert_refused("issue example.org --webroot", "-w DIR", "");
    assert_refused("issue example.org --standalone --webroot", "exclude", "");
    assert_refused("issue example.org --standalone -w www", "exclude", "");
    assert_refused("issue example.org -w nowhere", "not a directory", "");
}

static void write_text(const char *path, const char *text, mode_t mode)
{
    struct err err = ERR_INIT;
    if (!fs_write(path, text, strlen(text), mode, &err))
        fail_msg("%s", err.text);
}

static void write_file(const char *path, mode_t mode)
{
    write_text(path, "#!/bin/true\n", mode);
}

/* Which ways come of which words, in order. */
static void test_ways_of_all_kinds(void **state)
{
    static const struct {
        const char *options, *ways;
    } rows[] = {
        {"", ""},
        {"--challenge tls-alpn,dns-persist", "tls-alpn dns-persist"},
        {"--challenge dns-persist --challenge web-server", "dns-persist web-server"},
        {"--challenge http-01,tls-alpn-01", "web-server tls-alpn"}, /* dehydrated's words */
        {"--challenge dns,standalone --challenge-hook hook", "dns standalone"},
        {"--challenge http-hook --challenge-hook hook", "http-hook"},
        {"--tls-alpn --dns", "tls-alpn dns"},
        {"--dns --tls-alpn --dns", "dns tls-alpn"},
        {"--alpn", "tls-alpn"},
        {"--tls", "tls-alpn"},
        {"--dns-account --dns-persist --standalone", "dns-account dns-persist standalone"},
        {"--challenge-hook hook", "dns"},
        {"--dns-update-server primary", "dns"},
        {"--challenge-hook hook -w www", "webroot dns"},
        {"--standalone --dns-update-server ns.example.org", "standalone dns"},
        {"--dns-persist --challenge-hook hook", "dns-persist"},
        /* certbot's hooks take http-01 first, and DNS where it must be */
        {"--manual --manual-auth-hook hook", "http-hook dns"},
        {"--manual-auth-hook hook --preferred-challenges dns", "dns"},
        {"--manual-auth-hook hook --preferred-challenges http-01", "http-hook"},
        {"--manual-auth-hook hook --preferred-challenges dns-01,http", "dns http-hook"},
        {"--preferred-challenges dns,http", "dns web-server"},
        {"--preferred-challenges http,tls-alpn --standalone", "standalone tls-alpn"},
        {"--preferred-challenges tls-alpn-01 --preferred-challenges http --webroot -w www",
         "tls-alpn webroot"},
        {"--preferred-challenges dns --dns-update-server primary", "dns"},
    };
    struct request request;
    struct err err = ERR_INIT;
    (void)state;
    write_file("hook", 0755);
    if (!fs_mkdirs("www", 0755, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_FREE char *line = mem_fmt("issue example.org %s", rows[i].options);
        assert_parses(line, &request);
        assert_ways(&request, rows[i].ways);
        request_clear(&request);
    }
    assert_refused("issue a.example --challenge tls-sni", "'tls-sni' is not web-server", "");
    assert_refused("issue a.example --challenge ,", "names no way", "");
    assert_refused("issue a.example --preferred-challenges webroot", "'webroot' is not http", "");
    assert_refused("issue a.example --preferred-challenges dns --standalone", "leaves http-01 out", "");
    assert_refused("issue a.example --preferred-challenges dns --challenge dns", "exclude each other", "");
    assert_refused("issue a.example --manual", "--manual-auth-hook PROGRAM", "");
    assert_refused("issue a.example --dns dns_cf", "takes no value", "--hook-contract acme.sh");
}

static void test_hooks_and_their_contracts(void **state)
{
    struct request request;
    (void)state;
    write_file("hook", 0755);
    write_file("env", 0600);
    AUTO_FREE char *hook = fs_join(root, "hook"), *env = fs_join(root, "env");
    assert_parses(
        "issue *.example.org --challenge-hook hook --hook-contract lego --hook-env env --hook-timeout 5m",
        &request);
    assert_string_equal(request.challenge_hook, hook);
    assert_string_equal(request.hook_env, env);
    assert_true(request.has_hook_contract);
    assert_int_equal(request.hook_contract, HOOK_LEGO);
    assert_int_equal(request.hook_timeout_s, 300);
    assert_words(&request.names, "*.example.org");
    request_clear(&request);
    assert_parses("issue example.org --manual-auth-hook hook --manual-cleanup-hook ./hook", &request);
    assert_string_equal(request.challenge_hook, hook);
    assert_string_equal(request.cleanup_hook, hook);
    assert_int_equal(request.hook_contract, HOOK_CERTBOT);
    request_clear(&request);
    assert_refused("issue a.example --manual-auth-hook hook --hook-contract lego", "contradicts", "");
    assert_refused("issue a.example --hook-contract lego --manual-auth-hook hook", "contradicts", "");
    assert_refused("issue a.example --challenge-hook hook --cleanup-hook hook --hook-contract uacme",
                   "--hook-contract certbot", "");
    assert_refused("issue a.example --challenge-hook hook --manual-auth-hook hook", "exclude", "");
    assert_refused("issue a.example --challenge-hook env", "not an executable", "chmod +x");
    assert_refused("issue a.example --manual-auth-hook /bin/echo_\"$CERTBOT_DOMAIN\"", "not a command line",
                   "script");
    assert_refused("issue a.example --hook-contract bash", "--hook-contract", "lego-raw");
    assert_refused("issue a.example --hook-env nowhere", "--hook-env: cannot read", "");
    assert_refused("issue a.example --hook-timeout soon", "--hook-timeout: 'soon' is not a number of seconds",
                   "");
}

static void test_several_cas_and_accounts(void **state)
{
    struct request request;
    (void)state;
    assert_parses(
        "issue example.org --server zerossl,https://ca.example/d --server letsencrypt --account work",
        &request);
    assert_string_equal(request.server, "https://acme.zerossl.com/v2/DV90");
    assert_words(&request.fallbacks, "https://ca.example/d " CONFIG_DEFAULT_CA);
    assert_string_equal(request.account, "work");
    request_clear(&request);
    assert_refused("issue a.example --server zerossl,zerossl", "is there twice", "");
    assert_refused("account show --server zerossl,letsencrypt", "is about one CA", "");
    assert_refused("account show --account ../x", "--account: '../x' is not a name", "");
}

static void test_external_account_binding(void **state)
{
    struct request request;
    (void)state;
    write_text("hmac", "c2VjcmV0LWtleS1zZWNyZXQta2V5\n", 0600);
    write_text("spaces", "two words\n", 0600);
    write_text("nothing", "\n", 0600);
    assert_parses("account register --eab-kid kid-1 --eab-hmac-key @hmac --eab-hmac-alg hs384", &request);
    assert_string_equal(request.eab_kid, "kid-1");
    assert_string_equal(request.eab_hmac_key, "c2VjcmV0LWtleS1zZWNyZXQta2V5");
    assert_string_equal(request.eab_alg, "HS384");
    request_clear(&request);
    /* lego's words */
    assert_parses("issue example.org --eab --kid kid-1 --hmac c2VjcmV0 --accept-tos", &request);
    assert_string_equal(request.eab_hmac_key, "c2VjcmV0");
    assert_null(request.eab_alg);
    assert_true(request.agree_tos);
    request_clear(&request);
    assert_refused("account register --eab-kid kid-1", "go together", "");
    assert_refused("account register --eab-hmac-key abc", "go together", "");
    assert_refused("account register --eab-hmac-alg HS256", "goes with", "");
    assert_refused("account register --eab-kid k --eab-hmac-key abc --eab-hmac-alg HS1",
                   "HS256, HS384 or HS512", "");
    assert_refused("account register --eab-kid k --eab-hmac-key @nowhere", "--eab-hmac-key: cannot", "");
    assert_refused("account register --eab-kid k --eab-hmac-key @spaces", "without spaces", "");
    assert_refused("account register --eab-kid k --eab-hmac-key @nothing", "without spaces", "");
    assert_refused("account show --eab-kid k", "belongs to enable, issue, reconfigure and account register",
                   "");
    /* a secret is not repeated on the screen */
    struct err err = ERR_INIT;
    assert_false(
        parse("issue a.example --eab-kid k --eab-hmac-key geheim1 --eab-hmac-key geheim2", &request, &err));
    assert_null(strstr(err.text, "geheim"));
    err_clear(&err);
    assert_false(
        parse("issue a.example --proxy http://u:geheim1@h:1 --proxy http://u:geheim2@h:1", &request, &err));
    assert_null(strstr(err.text, "geheim"));
}

/* Standard input in the place of another. */
static void with_input(const char *text, int *saved)
{
    write_text("input", text, 0600);
    *saved = dup(STDIN_FILENO);
    int fd = open("input", O_RDONLY);
    dup2(fd, STDIN_FILENO);
    close(fd);
}

static void without_input(int saved)
{
    dup2(saved, STDIN_FILENO);
    close(saved);
}

static void test_a_secret_from_standard_input(void **state)
{
    struct request request;
    int saved;
    (void)state;
    with_input("c2VjcmV0\n", &saved);
    assert_parses("account register --eab-kid k --eab-hmac-key -", &request);
    without_input(saved);
    assert_string_equal(request.eab_hmac_key, "c2VjcmV0");
    request_clear(&request);
    with_input("", &saved);
    assert_refused("account register --eab-kid k --eab-hmac-key -", "--eab-hmac-key", "");
    without_input(saved);
    with_input("c2VjcmV0\n", &saved);
    assert_refused("issue --from - --eab-kid k --eab-hmac-key -", "cannot both be read", "");
    without_input(saved);
    AUTO_FREE char *long_text = mem_alloc(100001);
    memset(long_text, 'a', 100000);
    with_input(long_text, &saved);
    assert_refused("account register --eab-kid k --eab-hmac-key -", "1 to 511 letters", "");
    without_input(saved);
}

static void test_the_connection(void **state)
{
    static const char *const commands[] = {"issue a.example",    "enable a.example",  "renew",
                                           "revoke a.example",   "account register",  "account show",
                                           "account change-key", "account deactivate"};
    struct request request;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        AUTO_FREE char *line =
            mem_fmt("%s --proxy socks5h://127.0.0.1:1080 -6 --interface eth0 --timeout 30", commands[i]);
        assert_parses(line, &request);
        assert_string_equal(request.proxy, "socks5h://127.0.0.1:1080");
        assert_int_equal(request.ip_version, 6);
        assert_string_equal(request.interface, "eth0");
        assert_int_equal(request.timeout_s, 30);
        request_clear(&request);
    }
    assert_parses("renew --proxy direct -4", &request);
    assert_string_equal(request.proxy, "");
    assert_int_equal(request.ip_version, 4);
    request_clear(&request);
    assert_refused("renew -46", "--ipv4 and --ipv6 exclude", "");
    assert_refused("renew --proxy none", "'none' is no proxy", "--proxy direct");
    assert_refused("renew --proxy ftp://x:21", "--proxy", "");
    assert_refused("renew --timeout 0", "--timeout: '0' is not", "");
    assert_refused("renew --interface none", "in a file", "");
    assert_refused("status --proxy direct", "belongs to", "");
}

static void test_what_the_ca_is_asked_for(void **state)
{
    struct request request;
    (void)state;
    clock_freeze(1795000000, 0);
    assert_parses("issue example.org --preferred-profile shortlived --preferred-chain ISRG_Root_X1 "
                  "--valid-for 30d --reuse-key "
                  "--allow-subset-of-names --key pkcs11:token=t;object=o",
                  &request);
    assert_string_equal(request.profile, "shortlived");
    assert_int_equal(request.profile_required, CHOICE_NO);
    assert_string_equal(request.preferred_chain, "ISRG Root X1");
    assert_int_equal(request.valid_for_s, 30 * 86400);
    assert_int_equal(request.reuse_key, CHOICE_YES);
    assert_int_equal(request.partial, CHOICE_YES);
    assert_string_equal(request.key, "pkcs11:token=t;object=o");
    request_clear(&request);
    assert_parses("issue example.org --required-profile tlsserver --new-key --no-partial --not-before "
                  "2027-01-31 --not-after "
                  "2027-03-01T12:00:00Z",
                  &request);
    assert_int_equal(request.profile_required, CHOICE_YES);
    assert_int_equal(request.reuse_key, CHOICE_NO);
    assert_int_equal(request.partial, CHOICE_NO);
    assert_int_equal(request.not_before_s, 1801353600);
    assert_int_equal(request.not_after_s, 1803902400);
    request_clear(&request);
    assert_parses("issue example.org --valid-to +30d", &request); /* acme.sh's */
    assert_int_equal(request.not_after_s, 1795000000 + 30 * 86400);
    request_clear(&request);
    assert_refused("issue a.example --not-after 2020-01-01", "in the past", "");
    assert_refused("issue a.example --not-before 2027-03-01 --not-after 2027-01-01", "not before", "");
    assert_refused("issue a.example --not-after tomorrow", "'tomorrow' is not a date", "");
    assert_refused("issue a.example --not-after 2027-02-30", "is not a date", "");
    assert_refused("issue a.example --valid-for 30d --not-after 2027-01-01", "exclude", "");
    assert_refused("issue a.example --valid-for none", "is not a time", "");
    assert_refused("issue a.example --preferred-profile a --required-profile b", "exclude", "");
    assert_refused("issue a.example --reuse-key --new-key", "exclude", "");
    assert_refused("issue a.example --key /etc/key.pem", "--key: '/etc/key.pem' is not a key on a token", "");
    assert_refused("issue a.example --profile short_lived", "--preferred-profile: 'short lived'", "");
    clock_thaw();
}

static void test_two_keys(void **state)
{
    struct request request;
    (void)state;
    assert_parses("issue example.org --key-type ecdsa-p256,rsa-2048", &request);
    assert_true(request.dual && request.has_key_type);
    assert_int_equal(request.key_type, KEY_ECDSA_P256);
    assert_int_equal(request.second_key_type, KEY_RSA_2048);
    request_clear(&request);
    assert_parses("issue example.org --key-type rsa --key-type ec-384", &request);
    assert_true(request.dual);
    assert_int_equal(request.second_key_type, KEY_ECDSA_P384);
    request_clear(&request);
    assert_parses("issue example.org -k ec-256 --keylength ec-256", &request);
    assert_false(request.dual);
    request_clear(&request);
    assert_refused("issue a.example --key-type rsa,ecdsa,rsa-4096", "one type, or two", "");
    assert_refused("issue a.example --key-type rsa,ecdsa --rsa-key-size 4096", "give them whole", "");
    assert_refused("issue a.example --key-type rsa,dsa", "dsa", "");
}

static void test_dns_updates(void **state)
{
    struct request request;
    (void)state;
    write_file("tsig", 0600);
    AUTO_FREE char *tsig = fs_join(root, "tsig");
    assert_parses("issue *.example.org --dns-update-server [2001:db8::53]:5353 --dns-update-key tsig "
                  "--dns-update-zone example.org "
                  "--dns-servers 192.0.2.1:53 --dns-servers 127.0.0.1#5353,192.0.2.1#53 --dns-timeout 10m "
                  "--no-dns-check",
                  &request);
    assert_string_equal(request.dns_update_server, "[2001:db8::53]:5353");
    assert_string_equal(request.dns_update_key, tsig);
    assert_string_equal(request.dns_update_zone, "example.org");
    assert_words(&request.dns_servers, "192.0.2.1#53 127.0.0.1#5353");
    assert_int_equal(request.dns_timeout_s, 600);
    assert_int_equal(request.dns_check, CHOICE_NO);
    request_clear(&request);
    assert_refused("issue a.example --dns-servers ns.example.org", "--dns-servers: 'ns.example.org'", "");
    assert_refused("issue a.example --dns-update-server 300.1.1.1", "--dns-update-server: '300.1.1.1'", "");
    assert_refused("issue a.example --dns-check --no-dns-check", "exclude", "");
}

static void test_names_from_elsewhere(void **state)
{
    struct request request;
    (void)state;
    write_file("domains", 0600);
    AUTO_FREE char *domains = fs_join(root, "domains");
    assert_parses("issue --from domains", &request);
    assert_string_equal(request.from, domains);
    assert_int_equal(request.names.n, 0);
    request_clear(&request);
    assert_parses("issue --from -", &request);
    assert_string_equal(request.from, "-");
    request_clear(&request);
    assert_parses("issue --csr domains --cert-name mail", &request);
    assert_string_equal(request.csr, domains);
    request_clear(&request);
    assert_parses("issue --ip-address 192.0.2.1,2001:DB8::1 -d *.example.org", &request);
    assert_words(&request.names, "192.0.2.1 2001:db8::1 *.example.org");
    request_clear(&request);
    assert_refused("issue --from domains a.example", "'a.example' is one too many", "");
    assert_refused("issue --csr domains a.example", "'a.example' is one too many", "");
    assert_refused("issue --from domains -d a.example", "exclude", "");
    assert_refused("issue --from domains --cert-name a", "exclude", "");
    assert_refused("issue --csr domains --reuse-key", "exclude", "");
    assert_refused("issue --csr domains --key-type rsa", "exclude", "");
    assert_refused("issue --from nowhere", "cannot read", "");
    assert_refused("issue --csr .", "it is a directory", "");
    assert_refused("issue --ip-address a.example", "'a.example' is not an IP address", "");
    assert_refused("enable --from domains", "belongs to issue", "");
}

static void test_revoking(void **state)
{
    static const struct {
        const char *word;
        int number;
    } reasons[] = {{"unspecified", 0},
                   {"keyCompromise", 1},
                   {"KEYCOMPROMISE", 1},
                   {"key-compromise", 1},
                   {"1", 1},
                   {"cACompromise", 2},
                   {"affiliationChanged", 3},
                   {"superseded", 4},
                   {"4", 4},
                   {"cessation_of_operation", 5},
                   {"cessationofoperation", 5},
                   {"certificateHold", 6},
                   {"removeFromCRL", 8},
                   {"privilegeWithdrawn", 9},
                   {"aACompromise", 10},
                   {"10", 10}};
    struct request request;
    (void)state;
    write_file("cert", 0644);
    write_file("key", 0600);
    AUTO_FREE char *cert = fs_join(root, "cert"), *key = fs_join(root, "key");
    for (size_t i = 0; i < COUNT_OF(reasons); i++) {
        /* '_' of the line is a space within a word: write it out here */
        AUTO_FREE char *line = mem_fmt("revoke example.org --reason=%s", reasons[i].word);
        char *argv[] = {(char *)(uintptr_t) "tlsup", (char *)(uintptr_t) "revoke",
                        (char *)(uintptr_t) "example.org", strchr(line, '-')};
        struct err err = ERR_INIT;
        if (!options_parse(4, argv, &request, &err))
            fail_msg("%s", err.text);
        assert_int_equal(request.reason, reasons[i].number);
        request_clear(&request);
    }
    assert_parses("revoke example.org --by-key", &request);
    assert_int_equal(request.reason, -1);
    assert_true(request.by_certificate_key);
    assert_words(&request.arguments, "example.org");
    request_clear(&request);
    assert_parses("revoke --cert-path cert --key-path ./key --staging", &request);
    assert_string_equal(request.cert_path, cert);
    assert_string_equal(request.key_path, key);
    assert_int_equal(request.arguments.n, 0);
    request_clear(&request);
    assert_parses("revoke --cert-name example.org --account work --server zerossl --no-delete-after-revoke",
                  &request);
    assert_words(&request.arguments, "example.org");
    request_clear(&request);
    assert_refused("revoke", "which certificate", "tlsup status");
    assert_refused("revoke a b", "'b' is one too many", "");
    assert_refused("revoke a --cert-path cert", "in place of 'a'", "");
    assert_refused("revoke --cert-path cert --by-key", "exclude", "");
    assert_refused("revoke a --by-key --key-path key", "exclude", "");
    assert_refused("revoke a --key-path key --account work", "exclude", "");
    for (const char *const *bad =
             (const char *const[]){"7", "11", "-1", "01", "because", "key", "keyCompromised", NULL};
         *bad != NULL; bad++) {
        AUTO_FREE char *line = mem_fmt("revoke a --reason=%s", *bad);
        assert_refused(line, "is no reason", "revoke --help");
    }
}

static void test_account_commands(void **state)
{
    static const struct {
        const char *line;
        enum command command;
    } rows[] = {
        {"account register", COMMAND_ACCOUNT_REGISTER},
        {"account update -m a@example.org", COMMAND_ACCOUNT_UPDATE},
        {"account update --agree-tos --account work", COMMAND_ACCOUNT_UPDATE},
        {"account change-key --server zerossl", COMMAND_ACCOUNT_CHANGE_KEY},
        {"account deactivate --staging", COMMAND_ACCOUNT_DEACTIVATE},
        {"account list --json", COMMAND_ACCOUNT_LIST},
        {"account show", COMMAND_ACCOUNT_SHOW},
        {"account import key", COMMAND_ACCOUNT_IMPORT},
        /* certbot's */
        {"register -m a@example.org --agree-tos", COMMAND_ACCOUNT_REGISTER},
        {"update_account -m a@example.org", COMMAND_ACCOUNT_UPDATE},
        {"unregister", COMMAND_ACCOUNT_DEACTIVATE},
        {"show_account", COMMAND_ACCOUNT_SHOW},
    };
    struct request request;
    (void)state;
    write_file("key", 0600);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_STRLIST words = STRLIST_INIT;
        char *argv[WORDS_MAX] = {(char *)(uintptr_t) "tlsup"};
        struct err err = ERR_INIT;
        strlist_split(&words, rows[i].line, " ");
        for (size_t j = 0; j < words.n; j++)
            argv[j + 1] = words.v[j];
        if (!options_parse((int)words.n + 1, argv, &request, &err))
            fail_msg("%s: %s", rows[i].line, err.text);
        assert_int_equal(request.command, rows[i].command);
        request_clear(&request);
    }
    AUTO_FREE char *key = fs_join(root, "key");
    assert_parses("account import ./key", &request);
    assert_words(&request.arguments, key);
    request_clear(&request);
    assert_parses("account import pkcs11:token=t;object=o", &request);
    assert_words(&request.arguments, "pkcs11:token=t;object=o");
    request_clear(&request);
    assert_refused("account import", "which key", "account import --help");
    assert_refused("account import a b", "'b' is one too many", "");
    assert_refused("account import nowhere", "cannot read the key", "");
    assert_refused("account update", "what is to be changed", "account update --help");
    assert_refused("account change-kye", "'account change-kye'", "account change-key");
    assert_refused("account xyzzy", "'account xyzzy'", "account import, tlsup account deactivate");
    assert_refused("account list --server zerossl", "belongs to", "");
    assert_refused("keyrollover", "'keyrollover'", "tlsup account change-key");
}

static void test_hooks_and_bundles_must_be_there(void **state)
{
    struct request request;
    (void)state;
    write_file("hook", 0755);
    write_file("text", 0644);
    AUTO_FREE char *hook = fs_join(root, "hook"), *text = fs_join(root, "text");
    assert_parses("issue example.org --deploy-hook hook --ca-bundle ./text", &request);
    assert_int_equal(request.deploy_hooks.n, 1);
    assert_string_equal(request.deploy_hooks.v[0], hook);
    assert_string_equal(request.ca_bundle, text);
    request_clear(&request);
    assert_refused("issue example.org --deploy-hook text", "not an executable", "chmod +x");
    assert_refused("issue example.org --deploy-hook systemctl_reload_postfix", "not a command line",
                   "script");
    assert_refused("issue example.org --deploy-hook nowhere", "cannot find", "");
    assert_refused("issue example.org --ca-bundle nowhere", "cannot read", "");
}

static void test_changes(void **state)
{
    struct request request;
    (void)state;
    assert_parses("reconfigure example.org -d Example.org,www.example.org --key-type rsa-2048 --no-test",
                  &request);
    assert_int_equal(request.command, COMMAND_RECONFIGURE);
    assert_words(&request.arguments, "example.org");
    assert_words(&request.names, "example.org www.example.org");
    assert_true(request.no_test && request.has_key_type);
    request_clear(&request);
    assert_refused("reconfigure", "which certificate", "tlsup status");
    assert_refused("reconfigure a b", "one certificate at a time", "");
    assert_refused("reconfigure a -d not..good", "not..good", "");
    assert_parses("rename example.org-0001 example.org", &request);
    assert_words(&request.arguments, "example.org-0001 example.org");
    request_clear(&request);
    assert_refused("rename example.org", "what is it to be called", "rename --help");
    assert_refused("rename example.org ../up", "'../up'", "");
    assert_refused("rename a b c", "'c' is one too many", "");
    assert_parses("restore example.org 3", &request);
    assert_words(&request.arguments, "example.org 3");
    request_clear(&request);
    assert_parses("restore example.org --json", &request);
    assert_words(&request.arguments, "example.org");
    request_clear(&request);
    assert_refused("restore example.org 0", "'0' is not a version", "");
    assert_refused("restore example.org latest", "'latest' is not a version", "");
    assert_refused("restore", "which certificate", "tlsup status");
}

static void test_export_and_import(void **state)
{
    struct request request;
    (void)state;
    AUTO_FREE char *out = fs_join(root, "out.p12"), *text = fs_join(root, "text");
    write_file("text", 0600);
    assert_parses("export example.org --format p12 --to out.p12 --owner www-data:adm --mode 0640 "
                  "--password-file text --friendly-name web --standing",
                  &request);
    assert_string_equal(request.format, "p12");
    assert_string_equal(request.to, out);
    assert_string_equal(request.owner, "www-data:adm");
    assert_string_equal(request.mode, "0640");
    assert_string_equal(request.password_file, text);
    assert_string_equal(request.friendly_name, "web");
    assert_true(request.standing);
    request_clear(&request);
    assert_parses("export example.org --to -", &request);
    assert_string_equal(request.to, "-");
    request_clear(&request);
    assert_refused("export example.org --format docx --to x", "docx", "");
    assert_refused("export", "which certificate", "");
    assert_parses("import --from ACMESH .", &request);
    assert_string_equal(request.from, "acme.sh");
    assert_int_equal(request.words.n, 1);
    assert_int_equal(request.words.v[0][0], '/');
    request_clear(&request);
    assert_parses("import --from lego --switch-web-server --disable-old-timer --plan", &request);
    assert_true(request.switch_web_server && request.plan);
    assert_int_equal(request.disable_old, CHOICE_YES);
    request_clear(&request);
    assert_refused("import", "from which client", "import --help");
    assert_refused("import --from snap", "not 'snap'", "");
    assert_refused("import --from lego nowhere", "is not a directory", "");
    assert_refused("import --from lego --disable-old-timer --keep-old-timer", "exclude each other", "");
}

static void test_hooks_and_watching(void **state)
{
    struct request request;
    (void)state;
    write_file("hook", 0755);
    write_file("second", 0755);
    assert_parses(
        "issue example.org --deploy-hook hook --deploy-hook second --deploy-hook hook --pre-hook hook "
        "--post-hook second --hook-user nobody --deploy-timeout 60 --keep-versions 9 "
        "--verify example.org:465 --verify example.org:25/smtp",
        &request);
    assert_int_equal(request.deploy_hooks.n, 2);
    assert_int_equal(request.pre_hooks.n, 1);
    assert_int_equal(request.post_hooks.n, 1);
    assert_string_equal(request.hook_user, "nobody");
    assert_int_equal(request.deploy_timeout_s, 60);
    assert_int_equal(request.keep, 9);
    assert_words(&request.verify, "example.org:465 example.org:25/smtp");
    request_clear(&request);
    assert_refused("issue example.org --keep-versions none", "versions", "");
    assert_refused("issue example.org --keep-versions 0", "versions", "");
    assert_refused("issue example.org --verify nonsense", "", "");
    assert_parses("renew --dry-run --json", &request);
    assert_true(request.dry_run && request.json);
    request_clear(&request);
    assert_refused("enable example.org --dry-run --plan", "exclude each other", "");
    assert_parses("status --metrics", &request);
    assert_true(request.metrics);
    request_clear(&request);
    assert_parses("enable example.org --open-firewall --no-check", &request);
    assert_true(request.open_firewall && request.no_check);
    request_clear(&request);
    assert_parses("completion fish", &request);
    assert_words(&request.arguments, "fish");
    request_clear(&request);
    assert_refused("completion tcsh", "for which shell", "");
}

static void test_certificates(void **state)
{
    struct request request;
    (void)state;
    assert_parses("renew a.example.org --cert-name b *.example.org a.example.org", &request);
    assert_words(&request.arguments, "b a.example.org _wildcard.example.org");
    request_clear(&request);
    assert_parses("status", &request);
    assert_int_equal(request.arguments.n, 0);
    request_clear(&request);
    assert_parses("delete a b", &request);
    assert_words(&request.arguments, "a b");
    request_clear(&request);
    assert_refused("undo", "which certificate", "tlsup status");
    assert_refused("delete", "which certificate", "tlsup status");
    assert_refused("install a b", "'b' is one too many", "");
    assert_refused("delete ../../etc", "'../../etc'", "delete --help");
    assert_refused("delete .hidden", "'.hidden'", "");
    assert_refused("status a/b", "'a/b'", "");
    assert_refused("issue example.org --cert-name ../x", "'../x'", "");
}

/* -- help -------------------------------------------------------------------------------------------- */

static void test_asking_for_help(void **state)
{
    static const struct {
        const char *line;
        enum command command, on;
    } rows[] = {
        {"--help", COMMAND_HELP, COMMAND_NONE},
        {"-h", COMMAND_HELP, COMMAND_NONE},
        {"help", COMMAND_HELP, COMMAND_NONE},
        {"help help", COMMAND_HELP, COMMAND_NONE},
        {"help enable", COMMAND_HELP, COMMAND_ENABLE},
        {"enable --help", COMMAND_HELP, COMMAND_ENABLE},
        {"--help renew", COMMAND_HELP, COMMAND_RENEW},
        {"account show -h", COMMAND_HELP, COMMAND_ACCOUNT_SHOW},
        {"help account register", COMMAND_HELP, COMMAND_ACCOUNT_REGISTER},
        {"account --help", COMMAND_HELP, COMMAND_ACCOUNT},
        {"help revoke", COMMAND_HELP, COMMAND_REVOKE},
        {"help unregister", COMMAND_HELP, COMMAND_ACCOUNT_DEACTIVATE},
        {"account change-key --help", COMMAND_HELP, COMMAND_ACCOUNT_CHANGE_KEY},
        {"--version", COMMAND_VERSION, COMMAND_NONE},
        {"-V", COMMAND_VERSION, COMMAND_NONE},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct request request;
        assert_parses(rows[i].line, &request);
        assert_int_equal(request.command, rows[i].command);
        assert_int_equal(request.help_on, rows[i].on);
        request_clear(&request);
    }
    assert_refused("help enabel", "'enabel'", "tlsup enable");
}

/* The help text of a command, in `out`. */
static void read_help(enum command on, struct buf *out)
{
    struct err err = ERR_INIT;
    fflush(stdout);
    int saved = dup(STDOUT_FILENO), fd = open("help.txt", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDOUT_FILENO);
    output_init(false);
    options_help(on);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    close(fd);
    if (!fs_read("help.txt", 65536, out, &err))
        fail_msg("%s", err.text);
}

static void test_help_pages_are_whole(void **state)
{
    (void)state;
    for (enum command on = COMMAND_NONE; on < COMMANDS; on++) {
        if (on == COMMAND_HELP || on == COMMAND_VERSION || on == COMMAND_ACCOUNT || on == COMMAND_TIMER)
            continue; /* no pages of their own, or others than those of a command */
        AUTO_BUF page = BUF_INIT;
        AUTO_STRLIST lines = STRLIST_INIT;
        read_help(on, &page);
        assert_int_equal(strncmp(buf_str(&page), "Usage: tlsup ", 13), 0);
        assert_non_null(strstr(buf_str(&page), "Examples:"));
        assert_non_null(strstr(buf_str(&page), "--config-dir"));
        assert_non_null(strstr(buf_str(&page), command_name(on)));
        strlist_split(&lines, buf_str(&page), "\n");
        for (size_t i = 0; i < lines.n; i++)
            if (output_width(lines.v[i]) > 90)
                fail_msg("too wide: %s", lines.v[i]);
    }
    AUTO_BUF issue = BUF_INIT;
    read_help(COMMAND_ISSUE, &issue);
    for (size_t i = 0; ca_at(i) != NULL; i++)
        if (strstr(buf_str(&issue), ca_at(i)->name) == NULL)
            fail_msg("--server %s is not in the help", ca_at(i)->name);
    AUTO_BUF accounts = BUF_INIT;
    read_help(COMMAND_ACCOUNT, &accounts);
    assert_non_null(strstr(buf_str(&accounts), "tlsup account COMMAND --help"));
    assert_non_null(strstr(buf_str(&accounts), "account change-key"));
    AUTO_BUF page = BUF_INIT;
    read_help(COMMAND_NONE, &page);
    for (const char *c = "012345"; *c != '\0'; c++) {
        char line[8];
        snprintf(line, sizeof line, "\n  %c  ", *c);
        assert_non_null(strstr(buf_str(&page), line)); /* the exit statuses */
    }
}

/* -- what is refused, and what it is answered -------------------------------------------------------- */

static void test_mistakes_are_answered_with_the_way_out(void **state)
{
    static const struct {
        const char *line, *text, *advice;
    } rows[] = {
        {"", "sudo tlsup enable", "tlsup --help"},
        {"-v", "sudo tlsup enable", "tlsup --help"},
        {"enabel example.org", "no command 'enabel'", "tlsup enable"},
        {"ren", "'ren'", "tlsup renew"},
        {"certonly -d example.org", "'certonly'", "tlsup issue"},
        {"certificates", "'certificates'", "tlsup status"},
        {"example.org", "'example.org'", "sudo tlsup enable example.org"},
        {"example.org enable", "'example.org'", "tlsup enable example.org"},
        {"zzzzzzzz", "'zzzzzzzz'", "tlsup --help"},
        {"account", "account", "account register"},
        {"account shwo", "'account shwo'", "account show"},
        {"account show extra", "'extra'", "account show --help"},
        {"enable", "example.org", "enable --help"},
        {"enable example.org renew", "'renew' is a command", "enable --help"},
        {"enable example.org --stagin", "--stagin", "--staging"},
        {"enable example.org --forse", "--forse", "--force"},
        {"enable example.org --non-inter", "--non-inter", "--non-interactive"},
        {"enable example.org --zzzzzzzzz", "--zzzzzzzzz", "enable --help"},
        {"enable example.org -staging", "-staging", "--staging"},
        {"enable example.org -x", "-x", "enable --help"},
        {"enable example.org -nx", "-x in -nx", "enable --help"},
        {"enable example.org -m", "-m needs a value: -m ADDRESS", "enable --help"},
        {"enable example.org -m --agree-tos", "-m needs a value", "enable --help"},
        {"enable example.org --email=", "empty", "enable --help"},
        {"enable example.org --staging=yes", "takes no value", "enable --help"},
        {"enable example.org -m admin", "'admin'", "enable --help"},
        {"enable example.org -m a@b@c", "'a@b@c'", "enable --help"},
        {"enable example.org -m a@example.org,b@example.org", "e-mail", "enable --help"},
        {"enable example.org -m a@example.org?cc=b", "e-mail", "enable --help"},
        {"enable example.org -m a@example.org -m b@example.org", "given twice", "enable --help"},
        {"enable example.org --nginx --apache", "exclude", "enable --help"},
        {"enable example.org --redirect --no-redirect", "exclude", "enable --help"},
        {"status --standalone", "belongs to enable, issue and reconfigure", "status --help"},
        {"renew --server letsencrypt", "no option --server", "renew --help"},
        {"enable example.org --hsts --no-hsts", "exclude", "enable --help"},
        {"enable example.org --hsts-max-age soon", "'soon'", "enable --help"},
        {"enable example.org --tls-profile strict", "'strict'", "enable --help"},
        {"enable example.org --nginx --apache-ctl /bin/true", "exclude", "enable --help"},
        {"enable example.org --nginx-conf /does/not/exist", "cannot read", "enable --help"},
        {"enable example.org --with caddy", "neither nginx nor apache", "enable --help"},
        {"enable --all example.org", "--all stands in place of names", "enable --help"},
        {"enable", "for which names?", "enable --help"},
        {"issue --all", "no option --all", "issue --help"},
        {"sites example.org", "takes no 'example.org'", "sites --help"},
        {"recover now", "takes no 'now'", "recover --help"},
        {"renew --redirect", "belongs to enable, install and reconfigure", "renew --help"},
        {"issue example.org --redirect", "no option --redirect", "issue --help"},
        {"revoke example.org --json", "belongs to enable, issue,", "revoke --help"},
        {"enable https://example.org/", "URL", "example.org"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_refused(rows[i].line, rows[i].text, rows[i].advice);
}

static void test_long_and_hostile_words(void **state)
{
    struct request request;
    (void)state;
    char *word = mem_alloc(20001);
    memset(word, 'n', 20000);
    static const char *const before[] = {"--",
                                         "-",
                                         "-d",
                                         "",
                                         "enable ",
                                         "renew ",
                                         "enable example.org --cert-name ",
                                         "enable example.org --",
                                         "enable example.org -m ",
                                         "help "};
    for (size_t i = 0; i < COUNT_OF(before); i++) {
        struct err err = ERR_INIT;
        AUTO_FREE char *line = mem_fmt("%s%s", before[i], word);
        bool accepted = parse(line, &request, &err);
        request_clear(&request);
        assert_false(accepted);
    }
    free(word);
    assert_refused("\033[2J", "?[2J", "");
    assert_refused("-\033", "-?", "");
    assert_refused("enable -", "", "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_from_everywhere),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_every_option_of_enable),
        cmocka_unit_test(test_options_of_the_web_server),
        cmocka_unit_test(test_clusters_and_the_end_of_options),
        cmocka_unit_test(test_quiet_and_debug),
        cmocka_unit_test(test_key_types_of_ours_and_of_certbot),
        cmocka_unit_test(test_certificate_authorities),
        cmocka_unit_test(test_challenges),
        cmocka_unit_test(test_ways_of_all_kinds),
        cmocka_unit_test(test_hooks_and_their_contracts),
        cmocka_unit_test(test_several_cas_and_accounts),
        cmocka_unit_test(test_external_account_binding),
        cmocka_unit_test(test_a_secret_from_standard_input),
        cmocka_unit_test(test_the_connection),
        cmocka_unit_test(test_what_the_ca_is_asked_for),
        cmocka_unit_test(test_two_keys),
        cmocka_unit_test(test_dns_updates),
        cmocka_unit_test(test_names_from_elsewhere),
        cmocka_unit_test(test_revoking),
        cmocka_unit_test(test_account_commands),
        cmocka_unit_test(test_hooks_and_bundles_must_be_there),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_export_and_import),
        cmocka_unit_test(test_hooks_and_watching),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_asking_for_help),
        cmocka_unit_test(test_help_pages_are_whole),
        cmocka_unit_test(test_mistakes_are_answered_with_the_way_out),
        cmocka_unit_test(test_long_and_hostile_words),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
