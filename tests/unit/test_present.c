/*
 * test_present.c - the presenter as a state machine: real hooks, real files, a responder's end of a socket
 * pair, and a domain name system whose answers the tests write (the functions of resolver.h are defined
 * here).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/process/present.h"
#include "tlsup/clock.h"
#include "tlsup/dns_record.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/messages.h"
#include "tlsup/resolver.h"

#define ACCOUNT "https://ca.example/acct/1"
#define THUMBPRINT "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
#define TOKEN "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"

enum { PATIENCE_MS = 20 * 1000, MAX_ASKED = 64, MAX_TOLD = 64 };

/* -- the domain name system of the tests ---------------------------------------------------------------- */

struct asked {
    bool open;
    uint32_t id;
    enum dns_kind kind;
    char name[DNS_NAME_BYTES];
    char value[2048];
    char servers[256];
    struct buf packet;
    dns_done_fn *done;
    void *ctx;
};

/* What is answered to every question of a kind. */
struct script {
    bool hold; /* no answer yet */
    bool fails;
    const char *name; /* NULL: as asked */
    const char *zone;
    const char *servers[4];
    const char *values[4];
    int rcode;
};

struct resolver {
    struct asked asked[MAX_ASKED];
    size_t n;
    struct script script[DNS_KINDS];
};

uint32_t resolver_ask(struct resolver *resolver, const struct dns_question *question, dns_done_fn *done,
                      void *ctx)
{
    assert_true(resolver->n < MAX_ASKED);
    struct asked *asked = &resolver->asked[resolver->n++];
    *asked = (struct asked){.open = true,
                            .id = (uint32_t)resolver->n,
                            .kind = question->kind,
                            .packet = BUF_INIT,
                            .done = done,
                            .ctx = ctx};
    assert_true(question->timeout_ms > 0);
    snprintf(asked->name, sizeof asked->name, "%s", question->name);
    snprintf(asked->value, sizeof asked->value, "%s", question->value != NULL ? question->value : "");
    if (question->kind == DNS_UPDATE) {
        AUTO_FREE char *servers = strlist_join(question->servers, " ");
        snprintf(asked->servers, sizeof asked->servers, "%s", servers);
        buf_add(&asked->packet, question->packet, question->packet_len);
    }
    return asked->id;
}

void resolver_forget(struct resolver *resolver, uint32_t id)
{
    assert_true(id >= 1 && id <= resolver->n);
    resolver->asked[id - 1].open = false;
}

int resolver_fd(const struct resolver *resolver)
{
    (void)resolver;
    return -1;
}

int resolver_timeout_ms(const struct resolver *resolver)
{
    for (size_t i = 0; i < resolver->n; i++)
        if (resolver->asked[i].open && !resolver->script[resolver->asked[i].kind].hold)
            return 0;
    return -1;
}

static void answer(struct asked *asked, const struct script *script)
{
    struct dns_answer found = {.rcode = script->rcode};
    struct err err = ERR_INIT;
    asked->open = false;
    if (script->fails) {
        err_set(&err, ERR_TIMEOUT, NEXT_RETRY_LATER, asked->name, "nobody answers");
        asked->done(asked->ctx, NULL, &err);
        return;
    }
    snprintf(found.name, sizeof found.name, "%s", script->name != NULL ? script->name : asked->name);
    snprintf(found.zone, sizeof found.zone, "%s", script->zone != NULL ? script->zone : "example.org");
    for (size_t i = 0; i < COUNT_OF(script->values) && script->values[i] != NULL; i++)
        strlist_add(&found.values, script->values[i]);
    for (size_t i = 0; i < COUNT_OF(script->servers) && script->servers[i] != NULL; i++)
        strlist_add(&found.servers, script->servers[i]);
    asked->done(asked->ctx, &found, NULL);
    strlist_clear(&found.values);
    strlist_clear(&found.servers);
}

void resolver_receive(struct resolver *resolver)
{
    for (size_t i = 0; i < resolver->n; i++)
        if (resolver->asked[i].open && !resolver->script[resolver->asked[i].kind].hold)
            answer(&resolver->asked[i], &resolver->script[resolver->asked[i].kind]);
}

/* Not used by the presenter; here so that the real ones stay out of the program. */
bool resolver_start(struct resolver **out, struct err *err)
{
    (void)out;
    return err_set(err, ERR_INTERNAL, NEXT_NONE, NULL, "not in this test");
}

void resolver_stop(struct resolver *resolver)
{
    (void)resolver;
}

void resolver_wait(struct resolver *resolver, int timeout_ms)
{
    (void)timeout_ms;
    resolver_receive(resolver);
}

/* -- the fixture ---------------------------------------------------------------------------------------- */

struct told {
    uint32_t order_id;
    int index;
    bool ok;
    struct err err;
};

struct fixture {
    char dir[64];
    struct resolver resolver;
    struct role responder;
    int far_end; /* the responder's */
    struct cert_config config;
    struct job job;
    struct presenter_options options;
    struct presenter *presenter;
    struct told told[MAX_TOLD];
    size_t n_told;
};

static void on_done(void *ctx, uint32_t order_id, int index, const struct err *failure)
{
    struct fixture *f = ctx;
    assert_true(f->n_told < MAX_TOLD);
    struct told *told = &f->told[f->n_told++];
    *told = (struct told){.order_id = order_id, .index = index, .ok = failure == NULL};
    if (failure != NULL) {
        assert_true(err_isset(failure));
        told->err = *failure;
    }
}

static void way(struct fixture *f, enum config_challenge via)
{
    f->job.way[config_challenge_type(via)] = via;
}

