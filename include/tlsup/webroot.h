/*
 * webroot.h - http-01 answers as files below a web root that a web server serves.
 */
#ifndef TLSUP_WEBROOT_H
#define TLSUP_WEBROOT_H

#include "tlsup/err.h"

/* Write ROOT/.well-known/acme-challenge/TOKEN (0644, directories 0755, made as needed, never through a symlink that leaves ROOT
 * below ROOT itself). The token is checked with b64url_valid() first. */
MUST_CHECK bool webroot_present(const char *root, const char *token, const char *key_authorization, struct err *err);
/* Remove it, and the two directories when they are empty and we could have made them. Missing is success. */
MUST_CHECK bool webroot_remove(const char *root, const char *token, struct err *err);

#endif
