/*
 * test_nginx.c - every edit of an nginx configuration: accepted by nginx itself, the rest of the file
 * untouched, done once, undone wholly, and (as root, in a network namespace) really served.
 */
#include "nginx_bed.h"

static void check_unchanged(const struct bed *bed)
{
    for (size_t i = 0; i < bed->files.n; i++) {
        AUTO_FREE char *now = read_back(bed, bed->files.v[i]);
        assert_string_equal(now, bed->texts.v[i]);
    }
}

/* ---- fixtures ---- */

static void directive(struct bed *bed, char *line, char **file)
{
    AUTO_STRLIST words = STRLIST_INIT;
    strlist_split(&words, line, " ");
    const char *rest = strchr(line, ' ') + 1;
    if (starts(line, "names ")) {
        strlist_split(&bed->names, rest, " ");
    } else if (starts(line, "expect ")) {
        snprintf(bed->expect, sizeof bed->expect, "%s", words.v[1]);
        snprintf(bed->detail, sizeof bed->detail, "%s", words.n > 2 ? words.v[2] : "");
    } else if (starts(line, "refuse ")) {
        snprintf(bed->expect, sizeof bed->expect, "refuse");
        snprintf(bed->detail, sizeof bed->detail, "%s", rest);
    } else if (starts(line, "serve ")) {
        bed->serve = false;
    } else if (starts(line, "file ")) {
        free(*file);
        *file = mem_dup(rest);
    } else if (starts(line, "dir ")) {
        AUTO_FREE char *path = fs_join(bed->dir, rest);
        ok(fs_mkdirs(path, 0755, &err));
    } else if (starts(line, "link ")) {
        AUTO_FREE char *link = fs_join(bed->dir, words.v[1]);
        AUTO_FREE char *target = fs_join(bed->dir, words.v[2]);
        AUTO_FREE char *parent = fs_dirname(link);
        ok(fs_mkdirs(parent, 0755, &err));
        ok(fs_symlink(target, link, &err));
    } else {
        fail_msg("fixture: %s", line);
    }
}

static char *fixture_dir;

static void load_fixture(struct bed *bed, const char *name)
{
    AUTO_BUF text = BUF_INIT, part = BUF_INIT;
    AUTO_FREE char *path = fs_join(fixture_dir, name);
    char *file = mem_dup("nginx.conf");
    bed_open(bed);
    ok(fs_read(path, 1 << 20, &text, &err));
    for (char *at = text.data, *next; *at != '\0'; at = next) {
        next = strchr(at, '\n');
        next = next != NULL ? next + 1 : at + strlen(at);
        if (!starts(at, "#@ ")) {
            buf_add(&part, at, (size_t)(next - at));
            continue;
        }
        AUTO_FREE char *line = mem_ndup(at + 3, (size_t)(next - at) - 3);
        line[strcspn(line, "\r\n")] = '\0';
        if (part.len > 0) {
            bed_file(bed, file, buf_str(&part));
            buf_reset(&part);
        }
        directive(bed, line, &file);
    }
    if (part.len > 0) {
        bed_file(bed, file, buf_str(&part));
    }
    free(file);
    bed_ready(bed);
}

/* ---- edits and their checks ---- */

static bool stage(const struct bed *bed, struct txn *txn, bool redirect, struct err *err)
{
    struct sites sites = SITES_INIT;
    struct web_https https = {.names = &bed->names,
                              .live_dir = bed->live,
                              .second = bed->second,
                              .cert_name = bed->names.v[0],
                              .redirect = redirect};
    bool done = web_read(&bed->web, &sites, err) &&
                web_edit_challenge(&bed->web, &sites, &bed->names, THUMBPRINT, txn, err) &&
                web_edit_https(&bed->web, &sites, &https, txn, err);
    sites_clear(&sites);
    return done;
}

/* Our blocks taken out, by the words of the markers alone. */
static char *without_blocks(const char *text)
{
    AUTO_BUF out = BUF_INIT;
    const char *begin;
    while ((begin = strstr(text, "# tlsup begin ")) != NULL) {
        const char *end = strstr(begin, "# tlsup end ");
        assert_non_null(end);
        const char *start = begin;
        while (start[-1] == ' ' || start[-1] == '\t') {
            start--;
        }
        assert_int_equal(start[-1], '\n');
        start -= start[-2] == '\r' ? 2 : 1;
        buf_add(&out, text, (size_t)(start - text));
        text = strchr(end, '\n') + 1;
    }
    buf_adds(&out, text);
    return buf_take(&out) ?: mem_dup("");
}

/* The line with `default_server` taken out: what the default by its place alone gets. */
static char *without_default(const char *line, size_t len)
{
    static const char added[] = " default_server";
    AUTO_FREE char *text = mem_ndup(line, len);
    for (char *at; (at = strstr(text, added)) != NULL;) {
        memmove(at, at + sizeof added - 1, strlen(at + sizeof added - 1) + 1);
    }
    return mem_dup(text);
}

/* `now` is `before` with nothing but certificate lines missing. */
static void check_lines(const char *before, const char *now)
{
    while (*before != '\0') {
        size_t len = strcspn(before, "\n") + (strchr(before, '\n') != NULL);
        size_t len_now = strcspn(now, "\n") + (strchr(now, '\n') != NULL);
        AUTO_FREE char *plain = without_default(now, len_now);
        if (strncmp(before, now, len) == 0) {
            now += len;
        } else if (strlen(plain) == len && strncmp(before, plain, len) == 0) {
            now += len_now;
        } else if (memmem(before, len, "ssl_certificate", 15) == NULL &&
                   memmem(before, len, "ssl_stapling on", 15) == NULL &&
                   memmem(before, len, "include snippets/", 17) == NULL) {
            fail_msg("changed: %.*s", (int)len, before);
        } else if ((*now == ' ' && strspn(now, " ") == strcspn(now, "\n")) ||
                   memmem(before, len, "ssl_protocols", 13) != NULL) {
            now +=
                strcspn(now, "\n") + 1; /* a line with several directives keeps the rest, be it only blanks */
        }
        before += len;
    }
    assert_string_equal(now, "");
}

