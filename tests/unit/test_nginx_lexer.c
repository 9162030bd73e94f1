/*
 * test_nginx_lexer.c - nginx's language: no byte is lost, nothing is read that nginx would not read, and the
 * other way round.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/install/nginx_lexer.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

/* The tokens of `text` as letters: s(pace) c(omment) w(ord) ; { } L(ua) !(bad). Each byte is in exactly one.
 */
static void kinds(const char *text, size_t len, struct buf *out)
{
    static const char letters[] = "scw;{}L!";
    struct nginx_lexer lexer;
    struct nginx_token token;
    size_t at = 0, line = 1;
    nginx_lexer_init(&lexer, text, len);
    while (nginx_lexer_next(&lexer, &token)) {
        assert_int_equal(token.begin, at);
        assert_true(token.end > token.begin && token.end <= len);
        assert_int_equal(token.line, line);
        for (; at < token.end; at++) {
            line += text[at] == '\n';
        }
        buf_addc(out, letters[token.kind]);
    }
    assert_int_equal(at, len);
}

static void test_tokens(void **state)
{
    static const struct {
        const char *text, *kinds;
    } table[] = {
        {"", ""},
        {"a;", "w;"},
        {"a b;", "wsw;"},
        {"a{b c;}", "w{wsw;}"},
        {"a#b c;", "wsw;"}, /* '#' inside a word is literal */
        {"a #b;\n c;", "wscsw;"},
        {"a # { } ; \"\n{}", "wscs{}"},
        {"a ${b} c;", "wswsw;"},
        {"a x${b}{ }", "wsw{s}"},
        {"a $b{ }", "wsw{s}"},
        {"a \"b;{}#\" 'c\"';", "wswsw;"},
        {"a \"b\\\"c\";", "wsw;"},
        {"a b\"c;d;", "wsw;w;"}, /* a quote inside a bare word is literal */
        {"a b}c;", "wsw;"},
        {"a b\\;c;", "wsw;"},
        {"a b\\ c;", "wsw;"},
        {"if ($x = \"y\") {}", "wswswsww"
                               "s{}"},
        {"a \"b\"c;", "wsw!"},
        {"a \"b\"#c\n;", "wsw!"},
        {"a \"b\"};", "wsw!"},
        {"a \"b\"{}", "wsw{}"},
        {"a \"b", "ws!"},
        {";", "!"},
        {"{", "!"},
        {"a }", "ws!"},
        {"}", "}"},
        {"a\r\n\tb;\r\n", "wsw;s"},
        {"\xe9\xff\x80 \x01;", "wsw;"},
        {"a \\", "wsw"},
        {"x_by_lua_block { a = \"}\" -- }\n }", "ws{L}"},
        {"x_by_lua_block {}", "ws{}"},
        {"set_by_lua_block $r { return '}' .. [[ } ]] .. [==[ ]] } ]==] }", "wsws{L}"},
        {"x_by_lua_block { --[[ } ]] { } --[=[ ]] } ]=] } b;", "ws{L}sw;"},
        {"x_by_lua_block { \"\\\"}\" }", "ws{L}"},
        {"x_by_lua_block { a[1] = { b = {} } }", "ws{L}"},
        {"x_by_lua_block { ", "ws{!"},
        {"x_by_lua_block a; b { c; }", "wsw;sws{sw;s}"},
        {"by_lua_block { c; }", "ws{sw;s}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BUF found = BUF_INIT;
        kinds(table[i].text, strlen(table[i].text), &found);
        if (strcmp(buf_str(&found), table[i].kinds) != 0) {
            fail_msg("%s: %s, not %s", table[i].text, buf_str(&found), table[i].kinds);
        }
    }
}

static void test_decode_and_encode(void **state)
{
    static const struct {
        const char *word, *meaning;
    } table[] = {
        {"abc", "abc"},
        {"\"a b\"", "a b"},
        {"'a\"b'", "a\"b"},
        {"\"a\\\"b\"", "a\"b"},
        {"a\\ b", "a\\ b"},
        {"a\\;", "a\\;"},
        {"\"\\.\\d\"", "\\.\\d"},
        {"\\\\", "\\"},
        {"a\\tb\\r\\n", "a\tb\r\n"},
        {"\"\"", ""},
        {"a\\", "a\\"},
        {"\"", "\""},
    };
    static const char *const texts[] = {"/etc/x.pem", "", "a b", "a\"b'c\\d", "{;}#$", "x\\n", "\xc3\xa9"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_FREE char *meaning = nginx_word_decode(table[i].word, strlen(table[i].word));
        assert_string_equal(meaning, table[i].meaning);
    }
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        AUTO_BUF word = BUF_INIT, found = BUF_INIT;
        nginx_word_encode(texts[i], &word);
        AUTO_FREE char *back = nginx_word_decode(buf_str(&word), word.len);
        assert_string_equal(back, texts[i]);
        buf_adds(&word, ";");
        kinds(buf_str(&word), word.len, &found);
        assert_string_equal(buf_str(&found), "w;");
    }
}

