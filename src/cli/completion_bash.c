#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "completion.h"

#include <stdio.h>
#include <string.h>

#include "tlsup/mem.h"

/* Words are compared here, and not by `compgen -W`, which would evaluate them. */
static const char functions[] =
    "# Add the words after PREFIX that begin with CUR.\n"
    "_tlsup_offer() { # PREFIX CUR WORD...\n"
    "    local prefix=$1 cur=$2 word\n"
    "    shift 2\n"
    "    for word; do\n"
    "        [[ $word == \"$cur\"* ]] && COMPREPLY+=(\"$prefix$word\")\n"
    "    done\n"
    "}\n"
    "\n"
    "_tlsup_certificates() { # CUR DIRECTORY\n"
    "    local file\n"
    "    for file in \"$2\"/certs.d/*.conf; do\n"
    "        file=${file##*/} file=${file%.conf}\n"
    "        [[ $file =~ ^[A-Za-z0-9_][A-Za-z0-9._@-]*$ ]] && _tlsup_offer '' \"$1\" \"$file\"\n"
    "    done\n"
    "}\n"
    "\n"
    "_tlsup_complete() { # KIND CUR CONFIG WORDS\n"
    "    local prefix=\n"
    "    case $1 in\n"
    "    words) _tlsup_offer '' \"$2\" $4 ;;\n"
    "    list)\n"
    "        [[ $2 == *,* ]] && prefix=${2%,*},\n"
    "        compopt -o nospace 2>/dev/null\n"
    "        _tlsup_offer \"$prefix\" \"${2#\"$prefix\"}\" $4\n"
    "        ;;\n"
    "    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$2\") ;;\n"
    "    directory) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- \"$2\") ;;\n"
    "    user) mapfile -t COMPREPLY < <(compgen -u -- \"$2\") ;;\n"
    "    certificate) _tlsup_certificates \"$2\" \"$3\" ;;\n"
    "    esac\n"
    "    return 0\n"
    "}\n"
    "\n"
    "_tlsup() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} option= command= config=$_tlsup_config kind words i word\n"
    "    COMPREPLY=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ $word == -* ]] && _tlsup_value \"$command $word\"; then\n"
    "            [[ ${COMP_WORDS[i + 1]} == = ]] && ((i + 1 < COMP_CWORD)) && ((i++))\n"
    "            ((++i == COMP_CWORD)) && option=$word\n"
    "            [[ $word == --config-dir ]] && config=${COMP_WORDS[i]}\n"
    "        elif [[ $word != -* && ( -z $command || $command == account || $command == timer ) ]]; then\n"
    "            command+=${command:+ }$word\n"
    "        fi\n"
    "    done\n"
    "    [[ $cur == = ]] && cur=\n"
    "    if [[ $option ]]; then\n"
    "        _tlsup_value \"$command $option\"\n"
    "        _tlsup_complete \"$kind\" \"$cur\" \"$config\" \"$words\"\n"
    "    elif [[ $cur == -* ]]; then\n"
    "        _tlsup_options \"$command\"\n"
    "        _tlsup_offer '' \"$cur\" $words\n"
    "    else\n"
    "        _tlsup_arguments \"$command\"\n"
    "        _tlsup_complete \"$kind\" \"$cur\" \"$config\" \"$words\"\n"
    "    fi\n"
    "}\n"
    "complete -F _tlsup tlsup\n";

static const char *kind_name(const struct completion *completion)
{
    static const char *const names[] = {
        [COMPLETE_NOTHING] = "nothing",
        [COMPLETE_WORDS] = "words",
        [COMPLETE_FILE] = "file",
        [COMPLETE_DIRECTORY] = "directory",
        [COMPLETE_CERTIFICATE] = "certificate",
        [COMPLETE_USER] = "user",
        [COMPLETE_COMMAND] = "words",
    };
    return completion->is_list ? "list" : names[completion->kind];
}

/* "kind=words words='a b' ;;" */
static void add_answer(struct buf *out, const struct completion *completion)
{
    AUTO_FREE char *words = strlist_join(&completion->words, " ");
    buf_addf(out, " kind=%s", kind_name(completion));
    if (words[0] != '\0') {
        buf_adds(out, " words=");
        completion_quote(out, words);
    }
    buf_adds(out, " ;;\n");
}