static int setup(void **state)
{
    struct fixture *f = mem_alloc(sizeof *f);
    int pair[2];
    snprintf(f->dir, sizeof f->dir, "/tmp/test_present.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(chmod(f->dir, 0755), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    f->responder = (struct role){.pid = 0, .fd = pair[0]};
    f->far_end = pair[1];
    cert_config_init(&f->config);
    f->config.name = mem_dup("example.org");
    strlist_add(&f->config.names, "example.org");
    strlist_add(&f->config.names, "*.example.org");
    f->job.config = &f->config;
    f->options = (struct presenter_options){.responder = &f->responder,
                                            .resolver = &f->resolver,
                                            .state_dir = f->dir,
                                            .account_url = ACCOUNT,
                                            .thumbprint = THUMBPRINT,
                                            .hash_prefix = "",
                                            .done = on_done,
                                            .ctx = f};
    f->presenter = presenter_new(&f->options);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct err ignored = ERR_INIT;
    presenter_free(f->presenter);
    job_clear(&f->job);
    cert_config_clear(&f->config);
    for (size_t i = 0; i < f->resolver.n; i++)
        buf_clear(&f->resolver.asked[i].packet);
    if (f->responder.fd >= 0)
        close(f->responder.fd);
    close(f->far_end);
    AUTO_FREE char *command = mem_fmt("rm -rf %s", f->dir);
    int status = system(command);
    (void)ignored;
    free(f);
    return status;
}

static void restart(struct fixture *f)
{
    presenter_free(f->presenter);
    f->presenter = presenter_new(&f->options);
}

static char *in_dir(const struct fixture *f, const char *name)
{
    return mem_fmt("%s/%s", f->dir, name);
}

static void write_text(const struct fixture *f, const char *name, const char *text, mode_t mode)
{
    AUTO_FREE char *path = in_dir(f, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static bool there(const struct fixture *f, const char *name)
{
    AUTO_FREE char *path = in_dir(f, name);
    return access(path, F_OK) == 0;
}

/* A shell script that has the fixture's directory as D. */
static char *script(const struct fixture *f, const char *name, const char *body)
{
    AUTO_FREE char *text = mem_fmt("#!/bin/sh\nD=%s\n%s\n", f->dir, body);
    write_text(f, name, text, 0755);
    return in_dir(f, name);
}

static void use_hook(struct fixture *f, enum hook_contract contract, const char *body)
{
    free(f->config.challenge_hook);
    f->config.hook_contract = contract;
    f->config.challenge_hook = script(f, "hook", body);
}

static char *log_text(const struct fixture *f)
{
    AUTO_FREE char *path = in_dir(f, "log");
    struct buf text = BUF_INIT;
    struct err err = ERR_INIT;
    if (!there(f, "log"))
        return mem_dup("");
    if (!fs_read(path, 1 << 20, &text, &err))
        fail_msg("%s", err.text);
    return buf_take(&text);
}

static void expect_log(const struct fixture *f, const char *want)
{
    AUTO_FREE char *text = log_text(f);
    assert_string_equal(text, want);
}

static void present(struct fixture *f, int index, enum challenge_type type, const char *name)
{
    const struct presentation what = {.job = &f->job,
                                      .order_id = 1,
                                      .index = index,
                                      .type = type,
                                      .name = name,
                                      .token = TOKEN,
                                      .persist = ""};
    presenter_present(f->presenter, &what);
}

static void present_persist(struct fixture *f, const char *name, const char *persist)
{
    const struct presentation what = {.job = &f->job,
                                      .order_id = 1,
                                      .index = 0,
                                      .type = CHALLENGE_DNS_PERSIST_01,
                                      .name = name,
                                      .token = "",
                                      .persist = persist};
    way(f, CHALLENGE_VIA_DNS_PERSIST);
    presenter_present(f->presenter, &what);
}

static void one_step(struct fixture *f)
{
    struct pollfd fds[PRESENTER_FDS];
    size_t n = presenter_pollfds(f->presenter, fds);
    int wait_ms = presenter_timeout_ms(f->presenter);
    assert_true(n <= PRESENTER_FDS);
    (void)poll(fds, n, wait_ms < 0 || wait_ms > 20 ? 20 : wait_ms);
    (void)presenter_step(f->presenter);
}

static void until_told(struct fixture *f, size_t n)
{
    int64_t deadline_ms = clock_mono_ms() + PATIENCE_MS;
    while (f->n_told < n) {
        if (clock_mono_ms() > deadline_ms)
            fail_msg("told %zu of %zu", f->n_told, n);
        one_step(f);
    }
    assert_int_equal(f->n_told, n);
}

static void until_there(struct fixture *f, const char *file)
{
    int64_t deadline_ms = clock_mono_ms() + PATIENCE_MS;
    while (!there(f, file)) {
        if (clock_mono_ms() > deadline_ms)
            fail_msg("%s did not come", file);
        one_step(f);
    }
}

static void until_idle(struct fixture *f)
{
    int64_t deadline_ms = clock_mono_ms() + PATIENCE_MS;
    while (!presenter_idle(f->presenter)) {
        if (clock_mono_ms() > deadline_ms)
            fail_msg("never idle");
        one_step(f);
    }
    assert_false(presenter_busy(f->presenter));
}

static void expect_ok(const struct fixture *f, size_t which, int index)
{
    if (!f->told[which].ok)
        fail_msg("%s", f->told[which].err.text);
    assert_int_equal(f->told[which].index, index);
    assert_int_equal(f->told[which].order_id, 1);
}

static void expect_failure(const struct fixture *f, size_t which, enum err_code code, const char *part)
{
    assert_false(f->told[which].ok);
    if (f->told[which].err.code != code || strstr(f->told[which].err.text, part) == NULL)
        fail_msg("%s: %s", err_code_name(f->told[which].err.code), f->told[which].err.text);
}

static void expect_asked(const struct fixture *f, size_t which, enum dns_kind kind, const char *name)
{
    assert_true(which < f->resolver.n);
    assert_int_equal(f->resolver.asked[which].kind, kind);
    assert_string_equal(f->resolver.asked[which].name, name);
}

static const char *value_of(const char *token)
{
    static char value[DNS_VALUE_BYTES];
    AUTO_FREE char *key_authorization = mem_fmt("%s.%s", token, THUMBPRINT);
    dns_record_value(key_authorization, value);
    return value;
}

/* -- answers that are there at once --------------------------------------------------------------------- */

static void expect_frame(const struct fixture *f, enum msg_type type, const char *token, const char *text)
{
    struct msg msg = {0};
    struct err err = ERR_INIT;
    assert_int_equal(msg_receive(f->far_end, MSG_FROM_KEEPER, &msg, &err), 1);
    assert_int_equal(msg.type, type);
    assert_string_equal(msg.token, token);
    if (text != NULL)
        assert_string_equal(msg.text, text);
    msg_clear(&msg);
}

static void expect_no_frame(const struct fixture *f)
{
    struct msg msg = {0};
    struct err err = ERR_INIT;
    assert_int_equal(msg_receive(f->far_end, MSG_FROM_KEEPER, &msg, &err), 0);
}

static void test_our_own_responder(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_STANDALONE);
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    assert_int_equal(f->n_told, 1); /* nothing to wait for */
    expect_ok(f, 0, 0);
    expect_frame(f, MSG_TOKEN_ADD, TOKEN, TOKEN "." THUMBPRINT);
    assert_false(presenter_busy(f->presenter));
    assert_false(presenter_idle(f->presenter)); /* it must be taken away yet */
    presenter_cleanup(f->presenter, 1, 0, false);
    expect_frame(f, MSG_TOKEN_DROP, TOKEN, NULL);
    expect_no_frame(f);
    assert_true(presenter_idle(f->presenter));
    presenter_cleanup(f->presenter, 1, 0, false); /* what is gone may be cleaned up again */
    expect_no_frame(f);
    assert_int_equal(f->n_told, 1);
}

static void test_responder_in_place_of_the_web_server(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_WEB_SERVER);
    f->job.use_responder = true;
    present(f, 3, CHALLENGE_HTTP_01, "example.org");
    expect_ok(f, 0, 3);
    expect_frame(f, MSG_TOKEN_ADD, TOKEN, NULL);
    presenter_cleanup(f->presenter, 1, 2, false); /* another's */
    presenter_cleanup(f->presenter, 2, 3, false);
    expect_no_frame(f);
    presenter_cleanup_job(f->presenter, &f->job);
    expect_frame(f, MSG_TOKEN_DROP, TOKEN, NULL);
}

static void test_alpn(void **state)
{
    /* SHA-256 of the key authorization, worked out apart */
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct fixture *f = *state;
    struct msg msg = {0};
    struct err err = ERR_INIT;
    const char *value = value_of(TOKEN); /* base64url of the same */
    char hex[65];
    unsigned bits = 0, n_bits = 0, n = 0;
    for (const char *c = value; *c != '\0' && n < 64; c++) {
        bits = bits << 6 | (unsigned)(strchr(alphabet, *c) - alphabet);
        for (n_bits += 6; n_bits >= 4 && n < 64; n_bits -= 4)
            snprintf(hex + n++, 2, "%x", bits >> (n_bits - 4) & 15);
    }
    way(f, CHALLENGE_VIA_TLS_ALPN);
    present(f, 0, CHALLENGE_TLS_ALPN_01, "192.0.2.7");
    expect_ok(f, 0, 0);
    assert_int_equal(msg_receive(f->far_end, MSG_FROM_KEEPER, &msg, &err), 1);
    assert_int_equal(msg.type, MSG_ALPN_ADD);
    assert_string_equal(msg.name, "192.0.2.7");
    assert_string_equal(msg.token, TOKEN);
    assert_string_equal(msg.text, hex);
    msg_clear(&msg);
    presenter_cleanup(f->presenter, 1, 0, true);
    expect_frame(f, MSG_TOKEN_DROP, TOKEN, NULL);
}

static void test_no_responder(void **state)
{
    struct fixture *f = *state;
    struct role down = ROLE_INIT;
    way(f, CHALLENGE_VIA_STANDALONE);
    f->options.responder = &down;
    restart(f);
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    assert_int_equal(f->n_told, 1);
    expect_failure(f, 0, ERR_CHILD, "not running");
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_true(presenter_idle(f->presenter));
    f->options.responder = NULL;
    restart(f);
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    expect_failure(f, 1, ERR_CHILD, "not running");
    presenter_cleanup_job(f->presenter, &f->job);
    assert_true(presenter_idle(f->presenter));
}

static void test_responder_died(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_STANDALONE);
    close(f->far_end);
    f->far_end = open("/dev/null", O_RDONLY | O_CLOEXEC);
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    assert_int_equal(f->n_told, 1);
    assert_false(f->told[0].ok);
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_true(presenter_idle(f->presenter));
}

