/*
 * command_log.h - the log that tlsup.conf may ask for (log = ...): what commands that change something did.
 */
#ifndef TLSUP_CLI_COMMAND_LOG_H
#define TLSUP_CLI_COMMAND_LOG_H

#include "request.h"

/* Opens it for a command that writes, and notes that it begins; what is secret on the command line and in
 * tlsup.conf is masked from now on. A log that cannot be had is a warning. */
void command_log_begin(const struct request *request, int argc, char **argv);
/* How it ended: its exit status. */
void command_log_end(int status);

#endif
