#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "request.h"

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

#ifndef TLSUP_CONFIG_DIR
#define TLSUP_CONFIG_DIR "/etc/tlsup"
#endif
#ifndef TLSUP_STATE_DIR
#define TLSUP_STATE_DIR "/var/lib/tlsup"
#endif

enum { HELP_COLUMNS = 80, HELP_INDENT = 30, EMAIL_MAX_BYTES = 254, WORD_MAX_BYTES = 64 };

/* -- the commands ------------------------------------------------------------------------------------ */

enum takes { TAKES_NOTHING, TAKES_NAMES, TAKES_ONE_CERT, TAKES_SOME_CERTS, TAKES_ANY_CERTS, TAKES_COMMAND };

static const struct command_info {
    enum command command;
    const char *name;
    const char *synopsis; /* what follows the name in the usage line */
    enum takes takes;
    const char *summary;     /* in the list of commands */
    const char *description; /* on its own page */
    const char *examples;    /* lines, indented */
} commands[] = {
    {COMMAND_ENABLE, "enable", "NAME...", TAKES_NAMES, "get a certificate, turn HTTPS on, keep it renewed",
     "Gets one certificate for all the names, puts it into nginx or Apache, switches port 443 on, proves by "
     "a real "
     "handshake that the certificate is served, and sees to it that it is renewed. If a step fails, the web "
     "server is put "
     "back as it was.",
     "  sudo tlsup enable example.org www.example.org\n"
     "  sudo tlsup enable example.org --redirect -m admin@example.org\n"
     "  sudo tlsup enable example.org --staging        a rehearsal, with a CA nobody trusts\n"},
    {COMMAND_ISSUE, "issue", "NAME...", TAKES_NAMES, "get a certificate and keep it renewed, no more",
     "Gets one certificate for all the names and stores it, for programs that you point at its files "
     "yourself. The CA's "
     "challenge is answered by the running web server, or by tlsup itself (--standalone), or through files "
     "below a web "
     "root (-w).",
     "  sudo tlsup issue example.org\n"
     "  sudo tlsup issue --standalone mail.example.org --deploy-hook /usr/local/sbin/reload-mail\n"
     "  sudo tlsup issue -w /var/www/html example.org www.example.org\n"},
    {COMMAND_INSTALL, "install", "CERT", TAKES_ONE_CERT, "put a stored certificate into a web server",
     "Puts a certificate that tlsup holds into nginx or Apache and proves that it is served. From then on "
     "every renewal "
     "goes there, too.",
     "  sudo tlsup install example.org\n"
     "  sudo tlsup install example.org --apache --redirect\n"},
    {COMMAND_RENEW, "renew", "[CERT...]", TAKES_ANY_CERTS, "renew what is due; for a timer or cron",
     "Renews the certificates that have a third of their life left or less, puts the new ones in place and "
     "proves that they "
     "are served. Without CERT all certificates are looked at. What a certificate was issued with is "
     "remembered.",
     "  sudo tlsup renew\n"
     "  sudo tlsup renew example.org --force-renewal\n"},
    {COMMAND_STATUS, "status", "[CERT...]", TAKES_ANY_CERTS, "what is held, where it is served, what is due",
     "Shows the certificates that tlsup holds, those with a problem first: names, expiry, when they are "
     "renewed, where they are "
     "served, and what went wrong the last time. With CERT or --verbose it tells all about each. The exit "
     "status is 0 even "
     "when a certificate has a problem.",
     "  tlsup status\n"
     "  tlsup status example.org\n"
     "  tlsup status --json | jq '.certificates[] | select(.state != \"valid\")'\n"},
    {COMMAND_ACCOUNT_REGISTER, "account register", "", TAKES_NOTHING, "make an account with the CA",
     "Makes an account with the CA, or finds the one that the account key has there, and sets its e-mail "
     "address. The other "
     "commands do this by themselves when it is needed.",
     "  sudo tlsup account register --agree-tos -m admin@example.org\n"},
    {COMMAND_ACCOUNT_SHOW, "account show", "", TAKES_NOTHING, "show the account with the CA",
     "Shows the account that is used with the CA: its URL, its e-mail address and the terms of service that "
     "were agreed to.",
     "  sudo tlsup account show\n"
     "  sudo tlsup account show --staging --json\n"},
    {COMMAND_DELETE, "delete", "CERT...", TAKES_SOME_CERTS, "forget a certificate and remove its files",
     "Removes a certificate, its keys and its configuration from this machine. It is not revoked: it simply "
     "is no longer "
     "renewed. A certificate that a web server still serves is refused; `tlsup undo` comes first.",
     "  sudo tlsup delete old.example.org\n"},
    {COMMAND_UNDO, "undo", "CERT", TAKES_ONE_CERT, "put the web server's configuration back",
     "Takes back every change that was made to the web server's files for a certificate, tests and reloads "
     "the server. What a person "
     "has changed since is kept. The certificate stays in the store and is renewed; `tlsup delete` forgets "
     "it.",
     "  sudo tlsup undo example.org\n"},
    {COMMAND_HELP, "help", "[COMMAND]", TAKES_COMMAND, "this text, or all about one command", NULL, NULL},
};

#define ON(command) (1u << (command))
#define ON_NEW (ON(COMMAND_ENABLE) | ON(COMMAND_ISSUE))
#define ON_ACCOUNT (ON(COMMAND_ACCOUNT_REGISTER) | ON(COMMAND_ACCOUNT_SHOW))
#define ON_CERTS                                                                                             \
    (ON(COMMAND_INSTALL) | ON(COMMAND_RENEW) | ON(COMMAND_STATUS) | ON(COMMAND_DELETE) | ON(COMMAND_UNDO))
#define ON_ALL (~0u)

