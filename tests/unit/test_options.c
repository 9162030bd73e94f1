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
        for (char *c = words.v[i]; *c != '\0'; c++)
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

static void write_file(const char *path, mode_t mode)
{
    struct err err = ERR_INIT;
    if (!fs_write(path, "#!/bin/true\n", 12, mode, &err))
        fail_msg("%s", err.text);
}

static void test_hooks_and_bundles_must_be_there(void **state)
{
    struct request request;
    (void)state;
    write_file("hook", 0755);
    write_file("text", 0644);
    AUTO_FREE char *hook = fs_join(root, "hook"), *text = fs_join(root, "text");
    assert_parses("issue example.org --deploy-hook hook --ca-bundle ./text", &request);
    assert_string_equal(request.deploy_hook, hook);
    assert_string_equal(request.ca_bundle, text);
    request_clear(&request);
    assert_refused("issue example.org --deploy-hook text", "not an executable", "chmod +x");
    assert_refused("issue example.org --deploy-hook systemctl_reload_postfix", "not a command line",
                   "script");
    assert_refused("issue example.org --deploy-hook nowhere", "cannot find", "");
    assert_refused("issue example.org --ca-bundle nowhere", "cannot read", "");
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
    for (enum command on = COMMAND_NONE; on < COMMAND_HELP; on++) {
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
        {"status --standalone", "belongs to enable and issue", "status --help"},
        {"renew --server letsencrypt", "no option --server", "renew --help"},
        {"renew --redirect", "belongs to enable and install", "renew --help"},
        {"issue example.org --redirect", "no option --redirect", "issue --help"},
        {"enable example.org --json", "belongs to status, account show and account list", "enable --help"},
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
        cmocka_unit_test(test_clusters_and_the_end_of_options),
        cmocka_unit_test(test_quiet_and_debug),
        cmocka_unit_test(test_key_types_of_ours_and_of_certbot),
        cmocka_unit_test(test_certificate_authorities),
        cmocka_unit_test(test_challenges),
        cmocka_unit_test(test_hooks_and_bundles_must_be_there),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_asking_for_help),
        cmocka_unit_test(test_help_pages_are_whole),
        cmocka_unit_test(test_mistakes_are_answered_with_the_way_out),
        cmocka_unit_test(test_long_and_hostile_words),
    };
    return cmocka_run_group_tests(tests, setup_group, teardown_group);
}
