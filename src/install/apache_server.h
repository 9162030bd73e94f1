/*
 * apache_server.h - Apache as a program: which one it is, what it is asked, and what it answers. Internal to
 * install/.
 */
#ifndef TLSUP_INSTALL_APACHE_SERVER_H
#define TLSUP_INSTALL_APACHE_SERVER_H

#include "apache_model.h"
#include "tlsup/web.h"

/* -- apache_find.c -- */

/* The driver's find: the running server, or the one installed, by what a person says of it. */
bool apache_find(const struct web_hints *hints, struct web *out, struct err *err);
/* The same for a program and a main file (NULL: its own), whatever runs: a server that is stopped. False
 * without `err`: it is no Apache. */
bool apache_describe(const char *bin, const char *conf, struct web *out);
/* Its own test of the configuration, in the environment that it has in service: through apache2ctl where that
 * reads the same file. */
MUST_CHECK bool apache_test(const struct web *web, struct err *err);
/* Run it like that with other arguments (NULL-terminated); what it prints is appended. */
MUST_CHECK bool apache_dump(const struct web *web, const char *const *args, struct buf *out, struct err *err);
/* What that test says with these lines read before all others ("LoadModule ..."); "" = nothing against it, or it
 * fails without them as well. The caller frees. */
char *apache_test_with(const struct web *web, const struct strlist *lines);
void apache_test_command(const struct web *web, struct strlist *out);

/* -- apache_view.c -- */

/* The driver's compare. */
MUST_CHECK bool apache_compare(const struct web *web, const struct sites *sites, struct err *err);
/* Is what `-t -D DUMP_VHOSTS -D DUMP_INCLUDES` printed what the model says? Lines of an unknown form are
 * passed over. */
MUST_CHECK bool apache_view_agrees(const struct apache_model *model, const char *dump, struct err *err);

/* -- apache_layout.c -- */

/* The driver's read_disabled and enable_command. */
MUST_CHECK bool apache_read_disabled(const struct web *web, const struct sites *sites, struct sites *out,
                                     struct err *err);
char *apache_enable_command(const struct web *web, const struct site *site);
/* No site that is there, but disabled, may have one of these names. */
MUST_CHECK bool apache_refuse_disabled(const struct web *web, const struct apache_model *model,
                                       const struct strlist *names, struct err *err);

#endif