/* A server inserted at one place: what stands before and after it is the file as it was. */
static void check_insertion(const char *before, const char *now)
{
    size_t prefix = 0, suffix = 0, a = strlen(before), b = strlen(now);
    while (prefix < a && before[prefix] == now[prefix]) {
        prefix++;
    }
    while (suffix < a && before[a - 1 - suffix] == now[b - 1 - suffix]) {
        suffix++;
    }
    assert_true(prefix + suffix >= a);
}

static void check_rest(const struct bed *bed)
{
    for (size_t i = 0; i < bed->files.n; i++) {
        AUTO_FREE char *now = read_back(bed, bed->files.v[i]);
        AUTO_FREE char *rest = without_blocks(now);
        if (strcmp(bed->expect, "new") == 0 && strcmp(bed->detail, bed->files.v[i]) == 0) {
            check_insertion(bed->texts.v[i], rest);
        } else if (strstr(now, "# tlsup begin") == NULL && strcmp(now, bed->texts.v[i]) == 0) {
            continue;
        } else {
            check_lines(bed->texts.v[i], rest);
        }
    }
}

static void check_model(const struct bed *bed)
{
    struct sites sites = SITES_INIT;
    AUTO_FREE char *chain = fs_join(bed->live, "fullchain.pem");
    ok(web_read(&bed->web, &sites, &err));
    for (size_t i = 0; i < bed->names.n; i++) {
        const struct site *site = sites_owner(&bed->web, &sites, bed->names.v[i], 443, true);
        assert_non_null(site);
        assert_string_equal(site->certificate, chain);
    }
    sites_clear(&sites);
}

/* The server that a visitor of one concrete address reaches: the narrow socket comes before the wildcard. ""
 * = nobody. */
static char *reached(const struct sites *sites, const char *name, const char *address, int port)
{
    const char *wildcard = address[0] == '[' ? "[::]" : "*";
    bool narrow = false;
    for (size_t i = 0; i < sites->n; i++) {
        narrow |= site_listens_at(&sites->v[i], address, port);
    }
    const struct site *site = nginx_driver.owner_at(sites, name, narrow ? address : wildcard, port, false);
    if (site == NULL) {
        return mem_dup("");
    }
    AUTO_FREE char *names = strlist_join(&site->names, " ");
    return mem_fmt("%s|%s", names, site->root);
}

/* Visitors of all other names get from every address what they got before, where they got something. */
static void check_others(const struct bed *bed, const struct sites *before)
{
    static const char *const addresses[] = {"192.0.2.1", "203.0.113.9", "[2001:db8::1]", "[2001:db8::9]"};
    static const int ports[] = {80, 443};
    struct sites after = SITES_INIT;
    ok(web_read(&bed->web, &after, &err));
    for (size_t i = 0; i < before->n; i++) {
        for (size_t k = 0; k < before->v[i].names.n; k++) {
            for (size_t n = 0; n < COUNT_OF(addresses) * COUNT_OF(ports); n++) {
                const char *name = before->v[i].names.v[k], *address = addresses[n / 2];
                AUTO_FREE char *was = reached(before, name, address, ports[n % 2]);
                AUTO_FREE char *is = reached(&after, name, address, ports[n % 2]);
                if (!strlist_has(&bed->names, name) && was[0] != '\0' && strcmp(was, is) != 0) {
                    fail_msg("%s at %s:%d was %s, is %s", name, address, ports[n % 2], was, is);
                }
            }
        }
    }
    sites_clear(&after);
}

static void check_plain(const struct bed *bed, const struct sites *sites, const char *name)
{
    static const char token[] = "/.well-known/acme-challenge/" TOKEN;
    AUTO_STRLIST addresses = STRLIST_INIT;
    ok(web_probe_addresses(&bed->web, sites, name, 80, &addresses, &err));
    for (size_t i = 0; i < addresses.n; i++) {
        struct answer answer;
        if (!fetch(addresses.v[i], 80, name, token, &answer) || answer.status != 200 ||
            strcmp(answer.body, TOKEN "." THUMBPRINT) != 0) {
            fail_msg("%s on %s: the challenge is answered with status %ld and \"%s\"", name, addresses.v[i],
                     answer.status, answer.body);
        }
        fetch(addresses.v[i], 80, name, "/.well-known/acme-challenge/not,a.token", &answer);
        assert_int_not_equal(answer.status, 200);
    }
}

static void check_secure(const struct bed *bed, const struct sites *sites, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    AUTO_FREE char *same = mem_fmt("https://%s/", name);
    ok(web_probe_addresses(&bed->web, sites, name, 443, &addresses, &err));
    for (size_t i = 0; i < addresses.n; i++) {
        struct answer answer;
        fetch(addresses.v[i], 443, name, "/", &answer); /* it may close the connection after the handshake */
        if (!answer.new_leaf) {
            fail_msg("%s on %s: not the new certificate, status %ld", name, addresses.v[i], answer.status);
        }
        if (answer.status == 301) {
            assert_string_not_equal(answer.location, same); /* no loop */
        }
    }
}

static void check_redirect(const struct bed *bed, const struct sites *sites, const char *name)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    ok(web_probe_addresses(&bed->web, sites, name, 80, &addresses, &err));
    const struct site *site = sites_owner(&bed->web, sites, name, 80, true);
    if (site == NULL || site->redirects_only || strstr(bed->texts.v[0], "$http_x_forwarded_") != NULL) {
        return; /* behind a proxy that speaks TLS, it would be a loop */
    }
    AUTO_FREE char *there = mem_fmt("https://%s/x?y=z", name);
    size_t redirected = 0;
    for (size_t i = 0; i < addresses.n; i++) { /* some addresses may lead to a default server */
        struct answer answer;
        redirected += fetch(addresses.v[i], 80, name, "/x?y=z", &answer) && answer.status == 301 &&
                      strcmp(answer.location, there) == 0;
    }
    if (redirected == 0) {
        fail_msg("%s: no redirect to %s", name, there);
    }
}

