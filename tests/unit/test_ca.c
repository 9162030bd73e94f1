/*
 * test_ca.c - the table of certificate authorities.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tlsup/ca.h"
#include "tlsup/compat.h"
#include "tlsup/url.h"

static void test_presets_in_their_order(void **state)
{
    (void)state;
    static const char *const names[] = {"letsencrypt", "letsencrypt-staging", "zerossl",    "google",
                                        "google-test", "sslcom-rsa",          "sslcom-ecc", "actalis",
                                        "sectigo"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        assert_non_null(ca_at(i));
        assert_string_equal(ca_at(i)->name, names[i]);
        assert_ptr_equal(ca_by_name(names[i]), ca_at(i));
        assert_ptr_equal(ca_by_url(ca_at(i)->url), ca_at(i));
    }
    assert_null(ca_at(COUNT_OF(names)));
    assert_null(ca_at(SIZE_MAX));
}

static void expect_sound(const struct ca *ca)
{
    const char *const urls[] = {ca->eab_url, ca->eab_page};
    const int limits[] = {ca->same_set,   ca->per_domain,   ca->orders_3h,       ca->failures_h,
                          ca->requests_s, ca->new_nonces_s, ca->new_nonces_burst};
    assert_non_null(ca->caa);
    assert_non_null(ca->ip_profile);
    for (size_t i = 0; i < COUNT_OF(urls); i++)
        assert_true(urls[i][0] == '\0' || url_valid(urls[i]));
    for (size_t i = 0; i < COUNT_OF(limits); i++)
        assert_true(limits[i] >= 0);
    assert_true(ca->requests_s > 0);
    assert_int_equal(ca->new_nonces_s > 0, ca->new_nonces_burst > 0);
}

static void test_every_row_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; ca_at(i) != NULL; i++) {
        const struct ca *ca = ca_at(i);
        expect_sound(ca);
        assert_true(url_valid(ca->url));
        assert_true(ca->caa[0] != '\0');
        if (ca->external_account) /* a person must be told where to get it */
            assert_true(ca->eab_page[0] != '\0');
    }
    expect_sound(ca_by_url("https://ca.internal.test/dir"));
}

static void test_what_is_known(void **state)
{
    (void)state;
    const struct ca *le = ca_by_name("letsencrypt"), *staging = ca_by_name("letsencrypt-staging");
    assert_false(le->external_account);
    assert_string_equal(le->caa, "letsencrypt.org");
    assert_string_equal(le->ip_profile, "shortlived");
    assert_int_equal(le->same_set, 5);
    assert_int_equal(le->per_domain, 50);
    assert_int_equal(le->orders_3h, 300);
    assert_int_equal(le->failures_h, 5);
    assert_int_equal(le->new_nonces_s, 20);
    assert_int_equal(le->new_nonces_burst, 10);
    assert_int_equal(staging->orders_3h, 1500);
    assert_int_equal(staging->same_set, 30000);
    assert_int_equal(staging->failures_h, 200);
    assert_string_equal(ca_by_name("zerossl")->eab_url, "https://api.zerossl.com/acme/eab-credentials-email");
    for (size_t i = 2; ca_at(i) != NULL; i++)
        assert_true(ca_at(i)->external_account);
}

static void test_unknown_ones(void **state)
{
    (void)state;
    static const char *const names[] = {"", "LetsEncrypt", "letsencrypt ", "letsencryp", "none"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_null(ca_by_name(names[i]));
    static const char *const urls[] = {
        "",
        "https://",
        "https://localhost:14000/dir",
        "http://acme-v02.api.letsencrypt.org/directory",
        "https://acme-v02.api.letsencrypt.org",
        "https://acme-v02.api.letsencrypt.org/",
        "https://acme-v02.api.letsencrypt.org/Directory",
        "https://acme-v02.api.letsencrypt.org/directory2",
        "https://acme-v02.api.letsencrypt.org/directory?x",
        "https://acme-v02.api.letsencrypt.org:4443/directory",
        "https://acme-v02.api.letsencrypt.org.evil.test/directory",
        "https://evil.test/acme-v02.api.letsencrypt.org/directory",
    };
    for (size_t i = 0; i < COUNT_OF(urls); i++) {
        const struct ca *ca = ca_by_url(urls[i]);
        assert_string_equal(ca->name, "");
        assert_string_equal(ca->url, "");
        assert_int_equal(ca->requests_s, 500);
        assert_int_equal(ca->new_nonces_s, 0);
        assert_int_equal(ca->same_set, 0);
        assert_false(ca->external_account);
    }
}

static void test_forms_of_an_address(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "https://acme-v02.api.letsencrypt.org/directory",
        "https://acme-v02.api.letsencrypt.org/directory/",
        "https://ACME-V02.api.LetsEncrypt.org/directory",
        "HTTPS://acme-v02.api.letsencrypt.org:443/directory",
    };
    for (size_t i = 0; i < COUNT_OF(urls); i++)
        assert_string_equal(ca_by_url(urls[i])->name, "letsencrypt");
    assert_string_equal(ca_by_url("https://acme.zerossl.com/v2/DV90/")->name, "zerossl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_presets_in_their_order), cmocka_unit_test(test_every_row_is_sound),
        cmocka_unit_test(test_what_is_known),          cmocka_unit_test(test_unknown_ones),
        cmocka_unit_test(test_forms_of_an_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
