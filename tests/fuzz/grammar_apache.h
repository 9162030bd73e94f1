/*
 * grammar_apache.h - Apache configurations by chance: sections in and around each other, continuation lines
 * everywhere, quotes, comments, definitions.
 */
#ifndef TLSUP_TESTS_GRAMMAR_APACHE_H
#define TLSUP_TESTS_GRAMMAR_APACHE_H

#include "dice.h"
#include "tlsup/mem.h"

#define APACHE_SPECIAL " \t\r\n<>/\\\"'#${}%*:.!-xA0\x7f\xe9"
#define APACHE_N_SPECIAL (sizeof(APACHE_SPECIAL) - 1)

/* A line's end, after which the next line begins. */
DICE_FUNCTION void apache_eol(struct dice *dice, struct buf *out)
{
    static const char *const ends[] = {"\n",
                                       "\n",
                                       "\n",
                                       "\r\n",
                                       "\n\n",
                                       "\n# remark\n",
                                       "\n  # remark \\\n  goes on <VirtualHost>\n",
                                       " \n",
                                       "\t\r\n\t",
                                       "\n#\\\n\\\n\n"};
    buf_adds(out, DICE_PICK(dice, ends));
}

DICE_FUNCTION void apache_gap(struct dice *dice, struct buf *out)
{
    static const char *const gaps[] = {" ", " ", " ", "\t", "  ", " \\\n ", " \\\r\n\t", "\\\n "};
    buf_adds(out, DICE_PICK(dice, gaps));
}

DICE_FUNCTION void apache_term(struct dice *dice, struct buf *out)
{
    static const char *const words[] = {"a",
                                        "b.example",
                                        "\"two words\"",
                                        "'x y'",
                                        "\"q\\\"q\"",
                                        "a\\b",
                                        "\"\"",
                                        "${WWW}",
                                        "${UNDEFINED}",
                                        "#no-remark",
                                        "a>b",
                                        "\"a>b\"",
                                        "'<x>'",
                                        "-",
                                        "*",
                                        "/x/",
                                        "\xe9",
                                        "$1",
                                        "%{HTTP_HOST}",
                                        "long\\\nword",
                                        "\"over\\\nlines\"",
                                        "{}",
                                        "a'b"};
    buf_adds(out, DICE_PICK(dice, words));
}

DICE_FUNCTION void apache_lines(struct dice *dice, unsigned depth, struct buf *out);

/* A section, most often closed as it should be. */
DICE_FUNCTION void apache_section(struct dice *dice, unsigned depth, struct buf *out)
{
    static const char *const heads[] = {"VirtualHost *:80",
                                        "Directory /x",
                                        "Location /x",
                                        "LocationMatch \"^/x>y\"",
                                        "IfModule mod_alias.c",
                                        "IfModule !alias_module",
                                        "IfModule nothing_at_all",
                                        "IfDefine NOT",
                                        "IfDefine !NOT",
                                        "Files *.txt",
                                        "If \"true\"",
                                        "IfVersion >= 2.4",
                                        "ifmodule mod_none.c",
                                        "FilesMatch \\.php$",
                                        "IfFile /nonexistent",
                                        "RequireAny",
                                        "Limit GET"};
    const char *head = DICE_PICK(dice, heads);
    AUTO_FREE char *name = mem_ndup(head, strcspn(head, " "));
    buf_addf(out, "<%s%s>", head, dice_one_in(dice, 8) ? " " : "");
    apache_eol(dice, out);
    apache_lines(dice, depth + 1, out);
    if (dice_one_in(dice, 5)) {
        for (char *p = name; *p != '\0'; p++)
            *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
    }
    if (!dice_one_in(dice, 60))
        buf_addf(out, "</%s>", name);
    if (dice_one_in(dice, 30))
        buf_adds(out, " ");
    apache_eol(dice, out);
}

DICE_FUNCTION void apache_lines(struct dice *dice, unsigned depth, struct buf *out)
{
    static const char *const names[] = {"ServerName",
                                        "serveralias",
                                        "ErrorDocument 404",
                                        "DocumentRoot",
                                        "ServerAdmin",
                                        "Redirect /y",
                                        "Alias /z",
                                        "Options",
                                        "AllowOverride None",
                                        "LogLevel warn",
                                        "IncludeOptional none-*.conf",
                                        "Define X y",
                                        "UnDefine X",
                                        "Nonsense"};
    for (size_t n = dice_throw(dice, 4); n > 0; n--) {
        for (size_t k = dice_throw(dice, 3); k > 0; k--)
            buf_addc(out, " \t"[dice_throw(dice, 2)]);
        if (depth < 4 && dice_one_in(dice, 3)) {
            apache_section(dice, depth, out);
            continue;
        }
        size_t which = dice_throw(dice, 9);
        buf_adds(out, which < 7 || dice_one_in(dice, 8) ? names[which < 7 ? which : 7 + which % 7]
                                                        : "ErrorDocument 403");
        if (which < 8 || dice_one_in(dice, 3)) {
            apache_gap(dice, out);
            apache_term(dice, out);
        }
        apache_eol(dice, out);
    }
}

/* What comes after the head of a main file. */
DICE_FUNCTION void grammar_apache(struct dice *dice, struct buf *out)
{
    for (size_t n = 1 + dice_throw(dice, 2); n > 0; n--)
        apache_lines(dice, 0, out);
    if (dice_one_in(dice, 12))
        buf_adds(out, "# the end \\");
    for (size_t n = dice_one_in(dice, 3) ? 1 + dice_throw(dice, 2) : 0; n > 0; n--)
        dice_mutate(dice, APACHE_SPECIAL, APACHE_N_SPECIAL, out);
}

#endif