/* What people type who come from elsewhere, or guess. */
static const struct {
    const char *typed, *meant;
} other_words[] = {
    {"certonly", "issue"},
    {"obtain", "issue"},
    {"get", "issue"},
    {"new", "issue"},
    {"run", "enable"},
    {"certificates", "status"},
    {"list", "status"},
    {"ls", "status"},
    {"show", "status"},
    {"register", "account register"},
    {"show_account", "account show"},
    {"update_account", "account register"},
    {"remove", "delete"},
    {"rm", "delete"},
    {"rollback", "undo"},
    {"uninstall", "undo"},
    {"renew-all", "renew"},
    {"cron", "renew"},
    {"on", "enable"},
    {"version", "--version"},
};

static const struct command_info *info_of(enum command command)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (commands[i].command == command)
            return &commands[i];
    return NULL;
}

const char *command_name(enum command command)
{
    const struct command_info *info = info_of(command);
    return info != NULL                 ? info->name
           : command == COMMAND_ACCOUNT ? "account"
           : command == COMMAND_VERSION ? "version"
                                        : "";
}

/* The command of one word, or of two ("account" "show"); `used` is how many words it took. */
static enum command command_of(const char *word, const char *next, size_t *used)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        const char *name = commands[i].name;
        const char *space = strchr(name, ' ');
        size_t first = space != NULL ? (size_t)(space - name) : strlen(name);
        if (strlen(word) != first || strncmp(word, name, first) != 0)
            continue;
        if (space != NULL && (next == NULL || strcmp(next, space + 1) != 0))
            continue;
        *used = space != NULL ? 2 : 1;
        return commands[i].command;
    }
    *used = strcmp(word, "account") == 0 ? 1 : 0;
    return *used == 1 ? COMMAND_ACCOUNT : COMMAND_NONE;
}

/* -- the options ------------------------------------------------------------------------------------- */

/* A command line while it is read. */
struct parser {
    struct request *request;
    struct given *given;
    size_t n_given;
    struct strlist words;
    struct strlist names; /* as typed with -d */
    enum command command;
    const char *key_type, *rsa_key_size, *elliptic_curve;
};

enum group { GROUP_NAMES, GROUP_CA, GROUP_CHALLENGE, GROUP_WEB, GROUP_RENEWAL, GROUP_GENERAL, GROUP_COUNT };

static const char *const group_titles[GROUP_COUNT] = {
    [GROUP_NAMES] = "Names and keys",
    [GROUP_CA] = "Certificate authority (CA)",
    [GROUP_CHALLENGE] = "How the CA's challenge is answered",
    [GROUP_WEB] = "Web server",
    [GROUP_RENEWAL] = "Renewal",
    [GROUP_GENERAL] = "General",
};

struct option {
    const char *name;
    char letter;       /* 0 = none */
    const char *value; /* what the help calls its value; NULL = it takes none */
    unsigned commands; /* ON() */
    enum group group;
    const char *help; /* NULL = accepted, not shown */
    bool (*apply)(struct parser *parser, const struct option *option, const char *value, struct err *err);
    size_t offset; /* of the member of struct request, for the simple ones */
    int number;    /* what it stands for, for the others */
};

/* An option as it stood on the line. */
struct given {
    const struct option *option;
    const char *value;
    char as[WORD_MAX_BYTES]; /* "-w", "--webroot-path" */
};

static bool apply_flag(struct parser *p, const struct option *option, const char *value, struct err *err);
static bool apply_path(struct parser *p, const struct option *option, const char *value, struct err *err);
static bool apply_domains(struct parser *p, const struct option *option, const char *value, struct err *err);
static bool apply_cert_name(struct parser *p, const struct option *option, const char *value,
                            struct err *err);
static bool apply_key(struct parser *p, const struct option *option, const char *value, struct err *err);
static bool apply_server(struct parser *p, const struct option *option, const char *value, struct err *err);
static bool apply_ca_bundle(struct parser *p, const struct option *option, const char *value,
                            struct err *err);
static bool apply_email(struct parser *p, const struct option *option, const char *value, struct err *err);
static bool apply_challenge(struct parser *p, const struct option *option, const char *value,
                            struct err *err);
static bool apply_webroot(struct parser *p, const struct option *option, const char *value, struct err *err);
static bool apply_hook(struct parser *p, const struct option *option, const char *value, struct err *err);
static bool apply_web(struct parser *p, const struct option *option, const char *value, struct err *err);
static bool apply_redirect(struct parser *p, const struct option *option, const char *value, struct err *err);
static bool apply_level(struct parser *p, const struct option *option, const char *value, struct err *err);
static bool apply_nothing(struct parser *p, const struct option *option, const char *value, struct err *err);

enum key_word { WORD_KEY_TYPE, WORD_RSA_KEY_SIZE, WORD_ELLIPTIC_CURVE };
#define AT(member) offsetof(struct request, member)

