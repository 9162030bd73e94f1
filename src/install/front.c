/*
 * front.c - known programs by their processes, and what to do beside each.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/front.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tlsup/buf.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/port.h"

enum { PROCESSES_MAX = 32768, PROC_BYTES = 65536, NAMES_PER_PROGRAM = 5 };

#define ISSUE_ROOT "`tlsup issue -w DIR NAME`"

/* `words`: what must stand in the command line as well, for processes of an interpreter; the first row that
 * fits counts. */
static const struct row {
    const char *processes[NAMES_PER_PROGRAM];
    const char *words;
    struct front_program program;
    bool common; /* it is on many machines for other reasons: of interest where it holds a port */
} table[] = {
    {{"nginx"},
     NULL,
     {"nginx", "nginx", true,
      "stop that instance or move it to another port, or tell tlsup where its configuration is: --nginx-conf "
      "FILE"},
     false},
    {{"apache2", "httpd"},
     NULL,
     {"apache", "Apache", true,
      "stop that instance or move it to another port, or tell tlsup where its configuration is: "
      "--apache-conf FILE"},
     false},
    {{"haproxy"},
     NULL,
     {"haproxy", "HAProxy", false,
      "Have HAProxy pass /.well-known/acme-challenge/ on to a web server, and use " ISSUE_ROOT
      " with that one's root (or --dns). With `--deploy-hook haproxy` each new certificate goes into "
      "/etc/haproxy/certs/NAME.pem, with its key, and HAProxy is reloaded; it needs a line "
      "`bind :443 ssl crt /etc/haproxy/certs/`."},
     false},
    {{"lighttpd"},
     NULL,
     {"lighttpd", "lighttpd", false,
      "Use " ISSUE_ROOT " with DIR its server.document-root, and `--deploy-hook lighttpd`: each new "
      "certificate goes into /etc/lighttpd/certs/NAME.pem, with its key, "
      "and lighttpd is reloaded. Its configuration needs mod_openssl, and that file as ssl.pemfile in a "
      "$SERVER[\"socket\"] == \":443\" with ssl.engine = \"enable\"."},
     false},
    {{"caddy"},
     NULL,
     {"caddy", "Caddy", false,
      "Caddy gets certificates and renews them by itself, so tlsup has nothing to do here. To use one of "
      "tlsup's all the same: "
      "" ISSUE_ROOT
      " (or --dns), `tls FULLCHAIN PRIVKEY` in the Caddyfile, and `caddy reload` in a --deploy-hook."},
     false},
    {{"traefik"},
     NULL,
     {"traefik", "Traefik", false,
      "Traefik can get certificates by itself (certificatesResolvers). To use one of tlsup's: `tlsup issue "
      "--dns NAME`, and certFile and keyFile under "
      "tls.certificates in a file of its file provider; a --deploy-hook touches that file, so that it is "
      "read again."},
     false},
    {{"envoy"},
     NULL,
     {"envoy", "Envoy", false,
      "Route /.well-known/acme-challenge/ to a web server and use " ISSUE_ROOT
      " with that one's root (or --dns). Envoy reads fullchain.pem and privkey.pem "
      "as certificate_chain and private_key of a file-based secret (SDS), and again when a --deploy-hook "
      "renames new ones into place."},
     false},
    {{"varnishd", "cache-main"},
     NULL,
     {"varnish", "Varnish", false,
      "Varnish passes requests to a web server behind it: use " ISSUE_ROOT
      " with that one's root, with return (pass) for /.well-known/acme-challenge/ in the VCL. "
      "It speaks no TLS itself (but for some editions): port 443 is for nginx, Hitch or HAProxy in front of "
      "it."},
     false},
    {{"hitch"},
     NULL,
     {"hitch", "Hitch", false,
      "Use " ISSUE_ROOT " with the root of the web server behind it (or --dns). Hitch wants one file with "
      "key and certificate: in a --deploy-hook, "
      "`cat $RENEWED_LINEAGE/privkey.pem $RENEWED_LINEAGE/fullchain.pem > /etc/hitch/NAME.pem`, and then a "
      "reload of Hitch."},
     false},
    {{"stunnel", "stunnel4", "stunnel5"},
     NULL,
     {"stunnel", "stunnel", false,
      "Use " ISSUE_ROOT " with the root of the web server behind it (or --dns), and set cert and key to "
      "fullchain.pem and privkey.pem in the directory that tlsup names. "
      "A --deploy-hook has it read them again: `systemctl reload stunnel4`."},
     false},
    {{"squid", "squid3"},
     NULL,
     {"squid", "Squid", false,
      "Use " ISSUE_ROOT " with the root of the web server behind it (or --dns), and set tls-cert= and "
      "tls-key= of https_port to fullchain.pem and privkey.pem. "
      "A --deploy-hook has Squid read them again: `squid -k reconfigure`."},
     false},
    {{"pound"},
     NULL,
     {"pound", "Pound", false,
      "Use " ISSUE_ROOT " with the root of the web server behind it (or --dns). Pound wants one file with "
      "key and certificate (Cert): a --deploy-hook writes it from privkey.pem and "
      "fullchain.pem and restarts Pound."},
     false},
    {{"docker-proxy", "rootlessport", "conmon", "slirp4netns", "pasta"},
     NULL,
     {"container", "a container's published port", false,
      "Run tlsup inside the container that answers there; or have the container publish the port on "
      "127.0.0.1 under another number, with nginx or Apache of this machine in front of it. "
      "Or get the certificate here by `tlsup issue --dns NAME`, mount the directory it is in into the "
      "container, and restart that by a --deploy-hook."},
     true},
    {{"java"},
     "catalina",
     {"tomcat", "Tomcat", false,
      "Put nginx or Apache in front of it, with Tomcat on another port; or use " ISSUE_ROOT
      " with DIR its webapps/ROOT. Tomcat from 8.5 on reads fullchain.pem and privkey.pem "
      "(certificateFile, certificateKeyFile); a --deploy-hook restarts it."},
     true},
    {{"java"},
     NULL,
     {"java", "a Java program", false,
      "Put nginx or Apache in front of it, with the program on another port; or use `tlsup issue --dns "
      "NAME`. Java reads a PKCS#12 file, which a --deploy-hook makes: "
      "`openssl pkcs12 -export -in $RENEWED_LINEAGE/fullchain.pem -inkey $RENEWED_LINEAGE/privkey.pem`."},
     true},
    {{"node", "nodejs", "deno", "bun"},
     NULL,
     {"node", "a Node.js program", false,
      "Put nginx or Apache in front of it, with the program on another port: tlsup then does all by itself. "
      "Or have it serve a directory and use " ISSUE_ROOT "; "
      "it reads fullchain.pem and privkey.pem (cert, key), and a --deploy-hook restarts it."},
     true},
    {{"sshd", "sslh"},
     NULL,
     {"sslh", "a port shared with ssh", false,
      "Put the web server behind it on another port, and use " ISSUE_ROOT
      " with its root, or free the port."},
     true},
    {{"systemd"},
     NULL,
     {"systemd", "systemd, for a program that it starts on demand", false,
      "See which socket unit that is by `systemctl list-sockets`; stop it, or get the certificate alone by "
      "`tlsup issue --dns NAME`."},
     true},
};

