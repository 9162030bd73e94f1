/*
 * test_resolver.c - the keeper's end of the resolver: every question ends once, whatever becomes of the
 * process at the other end.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/clock.h"
#include "tlsup/resolver.h"

struct told {
    int times;
    bool answered;
    struct err err;
};

static void on_done(void *ctx, const struct dns_answer *answer, const struct err *err)
{
    struct told *told = ctx;
    told->times++;
    told->answered = answer != NULL;
    if (err != NULL)
        told->err = *err;
}

static struct resolver *start(void)
{
    struct resolver *resolver = NULL;
    struct err err = ERR_INIT;
    if (!resolver_start(&resolver, &err))
        fail_msg("%s", err.text);
    return resolver;
}

/* A resolver that cannot be reached: a port of this machine where nothing listens. */
static struct dns_question question(struct strlist *resolvers, enum dns_kind kind)
{
    if (resolvers->n == 0)
        strlist_add(resolvers, "127.0.0.1#9");
    return (struct dns_question){
        .kind = kind, .name = "example.org", .value = "x", .resolvers = resolvers, .timeout_ms = 300};
}

static void test_every_question_ends_once(void **state)
{
    (void)state;
    AUTO_STRLIST resolvers = STRLIST_INIT;
    struct resolver *resolver = start();
    struct told told[8] = {{0}};
    for (size_t i = 0; i < COUNT_OF(told); i++) {
        struct dns_question q = question(&resolvers, i % 2 == 0 ? DNS_CAA : DNS_TXT);
        assert_int_not_equal(resolver_ask(resolver, &q, on_done, &told[i]), 0);
    }
    assert_int_equal(told[0].times, 0); /* never from within the asking */
    resolver_wait(resolver, 20000);
    for (size_t i = 0; i < COUNT_OF(told); i++) {
        assert_int_equal(told[i].times, 1);
        assert_false(told[i].answered);
        assert_true(err_isset(&told[i].err));
    }
    assert_int_equal(resolver_timeout_ms(resolver), -1);
    resolver_stop(resolver);
}

static void test_forgotten(void **state)
{
    (void)state;
    AUTO_STRLIST resolvers = STRLIST_INIT;
    struct resolver *resolver = start();
    struct told told = {0}, other = {0};
    struct dns_question q = question(&resolvers, DNS_CAA);
    uint32_t id = resolver_ask(resolver, &q, on_done, &told);
    resolver_ask(resolver, &q, on_done, &other);
    resolver_forget(resolver, id);
    resolver_forget(resolver, id);
    resolver_forget(resolver, 12345);
    resolver_wait(resolver, 20000);
    assert_int_equal(told.times, 0);
    assert_int_equal(other.times, 1);
    resolver_stop(resolver);
}

/* The child's pid is nobody's business but the test's: it is the only child here. */
static void kill_child(const struct resolver *resolver)
{
    struct role role;
    memcpy(&role, resolver, sizeof role); /* the first member */
    assert_true(role.pid > 1);
    kill(role.pid, SIGKILL);
}

static void test_process_dies(void **state)
{
    (void)state;
    AUTO_STRLIST resolvers = STRLIST_INIT;
    struct resolver *resolver = start();
    struct told before = {0}, after = {0};
    struct dns_question q = question(&resolvers, DNS_CAA);
    q.timeout_ms = 60000;
    kill_child(resolver);
    resolver_ask(resolver, &q, on_done, &before);
    resolver_wait(resolver, 20000);
    assert_int_equal(before.times, 1);
    assert_int_equal(before.err.code, ERR_CHILD);
    assert_int_equal(resolver_fd(resolver), -1);
    resolver_ask(resolver, &q, on_done, &after); /* and nothing hangs from then on */
    assert_int_equal(after.times, 0);
    assert_int_equal(resolver_timeout_ms(resolver), 0);
    resolver_receive(resolver);
    assert_int_equal(after.times, 1);
    assert_int_equal(after.err.code, ERR_CHILD);
    resolver_stop(resolver);
}

/* One that lives but says nothing: its own deadline, and a little. */
static void test_silence(void **state)
{
    (void)state;
    AUTO_STRLIST resolvers = STRLIST_INIT;
    struct resolver *resolver = start();
    struct told told = {0};
    struct dns_question q = question(&resolvers, DNS_CAA);
    struct role role;
    memcpy(&role, resolver, sizeof role);
    kill(role.pid, SIGSTOP);
    resolver_ask(resolver, &q, on_done, &told);
    clock_freeze(clock_now_s(), clock_mono_ms() + 60000);
    resolver_receive(resolver);
    clock_thaw();
    assert_int_equal(told.times, 1);
    assert_int_equal(told.err.code, ERR_CHILD);
    kill(role.pid, SIGKILL);
    resolver_stop(resolver);
}

static void test_stop_with_questions_open(void **state)
{
    (void)state;
    AUTO_STRLIST resolvers = STRLIST_INIT;
    struct resolver *resolver = start();
    struct told told = {0};
    struct dns_question q = question(&resolvers, DNS_CAA);
    resolver_ask(resolver, &q, on_done, &told);
    resolver_stop(resolver);
    assert_int_equal(told.times, 0);
    resolver_stop(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_question_ends_once),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_process_dies),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_stop_with_questions_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
