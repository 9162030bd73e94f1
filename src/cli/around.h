/*
 * around.h - the pre and post hooks of a run (hooks.h): those of the directories, then those of the certificates that are concerned, each program once.
 *
 * Pre hooks run when a certificate is going to be ordered; post hooks once when that was so, or anything was renewed or failed. What is to be run afterwards is written down (run_state.h) before the pre hooks run, so
 * that a web server that one of them has stopped is started again even when this run is killed; a post hook that failed is tried again by later runs, with a growing pause and with all that it
 * was to be told. A failure of a hook is shown and keeps nothing else from being done.
 *
 * With --dry-run none of this does anything.
 */
#ifndef TLSUP_CLI_AROUND_H
#define TLSUP_CLI_AROUND_H

#include "run.h"

/* Before run_obtain(): of the tasks those with needs_order count. */
void around_before(struct run *run, const struct task *tasks, size_t n);
void around_renewed(struct run *run, const struct cert_config *config);
/* `config` NULL: as it is stored, which may be what is wrong. */
void around_failed(struct run *run, const char *cert_name, const struct cert_config *config);
/* At the end of the run, whatever has come of it; what earlier runs have left is tried again, by hand in any case. */
void around_after(struct run *run, bool by_hand);
/* The same for commands that have nothing to do with what earlier runs have left: nothing where around_before() has not run. */
void around_after_order(struct run *run);
/* The first failure of a hook in this run, or of one that still waits for its next try; NULL = none. Borrowed. `*told`: by an earlier run. */
const struct err *around_trouble(const struct run *run, bool *told);
void around_close(struct run *run);

#endif
