/*
 * export.h - writes copies of a certificate in other forms (export_spec.h).
 */
#ifndef TLSUP_EXPORT_H
#define TLSUP_EXPORT_H

#include "tlsup/export_spec.h"
#include "tlsup/store.h"

/* Write one copy of a stored version, atomically, with its mode and owner from its first instant; a symlink at the path is resolved, a file that says the same already is left alone. `part` as in store.h. What needs the key of a certificate whose key is on a token or elsewhere is
 * refused (ERR_CONFIG). Reads the key: all child processes must have been started. */
MUST_CHECK bool export_write(struct store *store, const char *cert_name, int version, int part, const struct export_spec *spec, struct err *err);

#endif