static void expect_file(const struct fixture *f, const char *name)
{
    AUTO_FREE char *path = in_dir(f, name);
    AUTO_BUF text = BUF_INIT;
    struct err err = ERR_INIT;
    struct stat st;
    assert_true(fs_read(path, 1024, &text, &err));
    assert_string_equal(buf_str(&text), TOKEN "." THUMBPRINT);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0644); /* the web server's user reads it */
}

static void test_webroot(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_WEBROOT);
    f->config.webroot = mem_dup(f->dir);
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    expect_ok(f, 0, 0);
    expect_file(f, ".well-known/acme-challenge/" TOKEN);
    presenter_cleanup(f->presenter, 1, 0, false);
    assert_false(there(f, ".well-known"));
    assert_true(presenter_idle(f->presenter));
}

static void test_webroot_missing(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_WEBROOT);
    f->config.webroot = in_dir(f, "nowhere");
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    assert_int_equal(f->n_told, 1);
    expect_failure(f, 0, ERR_CONFIG, "");
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_true(presenter_idle(f->presenter));
}

static void test_token_directory(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_WEB_SERVER);
    f->job.token_dir = f->dir;
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    expect_ok(f, 0, 0);
    expect_file(f, TOKEN);
    expect_no_frame(f);
    presenter_cleanup(f->presenter, 1, 0, false);
    assert_false(there(f, TOKEN));
}

/* The web server makes the answer up by itself, from the token and the thumbprint. */
static void test_standing_answer_of_the_web_server(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_WEB_SERVER);
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    expect_ok(f, 0, 0);
    expect_no_frame(f);
    presenter_cleanup(f->presenter, 1, 0, false);
    expect_no_frame(f);
    assert_true(presenter_idle(f->presenter));
}

/* -- hooks ---------------------------------------------------------------------------------------------- */

static void test_dns_hook(void **state)
{
    struct fixture *f = *state;
    char want[512];
    way(f, CHALLENGE_VIA_DNS);
    f->resolver.script[DNS_WHERE] =
        (struct script){.name = "proof.example.net", .zone = "example.net", .servers = {"192.0.2.1#53"}};
    use_hook(f, HOOK_TLSUP,
             "echo \"$1 $TLSUP_TYPE $TLSUP_NAME $TLSUP_RECORD $TLSUP_VALUE <$TLSUP_OUTPUT> <$TLSUP_FAILED> "
             "${TLSUP_HOOK_STATE#\"$D\"}\" >>$D/log\necho\necho ' id 4711 '; echo >&2");
    present(f, 0, CHALLENGE_DNS_01, "*.example.org");
    assert_int_equal(f->n_told, 0);
    assert_true(presenter_busy(f->presenter));
    until_told(f, 1);
    expect_ok(f, 0, 0);
    expect_asked(f, 0, DNS_WHERE, "_acme-challenge.example.org");
    /* the CA asks for the name itself: so do we */
    expect_asked(f, 1, DNS_TXT_EVERYWHERE, "_acme-challenge.example.org");
    assert_string_equal(f->resolver.asked[1].value, value_of(TOKEN));
    assert_false(presenter_busy(f->presenter));
    presenter_cleanup(f->presenter, 1, 0, false);
    assert_true(presenter_busy(f->presenter));
    until_idle(f);
    snprintf(want, sizeof want,
             "present dns-01 *.example.org proof.example.net %s <> <> /hooks\n"
             "cleanup dns-01 *.example.org proof.example.net %s <id 4711> <0> /hooks\n",
             value_of(TOKEN), value_of(TOKEN));
    expect_log(f, want);
    assert_int_equal(f->n_told, 1);
    assert_int_equal(f->resolver.n, 2);
}

