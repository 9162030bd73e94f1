/*
 * test_here.c - whether a name leads to this machine: judged by addresses alone, and told to people.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tlsup/here.h"
#include "tlsup/mem.h"
#include "tlsup/roles.h"

/* -- in the place of the prober ------------------------------------------------------------------------- */

static const char *answer; /* addresses, or NULL = the resolver cannot be asked */
static char asked[300];

static size_t together; /* how many were asked for at once */

void role_probe_resolve_all(struct role_lookup *v, size_t n, int timeout_ms)
{
    assert_true(timeout_ms > 0 && timeout_ms <= 30000);
    together = n;
    for (size_t i = 0; i < n; i++) {
        snprintf(asked, sizeof asked, "%s", v[i].name);
        v[i].ok = answer != NULL;
        if (answer == NULL)
            (void)!err_set(&v[i].err, ERR_NETWORK, NEXT_RETRY_LATER, v[i].name, "no");
        else
            strlist_split(&v[i].addresses, answer, " ");
    }
}

static void judge(const char *addresses, const char *own, struct here *out)
{
    AUTO_STRLIST a = STRLIST_INIT, o = STRLIST_INIT;
    strlist_split(&a, addresses, " ");
    strlist_split(&o, own, " ");
    here_judge(&a, &o, out);
}

/* -- judgement ------------------------------------------------------------------------------------------ */

static void test_judgement(void **state)
{
    (void)state;
    static const struct {
        const char *addresses, *own;
        enum here_answer all, v4, v6;
    } rows[] = {
        {"", "192.0.2.1", HERE_NOWHERE, HERE_NOWHERE, HERE_NOWHERE},
        {"192.0.2.1", "192.0.2.1 10.0.0.2", HERE_YES, HERE_YES, HERE_NOWHERE},
        {"2001:db8::1", "2001:db8::1", HERE_YES, HERE_NOWHERE, HERE_YES},
        {"192.0.2.1 2001:db8::1", "192.0.2.1 2001:db8::1", HERE_YES, HERE_YES, HERE_YES},
        {"192.0.2.1 192.0.2.2", "192.0.2.1", HERE_PARTLY, HERE_PARTLY, HERE_NOWHERE},
        {"192.0.2.9", "192.0.2.1", HERE_ELSEWHERE, HERE_ELSEWHERE, HERE_NOWHERE},
        /* behind NAT: nothing public of that family */
        {"192.0.2.9", "10.0.0.2 127.0.0.1 fe80::1", HERE_MAYBE, HERE_MAYBE, HERE_NOWHERE},
        {"192.0.2.9", "100.64.3.4 2001:db8::1", HERE_MAYBE, HERE_MAYBE, HERE_NOWHERE},
        {"192.0.2.9 2001:db8::9", "172.31.0.1 2001:db8::1", HERE_MAYBE, HERE_MAYBE, HERE_ELSEWHERE},
        /* an AAAA record that is left over */
        {"192.0.2.1 2001:db8::9", "192.0.2.1 2001:db8::1", HERE_PARTLY, HERE_YES, HERE_ELSEWHERE},
        {"192.0.2.1 2001:db8::9", "192.0.2.1 fd00::1", HERE_PARTLY, HERE_YES, HERE_MAYBE},
        {"192.0.2.9 2001:db8::9", "192.0.2.1 2001:db8::1", HERE_ELSEWHERE, HERE_ELSEWHERE, HERE_ELSEWHERE},
        /* any loopback address is this machine */
        {"127.0.1.1", "192.0.2.1", HERE_YES, HERE_YES, HERE_NOWHERE},
        {"::1", "", HERE_YES, HERE_NOWHERE, HERE_YES},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct here here;
        judge(rows[i].addresses, rows[i].own, &here);
        if (here.all != rows[i].all || here.v4 != rows[i].v4 || here.v6 != rows[i].v6)
            fail_msg("%s on a machine of %s: %d %d %d", rows[i].addresses, rows[i].own, here.all, here.v4,
                     here.v6);
        here_clear(&here);
    }
}

static void test_lists(void **state)
{
    (void)state;
    struct here here;
    judge("2001:db8::9 192.0.2.1 127.0.0.1 192.0.2.1", "192.0.2.1 10.0.0.1", &here);
    assert_int_equal(here.addresses.n, 3); /* IPv4 first, each once */
    assert_string_equal(here.addresses.v[0], "192.0.2.1");
    assert_string_equal(here.addresses.v[2], "2001:db8::9");
    assert_int_equal(here.foreign.n, 1);
    assert_string_equal(here.foreign.v[0], "2001:db8::9");
    assert_int_equal(here.public.n, 1);
    assert_true(here.loopback);
    here_clear(&here);
    judge("192.0.2.1", "192.0.2.1", &here);
    assert_false(here.loopback);
    here_clear(&here);
}