static void check_served(struct bed *bed)
{
    struct sites sites = SITES_INIT;
    reload_nginx(bed);
    ok(web_read(&bed->web, &sites, &err));
    for (size_t i = 0; i < bed->names.n; i++) {
        check_secure(bed, &sites, bed->names.v[i]);
        if (sites_owner(&bed->web, &sites, bed->names.v[i], 80, false) != NULL) {
            check_plain(bed, &sites, bed->names.v[i]);
            check_redirect(bed, &sites, bed->names.v[i]);
        }
    }
    sites_clear(&sites);
}

/* All that nginx reads, in one text. */
static void add_files(const struct bed *bed, struct buf *out)
{
    for (size_t i = 0; i < bed->files.n; i++) {
        AUTO_FREE char *text = read_back(bed, bed->files.v[i]);
        buf_adds(out, text);
    }
    if (strcmp(bed->expect, "new") == 0 && !strlist_has(&bed->files, bed->detail)) {
        AUTO_FREE char *text = read_back(bed, bed->detail);
        buf_adds(out, text);
    }
}

static size_t occurrences(const char *text, const char *word)
{
    size_t n = 0;
    for (; (text = strstr(text, word)) != NULL; text += strlen(word)) {
        n++;
    }
    return n;
}

/* From one certificate to two: the lines of the second come beside those of the first, in our block; and they
 * go again. */
static void check_second(struct bed *bed, size_t warnings_before)
{
    AUTO_BUF one = BUF_INIT, two = BUF_INIT, back = BUF_INIT;
    struct txn *there = begin(bed), *again = begin(bed), *home = begin(bed);
    add_files(bed, &one);
    bed->second = "rsa";
    ok(stage(bed, there, true, &err));
    ok(txn_apply(there, &err));
    add_files(bed, &two);
    assert_int_equal(warnings(bed), warnings_before);
    check_rest(bed);
    check_model(bed);
    size_t pairs = occurrences(buf_str(&one), "/fullchain.pem");
    assert_true(pairs > 0);
    assert_int_equal(occurrences(buf_str(&two), "/fullchain.pem"), pairs);
    assert_int_equal(occurrences(buf_str(&two), "/fullchain-rsa.pem"), pairs);
    assert_int_equal(occurrences(buf_str(&two), "/privkey-rsa.pem"), pairs);
    assert_int_equal(occurrences(buf_str(&two), "\n"), occurrences(buf_str(&one), "\n") + 2 * pairs);
    ok(stage(bed, again, true, &err));
    assert_int_equal(txn_count(again), 0);
    bed->second = NULL;
    ok(stage(bed, home, true, &err));
    ok(txn_apply(home, &err));
    add_files(bed, &back);
    assert_string_equal(buf_str(&back), buf_str(&one));
    ok(txn_rollback(home, &err));
    ok(txn_rollback(there, &err));
    txn_free(home);
    txn_free(again);
    txn_free(there);
}

enum { SERVED_OF = 4 };

static void test_fixture(void **state)
{
    AUTO_BED bed;
    struct err why = ERR_INIT;
    static size_t count;
    load_fixture(&bed, *state);
    if (!web_test(&bed.web, &why)) {
        skip(); /* of another version or other modules: tests/corpus runs those */
    }
    bool in_turn = count++ % SERVED_OF == 0; /* tests/corpus serves them all */
    size_t before = warnings(&bed);
    struct txn *txn = begin(&bed);
    if (strcmp(bed.expect, "refuse") == 0) {
        assert_false(stage(&bed, txn, true, &why));
        assert_int_equal(why.code, ERR_WEBSERVER);
        assert_int_equal(why.next, NEXT_FIX_CONFIG);
        assert_string_not_equal(why.advice, "");
        if (strstr(why.text, bed.detail) == NULL) {
            fail_msg("refused, but not by \"%s\": %s", bed.detail, why.text);
        }
        txn_free(txn);
        check_unchanged(&bed);
        return;
    }
    struct sites sites_before = SITES_INIT;
    ok(web_read(&bed.web, &sites_before, &err));
    bool serve = bed.serve && can_serve && in_turn;
    pid_t server = serve ? start_nginx(&bed) : 0;
    bed.web.master_pid = server;
    if (!stage(&bed, txn, true, &why)) {
        fail_msg("%s", why.text);
    }
    assert_true(txn_count(txn) > 0);
    check_unchanged(&bed); /* nothing is written by staging */
    ok(txn_apply(txn, &err));
    assert_int_equal(warnings(&bed), before);
    ok(web_test(&bed.web, &err));
    check_rest(&bed);
    check_model(&bed);
    check_others(&bed, &sites_before);
    sites_clear(&sites_before);
    if (strcmp(bed.expect, "new") == 0) {
        AUTO_FREE char *path = fs_join(bed.dir, bed.detail);
        assert_true(fs_exists(path));
    }
    struct txn *again = begin(&bed);
    ok(stage(&bed, again, true, &err));
    if (txn_count(again) != 0) {
        AUTO_BUF diff = BUF_INIT;
        txn_diff(again, &diff);
        fail_msg("a second run changes: %s", buf_str(&diff));
    }
    txn_free(again);
    check_second(&bed, before);
    if (serve) {
        check_served(&bed);
        stop_nginx();
    }
    ok(txn_rollback(txn, &err));
    txn_free(txn);
    check_unchanged(&bed);
    ok(web_test(&bed.web, &err));
}

/* ---- single matters ---- */

/* Stage and apply; the main file after it. The caller frees. */
static char *edited(struct bed *bed, bool redirect)
{
    struct txn *txn = begin(bed);
    ok(stage(bed, txn, redirect, &err));
    ok(txn_apply(txn, &err));
    ok(txn_commit(txn, &err));
    txn_free(txn);
    return read_back(bed, "nginx.conf");
}

