/*
 * test_hook.c - scripts as users of other clients have written them run as they are, and credentials stay
 * secret.
 *
 * The scripts are in tests/fixtures/hooks; they are really run. Those of acme.sh's kind talk to a small HTTP
 * server on the loopback interface.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/dns_record.h"
#include "tlsup/fs.h"
#include "tlsup/hook.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

#define KEY_AUTHORIZATION "tok-en_1.NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"

static char root[] = "/tmp/tlsup-hook-XXXXXX";
static char source_dir[4096];
static char *out_path, *zone_path, *webroot;
static char value[DNS_VALUE_BYTES];
static struct strlist names;
static struct err err;
static struct spawn_result result;

static int setup(void **state)
{
    (void)state;
    struct err none = ERR_INIT;
    err_clear(&err);
    result = (struct spawn_result){0};
    return fs_remove(out_path, &none) && fs_remove(zone_path, &none) && fs_remove_tree(webroot, &none) &&
                   fs_mkdirs(webroot, 0755, &none)
               ? 0
               : -1;
}

static int teardown(void **state)
{
    (void)state;
    spawn_result_clear(&result);
    return 0;
}

static char *fixture(const char *name)
{
    return mem_fmt("%s/tests/fixtures/hooks/%s", source_dir, name);
}

static char *read_text(const char *path)
{
    AUTO_BUF text = BUF_INIT;
    struct err none = ERR_INIT;
    if (!fs_read(path, 1 << 20, &text, &none))
        return mem_dup("");
    buf_addc(&text, '\0');
    return buf_take(&text);
}

static void write_text(const char *path, const char *text, mode_t mode)
{
    assert_true(fs_write(path, text, strlen(text), mode, &err));
}

static bool file_has(const char *path, const char *part)
{
    AUTO_FREE char *text = read_text(path);
    return strstr(text, part) != NULL;
}

/* -- what each contract takes ---------------------------------------------------------------------------- */

