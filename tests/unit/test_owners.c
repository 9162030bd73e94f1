/*
 * test_owners.c - who owns each name: for all names at once it is what the server's own rules give for each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/cli/owners.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

static char dir[64];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_owners-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    struct err err = ERR_INIT;
    (void)state;
    return !fs_remove_tree(dir, &err);
}

static void read_text(enum web_kind kind, const char *text, struct web *web, struct sites *sites)
{
    struct err err = ERR_INIT;
    AUTO_FREE char *path = fs_join(dir, "server.conf");
    *web = (struct web){.kind = kind,
                        .version_number = kind == WEB_NGINX ? 1022001 : 2004062,
                        .has_ssl = true,
                        .has_rewrite = true};
    snprintf(web->conf, sizeof web->conf, "%s", path);
    snprintf(web->prefix, sizeof web->prefix, "%s/", dir);
    assert_true(fs_write(path, text, strlen(text), 0644, &err));
    *sites = (struct sites)SITES_INIT;
    if (!web_read(web, sites, &err))
        fail_msg("%s\n%s", err.text, text);
}

static size_t line_of(const struct sites *sites, const struct owner *owner)
{
    return owner != NULL ? sites->v[owner->site].line : 0;
}

/* -- by hand -------------------------------------------------------------------------------------------- */

static void test_first_of_two(void **state)
{
    (void)state;
    struct web web;
    struct sites sites;
    struct owners owners;
    read_text(WEB_NGINX,
              "events {}\nhttp {\n"
              "server { listen 80; server_name one.test; }\n"
              "server { listen 80; server_name two.test one.test; }\n"
              "server { listen 127.0.0.1:80; server_name one.test; }\n"
              "server { listen 80 default_server; listen [::]:80; server_name _; }\n"
              "}\n",
              &web, &sites);
    owners_find(&web, &sites, &owners);
    assert_int_equal(owners.n, 2); /* a catch-all is no name */
    const struct owned_name *one = owners_name(&owners, "one.test");
    assert_non_null(one);
    assert_int_equal(one->n_sites, 3);
    assert_int_equal(line_of(&sites, owners_at(one, 80)), 3);
    assert_null(owners_at(one, 443));
    /* on 127.0.0.1 the third answers; over IPv6 the catch-all */
    size_t seen = 0;
    for (size_t i = 0; i < one->n; i++) {
        size_t line = line_of(&sites, &one->v[i]);
        bool loopback = strcmp(one->v[i].address, "127.0.0.1") == 0,
             v6 = strcmp(one->v[i].address, "[::]") == 0;
        assert_int_equal(line, loopback ? 5 : v6 ? 6 : 3);
        assert_int_equal(one->v[i].by_default, v6);
        seen++;
    }
    assert_int_equal(seen, 3);
    assert_null(owners_name(&owners, "three.test"));
    owners_clear(&owners);
    sites_clear(&sites);
}

static void test_apache_wildcard_in_front(void **state)
{
    (void)state;
    struct web web;
    struct sites sites;
    struct owners owners;
    read_text(WEB_APACHE,
              "Listen 80\n"
              "<VirtualHost *:80>\nServerName first.test\nServerAlias *.shop.test\n</VirtualHost>\n"
              "<VirtualHost *:80>\nServerName www.shop.test\n</VirtualHost>\n",
              &web, &sites);
    owners_find(&web, &sites, &owners);
    /* what nginx would give to the exact name, Apache gives to the first that fits */
    assert_int_equal(line_of(&sites, owners_at(owners_name(&owners, "www.shop.test"), 80)), 2);
    owners_clear(&owners);
    sites_clear(&sites);
}

static void test_nothing(void **state)
{
    (void)state;
    struct web web = {.kind = WEB_NGINX};
    struct sites sites = SITES_INIT;
    struct owners owners;
    owners_find(&web, &sites, &owners);
    assert_int_equal(owners.n, 0);
    assert_null(owners_name(&owners, "x.test"));
    owners_clear(&owners);
}

/* -- against the server's rules ------------------------------------------------------------------------- */

static const char *pick(const char *const *from, size_t n)
{
    return from[(size_t)rand() % n];
}

static void random_nginx(struct buf *out)
{
    static const char *const names[] = {
        "a.test", "b.test",  "www.a.test",       "x.www.a.test", "*.a.test", ".a.test", "*.www.a.test",
        "a.*",    "www.a.*", "~^w+\\.a\\.test$", "~b",           "_",        "\"\"",    "test"};
    static const char *const listens[] = {"80",           "[::]:80",      "443 ssl",       "[::]:443 ssl",
                                          "127.0.0.1:80", "192.0.2.1:80", "192.0.2.1:443", "8080",
                                          "[::1]:80"};
    int servers = 1 + rand() % 8;
    buf_adds(out, "events {}\nhttp {\n");
    for (int i = 0; i < servers; i++) {
        buf_adds(out, "server {");
        bool used[COUNT_OF(listens)] = {false};
        for (int k = rand() % 4; k > 0; k--) {
            size_t which = (size_t)rand() % COUNT_OF(listens);
            if (!used[which])
                buf_addf(out, " listen %s;", listens[which]);
            used[which] = true;
        }
        for (int k = rand() % 4; k > 0; k--)
            buf_addf(out, " server_name %s;", pick(names, COUNT_OF(names)));
        buf_adds(out, " }\n");
    }
    buf_adds(out, "}\n");
}