static void test_dns_account_hook(void **state)
{
    struct fixture *f = *state;
    char record[DNS_NAME_BYTES];
    struct err err = ERR_INIT;
    AUTO_FREE char *want = NULL;
    way(f, CHALLENGE_VIA_DNS_ACCOUNT);
    use_hook(f, HOOK_LEGO, "echo \"$@\" >>$D/log");
    assert_true(dns_record_name(CHALLENGE_DNS_ACCOUNT_01, "example.org", ACCOUNT, record, &err));
    present(f, 0, CHALLENGE_DNS_ACCOUNT_01, "example.org");
    until_told(f, 1);
    expect_ok(f, 0, 0);
    expect_asked(f, 0, DNS_WHERE, record);
    presenter_cleanup(f->presenter, 1, 0, false);
    until_idle(f);
    want = mem_fmt("present %s. %s\ncleanup %s. %s\n", record, value_of(TOKEN), record, value_of(TOKEN));
    expect_log(f, want);
}

struct contract_row {
    enum hook_contract contract;
    enum config_challenge via;
    bool failed;
    const char *want; /* V: the DNS value, K: the key authorization */
};

static void replace_all(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == 'V')
            buf_adds(out, value_of(TOKEN));
        else if (*text == 'K')
            buf_adds(out, TOKEN "." THUMBPRINT);
        else if (*text == 'T')
            buf_adds(out, TOKEN);
        else
            buf_addc(out, *text);
    }
}

static void test_contracts(void **state)
{
    static const struct contract_row rows[] = {
        {HOOK_CERTBOT, CHALLENGE_VIA_DNS, false, "auth example.org V \ncleanup example.org V said\n"},
        {HOOK_CERTBOT, CHALLENGE_VIA_HTTP_HOOK, true, "auth example.org K T\ncleanup example.org K Tsaid\n"},
        {HOOK_DEHYDRATED, CHALLENGE_VIA_DNS, false,
         "deploy_challenge example.org T V\nclean_challenge example.org T V\n"},
        {HOOK_DEHYDRATED, CHALLENGE_VIA_HTTP_HOOK, true,
         "deploy_challenge example.org T K\nclean_challenge example.org T K\n"},
        {HOOK_UACME, CHALLENGE_VIA_DNS, false, "begin dns-01 example.org T V\ndone dns-01 example.org T V\n"},
        {HOOK_UACME, CHALLENGE_VIA_HTTP_HOOK, true,
         "begin http-01 example.org T K\nfailed http-01 example.org T K\n"},
        {HOOK_LEGO, CHALLENGE_VIA_DNS, true,
         "present _acme-challenge.example.org. V\ncleanup _acme-challenge.example.org. V\n"},
        {HOOK_LEGO_RAW, CHALLENGE_VIA_DNS, false, "present -- example.org T K\ncleanup -- example.org T K\n"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        AUTO_BUF want = BUF_INIT;
        AUTO_FREE char *path = in_dir(f, "log");
        (void)unlink(path);
        way(f, rows[i].via);
        if (rows[i].contract == HOOK_CERTBOT) {
            use_hook(f, HOOK_CERTBOT,
                     "echo \"auth $CERTBOT_DOMAIN $CERTBOT_VALIDATION $CERTBOT_TOKEN\" >>$D/log\necho said");
            free(f->config.cleanup_hook);
            f->config.cleanup_hook = script(f, "cleanup",
                                            "echo \"cleanup $CERTBOT_DOMAIN $CERTBOT_VALIDATION "
                                            "$CERTBOT_TOKEN$CERTBOT_AUTH_OUTPUT\" >>$D/log");
            if (rows[i].via == CHALLENGE_VIA_DNS) /* the output follows a blank there */
                use_hook(f, HOOK_CERTBOT,
                         "echo \"auth $CERTBOT_DOMAIN $CERTBOT_VALIDATION \" >>$D/log\necho said");
        } else {
            use_hook(f, rows[i].contract, "echo \"$@\" >>$D/log");
        }
        f->n_told = 0;
        present(f, 0, config_challenge_type(rows[i].via), "example.org");
        until_told(f, 1);
        expect_ok(f, 0, 0);
        presenter_cleanup(f->presenter, 1, 0, rows[i].failed);
        until_idle(f);
        replace_all(&want, rows[i].want);
        expect_log(f, buf_str(&want));
    }
}

/* Without a clean-up program there is nothing to run, for any number of answers. */
static void test_certbot_without_cleanup(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_HTTP_HOOK);
    use_hook(f, HOOK_CERTBOT, "echo run >>$D/log");
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    present(f, 1, CHALLENGE_HTTP_01, "example.org");
    until_told(f, 2);
    presenter_cleanup_job(f->presenter, &f->job);
    until_idle(f);
    expect_log(f, "run\nrun\n");
}

/* One at a time, in the order in which they came; each knows how many come after it. */
static void test_one_at_a_time(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *text = NULL;
    way(f, CHALLENGE_VIA_DNS);
    f->resolver.script[DNS_TXT_EVERYWHERE].hold =
        true; /* these take their time, and do not keep the next hook waiting */
    use_hook(f, HOOK_TLSUP,
             "mkdir $D/alone || echo overlap >>$D/log\n"
             "echo \"$1 $TLSUP_NAME $TLSUP_REMAINING\" >>$D/log\nsleep 0.05\nrmdir $D/alone");
    present(f, 0, CHALLENGE_DNS_01, "a.example.org");
    present(f, 1, CHALLENGE_DNS_01, "b.example.org");
    present(f, 2, CHALLENGE_DNS_01, "c.example.org");
    f->resolver.script[DNS_TXT_EVERYWHERE].hold = true;
    int64_t deadline_ms = clock_mono_ms() + PATIENCE_MS;
    while (f->resolver.n < 6 && clock_mono_ms() < deadline_ms)
        one_step(f);
    assert_int_equal(f->resolver.n, 6); /* three times where, three times whether */
    f->resolver.script[DNS_TXT_EVERYWHERE].hold = false;
    until_told(f, 3);
    presenter_cleanup(f->presenter, 1, 1, false);
    presenter_cleanup_job(f->presenter, &f->job);
    until_idle(f);
    text = log_text(f);
    assert_null(strstr(text, "overlap"));
    char *cleanups = strstr(text, "cleanup");
    assert_non_null(cleanups);
    AUTO_FREE char *presents = mem_ndup(text, (size_t)(cleanups - text));
    assert_string_equal(presents,
                        "present a.example.org 2\npresent b.example.org 1\npresent c.example.org 0\n");
    assert_non_null(strstr(cleanups, "cleanup a.example.org"));
    assert_non_null(strstr(cleanups, "cleanup b.example.org"));
    assert_non_null(strstr(cleanups, "cleanup c.example.org"));
}

