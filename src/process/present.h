/*
 * present.h - the keeper's part that makes the answers to challenges findable, and takes them away again.
 *
 * Some answers are there at once (files, our own responder, the web server's standing answer); others take
 * their time: programs of the user's, updates of a DNS zone, the wait until all servers of the zone show a
 * record. Nothing here blocks: the keeper's loop calls presenter_step().
 *
 *   present -> [look up where the record belongs] -> [hook | update] -> [wait until it is seen] -> done()
 *   cleanup ->                                        [hook | update]
 */
#ifndef TLSUP_PRESENT_H
#define TLSUP_PRESENT_H

#include <poll.h>

#include "tlsup/keeper.h"

struct presenter; /* heap */

/* The answer of `index` of an order can be found (`failure` NULL), or not. Called exactly once for each presenter_present(), possibly before that
 * returns; not any more once its clean-up has been asked for. */
typedef void presenter_done_fn(void *ctx, uint32_t order_id, int index, const struct err *failure);

struct presenter_options {
    struct role *responder;    /* NULL = none */
    struct resolver *resolver; /* NULL = none */
    const char *state_dir;     /* hooks that keep something of their own do so below it */
    const char *account_url;   /* borrowed, current when a challenge comes */
    const char *thumbprint;    /* likewise */
    const char *hash_prefix;   /* dns-persist-01, draft 2; "" */
    keeper_progress_fn *progress;
    presenter_done_fn *done;
    void *progress_ctx, *ctx;
};

struct presenter *presenter_new(const struct presenter_options *options);
void presenter_free(struct presenter *presenter); /* kills a hook that runs; what is placed stays */

struct presentation {
    struct job *job; /* borrowed until its answers are cleaned up */
    uint32_t order_id;
    int index;
    enum challenge_type type;
    const char *name;
    const char *token;   /* checked: base64url, or "" for dns-persist-01 */
    const char *persist; /* MSG_PRESENT's text */
};
void presenter_present(struct presenter *presenter, const struct presentation *what);
void presenter_cleanup(struct presenter *presenter, uint32_t order_id, int index, bool failed);
/* All answers of a job. */
void presenter_cleanup_job(struct presenter *presenter, const struct job *job);
/* Nothing under way, nothing placed. */
bool presenter_idle(const struct presenter *presenter);
/* Something is under way that ends by itself: a hook, a question. */
bool presenter_busy(const struct presenter *presenter);

/* For the loop: descriptors to poll (at most PRESENTER_FDS), how long at most, and then: */
#define PRESENTER_FDS 2
size_t presenter_pollfds(const struct presenter *presenter, struct pollfd *fds);
int presenter_timeout_ms(const struct presenter *presenter); /* -1 = for ever */
bool presenter_step(struct presenter *presenter);            /* true when something has moved */

#endif