#define SITE "    server {\n        listen 80;\n        server_name example.org;\n        root html;\n    }\n"

static void test_http2_by_version(void **state)
{
    static const struct {
        int version;
        bool has;
        const char *extra, *listen, *directive;
    } table[] = {
        {1018000, true, "", "listen 443 ssl http2;", NULL},
        {1025000, true, "", "listen 443 ssl http2;", NULL},
        {1025001, true, "", "listen 443 ssl;", "http2 on;"},
        {1028003, true, "", "listen 443 ssl;", "http2 on;"},
        {1028003, false, "", "listen 443 ssl;", NULL},
        {1018000, false, "", "listen 443 ssl;", NULL},
        {1028003, true, "    http2 on;\n", "listen 443 ssl;", NULL},
        {1028003, true, "    server { listen 443 ssl; server_name b; http2 on; }\n", "listen 443 ssl;",
         "http2 on;"},
        {1022001, true, "    server { listen 443 ssl; server_name b; }\n", "listen 443 ssl;", NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        AUTO_FREE char *body = mem_fmt(SITE "%s", table[i].extra);
        bed_http(&bed, body);
        bed.web.version_number = table[i].version;
        bed.web.has_http2 = table[i].has;
        add_names(&bed, "example.org");
        AUTO_FREE char *text = edited(&bed, true);
        const char *block = strstr(text, "tlsup begin cert:");
        assert_non_null(block);
        char *end = strstr(text, "tlsup end cert:");
        *end = '\0';
        assert_non_null(strstr(block, table[i].listen));
        assert_int_equal(strstr(block, "http2 on;") != NULL, table[i].directive != NULL);
    }
}

static void test_challenge_alone_and_new_thumbprint(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    for (int round = 0; round < 3; round++) {
        struct sites sites = SITES_INIT;
        struct txn *txn = begin(&bed);
        ok(web_read(&bed.web, &sites, &err));
        ok(web_edit_challenge(&bed.web, &sites, &bed.names, round == 0 ? "first" : "second", txn, &err));
        assert_int_equal(txn_count(txn), round == 2 ? 0 : 1);
        ok(txn_apply(txn, &err));
        ok(txn_commit(txn, &err));
        txn_free(txn);
        sites_clear(&sites);
        warnings(&bed);
    }
    AUTO_FREE char *text = read_back(&bed, "nginx.conf");
    assert_non_null(strstr(text, "$1.second\""));
    assert_null(strstr(text, "first"));
    assert_null(strstr(text, "443"));
}

static void test_thumbprint_that_is_none(void **state)
{
    AUTO_BED bed;
    struct err err = ERR_INIT;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    struct txn *txn = begin(&bed);
    assert_false(web_edit_challenge(&bed.web, NULL, &bed.names, "x\"; } evil", txn, &err));
    assert_int_equal(txn_count(txn), 0);
    txn_free(txn);
}

static void test_somebody_answers_already(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, "    server {\n listen 80; server_name example.org;\n if ($request_uri ~ "
                   "\"^/.well-known/acme-challenge/([A-Za-z0-9_-]+)$\") "
                   "{ return 200 \"$1." THUMBPRINT "\"; }\n }\n");
    add_names(&bed, "example.org");
    struct txn *txn = begin(&bed);
    ok(web_edit_challenge(&bed.web, NULL, &bed.names, THUMBPRINT, txn, &err));
    assert_int_equal(txn_count(txn), 0);
    txn_free(txn);
}

static void test_without_rewrite_module(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    bed.web.has_rewrite = false;
    AUTO_FREE char *text = edited(&bed, true);
    assert_non_null(strstr(text, "location ^~ /.well-known/acme-challenge/ {"));
    assert_null(strstr(text, "return"));
    assert_null(strstr(text, "if ("));
    warnings(&bed);
}

static void test_redirect_on_and_off(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    AUTO_FREE char *plain = edited(&bed, false);
    assert_null(strstr(plain, "return 301"));
    AUTO_FREE char *redirected = edited(&bed, true);
    const char *redirect =
        strstr(redirected, "if ($tlsup_host = \"example.org\") { return 301 https://$host$request_uri; }");
    assert_non_null(redirect);
    assert_true(strstr(redirected, "acme-challenge") < redirect); /* the answer comes first */
    AUTO_FREE char *back = edited(&bed, false);
    assert_string_equal(back, plain);
}

static void test_block_changed_by_hand(void **state)
{
    (void)state;
    for (int broken = 0; broken < 2; broken++) {
        AUTO_BED bed;
        bed_http(&bed, SITE);
        add_names(&bed, "example.org");
        AUTO_FREE char *text = edited(&bed, true);
        char *line = strstr(text, broken ? "ssl_certificate /" : "ssl_session_timeout 1d;");
        char *key = strstr(text, "ssl_certificate_key ");
        memcpy(line, "#", 1);
        if (broken) {
            memcpy(key, "#", 1);
            for (char *at; (at = strstr(text, bed.live)) != NULL;) {
                memcpy(at, "/else", 5);
            }
        }
        put(bed.dir, "nginx.conf", text, strlen(text));
        struct txn *txn = begin(&bed);
        struct err err = ERR_INIT;
        assert_int_equal(stage(&bed, txn, true, &err), !broken);
        assert_int_equal(txn_count(txn), 0);
        assert_int_equal(err.next, broken ? NEXT_FIX_CONFIG : NEXT_NONE);
        txn_free(txn);
    }
}

/* A second certificate of the other kind than before: no line of the one that is gone stays. */
static void test_second_certificate_of_another_kind(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    bed.second = "rsa";
    AUTO_FREE char *rsa = edited(&bed, true);
    assert_true(strstr(rsa, "/privkey.pem") < strstr(rsa, "/fullchain-rsa.pem"));
    bed.second = "ecdsa";
    AUTO_FREE char *ecdsa = edited(&bed, true);
    assert_null(strstr(ecdsa, "-rsa.pem"));
    assert_int_equal(occurrences(ecdsa, "-ecdsa.pem;"), 2);
    bed.second = "rsa";
    AUTO_FREE char *back = edited(&bed, true);
    assert_string_equal(back, rsa);
}

