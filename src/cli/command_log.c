#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "command_log.h"

#include <string.h>

#include "notice_ways.h"
#include "output.h"
#include "tlsup/fs.h"
#include "tlsup/machine_config.h"
#include "tlsup/mem.h"

enum { WORDS_MAX_BYTES = 4096 };

/* Those that change something, here or at a CA, or give a private key away. */
static const char *const writing[COMMANDS] = {
    [COMMAND_ENABLE] = "enable",
    [COMMAND_ISSUE] = "issue",
    [COMMAND_INSTALL] = "install",
    [COMMAND_RENEW] = "renew",
    [COMMAND_ACCOUNT_REGISTER] = "account-register",
    [COMMAND_ACCOUNT_UPDATE] = "account-update",
    [COMMAND_ACCOUNT_CHANGE_KEY] = "account-change-key",
    [COMMAND_ACCOUNT_DEACTIVATE] = "account-deactivate",
    [COMMAND_ACCOUNT_IMPORT] = "account-import",
    [COMMAND_REVOKE] = "revoke",
    [COMMAND_DELETE] = "delete",
    [COMMAND_UNDO] = "undo",
    [COMMAND_RECOVER] = "recover",
    [COMMAND_TIMER_ON] = "timer-on",
    [COMMAND_TIMER_OFF] = "timer-off",
    [COMMAND_RECONFIGURE] = "reconfigure",
    [COMMAND_RENAME] = "rename",
    [COMMAND_RESTORE] = "restore",
    [COMMAND_EXPORT] = "export",
    [COMMAND_IMPORT] = "import",
    [COMMAND_NOTIFY] = "notify",
};

static void register_secrets(const struct request *request)
{
    static const struct machine_config none = {0};
    log_secret(request->eab_hmac_key);
    ways_register_secrets(&none, request->proxy);
}

/* What is wrong with tlsup.conf the command itself finds, and says. */
static bool read_config(const struct request *request, struct machine_config *config)
{
    AUTO_FREE char *path = fs_join(request->config_dir, "tlsup.conf");
    struct cert_config defaults;
    struct err ignored = ERR_INIT;
    cert_config_init(&defaults);
    machine_config_init(config);
    bool ok =
        config_read_machine(path, config, &ignored) && config_read_file(path, false, &defaults, &ignored);
    if (ok)
        ways_register_secrets(config, defaults.proxy);
    else
        machine_config_clear(config);
    cert_config_clear(&defaults);
    return ok;
}

static void open_log(const struct machine_config *config)
{
    struct err err = ERR_INIT;
    bool ok = config->log == NULL ||
              (strcmp(config->log, "syslog") == 0 ? log_open_syslog(config->log_level, &err)
                                                  : log_open_file(config->log, config->log_level, &err));
    if (!ok)
        output_warning("%s%s%s", err.text, err.advice[0] != '\0' ? "\n" : "", err.advice);
}

void command_log_begin(const struct request *request, int argc, char **argv)
{
    struct machine_config config;
    AUTO_BUF words = {.limit = WORDS_MAX_BYTES};
    register_secrets(request);
    if (request->command >= COMMANDS || writing[request->command] == NULL || request->plan ||
        !read_config(request, &config))
        return;
    log_set_command(writing[request->command]);
    open_log(&config);
    machine_config_clear(&config);
    for (int i = 1; i < argc; i++)
        buf_addf(&words, " %s", argv[i]);
    log_note(LOG_LEVEL_INFO, "begins: tlsup%s", buf_str(&words));
}

void command_log_end(int status)
{
    log_note(status == 0 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "ends with exit status %d", status);
    log_close();
}