static void test_names(void **state)
{
    (void)state;
    static const char *const known[] = {"tlsup", "certbot",  "dehydrated", "uacme",
                                        "lego",  "lego-raw", "acme.sh"};
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        enum hook_contract contract = HOOK_CONTRACTS;
        assert_true(hook_contract_parse(known[i], &contract, &err));
        assert_int_equal(contract, i);
        assert_string_equal(hook_contract_name(contract), known[i]);
    }
    static const char *const unknown[] = {"", "Certbot", "lego ", "acme", "getssl"};
    for (size_t i = 0; i < COUNT_OF(unknown); i++) {
        enum hook_contract contract = HOOK_LEGO;
        err_clear(&err);
        assert_false(hook_contract_parse(unknown[i], &contract, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        assert_non_null(strstr(err.advice, "lego-raw"));
        assert_int_equal(contract, HOOK_LEGO);
    }
    assert_string_equal(hook_contract_name((enum hook_contract)99), "unknown");
}

static void test_takes(void **state)
{
    (void)state;
    static const char *const takes[HOOK_CONTRACTS] = {
        /* by challenge_type: unknown, http-01, tls-alpn-01, dns-01, dns-account-01, dns-persist-01 */
        [HOOK_TLSUP] = "-xxxx-",   [HOOK_CERTBOT] = "-x-x--", [HOOK_DEHYDRATED] = "-x-x--",
        [HOOK_UACME] = "-xxx--",   [HOOK_LEGO] = "---xx-",    [HOOK_LEGO_RAW] = "---x--",
        [HOOK_ACME_SH] = "---xx-",
    };
    for (int c = 0; c < HOOK_CONTRACTS; c++)
        for (int t = 0; t < CHALLENGE_TYPES; t++)
            if (hook_contract_takes((enum hook_contract)c, (enum challenge_type)t) != (takes[c][t] == 'x'))
                fail_msg("%s, type %d", hook_contract_name((enum hook_contract)c), t);
    assert_false(hook_contract_takes((enum hook_contract)99, CHALLENGE_DNS_01));
    assert_false(hook_contract_takes(HOOK_TLSUP, (enum challenge_type)33));
}

/* -- scripts run as they are ----------------------------------------------------------------------------- */

static struct hook_job job_for(enum hook_contract contract, const char *program, enum challenge_type type)
{
    return (struct hook_job){
        .contract = contract,
        .program = program,
        .cert_name = "example.org",
        .all_names = &names,
        .type = type,
        .name = type == CHALLENGE_DNS_01 ? "*.example.org" : "example.org",
        .record = type == CHALLENGE_DNS_01 ? "_acme-challenge.example.org" : "",
        .token = "tok-en_1",
        .key_authorization = KEY_AUTHORIZATION,
        .remaining = 2,
        .present_output = "",
    };
}

/* Run it as the keeper does, with the environment's additions; the exit status. */
static int run_with(enum hook_act act, const struct hook_job *job, const char *const *settings)
{
    struct hook_command command;
    hook_command_make(act, job, &command);
    assert_true(command.argv.n > 0);
    for (size_t i = 0; settings[i] != NULL; i++)
        strlist_add(&command.env, settings[i]);
    const char **argv = mem_array(command.argv.n + 1, sizeof *argv),
               **env = mem_array(command.env.n + 1, sizeof *env);
    memcpy(argv, command.argv.v, command.argv.n * sizeof *argv);
    memcpy(env, command.env.v, command.env.n * sizeof *env);
    const struct spawn_options options = {.timeout_ms = 60000, .env = env};
    spawn_result_clear(&result);
    if (!spawn_run(argv, &options, &result, &err))
        fail_msg("%s", err.text);
    assert_false(result.timed_out);
    free(argv);
    free(env);
    hook_command_clear(&command);
    return result.status;
}

static int run(enum hook_act act, const struct hook_job *job)
{
    AUTO_FREE char *out = mem_fmt("OUT=%s", out_path), *zone = mem_fmt("ZONE=%s", zone_path),
                   *www = mem_fmt("WEBROOT=%s", webroot);
    const char *const settings[] = {out, zone, www, NULL};
    return run_with(act, job, settings);
}

static void test_own_contract(void **state)
{
    (void)state;
    AUTO_FREE char *program = fixture("tlsup-hook");
    struct hook_job job = job_for(HOOK_TLSUP, program, CHALLENGE_DNS_01);
    assert_int_equal(run(HOOK_PRESENT, &job), 0);
    AUTO_FREE char *line = mem_fmt("_acme-challenge.example.org %s\n", value);
    AUTO_FREE char *zone = read_text(zone_path);
    assert_string_equal(zone, line);
    assert_string_equal(buf_str(&result.output), "id-4711\n");
    AUTO_FREE char *seen = read_text(out_path);
    AUTO_FREE char *wanted =
        mem_fmt("TLSUP_ACT=present\nTLSUP_CERT=example.org\nTLSUP_DOMAIN=example.org\nTLSUP_FAILED=\n"
                "TLSUP_KEY_AUTHORIZATION=" KEY_AUTHORIZATION "\nTLSUP_NAME=*.example.org\n"
                "TLSUP_NAMES=example.org *.example.org www.example.org\nTLSUP_OUTPUT=\n"
                "TLSUP_RECORD=_acme-challenge.example.org\nTLSUP_REMAINING=2\nTLSUP_TOKEN=tok-en_1\n"
                "TLSUP_TYPE=dns-01\nTLSUP_VALUE=%s\n",
                value);
    assert_string_equal(seen, wanted);
    job.present_output = "id-4711";
    job.failed = true;
    assert_int_equal(run(HOOK_CLEANUP, &job), 0);
    assert_false(fs_exists(zone_path));
    assert_true(file_has(out_path, "TLSUP_ACT=cleanup\n"));
    assert_true(file_has(out_path, "TLSUP_FAILED=1\n"));
    assert_true(file_has(out_path, "TLSUP_OUTPUT=id-4711\n"));
    job.failed = false;
    assert_int_equal(run(HOOK_CLEANUP, &job), 0);
    assert_true(file_has(out_path, "TLSUP_FAILED=0\n"));
    job = job_for(HOOK_TLSUP, program, CHALLENGE_HTTP_01);
    assert_int_equal(run(HOOK_PRESENT, &job), 3); /* "not this one" */
}

static void test_own_contract_values(void **state)
{
    (void)state;
    const struct {
        enum challenge_type type;
        const char *value;
    } rows[] = {{CHALLENGE_HTTP_01, KEY_AUTHORIZATION},
                {CHALLENGE_TLS_ALPN_01, value},
                {CHALLENGE_DNS_01, value},
                {CHALLENGE_DNS_ACCOUNT_01, value}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct hook_command command;
        struct hook_job job = job_for(HOOK_TLSUP, "/bin/true", rows[i].type);
        AUTO_FREE char *wanted = mem_fmt("TLSUP_VALUE=%s", rows[i].value);
        AUTO_FREE char *type = mem_fmt("TLSUP_TYPE=%s", challenge_type_name(rows[i].type));
        hook_command_make(HOOK_PRESENT, &job, &command);
        assert_true(strlist_has(&command.env, wanted));
        assert_true(strlist_has(&command.env, type));
        hook_command_clear(&command);
    }
}

static void test_certbot_dns(void **state)
{
    (void)state;
    AUTO_FREE char *program = fixture("certbot-auth"), *cleanup = fixture("certbot-cleanup");
    struct hook_job job = job_for(HOOK_CERTBOT, program, CHALLENGE_DNS_01);
    job.cleanup_program = cleanup;
    assert_int_equal(run(HOOK_PRESENT, &job), 0);
    AUTO_FREE char *zone = read_text(zone_path);
    AUTO_FREE char *record = mem_fmt("_acme-challenge.example.org. TXT %s\n", value);
    assert_string_equal(zone, record);
    AUTO_FREE char *seen = read_text(out_path);
    AUTO_FREE char *wanted = mem_fmt(
        "CERTBOT_ALL_DOMAINS=example.org,example.org,www.example.org\n"
        "CERTBOT_ALL_IDENTIFIERS=example.org,example.org,www.example.org\nCERTBOT_DOMAIN=example.org\n"
        "CERTBOT_IDENTIFIER=example.org\nCERTBOT_REMAINING_CHALLENGES=2\nCERTBOT_VALIDATION=%s\n",
        value);
    assert_string_equal(seen, wanted);
    job.present_output = "record-17";
    assert_int_equal(run(HOOK_CLEANUP, &job), 0);
    assert_false(fs_exists(zone_path));
    job.present_output = "record-18";
    assert_int_equal(run(HOOK_CLEANUP, &job), 1);
    assert_string_equal(buf_str(&result.output), "not my record: record-18\n");
}

static void test_certbot_http(void **state)
{
    (void)state;
    AUTO_FREE char *program = fixture("certbot-auth");
    AUTO_FREE char *answer = mem_fmt("%s/.well-known/acme-challenge/tok-en_1", webroot);
    struct hook_job job = job_for(HOOK_CERTBOT, program, CHALLENGE_HTTP_01);
    assert_int_equal(run(HOOK_PRESENT, &job), 0);
    AUTO_FREE char *text = read_text(answer);
    assert_string_equal(text, KEY_AUTHORIZATION);
    struct hook_command nothing;
    hook_command_make(HOOK_CLEANUP, &job, &nothing); /* no clean-up program: nothing is to be run */
    assert_int_equal(nothing.argv.n, 0);
    hook_command_clear(&nothing);
}

static void test_dehydrated(void **state)
{
    (void)state;
    AUTO_FREE char *program = fixture("dehydrated-hook");
    struct hook_job job = job_for(HOOK_DEHYDRATED, program, CHALLENGE_DNS_01);
    assert_int_equal(run(HOOK_PRESENT, &job), 0);
    assert_int_equal(run(HOOK_CLEANUP, &job), 0);
    job = job_for(HOOK_DEHYDRATED, program, CHALLENGE_HTTP_01);
    assert_int_equal(run(HOOK_PRESENT, &job), 0);
    AUTO_FREE char *seen = read_text(out_path);
    AUTO_FREE char *wanted = mem_fmt("add _acme-challenge.example.org tok-en_1 %s\n"
                                     "delete _acme-challenge.example.org tok-en_1 %s\n"
                                     "add _acme-challenge.example.org tok-en_1 " KEY_AUTHORIZATION "\n",
                                     value, value);
    assert_string_equal(seen, wanted);
}

static void test_uacme(void **state)
{
    (void)state;
    AUTO_FREE char *program = fixture("uacme-hook"), *answer = fs_join(webroot, "tok-en_1");
    struct hook_job job = job_for(HOOK_UACME, program, CHALLENGE_HTTP_01);
    assert_int_equal(run(HOOK_PRESENT, &job), 0);
    AUTO_FREE char *text = read_text(answer);
    assert_string_equal(text, KEY_AUTHORIZATION);
    assert_int_equal(run(HOOK_CLEANUP, &job), 0);
    assert_false(fs_exists(answer));
    assert_int_equal(run(HOOK_PRESENT, &job), 0);
    job.failed = true;
    assert_int_equal(run(HOOK_CLEANUP, &job), 0);
    AUTO_FREE char *seen = read_text(out_path);
    assert_string_equal(seen, "done example.org\nfailed example.org\n");
    job = job_for(HOOK_UACME, program, CHALLENGE_DNS_01);
    assert_int_equal(run(HOOK_PRESENT, &job), 1); /* declined */
    job = job_for(HOOK_UACME, "/bin/echo", CHALLENGE_DNS_01);
    assert_int_equal(run(HOOK_PRESENT, &job), 0);
    AUTO_FREE char *said = mem_fmt("begin dns-01 example.org tok-en_1 %s\n", value);
    assert_string_equal(buf_str(&result.output), said);
}

static void test_lego(void **state)
{
    (void)state;
    AUTO_FREE char *program = fixture("lego-exec");
    struct hook_job job = job_for(HOOK_LEGO, program, CHALLENGE_DNS_01);
    job.record = "x1.acme-dns.example"; /* the target of a CNAME */
    assert_int_equal(run(HOOK_PRESENT, &job), 0);
    assert_int_equal(run(HOOK_CLEANUP, &job), 0);
    job.contract = HOOK_LEGO_RAW;
    assert_int_equal(run(HOOK_PRESENT, &job), 0);
    assert_int_equal(run(HOOK_CLEANUP, &job), 0);
    AUTO_FREE char *seen = read_text(out_path);
    AUTO_FREE char *wanted = mem_fmt("update add x1.acme-dns.example. 60 TXT \"%s\"\n"
                                     "update delete x1.acme-dns.example. TXT \"%s\"\n"
                                     "raw present example.org tok-en_1 " KEY_AUTHORIZATION "\n"
                                     "raw cleanup example.org tok-en_1 " KEY_AUTHORIZATION "\n",
                                     value, value);
    assert_string_equal(seen, wanted);
}

/* Whatever stands in a name or a program's output stays one argument, one variable. */
static void test_no_shell_between(void **state)
{
    (void)state;
    struct hook_job job = job_for(HOOK_DEHYDRATED, "/bin/echo", CHALLENGE_DNS_01);
    job.token = "$(id) `id` ; id\n";
    assert_int_equal(run(HOOK_PRESENT, &job), 0);
    AUTO_FREE char *said = mem_fmt("deploy_challenge example.org $(id) `id` ; id\n %s\n", value);
    assert_string_equal(buf_str(&result.output), said);
    struct hook_command command;
    job.contract = HOOK_TLSUP;
    job.present_output = "a\nTLSUP_VALUE=other";
    hook_command_make(HOOK_CLEANUP, &job, &command);
    assert_false(strlist_has(&command.env, "TLSUP_VALUE=other"));
    assert_true(strlist_has(&command.env, "TLSUP_OUTPUT=a\nTLSUP_VALUE=other"));
    hook_command_clear(&command);
}

/* -- credentials ----------------------------------------------------------------------------------------- */

static bool env_of(const char *text, mode_t mode, struct strlist *env)
{
    AUTO_FREE char *path = fs_join(root, "credentials");
    write_text(path, text, mode);
    err_clear(&err);
    return hook_env_read(path, env, &err);
}

static void test_env_file(void **state)
{
    (void)state;
    AUTO_STRLIST env = STRLIST_INIT;
    strlist_add(&env, "KEPT=1");
    strlist_add(&env, "REPLACED=old");
    assert_true(env_of("# a comment\n"
                       "\n"
                       "  \t\n"
                       "CF_Token=abc-123_def\n"
                       "export CF_Email=me@example.org  \n"
                       "  export\tINDENTED='single \"quoted\" $HOME `id`'\n"
                       "QUOTED=\"with = and # and 'x'\"\n"
                       "EMPTY=\n"
                       "EMPTY2=\"\"\n"
                       "BLANKS=two words # no comment\n"
                       "DOS=line\r\n"
                       "exported=1\n"
                       "export2=2\n"
                       "REPLACED=new\n"
                       "TWICE=1\n"
                       "TWICE=2\n"
                       "_x9=\xc3\xbc\n"
                       "LAST=no newline",
                       0600, &env));
    static const char *const wanted[] = {"KEPT=1",
                                         "REPLACED=new",
                                         "CF_Token=abc-123_def",
                                         "CF_Email=me@example.org",
                                         "INDENTED=single \"quoted\" $HOME `id`",
                                         "QUOTED=with = and # and 'x'",
                                         "EMPTY=",
                                         "EMPTY2=",
                                         "BLANKS=two words # no comment",
                                         "DOS=line",
                                         "exported=1",
                                         "export2=2",
                                         "TWICE=2",
                                         "_x9=\xc3\xbc",
                                         "LAST=no newline"};
    for (size_t i = 0; i < COUNT_OF(wanted); i++)
        if (i >= env.n || strcmp(env.v[i], wanted[i]) != 0)
            fail_msg("%zu: %s instead of %s", i, i < env.n ? env.v[i] : "nothing", wanted[i]);
    assert_int_equal(env.n, COUNT_OF(wanted));
    assert_true(env_of("", 0600, &env));
    assert_int_equal(env.n, COUNT_OF(wanted));
}

static void test_env_file_bad_lines(void **state)
{
    (void)state;
    static const struct {
        const char *line;
    } rows[] = {{"secretvalue"},
                {"=secretvalue"},
                {"A B=secretvalue"},
                {"9A=secretvalue"},
                {"A =secretvalue"},
                {"A-B=secretvalue"},
                {"export"},
                {"export secretvalue"},
                {"A=\"secretvalue"},
                {"A='secretvalue"},
                {"A=\"secret\"value"},
                {"A='secret' # value"},
                {"A='it''s secretvalue'"},
                {"source secretvalue"},
                {"\xef\xbb\xbf"
                 "A=secretvalue"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_STRLIST env = STRLIST_INIT;
        AUTO_FREE char *text = mem_fmt("GOOD=1\n\n%s\nALSO=2\n", rows[i].line);
        if (env_of(text, 0600, &env))
            fail_msg("taken: %s", rows[i].line);
        assert_int_equal(err.code, ERR_CONFIG);
        assert_non_null(strstr(err.text, "line 3"));
        assert_null(strstr(err.text, "secret")); /* the value is nobody's business */
        assert_null(strstr(err.advice, "secretvalue"));
        assert_int_equal(env.n, 0);
    }
}

static void test_env_file_that_is_none(void **state)
{
    (void)state;
    AUTO_STRLIST env = STRLIST_INIT;
    AUTO_FREE char *path = fs_join(root, "credentials"), *big = mem_alloc(70001);
    assert_true(fs_write(path, "A=1\0B=2\n", 8, 0600, &err));
    assert_false(hook_env_read(path, &env, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    memset(big, '#', 70000);
    assert_false(env_of(big, 0600, &env));
    assert_int_equal(err.code, ERR_CONFIG);
    static const struct {
        const char *path;
        enum err_code code;
    } rows[] = {{"/no/such/file", ERR_NOT_FOUND}, {"/dev/null", ERR_PERMISSION}, {"/tmp", ERR_PERMISSION}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        err_clear(&err);
        assert_false(hook_env_read(rows[i].path, &env, &err));
        assert_int_equal(err.code, rows[i].code);
    }
    assert_int_equal(env.n, 0);
}

static void test_env_file_modes(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        bool fine;
    } rows[] = {{0600, true},  {0400, true},  {0640, true},  {0440, true},  {0700, true}, {0644, false},
                {0604, false}, {0660, false}, {0620, false}, {0602, false}, {0666, false}};
    AUTO_FREE char *path = fs_join(root, "credentials");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_STRLIST env = STRLIST_INIT;
        write_text(path, "A=1\n", 0600);
        assert_int_equal(chmod(path, rows[i].mode), 0);
        err_clear(&err);
        if (hook_env_read(path, &env, &err) != rows[i].fine)
            fail_msg("mode %o: %s", (unsigned)rows[i].mode, err.text);
        if (!rows[i].fine) {
            assert_int_equal(err.code, ERR_PERMISSION);
            assert_non_null(strstr(err.advice, "chmod 600"));
        }
    }
    if (geteuid() != 0)
        return;
    AUTO_STRLIST env = STRLIST_INIT;
    write_text(path, "LD_PRELOAD=/tmp/x.so\n", 0600);
    assert_int_equal(chown(path, 65534, 65534), 0);
    err_clear(&err);
    assert_false(hook_env_read(path, &env, &err)); /* whoever owns it would own us */
    assert_int_equal(err.code, ERR_PERMISSION);
}

/* -- acme.sh's dnsapi scripts, through the bridge -------------------------------------------------------- */

static pid_t server;
static char *server_url, *server_log;

static void answer(int fd, const char *status, const char *headers, const char *body)
{
    AUTO_FREE char *text = mem_fmt("HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n%s",
                                   status, strlen(body), headers, body);
    ssize_t n = write(fd, text, strlen(text));
    (void)n;
}

static const struct {
    const char *start, *status, *headers, *body;
} answers[] = {
    {"GET /zones?name=example.org ", "200 OK", "",
     "{ \"success\" : true,\r\n  \"result\" : [ {\"id\":\"z77\",\"name\":\"example.org\"} ] }\n"},
    {"GET /zones?name=", "200 OK", "", "{\"success\":true,\"result\":[]}"},
    {"POST /zones/z77/records ", "201 Created", "", "{\"success\":true,\"result\":{\"id\":\"r4711\"}}"},
    {"DELETE /zones/z77/records/r4711 ", "204 No Content", "", ""},
    {"POST /login ", "200 OK", "Set-Cookie: session=c00kie; path=/\r\n", "<h1>welcome</h1>"},
    {"GET /redirect ", "302 Found", "Location: /moved\r\n", ""},
    {"HEAD /redirect ", "302 Found", "Location: /moved\r\n", ""},
    {"GET /moved ", "200 OK", "", "moved here"},
    {"HEAD /moved ", "200 OK", "", ""},
    {"PUT /xml?a[]={1,2} ", "200 OK", "", "<ok/>"},
};

/* One request a connection: noted in the log, answered by the table. */
static void serve_one(int fd)
{
    AUTO_BUF request = BUF_INIT;
    char block[2048];
    size_t whole = 0;
    ssize_t n;
    while ((whole == 0 || request.len < whole) && (n = read(fd, block, sizeof block)) > 0) {
        buf_add(&request, block, (size_t)n);
        const char *end = strstr(request.data, "\r\n\r\n"),
                   *length = strcasestr(request.data, "\r\nContent-Length:");
        if (end != NULL && whole == 0)
            whole = (size_t)(end - request.data) + 4 +
                    (length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0);
    }
    FILE *log = fopen(server_log, "a");
    fprintf(log, "%s\n---\n", buf_str(&request));
    fclose(log);
    for (size_t i = 0; i < COUNT_OF(answers); i++)
        if (strncmp(buf_str(&request), answers[i].start, strlen(answers[i].start)) == 0) {
            answer(fd, answers[i].status, answers[i].headers, answers[i].body);
            return;
        }
    answer(fd, "404 Not Found", "", "{\"success\":false,\"error\":\"nothing here\"}");
}

static int start_server(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 16) != 0 || getsockname(listener, (struct sockaddr *)&address, &len) != 0)
        return -1;
    server_url = mem_fmt("http://127.0.0.1:%d", ntohs(address.sin_port));
    server_log = fs_join(root, "server-log");
    server = fork();
    if (server == 0)
        alarm(600); /* never left behind */
    for (int fd; server == 0 && (fd = accept(listener, NULL, NULL)) >= 0; close(fd))
        serve_one(fd);
    close(listener);
    return server > 0 ? 0 : -1;
}

