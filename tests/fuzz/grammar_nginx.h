/*
 * grammar_nginx.h - nginx configurations by chance, with everything its language has: quotes and escapes in
 * every place, comments between arguments, words that end where the next begins, blocks of data, words near
 * the longest one.
 */
#ifndef TLSUP_TESTS_GRAMMAR_NGINX_H
#define TLSUP_TESTS_GRAMMAR_NGINX_H

#include "dice.h"

#define NGINX_SPECIAL " \t\r\n;{}\"'\\#$()*[]~/.,:-=ax0\0\x7f\xe9"
#define NGINX_N_SPECIAL (sizeof(NGINX_SPECIAL) - 1)

/* What no test of a private configuration can do without; the paths are below the prefix. */
#define NGINX_MAIN "error_log stderr;\npid nginx.pid;\nevents { worker_connections 64; }\n"
#define NGINX_HTTP                                                                                           \
    "access_log off;\nclient_body_temp_path t1;\nproxy_temp_path t2;\nfastcgi_temp_path "                    \
    "t3;\nscgi_temp_path t4;\n"                                                                              \
    "uwsgi_temp_path t5;\n"

DICE_FUNCTION void gap(struct dice *dice, struct buf *out)
{
    static const char *const gaps[] = {
        " ",     " ",         " ",   "  ", "\t", "\n", "\r\n", "\n    ", " # remark ; { } \" ' \\\n",
        "\n#\n", " #x\r\n\t", "\n\n"};
    buf_adds(out, DICE_PICK(dice, gaps));
    if (dice_one_in(dice, 60)) {
        buf_addc(out, '#');
        for (size_t n = dice_one_in(dice, 2) ? 200 : 4085 + dice_throw(dice, 20); n > 0; n--)
            buf_addc(out, 'c');
        buf_addc(out, '\n');
    }
}

DICE_FUNCTION void maybe_gap(struct dice *dice, struct buf *out)
{
    if (dice_one_in(dice, 3))
        gap(dice, out);
}

/* The inside of a word. A bare one may have what a quoted one may not, and the other way round. */
DICE_FUNCTION void word_inside(struct dice *dice, char quote, struct buf *out)
{
    static const char *const anywhere[] = {
        "a",   "b1",  "-",   "_",        ".",    "/",    "html", "=",   ",",   ":",   "\\;", "\\ ",
        "\\{", "\\}", "\\n", "\\t",      "\\\\", "\\\"", "\\'",  "\\x", "\\$", "#",   "}",   "(",
        ")",   "[a]", "*",   "\xc3\xa9", "\xe9", "?",    "|",    "^",   "\\#", "\\\n"};
    static const char *const bare[] = {"\"", "'", "x\"y\"", "a'b", "#c"};
    static const char *const quoted[] = {" ", ";", "{", "}", "\n", "# no remark", "  ", "{2}", "a;b"};
    for (size_t n = 1 + dice_throw(dice, 5); n > 0; n--) {
        if (dice_one_in(dice, 4))
            buf_adds(out, quote != '\0' ? DICE_PICK(dice, quoted) : DICE_PICK(dice, bare));
        else
            buf_adds(out, DICE_PICK(dice, anywhere));
    }
    if (quote != '\0' && dice_one_in(dice, 6))
        buf_addc(out, quote == '"' ? '\'' : '"');
}

/* Words around the longest that fits. */
DICE_FUNCTION void long_word(struct dice *dice, struct buf *out)
{
    char quote = "\0\"'"[dice_throw(dice, 3)];
    if (quote != '\0')
        buf_addc(out, quote);
    size_t n = 4085 + dice_throw(dice, 16);
    /* of 4096 bytes, quotes counted, it depends on the next byte */
    for (n -= quote != '\0' && n == 4094; n > 0; n--)
        buf_addc(out, 'w');
    if (quote != '\0')
        buf_addc(out, quote);
}

DICE_FUNCTION void word(struct dice *dice, struct buf *out)
{
    char quote = "\0\0\0\"'"[dice_throw(dice, 5)];
    if (dice_one_in(dice, 150)) {
        long_word(dice, out);
        return;
    }
    if (quote != '\0') {
        buf_addc(out, quote);
        word_inside(dice, quote, out);
        buf_addc(out, quote);
        if (dice_one_in(dice, 30))
            buf_addc(out, ')');
        return;
    }
    size_t from = out->len;
    word_inside(dice, '\0', out);
    if (strchr("\"'#}", out->data[from]) != NULL) /* means something at the beginning of a word */
        out->data[from] = 'w';
}