/* A block changed by hand stays when it says all that is due; it is refused when a certificate would be
 * missing, and when it names one that is gone. */
static void test_second_certificate_in_a_block_changed_by_hand(void **state)
{
    static const struct {
        const char *before, *after;
        bool fits;
    } table[] = {{NULL, NULL, true},   {"rsa", "rsa", true},    {NULL, "rsa", false},
                 {"rsa", NULL, false}, {"ecdsa", "rsa", false}, {"rsa", "ecdsa", false}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct err err = ERR_INIT;
        bed_http(&bed, SITE);
        add_names(&bed, "example.org");
        bed.second = table[i].before;
        AUTO_FREE char *text = edited(&bed, true);
        char *line = strstr(text, "ssl_session_timeout 1d;");
        assert_non_null(line);
        *line = '#';
        put(bed.dir, "nginx.conf", text, strlen(text));
        bed.second = table[i].after;
        struct txn *txn = begin(&bed);
        assert_int_equal(stage(&bed, txn, true, &err), table[i].fits);
        assert_int_equal(txn_count(txn), 0);
        assert_int_equal(strstr(err.text, "changed by hand") != NULL, !table[i].fits);
        txn_free(txn);
    }
}

static void test_two_certificates_by_version(void **state)
{
    static const struct {
        enum web_kind kind;
        int version;
        bool two;
    } table[] = {{WEB_NGINX, 1010003, false},
                 {WEB_NGINX, 1011000, true},
                 {WEB_NGINX, 1022001, true},
                 {WEB_NGINX, 0, true},
                 {WEB_APACHE, 2004062, true}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct web web = {.kind = table[i].kind, .version_number = table[i].version};
        assert_int_equal(web_takes_two(&web), table[i].two);
    }
}

static void test_name_of_a_valid_certificate_is_not_lost(void **state)
{
    AUTO_BED bed;
    struct err why = ERR_INIT;
    (void)state;
    bed_http(
        &bed,
        "    server { listen 443 ssl; server_name example.org keep.example.org; ssl_certificate keep.pem;\n"
        " ssl_certificate_key keep.key; }\n");
    copy_file("keep.pem", bed.dir, "keep.pem");
    copy_file("keep.key", bed.dir, "keep.key");
    add_names(&bed, "example.org");
    struct txn *txn = begin(&bed);
    assert_false(stage(&bed, txn, true, &why));
    assert_non_null(strstr(why.text, "keep.example.org"));
    assert_non_null(strstr(why.advice, "keep.example.org"));
    err_clear(&why);
    add_names(&bed, "keep.example.org");
    ok(stage(&bed, txn, true, &err));
    txn_free(txn);
}

static void test_another_certificate_of_ours(void **state)
{
    AUTO_BED bed;
    struct err why = ERR_INIT;
    (void)state;
    bed_http(&bed,
             "    server {\n        listen 80;\n        server_name a.example.org b.example.org;\n    }\n");
    add_names(&bed, "a.example.org");
    AUTO_FREE char *first = edited(&bed, true);
    assert_non_null(strstr(first, "cert:a.example.org"));
    AUTO_STRLIST other = STRLIST_INIT;
    strlist_add(&other, "b.example.org");
    struct web_https https = {
        .names = &other, .live_dir = bed.live, .cert_name = "b.example.org", .redirect = true};
    struct txn *txn = begin(&bed);
    assert_false(web_edit_https(&bed.web, NULL, &https, txn, &why)); /* one server, one certificate */
    assert_non_null(strstr(why.text, "\"a.example.org\""));
    strlist_add(&other, "a.example.org"); /* the new one covers all: the old block gives way */
    ok(web_edit_https(&bed.web, NULL, &https, txn, &err));
    ok(txn_apply(txn, &err));
    ok(txn_commit(txn, &err));
    txn_free(txn);
    warnings(&bed);
    AUTO_FREE char *text = read_back(&bed, "nginx.conf");
    assert_null(strstr(text, "cert:a.example.org"));
    assert_non_null(strstr(text, "cert:b.example.org"));
    assert_non_null(strstr(text, "listen 443 ssl"));
}

/* Debian's http level still allows TLS 1.0; what a person has restricted there stays theirs. */
static void test_old_protocols_are_not_inherited(void **state)
{
    static const struct {
        const char *http;
        bool ours;
    } table[] = {{"TLSv1 TLSv1.1 TLSv1.2 TLSv1.3", true}, {"TLSv1.3", false}, {"TLSv1.2 TLSv1.3", false}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        AUTO_FREE char *http =
            mem_fmt("    ssl_protocols %s;\n    server {\n        listen 80;\n        server_name "
                    "example.org;\n    }\n",
                    table[i].http);
        bed_http(&bed, http);
        add_names(&bed, "example.org");
        AUTO_FREE char *text = edited(&bed, false);
        const char *block = strstr(text, "server {");
        assert_non_null(block);
        assert_int_equal(strstr(block, "ssl_protocols TLSv1.2 TLSv1.3;") != NULL, table[i].ours);
    }
}

static void test_other_names_are_not_redirected(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed,
             "    server {\n        listen 80;\n        server_name example.org shop.example.org;\n    }\n");
    add_names(&bed, "example.org");
    AUTO_FREE char *text = edited(&bed, true);
    assert_null(strstr(text, "if ($scheme = http) { return"));
    assert_non_null(strstr(text, "if ($tlsup_host = \"example.org\") { return 301"));
    warnings(&bed);
}

static struct answer asked_on_80(const char *host)
{
    struct answer answer;
    assert_true(fetch("127.0.0.1", 80, host, "/", &answer));
    return answer;
}

