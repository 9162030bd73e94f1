#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "options_internal.h"

#include <stdio.h>
#include <string.h>

#include "output.h"
#include "tlsup/mem.h"

enum { HELP_COLUMNS = 80, HELP_INDENT = 30 };

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

static void add_options(struct buf *out, command_set on)
{
    const struct option *option;
    for (int group = 0; group < GROUP_COUNT; group++) {
        bool titled = false;
        for (size_t i = 0; (option = option_at(i)) != NULL; i++) {
            if ((int)option->group != group || option->help == NULL || (option->commands & on) == 0)
                continue;
            if (!titled)
                add_title(out, option_group_titles[group]);
            titled = true;
            add_option(out, option);
        }
    }
}

/* Those whose name begins so, in columns. */
static void add_commands(struct buf *out, const char *beginning)
{
    const struct command_info *info;
    for (size_t i = 0; (info = command_at(i)) != NULL; i++) {
        if (strncmp(info->name, beginning, strlen(beginning)) != 0)
            continue;
        AUTO_FREE char *left = mem_fmt("  %s %s", info->name, info->synopsis);
        add_columns(out, left, info->summary);
    }
}

static void add_common_options(struct buf *out)
{
    const struct option *option;
    for (size_t i = 0; (option = option_at(i)) != NULL; i++)
        if (option->commands == ON_ALL && option->help != NULL)
            add_option(out, option);
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
    add_commands(out, "");
    add_title(out, "Options of every command");
    add_common_options(out);
    add_columns(out, "      --version", "which version this is");
    buf_addc(out, '\n');
    buf_adds(out, exit_statuses);
    buf_adds(out, "\ntlsup COMMAND --help tells all about a command; the manual page is tlsup(1).\n");
}

static const struct family {
    enum command command;
    const char *text, *examples;
} families[] = {
    {COMMAND_ACCOUNT,
     "What concerns your account with a CA, rather than a certificate. An account is made\n"
     "by itself when the first certificate is asked for.\n",
     "  sudo tlsup account show\n"
     "  sudo tlsup account update -m admin@example.org\n"},
    {COMMAND_TIMER, "What calls tlsup renew by itself: a systemd timer, or a cron file.\n",
     "  tlsup timer status\n"
     "  sudo tlsup timer on\n"},
};

static void add_family_page(struct buf *out, const struct family *family)
{
    const char *name = command_name(family->command);
    AUTO_FREE char *beginning = mem_fmt("%s ", name);
    buf_addf(out, "Usage: tlsup %s COMMAND [OPTION...]\n\n%s", name, family->text);
    add_title(out, "Examples");
    buf_adds(out, family->examples);
    add_title(out, "Commands");
    add_commands(out, beginning);
    add_title(out, "Options of every command");
    add_common_options(out);
    buf_addf(out, "\ntlsup %s COMMAND --help tells all about a command.\n", name);
}

void options_help(enum command on)
{
    AUTO_BUF out = BUF_INIT;
    const struct command_info *info = command_info_of(on);
    const struct family *family = NULL;
    for (size_t i = 0; i < COUNT_OF(families); i++)
        if (families[i].command == on)
            family = &families[i];
    if (family != NULL)
        add_family_page(&out, family);
    else if (info != NULL && info->description != NULL)
        add_command_page(&out, info);
    else
        add_general_page(&out);
    fwrite(buf_str(&out), 1, out.len, stdout);
}
