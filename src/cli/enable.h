/*
 * enable.h - what the two ways of `enable` share: by names (cmd_enable.c), by the web server's sites (enable_sites.c).
 */
#ifndef TLSUP_CLI_ENABLE_H
#define TLSUP_CLI_ENABLE_H

#include "run.h"

/* The web server to work with; where there is none it is installed first (--with, or a yes on the terminal). `name`, or NULL, is one that it will serve. With --plan, *out is NULL where it would have to be
 * installed: that has been told then, and is all that can be. */
MUST_CHECK bool enable_find_server(struct run *run, enum web_kind wanted, const struct cert_config *config, const char *name,
                                   struct deploy **out, struct err *err);
/* Whatever will be written in the end can be written: found out before the CA is asked. */
MUST_CHECK bool enable_can_save(struct run *run, struct err *err);
/* Is a stored version good enough, or is a new one needed? */
MUST_CHECK bool enable_decide(struct run *run, struct task *task, struct err *err);

/* `enable` without names, and with --all. */
MUST_CHECK bool enable_sites(const struct request *request, struct err *err);

#endif
