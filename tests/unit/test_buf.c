/*
 * test_buf.c - buffers, lists and the allocation under them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tlsup/buf.h"
#include "tlsup/mem.h"

static void test_growth(void **state)
{
    (void)state;
    AUTO_BUF buf = BUF_INIT;
    assert_string_equal(buf_str(&buf), "");
    buf_add(&buf, NULL, 0);
    assert_string_equal(buf_str(&buf), "");
    for (int i = 0; i < 5000; i++)
        buf_addc(&buf, (char)('a' + i % 26));
    assert_int_equal(buf.len, 5000);
    assert_int_equal(buf.data[5000], '\0');
    for (int i = 0; i < 5000; i++)
        assert_int_equal(buf.data[i], 'a' + i % 26);
    buf_reset(&buf);
    assert_int_equal(buf.len, 0);
    assert_string_equal(buf_str(&buf), "");
    buf_add(&buf, "a\0b", 3);
    assert_int_equal(buf.len, 3);
    assert_memory_equal(buf.data, "a\0b", 4);
}

static void test_format(void **state)
{
    (void)state;
    AUTO_BUF buf = BUF_INIT;
    AUTO_FREE char *much = mem_alloc(3001);
    memset(much, 'm', 3000);
    buf_addf(&buf, "%s", "");
    assert_int_equal(buf.len, 0);
    buf_addf(&buf, "%d-%s", 7, "x");
    assert_string_equal(buf_str(&buf), "7-x");
    for (int len = 509; len < 515; len++) { /* around the small buffer inside */
        buf_reset(&buf);
        buf_addf(&buf, "%.*s|", len, much);
        assert_int_equal(buf.len, len + 1);
        assert_int_equal(buf.data[len], '|');
        assert_int_equal(buf.data[len - 1], 'm');
    }
    buf_reset(&buf);
    buf_addf(&buf, "%s%s", much, much);
    assert_int_equal(buf.len, 6000);
}

static void test_limit(void **state)
{
    (void)state;
    AUTO_BUF buf = {.limit = 10};
    buf_adds(&buf, "12345");
    buf_adds(&buf, "67890");
    assert_false(buf.overflow);
    buf_addc(&buf, 'x');
    assert_true(buf.overflow);
    assert_string_equal(buf_str(&buf), "1234567890");
    buf_reset(&buf);
    assert_false(buf.overflow);
    buf_adds(&buf, "12345678901"); /* all or nothing */
    assert_true(buf.overflow);
    assert_string_equal(buf_str(&buf), "");
    buf_addc(&buf, 'x'); /* sticky, or the text would have a hole */
    assert_int_equal(buf.len, 0);
    buf_clear(&buf);
    assert_int_equal(buf.limit, 10);
    buf_add(&buf, "x", SIZE_MAX); /* an absurd length is no overflow of ours */
    assert_true(buf.overflow);
    AUTO_BUF free_buf = BUF_INIT;
    buf_addc(&free_buf, 'x');
    buf_add(&free_buf, "x", SIZE_MAX - 1);
    assert_true(free_buf.overflow);
    assert_int_equal(free_buf.len, 1);
}

static void test_take(void **state)
{
    (void)state;
    struct buf buf = {.limit = 100};
    AUTO_FREE char *nothing = buf_take(&buf);
    assert_string_equal(nothing, "");
    buf_adds(&buf, "mine");
    AUTO_FREE char *mine = buf_take(&buf);
    assert_string_equal(mine, "mine");
    assert_string_equal(buf_str(&buf), "");
    assert_int_equal(buf.limit, 100);
    buf_clear(&buf);
    buf_clear(&buf);
}

static void test_secret(void **state)
{
    (void)state;
    struct buf buf = BUF_SECRET;
    buf_adds(&buf, "the key");
    for (int i = 0; i < 300; i++)
        buf_adds(&buf, "0123456789");
    assert_int_equal(buf.len, 3007);
    assert_memory_equal(buf.data, "the key0123456789", 17);
    buf_reset(&buf);
    for (size_t i = 0; i < buf.cap; i++) /* still allocated: it must be wiped already */
        assert_int_equal(buf.data[i], 0);
    buf_clear(&buf);
    assert_true(buf.secret);
}

