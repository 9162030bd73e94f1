/* tlsup status: what a person and a program are told about every kind of certificate. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/cli/commands.h"
#include "../../src/cli/output.h"
#include "../../src/cli/status.h"
#include "../../src/cli/timer.h"
#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/store.h"

#define DAY_S INT64_C(86400)
#define NOW_S INT64_C(1790000000) /* 2026-09-21 14:13:20 UTC */

struct fixture {
    char root[64], config[96], state[96], machine[96];
    struct store *store;
};

static void ok(bool result, const struct err *err)
{
    if (!result)
        fail_msg("%s: %s", err->subject, err->text);
}

static int setup(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = mem_alloc(sizeof *f);
    snprintf(f->root, sizeof f->root, "/tmp/test-status-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    snprintf(f->config, sizeof f->config, "%s/etc", f->root);
    snprintf(f->state, sizeof f->state, "%s/var", f->root);
    snprintf(f->machine, sizeof f->machine, "%s/machine", f->root);
    assert_int_equal(mkdir(f->machine, 0755), 0);
    timer_set_root(f->machine);
    clock_freeze(NOW_S, 1000);
    setenv("LC_ALL", "C", 1);
    setenv("TERM", "xterm", 1);
    ok(store_open(f->config, f->state, STORE_WRITE, &f->store, &err), &err);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = *state;
    store_close(f->store);
    timer_set_root(NULL);
    clock_thaw();
    ok(fs_remove_tree(f->root, &err), &err);
    free(f);
    return 0;
}

/* -- certificates of every age ----------------------------------------------------------------------- */

static struct cert_chain *make_chain(const struct key *key, const char *names, int64_t from_s, int64_t to_s)
{
    struct err err = ERR_INIT;
    struct cert_chain *chain = NULL;
    char *pem = NULL;
    AUTO_FREE char *san = mem_fmt("DNS:%s", names);
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 0x1234);
    ASN1_TIME_set(X509_getm_notBefore(x), (time_t)from_s);
    ASN1_TIME_set(X509_getm_notAfter(x), (time_t)to_s);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"R11", -1,
                               -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key_pkey(key));
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
    assert_non_null(extension);
    X509_add_ext(x, extension, -1);
    X509_EXTENSION_free(extension);
    assert_true(X509_sign(x, key_pkey(key), EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, x);
    long len = BIO_get_mem_data(bio, &pem);
    ok(cert_chain_parse(pem, (size_t)len, "test", &chain, &err), &err);
    BIO_free(bio);
    X509_free(x);
    return chain;
}

/* A certificate in the store; `names` as "a,DNS:b". */
static void hold(struct fixture *f, const char *name, const char *names, int64_t from_s, int64_t to_s,
                 enum web_kind install)
{
    struct err err = ERR_INIT;
    struct cert_config config;
    AUTO_KEY *key = NULL;
    int version;
    cert_config_init(&config);
    config.name = mem_dup(name);
    strlist_split(&config.names, names, ",");
    for (size_t i = 0; i < config.names.n; i++)
        if (strncmp(config.names.v[i], "DNS:", 4) == 0)
            memmove(config.names.v[i], config.names.v[i] + 4, strlen(config.names.v[i] + 4) + 1);
    config.install = install;
    ok(store_cert_config_save(f->store, &config, &err), &err);
    cert_config_clear(&config);
    if (to_s == 0)
        return;
    ok(key_generate(KEY_ECDSA_P256, &key, &err), &err);
    AUTO_CHAIN *chain = make_chain(key, names, from_s, to_s);
    struct store_part part = {.key = key, .chain = chain};
    ok(store_version_add(f->store, name, &part, 1, &version, &err), &err);
    ok(store_live_switch(f->store, name, version, &err), &err);
    struct cert_state state = {
        .version = version, .step = DEPLOY_VERIFIED, .issued_s = from_s, .verified_s = from_s};
    snprintf(state.issued_by, sizeof state.issued_by, "%s", CONFIG_DEFAULT_CA);
    ok(store_state_save(f->store, name, &state, &err), &err);
}

