#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "options_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

/* -- words that are nearly right --------------------------------------------------------------------- */

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

void nearest_consider(struct nearest *best, const char *typed, const char *word)
{
    size_t d = distance(typed, word), len = strlen(typed);
    /* the beginning of a word is as good as one letter wrong */
    if (len >= 3 && strncmp(typed, word, len) == 0)
        d = 1;
    if (d < best->distance && d <= 1 + least(len, strlen(word)) / 4)
        *best = (struct nearest){word, d};
}

/* -- errors ------------------------------------------------------------------------------------------ */

/* The page that helps, as advice where no better one was given. */
bool options_advise_help(const struct parser *p, struct err *err)
{
    const char *name = command_name(p->command);
    return err_advise(err, "tlsup %s%s--help tells what is accepted", name, name[0] != '\0' ? " " : "");
}

static bool unknown_option(struct parser *p, const char *typed, size_t len, const char *arg, struct err *err)
{
    AUTO_FREE char *name = mem_ndup(typed, len);
    const char *nearest = option_nearest(name, p->command);
    if (nearest == NULL)
        nearest = option_nearest(name, COMMAND_NONE);
    size_t shown = arg[0] == '-' && arg[1] == '-' ? 2 + len : strlen(arg);
    err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "there is no option %.*s", (int)least(shown, WORD_MAX_BYTES),
            arg);
    if (nearest != NULL)
        err_advise(err, "did you mean --%s?", nearest);
    return options_advise_help(p, err);
}

/* -- reading the line -------------------------------------------------------------------------------- */

bool option_is_given(const struct parser *p, const char *name)
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
    const struct option *option = option_find(name, len, p->command);
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
    if (arg[2] != '\0' && option_find(arg + 1, strcspn(arg + 1, "="), p->command) != NULL) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "there is no option %s", arg);
        return err_advise(err, "did you mean -%s?", arg);
    }
    for (const char *letter = arg + 1; *letter != '\0'; letter++) {
        const char as[3] = {'-', *letter, '\0'}, *value = NULL;
        const struct option *option = option_of_letter(*letter);
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
    const char *nearest = command_nearest(word);
    p->command = COMMAND_NONE;
    err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "there is no command '%s'", word);
    if (later != COMMAND_NONE)
        err_advise(err, "the command comes first: tlsup %s %s", next, word);
    else if (nearest != NULL)
        err_advise(err, "did you mean tlsup %s?", nearest);
    else if (strchr(word, '.') != NULL)
        err_advise(err, "to turn HTTPS on for %s: sudo tlsup enable %s", word, word);
    return options_advise_help(p, err);
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

/* "account" alone, or with a word that it does not know. */
static bool which_of_family(const struct parser *p, const char *family, struct err *err)
{
    AUTO_FREE char *first = mem_fmt("%s ", family);
    AUTO_BUF known = BUF_INIT;
    struct nearest best = NEAREST_INIT;
    const struct command_info *info;
    for (size_t i = 0; (info = command_at(i)) != NULL; i++) {
        if (strncmp(info->name, first, strlen(first)) != 0)
            continue;
        buf_addf(&known, "%stlsup %s", known.len > 0 ? ", " : "", info->name);
        if (p->words.n > 1)
            nearest_consider(&best, p->words.v[1], info->name + strlen(first));
    }
    if (p->words.n > 1)
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "there is no command '%s %s'", family, p->words.v[1]);
    else
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "what about the %s?", family);
    if (best.word != NULL)
        return err_advise(err, "did you mean tlsup %s %s?", family, best.word);
    return err_advise(err, "there are: %s", buf_str(&known));
}

