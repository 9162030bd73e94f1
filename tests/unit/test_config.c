/*
 * test_config.c - what people write is understood exactly, or refused with file, line and what is accepted.
 */
#include <setjmp.h>
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

#include "tlsup/config.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tlsup-config-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int remove_dir(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    return fs_remove_tree(dir, &err) ? 0 : -1;
}

/* Parse text as the file "F"; the caller clears `config`. */
static bool parse(const char *text, size_t len, bool is_cert, struct cert_config *config, struct err *err)
{
    *err = (struct err)ERR_INIT;
    cert_config_init(config);
    return config_read_text(text, len, "F", is_cert, config, err);
}

static void expect_text(const char *text, size_t len, bool is_cert, const char *expected)
{
    struct err err;
    struct cert_config config;
    assert_false(parse(text, len, is_cert, &config, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_int_equal(err_exit_status(&err), 2);
    if (strstr(err.text, expected) == NULL)
        fail_msg("'%s' does not contain '%s'", err.text, expected);
    cert_config_clear(&config);
}

static void assert_list(const struct strlist *list, const char *expected)
{
    AUTO_FREE char *joined = strlist_join(list, " ");
    assert_string_equal(joined, expected);
}

static void assert_ways(const struct cert_config *config, const char *expected)
{
    AUTO_STRLIST words = STRLIST_INIT;
    for (size_t i = 0; i < config->n_challenges; i++) {
        strlist_add(&words, config_challenge_name(config->challenges[i]));
        assert_true(cert_config_has_challenge(config, config->challenges[i]));
    }
    assert_list(&words, expected);
}

static void reads_every_key(void **state)
{
    static const char text[] = "# a certificate\n"
                               "names = www.Example.org example.org, EXAMPLE.org.\n"
                               "\n"
                               "; another kind of comment\n"
                               "server = letsencrypt-staging, https://ca.example.org/d zerossl\n"
                               "  ca-bundle=/etc/ssl/my ca.pem   \n"
                               "email\t=\tadmin+tls@example.org\n"
                               "agree-tos = yes\n"
                               "challenge = tls-alpn, standalone dns\n"
                               "webroot = /var/www/html\n"
                               "key-type = rsa-3072 ecdsa-p384\n"
                               "install = apache\n"
                               "redirect = yes\n"
                               "hsts = 180d\n"
                               "tls-profile = modern\n"
                               "nginx-conf = /srv/nginx.conf\n"
                               "nginx-bin = /opt/nginx/sbin/nginx\n"
                               "apache-conf = /srv/httpd.conf\n"
                               "apache-ctl = /opt/apachectl\n"
                               "account = work\n"
                               "challenge-hook = /usr/local/bin/dns\n"
                               "cleanup-hook = /usr/local/bin/clean\n"
                               "hook-contract = certbot\n"
                               "hook-env = /etc/credentials\n"
                               "hook-timeout = 2m\n"
                               "dns-update-server = ns.example.org:5353\n"
                               "dns-update-key = /etc/tsig.key\n"
                               "dns-update-zone = example.org\n"
                               "dns-servers = 192.0.2.1, [2001:DB8::1]:53 127.0.0.1:5353\n"
                               "dns-timeout = 90\n"
                               "dns-check = no\n"
                               "reuse-key = yes\n"
                               "profile = shortlived\n"
                               "profile-required = yes\n"
                               "preferred-chain = ISRG Root X1\n"
                               "valid-for = 30d\n"
                               "partial = yes\n"
                               "proxy = socks5h://127.0.0.1:1080\n"
                               "ip-version = 6\n"
                               "interface = eth0\n"
                               "timeout = 60\n"
                               "deploy-hook = /usr/local/bin/hook";
    struct err err;
    struct cert_config config;
    (void)state;
    assert_true(parse(text, sizeof text - 1, true, &config, &err));
    assert_int_equal(config.names.n, 2);
    assert_string_equal(config.names.v[0], "www.example.org");
    assert_string_equal(config.names.v[1], "example.org");
    assert_string_equal(config.server, CONFIG_STAGING_CA);
    assert_string_equal(config.ca_bundle, "/etc/ssl/my ca.pem");
    assert_string_equal(config.email, "admin+tls@example.org");
    assert_true(config.agree_tos);
    assert_list(&config.fallbacks, "https://ca.example.org/d https://acme.zerossl.com/v2/DV90");
    assert_ways(&config, "tls-alpn standalone dns");
    assert_string_equal(config.account, "work");
    assert_string_equal(config.challenge_hook, "/usr/local/bin/dns");
    assert_string_equal(config.cleanup_hook, "/usr/local/bin/clean");
    assert_int_equal(config.hook_contract, HOOK_CERTBOT);
    assert_string_equal(config.hook_env, "/etc/credentials");
    assert_int_equal(config.hook_timeout_s, 120);
    assert_string_equal(config.dns_update_server, "ns.example.org:5353");
    assert_string_equal(config.dns_update_key, "/etc/tsig.key");
    assert_string_equal(config.dns_update_zone, "example.org");
    assert_list(&config.dns_servers, "192.0.2.1 2001:db8::1#53 127.0.0.1#5353");
    assert_int_equal(config.dns_timeout_s, 90);
    assert_false(config.dns_check);
    assert_true(config.dual && config.reuse_key && config.profile_required && config.partial);
    assert_int_equal(config.second_key_type, KEY_ECDSA_P384);
    assert_string_equal(config.profile, "shortlived");
    assert_string_equal(config.preferred_chain, "ISRG Root X1");
    assert_int_equal(config.valid_for_s, 30 * 86400);
    assert_string_equal(config.proxy, "socks5h://127.0.0.1:1080");
    assert_int_equal(config.ip_version, 6);
    assert_string_equal(config.interface, "eth0");
    assert_int_equal(config.timeout_s, 60);
    assert_string_equal(config.webroot, "/var/www/html");
    assert_int_equal(config.key_type, KEY_RSA_3072);
    assert_int_equal(config.install, WEB_APACHE);
    assert_true(config.redirect);
    assert_int_equal(config.hsts_s, 180 * 86400);
    assert_int_equal(config.tls_profile, WEB_TLS_MODERN);
    assert_string_equal(config.nginx_conf, "/srv/nginx.conf");
    assert_string_equal(config.nginx_bin, "/opt/nginx/sbin/nginx");
    assert_string_equal(config.apache_conf, "/srv/httpd.conf");
    assert_string_equal(config.apache_ctl, "/opt/apachectl");
    assert_string_equal(config.deploy_hooks.v[0], "/usr/local/bin/hook");
    cert_config_clear(&config);
}

static void has_safe_defaults(void **state)
{
    struct err err;
    struct cert_config config;
    (void)state;
    assert_true(parse("names = example.org", 19, true, &config, &err));
    assert_string_equal(config.server, "https://acme-v02.api.letsencrypt.org/directory");
    assert_false(config.agree_tos);
    assert_false(config.redirect);
    assert_int_equal(config.hsts_s, 0);
    assert_int_equal(config.tls_profile, WEB_TLS_INTERMEDIATE);
    assert_int_equal(config.challenges[0], CHALLENGE_VIA_WEB_SERVER);
    assert_int_equal(config.key_type, KEY_ECDSA_P256);
    assert_int_equal(config.install, WEB_NONE);
    assert_null(config.email);
    assert_null(config.ca_bundle);
    assert_null(config.webroot);
    assert_int_equal(config.deploy_hooks.n, 0);
    assert_ways(&config, "web-server");
    assert_true(config.dns_check);
    assert_false(config.dual || config.reuse_key || config.partial || config.profile_required);
    assert_int_equal(config.hook_contract, HOOK_TLSUP);
    assert_int_equal(config.hook_timeout_s, 120);
    assert_int_equal(config.dns_timeout_s, 180);
    assert_int_equal(config.timeout_s, 120);
    assert_int_equal(config.valid_for_s, 0);
    assert_int_equal(config.ip_version, 0);
    assert_null(config.proxy);
    assert_null(config.account);
    cert_config_clear(&config);
}

static void tolerates_windows_editors(void **state)
{
    static const char text[] =
        "\xEF\xBB\xBFnames = example.org\r\n\r\n# comment\r\nemail = a@example.org\r\n";
    struct err err;
    struct cert_config config;
    (void)state;
    assert_true(parse(text, sizeof text - 1, true, &config, &err));
    assert_string_equal(config.names.v[0], "example.org");
    assert_string_equal(config.email, "a@example.org");
    cert_config_clear(&config);
}

static const struct {
    const char *text, *expected;
} refused[] = {
    {"names = example.org\nsever = letsencrypt\n", "F:2: unknown key 'sever'; did you mean 'server'?"},
    {"emial = a@example.org\n", "F:1: unknown key 'emial'; did you mean 'email'?"},
    {"key_type = rsa\n", "did you mean 'key-type'?"},
    {"EMAIL = a@example.org\n", "did you mean 'email'?"},
    {"domains = example.org\n", "did you mean 'names'?"},
    {"webroot-path = /x\n", "did you mean 'webroot'?"},
    {"frobnicate = 1\n",
     "F:1: unknown key 'frobnicate'; accepted are names, server, account, ca-bundle, email"},
    {"x = 1\n", "unknown key 'x'; accepted are"},
    {"email = a@example.org\n\nemail = b@example.org\n",
     "F:3: 'email' is given a second time (first on line 1)"},
    {"email =\n", "F:1: email has no value"},
    {"email = \"a@example.org\"\n", "F:1: email: values are written without quotes"},
    {"email = a@example.org # me\n", "F:1: email: a comment must be on a line of its own"},
    {"ca-bundle = /etc/ca.pem ; mine\n", "F:1: ca-bundle: a comment must be on a line of its own"},
    {"[tlsup]\n", "F:1: sections are not used here"},
    {"# x\n\nno equals sign\n", "F:3: 'no equals sign' is not of the form 'key = value'"},
    {"= value\n", "F:1: '= value' is not of the form 'key = value'"},
    {"agree-tos = true\n", "F:1: agree-tos: 'true' is not yes or no"},
    {"redirect = YES\n", "F:1: redirect: 'YES' is not yes or no"},
    {"hsts = 0\n", "F:1: hsts: '0' is not yes, no or a time like 180d, ten years at most"},
    {"hsts = 11y\n", "F:1: hsts: '11y' is not yes, no or a time like 180d, ten years at most"},
    {"tls-profile = Modern\n", "F:1: tls-profile: 'Modern' is not intermediate, modern or old"},
    {"nginx-conf = nginx.conf\n", "F:1: nginx-conf: 'nginx.conf' is not an absolute path ('/...') or none"},
    {"challenge = tls-sni\n", "F:1: challenge: 'tls-sni' is not web-server, standalone, webroot, http-hook, "
                              "tls-alpn, dns, dns-account or dns-persist"},
    {"challenge = dns,dns\n", "F:1: challenge: 'dns' is there twice"},
    {"install = ngnix\n", "F:1: install: 'ngnix' is not nginx, apache or none"},
    {"key-type = rsa-1024\n", "F:1: key-type: rsa-1024: there is no key type of this name; use ecdsa-p256"},
    {"server = letsencript\n",
     "F:1: server: 'letsencript' is not a certificate authority; accepted are letsencrypt, "
     "letsencrypt-staging, "},
    {"server = http://ca.example.org/directory\n", "F:1: server: 'http://ca.example.org/directory' is not"},
    {"email = admin\n", "F:1: email: 'admin' is not one address"},
    {"email = mailto:a@example.org\n", "is not one address"},
    {"email = a@example.org,b@example.org\n", "is not one address"},
    {"email = a@example.org b@example.org\n", "is not one address"},
    {"email = a@b@example.org\n", "is not one address"},
    {"email = a?cc=b@example.org\n", "is not one address"},
    {"email = @example.org\n", "is not one address"},
    {"email = a@\n", "is not one address"},
    {"webroot = www/html\n", "F:1: webroot: 'www/html' is not an absolute path"},
    {"ca-bundle = ~/ca.pem\n", "F:1: ca-bundle: '~/ca.pem' is not an absolute path"},
    {"notify-mial = a@example.org\n", "F:1: unknown key 'notify-mial'; did you mean 'notify-mail'?"},
    {"keep = 0\n", "F:1: keep: '0' is not a number of versions"},
    {"keep = many\n", "F:1: keep: 'many' is not"},
    {"hook-user = a b\n", "F:1: hook-user: 'a b' is not the name of a user"},
    {"deploy-hook = /bin/a\ndeploy-hook = /bin/a\n", "F:2: deploy-hook: '/bin/a' is there twice"},
    {"export = nonsense\n", "F:1: export: "},
    {"verify = nonsense\n", "F:1: verify: "},
    {"deploy-hook = systemctl reload postfix\n",
     "F:1: deploy-hook: 'systemctl reload postfix' is not the absolute path"},
    {"deploy-hook = /bin/systemctl reload postfix\n",
     "is not the absolute path of one program, without arguments"},
    {"names = example.org https://www.example.org/\n",
     "F:1: names: 'https://www.example.org/' is a URL, not a name"},
    {"names = localhost\n", "F:1: names: 'localhost' "},
    {"names = ,,\n", "F:1: names: ',,' is not a list of names"},
    {"names = ex\xff.org\n", "F:1: names: "},
    {"email = a@example.org\n", "F: 'names' is missing"},
    {"", "F: 'names' is missing"},
    {"names = example.org\nchallenge = webroot\n", "F:2: challenge = webroot needs a 'webroot = /path'"},
    {"names = example.org\nchallenge = webroot\nwebroot = none\n", "F:2: challenge = webroot needs"},
    {"names = example.org\nemail = a\x1b[31m@example.org\n", "F:2: control character 0x1b"},
    {"names = example.org\rserver = letsencrypt\n", "F:1: control character 0x0d"},
    {"\xFF\xFEn\n", "F:1: the file is UTF-16"},
    {"server = letsencrypt letsencrypt\n", "F:1: server: 'letsencrypt' is there twice"},
    {"server = ,\n", "F:1: server: ',' is not a certificate authority"},
    {"account = a b\n", "F:1: account: 'a b' is not a name for an account"},
    {"account = ../x\n", "is not a name for an account"},
    {"challenge = ,\n", "F:1: challenge: ',' is not a way to answer challenges"},
    {"challenge-hook = dns.sh\n", "F:1: challenge-hook: 'dns.sh' is not the absolute path of one program"},
    {"hook-contract = cerbot\n", "F:1: hook-contract: "},
    {"hook-timeout = 0\n", "F:1: hook-timeout: '0' is not a number of seconds from 1 to 86400"},
    {"hook-timeout = 99999999999999999999\n", "is not a number of seconds"},
    {"dns-timeout = 3 minutes\n", "F:1: dns-timeout: '3 minutes' is not"},
    {"timeout = -1\n", "F:1: timeout: '-1' is not"},
    {"dns-servers = ns.example.org\n",
     "F:1: dns-servers: 'ns.example.org' is not the address of a name server"},
    {"dns-servers = 192.0.2.1:0\n", "is not the address"},
    {"dns-servers = 192.0.2.1:65536\n", "is not the address"},
    {"dns-servers = 192.0.2\n", "is not the address"},
    {"dns-servers = [2001:db8::1\n", "is not the address"},
    {"dns-servers = [192.0.2.1]:53\n", "is not the address"},
    {"dns-update-server = 192.0.2.256\n", "F:1: dns-update-server: '192.0.2.256' is not a name server"},
    {"dns-update-server = ns..example\n", "is not a name server"},
    {"dns-update-server = ns.example:dns\n", "is not a name server"},
    {"dns-update-zone = exa mple\n", "F:1: dns-update-zone: 'exa mple' is not the name of a DNS zone"},
    {"key-type = rsa,ecdsa,rsa\n", "F:1: key-type: 'rsa,ecdsa,rsa' is not one key type, or two"},
    {"key = /etc/key.pem\n", "F:1: key: '/etc/key.pem' is not a key on a token"},
    {"profile = short lived\n", "F:1: profile: 'short lived' is not the name of a profile"},
    {"valid-for = 30\n", "F:1: valid-for: '30' is not a time like 30d"},
    {"valid-for = 1y\n", "is not a time like 30d"},
    {"valid-for = 3651d\n", "is not a time like 30d"},
    {"valid-for = d\n", "is not a time like 30d"},
    {"valid-for = 5dd\n", "is not a time like 30d"},
    {"ip-version = 5\n", "F:1: ip-version: '5' is not 4, 6 or any"},
    {"interface = eth 0\n", "F:1: interface: 'eth 0' is not the name of a network interface"},
    {"proxy = ftp://x:1\n", "F:1: proxy: "},
    {"proxy = http://a b:3128\n", "F:1: proxy: a proxy has no white space"},
    {"manual_auth_hook = /x\n", "did you mean 'challenge-hook'?"},
    {"dns-server = 192.0.2.1\n", "did you mean 'dns-servers'?"},
    /* what contradicts itself, with the line that is to be changed */
    {"names = example.org\nchallenge = dns\n",
     "F:2: challenge = dns needs a 'challenge-hook = /path/program' or a 'dns-update-server = ...'"},
    {"names = example.org\nchallenge = http-hook\n",
     "F:2: challenge = http-hook needs a 'challenge-hook = /path/program'"},
    {"names = example.org\nchallenge = http-hook\ndns-update-server = primary\n",
     "F:2: challenge = http-hook needs"},
    {"names = example.org\nchallenge = http-hook\nchallenge-hook = /x\nhook-contract = lego\n",
     "F:2: hook-contract = lego cannot answer challenge = http-hook"},
    {"email = a@example.org\nnames = example.org *.example.org\n", "F:2: *.example.org is a wildcard"},
    {"names = 192.0.2.1\nchallenge = dns\nchallenge-hook = /x\n", "F:1: 192.0.2.1 is an IP address"},
    {"names = example.org\nkey-type = rsa-2048 rsa-4096\n",
     "F:2: two key types are for one RSA and one ECDSA"},
    {"names = example.org\nkey-type = rsa ecdsa\nkey = pkcs11:object=a\n",
     "F:3: the key on a token is one key"},
    {"csr = /r\nkey = pkcs11:object=a\n", "F:1: csr and key exclude each other"},
    {"key-type = rsa ecdsa\ncsr = /r\n", "F:2: a request made elsewhere has one key"},
    {"csr = /r\nreuse-key = yes\n", "F:1: csr and reuse-key exclude each other"},
    {"csr = /r\ninstall = nginx\n", "F:1: a certificate for a request made elsewhere cannot be installed"},
};

static void refuses_with_line_and_remedy(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(refused); i++)
        expect_text(refused[i].text, strlen(refused[i].text), true, refused[i].expected);
}

static void gives_the_advice_of_the_name_check(void **state)
{
    static const char text[] = "names = https://www.example.org/\n";
    struct err err;
    struct cert_config config;
    (void)state;
    assert_false(parse(text, sizeof text - 1, true, &config, &err));
    assert_non_null(strstr(err.advice, "www.example.org"));
    assert_string_equal(err.subject, "F");
    cert_config_clear(&config);
}

static void names_belong_into_certificate_files(void **state)
{
    (void)state;
    expect_text("email = a@example.org\nnames = example.org\n", 42, false,
                "F:2: 'names' belongs into a certificate's own file");
}

static void nul_bytes_and_sizes_are_bounded(void **state)
{
    AUTO_BUF text = BUF_INIT;
    struct err err;
    struct cert_config config;
    (void)state;
    expect_text("names = example.org\nemail = a\0b\n", 32, true, "F:2: a NUL byte");
    expect_text("\0", 1, true, "F:1: a NUL byte");
    /* a comment of the longest accepted line, then one byte more */
    buf_adds(&text, "names = example.org\n");
    for (size_t i = 0; i < CONFIG_LINE_BYTES; i++)
        buf_addc(&text, '#');
    assert_true(parse(text.data, text.len, true, &config, &err));
    cert_config_clear(&config);
    buf_addc(&text, '#');
    expect_text(text.data, text.len, true, "F:2: the line is longer than 65536 bytes");
    while (text.len <= CONFIG_FILE_BYTES)
        buf_adds(&text, "\n# filling filling filling filling filling filling filling");
    expect_text(text.data, text.len, true, "F: the file is longer than 262144 bytes");
}

static void failure_leaves_the_configuration_as_it_was(void **state)
{
    struct err err = ERR_INIT;
    struct cert_config config;
    static const char text[] = "names = example.org\nemail = new@example.org\nredirect = maybe\n";
    (void)state;
    cert_config_init(&config);
    config.email = mem_dup("old@example.org");
    assert_false(config_read_text(text, sizeof text - 1, "F", true, &config, &err));
    assert_string_equal(config.email, "old@example.org");
    assert_int_equal(config.names.n, 0);
    cert_config_clear(&config);
}

static void a_certificate_overrides_defaults(void **state)
{
    static const char defaults_text[] = "email = a@example.org\nwebroot = /srv/www\ndeploy-hook = /bin/hook\n"
                                        "install = nginx\nca-bundle = /etc/ca.pem\n";
    static const char cert_text[] =
        "names = example.org\nemail = none\ninstall = none\nca-bundle = none\nchallenge = web-server\n";
    struct err err = ERR_INIT;
    struct cert_config config;
    (void)state;
    assert_true(parse(defaults_text, sizeof defaults_text - 1, false, &config, &err));
    assert_int_equal(config.challenges[0], CHALLENGE_VIA_WEBROOT); /* implied */
    assert_true(config_read_text(cert_text, sizeof cert_text - 1, "F", true, &config, &err));
    assert_null(config.email);
    assert_null(config.ca_bundle);
    assert_int_equal(config.install, WEB_NONE);
    assert_string_equal(config.deploy_hooks.v[0], "/bin/hook");
    assert_string_equal(config.webroot, "/srv/www");
    assert_int_equal(config.challenges[0], CHALLENGE_VIA_WEB_SERVER);
    cert_config_clear(&config);
}

static void several_of_a_kind(void **state)
{
    static const char defaults_text[] = "deploy-hook = /bin/a\ndeploy-hook = /bin/b\npost-hook = /bin/c\n";
    static const char cert_text[] = "names = example.org\ndeploy-hook = /bin/d\npost-hook = none\n"
                                    "export = fullchain /srv/x.pem\nexport = key /srv/y.pem owner=root\n"
                                    "verify = example.org:465, example.org:25/smtp\nkeep = 12\n";
    struct err err = ERR_INIT;
    struct cert_config config;
    (void)state;
    assert_true(parse(defaults_text, sizeof defaults_text - 1, false, &config, &err));
    assert_list(&config.deploy_hooks, "/bin/a /bin/b");
    assert_int_equal(config.keep, CONFIG_KEEP);
    assert_true(config_read_text(cert_text, sizeof cert_text - 1, "F", true, &config, &err));
    assert_list(&config.deploy_hooks, "/bin/d"); /* its own replace the defaults' */
    assert_int_equal(config.post_hooks.n, 0);
    assert_int_equal(config.exports.n, 2);
    assert_list(&config.verify, "example.org:465 example.org:25/smtp");
    assert_int_equal(config.keep, 12);
    cert_config_clear(&config);
}

static void what_is_about_the_machine(void **state)
{
    static const char text[] = "email = a@example.org\nheartbeat = https://example.org/ping\n";
    struct err err = ERR_INIT;
    struct cert_config config;
    (void)state;
    assert_true(parse(text, sizeof text - 1, false, &config, &err));
    cert_config_clear(&config);
    static const char in_cert[] = "names = example.org\nheartbeat = https://example.org/ping\n";
    assert_false(parse(in_cert, sizeof in_cert - 1, true, &config, &err));
    assert_non_null(strstr(err.text, "F:2: 'heartbeat' is about the whole machine"));
    cert_config_clear(&config);
    err_clear(&err);
    static const char twice[] = "heartbeat = https://a.example/\nheartbeat = https://b.example/\n";
    assert_false(parse(twice, sizeof twice - 1, false, &config, &err));
    assert_non_null(strstr(err.text, "F:2: 'heartbeat' is given a second time"));
    cert_config_clear(&config);
}

static void assert_implied(const char *text, const char *expected)
{
    struct err err;
    struct cert_config config;
    AUTO_FREE char *whole = mem_fmt("names = example.org\n%s", text);
    if (!parse(whole, strlen(whole), true, &config, &err))
        fail_msg("%s", err.text);
    assert_ways(&config, expected);
    cert_config_clear(&config);
}

static void a_key_that_one_way_needs_asks_for_it(void **state)
{
    (void)state;
    assert_implied("webroot = /srv\n", "webroot");
    assert_implied("challenge-hook = /x\n", "dns");
    assert_implied("dns-update-server = primary\n", "dns");
    assert_implied("dns-update-server = primary\nchallenge-hook = /x\nwebroot = /srv\n", "webroot dns");
    assert_implied("webroot = /srv\nchallenge = standalone\n", "standalone");
    assert_implied("challenge-hook = /x\nchallenge = http-hook dns\nhook-contract = uacme\n",
                   "http-hook dns");
    assert_implied("challenge-hook = none\ndns-update-server = none\nwebroot = none\n", "web-server");
}

/* A certificate of a request made elsewhere has the names of the request. */
static void a_request_made_elsewhere_brings_its_names(void **state)
{
    static const char file[] = "csr = /etc/request.pem\n";
    struct err err;
    struct cert_config config, defaults, again = {0};
    AUTO_BUF text = BUF_INIT;
    (void)state;
    assert_true(parse(file, strlen(file), true, &config, &err));
    assert_int_equal(config.names.n, 0);
    assert_string_equal(config.csr, "/etc/request.pem");
    cert_config_init(&defaults);
    cert_config_copy(&again, &defaults);
    config_write_text(&config, &defaults, &text);
    assert_null(strstr(text.data, "names"));
    assert_true(config_read_text(text.data, text.len, "F", true, &again, &err));
    assert_true(cert_config_same(&config, &again));
    cert_config_clear(&config);
    cert_config_clear(&again);
    cert_config_clear(&defaults);
}

static void contradictions_are_told_with_a_way_out(void **state)
{
    struct err err = ERR_INIT;
    struct cert_config config;
    (void)state;
    cert_config_init(&config);
    strlist_split(&config.names, "example.org *.example.org 2001:db8::1", " ");
    assert_false(cert_config_check(&config, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_string_equal(err.subject, "*.example.org");
    assert_non_null(strstr(err.advice, "--challenge-hook PROGRAM"));
    assert_non_null(strstr(err.advice, "--dns-update-server SERVER"));
    err_clear(&err);
    /* a way for each of the names is enough, whatever their order */
    config.challenges[config.n_challenges++] = CHALLENGE_VIA_DNS_PERSIST;
    assert_true(cert_config_check(&config, &err));
    config.challenges[0] = CHALLENGE_VIA_TLS_ALPN;
    assert_true(cert_config_check(&config, &err));
    config.challenges[0] = CHALLENGE_VIA_DNS;
    config.dns_update_server = mem_dup("primary");
    assert_false(cert_config_check(&config, &err));
    assert_string_equal(err.subject, "2001:db8::1");
    assert_non_null(strstr(err.advice, "--challenge dns,web-server"));
    cert_config_clear(&config);
}

static void ways_have_a_type(void **state)
{
    static const enum challenge_type types[CHALLENGE_VIAS] = {
        CHALLENGE_HTTP_01,     CHALLENGE_HTTP_01, CHALLENGE_HTTP_01,        CHALLENGE_HTTP_01,
        CHALLENGE_TLS_ALPN_01, CHALLENGE_DNS_01,  CHALLENGE_DNS_ACCOUNT_01, CHALLENGE_DNS_PERSIST_01};
    (void)state;
    for (enum config_challenge via = 0; via < CHALLENGE_VIAS; via++)
        assert_int_equal(config_challenge_type(via), types[via]);
}

static void times(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } good[] = {{"600", 600},
                {"600s", 600},
                {"90m", 5400},
                {"12h", 43200},
                {"30d", 2592000},
                {"0", 0},
                {"999999999999d", 999999999999 * 86400}};
    static const char *const bad[] = {
        "", "d", "-1", "+1", " 1", "1 ", "1w", "1D", "1h30m", "1.5h", "9999999999999", "0x10"};
    int64_t seconds = 0;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        assert_true(config_duration(good[i].text, &seconds));
        assert_int_equal(seconds, good[i].seconds);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(config_duration(bad[i], &seconds));
}

static void name_servers(void **state)
{
    static const struct {
        const char *text, *out;
        bool host_names;
    } good[] = {
        {"192.0.2.1", "192.0.2.1", false},
        {"192.0.2.1:53", "192.0.2.1#53", false},
        {"192.0.2.1#5353", "192.0.2.1#5353", false},
        {"2001:db8::1", "2001:db8::1", false},
        {"[2001:db8::1]:53", "2001:db8::1#53", false},
        {"[2001:db8::1]#53", "2001:db8::1#53", false},
        {"[2001:db8::1]", "2001:db8::1", false},
        {"2001:DB8:0::1#65535", "2001:db8::1#65535", false},
        {"ns.example.org", "ns.example.org", true},
        {"ns.example.org:5353", "ns.example.org#5353", true},
        {"localhost#1", "localhost#1", true},
        {"::1", "::1", true},
    };
    static const char *const bad[] = {
        "",      ":53",     "#53",        "[]",        "[]:53",          "192.0.2.1:",    "192.0.2.1#",
        "1.2.3", "[::1",    "::1]",       "[::1]53",   "[ns.example]:1", "a b",           "ns.example:99999",
        "-\xff", "ns..org", "192.0.2.1 ", "[::1]:053", "::1%eth0",       "http://1.2.3.4"};
    char out[CONFIG_DNS_SERVER_BYTES], long_name[600];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct err err = ERR_INIT;
        if (!config_dns_server(good[i].text, good[i].host_names, out, &err))
            fail_msg("%s", err.text);
        assert_string_equal(out, good[i].out);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct err err = ERR_INIT;
        if (config_dns_server(bad[i], true, out, &err))
            fail_msg("accepted: '%s' as %s", bad[i], out);
        assert_int_equal(err.code, ERR_CONFIG);
    }
    memset(long_name, 'a', sizeof long_name);
    long_name[599] = '\0';
    struct err err = ERR_INIT;
    assert_false(config_dns_server(long_name, true, out, &err));
}

static void none_takes_a_default_back(void **state)
{
    static const char defaults_text[] =
        "proxy = direct\nprofile = shortlived\npreferred-chain = X\nvalid-for = 30d\nkey = "
        "pkcs11:object=a\naccount = "
        "work\ndns-servers = 192.0.2.1\ninterface = eth0\nip-version = 4\nhook-env = /x\n";
    static const char cert_text[] =
        "names = example.org\nproxy = none\nprofile = none\npreferred-chain = none\nvalid-for = none\nkey = "
        "none\naccount "
        "= default\ndns-servers = none\ninterface = none\nip-version = any\nhook-env = none\n";
    struct err err;
    struct cert_config config, standard;
    (void)state;
    assert_true(parse(defaults_text, sizeof defaults_text - 1, false, &config, &err));
    assert_string_equal(config.proxy, "");
    assert_true(config_read_text(cert_text, sizeof cert_text - 1, "F", true, &config, &err));
    cert_config_init(&standard);
    strlist_add(&standard.names, "example.org");
    assert_null(config.proxy);
    assert_true(cert_config_same(&config, &standard));
    cert_config_clear(&config);
    cert_config_clear(&standard);
}

static void one_key_is_set_as_in_a_file(void **state)
{
    struct err err = ERR_INIT;
    struct cert_config config;
    (void)state;
    cert_config_init(&config);
    assert_true(config_set(&config, "dns-timeout", "2m", &err));
    assert_int_equal(config.dns_timeout_s, 120);
    assert_false(config_set(&config, "dns-timeout", "soon", &err));
    assert_string_equal(err.text, "'soon' is not a number of seconds from 1 to 86400");
    assert_int_equal(config.dns_timeout_s, 120);
    cert_config_clear(&config);
}

/* -- files -------------------------------------------------------------------------------------------- */

static char *put_file(const char *name, const char *text, mode_t mode)
{
    struct err err = ERR_INIT;
    char *path = fs_join(dir, name);
    assert_true(fs_write(path, text, strlen(text), mode, &err));
    return path;
}

static void expect_file_error(const char *path, bool is_cert, enum err_code code, const char *expected)
{
    struct err err = ERR_INIT;
    struct cert_config config;
    cert_config_init(&config);
    assert_false(config_read_file(path, is_cert, &config, &err));
    assert_int_equal(err.code, code);
    if (strstr(err.text, expected) == NULL)
        fail_msg("'%s' does not contain '%s'", err.text, expected);
    assert_string_equal(err.subject, path);
    cert_config_clear(&config);
}

static void reads_a_file_and_names_it_in_errors(void **state)
{
    struct err err = ERR_INIT;
    struct cert_config config;
    (void)state;
    AUTO_FREE char *good = put_file("good.conf", "names = example.org\n", 0644);
    AUTO_FREE char *bad = put_file("bad.conf", "names = example.org\n\nsever = x\n", 0644);
    AUTO_FREE char *expected = mem_fmt("%s:3: unknown key 'sever'; did you mean 'server'?", bad);
    cert_config_init(&config);
    assert_true(config_read_file(good, true, &config, &err));
    cert_config_clear(&config);
    expect_file_error(bad, true, ERR_CONFIG, expected);
}

static void a_very_long_path_keeps_line_and_message(void **state)
{
    struct err err = ERR_INIT;
    struct cert_config config;
    char path[3000];
    (void)state;
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    memcpy(path, "/start/", 7);
    memcpy(path + sizeof path - 6, "/end/", 5);
    cert_config_init(&config);
    assert_false(config_read_text("sever = x", 9, path, true, &config, &err));
    assert_non_null(strstr(err.text, "/end/:1: unknown key 'sever'; did you mean 'server'?"));
    cert_config_clear(&config);
}

static void a_missing_file_is_fine_for_defaults_only(void **state)
{
    struct err err = ERR_INIT;
    struct cert_config config;
    (void)state;
    AUTO_FREE char *path = fs_join(dir, "missing.conf");
    cert_config_init(&config);
    assert_true(config_read_file(path, false, &config, &err));
    cert_config_clear(&config);
    expect_file_error(path, true, ERR_NOT_FOUND, path);
    /* but somebody meant something by a link */
    AUTO_FREE char *link = fs_join(dir, "link.conf");
    assert_int_equal(symlink("nowhere", link), 0);
    expect_file_error(link, false, ERR_CONFIG, "is a symbolic link to nothing");
}

static void things_that_are_not_files(void **state)
{
    (void)state;
    AUTO_FREE char *fifo = fs_join(dir, "fifo.conf");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_file_error(dir, false, ERR_CONFIG, "is a directory, not a file");
    expect_file_error(fifo, false, ERR_CONFIG, "is a device, socket or pipe, not a file");
    expect_file_error("/dev/zero", false, ERR_CONFIG, "is a device, socket or pipe, not a file");
    AUTO_FREE char *file = put_file("plain", "", 0644);
    AUTO_FREE char *below_file = fs_join(file, "tlsup.conf");
    expect_file_error(below_file, false, ERR_NOT_FOUND, "cannot read");
}

static void an_endless_file_is_not_read_to_the_end(void **state)
{
    (void)state;
    AUTO_FREE char *path = put_file("sparse.conf", "names = example.org\n", 0644);
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    expect_file_error(path, true, ERR_CONFIG, "the file is longer than 262144 bytes");
}

static void root_refuses_what_others_could_have_written(void **state)
{
    struct err err = ERR_INIT;
    struct cert_config config;
    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: needs root\n");
        skip();
    }
    AUTO_FREE char *path = put_file("open.conf", "names = example.org\ndeploy-hook = /tmp/evil\n", 0644);
    static const mode_t bad_modes[] = {0664, 0646, 0620, 0602};
    for (size_t i = 0; i < COUNT_OF(bad_modes); i++) {
        assert_int_equal(chmod(path, bad_modes[i]), 0);
        expect_file_error(path, true, ERR_PERMISSION, "can be written by others");
    }
    assert_int_equal(chmod(path, 0644), 0);
    assert_int_equal(chown(path, 65534, 0), 0);
    expect_file_error(path, true, ERR_PERMISSION, "belongs to user 65534");
    /* a link of root's own to it does not help */
    AUTO_FREE char *link = fs_join(dir, "to-open.conf");
    assert_int_equal(symlink("open.conf", link), 0);
    expect_file_error(link, true, ERR_PERMISSION, "belongs to user 65534");
    cert_config_init(&config);
    assert_false(config_read_file(path, true, &config, &err));
    AUTO_FREE char *remedy = mem_fmt("chown root %s", path);
    assert_non_null(strstr(err.advice, remedy));
    cert_config_clear(&config);
}