static void change_state(struct fixture *f, const char *name, enum deploy_step step, int failures,
                         const char *why)
{
    struct err err = ERR_INIT;
    struct cert_state state = {0};
    ok(store_state_load(f->store, name, &state, &err), &err);
    state.step = step;
    state.failures = failures;
    if (failures > 0) {
        state.failed_s = NOW_S - 2 * 3600;
        state.next_try_s = NOW_S + 5 * 3600;
        err_set(&state.last_error, ERR_ACME, NEXT_RETRY_LATER, "www.example.org", "%s", why);
        err_advise(&state.last_error, "open port 80 in the firewall");
    } else {
        err_clear(&state.last_error);
    }
    ok(store_state_save(f->store, name, &state, &err), &err);
    cert_state_clear(&state);
}

static void one_of_each(struct fixture *f)
{
    hold(f, "good.example.org", "good.example.org,DNS:www.good.example.org", NOW_S - 30 * DAY_S,
         NOW_S + 60 * DAY_S, WEB_NGINX);
    hold(f, "failing.example.org", "failing.example.org", NOW_S - 70 * DAY_S, NOW_S + 20 * DAY_S, WEB_APACHE);
    change_state(f, "failing.example.org", DEPLOY_VERIFIED, 3, "the CA could not reach port 80");
    hold(f, "old.example.org", "old.example.org", NOW_S - 93 * DAY_S, NOW_S - 3 * DAY_S, WEB_NGINX);
    hold(f, "late.example.org", "late.example.org", NOW_S - 80 * DAY_S, NOW_S + 10 * DAY_S, WEB_NONE);
    hold(f, "half.example.org", "half.example.org", NOW_S - 1 * DAY_S, NOW_S + 89 * DAY_S, WEB_NGINX);
    change_state(f, "half.example.org", DEPLOY_INSTALLED, 0, NULL);
    hold(f, "new.example.org", "new.example.org", 0, 0, WEB_NONE);
}

/* -- running the command ----------------------------------------------------------------------------- */

/* Standard output goes to `fd` while the command runs; what it wrote is appended to `out`. */
static bool run_into(struct fixture *f, struct request *request, int fd, int read_fd, struct buf *out,
                     struct err *err)
{
    char block[65536];
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    dup2(fd, STDOUT_FILENO);
    output_init(false);
    request->config_dir = f->config;
    request->state_dir = f->state;
    bool result = cmd_status(request, err);
    fflush(stdout);
    for (ssize_t n; read_fd >= 0 && (n = read(read_fd, block, sizeof block)) > 0;)
        buf_add(out, block, (size_t)n);
    clearerr(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    return result;
}

static void run_piped(struct fixture *f, struct request *request, struct buf *out)
{
    struct err err = ERR_INIT;
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
    fcntl(pipe_fds[1], F_SETPIPE_SZ, 1 << 20);
    ok(run_into(f, request, pipe_fds[1], pipe_fds[0], out, &err), &err);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static void run_terminal(struct fixture *f, unsigned short columns, struct buf *out)
{
    struct err err = ERR_INIT;
    struct request request = {.log_level = LOG_LEVEL_WARN};
    struct winsize size = {.ws_row = 24, .ws_col = columns};
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0 && ioctl(slave, TIOCSWINSZ, &size) == 0);
    setenv("NO_COLOR", "1", 1);
    ok(run_into(f, &request, slave, master, out, &err), &err);
    unsetenv("NO_COLOR");
    close(slave);
    close(master);
}

static json_t *run_json(struct fixture *f, const char *name)
{
    AUTO_BUF out = BUF_INIT;
    json_error_t error;
    struct request request = {.json = true};
    if (name != NULL)
        strlist_add(&request.arguments, name);
    run_piped(f, &request, &out);
    strlist_clear(&request.arguments);
    json_t *all = json_loads(buf_str(&out), 0, &error);
    if (all == NULL)
        fail_msg("no JSON: %s\n%s", error.text, buf_str(&out));
    return all;
}

static json_t *certificate(json_t *all, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(all, "certificates"), i, one)
    {
        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0)
            return one;
    }
    fail_msg("no certificate %s in the JSON", name);
    return NULL;
}

static void assert_state(json_t *all, const char *name, const char *state)
{
    assert_string_equal(json_string_value(json_object_get(certificate(all, name), "state")), state);
}

static void assert_has(const struct buf *out, const char *text)
{
    if (strstr(buf_str(out), text) == NULL)
        fail_msg("\"%s\" is not in:\n%s", text, buf_str(out));
}