static const struct option options[] = {
    {"domain", 'd', "NAME[,...]", ON_NEW, GROUP_NAMES, "another way to name names; may be repeated",
     apply_domains, 0, 0},
    {"cert-name", 0, "CERT", ON_NEW, GROUP_NAMES,
     "what to call the certificate; by default its first name. A CERT that exists is replaced",
     apply_cert_name, 0, 0},
    {"cert-name", 0, "CERT", ON_CERTS, GROUP_NAMES, NULL, apply_cert_name, 0, 0},
    {"key-type", 0, "TYPE", ON_NEW, GROUP_NAMES,
     "ecdsa-p256 (the default), ecdsa-p384, rsa-2048, rsa-3072 or rsa-4096", apply_key, 0, WORD_KEY_TYPE},
    {"rsa-key-size", 0, "BITS", ON_NEW, GROUP_NAMES, NULL, apply_key, 0, WORD_RSA_KEY_SIZE},
    {"elliptic-curve", 0, "CURVE", ON_NEW, GROUP_NAMES, NULL, apply_key, 0, WORD_ELLIPTIC_CURVE},

    {"server", 0, "CA", ON_NEW | ON_ACCOUNT, GROUP_CA,
     "letsencrypt (the default), letsencrypt-staging, or the https URL of another CA's ACME directory",
     apply_server, 0, 0},
    {"staging", 0, NULL, ON_NEW | ON_ACCOUNT, GROUP_CA,
     "for rehearsals: Let's Encrypt's staging CA, with generous limits, trusted by no browser", apply_server,
     0, 0},
    {"ca-bundle", 0, "FILE", ON_NEW | ON_ACCOUNT, GROUP_CA,
     "trust these root certificates for the connection to the CA, instead of the system's", apply_ca_bundle,
     AT(ca_bundle), 0},
    {"email", 'm', "ADDRESS", ON_NEW | ON(COMMAND_ACCOUNT_REGISTER), GROUP_CA,
     "where the CA may reach you; optional with most CAs", apply_email, 0, 0},
    {"agree-tos", 0, NULL, ON_NEW | ON(COMMAND_ACCOUNT_REGISTER), GROUP_CA,
     "agree to the CA's terms of service", apply_flag, AT(agree_tos), 0},
    {"register-unsafely-without-email", 0, NULL, ON_NEW | ON(COMMAND_ACCOUNT_REGISTER), GROUP_CA, NULL,
     apply_nothing, 0, 0},

    {"standalone", 0, NULL, ON_NEW, GROUP_CHALLENGE, "tlsup itself answers on port 80, which must be free",
     apply_challenge, 0, CHALLENGE_VIA_STANDALONE},
    {"webroot", 0, NULL, ON_NEW, GROUP_CHALLENGE, "through files below a web root, given with -w",
     apply_challenge, 0, CHALLENGE_VIA_WEBROOT},
    {"webroot-path", 'w', "DIR", ON_NEW, GROUP_CHALLENGE,
     "the web root that is served for the names; implies --webroot", apply_webroot, AT(webroot),
     CHALLENGE_VIA_WEBROOT},

    {"nginx", 0, NULL, ON_NEW | ON(COMMAND_INSTALL), GROUP_WEB,
     "work with nginx; by default the server that runs on port 80 is found", apply_web, 0, WEB_NGINX},
    {"apache", 0, NULL, ON_NEW | ON(COMMAND_INSTALL), GROUP_WEB, "work with Apache", apply_web, 0,
     WEB_APACHE},
    {"redirect", 0, NULL, ON(COMMAND_ENABLE) | ON(COMMAND_INSTALL), GROUP_WEB,
     "send visitors from http to https", apply_redirect, 0, CHOICE_YES},
    {"no-redirect", 0, NULL, ON(COMMAND_ENABLE) | ON(COMMAND_INSTALL), GROUP_WEB, "serve http as before",
     apply_redirect, 0, CHOICE_NO},

    {"force-renewal", 0, NULL, ON_NEW | ON(COMMAND_RENEW), GROUP_RENEWAL,
     "get a new certificate even if none is due", apply_flag, AT(force_renewal), 0},
    {"deploy-hook", 0, "PROGRAM", ON_NEW, GROUP_RENEWAL,
     "run this program, without arguments and without a shell, after each renewal", apply_hook,
     AT(deploy_hook), 0},
    {"no-timer", 0, NULL, ON_NEW | ON(COMMAND_INSTALL), GROUP_RENEWAL,
     "set up no systemd timer and no cron file; you run tlsup renew yourself", apply_flag, AT(no_timer), 0},

    {"non-interactive", 'n', NULL, ON_ALL, GROUP_GENERAL, "never ask; fail where an answer is needed",
     apply_flag, AT(non_interactive), 0},
    {"json", 0, NULL, ON(COMMAND_STATUS) | ON(COMMAND_ACCOUNT_SHOW), GROUP_GENERAL,
     "for programs: JSON instead of a table", apply_flag, AT(json), 0},
    {"quiet", 'q', NULL, ON_ALL, GROUP_GENERAL, "show errors only", apply_level, 0, LOG_LEVEL_ERROR},
    {"verbose", 'v', NULL, ON_ALL, GROUP_GENERAL, "tell what happens, in plain words", apply_level, 0,
     LOG_LEVEL_INFO},
    {"debug", 0, NULL, ON_ALL, GROUP_GENERAL, "tell every exchange with the CA", apply_level, 0,
     LOG_LEVEL_DEBUG},
    {"config-dir", 0, "DIR", ON_ALL, GROUP_GENERAL, "configuration, instead of " TLSUP_CONFIG_DIR, apply_path,
     AT(config_dir), 0},
    {"state-dir", 0, "DIR", ON_ALL, GROUP_GENERAL, "certificates and keys, instead of " TLSUP_STATE_DIR,
     apply_path, AT(state_dir), 0},
    {"help", 'h', NULL, ON_ALL, GROUP_GENERAL, "this text", apply_nothing, 0, 0},
    {"version", 'V', NULL, ON_ALL, GROUP_GENERAL, NULL, apply_nothing, 0, 0},
};

static const struct {
    const char *alias, *name;
} aliases[] = {
    {"domains", "domain"},
    {"test-cert", "staging"},
    {"force", "force-renewal"},
    {"renew-by-default", "force-renewal"},
    {"noninteractive", "non-interactive"},
};

static const struct {
    const char *one, *other;
} exclusive[] = {
    {"standalone", "webroot"},   {"standalone", "webroot-path"}, {"nginx", "apache"},
    {"redirect", "no-redirect"}, {"server", "staging"},
};