static void test_nodes(void **state)
{
    static const char text[] =
        "user x;\nhttp { # c\n  server {\n listen 80;\n content_by_lua_block { a{} --}\n } } }\n}\n";
    struct nginx_node root;
    struct err err = ERR_INIT;
    (void)state;
    assert_false(nginx_parse(text, sizeof text - 1, "f", 0, &root, &err)); /* one brace too many */
    assert_non_null(strstr(err.text, "f:7: unexpected \"}\""));
    err_clear(&err);
    static const char good[] =
        "user x;\nhttp { # c\n  server {\n listen 80 'a b';\n x_by_lua_block { {}--} \n } } }\n";
    assert_true(nginx_parse(good, sizeof good - 1, "f", 0, &root, &err));
    assert_int_equal(root.n_children, 2);
    const struct nginx_node *http = &root.children[1], *server = &http->children[0];
    assert_true(http->block);
    assert_int_equal(good[http->open - 1], '{');
    assert_int_equal(good[http->close], '}');
    assert_int_equal(http->end, http->close + 1);
    assert_int_equal(server->line, 3);
    assert_int_equal(server->n_children, 2);
    assert_string_equal(server->children[0].args[2], "a b");
    assert_int_equal(good[server->children[0].begin], 'l');
    assert_int_equal(good[server->children[0].end - 1], ';');
    assert_int_equal(server->children[1].n_children, 0);
    nginx_node_clear(&root);
}

static void test_malformed(void **state)
{
    static const struct {
        const char *text, *place;
    } table[] = {
        {"a", "f:1"},        {"a {", "f:1"},     {"a;\nb {\n", "f:3"}, {"\n;", "f:2"},
        {"\n\na 'b", "f:3"}, {"a 'b'c;", "f:1"}, {"}", "f:1"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct nginx_node root;
        struct err err = ERR_INIT;
        assert_false(nginx_parse(table[i].text, strlen(table[i].text), "f", 0, &root, &err));
        if (strncmp(err.text, table[i].place, strlen(table[i].place)) != 0) {
            fail_msg("%s: %s", table[i].text, err.text);
        }
        assert_int_equal(err.code, ERR_WEBSERVER);
    }
}

static void test_depth_is_bounded(void **state)
{
    AUTO_BUF text = BUF_INIT;
    struct nginx_node root;
    struct err err = ERR_INIT;
    (void)state;
    for (int i = 0; i < 100000; i++) {
        buf_adds(&text, "a{");
    }
    assert_false(nginx_parse(text.data, text.len, "f", 0, &root, &err));
    assert_non_null(strstr(err.text, "nested"));
}

/* ---- every fixture, and what becomes of it when bytes change ---- */

static void each_fixture(void (*check)(struct buf *text))
{
    const char *srcdir = getenv("srcdir");
    AUTO_FREE char *dir = fs_join(srcdir != NULL ? srcdir : ".", "tests/fixtures/nginx");
    AUTO_STRLIST names = STRLIST_INIT;
    struct err err = ERR_INIT;
    assert_true(fs_list(dir, &names, &err));
    assert_true(names.n >= 40);
    for (size_t i = 0; i < names.n; i++) {
        AUTO_FREE char *path = fs_join(dir, names.v[i]);
        AUTO_BUF text = BUF_INIT;
        if (fs_is_dir(path)) {
            continue;
        }
        assert_true(fs_read(path, 1 << 20, &text, &err));
        check(&text);
    }
}

static void check_lossless(struct buf *text)
{
    AUTO_BUF found = BUF_INIT;
    kinds(text->data, text->len, &found);
}

static uint32_t seed = 12345;
static uint32_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    return seed ^= seed << 5;
}