static void test_public(void **state)
{
    (void)state;
    static const char *const no[] = {"10.1.2.3",
                                     "127.0.0.1",
                                     "169.254.1.1",
                                     "172.16.0.1",
                                     "172.31.255.255",
                                     "192.168.1.1",
                                     "100.64.0.1",
                                     "100.127.255.255",
                                     "0.0.0.0",
                                     "224.0.0.1",
                                     "255.255.255.255",
                                     "::1",
                                     "::",
                                     "fe80::1",
                                     "febf::1",
                                     "fc00::1",
                                     "fdff::1",
                                     "ff02::1",
                                     "::ffff:192.0.2.1"};
    static const char *const yes[] = {"8.8.8.8",     "172.15.0.1", "172.32.0.1",  "100.63.0.1", "100.128.0.1",
                                      "192.167.1.1", "11.0.0.1",   "2001:db8::1", "2600::1",    "fec0::1"};
    for (size_t i = 0; i < COUNT_OF(no); i++)
        if (here_is_public(no[i]))
            fail_msg("%s is not public", no[i]);
    for (size_t i = 0; i < COUNT_OF(yes); i++)
        if (!here_is_public(yes[i]))
            fail_msg("%s is public", yes[i]);
}

/* -- telling -------------------------------------------------------------------------------------------- */

static void test_description(void **state)
{
    (void)state;
    static const struct {
        const char *addresses, *own, *text;
    } rows[] = {
        {"", "192.0.2.1", "it has no address"},
        {"192.0.2.1", "192.0.2.1", "192.0.2.1 is this machine"},
        {"192.0.2.1 192.0.2.2 2001:db8::1", "192.0.2.1 192.0.2.2 2001:db8::1",
         "192.0.2.1, 192.0.2.2 and 2001:db8::1 are this machine"},
        {"198.51.100.7", "203.0.113.5 2001:db8::1", "198.51.100.7 is not this machine (203.0.113.5)"},
        {"203.0.113.5 2001:db8::9", "203.0.113.5 2001:db8::1",
         "203.0.113.5 is this machine, 2001:db8::9 is not this machine (2001:db8::1)"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct here here;
        AUTO_BUF text = BUF_INIT;
        judge(rows[i].addresses, rows[i].own, &here);
        here_describe(&here, &text);
        assert_string_equal(buf_str(&text), rows[i].text);
        here_clear(&here);
    }
    struct here here;
    AUTO_BUF text = BUF_INIT;
    judge("198.51.100.7", "192.168.0.4", &here);
    here_describe(&here, &text);
    assert_non_null(strstr(buf_str(&text), "NAT"));
    here_clear(&here);
}

/* -- looking -------------------------------------------------------------------------------------------- */

static void test_look(void **state)
{
    (void)state;
    struct here here;
    struct err err = ERR_INIT;
    answer = "127.0.0.1";
    assert_true(here_look("example.org", &here, &err));
    assert_string_equal(asked, "example.org");
    assert_int_equal(here.all, HERE_YES);
    here_clear(&here);
    answer = "";
    assert_true(here_look("example.org", &here, &err));
    assert_int_equal(here.all, HERE_NOWHERE);
    here_clear(&here);
    answer = NULL;
    assert_false(here_look("example.org", &here, &err));
    assert_int_equal(err.code, ERR_NETWORK);
}

static void test_address_stands_for_itself(void **state)
{
    (void)state;
    struct here here;
    struct err err = ERR_INIT;
    answer = NULL;
    assert_true(here_look("127.0.0.1", &here, &err));
    assert_int_equal(here.v4, HERE_YES);
    here_clear(&here);
    assert_true(here_look("::1", &here, &err));
    assert_int_equal(here.v6, HERE_YES);
    here_clear(&here);
}

static void test_wildcard(void **state)
{
    (void)state;
    struct here here;
    struct err err = ERR_INIT;
    char first[sizeof asked];
    answer = "127.0.0.1";
    assert_true(here_look("*.example.org", &here, &err));
    here_clear(&here);
    memcpy(first, asked, sizeof first);
    assert_null(strchr(first, '*'));
    assert_string_equal(strchr(first, '.'), ".example.org");
    assert_true(here_look("*.example.org", &here, &err));
    here_clear(&here);
    assert_string_not_equal(first, asked); /* no answer of a former one, kept somewhere, stands in */
    /* too long to have anything below it */
    AUTO_BUF name = BUF_INIT;
    buf_adds(&name, "*");
    while (name.len < 245)
        buf_adds(&name, ".aaaa");
    assert_false(here_look(buf_str(&name), &here, &err));
    assert_int_equal(err.code, ERR_NAME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_judgement), cmocka_unit_test(test_lists),
        cmocka_unit_test(test_public),    cmocka_unit_test(test_description),
        cmocka_unit_test(test_look),      cmocka_unit_test(test_address_stands_for_itself),
        cmocka_unit_test(test_wildcard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
