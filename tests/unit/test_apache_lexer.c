/*
 * test_apache_lexer.c - the lexer keeps every byte and reads lines as Apache does; the walk follows what
 * Apache follows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/install/apache_lexer.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

/* -- one file -- */

static struct apache_file lex(const char *text)
{
    struct apache_file file;
    struct err err = ERR_INIT;
    if (!apache_lex("x.conf", text, strlen(text), &file, &err))
        fail_msg("%s", err.text);
    size_t at = 0;
    for (size_t i = 0; i < file.n_nodes; i++) {
        assert_int_equal(file.nodes[i].begin, at);
        assert_true(file.nodes[i].end > at);
        at = file.nodes[i].end;
    }
    assert_int_equal(at, strlen(text));
    return file;
}

static void refused(const char *text, size_t len, const char *why)
{
    struct apache_file file;
    struct err err = ERR_INIT;
    assert_false(apache_lex("x.conf", text, len, &file, &err));
    assert_int_equal(err.code, ERR_WEBSERVER);
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void test_kinds(void **state)
{
    (void)state;
    struct apache_file file = lex("# c\n\n<A b>\n X y\n</a>\n");
    assert_int_equal(file.n_nodes, 5);
    assert_int_equal(file.nodes[0].kind, APACHE_COMMENT);
    assert_int_equal(file.nodes[1].kind, APACHE_BLANK);
    assert_int_equal(file.nodes[2].kind, APACHE_OPEN);
    assert_int_equal(file.nodes[2].partner, 4);
    assert_int_equal(file.nodes[3].parent, 2);
    assert_int_equal(file.nodes[3].line, 4);
    assert_int_equal(file.nodes[4].partner, 2);
    assert_true(file.nodes[4].parent == APACHE_NONE);
    apache_file_clear(&file);
}

static void test_continuations(void **state)
{
    (void)state;
    static const struct {
        const char *text, *first;
        size_t nodes;
    } cases[] = {
        {"A b \\\n c\nD\n", "A b  c", 2},
        {"A b\\\r\n c\r\nD\r\n", "A b c", 2},
        {"# c \\\nServerName x\nA\n", "# c ServerName x", 2},
        {"A b\\", "A b\\", 1},
        {"A b\\\n", "A b", 1},
        {"A \\\\\nB\n", "A \\B", 1},
        {"A \\ \nB\n", "A \\", 2},
        {"A\\\n\nB\n", "A", 2},
        {"\t A\v\f\r\n", "A", 1},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct apache_file file = lex(cases[i].text);
        assert_int_equal(file.n_nodes, cases[i].nodes);
        assert_string_equal(file.nodes[0].text, cases[i].first);
        apache_file_clear(&file);
    }
}

static void test_line_numbers_count_continued_lines(void **state)
{
    (void)state;
    struct apache_file file = lex("A \\\n \\\n b\nC\n");
    assert_int_equal(file.nodes[1].line, 4);
    apache_file_clear(&file);
}

static void test_unbalanced(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"<A>\n", "x.conf:1: a section that is never closed"},
        {"\n</A>\n", "x.conf:2: a closing tag without its section"},
        {"<A>\n</B>\n", "x.conf:2: a closing tag of another section"},
        {"<A>\n<B>\n</A>\n</B>\n", "of another section"},
        {"<A>\n</A >\n", "without '>'"},
        {"< A>\n</A>\n", "without a name"},
        {"<>\n</>\n", "without a name"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        refused(cases[i].text, strlen(cases[i].text), cases[i].why);
    refused("A\0B\n", 4, "NUL");
}

static void test_closing_tag_with_more_behind(void **state)
{
    (void)state;
    struct apache_file file = lex("<A>\n</A> trailing words\n");
    assert_int_equal(file.nodes[1].kind, APACHE_CLOSE);
    apache_file_clear(&file);
}

static void test_perl_is_not_read(void **state)
{
    (void)state;
    struct apache_file file = lex("<Perl>\n<STDIN>\nprint \"</a>\";\n</VirtualHost>\n</Perl>\n");
    assert_int_equal(file.nodes[0].partner, 4);
    assert_int_equal(file.nodes[1].kind, APACHE_DIRECTIVE);
    apache_file_clear(&file);
}

static void test_empty(void **state)
{
    (void)state;
    struct apache_file file;
    struct err err = ERR_INIT;
    assert_true(apache_lex("x", NULL, 0, &file, &err));
    assert_int_equal(file.n_nodes, 0);
    apache_file_clear(&file);
}

static void test_words(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
        const char *words[4];
    } cases[] = {
        {"a  b\tc", 3, {"a", "b", "c"}},
        {"\"a b\" 'c d'", 2, {"a b", "c d"}},
        {"\"a\\\"b\" x", 2, {"a\"b", "x"}},
        {"\"a\\nb\\\\\"", 1, {"a\\nb\\"}},
        {"'a\\'b'", 1, {"a'b"}},
        {"a\\\\b", 1, {"a\\b"}},
        {"a\\\"b", 1, {"a\\\"b"}},
        {"\"open end", 1, {"open end"}},
        {"\"a\\\"", 1, {"a\""}},
        {"\"", 1, {""}},
        {"\"\" x", 2, {"", "x"}},
        {"\"a\"b", 2, {"a", "b"}},
        {"a\"b c\"", 2, {"a\"b", "c\""}},
        {"", 0, {0}},
        {" \t", 0, {0}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO_STRLIST words = STRLIST_INIT;
        apache_words(cases[i].text, &words);
        assert_int_equal(words.n, cases[i].n);
        for (size_t k = 0; k < words.n; k++)
            assert_string_equal(words.v[k], cases[i].words[k]);
    }
}

static void test_names_and_arguments(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name, *args;
    } cases[] = {
        {"ServerName x", "ServerName", "x"},
        {"<VirtualHost *:80>", "VirtualHost", "*:80"},
        {"<VirtualHost *:80> more", "VirtualHost", "*:80"},
        {"<If \"%{X} > 1\">", "If", "\"%{X} > 1\""},
        {"<Limit>", "Limit", ""},
        {"</VirtualHost>", "VirtualHost", ""},
        {"\"ServerName\" x", "ServerName", "x"},
        {"Redirect / https://a/>b", "Redirect", "/ https://a/>b"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        AUTO_FREE char *name = apache_name(cases[i].text, NULL);
        AUTO_FREE char *args = apache_arguments(cases[i].text);
        assert_string_equal(name, cases[i].name);
        assert_string_equal(args, cases[i].args);
    }
}

static void test_blocks(void **state)
{
    (void)state;
    AUTO_BUF text = BUF_INIT;
    buf_adds(&text, "<A>\n");
    apache_block_write(&text, "challenge", "rules", "    ", "\n", "One\n  Two\n");
    buf_adds(&text, "</A>\n");
    struct apache_file file = lex(buf_str(&text));
    assert_int_equal(file.n_blocks, 1);
    assert_string_equal(file.blocks[0].kind, "challenge");
    assert_string_equal(file.blocks[0].id, "rules");
    assert_true(file.blocks[0].intact);
    assert_int_equal(file.blocks[0].last - file.blocks[0].first, 3);
    apache_file_clear(&file);
    *strstr(text.data, "Two") = 't';
    file = lex(buf_str(&text));
    assert_false(file.blocks[0].intact);
    apache_file_clear(&file);
    /* One that crosses a section, or has no end, is none. */
    file =
        lex("# tlsup begin: a b c\n<A>\n# tlsup end: a b\n</A>\n# tlsup begin: x y z\n# tlsup begin: one\n");
    assert_int_equal(file.n_blocks, 0);
    apache_file_clear(&file);
}

/* -- the walk -- */

static char root[64];

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/test_apache_lexer.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    struct err err = ERR_INIT;
    return fs_remove_tree(root, &err) ? 0 : -1;
}

