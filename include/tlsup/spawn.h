/*
 * spawn.h - run another program: argv, never a shell; a clean environment; a deadline; bounded output.
 */
#ifndef TLSUP_SPAWN_H
#define TLSUP_SPAWN_H

#include <stdbool.h>
#include <stdint.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

struct spawn_options {
    int64_t timeout_ms;          /* 0 = 60 s. On expiry the whole process group is killed. */
    const char *const *env;      /* NULL-terminated "NAME=value", added to the clean environment, where the same name is replaced; may be NULL */
    const char *dir;             /* working directory, NULL = "/" */
    bool inherit_output;         /* stdout and stderr of the child are ours, nothing is captured */
    size_t output_limit;         /* bytes kept of the output; 0 = 64 KiB */
    const char *user;            /* run it as this user, with his groups; HOME, USER and LOGNAME are his. NULL = as ourselves. As another user than root only one's own name can be had */
    const char *input;           /* what it reads on standard input, instead of /dev/null; NULL = nothing */
    size_t input_len;
    bool raw_output;             /* the bytes as they came, and of stdout alone: for what is compared, not shown */
};

struct spawn_result {
    int status;        /* exit status 0..255, or 128 + signal */
    bool timed_out;
    struct buf output; /* stdout and stderr together, made printable, at most 64 KiB; but see raw_output, output_limit */
};

/* Run argv[0] (searched in the clean PATH when it has no '/') and wait. The child gets PATH, LANG=C.UTF-8,
 * HOME=/ and the additions, /dev/null as stdin, no other descriptors, default signal dispositions, a session of its own without a terminal.
 * True when it ran to an end, whatever its status; false when it could not be started (ERR_NOT_FOUND: no such program or user,
 * ERR_PERMISSION). The caller clears the result. */
MUST_CHECK bool spawn_run(const char *const *argv, const struct spawn_options *options, struct spawn_result *result,
                          struct err *err);
void spawn_result_clear(struct spawn_result *result);

/* -- the same without waiting: for a caller that has a loop of its own -- */
struct spawn; /* heap: a program that runs */
/* Starts it; errors as spawn_run(). argv, options and env are not needed afterwards. inherit_output cannot be had here. */
MUST_CHECK bool spawn_start(const char *const *argv, const struct spawn_options *options, struct spawn **out, struct err *err);
/* Readable when spawn_step() has something to do: output, the end, the deadline. -1 where the system cannot tell all that by one
 * descriptor: then ask spawn_step() every 20 ms or so. Ours; it may not be read or closed. */
int spawn_fd(const struct spawn *spawn);
/* Take what it has printed, see whether it has ended or its time is up; never blocks. True when it is over: `result` is filled then (what it
 * held before is overwritten), and the handle freed. At the deadline the process group is killed; it is over as soon as that has taken effect. */
bool spawn_step(struct spawn *spawn, struct spawn_result *result);
/* Kill its process group, reap it, free the handle. NULL is fine. */
void spawn_kill(struct spawn *spawn);
/* May this program of the user's be run? It must be an executable file (a script that another one reads: `readable` is enough), and, as root, one that nobody else may change: root's own, not
 * writable for group or others. ERR_NOT_FOUND, ERR_PERMISSION with what to do. */
MUST_CHECK bool spawn_check_program(const char *path, bool readable, struct err *err);
/* The same for one that will run as `user` (NULL = ourselves): it may be his, too. */
MUST_CHECK bool spawn_check_program_for(const char *path, bool readable, const char *user, struct err *err);
/* The last lines of what a program has printed, at most `most` of them and so many bytes as `size` holds, for a message; without blank ones. Returns `out`. */
const char *spawn_last_lines(const struct spawn_result *result, size_t most, char *out, size_t size);
/* Is a program of this name to be found in the clean PATH? */
bool spawn_find(const char *program);

#endif
