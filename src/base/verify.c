#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/verify.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/mem.h"
#include "tlsup/name.h"

static const struct {
    const char *name;
    int ports[2]; /* at which nobody expects anything else */
} protocols[STARTTLS_COUNT] = {
    [STARTTLS_NONE] = {"tls", {0, 0}},
    [STARTTLS_SMTP] = {"smtp", {25, 587}},
    [STARTTLS_IMAP] = {"imap", {143, 0}},
    [STARTTLS_POP3] = {"pop3", {110, 0}},
    [STARTTLS_SIEVE] = {"sieve", {4190, 0}},
    [STARTTLS_LDAP] = {"ldap", {389, 0}},
    [STARTTLS_POSTGRES] = {"postgres", {5432, 0}},
    [STARTTLS_MYSQL] = {"mysql", {3306, 0}},
    [STARTTLS_XMPP] = {"xmpp", {5222, 0}},
    [STARTTLS_XMPP_SERVER] = {"xmpp-server", {5269, 0}},
    [STARTTLS_FTP] = {"ftp", {21, 0}},
    [STARTTLS_NNTP] = {"nntp", {119, 0}},
};

const char *starttls_name(enum starttls protocol)
{
    return (size_t)protocol < STARTTLS_COUNT ? protocols[protocol].name : "unknown";
}

static bool refuse(struct err *err, const char *text, const char *why)
{
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, text, "'%s': %s", text, why);
    return err_advise(
        err, "write HOST:PORT or HOST:PORT/PROTOCOL, like mail.example.org:25/smtp or [2001:db8::1]:465; "
             "PROTOCOL is tls, smtp, imap, pop3, sieve, ldap, postgres, mysql, xmpp, xmpp-server, "
             "ftp or nntp");
}

static enum starttls protocol_of_port(int port)
{
    for (size_t i = 0; i < STARTTLS_COUNT; i++)
        if (protocols[i].ports[0] == port || protocols[i].ports[1] == port)
            return (enum starttls)i;
    return STARTTLS_NONE;
}

static bool parse_protocol(const char *word, enum starttls *out)
{
    for (size_t i = 0; i < STARTTLS_COUNT; i++)
        if (strcmp(word, protocols[i].name) == 0) {
            *out = (enum starttls)i;
            return true;
        }
    return false;
}

static bool parse_port(const char *text, int *port)
{
    size_t len = strlen(text);
    if (len < 1 || len > 5 || strspn(text, "0123456789") != len)
        return false;
    *port = atoi(text);
    return *port >= 1 && *port <= 65535;
}

/* "localhost", "mail", "db.internal": no certificate could have them, but a server can be asked by them. */
static bool is_host_name(const char *host)
{
    size_t label = 0;
    for (const char *c = host; *c != '\0'; c++) {
        if (*c == '.' ? label == 0 : !isalnum((unsigned char)*c) && *c != '_' && (*c != '-' || label == 0))
            return false;
        label = *c == '.' ? 0 : label + 1;
        if (label > 63)
            return false;
    }
    return label > 0 && strlen(host) < NAME_MAX_BYTES && strspn(host, "0123456789.") != strlen(host);
}

static bool take_name(const char *host, struct verify_target *out)
{
    char name[NAME_MAX_BYTES];
    struct err ignored = ERR_INIT;
    if (name_normalize(host, name, &ignored)) {
        if (name_is_wildcard(name) || name_is_ip(name))
            return false;
        snprintf(out->host, sizeof out->host, "%s", name);
        return true;
    }
    if (!is_host_name(host))
        return false;
    for (size_t i = 0; i <= strlen(host); i++)
        out->host[i] = (char)tolower((unsigned char)host[i]);
    return true;
}

/* In its usual form, so that it compares equal however it was written. */
static bool take_address(int family, const char *text, struct verify_target *out)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    out->is_address =
        inet_pton(family, text, bytes) == 1 && inet_ntop(family, bytes, out->host, sizeof out->host) != NULL;
    return out->is_address;
}

static bool take_host(const char *host, struct verify_target *out)
{
    size_t len = strlen(host);
    if (host[0] == '[' && host[len - 1] == ']') {
        AUTO_FREE char *inner = mem_ndup(host + 1, len - 2);
        return take_address(AF_INET6, inner, out);
    }
    return take_address(AF_INET, host, out) || take_name(host, out);
}

bool verify_target_parse(const char *text, struct verify_target *out, struct err *err)
{
    struct verify_target target = {0};
    AUTO_FREE char *copy = mem_dup(text);
    if (strstr(text, "://") != NULL)
        return refuse(err, text, "not a URL");
    char *slash = strchr(copy, '/');
    if (slash != NULL)
        *slash++ = '\0';
    char *colon = strrchr(copy, ':');
    if (colon == NULL || colon == copy)
        return refuse(err, text, "there is no port");
    *colon++ = '\0';
    if (copy[0] != '[' && strchr(copy, ':') != NULL)
        return refuse(err, text, "an IPv6 address needs brackets");
    if (!parse_port(colon, &target.port))
        return refuse(err, text, "the port is not a number from 1 to 65535");
    if (!take_host(copy, &target))
        return refuse(err, text, "that is neither the name of a host nor an address");
    target.protocol = protocol_of_port(target.port);
    if (slash != NULL && !parse_protocol(slash, &target.protocol))
        return refuse(err, text, "there is no such protocol");
    *out = target;
    return true;
}