/* Whoever comes by a name without a certificate, or by the bare address, keeps the page that he had. */
static void test_strangers_are_not_redirected(void **state)
{
    static const struct {
        const char *before, *listen, *names;
        bool by_scheme;   /* the short form */
        const char *kept; /* still served on port 80 */
    } table[] = {
        {"", "80", "example.org www.example.org", false, "stranger.invalid"},
        {"server { listen 80; server_name first.invalid; }", "80", "example.org www.example.org", true, NULL},
        {"server { listen 80; server_name first.invalid; }", "80 default_server",
         "example.org www.example.org", false, "stranger.invalid"},
        {"server { listen 80; server_name first.invalid; }", "80", "192.0.2.7 example.org www.example.org",
         false, "192.0.2.7"},
        {"server { listen 80; server_name first.invalid; }", "80", "example.org www.example.org intranet",
         false, "intranet"},
        {"server { listen 80; server_name first.invalid; }", "80; listen 8080", "example.org www.example.org",
         false, NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        AUTO_FREE char *body = mem_fmt("    %s\n    server {\n        listen %s;\n        server_name %s;\n"
                                       "        location / { return 200 page; }\n    }\n",
                                       table[i].before, table[i].listen, table[i].names);
        bed_http(&bed, body);
        add_names(&bed, "example.org www.example.org");
        AUTO_FREE char *text = edited(&bed, true);
        assert_int_equal(strstr(text, "if ($scheme = http) { return 301") != NULL, table[i].by_scheme);
        warnings(&bed);
        AUTO_FREE char *again = edited(&bed, true);
        assert_string_equal(again, text);
        if (can_serve) {
            bed.web.master_pid = start_nginx(&bed);
            assert_int_equal(asked_on_80("example.org").status, 301);
            assert_int_equal(asked_on_80("www.example.org").status, 301);
            assert_true(table[i].kept == NULL || asked_on_80(table[i].kept).status == 200);
            stop_nginx();
        }
    }
}

/* nginx's wildcard takes deeper names than that of a certificate; a name below it needs not be asked for. */
static void test_redirect_below_a_wildcard(void **state)
{
    static const char *const names[] = {"example.org www.example.org", "example.org *.example.org",
                                        ".example.org"};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        AUTO_BED bed;
        AUTO_FREE char *body = mem_fmt("    server {\n        listen 80;\n        server_name %s;\n"
                                       "        location / { return 200 page; }\n    }\n",
                                       names[i]);
        bed_http(&bed, body);
        strlist_add(&bed.names, "example.org");
        strlist_add(&bed.names, "*.example.org");
        AUTO_FREE char *text = edited(&bed, true);
        assert_null(strstr(text, "if ($scheme = http) { return 301"));
        if (can_serve) {
            bed.web.master_pid = start_nginx(&bed);
            assert_int_equal(asked_on_80("example.org").status, 301);
            assert_int_equal(asked_on_80("www.example.org").status, 301);
            assert_int_equal(asked_on_80("a.b.example.org").status, 200);
            assert_int_equal(asked_on_80("stranger.invalid").status, 200);
            stop_nginx();
        }
    }
}

static void test_no_redirect_behind_a_tls_proxy(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(
        &bed,
        "    server {\n        listen 80;\n        server_name example.org;\n"
        "        if ($http_x_forwarded_proto = http) { return 301 https://$host$request_uri; }\n    }\n");
    add_names(&bed, "example.org");
    AUTO_FREE char *text = edited(&bed, true);
    assert_non_null(strstr(text, "listen 443 ssl"));
    assert_null(strstr(text, "$scheme = http"));
}

/* Killed between two writes, nginx must still accept its configuration: the new certificate comes before the
 * old one goes. */
static void test_order_of_files(void **state)
{
    AUTO_BED bed;
    AUTO_BUF diff = BUF_INIT;
    (void)state;
    load_fixture(&bed, "snippet-first.conf");
    struct txn *txn = begin(&bed);
    struct web_https https = {.names = &bed.names, .live_dir = bed.live, .cert_name = "example.org"};
    ok(web_edit_https(&bed.web, NULL, &https, txn, &err));
    txn_diff(txn, &diff);
    const char *gains = strstr(buf_str(&diff), "b.conf\n"), *loses = strstr(buf_str(&diff), "shared.inc\n");
    assert_non_null(gains);
    assert_non_null(loses);
    assert_true(gains < loses);
    txn_free(txn);
}

static void test_hostile_request(void **state)
{
    static const struct {
        const char *live, *cert;
    } table[] = {{"/l;ive\n}", "example.org"},
                 {"/live/$host", "example.org"},
                 {"relative", "example.org"},
                 {"", "example.org"},
                 {"/live", "a\nb"},
                 {"/live", "../x"},
                 {"/live", "a b"},
                 {"/live", ""}};
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct err err = ERR_INIT;
        struct web_https https = {.names = &bed.names, .live_dir = table[i].live, .cert_name = table[i].cert};
        struct txn *txn = begin(&bed);
        assert_false(web_edit_https(&bed.web, NULL, &https, txn, &err));
        assert_int_equal(txn_count(txn), 0);
        txn_free(txn);
    }
    bed.web.has_ssl = false;
    struct err err = ERR_INIT;
    struct txn *txn = begin(&bed);
    assert_false(stage(&bed, txn, true, &err));
    assert_int_equal(err.code, ERR_WEBSERVER);
    txn_free(txn);
}

static void test_path_with_strange_characters(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    snprintf(bed.live, sizeof bed.live, "%s/li ve;{\"}#\\x", bed.dir);
    copy_file("new.pem", bed.live, "fullchain.pem");
    copy_file("new.key", bed.live, "privkey.pem");
    AUTO_FREE char *text = edited(&bed, true);
    assert_non_null(strstr(text, "ssl_certificate \""));
    warnings(&bed);
    check_model(&bed);
}