/* NAME and words and ';'. */
DICE_FUNCTION void simple(struct dice *dice, const char *name, size_t words, struct buf *out)
{
    char quote = "\0\0\0\0\0\0\"'"[dice_throw(dice, 8)];
    if (quote != '\0')
        buf_addc(out, quote);
    buf_adds(out, name);
    if (quote != '\0')
        buf_addc(out, quote);
    for (; words > 0; words--) {
        gap(dice, out);
        word(dice, out);
    }
    maybe_gap(dice, out);
    buf_addc(out, ';');
    maybe_gap(dice, out);
}

DICE_FUNCTION void open_block(struct dice *dice, const char *head, struct buf *out)
{
    buf_adds(out, head);
    gap(dice, out);
    buf_addc(out, '{');
    maybe_gap(dice, out);
}

DICE_FUNCTION void close_block(struct dice *dice, struct buf *out)
{
    buf_addc(out, '}');
    maybe_gap(dice, out);
}

/* What may stand in a server, or in a location of it. */
DICE_FUNCTION void statement(struct dice *dice, unsigned depth, struct buf *out)
{
    static const char *const with_one[] = {"root",       "index",     "default_type", "charset",
                                           "access_log", "error_log", "etag",         "try_files"};
    static const char *const fixed[] = {"return 200 ${uri}x;",
                                        "return 200 \"${uri}\";",
                                        "set $x a${uri}b;",
                                        "rewrite ^/a{2}$ /b;",
                                        "rewrite \"^/a{2}$\" /b;",
                                        "listen 80;",
                                        "server_name a.example \"B.example\";",
                                        "location /a{}",
                                        "location ~ a$ {}",
                                        "location ~ a${uri {}",
                                        "location = /x{return 204;}",
                                        "if ($uri = \"a\") {}",
                                        "if ($uri ~ \\.{2}) {}",
                                        "if ($uri ~ \"a{2}\"){}",
                                        "if ($uri) {#}\n}",
                                        "include none-*.conf;",
                                        "return 200 \"a\";",
                                        ";",
                                        "}",
                                        "include 'none-[a]*';",
                                        "content_by_lua_block { x = \"}\" }",
                                        "types{}",
                                        "types { text/a b; }",
                                        "location \"/q u\" {}",
                                        "\"location\" '/p' {}"};
    size_t kind = dice_throw(dice, 12);
    if (kind < 6) {
        simple(dice, DICE_PICK(dice, with_one), 1 + dice_one_in(dice, 4), out);
    } else if (kind < 8) {
        simple(dice, "add_header", 2, out);
    } else if (kind == 8 && depth < 4) {
        open_block(dice, dice_one_in(dice, 2) ? "location /x" : "location ~ \\.(php|html)$", out);
        for (size_t n = dice_throw(dice, 3); n > 0; n--)
            statement(dice, depth + 1, out);
        close_block(dice, out);
    } else if (kind == 9) {
        simple(dice, "error_page 404", 1, out);
    } else {
        size_t which = dice_throw(dice, sizeof fixed / sizeof fixed[0] + 40); /* the broken ones are rare */
        buf_adds(out, fixed[which % (sizeof fixed / sizeof fixed[0])]);
        maybe_gap(dice, out);
    }
}

DICE_FUNCTION void data_block(struct dice *dice, struct buf *out)
{
    static const char *const heads[] = {"map $uri $m", "geo $g", "split_clients $uri $s", "types"};
    static unsigned count;
    size_t which = dice_throw(dice, sizeof heads / sizeof heads[0]);
    buf_addf(out, which < 3 ? "%s%u" : "%s", heads[which], count++);
    open_block(dice, "", out);
    for (size_t n = 1 + dice_throw(dice, 3); n > 0; n--) {
        if (which == 0 || which == 3)
            word(dice, out);
        else
            buf_adds(out, which == 1 ? "127.0.0.1/32" : "1%");
        gap(dice, out);
        word(dice, out);
        maybe_gap(dice, out);
        buf_addc(out, ';');
        maybe_gap(dice, out);
    }
    if (dice_one_in(dice, 40))
        buf_adds(out, "a {}");
    close_block(dice, out);
}

/* A whole file, most often one that nginx accepts. */
DICE_FUNCTION void grammar_nginx(struct dice *dice, struct buf *out)
{
    buf_adds(out, NGINX_MAIN "http {\n" NGINX_HTTP);
    for (size_t n = dice_throw(dice, 3); n > 0; n--)
        data_block(dice, out);
    for (size_t n = 1 + dice_throw(dice, 2); n > 0; n--) {
        open_block(dice, "server", out);
        for (size_t k = dice_throw(dice, 4); k > 0; k--)
            statement(dice, 0, out);
        close_block(dice, out);
    }
    buf_addc(out, '}');
    if (dice_one_in(dice, 2))
        gap(dice, out);
    for (size_t n = dice_one_in(dice, 3) ? 1 + dice_throw(dice, 2) : 0; n > 0; n--)
        dice_mutate(dice, NGINX_SPECIAL, NGINX_N_SPECIAL, out);
}

#endif
