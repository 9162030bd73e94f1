/*
 * ca.h - what is known beforehand of certificate authorities: a table.
 *
 * Limits are those that the CA has published; 0 = not known. An unknown CA has a row of its own, and requests_s of every CA that
 * publishes none is a careful value.
 */
#ifndef TLSUP_CA_H
#define TLSUP_CA_H

#include <stdbool.h>
#include <stddef.h>

struct ca {
    const char *name;         /* the preset's: "letsencrypt"; "" for a CA that is not in the table */
    const char *url;          /* of its directory */
    bool external_account;    /* wants external account binding */
    const char *eab_url;      /* where EAB credentials are had for an e-mail address (ZeroSSL), "" = nowhere */
    const char *eab_page;     /* where a person gets them, "" */
    const char *caa;          /* its CAA identity, "" = unknown */
    const char *ip_profile;   /* the profile that IP addresses need, "" = none */
    const char *staging;      /* the directory for rehearsals: another CA's, its own where it is one for rehearsals itself; "" = none known */
    /* per week */
    int same_set;             /* certificates of exactly the same names */
    int per_domain;           /* certificates of one registered domain */
    /* others */
    int orders_3h;            /* new orders per account in three hours */
    int failures_h;           /* failed validations per name in an hour */
    int requests_s;           /* all requests per second */
    int new_nonces_s, new_nonces_burst;
};

/* By preset name; NULL. */
const struct ca *ca_by_name(const char *name);
/* By directory URL (the case of the host, a port of 443 and a last '/' make no difference); never NULL: the row for unknown CAs. */
const struct ca *ca_by_url(const char *url);
/* All presets, in the order in which they are listed to people: NULL past the last. */
const struct ca *ca_at(size_t index);

#endif