static void test_stream_holds_443(void **state)
{
    AUTO_BED bed;
    struct err err = ERR_INIT;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    AUTO_FREE char *text = mem_fmt("stream {\n server { listen 53 udp; }\n server {\n  listen 443;\n  "
                                   "proxy_pass 127.0.0.1:1;\n }\n}\n%s",
                                   bed.texts.v[0]);
    put(bed.dir, "nginx.conf", text, strlen(text));
    struct txn *txn = begin(&bed);
    assert_false(stage(&bed, txn, true, &err));
    assert_non_null(strstr(err.text, "nginx.conf:4: a stream server"));
    txn_free(txn);
}

static void test_broken_configurations(void **state)
{
    static const struct {
        const char *body, *word;
    } table[] = {
        {"    server { listen 80\n", "nginx.conf:"},
        {"    server { listen \"80; }\n", "quote"},
        {"    include missing.conf;\n", "missing.conf"},
        {"    include nginx.conf;\n", "includes itself"},
        {"    }}", "unexpected \"}\""},
        {"    include http.inc http.inc;\n", "one path"},
        {"    include html;\n", "html"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct sites sites = SITES_INIT;
        struct err err = ERR_INIT;
        bed_http(&bed, table[i].body);
        assert_false(web_read(&bed.web, &sites, &err));
        if (strstr(err.text, table[i].word) == NULL) {
            fail_msg("%s: %s", table[i].body, err.text);
        }
        assert_false(web_test(&bed.web, &(struct err)ERR_INIT));
        sites_clear(&sites);
    }
}

static void test_owner_rules(void **state)
{
    static const char body[] =
        "    server { listen 80; root r0; }\n"
        "    server { listen 80; server_name EXAMPLE.org; root r1; }\n"
        "    server { listen 80; server_name *.example.org; root r2; }\n"
        "    server { listen 80; server_name *.b.example.org; root r3; }\n"
        "    server { listen 80; server_name mail.*; root r4; }\n"
        "    server { listen 80; server_name ~^w[0-9]+\\.example\\.com$ ~((broken; root r5; }\n"
        "    server { listen 80; server_name ~example\\.com$; root r6; }\n"
        "    server { listen 80 default_server; server_name .dot.org; root r7; }\n"
        "    server { listen 80; server_name example.org; root r8; }\n"
        "    server { listen 127.0.0.1:80; server_name only.loop; root r9; }\n";
    static const struct {
        const char *name, *root;
        bool explicit_one;
    } table[] = {
        {"example.org", "r1", true},     {"a.example.org", "r2", true},    {"a.b.example.org", "r3", true},
        {"b.example.org", "r2", true},   {"mail.example.org", "r2", true}, {"mail.anything.net", "r4", true},
        {"w12.example.com", "r5", true}, {"x.example.com", "r6", true},    {"dot.org", "r7", true},
        {"x.dot.org", "r7", true},       {"unknown.net", "r7", false},     {"only.loop", "r9", true},
        {"*.example.org", "r2", true},   {"*.dot.org", "r7", true},        {"*.unknown.net", "r7", false},
    };
    AUTO_BED bed;
    struct sites sites = SITES_INIT;
    (void)state;
    bed_http(&bed, body);
    ok(web_read(&bed.web, &sites, &err));
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        const struct site *site = sites_owner(&bed.web, &sites, table[i].name, 80, false);
        const struct site *named = sites_owner(&bed.web, &sites, table[i].name, 80, true);
        AUTO_FREE char *root = fs_join(bed.dir, table[i].root);
        assert_non_null(site);
        if (strcmp(site->root, root) != 0) {
            fail_msg("%s: %s, not %s", table[i].name, site->root, root);
        }
        assert_ptr_equal(named, table[i].explicit_one ? site : NULL);
        assert_null(sites_owner(&bed.web, &sites, table[i].name, 443, false));
    }
    sites_clear(&sites);
}

static void test_listen_forms(void **state)
{
    static const struct {
        const char *listen, *address;
        int port;
    } table[] = {
        {"80", "*", 80},
        {"*:81", "*", 81},
        {"0.0.0.0:82", "*", 82},
        {"192.0.2.1", "192.0.2.1", 80},
        {"192.0.2.1:8080", "192.0.2.1", 8080},
        {"[::]:80", "[::]", 80},
        {"[2001:DB8:0::1]:443", "[2001:db8::1]", 443},
        {"[::1]", "[::1]", 80},
        {"8000-8002", "*", 8001},
        {"localhost:90", "127.0.0.1", 90},
        {"*", "*", 80},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct sites sites = SITES_INIT;
        AUTO_FREE char *body = mem_fmt("server { listen %s; }\n", table[i].listen);
        bed_http(&bed, body);
        ok(web_read(&bed.web, &sites, &err));
        assert_int_equal(sites.n, 1);
        assert_true(site_listens_at(&sites.v[0], table[i].address, table[i].port));
        sites_clear(&sites);
    }
}

static void test_model_of_a_site(void **state)
{
    AUTO_BED bed;
    struct sites sites = SITES_INIT;
    (void)state;
    bed_http(&bed, "    # server { }\n    server\n    {\n        listen 443 ssl default_server; server_name "
                   "A.example.org \"~^X\\d\";\n"
                   "        ssl_certificate certs/a.pem; root /srv/a;\n    }\n"
                   "    server { return 301 https://$host$request_uri; }\n"
                   "    upstream u { server 127.0.0.1:1; }\n");
    ok(web_read(&bed.web, &sites, &err));
    assert_int_equal(sites.n, 2);
    const struct site *site = &sites.v[0];
    assert_int_equal(site->line, 5);
    assert_string_equal(site->root, "/srv/a");
    assert_string_equal(site->names.v[0], "a.example.org");
    assert_string_equal(site->names.v[1], "~^X\\d");
    AUTO_FREE char *certificate = fs_join(bed.dir, "certs/a.pem");
    assert_string_equal(site->certificate, certificate);
    assert_true(site->listens[0].ssl && site->listens[0].default_server);
    assert_int_equal(bed.texts.v[0][site->begin], 's');
    assert_int_equal(bed.texts.v[0][site->end - 1], '}');
    assert_true(sites.v[1].redirects_only);
    assert_true(site_listens_at(&sites.v[1], "*", 80));
    sites_clear(&sites);
}