static void mutate(struct buf *text)
{
    static const char favourites[] = "{};\"'\\$#\n \r\t()[]-=\0\xff";
    for (int round = 0; round < 300; round++) {
        AUTO_BUF changed = BUF_INIT, found = BUF_INIT;
        struct nginx_node root;
        struct err err = ERR_INIT;
        buf_add(&changed, text->data, text->len);
        for (uint32_t n = 1 + next_random() % 4; n > 0; n--) {
            changed.data[next_random() % changed.len] = favourites[next_random() % (sizeof favourites - 1)];
        }
        size_t len = next_random() % 4 == 0 ? next_random() % changed.len : changed.len;
        kinds(changed.data, len, &found);
        if (nginx_parse(changed.data, len, "f", 0, &root, &err)) {
            nginx_node_clear(&root);
        }
    }
}

static void test_fixtures_are_lossless(void **state)
{
    (void)state;
    each_fixture(check_lossless);
}

static void test_mutations_are_lossless(void **state)
{
    (void)state;
    each_fixture(mutate);
}

/* ---- marks ---- */

static char dir[64];

static void put(const char *name, const char *text)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *path = fs_join(dir, name);
    assert_true(fs_write(path, text, strlen(text), 0644, &err));
}

static bool load(struct nginx_config *config, struct err *err)
{
    AUTO_FREE char *path = fs_join(dir, "nginx.conf");
    return nginx_config_load(config, path, NULL, NULL, err);
}

static void test_marks(void **state)
{
    static const struct {
        const char *before, *after, *eol;
    } table[] = {{"server {", "\n  a;\n}\n", "\n"},
                 {"server {", "a;}", "\n"},
                 {"server {", "\r\n a;\r\n}\r\n", "\r\n"},
                 {"server {", " # c\n}", "\n"}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct nginx_config config = NGINX_CONFIG_INIT;
        struct err err = ERR_INIT;
        AUTO_BUF text = BUF_INIT, content = BUF_INIT;
        buf_addf(&content, "    b;%s", table[i].eol);
        buf_adds(&text, table[i].before);
        nginx_mark_write("cert:example.org", "    ", table[i].eol, &content, &text);
        nginx_mark_write("challenge", "    ", table[i].eol, &content, &text);
        buf_adds(&text, table[i].after);
        put("nginx.conf", buf_str(&text));
        assert_true(load(&config, &err));
        const struct nginx_file *file = config.files[0];
        assert_int_equal(file->n_marks, 2);
        assert_true(file->marks[0].intact && file->marks[1].intact);
        assert_string_equal(file->marks[0].id, "cert:example.org");
        /* cutting both gives the file back */
        assert_int_equal(file->marks[0].begin, strlen(table[i].before));
        assert_int_equal(file->marks[0].end, file->marks[1].begin);
        assert_string_equal(text.data + file->marks[1].end, table[i].after);
        const struct nginx_node *server = &file->root.children[0];
        assert_ptr_equal(nginx_mark_in(&config, server, "challenge"), &file->marks[1]);
        assert_ptr_equal(nginx_mark_around(&config, &server->children[0]), &file->marks[0]);
        assert_null(nginx_mark_in(&config, server, "cert:example"));
        *strstr(text.data, "b;") = 'B';
        put("nginx.conf", buf_str(&text));
        assert_true(load(&config, &err));
        assert_false(config.files[0]->marks[0].intact);
        nginx_config_clear(&config);
    }
}

static void test_things_that_are_no_marks(void **state)
{
    static const char *const table[] = {
        "# tlsup begin x 1\na;\n",
        "a; # tlsup begin x 1\n# tlsup end x\n",
        "\n# tlsup begin x 1\na;\n# tlsup end y\n",
        "\n# tlsup begin\n# tlsup end\n",
        "\n# tlsup begin \n# tlsup end \n",
        "\na '\n# tlsup begin x 1\n# tlsup end x\n';\n",
        "\n# tlsup end x\n# tlsup begin x 1\n",
        "\n# tlsup begin x 1 # tlsup end x",
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct nginx_config config = NGINX_CONFIG_INIT;
        struct err err = ERR_INIT;
        put("nginx.conf", table[i]);
        assert_true(load(&config, &err));
        for (size_t m = 0; m < config.files[0]->n_marks; m++) {
            fail_msg("%s", table[i]);
        }
        nginx_config_clear(&config);
    }
}