/* Which command, or which help, the words and -h, --version ask for. `rest` is where its arguments begin. */
static bool read_command(struct parser *p, size_t *rest, struct err *err)
{
    size_t used = 0;
    *rest = 0;
    if (option_is_given(p, "version")) {
        p->request->command = COMMAND_VERSION;
        return true;
    }
    if (p->words.n == 0) {
        p->request->command = COMMAND_HELP;
        return option_is_given(p, "help") ? true : short_usage(err);
    }
    enum command command = command_of(p->words.v[0], p->words.n > 1 ? p->words.v[1] : NULL, &used);
    if (command == COMMAND_HELP || (option_is_given(p, "help") && command != COMMAND_NONE))
        return read_help_on(p, command == COMMAND_HELP ? 1 : 0, err);
    if (command == COMMAND_NONE)
        return no_such_command(p, 0, err);
    p->command = command;
    p->request->command = command;
    *rest = used;
    if (!command_is_family(command))
        return true;
    return which_of_family(p, command_name(command), err);
}

/* -- checks, when all is read ------------------------------------------------------------------------ */

/* "enable and issue" */
static void name_commands(const struct option *option, struct buf *out)
{
    AUTO_STRLIST names = STRLIST_INIT;
    const struct command_info *info;
    for (size_t i = 0; (info = command_at(i)) != NULL; i++)
        if ((option->commands & ON(info->command)) != 0)
            strlist_add(&names, info->name);
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

/* For most options a second value would silently win. */
static bool check_once(const struct parser *p, size_t at, struct err *err)
{
    const struct given *given = &p->given[at];
    if (given->option->value == NULL || given->option->many)
        return true;
    /* what may hold a password is not shown */
    bool shown = given->option->apply != apply_secret && given->option->apply != apply_proxy;
    for (size_t i = 0; i < at; i++)
        if (p->given[i].option == given->option && strcmp(p->given[i].value, given->value) != 0)
            return shown ? usage(p, err, "%s was given twice: %s and %s", given->as, p->given[i].value,
                                 given->value)
                         : usage(p, err, "%s was given twice", given->as);
    return true;
}

/* acme.sh's `--dns dns_cf`: the word is a script's name, not a host's. */
static bool is_dnsapi_script(const struct parser *p, const char *word, struct err *err)
{
    if (strncmp(word, "dns_", 4) != 0 || !option_is_given(p, "dns"))
        return false;
    err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, word,
            "--dns takes no value, and %s is no name for a certificate", word);
    err_advise(err, "for a script of acme.sh: --challenge-hook /path/to/dnsapi/%s.sh --hook-contract acme.sh",
               word);
    return true;
}

/* Where names come from elsewhere, there are none on the line. */
static bool read_no_names(struct parser *p, size_t rest, struct err *err)
{
    const char *option = p->request->from != NULL ? "from" : "csr";
    if (rest >= p->words.n)
        return true;
    return usage(p, err, "--%s brings the names; '%s' is one too many", option, p->words.v[rest]);
}

static bool read_names(struct parser *p, size_t rest, struct err *err)
{
    struct request *request = p->request;
    AUTO_STRLIST typed = STRLIST_INIT;
    size_t used;
    if (request->from != NULL || request->csr != NULL)
        return read_no_names(p, rest, err);
    for (size_t i = rest; i < p->words.n; i++) {
        const char *word = p->words.v[i];
        strlist_add(&request->arguments, word);
        if (command_of(word, i + 1 < p->words.n ? p->words.v[i + 1] : NULL, &used) != COMMAND_NONE)
            return usage(p, err, "'%s' is a command, not a name: one command at a time, and it comes first",
                         word);
        if (is_dnsapi_script(p, word, err))
            return false;
        strlist_split(&typed, word, ",");
    }
    for (size_t i = 0; i < p->names.n; i++)
        strlist_add(&typed, p->names.v[i]);
    if (typed.n > 0 && request->all)
        return usage(p, err, "--all stands in place of names: give one of them");
    /* enable asks which, where somebody can answer; check looks at all that is held */
    bool may_be_none = p->command == COMMAND_CHECK || request->all ||
                       (p->command == COMMAND_ENABLE && !request->non_interactive);
    if (typed.n == 0)
        return may_be_none || usage(p, err, "for which names? tlsup %s example.org www.example.org",
                                    command_name(p->command));
    return name_normalize_list(&typed, &request->names, err);
}