/* The row of that name: the one for the command, where there are several. */
static const struct option *find_option(const char *name, size_t len, enum command command)
{
    const struct option *found = NULL;
    for (size_t i = 0; i < COUNT_OF(aliases); i++)
        if (strlen(aliases[i].alias) == len && strncmp(aliases[i].alias, name, len) == 0)
            return find_option(aliases[i].name, strlen(aliases[i].name), command);
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (strlen(options[i].name) == len && strncmp(options[i].name, name, len) == 0 &&
            (found == NULL || (options[i].commands & ON(command)) != 0))
            found = &options[i];
    return found;
}

static const struct option *find_letter(char letter)
{
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (options[i].letter == letter)
            return &options[i];
    return NULL;
}

/* -- errors ------------------------------------------------------------------------------------------ */

/* The page that helps, as advice where no better one was given. */
static bool advise_help(const struct parser *p, struct err *err)
{
    const char *name = command_name(p->command);
    return err_advise(err, "tlsup %s%s--help tells what is accepted", name, name[0] != '\0' ? " " : "");
}

#define usage(p, err, ...) (err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", __VA_ARGS__), advise_help(p, err))

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many letters must be changed, added, left out or swapped to make one word of the other. */
static size_t distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX_BYTES + 1];
    size_t a_len = strlen(a), b_len = strlen(b);
    if (a_len > WORD_MAX_BYTES || b_len > WORD_MAX_BYTES)
        return WORD_MAX_BYTES;
    for (size_t j = 0; j <= b_len; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], two_above[j - 2] + 1);
        }
    }
    return rows[a_len % 3][b_len];
}

struct nearest {
    const char *word;
    size_t distance;
};

static void consider(struct nearest *best, const char *typed, const char *word)
{
    size_t d = distance(typed, word), len = strlen(typed);
    /* the beginning of a word is as good as one letter wrong */
    if (len >= 3 && strncmp(typed, word, len) == 0)
        d = 1;
    if (d < best->distance && d <= 1 + least(len, strlen(word)) / 4)
        *best = (struct nearest){word, d};
}

static const char *nearest_option(const char *typed, enum command command)
{
    struct nearest best = {NULL, WORD_MAX_BYTES};
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (command == COMMAND_NONE || (options[i].commands & ON(command)) != 0)
            consider(&best, typed, options[i].name);
    for (size_t i = 0; i < COUNT_OF(aliases); i++)
        consider(&best, typed, aliases[i].alias);
    return best.word;
}

static const char *nearest_command(const char *typed)
{
    struct nearest best = {NULL, WORD_MAX_BYTES};
    for (size_t i = 0; i < COUNT_OF(other_words); i++)
        if (strcmp(typed, other_words[i].typed) == 0)
            return other_words[i].meant;
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        consider(&best, typed, commands[i].name);
    consider(&best, typed, "account");
    return best.word;
}

static bool unknown_option(struct parser *p, const char *typed, size_t len, const char *arg, struct err *err)
{
    AUTO_FREE char *name = mem_ndup(typed, len);
    const char *nearest = nearest_option(name, p->command);
    if (nearest == NULL)
        nearest = nearest_option(name, COMMAND_NONE);
    size_t shown = arg[0] == '-' && arg[1] == '-' ? 2 + len : strlen(arg);
    err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "there is no option %.*s", (int)least(shown, WORD_MAX_BYTES),
            arg);
    if (nearest != NULL)
        err_advise(err, "did you mean --%s?", nearest);
    return advise_help(p, err);
}

/* -- applying ---------------------------------------------------------------------------------------- */

static void set_text(struct request *request, size_t offset, char *text)
{
    char **member = (char **)(void *)((char *)request + offset);
    free(*member);
    *member = text;
}

/* Paths are remembered for renewals, which start elsewhere. */
static bool absolute(const char *path, char **out, struct err *err)
{
    if (path[0] == '/') {
        *out = mem_dup(path);
        return true;
    }
    AUTO_FREE char *here = getcwd(NULL, 0);
    if (here == NULL)
        return err_errno(err, errno, path, "cannot tell in which directory %s lies", path);
    while (strncmp(path, "./", 2) == 0)
        path += 2 + strspn(path + 2, "/");
    *out = strcmp(path, ".") == 0 ? mem_dup(here) : fs_join(here, path);
    return true;
}

static bool apply_nothing(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)p, (void)option, (void)value, (void)err;
    return true;
}

static bool apply_flag(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)value, (void)err;
    *(bool *)(void *)((char *)p->request + option->offset) = true;
    return true;
}

static bool apply_path(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    char *path;
    if (!absolute(value, &path, err))
        return false;
    set_text(p->request, option->offset, path);
    return true;
}

static bool apply_domains(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)option, (void)err;
    strlist_split(&p->names, value, ",");
    return true;
}

static bool check_cert_name(const struct parser *p, const char *name, struct err *err)
{
    if (config_cert_name_valid(name))
        return true;
    return usage(p, err,
                 "'%s' cannot be the name of a certificate: letters, digits and . _ @ - can, 200 at most",
                 name);
}

/* A certificate as a person names it: "*.example.org" is kept under a name that fits a file. */
static bool add_certificate(struct parser *p, const char *typed, struct err *err)
{
    char name[256];
    snprintf(name, sizeof name, "%s", typed);
    if (strlen(typed) < sizeof name && !config_cert_name_valid(typed) && name_is_wildcard(typed))
        config_cert_name_for(typed, name);
    if (!check_cert_name(p, strlen(typed) < sizeof name ? name : typed, err))
        return false;
    if (!strlist_has(&p->request->arguments, name))
        strlist_add(&p->request->arguments, name);
    return true;
}

static bool apply_cert_name(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)option;
    if ((ON(p->command) & ON_NEW) == 0)
        return add_certificate(p, value, err);
    if (!check_cert_name(p, value, err))
        return false;
    set_text(p->request, AT(cert_name), mem_dup(value));
    return true;
}