static const char advice_unknown[] =
    "Stop that program or move it to another port, with nginx or Apache in front of it; or get the "
    "certificate alone, through a directory that it serves "
    "(" ISSUE_ROOT ") or through DNS (`tlsup issue --dns NAME`), and give it fullchain.pem and privkey.pem "
    "by a --deploy-hook.";
static const char advice_contained[] =
    "It runs in a container, whose files tlsup does not touch: run tlsup inside it, or get the certificate "
    "here by `tlsup issue --dns NAME`, mount the directory it is in into the container, and reload it by "
    "a --deploy-hook.";

static const char *proc = "/proc";

void front_set_proc(const char *directory)
{
    proc = directory != NULL ? directory : "/proc";
}

/* -- one process ---------------------------------------------------------------------------------------- */

struct process {
    pid_t pid, parent;
    char name[64]; /* of its program's file, else what it calls itself */
    const struct row *row;
};

static char *of_process(pid_t pid, const char *what)
{
    return mem_fmt("%s/%ld/%s", proc, (long)pid, what);
}

/* It may call itself anything, escape sequences and line ends included. */
static void clean(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || (unsigned char)*c >= 0x7F)
            *c = '?';
}

static void read_comm(pid_t pid, char *out, size_t size)
{
    AUTO_FREE char *path = of_process(pid, "comm");
    FILE *file = fopen(path, "re");
    size_t len = file != NULL ? fread(out, 1, size - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    out[len > 0 && out[len - 1] == '\n' ? len - 1 : len] = '\0';
    clean(out);
}

/* The base name of its program; one that was replaced by an upgrade still counts. Not for every user to see.
 */
static bool read_program(pid_t pid, char *out, size_t size)
{
    char target[PATH_MAX];
    AUTO_FREE char *path = of_process(pid, "exe");
    ssize_t len = readlink(path, target, sizeof target - 1);
    if (len <= 0)
        return false;
    target[len] = '\0';
    char *deleted = strstr(target, " (deleted)");
    if (deleted != NULL)
        *deleted = '\0';
    const char *slash = strrchr(target, '/');
    snprintf(out, size, "%.*s", (int)size - 1, slash != NULL ? slash + 1 : target);
    clean(out);
    return true;
}

static pid_t read_parent(pid_t pid)
{
    AUTO_FREE char *path = of_process(pid, "stat");
    char state;
    long parent;
    FILE *file = fopen(path, "re");
    char line[1024];
    size_t len = file != NULL ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file != NULL)
        fclose(file);
    line[len] = '\0';
    /* the name in it may hold anything */
    const char *end = strrchr(line, ')');
    return end != NULL && sscanf(end + 1, " %c %ld", &state, &parent) == 2 ? (pid_t)parent : 0;
}