static bool read_certificates(struct parser *p, const struct command_info *info, size_t rest, struct err *err)
{
    struct strlist *arguments = &p->request->arguments;
    for (size_t i = rest; i < p->words.n; i++)
        if (!options_add_certificate(p, p->words.v[i], err))
            return false;
    if (p->request->cert_path != NULL && arguments->n > 0)
        return usage(p, err, "--cert-path stands in place of '%s': give one of them", arguments->v[0]);
    if (info->takes != TAKES_ANY_CERTS && p->request->cert_path == NULL && arguments->n == 0) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "which certificate? tlsup %s CERT", info->name);
        return err_advise(err, "tlsup status lists them");
    }
    if ((info->takes == TAKES_ONE_CERT || info->takes == TAKES_CERT_OR_FILE) && arguments->n > 1)
        return usage(p, err, "tlsup %s takes one certificate at a time; '%s' is one too many", info->name,
                     arguments->v[1]);
    /* reconfigure: its names anew */
    return p->names.n == 0 || name_normalize_list(&p->names, &p->request->names, err);
}

/* A file, which must be there, or a key on a token. */
static bool read_key_argument(struct parser *p, const struct command_info *info, size_t rest, struct err *err)
{
    AUTO_FREE char *path = NULL;
    if (rest >= p->words.n)
        return usage(p, err, "which key? tlsup %s FILE", info->name);
    if (rest + 1 < p->words.n)
        return usage(p, err, "tlsup %s takes one key; '%s' is one too many", info->name,
                     p->words.v[rest + 1]);
    const char *word = p->words.v[rest];
    if (key_is_uri(word)) {
        strlist_add(&p->request->arguments, word);
        return true;
    }
    if (!options_absolute(word, &path, err))
        return false;
    if (access(path, R_OK) != 0)
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path, "cannot read the key %s: %s", path,
                       strerror(errno));
    strlist_add(&p->request->arguments, path);
    return true;
}

/* A certificate, and its new name or one of its versions. */
static bool read_two(struct parser *p, const struct command_info *info, size_t rest, struct err *err)
{
    struct strlist *arguments = &p->request->arguments;
    bool version = info->takes == TAKES_CERT_AND_VERSION;
    if (rest < p->words.n && !options_add_certificate(p, p->words.v[rest], err))
        return false;
    if (arguments->n == 0) {
        err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, "", "which certificate? tlsup %s %s", info->name,
                info->synopsis);
        return err_advise(err, "tlsup status lists them");
    }
    if (rest + 2 < p->words.n)
        return usage(p, err, "'%s' is one too many: tlsup %s %s", p->words.v[rest + 2], info->name,
                     info->synopsis);
    if (rest + 1 >= p->words.n)
        return version || usage(p, err, "what is it to be called? tlsup %s %s", info->name, info->synopsis);
    const char *second = p->words.v[rest + 1];
    if (version && (strspn(second, "0123456789") != strlen(second) || strlen(second) > 9 || atoi(second) < 1))
        return usage(p, err, "'%s' is not a version; tlsup %s %s lists them", second, info->name,
                     arguments->v[0]);
    if (!version && !config_cert_name_valid(second))
        return usage(p, err, "'%s' cannot be a certificate's name: letters, digits and . _ @ - are for it",
                     second);
    strlist_add(arguments, second);
    return true;
}

static bool read_directory(struct parser *p, const struct command_info *info, size_t rest, struct err *err)
{
    AUTO_FREE char *path = NULL;
    if (p->request->from == NULL)
        return usage(p, err, "from which client? tlsup %s --from certbot|acme.sh|dehydrated|lego|uacme",
                     info->name);
    if (rest + 1 < p->words.n)
        return usage(p, err, "tlsup %s takes one directory; '%s' is one too many", info->name,
                     p->words.v[rest + 1]);
    if (rest >= p->words.n)
        return true;
    if (!options_absolute(p->words.v[rest], &path, err))
        return false;
    if (!fs_is_dir(path))
        return err_set(err, ERR_USAGE, NEXT_FIX_CONFIG, path, "%s is not a directory", path);
    strlist_add(&p->request->words, path);
    return true;
}