static void random_apache(struct buf *out)
{
    static const char *const names[] = {"a.test",       "b.test",  "www.a.test", "x.www.a.test", "*.a.test",
                                        "*.www.a.test", "w*.test", "?.test",     "test"};
    static const char *const addresses[] = {"*:80",          "*:80",         "*:443", "192.0.2.1:80",
                                            "192.0.2.1:443", "127.0.0.1:80", "*:8080"};
    int hosts = 1 + rand() % 8;
    buf_adds(out, "Listen 80\nListen 443\nListen 8080\n");
    for (int i = 0; i < hosts; i++) {
        const char *one = pick(addresses, COUNT_OF(addresses)), *two = pick(addresses, COUNT_OF(addresses));
        buf_addf(out, "<VirtualHost %s%s%s>\n", one, strcmp(one, two) == 0 ? "" : " ",
                 strcmp(one, two) == 0 ? "" : two);
        if (rand() % 4 != 0)
            buf_addf(out, "ServerName %s\n", names[rand() % 4]);
        for (int k = rand() % 3; k > 0; k--)
            buf_addf(out, "ServerAlias %s\n", pick(names, COUNT_OF(names)));
        buf_adds(out, "</VirtualHost>\n");
    }
}

/* Patterns own names; nobody asks for them as a visitor would. */
static bool can_be_asked_for(const char *name)
{
    return name[0] != '.' && strpbrk(name, "?") == NULL &&
           strchr(strncmp(name, "*.", 2) == 0 ? name + 2 : name, '*') == NULL;
}

/* At each address the owner that the server itself would choose, and the default where nobody has the name.
 */
static void compare_name(const struct web *web, const struct sites *sites, const struct owned_name *name,
                         const char *text)
{
    for (size_t i = 0; i < name->n; i++) {
        const struct owner *owner = &name->v[i];
        const struct site *own = sites_owner_at(web, sites, name->name, owner->address, owner->port, true);
        const struct site *any = sites_owner_at(web, sites, name->name, owner->address, owner->port, false);
        if (owner->by_default != (own == NULL) || &sites->v[owner->site] != any)
            fail_msg("%s at %s:%d: line %zu (%d), not %zu\n%s", name->name, owner->address, owner->port,
                     any ? any->line : 0, own != NULL, sites->v[owner->site].line, text);
    }
    /* none is missing: where an own site listens, and at "*" and "[::]" */
    for (size_t i = 0; i < name->n_sites; i++)
        for (size_t k = 0; k < sites->v[name->sites[i]].n_listens; k++) {
            const struct site_listen *listen = &sites->v[name->sites[i]].listens[k];
            bool found = listen->port != 80 && listen->port != 443;
            for (size_t j = 0; j < name->n; j++)
                found |= name->v[j].port == listen->port && strcmp(name->v[j].address, listen->address) == 0;
            found |= sites_owner_at(web, sites, name->name, listen->address, listen->port, true) == NULL;
            if (!found)
                fail_msg("%s at %s:%d is missing\n%s", name->name, listen->address, listen->port, text);
        }
}

static void compare_all(enum web_kind kind, const char *text)
{
    struct web web;
    struct sites sites;
    struct owners owners;
    read_text(kind, text, &web, &sites);
    owners_find(&web, &sites, &owners);
    for (size_t i = 0; i < owners.n; i++)
        if (can_be_asked_for(owners.v[i].name))
            compare_name(&web, &sites, &owners.v[i], text);
    owners_clear(&owners);
    sites_clear(&sites);
}

static void test_random_nginx(void **state)
{
    (void)state;
    srand(7);
    for (int i = 0; i < 1000; i++) {
        AUTO_BUF text = BUF_INIT;
        random_nginx(&text);
        compare_all(WEB_NGINX, buf_str(&text));
    }
}

static void test_random_apache(void **state)
{
    (void)state;
    srand(8);
    for (int i = 0; i < 1000; i++) {
        AUTO_BUF text = BUF_INIT;
        random_apache(&text);
        compare_all(WEB_APACHE, buf_str(&text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_first_of_two),
        cmocka_unit_test(test_apache_wildcard_in_front),
        cmocka_unit_test(test_random_nginx),
        cmocka_unit_test(test_random_apache),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