/* Runs in a child without root: 0 = as expected. */
static int read_as_nobody(const char *unreadable, const char *own)
{
    struct err err = ERR_INIT;
    struct cert_config config;
    if (setgid(65534) != 0 || setuid(65534) != 0)
        return 1;
    cert_config_init(&config);
    bool read = config_read_file(unreadable, true, &config, &err);
    if (read || err.code != ERR_PERMISSION || strstr(err.text, unreadable) == NULL || err.advice[0] == '\0')
        return 2;
    err_clear(&err);
    if (!config_read_file(own, true, &config,
                          &err)) /* its own file, group-writable: their hook, their rights */
        return 3;
    cert_config_clear(&config);
    return 0;
}

static void an_unreadable_file_is_a_permission_error(void **state)
{
    int status = 0;
    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: needs root\n");
        skip();
    }
    AUTO_FREE char *unreadable = put_file("secret.conf", "names = example.org\n", 0600);
    AUTO_FREE char *own = put_file("own.conf", "names = example.org\n", 0664);
    assert_int_equal(chown(own, 65534, 65534), 0);
    assert_int_equal(chmod(dir, 0755), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(read_as_nobody(unreadable, own));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* -- round trip --------------------------------------------------------------------------------------- */

static void assert_same_text(const char *a, const char *b)
{
    if ((a == NULL) != (b == NULL) || (a != NULL && strcmp(a, b) != 0))
        fail_msg("%s is not %s", a != NULL ? a : "(null)", b != NULL ? b : "(null)");
}

static void assert_same_list(const struct strlist *a, const struct strlist *b)
{
    AUTO_FREE char *left = strlist_join(a, " ");
    AUTO_FREE char *right = strlist_join(b, " ");
    assert_string_equal(left, right);
}

static void assert_same_config(const struct cert_config *a, const struct cert_config *b)
{
    assert_int_equal(a->names.n, b->names.n);
    for (size_t i = 0; i < a->names.n; i++)
        assert_string_equal(a->names.v[i], b->names.v[i]);
    assert_same_text(a->server, b->server);
    assert_same_text(a->ca_bundle, b->ca_bundle);
    assert_same_text(a->email, b->email);
    assert_int_equal(a->agree_tos, b->agree_tos);
    assert_int_equal(a->n_challenges, b->n_challenges);
    assert_memory_equal(a->challenges, b->challenges, a->n_challenges * sizeof *a->challenges);
    assert_same_text(a->webroot, b->webroot);
    assert_int_equal(a->key_type, b->key_type);
    assert_int_equal(a->install, b->install);
    assert_int_equal(a->redirect, b->redirect);
    assert_int_equal(a->hsts_s, b->hsts_s);
    assert_int_equal(a->tls_profile, b->tls_profile);
    assert_same_text(a->nginx_conf, b->nginx_conf);
    assert_same_text(a->nginx_bin, b->nginx_bin);
    assert_same_text(a->apache_conf, b->apache_conf);
    assert_same_text(a->apache_ctl, b->apache_ctl);
    assert_same_list(&a->pre_hooks, &b->pre_hooks);
    assert_same_list(&a->deploy_hooks, &b->deploy_hooks);
    assert_same_list(&a->exports, &b->exports);
    assert_same_list(&a->verify, &b->verify);
    assert_same_text(a->hook_user, b->hook_user);
    assert_int_equal(a->deploy_timeout_s, b->deploy_timeout_s);
    assert_int_equal(a->keep, b->keep);
    assert_same_list(&a->fallbacks, &b->fallbacks);
    assert_same_list(&a->dns_servers, &b->dns_servers);
    assert_same_text(a->account, b->account);
    assert_same_text(a->challenge_hook, b->challenge_hook);
    assert_same_text(a->cleanup_hook, b->cleanup_hook);
    assert_int_equal(a->hook_contract, b->hook_contract);
    assert_same_text(a->hook_env, b->hook_env);
    assert_int_equal(a->hook_timeout_s, b->hook_timeout_s);
    assert_same_text(a->dns_update_server, b->dns_update_server);
    assert_same_text(a->dns_update_key, b->dns_update_key);
    assert_same_text(a->dns_update_zone, b->dns_update_zone);
    assert_int_equal(a->dns_timeout_s, b->dns_timeout_s);
    assert_int_equal(a->dns_check, b->dns_check);
    assert_int_equal(a->dual, b->dual);
    if (a->dual)
        assert_int_equal(a->second_key_type, b->second_key_type);
    assert_same_text(a->key, b->key);
    assert_int_equal(a->reuse_key, b->reuse_key);
    assert_same_text(a->csr, b->csr);
    assert_same_text(a->profile, b->profile);
    assert_int_equal(a->profile_required, b->profile_required);
    assert_same_text(a->preferred_chain, b->preferred_chain);
    assert_int_equal(a->valid_for_s, b->valid_for_s);
    assert_int_equal(a->partial, b->partial);
    assert_same_text(a->proxy, b->proxy);
    assert_int_equal(a->ip_version, b->ip_version);
    assert_same_text(a->interface, b->interface);
    assert_int_equal(a->timeout_s, b->timeout_s);
}

/* The keys that need no thought. */
static void build_rest(unsigned bits, struct cert_config *config)
{
    if (bits & 8)
        strlist_split(&config->fallbacks, "https://acme.zerossl.com/v2/DV90 https://ca.example.org/d", " ");
    config->account = bits & 16 ? mem_dup("work") : NULL;
    config->cleanup_hook = bits & 64 ? mem_dup("/usr/local/bin/clean") : NULL;
    config->hook_contract = bits & 16 ? HOOK_TLSUP : HOOK_LEGO;
    config->hook_env = bits & 2 ? mem_dup("/etc/credentials") : NULL;
    config->hook_timeout_s = bits & 1 ? 120 : 7;
    config->dns_update_key = bits & 8 ? mem_dup("/etc/tsig.key") : NULL;
    config->dns_update_zone = bits & 32 ? mem_dup("example.org") : NULL;
    if (bits & 64)
        strlist_split(&config->dns_servers, "192.0.2.1 2001:db8::1#5353", " ");
    config->dns_timeout_s = bits & 2 ? 180 : 86400;
    config->dns_check = bits & 128;
    config->dual = bits & 4 && !(bits & 1);
    if (config->dual) {
        config->key_type = KEY_ECDSA_P384;
        config->second_key_type = KEY_RSA_4096;
    }
    config->key = bits & 1 && bits & 2 ? mem_dup("pkcs11:token=a%20b;object=c;type=private") : NULL;
    config->reuse_key = bits & 32;
    config->profile = bits & 4 ? mem_dup("shortlived") : NULL;
    config->profile_required = bits & 64;
    config->preferred_chain = bits & 16 ? mem_dup("ISRG Root X1") : NULL;
    config->valid_for_s = bits & 8 ? 5400 : bits & 1 ? 30 * 86400 : bits & 2 ? 61 : 0;
    config->partial = bits & 128;
    config->proxy = bits & 2 ? mem_dup(bits & 4 ? "" : "http://u:p@proxy.example:3128") : NULL;
    config->ip_version = bits & 64 ? 4 : bits & 32 ? 6 : 0;
    config->interface = bits & 16 ? mem_dup("eth0.5") : NULL;
    config->timeout_s = bits & 8 ? 120 : 30;
}

/* Both sides of every choice, bit by bit. */
static void build_config(unsigned bits, struct cert_config *config)
{
    cert_config_init(config);
    if (bits & 1) {
        free(config->server);
        config->server = mem_dup(bits & 2 ? CONFIG_STAGING_CA : "https://[::1]:14000/dir");
    }
    config->ca_bundle = bits & 2 ? mem_dup("/etc/ca 1.pem") : NULL;
    config->email = bits & 4 ? mem_dup("a@example.org") : NULL;
    config->agree_tos = bits & 8;
    config->redirect = bits & 16;
    config->hsts_s = bits & 4 ? 0 : bits & 16 ? CONFIG_HSTS_S : 86400;
    config->tls_profile = (enum web_tls_profile)(bits % 3);
    config->nginx_conf = bits & 2 ? mem_dup("/srv/n x.conf") : NULL;
    config->apache_ctl = bits & 4 ? mem_dup("/opt/apachectl") : NULL;
    config->install = bits & 32 ? WEB_NGINX : bits & 8 ? WEB_APACHE : WEB_NONE;
    config->key_type = (enum key_type)(bits % 5);
    config->webroot = bits & 64 ? mem_dup("/srv/w=w w") : NULL;
    config->challenge_hook = bits & 32 ? mem_dup("/usr/local/bin/dns") : NULL;
    config->dns_update_server = bits & 4 ? mem_dup(bits & 8 ? "primary" : "[2001:db8::53]:5353") : NULL;
    config->n_challenges = 0;
    if (config->challenge_hook != NULL || config->dns_update_server != NULL)
        config->challenges[config->n_challenges++] = bits & 1 ? CHALLENGE_VIA_DNS : CHALLENGE_VIA_DNS_ACCOUNT;
    else
        config->challenges[config->n_challenges++] = CHALLENGE_VIA_DNS_PERSIST;
    if (bits & 2)
        config->challenges[config->n_challenges++] = CHALLENGE_VIA_TLS_ALPN;
    config->challenges[config->n_challenges++] =
        config->webroot != NULL ? CHALLENGE_VIA_WEBROOT : CHALLENGE_VIA_STANDALONE;
    if (bits & 128)
        strlist_add(&config->deploy_hooks, "/usr/local/bin/hook");
    if (bits & 64)
        strlist_add(&config->deploy_hooks, "/usr/local/bin/second");
    if (bits & 2)
        strlist_add(&config->exports, "combined /etc/haproxy/x.pem owner=root mode=0640");
    if (bits & 1)
        strlist_add(&config->verify, "mail.example.org:465");
    config->hook_user = bits & 16 ? mem_dup("nobody") : NULL;
    config->keep = bits & 32 ? 9 : CONFIG_KEEP;
    build_rest(bits, config);
}

static void what_is_written_reads_back(void **state)
{
    (void)state;
    for (unsigned defaults_bits = 0; defaults_bits < 256; defaults_bits += 5)
        for (unsigned bits = 0; bits < 256; bits++) {
            struct err err = ERR_INIT;
            struct cert_config defaults, config, again = {0};
            AUTO_BUF text = BUF_INIT;
            build_config(defaults_bits, &defaults);
            build_config(bits, &config);
            strlist_split(&config.names, "example.org *.example.org xn--bcher-kva.example 2001:db8::1", " ");
            cert_config_copy(&again, &defaults);
            config_write_text(&config, &defaults, &text);
            if (!config_read_text(text.data, text.len, "F", true, &again, &err))
                fail_msg("%s in:\n%s", err.text, text.data);
            assert_same_config(&config, &again);
            cert_config_clear(&defaults);
            cert_config_clear(&config);
            cert_config_clear(&again);
        }
}

static void only_differences_are_written(void **state)
{
    struct cert_config defaults, config = {0};
    AUTO_BUF text = BUF_INIT;
    (void)state;
    build_config(255, &defaults);
    cert_config_copy(&config, &defaults);
    strlist_add(&config.names, "example.org");
    config.redirect = false;
    config_write_text(&config, &defaults, &text);
    assert_int_equal(text.data[0], '#');
    assert_string_equal(strchr(text.data, '\n') + 1, "names = example.org\nredirect = no\n");
    cert_config_clear(&defaults);
    cert_config_clear(&config);
}

/* -- names and CAs ------------------------------------------------------------------------------------ */

static void certificate_names(void **state)
{
    static const struct {
        const char *first_name, *name;
    } cases[] = {
        {"example.org", "example.org"},
        {"*.example.org", "_wildcard.example.org"},
        {"2001:db8::1", "2001_db8__1"},
        {"::1", "__1"},
        {"192.0.2.1", "192.0.2.1"},
        {"../../etc/passwd", "_._.._etc_passwd"},
        {"-rf", "_rf"},
        {"", "_"},
        {"a\nb", "a_b"},
    };
    char name[256], first[254], second[254];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        config_cert_name_for(cases[i].first_name, name);
        assert_true(config_cert_name_valid(name));
        assert_string_equal(name, cases[i].name);
        assert_null(strchr(name, '/'));
    }
    memset(first, 'a', sizeof first);
    first[253] = '\0';
    memcpy(second, first, sizeof second);
    second[252] = 'b';
    char other[256];
    config_cert_name_for(first, name);
    config_cert_name_for(second, other);
    assert_true(config_cert_name_valid(name));
    assert_true(config_cert_name_valid(other));
    assert_string_not_equal(name, other);
}