static bool read_shell(struct parser *p, size_t rest, struct err *err)
{
    static const char *const shells[] = {"bash", "zsh", "fish"};
    for (size_t i = 0; i < COUNT_OF(shells) && rest + 1 == p->words.n; i++)
        if (strcmp(p->words.v[rest], shells[i]) == 0) {
            strlist_add(&p->request->arguments, shells[i]);
            return true;
        }
    return usage(p, err, "for which shell? tlsup completion bash, zsh or fish");
}

static bool read_arguments(struct parser *p, size_t rest, struct err *err)
{
    const struct command_info *info = command_info_of(p->command);
    switch (info->takes) {
    case TAKES_NAMES:
    case TAKES_ANY_NAMES:
        return read_names(p, rest, err);
    case TAKES_ANY_CERTS:
    case TAKES_SOME_CERTS:
    case TAKES_ONE_CERT:
    case TAKES_CERT_OR_FILE:
        return read_certificates(p, info, rest, err);
    case TAKES_CERT_AND_NEW_NAME:
    case TAKES_CERT_AND_VERSION:
        return read_two(p, info, rest, err);
    case TAKES_DIRECTORY:
        return read_directory(p, info, rest, err);
    case TAKES_SHELL:
        return read_shell(p, rest, err);
    case TAKES_KEY:
        return read_key_argument(p, info, rest, err);
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
        given->option = option_find(given->option->name, strlen(given->option->name), p->command);
        if (!check_belongs(p, given, err) || !check_once(p, i, err))
            return false;
        if (!given->option->apply(p, given->option, given->value, err))
            return options_advise_help(p, err);
    }
    return options_check(p, err);
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
        .reason = -1,
    };
    /* one word may hold a whole cluster of letters */
    size_t most = 1;
    for (int i = 1; i < argc; i++)
        most += strlen(argv[i]) + 1;
    struct parser parser = {.request = &request, .given = mem_array(most, sizeof *parser.given)};
    cert_config_init(&parser.scratch);
    bool ok = parse(&parser, argc, argv, err);
    free(parser.given);
    strlist_clear(&parser.words);
    strlist_clear(&parser.names);
    strlist_clear(&parser.key_types);
    strlist_clear(&parser.preferred);
    cert_config_clear(&parser.scratch);
    if (!ok)
        request_clear(&request);
    *out = request;
    return ok;
}

void request_clear(struct request *request)
{
    char **const texts[] = {&request->config_dir,
                            &request->state_dir,
                            &request->server,
                            &request->account,
                            &request->eab_kid,
                            &request->eab_hmac_key,
                            &request->eab_alg,
                            &request->ca_bundle,
                            &request->email,
                            &request->cert_name,
                            &request->webroot,
                            &request->hook_user,
                            &request->format,
                            &request->to,
                            &request->owner,
                            &request->mode,
                            &request->password_file,
                            &request->friendly_name,
                            &request->key,
                            &request->csr,
                            &request->profile,
                            &request->preferred_chain,
                            &request->from,
                            &request->challenge_hook,
                            &request->cleanup_hook,
                            &request->hook_env,
                            &request->dns_update_server,
                            &request->dns_update_key,
                            &request->dns_update_zone,
                            &request->proxy,
                            &request->nginx_conf,
                            &request->nginx_bin,
                            &request->apache_conf,
                            &request->apache_ctl,
                            &request->interface,
                            &request->cert_path,
                            &request->key_path};
    struct strlist *const lists[] = {&request->words,        &request->arguments,   &request->names,
                                     &request->fallbacks,    &request->dns_servers, &request->pre_hooks,
                                     &request->deploy_hooks, &request->post_hooks,  &request->verify};
    if (request->eab_hmac_key != NULL)
        explicit_bzero(request->eab_hmac_key, strlen(request->eab_hmac_key));
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        free(*texts[i]);
        *texts[i] = NULL;
    }
    for (size_t i = 0; i < COUNT_OF(lists); i++)
        strlist_clear(lists[i]);
}
