/*
 * web.h - the installer's front: one neutral model of web servers and their sites, filled by nginx.c and apache.c.
 *
 * Flow of use: web_find() -> web_test() (baseline) -> web_read() -> web_edit_challenge()/web_edit_https() stage edits in a transaction -> txn_apply() ->
 * web_test() -> web_reload() -> proof. Works on text files and the server's own binaries alone; talks to no network.
 */
#ifndef TLSUP_WEB_H
#define TLSUP_WEB_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"
#include "tlsup/txn.h"
#include "tlsup/web_kind.h"

/* A web server installed on this machine. Plain data. */
struct web {
    enum web_kind kind;
    char version[32];     /* "1.22.1", "2.4.62" */
    int version_number;   /* major * 1000000 + minor * 1000 + patch */
    int openssl_number;   /* of the library it runs with, same encoding, 0 = unknown */
    bool has_ssl;         /* nginx: --with-http_ssl_module; apache: ssl_module loaded now */
    bool has_http2;       /* nginx: --with-http_v2_module; apache: http2_module loaded now */
    bool has_rewrite;
    char bin[256];        /* "/usr/sbin/nginx", "/usr/sbin/apache2", "/usr/sbin/httpd" */
    char ctl[256];        /* apache: "/usr/sbin/apache2ctl" or ""; nginx: "" */
    char conf[512];       /* the main configuration file */
    char prefix[512];     /* nginx -p (with final '/'), apache HTTPD_ROOT */
    char conf_arg[512];   /* nginx: the -c that the running master was given, "" = none */
    char prefix_arg[512]; /* nginx: likewise -p */
    pid_t master_pid;     /* 0 = not running (on this machine: containers are others) */
    char token_dir[512];  /* set by the caller: where it writes http-01 answers as files for a server that cannot make them up
                           * by itself (nginx without its rewrite module); "" = it does not */
    int test_ms;          /* how long its own test may take; 0 = a minute */
    char unit[64];        /* systemd unit whose MainPID is master_pid ("nginx.service"), "" = none */
};

/* What a person may know better; NULL members mean: find it. All absolute paths. (--nginx-conf and so on.) */
struct web_hints {
    const char *nginx_bin;   /* the program */
    const char *nginx_conf;  /* its -c */
    const char *apache_ctl;  /* apachectl, or the program itself */
    const char *apache_conf; /* its -f */
};

/* Find the web server to work with. `wanted` WEB_NONE: the one that is running (the owner of port 80 when both run), else the only
 * one installed; both installed and neither running -> ERR_WEBSERVER asking for --nginx or --apache. None: ERR_NOT_FOUND, with the way to
 * install one as advice. A server that is installed but stopped is returned with master_pid 0. Processes in containers are not ours. */
MUST_CHECK bool web_find(enum web_kind wanted, const struct web_hints *hints, struct web *out, struct err *err);
/* The server's own configuration test. On failure the error's text has the server's own words; ERR_TIMEOUT when it does not end. */
MUST_CHECK bool web_test(const struct web *web, struct err *err);
/* Graceful reload: through systemd when `unit` is set, else by signal to the master; one that is only just starting, which the signal would end, is waited for. Returns when the signal is delivered and the workers of before take no
 * more connections (or after 3 s); the proof is the caller's, and web_alive() after it. A stopped server: started through its service manager (systemctl, service, rc-service), never by its binary. Updates
 * master_pid. */
MUST_CHECK bool web_reload(struct web *web, struct err *err);
/* Does the master that web_reload() told still live? `settle`: watch it for a moment first (600 ms), where no proof has taken that time: Apache ends only a while after a reload that it cannot do.
 * ERR_WEBSERVER when it ended. A server that did not run is alive. */
MUST_CHECK bool web_alive(const struct web *web, bool settle, struct err *err);
/* What a person would type to test and to reload it, for --plan. Appends. */
void web_commands(const struct web *web, struct strlist *out);
/* One address that a site listens on. */
struct site_listen {
    char address[64];  /* "*" (all IPv4), "[::]", "192.0.2.1", "[2001:db8::1]" */
    int port;
    bool ssl;
    bool default_server;
};

/* One virtual host: an nginx `server` block, an Apache `<VirtualHost>`. */
struct site {
    char *file;                   /* the file as the server names it */
    size_t line;                  /* 1-based line of its opening */
    struct strlist names;         /* lower case, as written: "example.org", "*.example.org", ".example.org", "~regex", "_" */
    struct site_listen *listens;
    size_t n_listens;
    bool enabled;                 /* false: its file is there, but the server does not read it (web_read_disabled()) */
    bool redirects_only;          /* answers every request with a redirect to https */
    char *root;                   /* document root, "" when none is said */
    char *certificate;            /* certificate file it serves, "" when none */
    size_t begin, end;            /* byte range in `file` */
    void *priv;                   /* the reader's own */
};