/* The commands that the row is for, as patterns in front of the option. */
static void add_patterns(struct buf *out, const struct option *option, const char *typed)
{
    const struct command_info *info;
    size_t n = 0;
    if (!completion_is_ambiguous(option)) {
        buf_addf(out, "*' %s'", typed);
        return;
    }
    for (size_t i = 0; (info = command_at(i)) != NULL; i++)
        if ((option->commands & ON(info->command)) != 0)
            buf_addf(out, "%s'%s %s'", n++ > 0 ? " | " : "", info->name, typed);
}

static void add_values(struct buf *out)
{
    const struct option *option;
    buf_adds(out, "# What the value of an option is; fails where it has none.\n"
                  "_tlsup_value() { # \"COMMAND OPTION\"\n"
                  "    kind= words=\n"
                  "    case $1 in\n");
    for (size_t i = 0; (option = option_at(i)) != NULL; i++) {
        char letter[3] = {'-', option->letter, '\0'}, name[WORD_MAX_BYTES];
        struct completion completion;
        if (option->value == NULL)
            continue;
        snprintf(name, sizeof name, "--%s", option->name);
        completion_of_option(option, &completion);
        buf_adds(out, "    ");
        add_patterns(out, option, name);
        if (option->letter != 0) {
            buf_adds(out, " | ");
            add_patterns(out, option, letter);
        }
        buf_addc(out, ')');
        add_answer(out, &completion);
        completion_clear(&completion);
    }
    buf_adds(out, "    *) return 1 ;;\n    esac\n}\n\n");
}

static void add_options(struct buf *out)
{
    const struct command_info *info;
    const struct option *option;
    buf_adds(out, "_tlsup_options() { # COMMAND\n    case $1 in\n");
    for (size_t i = 0; (info = command_at(i)) != NULL; i++) {
        buf_addf(out, "    '%s') words='", info->name);
        for (size_t k = 0; (option = option_at(k)) != NULL; k++)
            if (option->help != NULL && (option->commands & ON(info->command)) != 0)
                buf_addf(out, "--%s ", option->name);
        out->len--; /* the last blank */
        buf_adds(out, "' ;;\n");
    }
    buf_adds(out, "    *) words='--help --version' ;;\n    esac\n}\n\n");
}

/* The second words of a family: "show list register". */
static void add_second_words(struct buf *out, enum command family)
{
    const struct command_info *info;
    size_t len = strlen(command_name(family)), n = 0;
    buf_addf(out, "    '%s') kind=words words='", command_name(family));
    for (size_t i = 0; (info = command_at(i)) != NULL; i++)
        if (strncmp(info->name, command_name(family), len) == 0 && info->name[len] == ' ')
            buf_addf(out, "%s%s", n++ > 0 ? " " : "", info->name + len + 1);
    buf_adds(out, "' ;;\n");
}

static void add_first_words(struct strlist *out)
{
    const char *word, *summary;
    for (size_t i = 0; (word = completion_first_word_at(i, &summary)) != NULL; i++)
        strlist_add(out, word);
}

static void add_arguments(struct buf *out)
{
    const struct command_info *info;
    struct completion commands = {.kind = COMPLETE_WORDS};
    add_first_words(&commands.words);
    buf_adds(out, "# What stands free on the line.\n"
                  "_tlsup_arguments() { # COMMAND\n"
                  "    kind=nothing words=\n"
                  "    case $1 in\n"
                  "    '')");
    add_answer(out, &commands);
    add_second_words(out, COMMAND_ACCOUNT);
    add_second_words(out, COMMAND_TIMER);
    for (size_t i = 0; (info = command_at(i)) != NULL; i++) {
        struct completion completion;
        completion_of_arguments(info->takes, &completion);
        if (completion.kind == COMPLETE_COMMAND)
            strlist_copy(&completion.words, &commands.words);
        if (completion.kind != COMPLETE_NOTHING) {
            buf_addf(out, "    '%s')", info->name);
            add_answer(out, &completion);
        }
        completion_clear(&completion);
    }
    buf_adds(out, "    esac\n}\n\n");
    completion_clear(&commands);
}

void completion_bash(struct buf *out)
{
    buf_adds(out, "# Completion of tlsup for bash, as `tlsup completion bash` prints it.\n\n_tlsup_config=");
    completion_quote(out, TLSUP_CONFIG_DIR);
    buf_adds(out, "\n\n");
    add_values(out);
    add_options(out);
    add_arguments(out);
    buf_adds(out, functions);
}