static void test_hook_fails(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_DNS);
    use_hook(f, HOOK_TLSUP,
             "echo \"$1 $TLSUP_FAILED\" >>$D/log\n[ $1 = cleanup ] && exit 0\n"
             "printf 'no such \\033[31mzone\\n'\nexit 3");
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    until_told(f, 1);
    expect_failure(f, 0, ERR_HOOK, f->config.challenge_hook);
    assert_non_null(strstr(f->told[0].err.text, "no such ?[31mzone"));
    assert_string_equal(f->told[0].err.subject, "example.org");
    assert_int_equal(f->resolver.n, 1);          /* nothing to look for */
    presenter_cleanup(f->presenter, 1, 0, true); /* it may have got half-way */
    until_idle(f);
    expect_log(f, "present \ncleanup 1\n");
    assert_int_equal(f->n_told, 1);
}

static void test_cleanup_fails(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_HTTP_HOOK);
    use_hook(f, HOOK_DEHYDRATED, "[ $1 = deploy_challenge ]");
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    present(f, 1, CHALLENGE_HTTP_01, "example.org");
    until_told(f, 2);
    presenter_cleanup_job(f->presenter, &f->job);
    until_idle(f); /* a warning, no more */
    assert_int_equal(f->n_told, 2);
}

static void test_hook_times_out(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_HTTP_HOOK);
    f->config.hook_timeout_s = 1;
    use_hook(f, HOOK_DEHYDRATED, "[ $1 = deploy_challenge ] || exit 0\necho begun\nsleep 600 & wait");
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    until_told(f, 1);
    expect_failure(f, 0, ERR_HOOK, "did not end in time:\n| begun");
    presenter_cleanup(f->presenter, 1, 0, true);
    until_idle(f);
}

static void test_hook_missing(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_HTTP_HOOK);
    use_hook(f, HOOK_DEHYDRATED, "true");
    assert_int_equal(unlink(f->config.challenge_hook), 0);
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    present(f, 1, CHALLENGE_HTTP_01, "example.org");
    until_told(f, 2);
    expect_failure(f, 0, ERR_NOT_FOUND, "cannot find the program");
    expect_failure(f, 1, ERR_NOT_FOUND, "cannot find the program");
    presenter_cleanup_job(f->presenter, &f->job);
    until_idle(f);
}

static void test_hook_that_anybody_may_change(void **state)
{
    struct fixture *f = *state;
    if (geteuid() != 0)
        skip(); /* only as root is it refused */
    way(f, CHALLENGE_VIA_HTTP_HOOK);
    use_hook(f, HOOK_CERTBOT, "echo run >>$D/log");
    f->config.cleanup_hook = script(f, "cleanup", "echo cleaned >>$D/log");
    assert_int_equal(chmod(f->config.challenge_hook, 0757), 0);
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    until_told(f, 1);
    expect_failure(f, 0, ERR_PERMISSION, "as root");
    presenter_cleanup(f->presenter, 1, 0, true);
    until_idle(f);
    expect_log(f, "");
    /* the program that cleans up as well */
    assert_int_equal(chmod(f->config.challenge_hook, 0755), 0);
    assert_int_equal(chmod(f->config.cleanup_hook, 0757), 0);
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    until_told(f, 2);
    presenter_cleanup(f->presenter, 1, 0, false);
    until_idle(f);
    AUTO_FREE char *text = log_text(f);
    assert_null(strstr(text, "cleaned"));
}

static void test_hook_env(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_HTTP_HOOK);
    f->config.hook_env = in_dir(f, "env");
    write_text(f, "env", "API_KEY=s3cret\n", 0600);
    use_hook(f, HOOK_TLSUP, "echo $API_KEY >>$D/log");
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    until_told(f, 1);
    expect_ok(f, 0, 0);
    expect_log(f, "s3cret\n");
    write_text(f, "env", "API_KEY=s3cret\n", 0644);
    presenter_cleanup(f->presenter, 1, 0, false);
    until_idle(f);
    present(f, 1, CHALLENGE_HTTP_01, "example.org");
    until_told(f, 2);
    expect_failure(f, 1, ERR_PERMISSION, "");
    assert_null(strstr(f->told[1].err.text, "s3cret"));
    expect_log(f, "s3cret\n");
}

/* What runs is let end, then undone; nobody is told any more, since the index may be another's by now. */
static void test_cleanup_while_the_hook_runs(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_DNS);
    use_hook(f, HOOK_TLSUP,
             "echo \"$1 $TLSUP_OUTPUT\" >>$D/log\n[ $1 = cleanup ] && exit 0\necho made\n"
             "touch $D/running\nwhile [ ! -e $D/go ]; do sleep 0.02; done");
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    present(f, 1, CHALLENGE_DNS_01, "www.example.org"); /* never gets its turn */
    until_there(f, "running");
    presenter_cleanup_job(f->presenter, &f->job);
    assert_true(presenter_busy(f->presenter));
    write_text(f, "go", "", 0644);
    until_idle(f);
    expect_log(f, "present \ncleanup made\n");
    assert_int_equal(f->resolver.n, 2); /* where, twice: nobody waits until it is seen */
    assert_int_equal(f->n_told, 0);
}

static void test_cleanup_while_looking_up(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_DNS);
    use_hook(f, HOOK_TLSUP, "echo run >>$D/log");
    f->resolver.script[DNS_WHERE].hold = true;
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_true(presenter_idle(f->presenter)); /* nothing was placed */
    f->resolver.script[DNS_WHERE].hold = false;
    (void)presenter_step(f->presenter);
    expect_log(f, "");
    assert_int_equal(f->n_told, 0);
}

static void test_cleanup_while_waiting_to_be_seen(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_DNS);
    use_hook(f, HOOK_TLSUP, "echo $1 >>$D/log");
    f->resolver.script[DNS_TXT_EVERYWHERE].hold = true;
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    int64_t deadline_ms = clock_mono_ms() + PATIENCE_MS;
    while (f->resolver.n < 2 && clock_mono_ms() < deadline_ms)
        one_step(f);
    assert_int_equal(f->resolver.n, 2);
    presenter_cleanup(f->presenter, 1, 0, true);
    until_idle(f);
    assert_false(f->resolver.asked[1].open);
    expect_log(f, "present\ncleanup\n");
    assert_int_equal(f->n_told, 0);
}

/* A fresh order has answers of the same indices while those of the old one are being taken away. */
static void test_same_index_again(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_HTTP_HOOK);
    use_hook(f, HOOK_TLSUP,
             "echo \"$1 $TLSUP_NAME\" >>$D/log\ntouch $D/running\n"
             "while [ ! -e $D/go ]; do sleep 0.02; done");
    present(f, 0, CHALLENGE_HTTP_01, "old.example.org");
    until_there(f, "running");
    presenter_cleanup(f->presenter, 1, 0, true);
    present(f, 0, CHALLENGE_HTTP_01, "new.example.org");
    write_text(f, "go", "", 0644);
    until_told(f, 1); /* of the new one alone */
    AUTO_FREE char *text = log_text(f);
    assert_non_null(strstr(text, "present new.example.org\n"));
    presenter_cleanup_job(f->presenter, &f->job);
    until_idle(f);
    assert_int_equal(f->n_told, 1);
}

