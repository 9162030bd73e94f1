/*
 * measure_config.c - what reading, editing and writing a large configuration costs, part by part;
 * tests/bench/big_config makes the trees.
 *
 *   measure_config nginx|apache PROGRAM CONF PREFIX JOURNAL LIVE NAME...
 *
 * Prints one line: seconds of the server's own test, of reading, of the edits, of writing (journal, files,
 * marks), of staging the undo, of writing it, and the peak memory of this process. Linked with libtlsup.a: it
 * is the product's code that is measured.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "tlsup/log.h"
#include "tlsup/txn.h"
#include "tlsup/web.h"

#define THUMBPRINT "Abcdefghijklmnopqrstuvwxyz0123456789_-ABCDE"

enum { TEST, READ, EDIT, WRITE, UNDO, WRITE_UNDO, PARTS };
static double seconds[PARTS];
static double since;

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The part ends here; what comes next belongs to another. */
static void lap(int part)
{
    double now = now_s();
    seconds[part] += now - since;
    since = now;
}

static void must(bool done, const struct err *err)
{
    if (done)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static void finish(struct txn *txn)
{
    struct err err = ERR_INIT;
    must(txn_apply(txn, &err) && txn_note(txn, TXN_TESTED, &err) && txn_note(txn, TXN_RELOADING, &err) &&
             txn_note(txn, TXN_VERIFIED, &err) && txn_commit(txn, &err),
         &err);
    txn_free(txn);
}

static struct txn *begin(const char *journal, const char *owner)
{
    struct err err = ERR_INIT;
    struct txn *txn = NULL;
    must(txn_begin(journal, owner, "bench", &txn, &err), &err);
    return txn;
}

static void find(char **argv, struct web *web)
{
    struct err err = ERR_INIT;
    bool nginx = strcmp(argv[1], "nginx") == 0;
    struct web_hints hints = {0};
    *(nginx ? &hints.nginx_bin : &hints.apache_ctl) = argv[2];
    *(nginx ? &hints.nginx_conf : &hints.apache_conf) = argv[3];
    must(web_find(nginx ? WEB_NGINX : WEB_APACHE, &hints, web, &err), &err);
    snprintf(web->prefix, sizeof web->prefix, "%s", argv[4]);
    snprintf(web->prefix_arg, sizeof web->prefix_arg, "%s", argv[4]);
    web->ctl[0] = '\0';
}

int main(int argc, char **argv)
{
    struct web web;
    struct sites sites = SITES_INIT;
    struct strlist names = STRLIST_INIT, messages = STRLIST_INIT;
    struct err err = ERR_INIT;
    struct rusage used;
    if (argc < 8) {
        fprintf(stderr, "usage: measure_config nginx|apache PROGRAM CONF PREFIX JOURNAL LIVE NAME...\n");
        return 2;
    }
    log_set_level(LOG_LEVEL_ERROR);
    for (int i = 7; i < argc; i++)
        strlist_add(&names, argv[i]);
    find(argv, &web);
    struct web_https https = {.names = &names, .live_dir = argv[6], .cert_name = argv[7], .redirect = true};
    since = now_s();
    must(web_test(&web, &err), &err);
    lap(TEST);
    must(web_read(&web, &sites, &err), &err);
    lap(READ);
    struct txn *txn = begin(argv[5], argv[7]);
    must(web_edit_challenge(&web, &sites, &names, THUMBPRINT, txn, &err) &&
             web_edit_https(&web, &sites, &https, txn, &err),
         &err);
    size_t operations = txn_count(txn);
    lap(EDIT);
    finish(txn);
    lap(WRITE);
    sites_clear(&sites);
    since = now_s();
    txn = begin(argv[5], argv[7]);
    must(txn_undo(txn, NULL, &messages, &err), &err);
    lap(UNDO);
    finish(txn);
    lap(WRITE_UNDO);
    getrusage(RUSAGE_SELF, &used);
    for (int i = 0; i < PARTS; i++)
        printf("%.3f ", seconds[i]);
    printf("%ld %zu\n", used.ru_maxrss, operations);
    strlist_clear(&names);
    strlist_clear(&messages);
    return 0;
}