/* -- tests ------------------------------------------------------------------------------------------- */

static void test_empty_store_says_what_to_type(void **state)
{
    struct request request = {.log_level = LOG_LEVEL_WARN};
    AUTO_BUF out = BUF_INIT;
    run_piped(*state, &request, &out);
    assert_has(&out, "sudo tlsup enable example.org");
    json_t *all = run_json(*state, NULL);
    assert_int_equal(json_integer_value(json_object_get(all, "version")), 1);
    assert_true(json_is_array(json_object_get(all, "certificates")));
    assert_int_equal(json_array_size(json_object_get(all, "certificates")), 0);
    json_decref(all);
}

static void test_directories_that_are_not_there(void **state)
{
    struct fixture *f = *state, elsewhere = *f;
    struct request request = {.log_level = LOG_LEVEL_WARN};
    AUTO_BUF out = BUF_INIT;
    snprintf(elsewhere.config, sizeof elsewhere.config, "%s/no/etc", f->root);
    snprintf(elsewhere.state, sizeof elsewhere.state, "%s/no/var", f->root);
    run_piped(&elsewhere, &request, &out);
    assert_has(&out, "No certificates yet");
    assert_false(fs_exists(elsewhere.state));
}

static void test_json_tells_every_state(void **state)
{
    one_of_each(*state);
    json_t *all = run_json(*state, NULL);
    assert_state(all, "good.example.org", "valid");
    assert_state(all, "failing.example.org", "failing");
    assert_state(all, "old.example.org", "expired");
    assert_state(all, "late.example.org", "overdue");
    assert_state(all, "half.example.org", "unfinished");
    assert_state(all, "new.example.org", "pending");
    json_decref(all);
}

static void test_json_tells_all_about_one(void **state)
{
    one_of_each(*state);
    json_t *all = run_json(*state, "good.example.org"), *one = certificate(all, "good.example.org"), *failure;
    assert_int_equal(json_array_size(json_object_get(all, "certificates")), 1);
    assert_int_equal(json_array_size(json_object_get(one, "names")), 2);
    assert_string_equal(json_string_value(json_object_get(one, "key_type")), "ecdsa-p256");
    assert_string_equal(json_string_value(json_object_get(one, "ca")), "letsencrypt");
    assert_string_equal(json_string_value(json_object_get(one, "issuer")), "R11");
    assert_string_equal(json_string_value(json_object_get(one, "web_server")), "nginx");
    assert_string_equal(json_string_value(json_object_get(one, "deployed")), "verified");
    assert_string_equal(json_string_value(json_object_get(one, "not_after")), "2026-11-20T14:13:20Z");
    const char *due = json_string_value(
        json_object_get(one, "renewal_due")); /* a third of its life left, and up to a hundredth before */
    assert_true(strcmp(due, "2026-10-20T14:13:20Z") > 0 && strcmp(due, "2026-10-21T14:13:20Z") <= 0);
    assert_int_equal(json_integer_value(json_object_get(one, "expires_in_s")), 60 * DAY_S);
    assert_int_equal(json_integer_value(json_object_get(one, "life_used_percent")), 33);
    assert_true(json_is_null(json_object_get(one, "problem")));
    assert_true(json_is_null(json_object_get(one, "last_failure")));
    json_decref(all);
    all = run_json(*state, "failing.example.org");
    failure = json_object_get(certificate(all, "failing.example.org"), "last_failure");
    assert_int_equal(json_integer_value(json_object_get(failure, "count")), 3);
    assert_string_equal(json_string_value(json_object_get(failure, "next_try")), "2026-09-21T19:13:20Z");
    assert_string_equal(json_string_value(json_object_get(json_object_get(failure, "error"), "advice")),
                        "open port 80 in the firewall");
    json_decref(all);
}

static void test_problems_come_first(void **state)
{
    struct request request = {.log_level = LOG_LEVEL_WARN};
    AUTO_BUF out = BUF_INIT;
    static const char *const order[] = {"expired     old.",  "failing     failing.", "overdue     late.",
                                        "unfinished  half.", "pending     new.",     "valid       good."};
    one_of_each(*state);
    run_piped(*state, &request, &out);
    const char *at = buf_str(&out);
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        const char *found = strstr(at, order[i]);
        if (found == NULL)
            fail_msg("\"%s\" is not where it should be in:\n%s", order[i], buf_str(&out));
        at = found;
    }
    assert_has(&out, "the last attempt, 2 hours ago, failed (3 in a row): www.example.org: the CA could not "
                     "reach port 80");
    assert_has(&out, " -> open port 80 in the firewall\n");
    assert_has(&out, "-3    2026-09-18T14:13:20Z");
    assert_null(strstr(buf_str(&out), "\033"));
}

