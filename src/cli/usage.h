/*
 * usage.h - who uses a certificate's files: so that nothing is taken away from under them.
 */
#ifndef TLSUP_CLI_USAGE_H
#define TLSUP_CLI_USAGE_H

#include "run.h"

/* Does a web server of this machine serve it, by whatever path it names its files? *kind (WEB_NONE = none does), and *place, "FILE:LINE", which the caller frees. False when a server is there whose configuration
 * cannot be followed: then nobody knows. */
MUST_CHECK bool usage_by_web(struct run *run, const struct cert_config *config, enum web_kind *kind, char **place, struct err *err);
/* Does this site serve files of the certificate? */
bool usage_by_site(const struct store *store, const char *cert_name, const struct site *site);

#endif
