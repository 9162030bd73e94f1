/*
 * options_internal.h - what the files of the command line share: the tables of commands and options, and the
 * line while it is read.
 */
#ifndef TLSUP_CLI_OPTIONS_INTERNAL_H
#define TLSUP_CLI_OPTIONS_INTERNAL_H

#include <stdint.h>

#include "request.h"

#ifndef TLSUP_CONFIG_DIR
#define TLSUP_CONFIG_DIR "/etc/tlsup"
#endif
#ifndef TLSUP_STATE_DIR
#define TLSUP_STATE_DIR "/var/lib/tlsup"
#endif

#define WORD_MAX_BYTES 64

/* -- commands (options_commands.c) -- */

enum takes {
    TAKES_NOTHING,
    TAKES_NAMES,
    TAKES_ANY_NAMES,
    TAKES_ONE_CERT,
    TAKES_CERT_OR_FILE, /* --cert-path in its place */
    TAKES_SOME_CERTS,
    TAKES_ANY_CERTS,
    TAKES_KEY,
    TAKES_CERT_AND_NEW_NAME,
    TAKES_CERT_AND_VERSION, /* which may be left out */
    TAKES_DIRECTORY,        /* which may be left out */
    TAKES_SHELL,
    TAKES_COMMAND,
};

struct command_info {
    enum command command;
    const char *name;
    const char *synopsis; /* what follows the name in the usage line */
    enum takes takes;
    const char *summary;     /* in the list of commands */
    const char *description; /* on its own page */
    const char *examples;    /* lines, indented */
};

/* In the order in which people see them; NULL past the last. */
const struct command_info *command_at(size_t index);
const struct command_info *command_info_of(enum command command);
/* The command of one word, or of two ("account" "show"); `used` is how many words it took. */
enum command command_of(const char *word, const char *next, size_t *used);
/* "account", "timer": only the first word of commands of two. */
bool command_is_family(enum command command);
const char *command_nearest(const char *typed); /* NULL */

typedef uint64_t command_set;
#define ON(command) (UINT64_C(1) << (command))
#define ON_NEW (ON(COMMAND_ENABLE) | ON(COMMAND_ISSUE))
#define ON_ALL (~UINT64_C(0))

/* -- options (options_table.c) -- */

enum group {
    GROUP_NAMES,
    GROUP_KEYS,
    GROUP_CA,
    GROUP_ORDER,
    GROUP_ACCOUNT,
    GROUP_CONNECTION,
    GROUP_CHALLENGE,
    GROUP_DNS,
    GROUP_REVOCATION,
    GROUP_WEB,
    GROUP_RENEWAL,
    GROUP_EXPORT,
    GROUP_IMPORT,
    GROUP_GENERAL,
    GROUP_COUNT
};
extern const char *const option_group_titles[GROUP_COUNT];

enum key_word { WORD_KEY_TYPE, WORD_RSA_KEY_SIZE, WORD_ELLIPTIC_CURVE };

struct parser;
struct option;
typedef bool option_apply_fn(struct parser *parser, const struct option *option, const char *value,
                             struct err *err);

struct option {
    const char *name;
    char letter;          /* 0 = none */
    const char *value;    /* what the help calls its value; NULL = it takes none */
    command_set commands; /* ON() */
    enum group group;
    const char *help; /* NULL = accepted, not shown */
    option_apply_fn *apply;
    size_t offset; /* of the member of struct request, for the simple ones */
    int number;    /* what it stands for, for the others */
    bool many;     /* may be repeated */
};

const struct option *option_at(size_t index); /* NULL past the last */
/* The row of that name or alias: the one for the command, where there are several. */
const struct option *option_find(const char *name, size_t len, enum command command);
const struct option *option_of_letter(char letter);
/* The option whose name is nearest, among those of the command (COMMAND_NONE = of all); NULL. */
const char *option_nearest(const char *typed, enum command command);
/* Pairs that exclude each other; false past the last. */
bool option_exclusive_at(size_t index, const char **one, const char **other);

/* The word that was probably meant, of those that were considered. */
struct nearest {
    const char *word;
    size_t distance;
};
#define NEAREST_INIT                                                                                         \
    {                                                                                                        \
        NULL, WORD_MAX_BYTES                                                                                 \
    }
void nearest_consider(struct nearest *best, const char *typed, const char *word);

/* -- a command line while it is read (options.c) -- */

/* An option as it stood on the line. */
struct given {
    const struct option *option;
    const char *value;
    char as[WORD_MAX_BYTES]; /* "-w", "--webroot-path" */
};

struct parser {
    struct request *request;
    struct given *given;
    size_t n_given;
    struct strlist words;
    struct strlist names; /* as typed with -d */
    enum command command;
    struct strlist key_types;
    const char *rsa_key_size, *elliptic_curve;
    struct strlist preferred;   /* --preferred-challenges */
    bool listed;                /* --challenge, --preferred-challenges: these ways and no others */
    struct cert_config scratch; /* where values are tried that mean the same in a file */
};

bool option_is_given(const struct parser *p, const char *name);
/* The page that helps, as advice where no better one was given. Returns false. */
bool options_advise_help(const struct parser *p, struct err *err);
#define usage(p, err, ...)                                                                                   \
    (err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", __VA_ARGS__), options_advise_help(p, err))

/* -- values (options_values.c) -- */

option_apply_fn apply_nothing, apply_flag, apply_choice, apply_path, apply_file, apply_from, apply_program,
    apply_programs, apply_words, apply_number, apply_text, apply_format, apply_from_client, apply_to,
    apply_manual_hook, apply_setting, apply_seconds, apply_domains, apply_ip_address, apply_cert_name,
    apply_key_word, apply_server, apply_email, apply_account, apply_secret, apply_eab_kid, apply_eab_alg,
    apply_way, apply_challenge, apply_preferred, apply_webroot, apply_contract, apply_dns_servers,
    apply_profile, apply_tls_profile, apply_hsts, apply_with, apply_valid_for, apply_instant, apply_proxy,
    apply_ip_version, apply_reason, apply_web, apply_level;
/* A certificate as a person names it. */
MUST_CHECK bool options_add_certificate(struct parser *p, const char *typed, struct err *err);
/* Another way to answer, each once. */
void options_add_way(struct request *request, enum config_challenge via);
/* A path as it will be read by a later run, which starts elsewhere; *out is the caller's. */
MUST_CHECK bool options_absolute(const char *path, char **out, struct err *err);

/* -- what options say together (options_check.c) -- */
MUST_CHECK bool options_check(struct parser *p, struct err *err);

#endif
