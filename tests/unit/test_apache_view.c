/*
 * test_apache_view.c - Apache's dump beside our model: where they differ nothing may be edited, and no other
 * line may raise an alarm.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/install/apache_server.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

static char root[64];

static void put(const char *name, const char *text)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *path = fs_join(root, name);
    AUTO_FREE char *dir = fs_dirname(path);
    if (!fs_mkdirs(dir, 0755, &err) || !fs_write(path, text, strlen(text), 0644, &err))
        fail_msg("%s", err.text);
}

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test_apache_view.XXXXXX");
    if (!mkdtemp(root))
        return -1;
    put("httpd.conf", "ServerName main.example\n"
                      "Listen 80\n"
                      "LoadModule macro_module modules/mod_macro.so\n"
                      "<Macro Site $name>\n"
                      "<VirtualHost *:443>\n"
                      "ServerName $name\n"
                      "</VirtualHost>\n"
                      "</Macro>\n"
                      "IncludeOptional sites/*.conf\n");
    put("sites/a.conf", "<VirtualHost *:80>\n"
                        "ServerName A.example\n"
                        "ServerAlias b.example *.c.example\n"
                        "</VirtualHost>\n"
                        "<VirtualHost \\\n"
                        "   *:80 127.0.0.1:8080 host.invalid:81>\n"
                        "ServerName q.example\n"
                        "</VirtualHost>\n"
                        "<VirtualHost _default_:443>\n"
                        "</VirtualHost>\n");
    put("sites/b.conf", "Use Site two.example\n"
                        "<VirtualHost [::1]:*>\n"
                        "ServerName six.example\n"
                        "</VirtualHost>\n");
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return fs_remove_tree(root, &err) ? 0 : -1;
}

/* "@" stands for the directory. */
static const char good[] = "Included configuration files:\n"
                           "  (*) @/httpd.conf\n"
                           "    (9) @/sites/a.conf\n"
                           "    (9) @/sites/b.conf\n"
                           "VirtualHost configuration:\n"
                           "[::1]:*                six.example (@/sites/b.conf:2)\n"
                           "192.0.2.7:81           q.example (@/sites/a.conf:6)\n"
                           "127.0.0.1:8080         q.example (@/sites/a.conf:6)\n"
                           "*:80                   is a NameVirtualHost\n"
                           "         default server A.example (@/sites/a.conf:1)\n"
                           "         port 80 namevhost A.example (@/sites/a.conf:1)\n"
                           "                 alias b.example\n"
                           "                 wild alias *.c.example\n"
                           "         port 80 namevhost q.example (@/sites/a.conf:6)\n"
                           "*:443                  is a NameVirtualHost\n"
                           "         default server main.example (@/sites/a.conf:9)\n"
                           "         port 443 namevhost main.example (@/sites/a.conf:9)\n"
                           "         port 443 namevhost two.example (macro 'site' (defined on line 4 of "
                           "\"@/httpd.conf\") used on line 1 of \"@/sites/b.conf\":1)\n";

/* The dump with `from` (may be NULL) made `to`. */
static char *dump_with(const char *from, const char *to)
{
    AUTO_BUF changed = BUF_INIT;
    AUTO_BUF out = BUF_INIT;
    const char *at = from ? strstr(good, from) : good;
    assert_non_null(at);
    buf_add(&changed, good, (size_t)(at - good));
    buf_adds(&changed, from ? to : "");
    buf_adds(&changed, at + (from ? strlen(from) : 0));
    for (const char *c = buf_str(&changed); *c; c++) {
        if (*c == '@')
            buf_adds(&out, root);
        else
            buf_addc(&out, *c);
    }
    return buf_take(&out);
}

static bool agrees(const char *from, const char *to, struct err *err)
{
    struct web web = {.kind = WEB_APACHE, .bin = "/nonexistent/httpd", .version_number = 2004062};
    struct apache_model model;
    snprintf(web.conf, sizeof web.conf, "%s/httpd.conf", root);
    snprintf(web.prefix, sizeof web.prefix, "%s", root);
    if (!apache_model_read(&web, NULL, NULL, &model, err))
        fail_msg("%s", err->text);
    AUTO_FREE char *dump = dump_with(from, to);
    bool ok = apache_view_agrees(&model, dump, err);
    apache_model_clear(&model);
    return ok;
}

static void test_the_same(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    if (!agrees(NULL, NULL, &err))
        fail_msg("%s", err.text);
}

