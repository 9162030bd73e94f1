/*
 * export.h - writes copies of a certificate in other forms (export_spec.h).
 *
 * Every file is made beside its place, as its owner's and with its mode before a byte of the key is in it, synced, and renamed: a reader finds the old file or the new one. In a directory (pem, der) all files are
 * made first and then renamed one after the other, the key first and fullchain.pem last: the moment in which the two do not fit is as short as can be, and whoever watches for the last file finds all of them new.
 *
 * The way to the file is gone directory by directory. As root, none of them may be one that somebody else could put something of his own into: else he would choose where keys go. The owner of the
 * file is no such one: in his directories no symlink is followed, and the file there is replaced, never written into. Whose a file is to be is not taken from a file that others than root
 * have put there, either.
 */
#ifndef TLSUP_EXPORT_H
#define TLSUP_EXPORT_H

#include "tlsup/export_spec.h"
#include "tlsup/store.h"

/* Write one copy of a stored version. A symlink at the path is resolved, a file that says the same already is left alone (but a PKCS#12 that others may write is made anew: it would take as long to open as they want). Of two runs that write the same at once the second waits. `part` as in store.h: the second part of a dual certificate goes beside the first, with "-rsa" or
 * "-ecdsa" in its name. What needs the key of a certificate whose key is on a token or elsewhere is refused (ERR_CONFIG). ERR_PERMISSION where the way is not safe, or the password file is not root's alone;
 * ERR_NOT_FOUND without the directory (that of pem and der itself is made, 0755). Reads the key: all child processes must have been started. */
MUST_CHECK bool export_write(struct store *store, const char *cert_name, int version, int part, const struct export_spec *spec, struct err *err);

/* The file that export_write() writes (pem, der: the key in its directory); NULL for standard output. The caller frees. */
MUST_CHECK bool export_path(struct store *store, const char *cert_name, int version, int part, const struct export_spec *spec,
                            char **path, struct err *err);

#endif