static size_t widest_line(const char *text)
{
    size_t widest = 0;
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\r\n");
        widest = len > widest ? len : widest;
        line += len;
        line += strspn(line, "\r\n");
    }
    return widest;
}

static void test_table_fits_every_terminal(void **state)
{
    static const unsigned short widths[] = {40, 60, 80, 100, 132, 200};
    one_of_each(*state);
    for (size_t i = 0; i < COUNT_OF(widths); i++) {
        AUTO_BUF out = BUF_INIT;
        run_terminal(*state, widths[i], &out);
        if (widest_line(buf_str(&out)) > widths[i] && widths[i] >= 80)
            fail_msg("wider than %d:\n%s", widths[i], buf_str(&out));
        assert_has(&out, "good.example.org");
        assert_has(&out, "nginx,"); /* in its column, or below */
        assert_has(&out, "verified");
        assert_has(&out, "ecdsa-p256");
    }
}

static void test_one_by_any_of_its_names(void **state)
{
    struct request request = {.log_level = LOG_LEVEL_WARN};
    struct err err = ERR_INIT;
    AUTO_BUF out = BUF_INIT;
    one_of_each(*state);
    strlist_add(&request.arguments, "www.good.example.org");
    run_piped(*state, &request, &out);
    assert_has(&out, "good.example.org: valid");
    assert_has(&out, "/live/good.example.org/fullchain.pem");
    assert_null(strstr(buf_str(&out), "failing.example.org"));
    strlist_add(&request.arguments, "other.example.net");
    assert_false(run_into(*state, &request, STDERR_FILENO, -1, NULL, &err));
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_string_equal(err.subject, "other.example.net");
    strlist_clear(&request.arguments);
}