struct sites {
    struct site *v;
    size_t n;
    void *priv;                   /* the reader's parse, freed by sites_clear() */
    void (*priv_free)(void *priv);
};
#define SITES_INIT {0}

/* Read the whole configuration. A file we cannot read or parse is an error that names file and line (never skipped). */
MUST_CHECK bool web_read(const struct web *web, struct sites *out, struct err *err);
/* Does the server itself see what web_read() saw? nginx: the files of `nginx -T`, their order and their bytes. Apache: the files of DUMP_INCLUDES, and the virtual hosts of DUMP_VHOSTS with their
 * addresses, names, file and line. ERR_WEBSERVER naming the first difference: then nothing must be edited, since we would guess. Also fails as web_test() does. */
MUST_CHECK bool web_compare(const struct web *web, const struct sites *sites, struct err *err);
/* The sites in files beside those that the server reads: Debian's sites-available and conf-available without a link, for both servers; `enabled` is false in all of them. Files that cannot be
 * read or parsed are left out. What is said of them is for people; nothing is edited there. No file: success. */
MUST_CHECK bool web_read_disabled(const struct web *web, const struct sites *sites, struct sites *out, struct err *err);
/* In which of the files that the server reads, and where ("FILE:LINE"), does a line that is no comment have this text, say a path? Whatever reads it: a site, a snippet, what is no website at all. Both
 * (either may be NULL) are appended to, each file and line once. */
void web_mentions(const struct web *web, const struct sites *sites, const char *text, struct strlist *files, struct strlist *places);
/* How a disabled site is enabled: "a2ensite x", "ln -s ... ...". The caller frees. */
char *web_enable_command(const struct web *web, const struct site *site);
/* Who else writes this file, by what it says of itself in its first lines: "Ansible", "Puppet", "Chef", "Salt", "cPanel", "Plesk", ... NULL = nobody says so. Static. */
const char *web_file_manager(const char *data, size_t len);
void sites_clear(struct sites *sites);
/* The site that the server itself would choose for `name` on `port` (exact name, wildcard, regex are matched by the server's rules; `explicit_only`
 * leaves out the mere default server). NULL = none. */
const struct site *sites_owner(const struct web *web, const struct sites *sites, const char *name, int port, bool explicit_only);
/* The same on one address, as site_listen writes it ("*", "[::]", "192.0.2.1"). */
const struct site *sites_owner_at(const struct web *web, const struct sites *sites, const char *name, const char *address,
                                  int port, bool explicit_only);

/* Can this server answer challenges only from files? Then set `token_dir` before web_edit_challenge(). */
bool web_needs_token_files(const struct web *web);
/* Stage the permanent answer to http-01 for `names`: any token below /.well-known/acme-challenge/ is answered TOKEN.THUMBPRINT (facts: stateless). Sites that
 * answer already (same thumbprint) are left alone; another thumbprint is replaced. A name without a site of its own: the answer goes into
 * the site that the server would choose (the default server) on port 80, or, where none listens on 80, into a new file. Staging nothing is
 * success (txn_count stays). ERR_WEBSERVER with the reason when it cannot be done. */
MUST_CHECK bool web_edit_challenge(const struct web *web, const struct sites *sites, const struct strlist *names,
                                   const char *thumbprint, struct txn *txn, struct err *err);

/* Can this server have an RSA and an ECDSA certificate at the same time for one site? */
bool web_takes_two(const struct web *web);

struct web_https {
    const struct strlist *names;
    const char *live_dir;   /* directory with privkey.pem, fullchain.pem: /var/lib/tlsup/live/NAME */
    const char *second;     /* "rsa" or "ecdsa": fullchain-rsa.pem and privkey-rsa.pem are to be served beside them; NULL = none */
    const char *cert_name;  /* for the markers of our blocks and names of our files */
    bool redirect;          /* http -> https for these names */
    enum web_tls_profile profile; /* of what we write where nothing is said yet; MODERN and OLD also replace what http level or main server say */
    long hsts_s;            /* Strict-Transport-Security with this max-age on every https answer, whatever its status; 0 = none. Where the site sends the field already, its own stays */
};
/* Stage 443 for the names (facts: section 4). A doubt about the result that is no reason to refuse (a location whose own add_header drops HSTS; a default server that decides the protocols; a
 * file that Ansible writes) is a log_warn(). From one pair of files to two, and back: our lines alone change. Composes with edits already staged in the same transaction, through txn_read(). */
MUST_CHECK bool web_edit_https(const struct web *web, const struct sites *sites, const struct web_https *https,
                               struct txn *txn, struct err *err);
/* The numeric addresses of this machine over which the sites for `name` on `port` can be asked: the listen's own address, or loopback for wildcards; at most one v4 and
 * one v6 for wildcards. Appends. */
MUST_CHECK bool web_probe_addresses(const struct web *web, const struct sites *sites, const char *name, int port,
                                    struct strlist *addresses, struct err *err);


#endif