static bool apply_key(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)err;
    const char **const words[] = {[WORD_KEY_TYPE] = &p->key_type,
                                  [WORD_RSA_KEY_SIZE] = &p->rsa_key_size,
                                  [WORD_ELLIPTIC_CURVE] = &p->elliptic_curve};
    *words[option->number] = value;
    return true;
}

static bool apply_server(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    const char *url;
    if (!config_ca_url(option->value != NULL ? value : "letsencrypt-staging", &url, err))
        return err_context(err, "--server");
    set_text(p->request, AT(server), mem_dup(url));
    return true;
}

static bool apply_ca_bundle(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_FREE char *path = NULL;
    if (!absolute(value, &path, err))
        return false;
    if (access(path, R_OK) != 0)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path, "--ca-bundle: cannot read %s: %s", path, strerror(errno));
    set_text(p->request, option->offset, mem_dup(path));
    return true;
}

static bool apply_email(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)option;
    static const char mailto[] = "mailto:";
    if (strncasecmp(value, mailto, strlen(mailto)) == 0)
        value += strlen(mailto);
    const char *at = strchr(value, '@');
    bool ok = at != NULL && at > value && at[1] != '\0' && strchr(at + 1, '@') == NULL &&
              strlen(value) <= EMAIL_MAX_BYTES;
    /* these would begin a second address or header fields in a mailto URL (RFC 8555, 7.3) */
    for (const char *c = value; ok && *c != '\0'; c++)
        ok = !isspace((unsigned char)*c) && !iscntrl((unsigned char)*c) && strchr(",?<>\"", *c) == NULL;
    if (!ok)
        return usage(p, err, "'%s' is no e-mail address", value);
    set_text(p->request, AT(email), mem_dup(value));
    return true;
}

static bool apply_challenge(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)value, (void)err;
    p->request->has_challenge = true;
    p->request->challenge = (enum config_challenge)option->number;
    return true;
}

static bool apply_webroot(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    AUTO_FREE char *path = NULL;
    if (!absolute(value, &path, err))
        return false;
    if (!fs_is_dir(path))
        return usage(p, err, "the web root %s is not a directory", path);
    set_text(p->request, option->offset, mem_dup(path));
    return apply_challenge(p, option, value, err);
}

/* A hook that is not there would be found out at a renewal months from now. */
static bool apply_hook(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    struct stat st;
    AUTO_FREE char *path = NULL;
    if (!absolute(value, &path, err))
        return false;
    if (stat(path, &st) != 0 && strpbrk(value, " \t;|&") != NULL) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, value,
                "--deploy-hook takes the path of a program, not a command line");
        return err_advise(err, "put the commands into a script, make it executable, and give its path");
    }
    if (stat(path, &st) != 0)
        return err_errno(err, errno, path, "--deploy-hook: cannot find %s", path);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 0111) == 0) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path, "--deploy-hook: %s is not an executable file", path);
        return err_advise(err, "make it one: chmod +x %s", path);
    }
    set_text(p->request, option->offset, mem_dup(path));
    return true;
}

static bool apply_web(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)value, (void)err;
    p->request->web = (enum web_kind)option->number;
    return true;
}

static bool apply_redirect(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)value, (void)err;
    p->request->redirect = (enum choice)option->number;
    return true;
}

static bool apply_level(struct parser *p, const struct option *option, const char *value, struct err *err)
{
    (void)value, (void)err;
    p->request->log_level = (enum log_level)option->number;
    p->request->quiet = option->number == LOG_LEVEL_ERROR;
    return true;
}

/* -- reading the line -------------------------------------------------------------------------------- */

static bool is_given(const struct parser *p, const char *name)
{
    for (size_t i = 0; i < p->n_given; i++)
        if (strcmp(p->given[i].option->name, name) == 0)
            return true;
    return false;
}

static void give(struct parser *p, const struct option *option, const char *value, const char *as,
                 size_t as_len)
{
    struct given *given = &p->given[p->n_given++];
    given->option = option;
    given->value = value;
    snprintf(given->as, sizeof given->as, "%.*s", (int)as_len, as);
}

/* The value that follows in the next word. */
static bool next_value(struct parser *p, int argc, char **argv, int *at, const struct option *option,
                       const char **value, struct err *err)
{
    const char *as = argv[*at];
    if (*at + 1 >= argc || (argv[*at + 1][0] == '-' && argv[*at + 1][1] != '\0'))
        return usage(p, err, "%s needs a value: %s %s", as, as, option->value);
    *value = argv[++*at];
    return true;
}

static bool read_long(struct parser *p, int argc, char **argv, int *at, struct err *err)
{
    const char *arg = argv[*at], *name = arg + 2, *value = NULL;
    size_t len = strcspn(name, "=");
    const struct option *option = find_option(name, len, p->command);
    if (option == NULL)
        return unknown_option(p, name, len, arg, err);
    if (name[len] == '=' && option->value == NULL)
        return usage(p, err, "--%s takes no value", option->name);
    if (name[len] == '=')
        value = name + len + 1;
    else if (option->value != NULL && !next_value(p, argc, argv, at, option, &value, err))
        return false;
    if (value != NULL && value[0] == '\0')
        return usage(p, err, "--%s was given an empty value", option->name);
    give(p, option, value, arg, len + 2);
    return true;
}

/* "-n", "-nv", "-dexample.org", "-d example.org" */
static bool read_short(struct parser *p, int argc, char **argv, int *at, struct err *err)
{
    const char *arg = argv[*at];
    /* a whole long option with one dash is a slip, not a cluster */
    if (arg[2] != '\0' && find_option(arg + 1, strcspn(arg + 1, "="), p->command) != NULL) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "there is no option %s", arg);
        return err_advise(err, "did you mean -%s?", arg);
    }
    for (const char *letter = arg + 1; *letter != '\0'; letter++) {
        const char as[3] = {'-', *letter, '\0'}, *value = NULL;
        const struct option *option = find_letter(*letter);
        if (option == NULL)
            return usage(p, err, "there is no option -%c%s%s", *letter, arg[2] != '\0' ? " in " : "",
                         arg[2] != '\0' ? arg : "");
        if (option->value != NULL && letter[1] != '\0') {
            give(p, option, letter + 1, as, 2);
            return true;
        }
        if (option->value != NULL && !next_value(p, argc, argv, at, option, &value, err))
            return false;
        if (value != NULL && value[0] == '\0')
            return usage(p, err, "%s was given an empty value", as);
        give(p, option, value, as, 2);
        if (value != NULL)
            return true;
    }
    return true;
}