static int stop_server(void **state)
{
    (void)state;
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    free(server_url);
    free(server_log);
    return 0;
}

/* The shells in which the bridge must work; busybox need not be in the PATH: BUSYBOX=/path. */
static const char *const shells[][2] = {{"dash", NULL}, {"bash", NULL}, {"busybox", "sh"}};

static const char *shell_program(size_t i)
{
    return strcmp(shells[i][0], "busybox") == 0 && getenv("BUSYBOX") != NULL ? getenv("BUSYBOX")
                                                                             : shells[i][0];
}

/* Run the bridge by this shell. `settings` ends with NULL. */
static int bridge(size_t shell, enum hook_act act, const char *script, const char *const *settings)
{
    AUTO_FREE char *path = fixture(script), *program = mem_fmt("%s/hooks/acme-sh-dns", source_dir);
    struct hook_job job = job_for(HOOK_ACME_SH, path, CHALLENGE_DNS_01);
    struct hook_command command;
    const char *argv[10], *env[10];
    size_t n = 0, n_env = 0;
    job.record = "_acme-challenge.www.example.org";
    hook_command_make(act, &job, &command);
    assert_int_equal(command.argv.n, 5);
    assert_non_null(strstr(command.argv.v[0], "/acme-sh-dns"));
    argv[n++] = shell_program(shell);
    if (shells[shell][1] != NULL)
        argv[n++] = shells[shell][1];
    argv[n++] = program;
    for (size_t i = 1; i < command.argv.n; i++)
        argv[n++] = command.argv.v[i];
    argv[n] = NULL;
    for (size_t i = 0; i < command.env.n; i++)
        env[n_env++] = command.env.v[i];
    for (size_t i = 0; settings[i] != NULL; i++)
        env[n_env++] = settings[i];
    env[n_env] = NULL;
    const struct spawn_options options = {.timeout_ms = 120000, .env = env};
    spawn_result_clear(&result);
    if (!spawn_run(argv, &options, &result, &err))
        fail_msg("%s", err.text);
    assert_false(result.timed_out);
    hook_command_clear(&command);
    return result.status;
}