static void test_probe_addresses(void **state)
{
    static const char body[] =
        "    server { listen 80 default_server; listen [::]:80 default_server; }\n"
        "    server { listen 80; server_name example.org; listen 192.0.2.1:443 ssl; listen 443 ssl; }\n"
        "    server { listen 127.0.0.1:443 ssl; listen [::]:443 ssl; server_name other.org; }\n";
    AUTO_BED bed;
    struct sites sites = SITES_INIT;
    (void)state;
    bed_http(&bed, body);
    ok(web_read(&bed.web, &sites, &err));
    AUTO_STRLIST plain = STRLIST_INIT, secure = STRLIST_INIT, none = STRLIST_INIT;
    ok(web_probe_addresses(&bed.web, &sites, "example.org", 80, &plain, &err));
    AUTO_FREE char *all = strlist_join(&plain, " ");
    assert_string_equal(all, "127.0.0.1 ::1"); /* IPv6 reaches the default server: it must answer too */
    ok(web_probe_addresses(&bed.web, &sites, "example.org", 443, &secure, &err));
    AUTO_FREE char *named = strlist_join(&secure, " ");
    assert_string_equal(named, "127.0.0.2 192.0.2.1"); /* 127.0.0.1:443 is somebody else's */
    struct err why = ERR_INIT;
    assert_false(web_probe_addresses(&bed.web, &sites, "example.org", 8443, &none, &why));
    sites_clear(&sites);
}

static void test_one_file_under_two_names(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, "    include sites/*;\n");
    bed_file(&bed, "available/a", "server { listen 80; server_name example.org; }\n");
    AUTO_FREE char *target = fs_join(bed.dir, "available/a");
    AUTO_FREE char *one = fs_join(bed.dir, "sites/1");
    AUTO_FREE char *two = fs_join(bed.dir, "sites/2");
    AUTO_FREE char *dir = fs_join(bed.dir, "sites");
    ok(fs_mkdirs(dir, 0755, &err));
    ok(fs_symlink(target, one, &err));
    ok(fs_symlink(target, two, &err));
    add_names(&bed, "example.org");
    AUTO_FREE char *main_file = edited(&bed, true);
    assert_string_equal(main_file, bed.texts.v[0]);
    struct stat st;
    assert_int_equal(lstat(one, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    AUTO_FREE char *text = read_back(&bed, "available/a");
    const char *block = strstr(text, "tlsup begin cert:");
    assert_non_null(block);
    assert_null(strstr(block + 1, "tlsup begin cert:"));
}

int main(int argc, char **argv)
{
    const char *srcdir = getenv("srcdir");
    const struct CMUnitTest single[] = {
        cmocka_unit_test(test_http2_by_version),
        cmocka_unit_test(test_challenge_alone_and_new_thumbprint),
        cmocka_unit_test(test_thumbprint_that_is_none),
        cmocka_unit_test(test_somebody_answers_already),
        cmocka_unit_test(test_without_rewrite_module),
        cmocka_unit_test(test_redirect_on_and_off),
        cmocka_unit_test(test_block_changed_by_hand),
        cmocka_unit_test(test_second_certificate_of_another_kind),
        cmocka_unit_test(test_second_certificate_in_a_block_changed_by_hand),
        cmocka_unit_test(test_two_certificates_by_version),
        cmocka_unit_test(test_name_of_a_valid_certificate_is_not_lost),
        cmocka_unit_test(test_another_certificate_of_ours),
        cmocka_unit_test(test_old_protocols_are_not_inherited),
        cmocka_unit_test(test_other_names_are_not_redirected),
        cmocka_unit_test(test_strangers_are_not_redirected),
        cmocka_unit_test(test_redirect_below_a_wildcard),
        cmocka_unit_test(test_no_redirect_behind_a_tls_proxy),
        cmocka_unit_test(test_order_of_files),
        cmocka_unit_test(test_hostile_request),
        cmocka_unit_test(test_path_with_strange_characters),
        cmocka_unit_test(test_stream_holds_443),
        cmocka_unit_test(test_broken_configurations),
        cmocka_unit_test(test_owner_rules),
        cmocka_unit_test(test_listen_forms),
        cmocka_unit_test(test_model_of_a_site),
        cmocka_unit_test(test_probe_addresses),
        cmocka_unit_test(test_one_file_under_two_names),
    };
    AUTO_STRLIST fixtures = STRLIST_INIT;
    struct err err = ERR_INIT;
    if (!find_program() || !spawn_find("openssl")) {
        printf("1..0 # SKIP nginx or openssl is not installed\n");
        return 77;
    }
    log_set_level(LOG_LEVEL_ERROR);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    AUTO_FREE char *dir = mem_fmt("%s/tests/fixtures/nginx", srcdir != NULL ? srcdir : ".");
    fixture_dir = realpath(dir, NULL);
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    if (fixture_dir == NULL || !fs_list(fixture_dir, &fixtures, &err) || fixtures.n < 40) {
        fprintf(stderr, "no fixtures in %s\n", dir);
        return 1;
    }
    struct CMUnitTest *tests = mem_array(fixtures.n + COUNT_OF(single), sizeof *tests);
    size_t n = 0;
    for (size_t i = 0; i < fixtures.n; i++) {
        AUTO_FREE char *path = fs_join(fixture_dir, fixtures.v[i]);
        if (fs_is_dir(path)) {
            continue;
        }
        tests[n++] = (struct CMUnitTest){.name = fixtures.v[i],
                                         .test_func = test_fixture,
                                         .teardown_func = end_nginx,
                                         .initial_state = fixtures.v[i]};
    }
    memcpy(tests + n, single, sizeof single);
    int failed = _cmocka_run_group_tests("nginx", tests, n + COUNT_OF(single), set_up, tear_down);
    free(tests);
    free(fixture_dir);
    curl_global_cleanup();
    return failed;
}
