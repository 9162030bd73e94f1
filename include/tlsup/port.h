/*
 * port.h - who holds a TCP port of this machine.
 */
#ifndef TLSUP_PORT_H
#define TLSUP_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PORT_HOLDER_BYTES 128
/* Who listens on `port`, any address and family: "nginx (pid 812)", or "another process" when /proc does not tell which. False when nobody does. `pid` may be NULL; it is
 * 0 when unknown. Of several processes sharing the socket the one with the lowest pid (the master) is named. */
bool port_holder(int port, char out[PORT_HOLDER_BYTES], pid_t *pid);

#endif