static void test_lists(void **state)
{
    (void)state;
    AUTO_STRLIST a = STRLIST_INIT;
    AUTO_STRLIST b = STRLIST_INIT;
    assert_true(strlist_same_set(&a, &b));
    assert_false(strlist_has(&a, ""));
    strlist_split(&a, ", one,\ttwo  three,,", ", \t");
    assert_int_equal(a.n, 3);
    assert_true(strlist_has(&a, "two"));
    assert_false(strlist_has(&a, "Two"));
    assert_false(strlist_has(&a, "tw"));
    strlist_split(&b, "three two", " ");
    assert_false(strlist_same_set(&a, &b));
    strlist_split(&b, "one", " ");
    assert_true(strlist_same_set(&a, &b));
    AUTO_FREE char *joined = strlist_join(&b, ", ");
    assert_string_equal(joined, "three, two, one");
    strlist_copy(&a, &b);
    assert_string_equal(a.v[0], "three");
    assert_int_equal(a.n, 3);
    strlist_split(&a, "", " ");
    strlist_split(&a, "   ", " ");
    assert_int_equal(a.n, 3);
    strlist_clear(&a);
    strlist_clear(&a);
    AUTO_FREE char *empty = strlist_join(&a, ", ");
    assert_string_equal(empty, "");
    strlist_copy(&b, &a);
    assert_int_equal(b.n, 0);
}

/* -- mem ------------------------------------------------------------------------------------------------ */

static void test_mem(void **state)
{
    (void)state;
    AUTO_FREE unsigned char *zeroed = mem_array(100, 7);
    for (int i = 0; i < 700; i++)
        assert_int_equal(zeroed[i], 0);
    AUTO_FREE void *none = mem_alloc(0);
    assert_non_null(none);
    assert_null(mem_dup(NULL));
    AUTO_FREE char *part = mem_ndup("abcdef", 3);
    assert_string_equal(part, "abc");
    AUTO_FREE char *nothing = mem_ndup(NULL, 0);
    assert_string_equal(nothing, "");
    AUTO_FREE char *formatted = mem_fmt("%s-%d", "x", 5);
    assert_string_equal(formatted, "x-5");
    char *freed = mem_dup("x");
    mem_free_ptr(&freed);
    assert_null(freed);
    mem_free_ptr(&freed);
}

static void overflow_array(void)
{
    free(mem_array(SIZE_MAX / 2, 3));
}

static void overflow_resize(void)
{
    free(mem_resize(NULL, SIZE_MAX / 16, 32));
}

static void too_large(void)
{
    free(mem_alloc(PTRDIFF_MAX - 4096));
}

/* The process says so and ends: half a buffer is worse than a run that the next one recovers. */
static void test_exhaustion_ends_the_process(void **state)
{
    (void)state;
    static void (*const cases[])(void) = {overflow_array, overflow_resize, too_large};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        int out[2], status = 0;
        char block[512];
        AUTO_BUF said = BUF_INIT;
        assert_int_equal(pipe(out), 0);
        pid_t pid = fork();
        if (pid == 0) {
            dup2(out[1], STDERR_FILENO);
            cases[i]();
            _exit(0);
        }
        close(out[1]);
        for (ssize_t n; (n = read(out[0], block, sizeof block)) > 0;)
            buf_add(&said, block, (size_t)n);
        close(out[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        if (strstr(buf_str(&said), "AddressSanitizer") == NULL) /* which stops before we can */
            assert_non_null(strstr(buf_str(&said), "out of memory"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growth), cmocka_unit_test(test_format),
        cmocka_unit_test(test_limit),  cmocka_unit_test(test_take),
        cmocka_unit_test(test_secret), cmocka_unit_test(test_lists),
        cmocka_unit_test(test_mem),    cmocka_unit_test(test_exhaustion_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
