/*
 * resolver.h - the keeper's end of the resolver: the process that asks the domain name system (dns.h), for the keeper has no network.
 */
#ifndef TLSUP_RESOLVER_H
#define TLSUP_RESOLVER_H

#include "tlsup/dns.h"
#include "tlsup/roles.h"

struct resolver; /* heap */

/* Forks: before any key is read, as the other roles. */
MUST_CHECK bool resolver_start(struct resolver **out, struct err *err);
void resolver_stop(struct resolver *resolver); /* NULL is fine; questions under way are dropped without a word */
/* Ask; `done` is called exactly once, from resolver_receive() or resolver_wait(). When the process is gone or the question cannot be sent, it is called with the error
 * by the next of these. Returns the question's id, for resolver_forget(). */
uint32_t resolver_ask(struct resolver *resolver, const struct dns_question *question, dns_done_fn *done, void *ctx);
/* The answer is no longer wanted: `done` will not be called. */
void resolver_forget(struct resolver *resolver, uint32_t id);
/* To poll for reading; -1 when it is gone. */
int resolver_fd(const struct resolver *resolver);
/* Milliseconds until resolver_receive() is to be called even without anything to read (a question overdue); -1 = none. */
int resolver_timeout_ms(const struct resolver *resolver);
/* Take what has come, without waiting. */
void resolver_receive(struct resolver *resolver);
/* Until no question is under way, `timeout_ms` has passed, or a signal has come. */
void resolver_wait(struct resolver *resolver, int timeout_ms);

/* The child's main loop. */
NORETURN void resolver_main(int fd);

#endif
