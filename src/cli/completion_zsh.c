#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "completion.h"

#include <string.h>

#include "tlsup/mem.h"

static const char certificates[] = "_tlsup_certificates() {\n"
                                   "    local config=${opt_args[--config-dir]:-$_tlsup_config}\n"
                                   "    local -a names\n"
                                   "    names=($config/certs.d/*.conf(N:t:r))\n"
                                   "    compadd -a names\n"
                                   "}\n\n";

static const char beginning[] = "    local context state line command=$words[2]\n"
                                "    typeset -A opt_args\n"
                                "    if ((CURRENT == 2)); then\n"
                                "        _tlsup_commands\n"
                                "        return\n"
                                "    fi\n"
                                "    if [[ $command == (account|timer) ]]; then\n"
                                "        if ((CURRENT == 3)); then\n"
                                "            _tlsup_$command\n"
                                "            return\n"
                                "        fi\n"
                                "        command+=\" $words[3]\"\n"
                                "        shift words\n"
                                "        ((CURRENT--))\n"
                                "    fi\n"
                                "    shift words\n"
                                "    ((CURRENT--))\n"
                                "    case $command in\n";

/* What has a meaning in a specification of _arguments or _describe is escaped. */
static void add_escaped(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (strchr("[]:\\", *text) != NULL)
            buf_addc(out, '\\');
        buf_addc(out, *text);
    }
}

static void add_brief(struct buf *out, const char *help)
{
    char brief[COMPLETION_BRIEF_BYTES];
    add_escaped(out, completion_brief(help, brief));
}

/* -- commands ----------------------------------------------------------------------------------------- */

static void add_described(struct buf *out, const char *word, const char *summary)
{
    AUTO_BUF text = BUF_INIT;
    buf_addf(&text, "%s:", word);
    add_brief(&text, summary);
    buf_adds(out, "        ");
    completion_quote(out, buf_str(&text));
    buf_addc(out, '\n');
}

static void add_commands(struct buf *out)
{
    const char *word, *summary;
    buf_adds(out, "_tlsup_commands() {\n    local -a them\n    them=(\n");
    for (size_t i = 0; (word = completion_first_word_at(i, &summary)) != NULL; i++)
        add_described(out, word, summary);
    buf_adds(out, "    )\n    _describe -t commands command them\n}\n\n");
}

static void add_family(struct buf *out, enum command family)
{
    const struct command_info *info;
    const char *name = command_name(family);
    size_t len = strlen(name);
    buf_addf(out, "_tlsup_%s() {\n    local -a them\n    them=(\n", name);
    for (size_t i = 0; (info = command_at(i)) != NULL; i++)
        if (strncmp(info->name, name, len) == 0 && info->name[len] == ' ')
            add_described(out, info->name + len + 1, info->summary);
    buf_addf(out, "    )\n    _describe -t commands '%s command' them\n}\n\n", name);
}

/* -- options and arguments ---------------------------------------------------------------------------- */

/* ":what it is called:how it is completed" */
static void add_action(struct buf *out, const char *called, const struct completion *completion)
{
    static const char *const actions[] = {
        [COMPLETE_NOTHING] = "",
        [COMPLETE_WORDS] = "",
        [COMPLETE_FILE] = "_files",
        [COMPLETE_DIRECTORY] = "_files -/",
        [COMPLETE_CERTIFICATE] = "_tlsup_certificates",
        [COMPLETE_USER] = "_users",
        [COMPLETE_COMMAND] = "_tlsup_commands",
    };
    AUTO_FREE char *words = strlist_join(&completion->words, " ");
    buf_addc(out, ':');
    add_escaped(out, called);
    buf_addc(out, ':');
    if (completion->kind == COMPLETE_WORDS)
        buf_addf(out, completion->is_list ? "_values -s , value %s" : "(%s)", words);
    else
        buf_adds(out, actions[completion->kind]);
}

/* "'*--key-type=[what it does]:TYPE:...'" */
static void add_spec(struct buf *out, const struct option *option, const char *typed, bool is_long)
{
    AUTO_BUF spec = BUF_INIT;
    struct completion completion;
    completion_of_option(option, &completion);
    buf_addf(&spec, "%s%s%s[", option->many ? "*" : "", typed, option->value != NULL && is_long ? "=" : "");
    add_brief(&spec, option->help);
    buf_addc(&spec, ']');
    if (option->value != NULL)
        add_action(&spec, option->value, &completion);
    buf_adds(out, " \\\n            ");
    completion_quote(out, buf_str(&spec));
    completion_clear(&completion);
}

static void add_option(struct buf *out, const struct option *option)
{
    char letter[3] = {'-', option->letter, '\0'};
    AUTO_FREE char *name = mem_fmt("--%s", option->name);
    if (option->letter != 0)
        add_spec(out, option, letter, false);
    add_spec(out, option, name, true);
}

static void add_arguments(struct buf *out, const struct command_info *info)
{
    struct completion completion;
    AUTO_BUF spec = BUF_INIT;
    if (info->takes == TAKES_NOTHING)
        return;
    completion_of_arguments(info->takes, &completion);
    buf_addc(&spec, '*');
    add_action(&spec, info->synopsis, &completion);
    completion_clear(&completion);
    buf_adds(out, " \\\n            ");
    completion_quote(out, buf_str(&spec));
}

static void add_command(struct buf *out, const struct command_info *info)
{
    const struct option *option;
    buf_adds(out, "    ");
    completion_quote(out, info->name);
    buf_adds(out, ")\n        _arguments -S");
    for (size_t i = 0; (option = option_at(i)) != NULL; i++)
        if (option->help != NULL && (option->commands & ON(info->command)) != 0)
            add_option(out, option);
    add_arguments(out, info);
    buf_adds(out, "\n        ;;\n");
}

void completion_zsh(struct buf *out)
{
    const struct command_info *info;
    buf_adds(out, "#compdef tlsup\n# Completion of tlsup for zsh, as `tlsup completion zsh` prints it.\n\n");
    buf_adds(out, certificates);
    add_commands(out);
    add_family(out, COMMAND_ACCOUNT);
    add_family(out, COMMAND_TIMER);
    buf_adds(out, "_tlsup() {\n    local _tlsup_config=");
    completion_quote(out, TLSUP_CONFIG_DIR);
    buf_addc(out, '\n');
    buf_adds(out, beginning);
    for (size_t i = 0; (info = command_at(i)) != NULL; i++)
        add_command(out, info);
    buf_adds(
        out,
        "    esac\n}\n\n"
        "# found in a directory of $fpath it is called; read by `source` it is registered\n"
        "if [[ $funcstack[1] == _tlsup ]]; then\n    _tlsup \"$@\"\nelse\n    compdef _tlsup tlsup\nfi\n");
}
