/*
 * sites.h - what the two forms of `tlsup sites` share: for people (cmd_sites.c), for programs (sites_json.c).
 */
#ifndef TLSUP_CLI_SITES_H
#define TLSUP_CLI_SITES_H

#include "views.h"

void sites_print_json(const struct views *views, const char *state_dir);

#endif
