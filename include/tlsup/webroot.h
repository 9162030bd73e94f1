/*
 * webroot.h - http-01 answers as files below a web root that a web server serves.
 *
 * ROOT itself may be reached through symlinks; below it none is followed, since what lies there may belong to another
 * user than the one who runs us.
 */
#ifndef TLSUP_WEBROOT_H
#define TLSUP_WEBROOT_H

#include "tlsup/err.h"

/* Write ROOT/.well-known/acme-challenge/TOKEN: file 0644, directories 0755 where they are made, whatever the umask;
 * all at once by a rename; on failure nothing that we made is left. The token is checked with b64url_valid(token, 128)
 * first (ERR_PROTOCOL). ERR_CONFIG when ROOT is missing or no directory, or when a symlink or another file is in the
 * place of a directory; else as err_errno(). */
MUST_CHECK bool webroot_present(const char *root, const char *token, const char *key_authorization, struct err *err);
/* Remove it, and the two directories when they are empty and we could have made them (our owner, mode 0755). Missing,
 * ROOT included, is success. */
MUST_CHECK bool webroot_remove(const char *root, const char *token, struct err *err);

#endif