static void need_tools(void)
{
    if (!spawn_find("curl") || !spawn_find("openssl")) {
        print_message("curl and openssl are not installed: skipped\n");
        skip();
    }
}

static size_t each_shell(size_t i)
{
    while (i < COUNT_OF(shells) && !spawn_find(shell_program(i)))
        print_message("no %s here\n", shells[i++][0]);
    return i;
}

/* A fresh state directory, TLSUP_HOOK_STATE=...; the caller frees. */
static char *fresh_state(void)
{
    AUTO_FREE char *dir = fs_join(root, "state");
    struct err none = ERR_INIT;
    assert_true(fs_remove_tree(dir, &none));
    assert_true(fs_remove(server_log, &none));
    return mem_fmt("TLSUP_HOOK_STATE=%s", dir);
}

static void test_bridge_helpers(void **state)
{
    (void)state;
    need_tools();
    for (size_t i = each_shell(0); i < COUNT_OF(shells); i = each_shell(i + 1)) {
        AUTO_FREE char *dir = fresh_state();
        const char *const settings[] = {dir, NULL};
        if (bridge(i, HOOK_PRESENT, "dns_helpers.sh", settings) != 0)
            fail_msg("%s: %s", shells[i][0], buf_str(&result.output));
    }
}

static void test_bridge_provider(void **state)
{
    (void)state;
    need_tools();
    for (size_t i = each_shell(0); i < COUNT_OF(shells); i = each_shell(i + 1)) {
        AUTO_FREE char *dir = fresh_state(), *api = mem_fmt("PROVIDER_Api=%s", server_url);
        AUTO_FREE char *account = fs_join(root, "state/dns_provider.conf");
        const char *const credentials[] = {dir, api, "PROVIDER_Token=s3cret \"quoted\" \\ 100%", NULL},
                          *const none[] = {dir, NULL};
        if (bridge(i, HOOK_PRESENT, "dns_provider.sh", credentials) != 0)
            fail_msg("%s: %s", shells[i][0], buf_str(&result.output));
        AUTO_FREE char *body = mem_fmt(
            "\r\n\r\n{\"type\":\"TXT\",\"name\":\"_acme-challenge.www\",\"content\":\"%s\"}\n---\n", value);
        assert_true(file_has(server_log, "POST /zones/z77/records HTTP/1.1\r\n"));
        assert_true(file_has(server_log, body));
        assert_true(file_has(server_log, "\r\nContent-Type: application/json\r\n"));
        assert_true(file_has(server_log, "\r\nAuthorization: Bearer s3cret \"quoted\" \\ 100%\r\n"));
        assert_null(strstr(buf_str(&result.output), "s3cret"));
        struct stat st;
        assert_int_equal(stat(account, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(stat(dir + strlen("TLSUP_HOOK_STATE="), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        /* the credentials were saved, and the record's identifier too */
        if (bridge(i, HOOK_CLEANUP, "dns_provider.sh", none) != 0)
            fail_msg("%s: %s", shells[i][0], buf_str(&result.output));
        assert_true(file_has(server_log, "DELETE /zones/z77/records/r4711 HTTP/1.1\r\n"));
    }
}

static void test_bridge_old_style(void **state)
{
    (void)state;
    need_tools();
    for (size_t i = each_shell(0); i < COUNT_OF(shells); i = each_shell(i + 1)) {
        AUTO_FREE char *dir = fresh_state(), *api = mem_fmt("OLD_Api=%s", server_url);
        const char *const credentials[] = {dir, api, "OLD_User=a user&co", "OLD_Secret=p\xc3\xa4ss", NULL},
                          *const none[] = {dir, "OLD_User=other", NULL};
        if (bridge(i, HOOK_PRESENT, "dns_oldstyle.sh", credentials) != 0)
            fail_msg("%s: %s", shells[i][0], buf_str(&result.output));
        AUTO_FREE char *body =
            mem_fmt("\r\n\r\n<add name='_acme-challenge.www.example.org'>\"%s\" \\ done</add>\n---\n", value);
        assert_true(file_has(server_log, "\r\n\r\nuser=a%20user%26co&secret=p%c3%a4ss\n---\n"));
        assert_true(file_has(server_log, "\r\nCookie: session=c00kie\r\n"));
        assert_true(file_has(server_log, "HEAD /redirect "));
        assert_true(file_has(server_log, "PUT /xml?a[]={1,2} HTTP/1.1\r\n"));
        assert_true(file_has(server_log, "\r\nContent-Type: text/xml\r\n"));
        assert_true(file_has(server_log, body));
        /* what was saved without more ado is there as variables; the environment comes first */
        if (bridge(i, HOOK_PRESENT, "dns_oldstyle.sh", none) != 0)
            fail_msg("%s: %s", shells[i][0], buf_str(&result.output));
        assert_true(file_has(server_log, "\r\n\r\nuser=other&secret=p%c3%a4ss\n---\n"));
        /* it has no function to remove the record: said, and no failure */
        assert_int_equal(bridge(i, HOOK_CLEANUP, "dns_oldstyle.sh", credentials), 0);
        assert_non_null(strstr(buf_str(&result.output), "cannot remove"));
    }
}

static void test_bridge_failures(void **state)
{
    (void)state;
    need_tools();
    size_t i = each_shell(0);
    AUTO_FREE char *dir = fresh_state(), *elsewhere = mem_fmt("PROVIDER_Api=%s/nowhere", server_url);
    const char *const nothing[] = {dir, NULL}, *const wrong[] = {dir, elsewhere, "PROVIDER_Token=x", NULL},
                      *const dead[] = {dir, "PROVIDER_Api=http://127.0.0.1:1", "PROVIDER_Token=x", NULL};
    assert_int_equal(bridge(i, HOOK_PRESENT, "dns_provider.sh", nothing), 1);
    assert_non_null(strstr(buf_str(&result.output), "You didn't specify PROVIDER_Token yet."));
    assert_int_equal(bridge(i, HOOK_PRESENT, "dns_provider.sh", wrong), 1);
    assert_int_equal(bridge(i, HOOK_PRESENT, "dns_provider.sh", dead), 1);
    assert_non_null(strstr(buf_str(&result.output), "curl"));
    assert_int_equal(bridge(i, HOOK_CLEANUP, "dns_provider.sh", wrong), 1);
    assert_int_equal(bridge(i, HOOK_PRESENT, "dns_missing.sh", nothing), 1);
    assert_non_null(strstr(buf_str(&result.output), "cannot read"));
    assert_int_equal(bridge(i, HOOK_PRESENT, "uacme-hook", nothing), 1); /* no dnsapi script */
}

static void test_bridge_arguments(void **state)
{
    (void)state;
    AUTO_FREE char *program = mem_fmt("%s/hooks/acme-sh-dns", source_dir),
                   *script = fixture("dns_helpers.sh");
    const char *const rows[][6] = {
        {"/bin/sh", program, NULL},
        {"/bin/sh", program, "add", script, "a.example", NULL},
        {"/bin/sh", program, "present", script, "a.example", "v"},
        {"/bin/sh", program, "add", script, "a.example;id", "v"},
        {"/bin/sh", program, "add", script, "../../x", "v"},
        {"/bin/sh", program, "add", script, "a.example", "$(id)"},
        {"/bin/sh", program, "add", script, "a.example", "a b"},
        {"/bin/sh", program, "add", script, "", "v"},
        {"/bin/sh", program, "add", script, "a.example", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const char *argv[7] = {0};
        memcpy(argv, rows[i], sizeof rows[i]);
        spawn_result_clear(&result);
        assert_true(spawn_run(argv, NULL, &result, &err));
        if (result.status != 2)
            fail_msg("row %zu: %d %s", i, result.status, buf_str(&result.output));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_names),
        TEST(test_takes),
        TEST(test_own_contract),
        TEST(test_own_contract_values),
        TEST(test_certbot_dns),
        TEST(test_certbot_http),
        TEST(test_dehydrated),
        TEST(test_uacme),
        TEST(test_lego),
        TEST(test_no_shell_between),
        TEST(test_env_file),
        TEST(test_env_file_bad_lines),
        TEST(test_env_file_that_is_none),
        TEST(test_env_file_modes),
        TEST(test_bridge_helpers),
        TEST(test_bridge_provider),
        TEST(test_bridge_old_style),
        TEST(test_bridge_failures),
        TEST(test_bridge_arguments),
    };
    const char *srcdir = getenv("srcdir");
    struct err ignored = ERR_INIT;
    if (mkdtemp(root) == NULL || realpath(srcdir != NULL ? srcdir : ".", source_dir) == NULL)
        return 99;
    out_path = fs_join(root, "out");
    zone_path = fs_join(root, "zone");
    webroot = fs_join(root, "www");
    dns_record_value(KEY_AUTHORIZATION, value);
    strlist_split(&names, "example.org *.example.org www.example.org", " ");
    int failed = cmocka_run_group_tests(tests, start_server, stop_server);
    strlist_clear(&names);
    free(out_path);
    free(zone_path);
    free(webroot);
    return fs_remove_tree(root, &ignored) ? failed : 99;
}