static void test_jobs_are_apart(void **state)
{
    struct fixture *f = *state;
    struct job other = {.config = &f->config};
    const struct presentation what = {.job = &other,
                                      .order_id = 3,
                                      .index = 0,
                                      .type = CHALLENGE_HTTP_01,
                                      .name = "example.net",
                                      .token = "other-token",
                                      .persist = ""};
    way(f, CHALLENGE_VIA_STANDALONE);
    other.way[CHALLENGE_HTTP_01] = CHALLENGE_VIA_STANDALONE;
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    presenter_present(f->presenter, &what);
    expect_frame(f, MSG_TOKEN_ADD, TOKEN, NULL);
    expect_frame(f, MSG_TOKEN_ADD, "other-token", "other-token." THUMBPRINT);
    presenter_cleanup_job(f->presenter, &f->job);
    expect_frame(f, MSG_TOKEN_DROP, TOKEN, NULL);
    expect_no_frame(f);
    presenter_cleanup_job(f->presenter, &other);
    expect_frame(f, MSG_TOKEN_DROP, "other-token", NULL);
}

/* Killed with its children; what it has placed stays. */
static void test_free_while_a_hook_runs(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_HTTP_HOOK);
    use_hook(f, HOOK_TLSUP, "touch $D/running\nsleep 600; echo late >>$D/log");
    present(f, 0, CHALLENGE_HTTP_01, "example.org");
    present(f, 1, CHALLENGE_HTTP_01, "example.org");
    until_there(f, "running");
    restart(f);
    assert_int_equal(f->n_told, 0);
    expect_log(f, "");
}

static void test_free_with_a_question_open(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_DNS);
    use_hook(f, HOOK_TLSUP, "true");
    f->resolver.script[DNS_WHERE].hold = true;
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    restart(f);
    assert_false(f->resolver.asked[0].open);
}

/* -- the domain name system ----------------------------------------------------------------------------- */

static void test_record_never_seen(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_DNS);
    use_hook(f, HOOK_TLSUP, "echo $1 >>$D/log");
    f->resolver.script[DNS_TXT_EVERYWHERE].fails = true;
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    until_told(f, 1);
    expect_failure(f, 0, ERR_TIMEOUT, "nobody answers");
    presenter_cleanup(f->presenter, 1, 0, true);
    until_idle(f);
    expect_log(f, "present\ncleanup\n");
}

static void test_nowhere_to_be_found(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_DNS);
    use_hook(f, HOOK_TLSUP, "echo \"$1 $TLSUP_RECORD\" >>$D/log");
    f->resolver.script[DNS_WHERE].fails = true;
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    until_told(f, 1);
    expect_failure(f, 0, ERR_TIMEOUT, "_acme-challenge.example.org");
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_true(presenter_idle(f->presenter)); /* the hook has nothing to undo */
    /* whoever looks after the records by himself is not kept from it */
    f->config.dns_check = false;
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    until_told(f, 2);
    expect_ok(f, 1, 0);
    presenter_cleanup(f->presenter, 1, 0, false);
    until_idle(f);
    expect_log(f, "present _acme-challenge.example.org\ncleanup _acme-challenge.example.org\n");
}

static void test_no_resolver(void **state)
{
    struct fixture *f = *state;
    way(f, CHALLENGE_VIA_DNS);
    use_hook(f, HOOK_TLSUP, "echo run >>$D/log");
    f->options.resolver = NULL;
    restart(f);
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    assert_int_equal(f->n_told, 1);
    expect_failure(f, 0, ERR_INTERNAL, "not running");
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_true(presenter_idle(f->presenter));
    assert_int_equal(presenter_timeout_ms(f->presenter), -1);
}

static void test_name_too_long_for_a_record(void **state)
{
    struct fixture *f = *state;
    char name[254];
    memset(name, 'a', sizeof name - 1);
    for (size_t i = 60; i < sizeof name - 1; i += 61)
        name[i] = '.';
    name[sizeof name - 1] = '\0';
    way(f, CHALLENGE_VIA_DNS);
    present(f, 0, CHALLENGE_DNS_01, name);
    assert_int_equal(f->n_told, 1);
    expect_failure(f, 0, ERR_NAME, "octets");
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_true(presenter_idle(f->presenter));
}

/* -- dynamic update ------------------------------------------------------------------------------------- */

static const char tsig_key[] = "key \"tlsup.\" {\n\talgorithm hmac-sha256;\n"
                               "\tsecret \"MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=\";\n};\n";

static void use_update(struct fixture *f, const char *server)
{
    way(f, CHALLENGE_VIA_DNS);
    f->config.dns_update_server = mem_dup(server);
    f->config.dns_update_key = in_dir(f, "tsig.key");
    write_text(f, "tsig.key", tsig_key, 0600);
    f->resolver.script[DNS_WHERE] = (struct script){.name = "_acme-challenge.example.net",
                                                    .zone = "example.net",
                                                    .servers = {"192.0.2.1#53", "[2001:db8::1]#53"}};
}

static int u16(const struct buf *packet, size_t at)
{
    const unsigned char *data = (const unsigned char *)packet->data;
    assert_true(at + 1 < packet->len);
    return data[at] << 8 | data[at + 1];
}

/* Class ANY deletes a whole set, NONE the one record, IN adds it (RFC 2136 section 2.5). */
static void expect_update(const struct fixture *f, size_t which, const char *zone_wire, int class,
                          const char *value)
{
    const struct buf *packet = &f->resolver.asked[which].packet;
    assert_int_equal(f->resolver.asked[which].kind, DNS_UPDATE);
    assert_int_equal(u16(packet, 2) >> 11 & 15, 5); /* the opcode */
    assert_int_equal(u16(packet, 4), 1);
    assert_int_equal(u16(packet, 6), 0);
    assert_int_equal(u16(packet, 8), 1);  /* one record */
    assert_int_equal(u16(packet, 10), 1); /* signed */
    assert_memory_equal(packet->data + 12, zone_wire, strlen(zone_wire) + 1);
    assert_non_null(memmem(packet->data, packet->len, "\x0bhmac-sha256", 12));
    const char *text = memmem(packet->data, packet->len, value, strlen(value));
    assert_non_null(text);
    size_t rdata = (size_t)(text - packet->data) - 1;
    assert_int_equal(u16(packet, rdata - 10), 16); /* TXT */
    assert_int_equal(u16(packet, rdata - 8), class);
    assert_null(memmem(packet->data, packet->len, "MTIzNDU2Nzg5", 12)); /* the secret stays here */
    assert_null(memmem(packet->data, packet->len, "1234567890123456", 16));
}