static bool read_line(struct parser *p, int argc, char **argv, struct err *err)
{
    bool only_words = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        if (only_words || arg[0] != '-' || arg[1] == '\0')
            strlist_add(&p->words, arg);
        else if (strcmp(arg, "--") == 0)
            only_words = true;
        else if (arg[1] == '-' ? !read_long(p, argc, argv, &i, err) : !read_short(p, argc, argv, &i, err))
            return false;
    }
    return true;
}

/* The command, before the line is read: it decides which options there are. Values of options are words here,
 * too; a name that is also a command's is caught later. */
static enum command guess_command(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        size_t used;
        enum command command = command_of(argv[i], i + 1 < argc ? argv[i + 1] : NULL, &used);
        if (command != COMMAND_NONE)
            return command;
    }
    return COMMAND_NONE;
}

/* The word at `at` is no command. */
static bool no_such_command(struct parser *p, size_t at, struct err *err)
{
    const char *word = p->words.v[at], *next = at + 1 < p->words.n ? p->words.v[at + 1] : NULL;
    size_t used;
    enum command later = next != NULL ? command_of(next, NULL, &used) : COMMAND_NONE;
    const char *nearest = nearest_command(word);
    p->command = COMMAND_NONE;
    err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "there is no command '%s'", word);
    if (later != COMMAND_NONE)
        err_advise(err, "the command comes first: tlsup %s %s", next, word);
    else if (nearest != NULL)
        err_advise(err, "did you mean tlsup %s?", nearest);
    else if (strchr(word, '.') != NULL)
        err_advise(err, "to turn HTTPS on for %s: sudo tlsup enable %s", word, word);
    return advise_help(p, err);
}

static bool short_usage(struct err *err)
{
    err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "",
            "tell it what to do, for instance:\n\n"
            "  sudo tlsup enable example.org www.example.org    turn HTTPS on, keep it renewed\n"
            "  sudo tlsup issue --standalone mail.example.org   get a certificate, no more\n"
            "  tlsup status                                     what is held, until when\n");
    return err_advise(err, "tlsup --help shows all commands");
}

static bool read_help_on(struct parser *p, size_t first, struct err *err)
{
    struct request *request = p->request;
    size_t used;
    request->command = COMMAND_HELP;
    if (first >= p->words.n)
        return true;
    const char *word = p->words.v[first];
    request->help_on = command_of(word, first + 1 < p->words.n ? p->words.v[first + 1] : NULL, &used);
    if (request->help_on == COMMAND_HELP)
        request->help_on = COMMAND_NONE;
    if (used > 0)
        return true;
    return no_such_command(p, first, err);
}

/* Which command, or which help, the words and -h, --version ask for. `rest` is where its arguments begin. */
static bool read_command(struct parser *p, size_t *rest, struct err *err)
{
    size_t used = 0;
    *rest = 0;
    if (is_given(p, "version")) {
        p->request->command = COMMAND_VERSION;
        return true;
    }
    if (p->words.n == 0) {
        p->request->command = COMMAND_HELP;
        return is_given(p, "help") ? true : short_usage(err);
    }
    enum command command = command_of(p->words.v[0], p->words.n > 1 ? p->words.v[1] : NULL, &used);
    if (command == COMMAND_HELP || (is_given(p, "help") && command != COMMAND_NONE))
        return read_help_on(p, command == COMMAND_HELP ? 1 : 0, err);
    if (command == COMMAND_NONE)
        return no_such_command(p, 0, err);
    p->command = command;
    p->request->command = command;
    *rest = used;
    if (command != COMMAND_ACCOUNT)
        return true;
    if (p->words.n > 1)
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "there is no command 'account %s'", p->words.v[1]);
    else
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "what about the account?");
    return err_advise(err, "there are: tlsup account register, tlsup account show");
}

/* -- checks, when all is read ------------------------------------------------------------------------ */

/* "enable and issue" */
static void name_commands(const struct option *option, struct buf *out)
{
    AUTO_STRLIST names = STRLIST_INIT;
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if ((option->commands & ON(commands[i].command)) != 0)
            strlist_add(&names, commands[i].name);
    for (size_t i = 0; i < names.n; i++)
        buf_addf(out, "%s%s", i == 0 ? "" : i + 1 == names.n ? " and " : ", ", names.v[i]);
}

static bool check_belongs(const struct parser *p, const struct given *given, struct err *err)
{
    AUTO_BUF others = BUF_INIT;
    if ((given->option->commands & ON(p->command)) != 0)
        return true;
    name_commands(given->option, &others);
    return usage(p, err, "tlsup %s has no option %s; it belongs to %s", command_name(p->command), given->as,
                 buf_str(&others));
}

/* Only -d may be given again; for the others a second value would silently win. */
static bool check_once(const struct parser *p, size_t at, struct err *err)
{
    const struct given *given = &p->given[at];
    if (given->option->value == NULL || given->option->apply == apply_domains ||
        (given->option->apply == apply_cert_name && (ON(p->command) & ON_NEW) == 0))
        return true;
    for (size_t i = 0; i < at; i++)
        if (p->given[i].option == given->option && strcmp(p->given[i].value, given->value) != 0)
            return usage(p, err, "%s was given twice: %s and %s", given->as, p->given[i].value, given->value);
    return true;
}