static bool command_line_has(pid_t pid, const char *word)
{
    AUTO_FREE char *path = of_process(pid, "cmdline");
    char *text = mem_alloc(PROC_BYTES + 1);
    FILE *file = fopen(path, "re");
    size_t len = file != NULL ? fread(text, 1, PROC_BYTES, file) : 0;
    if (file != NULL)
        fclose(file);
    bool found = memmem(text, len, word, strlen(word)) != NULL;
    free(text);
    return found;
}

static bool has_name(const struct row *row, const char *name)
{
    for (size_t i = 0; i < NAMES_PER_PROGRAM && row->processes[i] != NULL; i++)
        if (strcmp(row->processes[i], name) == 0)
            return true;
    return false;
}

static const struct row *row_of(pid_t pid, const char *name)
{
    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (has_name(&table[i], name) && (table[i].words == NULL || command_line_has(pid, table[i].words)))
            return &table[i];
    return NULL;
}

static void look_at(pid_t pid, struct process *out)
{
    char comm[sizeof out->name];
    *out = (struct process){.pid = pid};
    read_comm(pid, comm, sizeof comm);
    if (!read_program(pid, out->name, sizeof out->name))
        snprintf(out->name, sizeof out->name, "%s", comm);
    out->row = row_of(pid, out->name);
    /* a program may be started under another name: by a loader, a wrapper */
    if (out->row == NULL && comm[0] != '\0')
        out->row = row_of(pid, comm);
}

static bool same_link(pid_t pid, const char *what)
{
    char ours[128], theirs[128];
    AUTO_FREE char *path = of_process(pid, what);
    AUTO_FREE char *self = mem_fmt("%s/self/%s", proc, what);
    ssize_t a = readlink(self, ours, sizeof ours), b = readlink(path, theirs, sizeof theirs);
    /* what is not for this user to see is no sign of a container */
    return a <= 0 || b <= 0 || (a == b && memcmp(ours, theirs, (size_t)a) == 0);
}

static bool same_root(pid_t pid)
{
    struct stat ours, theirs;
    AUTO_FREE char *path = of_process(pid, "root/.");
    return stat("/", &ours) != 0 || stat(path, &theirs) != 0 ||
           (ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino);
}

static void to_front(const struct process *process, struct front *out)
{
    *out =
        (struct front){.pid = process->pid, .program = process->row != NULL ? &process->row->program : NULL};
    memcpy(out->process, process->name, sizeof out->process);
    out->contained = !same_link(process->pid, "ns/net") || !same_root(process->pid);
}

/* -- all of them ---------------------------------------------------------------------------------------- */

static bool is_child_of_same(const struct process *process, const struct process *all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (all[i].pid == process->parent)
            return all[i].row == process->row;
    return false;
}

static size_t known_processes(struct process **out)
{
    AUTO_STRLIST entries = STRLIST_INIT;
    struct err ignored = ERR_INIT;
    struct process *list = NULL;
    size_t n = 0, room = 0;
    if (!fs_list(proc, &entries, &ignored))
        return 0;
    for (size_t i = 0; i < entries.n && i < PROCESSES_MAX; i++) {
        struct process process;
        if (!isdigit((unsigned char)entries.v[i][0]))
            continue;
        look_at((pid_t)strtol(entries.v[i], NULL, 10), &process);
        if (process.row == NULL)
            continue;
        process.parent = read_parent(process.pid);
        if (n == room)
            list = mem_resize(list, room = room == 0 ? 64 : 2 * room, sizeof *list);
        list[n++] = process;
    }
    *out = list;
    return n;
}

size_t front_running(struct front *out, size_t max)
{
    struct process *list = NULL;
    size_t n = known_processes(&list), found = 0;
    for (size_t i = 0; i < n && found < max; i++)
        if (!list[i].row->common && !is_child_of_same(&list[i], list, n))
            to_front(&list[i], &out[found++]);
    free(list);
    return found;
}

bool front_at(int port, struct front *out)
{
    char holder[PORT_HOLDER_BYTES];
    struct process process;
    pid_t pid = 0;
    if (!port_holder(port, holder, &pid))
        return false;
    *out = (struct front){0};
    if (pid > 0) {
        look_at(pid, &process);
        to_front(&process, out);
    }
    return true;
}

const char *front_describe(const struct front *front, char out[FRONT_NAME_BYTES])
{
    const char *name = front->program != NULL      ? front->program->title
                       : front->process[0] != '\0' ? front->process
                                                   : "another process";
    if (front->pid > 0)
        snprintf(out, FRONT_NAME_BYTES, "%s (pid %ld%s)", name, (long)front->pid,
                 front->contained ? ", in a container" : "");
    else
        snprintf(out, FRONT_NAME_BYTES, "%s", name);
    return out;
}

const char *front_advice(const struct front *front)
{
    if (front->contained)
        return advice_contained;
    return front->program != NULL ? front->program->advice : advice_unknown;
}