static void certificate_names_that_are_no_file_names(void **state)
{
    static const char *const bad[] = {"",    ".",   "..",       ".hidden", "-x", "a/b",
                                      "a b", "a\n", "\xc3\xa4", "a:b",     "*"};
    char longest[202];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(config_cert_name_valid(bad[i]));
    assert_true(config_cert_name_valid("Ab9._@-"));
    memset(longest, 'a', sizeof longest);
    longest[201] = '\0';
    assert_false(config_cert_name_valid(longest));
    longest[200] = '\0';
    assert_true(config_cert_name_valid(longest));
}

static void authorities(void **state)
{
    static const char *const good[] = {"https://ca.example.org",      "https://ca.example.org/",
                                       "https://127.0.0.1:14000/dir", "https://[2001:db8::1]:8443/d",
                                       "https://[::1]/d?x=1",         "https://localhost:1/dir"};
    static const char *const bad[] = {"",
                                      "https://",
                                      "https:///dir",
                                      "http://ca.example.org/",
                                      "HTTPS://ca.example.org/",
                                      "ftp://x/",
                                      "https://u@h/",
                                      "https://u:p@h/",
                                      "https://h:0/",
                                      "https://h:65536/",
                                      "https://h:/",
                                      "https://h:1x/",
                                      "https://h/#f",
                                      "https://h/a b",
                                      "https://h/\n",
                                      "https://[::1",
                                      "https://[]/",
                                      "https://[::1]x/",
                                      "https://h\xc3\xa4/",
                                      "letsencrypt ",
                                      "Letsencrypt",
                                      "https://h:123456/",
                                      "https://h%2fx/"};
    const char *url = NULL;
    char name[256], too_long[600];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct err err = ERR_INIT;
        assert_true(config_ca_url(good[i], &url, &err));
        assert_string_equal(url, good[i]);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct err err = ERR_INIT;
        if (config_ca_url(bad[i], &url, &err))
            fail_msg("accepted: '%s'", bad[i]);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_non_null(strstr(err.text, "letsencrypt-staging"));
    }
    memset(too_long, 'a', sizeof too_long);
    memcpy(too_long, "https://", 8);
    struct err err = ERR_INIT;
    too_long[512] = '\0';
    assert_false(config_ca_url(too_long, &url, &err));
    err_clear(&err);
    too_long[511] = '\0';
    assert_true(config_ca_url(too_long, &url, &err));
    assert_int_equal(strlen(config_ca_name(too_long, name)), 255);
    assert_string_equal(config_ca_name(CONFIG_DEFAULT_CA, name), "letsencrypt");
    assert_string_equal(config_ca_name(CONFIG_STAGING_CA, name), "letsencrypt-staging");
    assert_string_equal(config_ca_name("https://ca.example.org:8443/dir", name), "ca.example.org:8443");
    assert_string_equal(config_ca_name("https://[2001:db8::1]:8443/d", name), "[2001:db8::1]:8443");
    assert_string_equal(config_ca_name("https://../..", name), "..");
}

