/*
 * request.h - a command line, parsed: plain data that the commands work on.
 */
#ifndef TLSUP_CLI_REQUEST_H
#define TLSUP_CLI_REQUEST_H

#include "tlsup/buf.h"
#include "tlsup/config.h"
#include "tlsup/err.h"
#include "tlsup/log.h"

enum command {
    COMMAND_NONE,
    COMMAND_ENABLE,
    COMMAND_ISSUE,
    COMMAND_INSTALL,
    COMMAND_RENEW,
    COMMAND_STATUS,
    COMMAND_ACCOUNT_REGISTER,
    COMMAND_ACCOUNT_SHOW,
    COMMAND_DELETE,
    COMMAND_UNDO,
    COMMAND_HELP,    /* `help_on` says on what; COMMAND_NONE = in general */
    COMMAND_VERSION,
    COMMAND_ACCOUNT, /* only as `help_on`: the page on both account commands */
};

enum choice { CHOICE_UNSET, CHOICE_NO, CHOICE_YES };

struct request {
    enum command command;
    enum command help_on;
    struct strlist arguments;      /* what stood free on the line: names (enable, issue) or certificates (renew, status, …; there --cert-name adds one);
                                      install and undo get exactly one, delete at least one, account none; certificates are valid names of such */
    struct strlist names;          /* enable, issue: arguments and -d values, split at commas, normalised, no duplicates */
    char *config_dir;              /* never NULL */
    char *state_dir;               /* never NULL */
    char *server;                  /* a directory URL, presets resolved; NULL = not given */
    char *ca_bundle;               /* absolute path, as all paths here; NULL = not given */
    char *email;                   /* NULL = not given */
    char *cert_name;               /* NULL = not given */
    char *webroot;                 /* NULL = not given */
    char *deploy_hook;             /* NULL = not given */
    bool has_key_type;
    enum key_type key_type;
    bool has_challenge;
    enum config_challenge challenge;
    enum web_kind web;             /* --nginx, --apache; WEB_NONE = not given */
    enum choice redirect;
    bool agree_tos;
    bool non_interactive;          /* -n, or standard input is no terminal */
    bool force_renewal;
    bool no_timer;                 /* --no-timer: leave systemd and cron alone */
    bool json;
    enum log_level log_level;      /* -q: ERROR, default WARN, -v: INFO, --debug: DEBUG */
    bool quiet;
};

void request_clear(struct request *request);
/* Parse a command line; `out` is initialised here, and cleared on failure. ERR_USAGE says which word is wrong, what is accepted, and names `tlsup COMMAND --help`. */
MUST_CHECK bool options_parse(int argc, char **argv, struct request *out, struct err *err);
/* The text of `tlsup --help` or `tlsup COMMAND --help`, to standard output. */
void options_help(enum command on);
const char *command_name(enum command command); /* "enable", "account register", … */

#endif