static void put(const char *name, const char *text)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *path = fs_join(root, name);
    AUTO_FREE char *dir = fs_dirname(path);
    assert_true(fs_mkdirs(dir, 0755, &err));
    assert_true(fs_write(path, text, strlen(text), 0644, &err));
}

static bool walk(struct apache_tree *tree, struct err *err)
{
    *tree = (struct apache_tree){.server_root = mem_dup(root), .version_number = 2004052};
    apache_tree_module(tree, "core.c");
    apache_tree_module(tree, "mod_macro.c");
    apache_tree_env(tree, "FROM_ENV", "env");
    AUTO_FREE char *conf = fs_join(root, "httpd.conf");
    return apache_tree_walk(tree, conf, err);
}

/* The names of the lines in effect, "Name args" joined by ";". */
static void expect_lines(const char *conf, const char *expected)
{
    struct apache_tree tree;
    struct err err = ERR_INIT;
    put("httpd.conf", conf);
    if (!walk(&tree, &err))
        fail_msg("%s", err.text);
    AUTO_BUF out = BUF_INIT;
    for (size_t i = 0; i < tree.n_lines; i++) {
        const struct apache_line *line = &tree.lines[i];
        static const char *const skip[] = {"Include", "IncludeOptional", "Define", "UnDefine",
                                           "Use",     "LoadModule"};
        bool silent = false;
        for (size_t k = 0; k < COUNT_OF(skip); k++)
            silent = silent || strcmp(line->name, skip[k]) == 0;
        if (!silent)
            buf_addf(&out, "%s%s%s%s;", line->kind == APACHE_CLOSE ? "/" : "", line->name,
                     *line->args ? " " : "", line->args);
    }
    assert_string_equal(buf_str(&out), expected);
    apache_tree_clear(&tree);
}

