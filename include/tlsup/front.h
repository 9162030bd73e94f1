/*
 * front.h - what else may stand in front of the web server, or in its way: load balancers, caches, containers, other servers that hold port 80 or 443.
 *
 * Found by the processes of this machine; each has a way to have certificates all the same, which is told to people.
 */
#ifndef TLSUP_FRONT_H
#define TLSUP_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A program that is known. Static. */
struct front_program {
    const char *name;    /* stable, for programs: "haproxy" */
    const char *title;   /* for people: "HAProxy" */
    bool web;            /* nginx or Apache, which tlsup works with itself */
    const char *advice;  /* how certificates are had with it, in sentences; the challenge and the files it wants */
};

struct front {
    const struct front_program *program; /* NULL = not one that is known */
    pid_t pid;                           /* 0 = unknown */
    char process[64];                    /* what the process calls itself, printable; "" = unknown */
    bool contained;                      /* it runs in a container: another root directory or network than ours */
};

/* Who holds a TCP port (port.h): false when nobody does. As a user the process is known by its name at best. */
bool front_at(int port, struct front *out);
/* The processes of servers and load balancers that are known, without their children of the same program: at most `max`; returns how many. Those in containers are among them, and
 * marked. What may run for any other reason (Java, Node.js, systemd) is left out: that is known by the port it holds. */
size_t front_running(struct front *out, size_t max);
/* "HAProxy (pid 812)", "myserver (pid 9)", "another process". */
#define FRONT_NAME_BYTES 128
const char *front_describe(const struct front *front, char out[FRONT_NAME_BYTES]);
/* What to do to have certificates beside it: for an error's advice or a finding. Fits into struct err. Static. */
const char *front_advice(const struct front *front);

/* Tests: look below this directory instead of /proc; NULL = /proc. The text is not copied. */
void front_set_proc(const char *directory);

#endif