/* ---- includes ---- */

static void names_of(const struct nginx_config *config, const struct nginx_node *block, struct buf *out)
{
    AUTO_NODES nodes = {0};
    nginx_children(config, block, false, &nodes);
    for (size_t i = 0; i < nodes.n; i++) {
        buf_addf(out, "%s ", nodes.v[i]->args[0]);
    }
}

static void test_include_order(void **state)
{
    struct nginx_config config = NGINX_CONFIG_INIT;
    struct err err = ERR_INIT;
    AUTO_BUF order = BUF_INIT, loads = BUF_INIT;
    AUTO_FREE char *sub = fs_join(dir, "d");
    (void)state;
    assert_true(fs_mkdirs(sub, 0755, &err));
    put("nginx.conf", "first; include d/*.conf; include 'd/none*.x'; map $a $b { include table; } "
                      "split_clients $a $b { include not-there; } geo $g { include d/[x]; } last;");
    put("table", "default 1; include two words;");
    put("d/[x]", "10.0.0.0/8 1;"); /* nginx takes it as it is in a geo block */
    put("d/b.conf", "b;");
    put("d/B.conf", "B; include d/deep;"); /* relative to the main file's directory */
    put("d/deep", "deep;");
    put("d/.hidden.conf", "hidden;");
    put("d/a.conf", "a;");
    if (!load(&config, &err)) {
        fail_msg("%s", err.text);
    }
    names_of(&config, &config.files[0]->root, &order);
    assert_string_equal(buf_str(&order), "first B deep a b map split_clients geo last ");
    for (size_t i = 0; i < config.n_loads; i++) {
        buf_addf(&loads, "%s%s ", config.loads[i].path + strlen(dir), config.loads[i].maybe ? "?" : "");
    }
    assert_string_equal(buf_str(&loads), "/nginx.conf /d/B.conf /d/deep /d/a.conf /d/b.conf /table /d/[x]? ");
    nginx_config_clear(&config);
}

static void test_include_faults(void **state)
{
    static const struct {
        const char *text, *word;
    } table[] = {
        {"a;\ninclude missing;", "nginx.conf:2"},
        {"include nginx.conf;", "itself"},
        {"include a b;", "one path"},
        {"include other;", "other:1"},
        {"include /;", "/"},
        {"include fifo;", "fifo"},
    };
    AUTO_FREE char *fifo = fs_join(dir, "fifo");
    (void)state;
    put("other", "a }");
    mkfifo(fifo, 0600);
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct nginx_config config = NGINX_CONFIG_INIT;
        struct err err = ERR_INIT;
        put("nginx.conf", table[i].text);
        assert_false(load(&config, &err));
        assert_int_equal(config.n_files, 0);
        if (strstr(err.text, table[i].word) == NULL) {
            fail_msg("%s: %s", table[i].text, err.text);
        }
    }
}

static void test_one_snippet_many_times(void **state)
{
    struct nginx_config config = NGINX_CONFIG_INIT;
    struct err err = ERR_INIT;
    (void)state;
    put("nginx.conf", "a { include snippet; } b { include snippet; } ");
    put("snippet", "inner;");
    assert_true(load(&config, &err));
    assert_int_equal(config.n_files, 2);
    assert_non_null(nginx_child(&config, &config.files[0]->root.children[1], "inner"));
    nginx_config_clear(&config);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_nginx_lexer.XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int tear_down(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    return !fs_remove_tree(dir, &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_decode_and_encode),
        cmocka_unit_test(test_nodes),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_depth_is_bounded),
        cmocka_unit_test(test_fixtures_are_lossless),
        cmocka_unit_test(test_mutations_are_lossless),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_things_that_are_no_marks),
        cmocka_unit_test(test_include_order),
        cmocka_unit_test(test_include_faults),
        cmocka_unit_test(test_one_snippet_many_times),
    };
    return cmocka_run_group_tests_name("nginx_lexer", tests, set_up, tear_down);
}