static void test_update(void **state)
{
    struct fixture *f = *state;
    if (!dns_available())
        skip();
    use_update(f, "primary");
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    until_told(f, 1);
    expect_ok(f, 0, 0);
    expect_asked(f, 0, DNS_WHERE, "_acme-challenge.example.org");
    assert_string_equal(f->resolver.asked[1].servers, "192.0.2.1#53 [2001:db8::1]#53");
    expect_update(f, 1,
                  "\x07"
                  "example\x03net",
                  1, value_of(TOKEN));
    expect_asked(f, 2, DNS_TXT_EVERYWHERE, "_acme-challenge.example.org");
    presenter_cleanup(f->presenter, 1, 0, false);
    until_idle(f);
    expect_update(f, 3,
                  "\x07"
                  "example\x03net",
                  254, value_of(TOKEN)); /* ours alone */
    assert_int_equal(f->resolver.n, 4);
}

static void test_update_of_another_server_and_zone(void **state)
{
    struct fixture *f = *state;
    if (!dns_available())
        skip();
    use_update(f, "198.51.100.5#5353");
    f->config.dns_update_zone = mem_dup("net");
    f->config.dns_check = false;
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    until_told(f, 1);
    expect_ok(f, 0, 0);
    assert_string_equal(f->resolver.asked[1].servers, "198.51.100.5#5353");
    expect_update(f, 1, "\x03net", 1, value_of(TOKEN));
}

static void test_update_refused(void **state)
{
    struct fixture *f = *state;
    if (!dns_available())
        skip();
    use_update(f, "primary");
    f->resolver.script[DNS_UPDATE].rcode = 5;
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    until_told(f, 1);
    assert_false(f->told[0].ok);
    assert_non_null(strstr(f->told[0].err.text, "example.net"));
    presenter_cleanup(f->presenter, 1, 0, true);
    until_idle(f); /* the server has changed nothing: there is nothing to take back */
    assert_int_equal(f->resolver.n, 2);
    assert_int_equal(f->n_told, 1);
}

/* No answer is no proof that nothing was done. */
static void test_update_without_an_answer(void **state)
{
    struct fixture *f = *state;
    if (!dns_available())
        skip();
    use_update(f, "primary");
    f->resolver.script[DNS_UPDATE].fails = true;
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    until_told(f, 1);
    expect_failure(f, 0, ERR_TIMEOUT, "example.net");
    f->resolver.script[DNS_UPDATE].fails = false;
    presenter_cleanup(f->presenter, 1, 0, true);
    until_idle(f);
    expect_update(f, 2,
                  "\x07"
                  "example\x03net",
                  254, value_of(TOKEN));
}

static void test_cleanup_while_updating(void **state)
{
    struct fixture *f = *state;
    if (!dns_available())
        skip();
    use_update(f, "primary");
    f->resolver.script[DNS_UPDATE].hold = true;
    f->resolver.script[DNS_TXT_EVERYWHERE].hold = true;
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    (void)presenter_step(f->presenter);
    assert_int_equal(f->resolver.n, 2);
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_false(presenter_idle(f->presenter));
    f->resolver.script[DNS_UPDATE].hold = false;
    until_idle(f); /* without waiting until all servers show what is to go */
    assert_int_equal(f->resolver.n, 3);
    expect_update(f, 2,
                  "\x07"
                  "example\x03net",
                  254, value_of(TOKEN));
    assert_int_equal(f->n_told, 0);
}

static void test_update_key_that_everybody_reads(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *path = in_dir(f, "tsig.key");
    if (!dns_available())
        skip();
    use_update(f, "primary");
    assert_int_equal(chmod(path, 0644), 0);
    present(f, 0, CHALLENGE_DNS_01, "example.org");
    until_told(f, 1);
    expect_failure(f, 0, ERR_PERMISSION, "");
    assert_int_equal(f->resolver.n, 1); /* nothing was sent */
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_true(presenter_idle(f->presenter));
}

/* -- dns-persist-01 ------------------------------------------------------------------------------------- */

static void test_persist_draft_1(void **state)
{
    struct fixture *f = *state;
    f->resolver.script[DNS_TXT] =
        (struct script){.values = {"other.example; accounturi=x", "ca.example; accounturi=" ACCOUNT}};
    present_persist(f, "example.org", "1\nca.example ca2.example\n");
    until_told(f, 1);
    expect_ok(f, 0, 0);
    expect_asked(f, 0, DNS_TXT, "_validation-persist.example.org");
    assert_int_equal(f->job.state.persist_until_s, 0);
    presenter_cleanup(f->presenter, 1, 0, false);
    assert_true(presenter_idle(f->presenter)); /* it stays */
    assert_int_equal(f->resolver.n, 1);
    present_persist(f, "example.org", "1\nca.example\n" ACCOUNT); /* as that draft may say it too */
    until_told(f, 2);
    expect_ok(f, 1, 0);
}

static void test_persist_lapses(void **state)
{
    struct fixture *f = *state;
    int64_t soon_s = clock_now_s() + 86400, later_s = clock_now_s() + 10 * 86400;
    AUTO_FREE char *first =
        mem_fmt("ca.example; accounturi=" ACCOUNT "; policy=wildcard; persistUntil=%lld", (long long)later_s);
    AUTO_FREE char *second =
        mem_fmt("ca.example; accounturi=" ACCOUNT "; persistUntil=%lld", (long long)soon_s);
    f->resolver.script[DNS_TXT] = (struct script){.values = {first}};
    present_persist(f, "*.example.org", "1\nca.example\n");
    until_told(f, 1);
    expect_ok(f, 0, 0);
    assert_int_equal(f->job.state.persist_until_s, later_s);
    f->resolver.script[DNS_TXT] = (struct script){.values = {second}};
    present_persist(f, "example.org", "1\nca.example\n");
    until_told(f, 2);
    assert_int_equal(f->job.state.persist_until_s, soon_s); /* the one that goes first */
    assert_int_equal(f->job.persist_until_s, soon_s);
    presenter_cleanup_job(f->presenter, &f->job);
}

/* A record for somebody else's account would let them have certificates for our names. */
static void test_persist_of_another_account(void **state)
{
    struct fixture *f = *state;
    f->resolver.script[DNS_TXT] =
        (struct script){.values = {"ca.example; accounturi=https://ca.example/acct/666"}};
    present_persist(f, "example.org", "1\nca.example\nhttps://ca.example/acct/666");
    assert_int_equal(f->n_told, 1);
    expect_failure(f, 0, ERR_PROTOCOL, "another account");
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_int_equal(f->resolver.n, 0);
    present_persist(f, "example.org", "1\nca.example\n"); /* one that stands there does not do either */
    until_told(f, 2);
    expect_failure(f, 1, ERR_CONFIG, "not that of this account");
}