static void scribble(const struct fixture *f, const char *file, const char *text)
{
    AUTO_FREE char *path = mem_fmt("%s/%s", f->root, file);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void test_damage_is_told_and_hides_nothing(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    AUTO_KEY *other = NULL;
    AUTO_BUF pem = BUF_SECRET;
    static const char *const names[] = {"a.example.org", "b.example.org", "c.example.org",
                                        "d.example.org", "e.example.org", "f.example.org"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        hold(f, names[i], names[i], NOW_S - DAY_S, NOW_S + 89 * DAY_S, WEB_NONE);
    ok(key_generate(KEY_ECDSA_P256, &other, &err) && key_to_pem(other, &pem, &err), &err);
    scribble(f, "var/live/a.example.org/privkey.pem", buf_str(&pem));
    scribble(f, "var/live/b.example.org/fullchain.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    scribble(f, "var/live/b.example.org/cert.pem", "\033[2Jnonsense");
    scribble(f, "var/state/c.example.org.json", "{\"version\":");
    scribble(f, "etc/certs.d/d.example.org.conf", "names = d.example.org\nno such = key\n");
    AUTO_FREE char *key = mem_fmt("%s/live/e.example.org/privkey.pem", f->state);
    assert_int_equal(unlink(key), 0);
    json_t *all = run_json(f, NULL);
    for (size_t i = 0; i + 1 < COUNT_OF(names); i++) {
        assert_state(all, names[i], "broken");
        json_t *problem = json_object_get(certificate(all, names[i]), "problem");
        assert_true(strlen(json_string_value(json_object_get(problem, "text"))) > 10);
    }
    assert_state(all, "f.example.org", "valid");
    json_decref(all);
}

/* -- what else than the web server gets a certificate ------------------------------------------------- */

static void deploy(struct fixture *f, const char *name, enum deployment_kind kind, const char *what, int done,
                   int failures)
{
    struct err err = ERR_INIT;
    struct cert_state state = {0};
    ok(store_state_load(f->store, name, &state, &err), &err);
    state.deployments = mem_resize(state.deployments, state.n_deployments + 1, sizeof *state.deployments);
    struct deployment *one = &state.deployments[state.n_deployments++];
    *one = (struct deployment){
        .kind = kind, .what = mem_dup(what), .wanted = 1, .version = done, .failures = failures};
    if (done > 0)
        one->done_s = NOW_S - 2 * DAY_S;
    if (failures > 0) {
        one->failed_s = NOW_S - 3600;
        one->next_try_s = NOW_S + 600;
        err_set(&one->last_error, ERR_HOOK, NEXT_RETRY_LATER, what, "exit status 7");
    }
    ok(store_state_save(f->store, name, &state, &err), &err);
    cert_state_clear(&state);
}

static void test_a_deployment_that_failed_is_a_failure(void **state)
{
    struct fixture *f = *state;
    struct request request = {.log_level = LOG_LEVEL_WARN};
    AUTO_BUF out = BUF_INIT;
    static const char *const names[] = {"done.example.org", "failed.example.org", "waiting.example.org"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        hold(f, names[i], names[i], NOW_S - DAY_S, NOW_S + 89 * DAY_S, WEB_NONE);
    deploy(f, names[0], DEPLOYMENT_VERIFY, "mail.example.org:25/smtp", 1, 0);
    deploy(f, names[1], DEPLOYMENT_HOOK, "/usr/local/sbin/reload", 0, 2);
    deploy(f, names[1], DEPLOYMENT_EXPORT, "p12 /etc/x.p12", 1, 0);
    deploy(f, names[2], DEPLOYMENT_HOOK, "/usr/local/sbin/other", 0, 0);
    json_t *all = run_json(f, NULL), *one;
    assert_state(all, names[0], "valid");
    assert_state(all, names[1], "failing");
    assert_state(all, names[2], "unfinished");
    one = json_array_get(json_object_get(certificate(all, names[1]), "deployments"), 0);
    assert_string_equal(json_string_value(json_object_get(one, "kind")), "hook");
    assert_string_equal(json_string_value(json_object_get(one, "state")), "failing");
    assert_string_equal(json_string_value(json_object_get(one, "next_try")), "2026-09-21T14:23:20Z");
    json_decref(all);
    run_piped(f, &request, &out);
    assert_has(&out, "stored,deployed:1/2");
    assert_has(&out, "hook /usr/local/sbin/reload, 1 hour ago, failed (2 in a row): exit status 7; "
                     "next try in 10 minutes -> try it now: sudo tlsup renew failed.example.org");
    assert_has(&out, "hook /usr/local/sbin/other is still to be done");
    buf_reset(&out);
    strlist_add(&request.arguments, names[0]);
    run_piped(f, &request, &out);
    assert_has(&out, "mail.example.org:25, verified 2 days ago; 1 deployed");
    strlist_clear(&request.arguments);
}

/* -- renewals in general ------------------------------------------------------------------------------ */

static void say_run(struct fixture *f, int64_t began_s, int64_t ended_s, int64_t good_s, struct buf *out)
{
    struct request request = {.log_level = LOG_LEVEL_WARN};
    struct err err = ERR_INIT;
    struct run_state run = {.began_s = began_s, .ended_s = ended_s, .good_s = good_s};
    ok(store_run_state_save(f->store, &run, &err), &err);
    buf_reset(out);
    run_piped(f, &request, out);
}

static void test_how_the_last_run_ended(void **state)
{
    AUTO_BUF out = BUF_INIT;
    hold(*state, "a.example.org", "a.example.org", NOW_S - 9 * DAY_S, NOW_S + 81 * DAY_S, WEB_NONE);
    say_run(*state, NOW_S - 1800, NOW_S - 1790, NOW_S - 1790, &out);
    assert_has(&out, "The last run was 30 minutes ago, without a failure.");
    say_run(*state, NOW_S - 1800, NOW_S - 1790, NOW_S - 6 * 3600, &out);
    assert_has(&out, "The last run was 30 minutes ago, and something failed in it; the last without a "
                     "failure ended 6 hours ago.");
    say_run(*state, NOW_S - 1800, NOW_S - 5400, NOW_S - 5400, &out);
    assert_has(&out, "and it has not ended");
    say_run(*state, NOW_S - 5 * DAY_S, NOW_S - 5 * DAY_S, NOW_S - 5 * DAY_S, &out);
    assert_has(&out, "5 days ago, without a failure; there should be one every hour.");
    say_run(*state, 0, 0, 0, &out); /* issued nine days ago, and never a run */
    assert_has(&out, "There has been no run of tlsup renew yet");
}

/* What failed in the run of the timer was mended by hand since; the next run will say so, but a person looks
 * now. */
static void test_what_failed_in_the_last_run_is_over(void **state)
{
    struct fixture *f = *state;
    struct request request = {.log_level = LOG_LEVEL_WARN};
    struct err err = ERR_INIT;
    struct run_state run = {
        .began_s = NOW_S - 1800, .ended_s = NOW_S - 1790, .good_s = NOW_S - 9000, .mendable = true};
    AUTO_BUF out = BUF_INIT;
    hold(f, "a.example.org", "a.example.org", NOW_S - 9 * DAY_S, NOW_S + 81 * DAY_S, WEB_NONE);
    hold(f, "b.example.org", "b.example.org", NOW_S - 9 * DAY_S, NOW_S + 81 * DAY_S, WEB_NONE);
    ok(store_run_state_save(f->store, &run, &err), &err);
    run_piped(f, &request, &out);
    assert_has(&out, "The last run was 30 minutes ago; what failed in it is well again.\n");
    change_state(f, "b.example.org", DEPLOY_VERIFIED, 1, "the CA could not reach port 80");
    strlist_add(&request.arguments, "a.example.org"); /* the other one fails all the same */
    buf_reset(&out);
    run_piped(f, &request, &out);
    assert_has(&out, "and something failed in it; the last without a failure ended 2 hours ago.");
    change_state(f, "b.example.org", DEPLOY_VERIFIED, 0, NULL);
    deploy(f, "b.example.org", DEPLOYMENT_HOOK, "/a program", 0, 1);
    buf_reset(&out);
    run_piped(f, &request, &out);
    assert_has(&out, "and something failed in it");
    ok(store_cert_delete(f->store, "b.example.org", &err), &err);
    buf_reset(&out);
    run_piped(f, &request, &out);
    assert_has(&out, "what failed in it is well again");
    run.mendable = false; /* no certificate's state would tell */
    ok(store_run_state_save(f->store, &run, &err), &err);
    buf_reset(&out);
    run_piped(f, &request, &out);
    assert_has(&out, "and something failed in it");
    strlist_clear(&request.arguments);
}

/* -- for other programs ------------------------------------------------------------------------------- */

/* One line each, whose fields but for the last have no blanks in them. */
static void test_lines_for_awk(void **state)
{
    struct request request = {.log_level = LOG_LEVEL_WARN};
    AUTO_BUF out = BUF_INIT;
    AUTO_STRLIST lines = STRLIST_INIT;
    one_of_each(*state);
    deploy(*state, "good.example.org", DEPLOYMENT_HOOK, "/a program", 1, 0);
    run_piped(*state, &request, &out);
    strlist_split(&lines, buf_str(&out), "\n");
    for (size_t i = 0; i < 7; i++) {
        AUTO_STRLIST words = STRLIST_INIT;
        strlist_split(&words, lines.v[i], " ");
        assert_true(words.n >= 10);
        assert_true(i == 0 || strstr(words.v[8], ".example.org") != NULL);
    }
    assert_int_equal(strncmp(lines.v[7], "6 certificates", 14), 0);
}

static void test_a_fleet_is_cut_on_a_terminal_alone(void **state)
{
    struct request request = {.log_level = LOG_LEVEL_WARN};
    AUTO_BUF out = BUF_INIT;
    one_of_each(*state);
    for (int i = 0; i < 40; i++) {
        AUTO_FREE char *name = mem_fmt("n%02d.example.org", i);
        hold(*state, name, name, NOW_S - DAY_S, NOW_S + (89 + 9 * i) * DAY_S, WEB_NONE);
    }
    run_terminal(*state, 100, &out);
    assert_has(&out,
               "46 certificates: 4 need attention (1 expired, 1 failing, 1 overdue, 1 unfinished), 1 not");
    assert_has(&out, "old.example.org");
    assert_has(&out, "good.example.org");
    assert_has(&out, "n08.example.org"); /* with good.example.org the ten that are due next */
    assert_null(strstr(buf_str(&out), "n09.example.org"));
    assert_has(&out, "and 31 more, all well: tlsup status | less");
    buf_reset(&out);
    run_piped(*state, &request, &out);
    assert_has(&out, "n39.example.org");
}

static void test_metrics(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct request request = {.metrics = true};
    AUTO_BUF out = BUF_INIT, file = BUF_INIT;
    struct stat status;
    AUTO_FREE char *path = mem_fmt("%s/tlsup.prom", f->root);
    one_of_each(f);
    run_piped(f, &request, &out);
    assert_has(&out, "tlsup_certificates 6\n");
    assert_has(&out, "tlsup_certificate_not_after_seconds{name=\"good.example.org\"} 1795184000\n");
    assert_has(&out, "tlsup_certificate_state{name=\"old.example.org\",state=\"expired\"} 1\n");
    assert_has(&out, "tlsup_certificate_state{name=\"old.example.org\",state=\"valid\"} 0\n");
    assert_has(&out, "tlsup_certificate_failures{name=\"failing.example.org\"} 3\n");
    assert_has(&out, "tlsup_certificate_names{name=\"good.example.org\"} 2\n");
    assert_string_equal(buf_str(&out) + out.len - 6, "# EOF\n");
    ok(status_write_metrics(f->store, path, &err), &err);
    ok(fs_read(path, 1 << 20, &file, &err), &err);
    assert_string_equal(buf_str(&file), buf_str(&out));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0644);
    AUTO_FREE char *nowhere = mem_fmt("%s/no/tlsup.prom", f->root);
    assert_false(status_write_metrics(f->store, nowhere, &err));
    assert_non_null(strstr(err.text, "metrics"));
    assert_non_null(strstr(err.advice, "metrics-file"));
}

static void test_secrets_of_settings_are_masked(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    struct request request = {.log_level = LOG_LEVEL_WARN};
    struct cert_config config;
    AUTO_BUF out = BUF_INIT;
    cert_config_init(&config);
    config.name = mem_dup("a.example.org");
    strlist_add(&config.names, "a.example.org");
    config.proxy = mem_dup("http://user:hush@proxy.example:3128");
    config.key = mem_dup("pkcs11:token=t;object=k?pin-value=123456");
    ok(store_cert_config_save(f->store, &config, &err), &err);
    cert_config_clear(&config);
    strlist_add(&request.arguments, "a.example.org");
    run_piped(f, &request, &out);
    assert_has(&out, "proxy = http://*********@proxy.example:3128");
    assert_has(&out, "object=k?pin-value=******");
    buf_reset(&out);
    request.json = true;
    run_piped(f, &request, &out);
    assert_null(strstr(buf_str(&out), "hush"));
    assert_null(strstr(buf_str(&out), "123456"));
    strlist_clear(&request.arguments);
}

static void test_full_output_is_an_error(void **state)
{
    struct request request = {.log_level = LOG_LEVEL_WARN};
    struct err err = ERR_INIT;
    int fd = open("/dev/full", O_WRONLY);
    if (fd < 0) {
        print_message("no /dev/full here\n");
        skip();
    }
    one_of_each(*state);
    assert_false(run_into(*state, &request, fd, -1, NULL, &err));
    assert_int_equal(err.code, ERR_NO_SPACE);
    close(fd);
}

static void test_says_that_nothing_renews(void **state)
{
    struct request request = {.log_level = LOG_LEVEL_WARN};
    AUTO_BUF out = BUF_INIT;
    one_of_each(*state);
    run_piped(*state, &request, &out);
    assert_has(&out, "Nothing runs tlsup renew here");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_empty_store_says_what_to_type),
        TEST(test_directories_that_are_not_there),
        TEST(test_json_tells_every_state),
        TEST(test_json_tells_all_about_one),
        TEST(test_problems_come_first),
        TEST(test_table_fits_every_terminal),
        TEST(test_one_by_any_of_its_names),
        TEST(test_damage_is_told_and_hides_nothing),
        TEST(test_full_output_is_an_error),
        TEST(test_says_that_nothing_renews),
        TEST(test_a_deployment_that_failed_is_a_failure),
        TEST(test_how_the_last_run_ended),
        TEST(test_what_failed_in_the_last_run_is_over),
        TEST(test_lines_for_awk),
        TEST(test_a_fleet_is_cut_on_a_terminal_alone),
        TEST(test_metrics),
        TEST(test_secrets_of_settings_are_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