static void expect_refusal(const char *conf, const char *why)
{
    struct apache_tree tree;
    struct err err = ERR_INIT;
    put("httpd.conf", conf);
    assert_false(walk(&tree, &err));
    if (!strstr(err.text, why))
        fail_msg("\"%s\" does not say \"%s\"", err.text, why);
    apache_tree_clear(&tree);
}

/* The server looks at the first word without its quotes, and knows versions by regular expressions too. */
static void test_odd_sections(void **state)
{
    (void)state;
    expect_lines("\"<Location\" /x>\nIn\n\"</Location>\"\nOut\n", "Location /x;In;/Location;Out;");
    expect_lines("<IfVersion ~ ^2\\.4\\.5>\nYes\n</IfVersion>\n<IfVersion "
                 "/^2\\.2/>\nNo\n</IfVersion>\n<IfVersion !~ ^2\\.2>\nAlso\n"
                 "</IfVersion>\n",
                 "Yes;Also;");
}

static void test_includes(void **state)
{
    (void)state;
    put("a/2.conf", "Two\n");
    put("a/10.conf", "Ten\n");
    put("a/.hidden.conf", "Hidden\n");
    put("a/README", "Readme\n");
    put("b/x/1.conf", "X1\n");
    put("b/y/1.conf", "Y1\n");
    expect_lines("Include a/*.conf\nEnd\n", "Ten;Two;End;");
    expect_lines("Include a\n", "Hidden;Ten;Two;Readme;");
    expect_lines("IncludeOptional b/*/1.conf\n", "X1;Y1;");
    expect_lines("Include b\n", "X1;Y1;");
    expect_lines("IncludeOptional none/*.conf\nIncludeOptional none.conf\nEnd\n", "End;");
    expect_lines("Include \"a/2.conf\"\n", "Two;");
    /* A link to nowhere counts only where it is not optional. */
    AUTO_FREE char *dangling = fs_join(root, "a/0.conf");
    assert_int_equal(symlink("/nowhere/at/all", dangling), 0);
    expect_lines("IncludeOptional a/*.conf\nIncludeOptional a/0.conf\nEnd\n", "Ten;Two;End;");
    assert_int_equal(unlink(dangling), 0);
    AUTO_FREE char *absolute = mem_fmt("Include %s/a/2.conf\n", root);
    expect_lines(absolute, "Two;");
    expect_lines("<VirtualHost *:80>\nInclude a/2.conf\n</VirtualHost>\n",
                 "VirtualHost *:80;Two;/VirtualHost;");
    expect_refusal("Include none/*.conf\n", "nothing matches");
    expect_refusal("Include none.conf\n", "none.conf");
    expect_refusal("Include httpd.conf\n", "too deep");
    put("a/bad.conf", "<A>\n");
    expect_refusal("Include a/bad.conf\n", "bad.conf:1");
    struct err err = ERR_INIT;
    AUTO_FREE char *bad = fs_join(root, "a/bad.conf");
    assert_true(fs_remove(bad, &err));
}

static void test_serverroot_moves_relative_paths(void **state)
{
    (void)state;
    put("other/x.conf", "Other\n");
    AUTO_FREE char *conf = mem_fmt("ServerRoot \"%s/other\"\nInclude x.conf\n", root);
    AUTO_FREE char *expected = mem_fmt("ServerRoot \"%s/other\";Other;", root);
    expect_lines(conf, expected);
}