static bool check_exclusive(const struct parser *p, struct err *err)
{
    for (size_t i = 0; i < COUNT_OF(exclusive); i++)
        if (is_given(p, exclusive[i].one) && is_given(p, exclusive[i].other))
            return usage(p, err, "--%s and --%s exclude each other", exclusive[i].one, exclusive[i].other);
    if (is_given(p, "webroot") && p->request->webroot == NULL)
        return usage(p, err, "--webroot needs to know the directory: -w DIR");
    return true;
}

static bool is_rsa(enum key_type type)
{
    return type == KEY_RSA_2048 || type == KEY_RSA_3072 || type == KEY_RSA_4096;
}

/* `detail` narrows `family` down: --key-type rsa --rsa-key-size 4096. */
static bool read_key_detail(struct parser *p, const char *option, const char *detail, bool rsa,
                            struct err *err)
{
    enum key_type type;
    struct err unknown = ERR_INIT;
    if (!key_type_parse(detail, &type, &unknown) || is_rsa(type) != rsa ||
        strcasecmp(detail, rsa ? "rsa" : "ecdsa") == 0)
        return usage(p, err, "--%s takes %s, not %s", option,
                     rsa ? "2048, 3072 or 4096" : "secp256r1 or secp384r1", detail);
    if (p->key_type != NULL && strcasecmp(p->key_type, rsa ? "rsa" : "ecdsa") != 0 &&
        (!p->request->has_key_type || p->request->key_type != type))
        return usage(p, err, "--key-type %s and --%s %s contradict each other", p->key_type, option, detail);
    p->request->has_key_type = true;
    p->request->key_type = type;
    return true;
}

static bool read_key_type(struct parser *p, struct err *err)
{
    struct request *request = p->request;
    if (p->key_type != NULL) {
        if (!key_type_parse(p->key_type, &request->key_type, err))
            return err_context(err, "--key-type"), advise_help(p, err);
        request->has_key_type = true;
    }
    /* certbot's habit is to give both details and let the type choose */
    bool rsa = p->rsa_key_size != NULL &&
               (p->key_type == NULL || is_rsa(request->key_type) || p->elliptic_curve == NULL);
    if (p->key_type == NULL && p->rsa_key_size != NULL && p->elliptic_curve != NULL)
        return usage(p, err, "--rsa-key-size and --elliptic-curve exclude each other");
    if (rsa)
        return read_key_detail(p, "rsa-key-size", p->rsa_key_size, true, err);
    if (p->elliptic_curve != NULL)
        return read_key_detail(p, "elliptic-curve", p->elliptic_curve, false, err);
    return true;
}

static bool read_names(struct parser *p, size_t rest, struct err *err)
{
    struct request *request = p->request;
    AUTO_STRLIST typed = STRLIST_INIT;
    size_t used;
    for (size_t i = rest; i < p->words.n; i++) {
        const char *word = p->words.v[i];
        strlist_add(&request->arguments, word);
        if (command_of(word, i + 1 < p->words.n ? p->words.v[i + 1] : NULL, &used) != COMMAND_NONE)
            return usage(p, err, "'%s' is a command, not a name: one command at a time, and it comes first",
                         word);
        strlist_split(&typed, word, ",");
    }
    for (size_t i = 0; i < p->names.n; i++)
        strlist_add(&typed, p->names.v[i]);
    if (typed.n == 0)
        return usage(p, err, "for which names? tlsup %s example.org www.example.org",
                     command_name(p->command));
    if (!name_normalize_list(&typed, &request->names, err))
        return false;
    for (size_t i = 0; i < request->names.n; i++)
        if (name_is_wildcard(request->names.v[i])) {
            err_set(err, ERR_NAME, NEXT_FIX_CONFIG, request->names.v[i],
                    "a wildcard name can be proven through DNS only; http-01, which is used here, cannot "
                    "prove it");
            return err_advise(err, "name the host names that you serve, one by one");
        }
    return true;
}

static bool read_certificates(struct parser *p, const struct command_info *info, size_t rest, struct err *err)
{
    struct strlist *arguments = &p->request->arguments;
    for (size_t i = rest; i < p->words.n; i++)
        if (!add_certificate(p, p->words.v[i], err))
            return false;
    if (info->takes != TAKES_ANY_CERTS && arguments->n == 0) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "which certificate? tlsup %s CERT", info->name);
        return err_advise(err, "tlsup status lists them");
    }
    if (info->takes == TAKES_ONE_CERT && arguments->n > 1)
        return usage(p, err, "tlsup %s takes one certificate at a time; '%s' is one too many", info->name,
                     arguments->v[1]);
    return true;
}

static bool read_arguments(struct parser *p, size_t rest, struct err *err)
{
    const struct command_info *info = info_of(p->command);
    switch (info->takes) {
    case TAKES_NAMES:
        return read_names(p, rest, err);
    case TAKES_ANY_CERTS:
    case TAKES_SOME_CERTS:
    case TAKES_ONE_CERT:
        return read_certificates(p, info, rest, err);
    default:
        if (rest < p->words.n)
            return usage(p, err, "tlsup %s takes no '%s'", info->name, p->words.v[rest]);
        return true;
    }
}

static bool apply_options(struct parser *p, struct err *err)
{
    for (size_t i = 0; i < p->n_given; i++) {
        struct given *given = &p->given[i];
        /* found when the command was only guessed; several rows may share a name */
        given->option = find_option(given->option->name, strlen(given->option->name), p->command);
        if (!check_belongs(p, given, err) || !check_once(p, i, err))
            return false;
        if (!given->option->apply(p, given->option, given->value, err))
            return advise_help(p, err);
    }
    return check_exclusive(p, err) && read_key_type(p, err);
}

