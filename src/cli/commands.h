/*
 * commands.h - one function a command; each returns false with `err` set, main prints and turns it into the
 * exit status.
 */
#ifndef TLSUP_CLI_COMMANDS_H
#define TLSUP_CLI_COMMANDS_H

#include "request.h"

MUST_CHECK bool cmd_enable(const struct request *request, struct err *err);
MUST_CHECK bool cmd_issue(const struct request *request, struct err *err);
MUST_CHECK bool cmd_install(const struct request *request, struct err *err);
MUST_CHECK bool cmd_renew(const struct request *request, struct err *err);
MUST_CHECK bool cmd_status(const struct request *request, struct err *err);
MUST_CHECK bool cmd_account_register(const struct request *request, struct err *err);
MUST_CHECK bool cmd_issue_from(const struct request *request, struct err *err);
MUST_CHECK bool cmd_revoke(const struct request *request, struct err *err);
MUST_CHECK bool cmd_account_show(const struct request *request, struct err *err);
MUST_CHECK bool cmd_account_list(const struct request *request, struct err *err);
MUST_CHECK bool cmd_account_update(const struct request *request, struct err *err);
MUST_CHECK bool cmd_account_change_key(const struct request *request, struct err *err);
MUST_CHECK bool cmd_account_deactivate(const struct request *request, struct err *err);
MUST_CHECK bool cmd_account_import(const struct request *request, struct err *err);
MUST_CHECK bool cmd_delete(const struct request *request, struct err *err);
MUST_CHECK bool cmd_sites(const struct request *request, struct err *err);
MUST_CHECK bool cmd_check(const struct request *request, struct err *err);
MUST_CHECK bool cmd_recover(const struct request *request, struct err *err);
MUST_CHECK bool cmd_timer(const struct request *request, struct err *err); /* status, on, off */
MUST_CHECK bool cmd_reconfigure(const struct request *request, struct err *err);
MUST_CHECK bool cmd_rename(const struct request *request, struct err *err);
MUST_CHECK bool cmd_restore(const struct request *request, struct err *err);
MUST_CHECK bool cmd_export(const struct request *request, struct err *err);
MUST_CHECK bool cmd_import(const struct request *request, struct err *err);
MUST_CHECK bool cmd_notify(const struct request *request, struct err *err);
MUST_CHECK bool cmd_completion(const struct request *request, struct err *err);
MUST_CHECK bool cmd_undo(const struct request *request, struct err *err);

#endif
