#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command_log.h"
#include "commands.h"
#include "output.h"

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0"
#endif

/* Descriptors 0 to 2 must be open, or the first file opened would become standard error. */
static void fix_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static bool dispatch(const struct request *request, struct err *err)
{
    static bool (*const commands[])(const struct request *, struct err *) = {
        [COMMAND_ENABLE] = cmd_enable,
        [COMMAND_ISSUE] = cmd_issue,
        [COMMAND_INSTALL] = cmd_install,
        [COMMAND_RENEW] = cmd_renew,
        [COMMAND_STATUS] = cmd_status,
        [COMMAND_ACCOUNT_REGISTER] = cmd_account_register,
        [COMMAND_ACCOUNT_SHOW] = cmd_account_show,
        [COMMAND_ACCOUNT_LIST] = cmd_account_list,
        [COMMAND_ACCOUNT_UPDATE] = cmd_account_update,
        [COMMAND_ACCOUNT_CHANGE_KEY] = cmd_account_change_key,
        [COMMAND_ACCOUNT_DEACTIVATE] = cmd_account_deactivate,
        [COMMAND_ACCOUNT_IMPORT] = cmd_account_import,
        [COMMAND_REVOKE] = cmd_revoke,
        [COMMAND_DELETE] = cmd_delete,
        [COMMAND_UNDO] = cmd_undo,
        [COMMAND_SITES] = cmd_sites,
        [COMMAND_CHECK] = cmd_check,
        [COMMAND_RECOVER] = cmd_recover,
        [COMMAND_RECONFIGURE] = cmd_reconfigure,
        [COMMAND_RENAME] = cmd_rename,
        [COMMAND_RESTORE] = cmd_restore,
        [COMMAND_EXPORT] = cmd_export,
        [COMMAND_IMPORT] = cmd_import,
        [COMMAND_NOTIFY] = cmd_notify,
        [COMMAND_COMPLETION] = cmd_completion,
        [COMMAND_TIMER_STATUS] = cmd_timer,
        [COMMAND_TIMER_ON] = cmd_timer,
        [COMMAND_TIMER_OFF] = cmd_timer,
    };
    if (request->command == COMMAND_HELP) {
        options_help(request->help_on);
        return true;
    }
    if (request->command == COMMAND_VERSION) {
        printf("tlsup %s\n", PACKAGE_VERSION);
        return true;
    }
    if ((size_t)request->command >= COUNT_OF(commands) || commands[request->command] == NULL)
        return err_set(err, ERR_INTERNAL, NEXT_NONE, NULL, "this command has no function");
    return commands[request->command](request, err);
}

int main(int argc, char **argv)
{
    struct request request = {0};
    struct err err = ERR_INIT;
    fix_standard_descriptors();
    setlocale(LC_CTYPE, "");
    umask(
        022); /* keys have their mode at open; this is for what a sloppy caller would make writable to all */
    bool ok = options_parse(argc, argv, &request, &err);
    output_init(request.quiet);
    log_set_level(request.log_level);
    if (ok)
        command_log_begin(&request, argc, argv);
    ok = ok && dispatch(&request, &err);
    if (ok && (fflush(stdout) != 0 || ferror(stdout)))
        ok = err_set(&err, ERR_IO, NEXT_LOCAL_FAULT, NULL, "standard output cannot be written");
    if (!ok)
        output_error(&err);
    int status = ok ? 0 : err_exit_status(&err);
    command_log_end(status);
    request_clear(&request);
    return status;
}
