#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "completion.h"

#include <string.h>

#include "tlsup/mem.h"

static const char functions[] = "# The command of the line so far: one word, or two.\n"
                                "function __tlsup_command\n"
                                "    set -l words\n"
                                "    for word in (commandline -opc)[2..-1]\n"
                                "        string match -q -- '-*' $word; or set -a words $word\n"
                                "    end\n"
                                "    if contains -- \"$words[1]\" account timer\n"
                                "        string join ' ' $words[1..2]\n"
                                "    else\n"
                                "        echo $words[1]\n"
                                "    end\n"
                                "end\n"
                                "\n"
                                "function __tlsup_is # COMMAND...\n"
                                "    set -l command (__tlsup_command)\n"
                                "    contains -- \"$command\" $argv\n"
                                "end\n"
                                "\n"
                                "function __tlsup_certificates\n"
                                "    set -l config $__tlsup_config\n"
                                "    set -l words (commandline -opc)\n"
                                "    if set -l at (contains -i -- --config-dir $words)\n"
                                "        set config $words[(math $at + 1)]\n"
                                "    end\n"
                                "    for file in $config/certs.d/*.conf\n"
                                "        string match -r '[^/]*(?=\\.conf$)' -- $file\n"
                                "    end\n"
                                "end\n\n";

/* Inside quotes of fish a backslash and a quote are escaped. */
static void add_quoted(struct buf *out, const char *text)
{
    buf_addc(out, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'' || *text == '\\')
            buf_addc(out, '\\');
        buf_addc(out, *text);
    }
    buf_addc(out, '\'');
}

static void add_description(struct buf *out, const char *help)
{
    char brief[COMPLETION_BRIEF_BYTES];
    buf_adds(out, " -d ");
    add_quoted(out, completion_brief(help, brief));
}

/* " -n '__tlsup_is enable \"account show\"'": the commands that the row is for; all of them when there are so
 * many that it means that. */
static void add_condition(struct buf *out, const struct option *option)
{
    const struct command_info *info;
    AUTO_BUF condition = BUF_INIT;
    if (option->commands == ON_ALL)
        return;
    buf_adds(&condition, "__tlsup_is");
    for (size_t i = 0; (info = command_at(i)) != NULL; i++)
        if ((option->commands & ON(info->command)) != 0)
            buf_addf(&condition, strchr(info->name, ' ') != NULL ? " \"%s\"" : " %s", info->name);
    buf_adds(out, " -n ");
    add_quoted(out, buf_str(&condition));
}

static void add_value(struct buf *out, const struct completion *completion)
{
    AUTO_FREE char *words = strlist_join(&completion->words, " ");
    AUTO_BUF list = BUF_INIT;
    switch (completion->kind) {
    case COMPLETE_WORDS:
        buf_adds(out, " -x -a ");
        if (completion->is_list)
            buf_addf(&list, "(__fish_complete_list , 'printf \"%%s\\n\" %s')", words);
        add_quoted(out, completion->is_list ? buf_str(&list) : words);
        break;
    case COMPLETE_FILE:
        buf_adds(out, " -r -F");
        break;
    case COMPLETE_DIRECTORY:
        buf_adds(out, " -x -a '(__fish_complete_directories)'");
        break;
    case COMPLETE_CERTIFICATE:
        buf_adds(out, " -x -a '(__tlsup_certificates)'");
        break;
    case COMPLETE_USER:
        buf_adds(out, " -x -a '(__fish_complete_users)'");
        break;
    default:
        buf_adds(out, " -x");
        break;
    }
}

static void add_option(struct buf *out, const struct option *option)
{
    struct completion completion;
    buf_adds(out, "complete -c tlsup");
    add_condition(out, option);
    buf_addf(out, " -l %s", option->name);
    if (option->letter != 0)
        buf_addf(out, " -s %c", option->letter);
    completion_of_option(option, &completion);
    if (option->value != NULL)
        add_value(out, &completion);
    completion_clear(&completion);
    add_description(out, option->help);
    buf_addc(out, '\n');
}

static void add_commands(struct buf *out)
{
    const char *word, *summary;
    const struct command_info *info;
    for (size_t i = 0; (word = completion_first_word_at(i, &summary)) != NULL; i++) {
        buf_addf(out, "complete -c tlsup -n '__tlsup_is \"\" help' -a %s", word);
        add_description(out, summary);
        buf_addc(out, '\n');
    }
    for (size_t i = 0; (info = command_at(i)) != NULL; i++) {
        const char *space = strchr(info->name, ' ');
        if (space == NULL)
            continue;
        buf_addf(out, "complete -c tlsup -n '__tlsup_is %.*s' -a %s", (int)(space - info->name), info->name,
                 space + 1);
        add_description(out, info->summary);
        buf_addc(out, '\n');
    }
}

static void add_arguments(struct buf *out)
{
    const struct command_info *info;
    for (size_t i = 0; (info = command_at(i)) != NULL; i++) {
        struct completion completion;
        completion_of_arguments(info->takes, &completion);
        AUTO_FREE char *words = strlist_join(&completion.words, " ");
        const char *more = completion.kind == COMPLETE_CERTIFICATE ? " -a '(__tlsup_certificates)'"
                           : completion.kind == COMPLETE_FILE      ? " -F"
                           : completion.kind == COMPLETE_DIRECTORY ? " -a '(__fish_complete_directories)'"
                                                                   : "";
        if (more[0] != '\0')
            buf_addf(out, "complete -c tlsup -n '__tlsup_is \"%s\"'%s\n", info->name, more);
        if (words[0] != '\0')
            buf_addf(out, "complete -c tlsup -n '__tlsup_is \"%s\"' -a '%s'\n", info->name, words);
        completion_clear(&completion);
    }
}

void completion_fish(struct buf *out)
{
    const struct option *option;
    buf_adds(
        out,
        "# Completion of tlsup for fish, as `tlsup completion fish` prints it.\n\nset -g __tlsup_config ");
    add_quoted(out, TLSUP_CONFIG_DIR);
    buf_adds(out, "\n\n");
    buf_adds(out, functions);
    buf_adds(out, "complete -c tlsup -f\n");
    add_commands(out);
    add_arguments(out);
    for (size_t i = 0; (option = option_at(i)) != NULL; i++)
        if (option->help != NULL)
            add_option(out, option);
}