static void directories_of_authorities(void **state)
{
    static const char *const urls[] = {
        CONFIG_DEFAULT_CA,
        CONFIG_STAGING_CA,
        "https://h/a/b",
        "https://h/a_b",
        "https://h_a/b",
        "https://h:a/b",
        "https://h/a//b",
        "https://h//a/b",
        "https://h/a/b/",
        "https://h/a/b//",
        "https://h/a?b",
        "https://h/a/../b",
        "https://../../../etc",
        "https://.h/",
        "https://-h/",
        "https://h/A/b",
        "http://h/a/b",
        "h/a/b",
        "",
        "https://localhost:14000/dir",
        "https://localhost/14000/dir",
        "https://[::1]:14000/dir",
        "https://h/"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1",
        "https://h/"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2",
    };
    char names[COUNT_OF(urls)][256], again[256];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        config_ca_dir_name(urls[i], names[i]);
        assert_string_equal(config_ca_dir_name(urls[i], again), names[i]); /* stable */
        assert_true(strlen(names[i]) > 0 && strlen(names[i]) < 150);
        assert_null(strstr(names[i], ".."));
        assert_int_not_equal(names[i][0], '.');
        for (const char *c = names[i]; *c != '\0'; c++)
            assert_non_null(strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *c));
        for (size_t k = 0; k < i; k++)
            if (strcmp(names[i], names[k]) == 0)
                fail_msg("%s and %s are both %s", urls[i], urls[k], names[i]);
    }
    assert_string_equal(names[0], "acme-v02.api.letsencrypt.org_directory");
    assert_string_equal(names[1], "acme-staging-v02.api.letsencrypt.org_directory");
    assert_memory_equal(names[19], "localhost_14000_dir__", 21);
    /* nobody can choose a URL that reads like the hashed name of another */
    config_ca_dir_name("https://h_a", again);
    AUTO_FREE char *imitation = mem_fmt("https://h/a//%s", again + 5);
    AUTO_FREE char *hashed = mem_dup(again);
    assert_string_not_equal(config_ca_dir_name(imitation, again), hashed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_key),
        cmocka_unit_test(has_safe_defaults),
        cmocka_unit_test(tolerates_windows_editors),
        cmocka_unit_test(refuses_with_line_and_remedy),
        cmocka_unit_test(gives_the_advice_of_the_name_check),
        cmocka_unit_test(names_belong_into_certificate_files),
        cmocka_unit_test(nul_bytes_and_sizes_are_bounded),
        cmocka_unit_test(failure_leaves_the_configuration_as_it_was),
        cmocka_unit_test(a_certificate_overrides_defaults),
        cmocka_unit_test(several_of_a_kind),
        cmocka_unit_test(what_is_about_the_machine),
        cmocka_unit_test(a_key_that_one_way_needs_asks_for_it),
        cmocka_unit_test(a_request_made_elsewhere_brings_its_names),
        cmocka_unit_test(contradictions_are_told_with_a_way_out),
        cmocka_unit_test(ways_have_a_type),
        cmocka_unit_test(times),
        cmocka_unit_test(name_servers),
        cmocka_unit_test(none_takes_a_default_back),
        cmocka_unit_test(one_key_is_set_as_in_a_file),
        cmocka_unit_test_setup_teardown(reads_a_file_and_names_it_in_errors, make_dir, remove_dir),
        cmocka_unit_test(a_very_long_path_keeps_line_and_message),
        cmocka_unit_test_setup_teardown(a_missing_file_is_fine_for_defaults_only, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(things_that_are_not_files, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(an_endless_file_is_not_read_to_the_end, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(root_refuses_what_others_could_have_written, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(an_unreadable_file_is_a_permission_error, make_dir, remove_dir),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(only_differences_are_written),
        cmocka_unit_test(certificate_names),
        cmocka_unit_test(certificate_names_that_are_no_file_names),
        cmocka_unit_test(authorities),
        cmocka_unit_test(directories_of_authorities),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