static bool parse(struct parser *p, int argc, char **argv, struct err *err)
{
    size_t rest;
    p->command = guess_command(argc, argv);
    if (!read_line(p, argc, argv, err) || !read_command(p, &rest, err))
        return false;
    if (p->request->command == COMMAND_HELP || p->request->command == COMMAND_VERSION)
        return true;
    return apply_options(p, err) && read_arguments(p, rest, err);
}

bool options_parse(int argc, char **argv, struct request *out, struct err *err)
{
    struct request request = {
        .config_dir = mem_dup(TLSUP_CONFIG_DIR),
        .state_dir = mem_dup(TLSUP_STATE_DIR),
        .non_interactive = !isatty(STDIN_FILENO),
        .log_level = LOG_LEVEL_WARN,
    };
    /* one word may hold a whole cluster of letters */
    size_t most = 1;
    for (int i = 1; i < argc; i++)
        most += strlen(argv[i]) + 1;
    struct parser parser = {.request = &request, .given = mem_array(most, sizeof *parser.given)};
    bool ok = parse(&parser, argc, argv, err);
    free(parser.given);
    strlist_clear(&parser.words);
    strlist_clear(&parser.names);
    if (!ok)
        request_clear(&request);
    *out = request;
    return ok;
}

void request_clear(struct request *request)
{
    char **const texts[] = {&request->config_dir, &request->state_dir,  &request->server,
                            &request->ca_bundle,  &request->email,      &request->cert_name,
                            &request->webroot,    &request->deploy_hook};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
    strlist_clear(&request->arguments);
    strlist_clear(&request->names);
}

/* -- help -------------------------------------------------------------------------------------------- */

static const char exit_statuses[] = "Exit status:\n"
                                    "  0  done, or nothing was due\n"
                                    "  1  it failed; the message says why\n"
                                    "  2  the command line, a name or a configuration file is wrong\n"
                                    "  3  the CA or a check refused; a person is needed\n"
                                    "  4  try again later; the message says when\n"
                                    "  5  another run of tlsup is at work\n";

static void add_columns(struct buf *out, const char *left, const char *right)
{
    size_t column = output_width(left);
    buf_adds(out, left);
    if (column + 2 > HELP_INDENT) {
        buf_addc(out, '\n');
        column = 0;
    }
    for (; column < HELP_INDENT; column++)
        buf_addc(out, ' ');
    output_wrap(out, right, HELP_INDENT, HELP_INDENT, HELP_COLUMNS);
    buf_addc(out, '\n');
}

static void add_title(struct buf *out, const char *title)
{
    buf_addf(out, "\n%s%s:%s\n", output_style(STYLE_BOLD), title, output_style(STYLE_PLAIN));
}

static void add_option(struct buf *out, const struct option *option)
{
    AUTO_BUF left = BUF_INIT;
    if (option->letter != 0)
        buf_addf(&left, "  -%c, --%s", option->letter, option->name);
    else
        buf_addf(&left, "      --%s", option->name);
    if (option->value != NULL)
        buf_addf(&left, " %s", option->value);
    add_columns(out, buf_str(&left), option->help);
}

static void add_options(struct buf *out, unsigned on)
{
    for (int group = 0; group < GROUP_COUNT; group++) {
        bool titled = false;
        for (size_t i = 0; i < COUNT_OF(options); i++) {
            if ((int)options[i].group != group || options[i].help == NULL || (options[i].commands & on) == 0)
                continue;
            if (!titled)
                add_title(out, group_titles[group]);
            titled = true;
            add_option(out, &options[i]);
        }
    }
}

static void add_command_page(struct buf *out, const struct command_info *info)
{
    buf_addf(out, "Usage: tlsup %s [OPTION...]%s%s\n\n", info->name, info->synopsis[0] != '\0' ? " " : "",
             info->synopsis);
    output_wrap(out, info->description, 0, 0, HELP_COLUMNS);
    buf_addc(out, '\n');
    add_title(out, "Examples");
    buf_adds(out, info->examples);
    add_options(out, ON(info->command));
}

static void add_general_page(struct buf *out)
{
    buf_adds(out, "Usage: tlsup COMMAND [OPTION...] [NAME...]\n\n"
                  "Takes a server from nothing to the lock icon: certificates from Let's Encrypt or\n"
                  "another ACME CA, put into nginx or Apache, proven, and kept renewed.\n");
    add_title(out, "Examples");
    buf_adds(out, "  sudo tlsup enable example.org www.example.org    turn HTTPS on, keep it renewed\n"
                  "  sudo tlsup issue --standalone mail.example.org   get a certificate, no more\n"
                  "  tlsup status                                     what is held, until when\n");
    add_title(out, "Commands");
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        AUTO_FREE char *left = mem_fmt("  %s %s", commands[i].name, commands[i].synopsis);
        add_columns(out, left, commands[i].summary);
    }
    add_title(out, "Options of every command");
    for (size_t i = 0; i < COUNT_OF(options); i++)
        if (options[i].commands == ON_ALL && options[i].help != NULL)
            add_option(out, &options[i]);
    add_columns(out, "      --version", "which version this is");
    buf_addc(out, '\n');
    buf_adds(out, exit_statuses);
    buf_adds(out, "\ntlsup COMMAND --help tells all about a command; the manual page is tlsup(1).\n");
}

void options_help(enum command on)
{
    AUTO_BUF out = BUF_INIT;
    const struct command_info *info = info_of(on);
    if (on == COMMAND_ACCOUNT) {
        add_command_page(&out, info_of(COMMAND_ACCOUNT_REGISTER));
        buf_adds(&out, "\n\n");
        info = info_of(COMMAND_ACCOUNT_SHOW);
    }
    if (info != NULL && info->description != NULL)
        add_command_page(&out, info);
    else
        add_general_page(&out);
    fwrite(buf_str(&out), 1, out.len, stdout);
}