static void test_variables(void **state)
{
    (void)state;
    expect_lines("A ${X}\nDefine X one\nA ${X}${X}\nUnDefine X\nA ${X}\n", "A ${X};A oneone;A ${X};");
    expect_lines("Define D ServerName\n${D} x\n", "ServerName x;");
    expect_lines("A ${FROM_ENV} ${\n", "A env ${;");
    expect_lines("<IfModule nope>\nDefine X 1\n</IfModule>\n<IfDefine X>\nA\n</IfDefine>\nB\n", "B;");
    expect_lines("Define X\n<IfDefine X>\nA\n</IfDefine>\n<IfDefine !X>\nB\n</IfDefine>\n", "A;");
    expect_lines("<VirtualHost *>\nDefine X 1\n</VirtualHost>\nA ${X}\n", "VirtualHost *;/VirtualHost;A 1;");
}

static void test_modules(void **state)
{
    (void)state;
    expect_lines("<IfModule mod_ssl.c>\nA\n</IfModule>\nLoadModule ssl_module x.so\n<IfModule "
                 "mod_ssl.c>\nB\n</IfModule>\n"
                 "<IfModule ssl_module>\nC\n</IfModule>\n<IfModule !ssl_module>\nD\n</IfModule>\n",
                 "B;C;");
    expect_lines("LoadModule mpm_event_module x\n<ifmodule event.c>\nA\n</IFMODULE>\n", "A;");
    expect_lines("<IfModule core.c>\n<IfModule nope>\n<IfModule "
                 "core.c>\nA\n</IfModule>\n</IfModule>\nB\n</IfModule>\n",
                 "B;");
}

static void test_files_and_versions(void **state)
{
    (void)state;
    put("there", "");
    expect_lines(
        "<IfFile there>\nA\n</IfFile>\n<IfFile \"!gone\">\nB\n</IfFile>\n<IfFile gone>\nC\n</IfFile>\n",
        "A;B;");
    expect_lines(
        "<IfVersion >= 2.4>\nA\n</IfVersion>\n<IfVersion < 2.4.50>\nB\n</IfVersion>\n<IfVersion !> 2.5>\nC\n"
        "</IfVersion>\n<IfVersion 2.4.52>\nD\n</IfVersion>\n",
        "A;C;D;");
}

static void test_macros(void **state)
{
    (void)state;
    static const char macro[] =
        "<Macro Host $n $name>\n<VirtualHost *:80>\nServerName $name.$n\n</VirtualHost>\n</Macro>\n";
    AUTO_FREE char *conf = mem_fmt("%sUse Host a b\nUse host \"c d\" e\n", macro);
    expect_lines(
        conf, "VirtualHost *:80;ServerName b.a;/VirtualHost;VirtualHost *:80;ServerName e.c d;/VirtualHost;");
    expect_lines(macro, "");
    expect_lines("<Macro In $x>\nA $x\n</Macro>\n<Macro Out $y>\nUse In <$y>\n</Macro>\nUse Out 1\n",
                 "A <1>;");
    expect_refusal("Use Nothing\n", "not defined");
    expect_refusal("<Macro M $x>\n</Macro>\nUse M\n", "wrong number");
    expect_refusal("<Macro M>\nUse M\n</Macro>\nUse M\n", "too deep");
}

static void test_one_file_twice(void **state)
{
    (void)state;
    put("twice.conf", "A\n");
    put("httpd.conf", "Include twice.conf\nInclude ./twice.conf\n");
    struct apache_tree tree;
    struct err err = ERR_INIT;
    assert_true(walk(&tree, &err));
    assert_int_equal(tree.n_files, 2);
    assert_int_equal(tree.files[1]->times, 2);
    assert_int_equal(tree.n_lines, 4);
    apache_tree_clear(&tree);
}

static void test_hostile_paths(void **state)
{
    (void)state;
    AUTO_FREE char *fifo = fs_join(root, "fifo.conf");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    expect_refusal("Include fifo.conf\n", "fifo.conf");
    assert_int_equal(unlink(fifo), 0);
    expect_refusal("Include\n", "without a file");
    expect_refusal("Include /dev/zero\n", "/dev/zero");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_continuations),
        cmocka_unit_test(test_line_numbers_count_continued_lines),
        cmocka_unit_test(test_unbalanced),
        cmocka_unit_test(test_closing_tag_with_more_behind),
        cmocka_unit_test(test_perl_is_not_read),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_names_and_arguments),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_includes),
        cmocka_unit_test(test_odd_sections),
        cmocka_unit_test(test_serverroot_moves_relative_paths),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_modules),
        cmocka_unit_test(test_files_and_versions),
        cmocka_unit_test(test_macros),
        cmocka_unit_test(test_one_file_twice),
        cmocka_unit_test(test_hostile_paths),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