/* What says nothing against our view, although we do not know it. */
static void test_no_false_alarm(void **state)
{
    (void)state;
    static const char *const harmless[][2] = {
        {"Included", "AH00558: apache2: Could not reliably determine the name, using 127.0.0.1. Set it "
                     "(httpd.conf:1)\nIncluded"},
        {"VirtualHost conf", "[Sun Nov 22 2026] [core:warn] AH00111: what (x:1)\nVirtualHost conf"},
        {"*:80 ", "a line of a version to come\n*:80 "},
        {"                 alias", "                 weight 7\n                 alias"},
        {"q.example (@/sites/a.conf:6)\n*",
         "q.example (@/sites/a.conf:5)\n*"}, /* the first or the last line of a continued one */
        {"default server A.example", "default server a.EXAMPLE"},
        {"Included configuration files:\n", "Files:\n"},
        {"VirtualHost configuration:\n", "Hosts:\n"},
        {"192.0.2.7:81           q.example (@/sites/a.conf:6)\n",
         ""}, /* a name that the resolver does not know */
        {"main.example (@/sites/a.conf:9)\n         port 443 namevhost two",
         "other.name (@/sites/a.conf:9)\n         port 443 namevhost two"},
    };
    for (size_t i = 0; i < COUNT_OF(harmless); i++) {
        struct err err = ERR_INIT;
        if (!agrees(harmless[i][0], harmless[i][1], &err))
            fail_msg("\"%s\": %s", harmless[i][1], err.text);
    }
}

static void test_differences(void **state)
{
    (void)state;
    static const char *const differences[][3] = {
        {"    (9) @/sites/b.conf\n", "", "does not read"},
        {"    (9) @/sites/b.conf\n", "    (9) @/sites/b.conf\n    (9) @/sites/c.conf\n", "reads"},
        {"    (9) @/sites/a.conf\n    (9) @/sites/b.conf\n",
         "    (9) @/sites/b.conf\n    (9) @/sites/a.conf\n", "where tlsup would read"},
        {"127.0.0.1:8080         q.example (@/sites/a.conf:6)\n", "", "127.0.0.1:8080"},
        {"127.0.0.1:8080         q.example (@/sites/a.conf:6)\n",
         "127.0.0.2:8080         six.example (@/sites/b.conf:2)\n", "is on 127.0.0.2:8080"},
        {"         port 80 namevhost q.example (@/sites/a.conf:6)\n", "", "a.conf:5"},
        {"         port 80 namevhost q.example (@/sites/a.conf:6)\n",
         "         port 80 namevhost q.example (@/sites/a.conf:6)\n         port 80 namevhost more.example "
         "(@/sites/a.conf:20)\n",
         "a.conf:20"},
        {"port 80 namevhost A.example", "port 80 namevhost z.example", "is z.example for it"},
        {"default server A.example (@/sites/a.conf:1)", "default server q.example (@/sites/a.conf:6)",
         "default virtual host"},
        {"                 alias b.example\n", "", "no alias b.example"},
        {"alias b.example", "alias else.example", "else.example"},
        {"wild alias *.c.example", "wild alias *.d.example", "*.d.example"},
        {"namevhost two.example", "namevhost three.example", "three.example"},
        {"[::1]:* ", "[::2]:* ", "[::2]"},
    };
    for (size_t i = 0; i < COUNT_OF(differences); i++) {
        struct err err = ERR_INIT;
        if (agrees(differences[i][0], differences[i][1], &err))
            fail_msg("\"%s\" instead of \"%s\" is no difference", differences[i][1], differences[i][0]);
        assert_int_equal(err.code, ERR_WEBSERVER);
        assert_true(err.advice[0] != '\0');
        if (!strstr(err.text, differences[i][2]))
            fail_msg("\"%s\" lacks \"%s\"", err.text, differences[i][2]);
    }
}

/* Cut anywhere, filled with rubbish: an answer, and no crash. */
static void test_hostile(void **state)
{
    (void)state;
    static const char *const rubbish[] = {"*:",
                                          ":80 x (y:1)",
                                          "*:80 (",
                                          "*:80 x (",
                                          "*:80 x (:1)",
                                          "*:80 x (y:)",
                                          "*:99999999 x (y:1)",
                                          "   default server ",
                                          "   port 80 namevhost ",
                                          "   alias ",
                                          "(*) ",
                                          "    (9)"};
    AUTO_FREE char *dump = dump_with(NULL, NULL);
    size_t len = strlen(dump);
    struct web web = {.kind = WEB_APACHE, .bin = "/nonexistent/httpd"};
    struct apache_model model;
    struct err err = ERR_INIT;
    snprintf(web.conf, sizeof web.conf, "%s/httpd.conf", root);
    snprintf(web.prefix, sizeof web.prefix, "%s", root);
    assert_true(apache_model_read(&web, NULL, NULL, &model, &err));
    for (size_t i = 0; i < len; i += 3) {
        AUTO_FREE char *cut = mem_ndup(dump, i);
        struct err any = ERR_INIT;
        (void)!apache_view_agrees(&model, cut, &any);
        AUTO_FREE char *odd = mem_fmt("%s\n%s\n%s", cut, rubbish[i % COUNT_OF(rubbish)], dump + i);
        any = (struct err)ERR_INIT;
        (void)!apache_view_agrees(&model, odd, &any);
    }
    apache_model_clear(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same),
        cmocka_unit_test(test_no_false_alarm),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
