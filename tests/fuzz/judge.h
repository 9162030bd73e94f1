/*
 * judge.h - what the real server says of a configuration: it takes it, its language is broken, or something
 * else is wrong with it.
 *
 * Only for directories of one's own, in a network namespace: `nginx -t` opens the ports and the logs of the
 * configuration.
 */
#ifndef TLSUP_TESTS_JUDGE_H
#define TLSUP_TESTS_JUDGE_H

#include <stdio.h>
#include <unistd.h>

#include "dice.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

enum verdict { ACCEPTED, BROKEN, OTHERWISE_WRONG };

DICE_FUNCTION const char *judge_program(const char *const *places)
{
    for (size_t i = 0; places[i] != NULL; i++) {
        if (access(places[i], X_OK) == 0)
            return places[i];
    }
    return NULL;
}

DICE_FUNCTION const char *nginx_program(void)
{
    static const char *const places[] = {"/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx", NULL};
    return judge_program(places);
}

DICE_FUNCTION const char *apache_program(void)
{
    static const char *const places[] = {"/usr/sbin/apache2", "/usr/sbin/httpd", NULL};
    return judge_program(places);
}

DICE_FUNCTION const char *apache_modules(void)
{
    static const char *const places[] = {"/usr/lib/apache2/modules", "/usr/lib64/httpd/modules",
                                         "/usr/lib/httpd/modules", NULL};
    return judge_program(places);
}

/* unexpected "x": one byte; `unexpected "..." in condition` is about a directive's meaning. */
DICE_FUNCTION bool is_unexpected_byte(const char *said)
{
    const char *at = strstr(said, "unexpected \"");
    return at != NULL && at[12] != '\0' && at[13] == '"' && strncmp(at + 14, " in /", 5) == 0;
}

/* `said` is what nginx printed. That a directive should be a block, or should not, depends on modules: no
 * matter of the language. */
DICE_FUNCTION enum verdict nginx_verdict(int status, const char *said)
{
    if (status == 0)
        return ACCEPTED;
    return is_unexpected_byte(said) || strstr(said, "unexpected end of file") != NULL ||
                   strstr(said, "too long parameter") != NULL
               ? BROKEN
               : OTHERWISE_WRONG;
}

DICE_FUNCTION enum verdict apache_verdict(int status, const char *said)
{
    static const char *const broken[] = {"Expected </", " without matching <", " was not closed.",
                                         " missing closing '>'", "Line too long"};
    for (size_t i = 0; status != 0 && i < sizeof broken / sizeof broken[0]; i++) {
        if (strstr(said, broken[i]) != NULL)
            return BROKEN;
    }
    return status == 0 ? ACCEPTED : OTHERWISE_WRONG;
}

/* `said` gets the server's words. */
DICE_FUNCTION enum verdict judge(const char *const *argv,
                                 enum verdict (*verdict)(int status, const char *said), struct buf *said)
{
    struct spawn_result result = {0};
    struct err err = ERR_INIT;
    struct spawn_options options = {.timeout_ms = 20000};
    if (!spawn_run(argv, &options, &result, &err)) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    enum verdict is = verdict(result.status, buf_str(&result.output));
    buf_adds(said, buf_str(&result.output));
    spawn_result_clear(&result);
    return is;
}

DICE_FUNCTION enum verdict judge_nginx(const char *conf, const char *prefix, struct buf *said)
{
    const char *argv[] = {nginx_program(), "-t", "-q", "-c", conf, "-p", prefix, NULL};
    return judge(argv, nginx_verdict, said);
}

DICE_FUNCTION enum verdict judge_apache(const char *conf, const char *root, struct buf *said)
{
    const char *argv[] = {apache_program(), "-t", "-d", root, "-f", conf, NULL};
    return judge(argv, apache_verdict, said);
}

#endif