static void test_persist_malformed(void **state)
{
    static const char *const bad[] = {
        "",
        "1",
        "1\n",
        "1\n\n",
        "0\nca.example\n",
        "3\nca.example\n",
        "1\nca.example",
        "x\nca.example\n",
        /* what would say something else in the record */
        "1\nca.example;accounturi=https://ca.example/acct/666\n",
        "2\nca.example;accounturi=https://ca.example/acct/666;x=\n",
        "1\nca.example\"\n",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        f->n_told = 0;
        present_persist(f, "example.org", bad[i]);
        if (f->n_told != 1)
            fail_msg("\"%s\" was taken", bad[i]);
        expect_failure(f, 0, ERR_PROTOCOL, "");
        presenter_cleanup_job(f->presenter, &f->job);
        assert_true(presenter_idle(f->presenter));
    }
    assert_int_equal(f->resolver.n, 0);
}

/* The prefix comes from the CA's directory, and goes into a record that stays. */
static void test_persist_prefix_is_checked(void **state)
{
    static const char *const bad[] = {"https://ca.example/acct/666;x=", "a b", "a\"b;"};
    struct fixture *f = *state;
    f->resolver.script[DNS_TXT] = (struct script){.values = {NULL}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        f->options.hash_prefix = bad[i];
        restart(f);
        f->n_told = 0;
        present_persist(f, "example.org", "2\nca.example\n");
        until_told(f, 1);
        expect_failure(f, 0, ERR_PROTOCOL, "");
        presenter_cleanup_job(f->presenter, &f->job);
    }
}

static void test_persist_missing_is_told(void **state)
{
    struct fixture *f = *state;
    present_persist(f, "*.example.org", "1\nca.example ca2.example\n");
    until_told(f, 1);
    expect_failure(f, 0, ERR_CONFIG,
                   "\n  _validation-persist.example.org. IN TXT \"ca.example; accounturi=" ACCOUNT
                   "; policy=wildcard\"");
    assert_int_equal(f->told[0].err.next, NEXT_FIX_CONFIG);
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_true(presenter_idle(f->presenter));
    f->resolver.script[DNS_TXT].fails = true;
    present_persist(f, "example.org", "1\nca.example\n");
    until_told(f, 2);
    expect_failure(f, 1, ERR_TIMEOUT, "_validation-persist.example.org");
}

static void test_persist_draft_2(void **state)
{
    struct fixture *f = *state;
    AUTO_BUF own = BUF_INIT, any = BUF_INIT;
    f->options.hash_prefix = "https://ca.example/persist/";
    restart(f);
    dns_persist_uri("https://ca.example/persist/", "example.org", THUMBPRINT, ACCOUNT, &own);
    dns_persist_uri("https://ca.example/persist/", "*", THUMBPRINT, ACCOUNT, &any);
    AUTO_FREE char *of_name = mem_fmt("ca.example; accounturi=%s; policy=wildcard", buf_str(&own));
    AUTO_FREE char *of_any = mem_fmt("ca.example; accounturi=%s", buf_str(&any));
    f->resolver.script[DNS_TXT] = (struct script){.values = {of_name}};
    present_persist(f, "*.example.org", "2\nca.example\n");
    until_told(f, 1);
    expect_ok(f, 0, 0);
    f->resolver.script[DNS_TXT] = (struct script){.values = {of_any}};
    present_persist(f, "example.org", "2\nca.example\n");
    until_told(f, 2);
    expect_ok(f, 1, 0);
    /* the account's own URL is draft 1's, and does not do */
    f->resolver.script[DNS_TXT] = (struct script){.values = {"ca.example; accounturi=" ACCOUNT}};
    present_persist(f, "example.org", "2\nca.example\n");
    until_told(f, 3);
    assert_false(f->told[2].ok);
    assert_non_null(strstr(f->told[2].err.text, buf_str(&own)));
    presenter_cleanup_job(f->presenter, &f->job);
}

static void test_persist_by_update(void **state)
{
    struct fixture *f = *state;
    if (!dns_available())
        skip();
    use_update(f, "primary");
    present_persist(f, "example.org", "1\nca.example\n");
    until_told(f, 1);
    expect_ok(f, 0, 0);
    expect_asked(f, 0, DNS_TXT, "_validation-persist.example.org");
    expect_asked(f, 1, DNS_WHERE, "_validation-persist.example.org");
    expect_update(f, 2,
                  "\x07"
                  "example\x03net",
                  1, "ca.example; accounturi=" ACCOUNT);
    expect_asked(f, 3, DNS_TXT_EVERYWHERE, "_validation-persist.example.org");
    assert_string_equal(f->resolver.asked[3].value, "ca.example; accounturi=" ACCOUNT);
    presenter_cleanup(f->presenter, 1, 0, true);
    assert_true(presenter_idle(f->presenter)); /* it serves every renewal */
    assert_int_equal(f->resolver.n, 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_our_own_responder),
        TEST(test_responder_in_place_of_the_web_server),
        TEST(test_alpn),
        TEST(test_no_responder),
        TEST(test_responder_died),
        TEST(test_webroot),
        TEST(test_webroot_missing),
        TEST(test_token_directory),
        TEST(test_standing_answer_of_the_web_server),
        TEST(test_dns_hook),
        TEST(test_dns_account_hook),
        TEST(test_contracts),
        TEST(test_certbot_without_cleanup),
        TEST(test_one_at_a_time),
        TEST(test_hook_fails),
        TEST(test_cleanup_fails),
        TEST(test_hook_times_out),
        TEST(test_hook_missing),
        TEST(test_hook_that_anybody_may_change),
        TEST(test_hook_env),
        TEST(test_cleanup_while_the_hook_runs),
        TEST(test_cleanup_while_looking_up),
        TEST(test_cleanup_while_waiting_to_be_seen),
        TEST(test_same_index_again),
        TEST(test_jobs_are_apart),
        TEST(test_free_while_a_hook_runs),
        TEST(test_free_with_a_question_open),
        TEST(test_record_never_seen),
        TEST(test_nowhere_to_be_found),
        TEST(test_no_resolver),
        TEST(test_name_too_long_for_a_record),
        TEST(test_update),
        TEST(test_update_of_another_server_and_zone),
        TEST(test_update_refused),
        TEST(test_update_without_an_answer),
        TEST(test_cleanup_while_updating),
        TEST(test_update_key_that_everybody_reads),
        TEST(test_persist_draft_1),
        TEST(test_persist_lapses),
        TEST(test_persist_of_another_account),
        TEST(test_persist_malformed),
        TEST(test_persist_prefix_is_checked),
        TEST(test_persist_missing_is_told),
        TEST(test_persist_draft_2),
        TEST(test_persist_by_update),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
