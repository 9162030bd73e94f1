/*
 * test_nginx_view.c - what nginx itself reads, what lies beside it unread, and how it is to speak TLS:
 * profiles and HSTS, on a real nginx.
 */
#include "nginx_bed.h"

#include "../../src/install/nginx_model.h"

#define HTTP "include main.inc;\nhttp {\n    include http.inc;\n"
#define SITE "    server {\n        listen 80;\n        server_name example.org;\n        root html;\n    }\n"

static void rewrite(const struct bed *bed, const char *name, const char *text)
{
    put(bed->dir, name, text, strlen(text));
}

/* ---- what nginx sees ---- */

static void view_bed(struct bed *bed)
{
    bed_open(bed);
    bed_file(bed, "nginx.conf",
             HTTP
             "    map $host $m { include table; }\n    include sites/*.conf;\n    include sites/a.conf;\n"
             "    include one/two/three/four/five.conf;\n}\n");
    bed_file(bed, "table", "default 0;\ninclude table2;\n");
    bed_file(bed, "table2", "example.org 1;");
    bed_file(bed, "sites/a.conf", "\n# configuration file /etc/passwd:\nserver { server_name a; }");
    bed_file(bed, "sites/b.conf", "# caf\xe9 \x01\r\nserver {\r\n\tserver_name b;\r\n}\r\n");
    bed_file(bed, "sites/empty.conf", "");
    bed_file(bed, "one/two/three/four/five.conf", "include one/two/three/four.conf;\n");
    bed_file(bed, "one/two/three/four.conf", "server { server_name four; }\n");
    AUTO_FREE char *target = fs_join(bed->dir, "sites/a.conf");
    AUTO_FREE char *link = fs_join(bed->dir, "sites/linked.conf");
    ok(fs_symlink(target, link, &err));
    bed_ready(bed);
}

static void test_the_same_view(void **state)
{
    AUTO_BED bed;
    struct sites sites = SITES_INIT;
    (void)state;
    view_bed(&bed);
    assert_int_equal(setenv("NGINX", "99;", 1), 0); /* inherited sockets of another nginx: not for a test */
    ok(web_read(&bed.web, &sites, &err));
    ok(web_compare(&bed.web, &sites, &err));
    unsetenv("NGINX");
    sites_clear(&sites);
}

static void test_more_than_a_pipe_holds(void **state)
{
    AUTO_BED bed;
    AUTO_BUF body = BUF_INIT;
    struct sites sites = SITES_INIT;
    (void)state;
    for (int i = 0; i < 5000; i++) {
        buf_addf(&body, "    server {\n        server_name s%d.example.org;\n        root html;\n    }\n", i);
    }
    bed_http(&bed, buf_str(&body));
    ok(web_read(&bed.web, &sites, &err));
    assert_int_equal(sites.n, 5000);
    ok(web_compare(&bed.web, &sites, &err));
    sites_clear(&sites);
}

static void test_another_view(void **state)
{
    static const struct {
        const char *file, *text, *word; /* text NULL: the file goes */
    } table[] = {
        {"sites/b.conf", "server { server_name c; }\n", "sites/b.conf"},
        {"sites/b.conf", "# caf\xe9 \x01\r\nserver {\r\n\tserver_name b;\r\n}\r\n\n", "sites/b.conf"},
        {"sites/aa.conf", "\n", "sites/aa.conf"},
        {"sites/empty.conf", NULL, "sites/empty.conf"},
        {"one/two/three/four.conf", "include one/last;\n", "four.conf"},
        {"table2", "a 2;", "table2"},
        {"nginx.conf", "include main.inc;\nhttp { }\n", "nginx.conf"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct sites sites = SITES_INIT;
        struct err why = ERR_INIT;
        view_bed(&bed);
        rewrite(&bed, "one/last", "");
        ok(web_read(&bed.web, &sites, &err));
        AUTO_FREE char *path = fs_join(bed.dir, table[i].file);
        if (table[i].text != NULL) {
            rewrite(&bed, table[i].file, table[i].text);
        } else {
            assert_int_equal(unlink(path), 0);
        }
        assert_false(web_compare(&bed.web, &sites, &why));
        assert_int_equal(why.code, ERR_WEBSERVER);
        assert_string_not_equal(why.advice, "");
        if (strstr(why.text, table[i].word) == NULL) {
            fail_msg("%s: %s", table[i].file, why.text);
        }
        sites_clear(&sites);
    }
}

/* A file more at the very end. */
static void test_one_file_more(void **state)
{
    AUTO_BED bed;
    struct sites sites = SITES_INIT;
    struct err why = ERR_INIT;
    (void)state;
    bed_open(&bed);
    bed_file(&bed, "nginx.conf", "include main.inc;\nhttp { include http.inc; }\ninclude last/*;\n");
    bed_ready(&bed);
    ok(web_read(&bed.web, &sites, &err));
    rewrite(&bed, "last/x", "");
    assert_false(web_compare(&bed.web, &sites, &why));
    assert_non_null(strstr(why.text, "last/x too"));
    sites_clear(&sites);
}

static void test_a_broken_one(void **state)
{
    AUTO_BED bed;
    struct sites sites = SITES_INIT;
    struct err why = ERR_INIT;
    (void)state;
    bed_http(&bed, SITE);
    ok(web_read(&bed.web, &sites, &err));
    rewrite(&bed, "nginx.conf", "bogus;\n");
    assert_false(web_compare(&bed.web, &sites, &why));
    assert_int_equal(why.code, ERR_WEBSERVER);
    assert_non_null(strstr(why.text, "bogus"));
    sites_clear(&sites);
}

static void test_a_binary_geo_table(void **state)
{
    AUTO_BED bed;
    AUTO_BUF table = BUF_INIT;
    struct sites sites = SITES_INIT;
    (void)state;
    bed_open(&bed);
    bed_file(&bed, "nginx.conf", HTTP "    geo $g { ranges; include geo.txt; }\n" SITE "}\n");
    for (unsigned i = 0; i < 100100; i++) { /* so many that nginx thinks it worth while */
        buf_addf(&table, "10.%u.%u.%u-10.%u.%u.%u %u;\n", i >> 16, i >> 8 & 255, i & 255, i >> 16,
                 i >> 8 & 255, i & 255, i % 7);
    }
    rewrite(&bed, "geo.txt", buf_str(&table));
    bed_ready(&bed);
    ok(web_read(&bed.web, &sites, &err));
    ok(web_compare(&bed.web, &sites, &err));
    AUTO_FREE char *binary = fs_join(bed.dir, "geo.txt.bin");
    assert_true(fs_exists(binary)); /* nginx made it, and reads it instead from now on */
    ok(web_compare(&bed.web, &sites, &err));
    sites_clear(&sites);
}

static void test_what_a_person_types(void **state)
{
    (void)state;
    struct web web = {.kind = WEB_NGINX, .bin = "/usr/sbin/nginx"};
    AUTO_STRLIST commands = STRLIST_INIT;
    nginx_driver.test_command(&web, &commands);
    snprintf(web.bin, sizeof web.bin, "/opt/nginx/sbin/nginx");
    snprintf(web.conf_arg, sizeof web.conf_arg, "/srv/n.conf");
    snprintf(web.prefix_arg, sizeof web.prefix_arg, "/srv/");
    nginx_driver.test_command(&web, &commands);
    assert_string_equal(commands.v[0], "nginx -t");
    assert_string_equal(commands.v[1], "/opt/nginx/sbin/nginx -t -c /srv/n.conf -p /srv/");
}

/* A file that changed between reading and staging: nothing of the change is lost. */
static void test_change_in_between(void **state)
{
    AUTO_BED bed;
    struct sites sites = SITES_INIT;
    (void)state;
    bed_open(&bed);
    bed_file(&bed, "nginx.conf", HTTP "    include sites/*;\n}\n");
    bed_file(&bed, "sites/a", "server { server_name example.org; root html; }\n");
    bed_ready(&bed);
    add_names(&bed, "example.org");
    ok(web_read(&bed.web, &sites, &err));
    rewrite(&bed, "sites/a", "server { server_name example.org; root htmx; }\n");
    struct txn *txn = begin(&bed);
    ok(web_edit_challenge(&bed.web, &sites, &bed.names, THUMBPRINT, txn, &err));
    ok(txn_apply(txn, &err));
    txn_free(txn);
    AUTO_FREE char *text = read_back(&bed, "sites/a");
    assert_non_null(strstr(text, "root htmx;"));
    assert_non_null(strstr(text, "acme-challenge"));
    sites_clear(&sites);
}

/* ---- sites that wait ---- */

static void waiting_bed(struct bed *bed, const char *pattern)
{
    bed_open(bed);
    AUTO_FREE char *text = mem_fmt(HTTP "    include sites-enabled/%s;\n}\n", pattern);
    bed_file(bed, "nginx.conf", text);
    bed_file(bed, "sites-available/on.conf",
             "server { listen 80 default_server; server_name _; root html; }\n");
    bed_file(bed, "sites-available/x",
             "\nserver {\n listen 80; listen 443 ssl; server_name Example.org *.wild.org;\n"
             " include not/there; root /srv/x;\n}\n"
             "server { server_name second.org; }\n");
    bed_file(bed, "sites-available/broken", "server { server_name broken.org;\n");
    bed_file(bed, "sites-available/x~", "server { server_name backup.org; }\n");
    bed_file(bed, "sites-available/x.dpkg-dist", "server { server_name backup.org; }\n");
    bed_file(bed, "sites-available/sub/y", "server { server_name deep.org; }\n");
    AUTO_FREE char *target = fs_join(bed->dir, "sites-available/on.conf");
    AUTO_FREE char *dir = fs_join(bed->dir, "sites-enabled");
    AUTO_FREE char *link = fs_join(dir, "10-on.conf");
    ok(fs_mkdirs(dir, 0755, &err));
    ok(fs_symlink(target, link, &err));
    bed_ready(bed);
}

static void test_disabled_sites(void **state)
{
    static const struct {
        const char *pattern, *link;
    } table[] = {{"*", "sites-enabled/"}, {"*.conf", "sites-enabled/x.conf"}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct sites sites = SITES_INIT, waiting = SITES_INIT;
        waiting_bed(&bed, table[i].pattern);
        ok(web_read(&bed.web, &sites, &err));
        assert_true(sites.n == 1 && sites.v[0].enabled);
        ok(web_read_disabled(&bed.web, &sites, &waiting, &err));
        assert_int_equal(waiting.n, 2);
        const struct site *site = &waiting.v[0];
        AUTO_FREE char *file = fs_join(bed.dir, "sites-available/x");
        AUTO_FREE char *names = strlist_join(&site->names, " ");
        AUTO_FREE char *command = web_enable_command(&bed.web, site);
        AUTO_FREE char *expected = mem_fmt("ln -s %s %s/%s", file, bed.dir, table[i].link);
        assert_false(site->enabled);
        assert_int_equal(site->line, 2);
        assert_string_equal(site->file, file);
        assert_string_equal(names, "example.org *.wild.org");
        assert_string_equal(site->root, "/srv/x");
        assert_true(site_listens_at(site, "*", 443));
        assert_string_equal(waiting.v[1].names.v[0], "second.org");
        assert_string_equal(command, expected);
        AUTO_FREE char *none = web_enable_command(&bed.web, &sites.v[0]);
        assert_string_equal(none, "");
        sites_clear(&waiting);
        sites_clear(&sites);
    }
}

static void test_no_second_site_for_a_waiting_name(void **state)
{
    static const struct {
        const char *name;
        bool waits;
    } table[] = {{"example.org", true}, {"a.wild.org", true}, {"*.wild.org", true}, {"new.org", false}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct err why = ERR_INIT;
        struct sites sites = SITES_INIT;
        waiting_bed(&bed, "*");
        add_names(&bed, table[i].name);
        struct web_https https = {.names = &bed.names, .live_dir = bed.live, .cert_name = "cert"};
        struct txn *txn = begin(&bed);
        ok(web_read(&bed.web, &sites, &err));
        assert_int_equal(web_edit_https(&bed.web, &sites, &https, txn, &why), !table[i].waits);
        if (table[i].waits) {
            assert_int_equal(txn_count(txn), 0);
            assert_int_equal(why.code, ERR_WEBSERVER);
            assert_non_null(strstr(why.text, "sites-available/x (line 2), which is not enabled"));
            assert_non_null(strstr(why.advice, "ln -s "));
        }
        txn_free(txn);
        sites_clear(&sites);
    }
}

/* ---- profiles and HSTS ---- */

struct wish {
    enum web_tls_profile profile;
    long hsts_s;
    bool redirect;
};

/* What was said while it was staged. The caller frees. */
static char *said_while(struct bed *bed, struct wish wish, struct err *err, bool *done)
{
    AUTO_FREE char *path = fs_join(bed->dir, "said");
    struct sites sites = SITES_INIT;
    struct web_https https = {.names = &bed->names,
                              .live_dir = bed->live,
                              .cert_name = bed->names.v[0],
                              .profile = wish.profile,
                              .hsts_s = wish.hsts_s,
                              .redirect = wish.redirect};
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), saved = dup(2);
    struct txn *txn = begin(bed);
    log_set_level(LOG_LEVEL_WARN);
    dup2(fd, 2);
    *done = web_read(&bed->web, &sites, err) &&
            web_edit_challenge(&bed->web, &sites, &bed->names, THUMBPRINT, txn, err) &&
            web_edit_https(&bed->web, &sites, &https, txn, err) && txn_apply(txn, err) &&
            txn_commit(txn, err);
    dup2(saved, 2);
    log_set_level(LOG_LEVEL_ERROR);
    close(saved);
    close(fd);
    txn_free(txn);
    sites_clear(&sites);
    return read_back(bed, "said");
}

static char *wished(struct bed *bed, struct wish wish, char **said)
{
    struct err err = ERR_INIT;
    bool done;
    char *words = said_while(bed, wish, &err, &done);
    if (!done) {
        fail_msg("%s", err.text);
    }
    warnings(bed);
    if (said != NULL) {
        *said = words;
    } else {
        free(words);
    }
    return read_back(bed, "nginx.conf");
}

static size_t times(const char *text, const char *word)
{
    size_t n = 0;
    for (; (text = strstr(text, word)) != NULL; text += strlen(word)) {
        n++;
    }
    return n;
}

static const char *nth_line(const char *text, size_t n)
{
    for (; n > 1 && *text != '\0'; n--) {
        text = strchr(text, '\n') + 1;
    }
    return text;
}

#define INTERMEDIATE "ssl_protocols TLSv1.2 TLSv1.3;"
#define MODERN "ssl_protocols TLSv1.3;"
#define OLD "ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3;"

static void test_profile_of_a_new_443(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    AUTO_FREE char *first = wished(&bed, (struct wish){0}, NULL);
    AUTO_FREE char *modern = wished(&bed, (struct wish){.profile = WEB_TLS_MODERN}, NULL);
    AUTO_FREE char *old = wished(&bed, (struct wish){.profile = WEB_TLS_OLD}, NULL);
    AUTO_FREE char *last = wished(&bed, (struct wish){0}, NULL);
    assert_int_equal(times(first, INTERMEDIATE), 1);
    assert_int_equal(times(modern, MODERN), 1);
    assert_int_equal(times(modern, "ssl_protocols"), 1);
    assert_int_equal(times(modern, "ssl_ciphers"), 0);
    assert_int_equal(times(old, OLD), 1);
    assert_non_null(strstr(old, "DES-CBC3-SHA;"));
    assert_non_null(strstr(old, "ssl_prefer_server_ciphers on;"));
    assert_int_equal(strstr(old, "@SECLEVEL=0") != NULL, bed.web.openssl_number >= 3000000);
    assert_int_equal(times(modern, "ssl_session_cache"), 1);
    assert_string_equal(first, last);
}

/* What people wrote stays with "intermediate"; the others replace it, whatever level it stands at. */
static void test_profile_over_what_is_there(void **state)
{
    static const char own[] =
        "    ssl_protocols TLSv1.2;\n    ssl_ciphers HIGH;\n    ssl_prefer_server_ciphers on;\n"
        "    server {\n        listen 80;\n        listen 443 ssl;\n        server_name example.org;\n"
        "        ssl_certificate old.pem; ssl_certificate_key old.key;\n"
        "        ssl_protocols TLSv1.1 TLSv1.2; # mine\n        ssl_ciphers 'HIGH:!aNULL';\n"
        "        root html; ssl_prefer_server_ciphers on;\n    }\n";
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, own);
    add_names(&bed, "example.org");
    AUTO_FREE char *left = wished(&bed, (struct wish){0}, NULL);
    assert_non_null(strstr(left, "ssl_protocols TLSv1.1 TLSv1.2; # mine\n"));
    assert_int_equal(times(left, "ssl_protocols"), 2);
    AUTO_FREE char *modern = wished(&bed, (struct wish){.profile = WEB_TLS_MODERN}, NULL);
    assert_null(strstr(modern, "# mine"));
    assert_int_equal(times(modern, "ssl_protocols"), 2);
    assert_non_null(strstr(modern, "    ssl_protocols TLSv1.2;\n")); /* the http level is for the others */
    assert_non_null(strstr(modern, "'HIGH:!aNULL'"));                /* TLS 1.3 does not look at it */
    assert_non_null(strstr(modern, "        root html; \n"));
    AUTO_FREE char *old = wished(&bed, (struct wish){.profile = WEB_TLS_OLD}, NULL);
    assert_null(strstr(old, "'HIGH:!aNULL'"));
    assert_int_equal(times(old, "ssl_ciphers"), 2);
    AUTO_FREE char *back = wished(&bed, (struct wish){0}, NULL);
    assert_int_equal(times(strstr(back, "tlsup begin cert:"), "ssl_protocols"),
                     0); /* the http level counts again */
}

static void test_profile_in_a_shared_file(void **state)
{
    AUTO_BED bed;
    struct err err = ERR_INIT;
    bool done;
    (void)state;
    bed_open(&bed);
    bed_file(&bed, "nginx.conf",
             HTTP
             "    server {\n        listen 443 ssl; # managed by Certbot\n        server_name example.org;\n"
             "        ssl_certificate old.pem; # managed by Certbot\n        ssl_certificate_key old.key; # "
             "managed by "
             "Certbot\n        include options-ssl-nginx.conf; # managed by Certbot\n    }\n}\n");
    bed_file(&bed, "options-ssl-nginx.conf",
             "ssl_session_cache shared:le_nginx_SSL:10m;\nssl_protocols TLSv1.2 TLSv1.3;\n"
             "ssl_prefer_server_ciphers off;\n");
    bed_ready(&bed);
    add_names(&bed, "example.org");
    free(said_while(&bed, (struct wish){.profile = WEB_TLS_MODERN}, &err, &done));
    assert_false(done);
    assert_int_equal(err.next, NEXT_FIX_CONFIG);
    assert_non_null(strstr(err.text, "options-ssl-nginx.conf (line 2)"));
    AUTO_FREE char *text = wished(&bed, (struct wish){.hsts_s = 5}, NULL);
    assert_null(strstr(text, "old.pem"));
    assert_non_null(strstr(text, "include options-ssl-nginx.conf; # managed by Certbot\n"));
    assert_null(strstr(text, "ssl_protocols"));
    AUTO_FREE char *options = read_back(&bed, "options-ssl-nginx.conf");
    assert_string_equal(options, bed.texts.v[1]);
}

/* Before nginx 1.29.2 the default server of the socket decides. */
static void test_whose_protocols_count(void **state)
{
    static const struct {
        int version;
        const char *other;
        enum web_tls_profile profile;
        bool warns;
    } table[] = {
        {1022001, "", WEB_TLS_MODERN, true},
        {1022001, "", WEB_TLS_INTERMEDIATE, true},
        {1022001, "ssl_protocols TLSv1.3;", WEB_TLS_MODERN, false},
        {1028000, "", WEB_TLS_INTERMEDIATE, false},
        {1029002, "", WEB_TLS_MODERN, false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        char *said = NULL;
        AUTO_FREE char *body =
            mem_fmt("    server {\n        listen 443 ssl default_server; server_name other;\n        "
                    "ssl_certificate old.pem; ssl_certificate_key old.key; %s\n    }\n" SITE,
                    table[i].other);
        bed_http(&bed, body);
        bed.web.version_number = table[i].version;
        bed.web.has_http2 = false;
        add_names(&bed, "example.org");
        free(wished(&bed, (struct wish){.profile = table[i].profile}, &said));
        assert_int_equal(strstr(said, "nginx.conf:4 is the default server of *:443") != NULL, table[i].warns);
        free(said);
    }
}

/* Who comes first is the default server, where none is flagged: said, since it is a change for others. */
static void test_new_default_server(void **state)
{
    static const struct {
        const char *listen, *stays; /* stays NULL: it cannot be said there, and a person must know */
    } table[] = {{"listen 443 ssl;", "listen 443 ssl default_server;"},
                 {"listen 443 ssl default_server;", "listen 443 ssl default_server;"},
                 {"include listen.inc;", NULL}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        char *said = NULL;
        AUTO_FREE char *body = mem_fmt(
            "    ssl_certificate old.pem; ssl_certificate_key old.key; ssl_protocols TLSv1.2 TLSv1.3;\n" SITE
            "    server {\n        %s server_name other;\n    }\n    server {\n        include "
            "listen.inc; server_name third;\n    }\n",
            table[i].listen);
        bed_http(&bed, body);
        put(bed.dir, "listen.inc", "listen 443 ssl;\n", 16);
        add_names(&bed, "example.org");
        AUTO_FREE char *text = wished(&bed, (struct wish){0}, &said);
        assert_int_equal(strstr(said, "from now on for names that no server has") != NULL,
                         table[i].stays == NULL);
        assert_int_equal(times(said, "\n"), table[i].stays == NULL);
        assert_int_equal(times(text, "default_server"), table[i].stays != NULL);
        if (table[i].stays != NULL) {
            assert_non_null(strstr(strstr(text, "tlsup end cert:"), table[i].stays));
        } else {
            assert_non_null(strstr(said, "nginx.conf:5 comes before"));
            AUTO_FREE char *where = mem_fmt("%s:10, so that", bed.web.conf); /* as it is on the disk now */
            assert_non_null(strstr(said, where));
        }
        free(said);
    }
}

/* Others keep the lines of a snippet; servers that would not serve our certificate are refused. */
static void test_what_would_not_be_served(void **state)
{
    static const struct {
        const char *lines, *word; /* word NULL: it is done */
    } table[] = {
        {"ssl_certificate_by_lua_block { x = { } }", "Lua code (ssl_certificate_by_lua_block)"},
        {"ssl_certificate_by_lua_file /x.lua;", "Lua code"},
        {"ssl_reject_handshake on;", "refuses every TLS connection"},
        {"ssl_reject_handshake off;", NULL},
        {"ssl_certificate /etc/$ssl_server_name.pem; ssl_certificate_key k;", "by a variable"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct err why = ERR_INIT;
        AUTO_FREE char *body =
            mem_fmt("    server {\n        listen 443 ssl; server_name example.org b.org;\n        "
                    "%s\n    }\n",
                    table[i].lines);
        bed_http(&bed, body);
        add_names(&bed, "example.org");
        struct txn *txn = begin(&bed);
        struct web_https https = {.names = &bed.names, .live_dir = bed.live, .cert_name = "example.org"};
        assert_int_equal(web_edit_https(&bed.web, NULL, &https, txn, &why), table[i].word == NULL);
        if (table[i].word != NULL && (strstr(why.text, table[i].word) == NULL || why.advice[0] == '\0')) {
            fail_msg("%s: %s", table[i].lines, why.text);
        }
        txn_free(txn);
    }
}

/* Another client's location: ours comes first where it can, else a person must decide. */
static void test_location_of_another_client(void **state)
{
    AUTO_BED bed;
    struct err why = ERR_INIT;
    bool done;
    (void)state;
    bed_http(
        &bed,
        "    server_rewrite_by_lua_block { return }\n    server {\n        listen 80;\n        server_name "
        "example.org;\n        location ^~ /.well-known/acme-challenge/ { root html; }\n "
        "server_rewrite_by_lua_file /x.lua;\n    }\n");
    add_names(&bed, "example.org");
    AUTO_FREE char *said = said_while(&bed, (struct wish){0}, &why, &done);
    assert_true(done);
    assert_non_null(strstr(said, "nginx.conf:4: this Lua code runs before"));
    assert_int_equal(times(said, "this Lua code runs before"), 2);
    rewrite(&bed, "nginx.conf", bed.texts.v[0]);
    bed.web.has_rewrite = false;
    free(said_while(&bed, (struct wish){0}, &why, &done));
    assert_false(done);
    assert_non_null(strstr(why.text, "nginx.conf:8 answers challenges for another ACME client"));
}

static void serve(struct bed *bed)
{
    if (!can_serve) {
        skip();
    }
    bed->web.master_pid = start_nginx(bed);
}

static void test_modern_is_spoken(void **state)
{
    AUTO_BED bed;
    struct answer answer;
    (void)state;
    bed_http(&bed, "    ssl_protocols TLSv1.2;\n" SITE);
    add_names(&bed, "example.org");
    serve(&bed);
    free(wished(&bed, (struct wish){.profile = WEB_TLS_MODERN}, NULL));
    reload_nginx(&bed);
    assert_true(fetch("127.0.0.1", 443, "example.org", "/", &answer));
    assert_int_equal(answer.status, 200);
    most_tls = CURL_SSLVERSION_MAX_TLSv1_2;
    assert_false(fetch("127.0.0.1", 443, "example.org", "/", &answer));
    free(wished(&bed, (struct wish){.profile = WEB_TLS_OLD}, NULL));
    reload_nginx(&bed);
    most_tls = CURL_SSLVERSION_MAX_TLSv1_2;
    assert_true(fetch("127.0.0.1", 443, "example.org", "/", &answer));
    most_tls = 0;
    stop_nginx();
}

static int end_tls(void **state)
{
    most_tls = 0;
    return end_nginx(state);
}

static bool has_field(const struct answer *answer, const char *field)
{
    return strcasestr(answer->headers, field) != NULL;
}

#define FIELD "strict-transport-security: max-age=300\r\n"

/* On https whatever the status, never on http; and what the http level sends stays. */
static void test_hsts_is_sent(void **state)
{
    static const struct {
        const char *path;
        long status;
    } table[] = {{"/", 200}, {"/none", 404}, {"/gone", 410}, {"/error", 403}, {"/try", 200}};
    AUTO_BED bed;
    struct answer answer;
    (void)state;
    bed_http(&bed, "    add_header X-Http \"a;b\" always;\n    add_header\n  X-Second # why\n 'two' always;\n"
                   "    server {\n        listen 80;\n        server_name example.org;\n        root html;\n"
                   "        location = /gone { return 410; }\n        location = /error { deny all; }\n"
                   "        location = /try { try_files /nothing /index.html; }\n"
                   "        location = /own { add_header X-Own 1; return 204; }\n    }\n");
    add_names(&bed, "example.org");
    serve(&bed);
    char *said = NULL;
    AUTO_FREE char *text = wished(&bed, (struct wish){.hsts_s = 300}, &said);
    assert_int_equal(times(said, "has add_header lines of its own"), 1);
    const char *line = strstr(said, "nginx.conf:");
    assert_non_null(line);
    assert_true(starts(nth_line(text, (size_t)atoi(line + 11)), "        location = /own {"));
    assert_int_equal(times(said, "\n"), 1);
    free(said);
    AUTO_FREE char *again = wished(&bed, (struct wish){.hsts_s = 300}, NULL);
    assert_string_equal(again, text);
    reload_nginx(&bed);
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        for (int port = 80; port <= 443; port += 363) {
            assert_true(fetch("127.0.0.1", port, "example.org", table[i].path, &answer));
            assert_int_equal(answer.status, table[i].status);
            assert_true(has_field(&answer, "x-http: a;b") && has_field(&answer, "x-second: two"));
            assert_int_equal(has_field(&answer, FIELD), port == 443);
            assert_int_equal(has_field(&answer, "strict-transport"), port == 443);
        }
    }
    assert_true(fetch("127.0.0.1", 443, "example.org", "/own", &answer));
    assert_false(has_field(&answer, "strict-transport"));
    AUTO_FREE char *off = wished(&bed, (struct wish){0}, NULL);
    assert_null(strstr(off, "Strict-Transport"));
    assert_int_equal(times(off, "X-Second"), 1);
    free(wished(&bed, (struct wish){.hsts_s = 300, .redirect = true}, NULL));
    reload_nginx(&bed);
    assert_true(fetch("127.0.0.1", 80, "example.org", "/", &answer));
    assert_int_equal(answer.status, 301);
    assert_false(has_field(&answer, "strict-transport"));
    assert_true(fetch("127.0.0.1", 443, "example.org", "/", &answer));
    assert_true(has_field(&answer, FIELD));
    stop_nginx();
}

static void test_hsts_where_it_is_sent_already(void **state)
{
    static const struct {
        const char *http, *server;
        bool ours, repeated;
    } table[] = {
        {"", "", true, false},
        {"add_header X-Up 1;", "", true, true},
        {"add_header X-Up 1;", "add_header X-Own 1;", true, false},
        {"add_header X-Up 1;", "add_header strict-transport-security max-age=1 always;", false, false},
        {"add_header Strict-Transport-Security max-age=1;", "", false, false},
        {"add_header Strict-Transport-Security max-age=1;", "add_header X-Own 1;", true, false},
        {"", "include headers.inc;", false, false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        AUTO_FREE char *body =
            mem_fmt("    %s\n    server {\n        listen 80;\n        server_name example.org;\n"
                    "        %s\n    }\n",
                    table[i].http, table[i].server);
        bed_http(&bed, body);
        rewrite(&bed, "headers.inc", "add_header Strict-Transport-Security \"max-age=7; preload\" always;\n");
        add_names(&bed, "example.org");
        AUTO_FREE char *text = wished(&bed, (struct wish){.hsts_s = 300}, NULL);
        const char *block = strstr(text, "tlsup begin cert:");
        assert_non_null(block);
        *strstr(block, "tlsup end cert:") = '\0';
        assert_int_equal(strstr(block, "max-age=300") != NULL, table[i].ours);
        assert_int_equal(strstr(block, "X-Up") != NULL, table[i].repeated);
    }
}

/* A server that speaks TLS alone needs no question of the scheme. */
static void test_hsts_of_a_twin(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed,
             "    server { listen 80; server_name example.org; return 301 https://$host$request_uri; }\n"
             "    server { listen 443 ssl; server_name example.org; ssl_certificate old.pem;\n"
             "        ssl_certificate_key old.key; root html; }\n");
    add_names(&bed, "example.org");
    AUTO_FREE char *text = wished(&bed, (struct wish){.hsts_s = 300, .redirect = true}, NULL);
    assert_non_null(strstr(text, "add_header Strict-Transport-Security \"max-age=300\" always;"));
    assert_null(strstr(text, "tlsup_hsts"));
}

static void test_file_of_a_configuration_manager(void **state)
{
    AUTO_BED bed;
    char *said = NULL;
    (void)state;
    bed_open(&bed);
    bed_file(&bed, "nginx.conf", "# Ansible managed\n" HTTP SITE "}\n");
    bed_ready(&bed);
    add_names(&bed, "example.org");
    free(wished(&bed, (struct wish){0}, &said));
    assert_int_equal(times(said, "nginx.conf says that Ansible writes it"),
                     web_file_manager(bed.texts.v[0], strlen(bed.texts.v[0])) != NULL);
    free(said);
}

/* ---- marks and names ---- */

/* A person took the empty line between our two blocks out. */
static void test_blocks_without_a_line_between(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed, SITE);
    add_names(&bed, "example.org");
    AUTO_FREE char *text = wished(&bed, (struct wish){0}, NULL);
    char *gap = strstr(text, "# tlsup end challenge\n\n");
    assert_non_null(gap);
    gap += strlen("# tlsup end challenge\n");
    memmove(gap, gap + 1, strlen(gap));
    rewrite(&bed, "nginx.conf", text);
    AUTO_FREE char *modern = wished(&bed, (struct wish){.profile = WEB_TLS_MODERN}, NULL);
    assert_non_null(strstr(modern, MODERN));
    assert_int_equal(times(modern, "# tlsup begin"), 2);
}

/* nginx takes a name for the first who says it, and drops a later ".x" whole. */
static void test_conflicting_names(void **state)
{
    static const struct {
        const char *servers, *name, *root;
    } table[] = {
        {"server{server_name x;root r0;} server{server_name t;root r1;} server{server_name .t;root r2;}",
         "w.t", "r0"},
        {"server{server_name *.t;root r0;} server{server_name *.o;root r1;} server{server_name .o;root r2;}",
         "o", "r0"},
        {"server{server_name x;root r0;} server{server_name .t;root r1;} server{server_name t *.t;root r2;}",
         "t", "r1"},
        {"server{server_name x;root r0;} server{server_name .t;root r1;} server{server_name t *.t;root r2;}",
         "w.t", "r1"},
        {"server{server_name a.*;root r0;} server{server_name a.b.*;root r1;}", "a.b.c", "r1"},
        {"server{server_name *.c;root r0;} server{server_name ~^a;root r1;} server{server_name a.*;root r2;}",
         "a.d", "r2"},
        {"server{listen 80;listen 81;server_name x;root r0;} server{listen 80;server_name t;root r1;}"
         "server{listen 81;listen 80;server_name .t;root r2;}",
         "w.t", "r0"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct sites sites = SITES_INIT;
        bed_http(&bed, table[i].servers);
        ok(web_read(&bed.web, &sites, &err));
        const struct site *site = nginx_driver.owner_at(&sites, table[i].name, "*", 80, false);
        AUTO_FREE char *root = fs_join(bed.dir, table[i].root);
        assert_string_equal(site->root, root);
        sites_clear(&sites);
    }
}

/* A server that takes "*.s3" on 443, with a certificate for less, does not keep the site of one such name
 * from https. */
static void test_exact_name_beside_a_wildcard(void **state)
{
    AUTO_BED bed;
    (void)state;
    bed_http(&bed,
             "    server { listen 80; listen [::]:80; server_name example.org *.example.org; root a; }\n"
             "    server { listen 80; server_name c.example.org; root b; }\n");
    add_names(&bed, "example.org");
    free(wished(&bed, (struct wish){0}, NULL));
    strlist_clear(&bed.names);
    add_names(&bed, "c.example.org");
    for (int round = 0; round < 2; round++) {
        AUTO_FREE char *text = wished(&bed, (struct wish){0}, NULL);
        assert_int_equal(times(text, "tlsup begin cert:example.org"), 1);
        assert_non_null(strstr(strstr(text, "tlsup end cert:example.org"), "tlsup begin cert:c.example.org"));
        assert_int_equal(times(text, "listen 443 ssl"), 2);
        assert_int_equal(times(text, "listen [::]:443 ssl"), 2); /* else the other one would answer there */
    }
}

/* A regex that we cannot read is no reason to guess; a name that is said plainly comes before it. */
static void test_regex_that_is_unclear(void **state)
{
    AUTO_BED bed;
    struct err why = ERR_INIT;
    bool done;
    (void)state;
    bed_http(&bed, "    server { listen 80; root a; }\n    server { listen 80; server_name "
                   "~^(?!www)[a-z]+\\.org$; root b; "
                   "}\n    server { listen 80; server_name plain.org; root c; }\n");
    add_names(&bed, "b.org");
    free(said_while(&bed, (struct wish){0}, &why, &done));
    assert_false(done);
    assert_non_null(strstr(why.text, "nginx.conf:5: whether this server has the name b.org"));
    struct txn *txn = begin(&bed);
    AUTO_BUF text = BUF_INIT;
    ok(web_edit_challenge(&bed.web, NULL, &bed.names, THUMBPRINT, txn, &err));
    ok(txn_read(txn, bed.web.conf, 0, &text, &err));
    assert_int_equal(times(buf_str(&text), "tlsup begin challenge"), 2);
    txn_free(txn);
    strlist_clear(&bed.names);
    add_names(&bed, "plain.org");
    AUTO_FREE char *plain = wished(&bed, (struct wish){0}, NULL);
    assert_non_null(strstr(plain, "cert:plain.org"));
}

/* A regular server_name fills $1, and an `if` on another regular expression would empty it for all visitors.
 */
static void test_captures_of_a_name(void **state)
{
    AUTO_BED bed;
    struct answer answer;
    (void)state;
    bed_http(&bed,
             "    server {\n        listen 80; server_name plain.blog.example ~^(.*)\\.(blog)\\.example$;\n"
             "        add_header X-Who \"[$1] of [$2]\";\n        root html;\n    }\n"
             "    server { listen 80; server_name ~^www\\.(.*)$; return 301 $scheme://$1$request_uri; }\n"
             "    server { listen 80; server_name ~^(?<u>.*)\\.named\\.example$; root html; }\n");
    add_names(&bed, "joe.blog.example www.dev.example ann.named.example");
    serve(&bed);
    AUTO_FREE char *text = wished(&bed, (struct wish){0}, NULL);
    assert_int_equal(times(text, "set $tlsup_captures"), 2); /* not where nobody uses them */
    reload_nginx(&bed);
    assert_true(fetch("127.0.0.1", 80, "joe.blog.example", "/", &answer));
    assert_non_null(strstr(answer.headers, "X-Who: [joe] of [blog]"));
    assert_true(fetch("127.0.0.1", 80, "plain.blog.example", "/", &answer));
    assert_non_null(strstr(answer.headers, "X-Who: [] of []"));
    assert_true(fetch("127.0.0.1", 80, "www.dev.example", "/x", &answer));
    assert_string_equal(answer.location, "http://dev.example/x");
    for (size_t i = 0; i < bed.names.n; i++) {
        assert_true(fetch("127.0.0.1", 80, bed.names.v[i], "/.well-known/acme-challenge/" TOKEN, &answer));
        assert_string_equal(answer.body, TOKEN "." THUMBPRINT);
    }
    stop_nginx();
}

/* A certificate without the address of a responder: nginx would warn at each reload. */
static void test_stapling_ends_with_the_responder(void **state)
{
    static const struct {
        const char *http, *server; /* behind SITE's */
        bool responder;
        size_t off, on, warnings;
    } table[] = {
        {"ssl_stapling on;", "", false, 1, 1, 0},
        {"ssl_stapling on;", "", true, 0, 1, 0},
        {"", "ssl_stapling on;", false, 0, 0, 0},
        {"", "ssl_stapling on;", true, 0, 1, 0},
        {"ssl_stapling on;", "ssl_stapling on;", false, 1, 1, 0},
        {"ssl_stapling on;", "ssl_stapling off;", false, 1, 1, 0},
        {"", "include staple.inc;", false, 0, 0, 1}, /* others may use it */
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        char *said = NULL;
        AUTO_FREE char *body =
            mem_fmt("    %s\n    server {\n        listen 443 ssl; server_name example.org;\n        "
                    "ssl_certificate old.pem; ssl_certificate_key old.key;\n        %s\n    }\n",
                    table[i].http, table[i].server);
        bed_http(&bed, body);
        put(bed.dir, "staple.inc", "ssl_stapling on;\n", 17);
        if (table[i].responder) {
            AUTO_FREE char *pem = fs_join(bed.live, "fullchain.pem");
            AUTO_FREE char *key = fs_join(bed.live, "privkey.pem");
            const char *argv[] = {
                "openssl", "req",   "-x509",   "-new",
                "-key",    key,     "-out",    pem,
                "-subj",   "/CN=x", "-addext", "authorityInfoAccess=OCSP;URI:http://ocsp.example.org/",
                NULL};
            assert_true(run_quietly(argv));
        }
        add_names(&bed, "example.org");
        AUTO_FREE char *text = wished(&bed, (struct wish){0}, &said);
        assert_int_equal(times(text, "ssl_stapling off;"), table[i].off);
        assert_int_equal(times(text, "ssl_stapling on;"), table[i].on);
        assert_int_equal(times(said, "staple.inc:1 turns on OCSP stapling"), table[i].warnings);
        AUTO_FREE char *again = wished(&bed, (struct wish){0}, NULL);
        assert_string_equal(again, text);
        free(said);
    }
}

/* https that works for a name is not taken from it. */
static void test_https_that_others_serve(void **state)
{
    AUTO_BED bed;
    struct err why = ERR_INIT;
    bool done;
    (void)state;
    make_certificate("wild", "wild-leaf", "DNS:*.example.org", false);
    bed_http(&bed, "    server { listen 443 ssl; server_name *.example.org; ssl_certificate wild.pem; "
                   "ssl_certificate_key wild.key; }\n    server { listen 80; server_name www.example.org "
                   "example.org; root html; }\n");
    copy_file("wild.pem", bed.dir, "wild.pem");
    copy_file("wild.key", bed.dir, "wild.key");
    add_names(&bed, "example.org");
    free(said_while(&bed, (struct wish){0}, &why, &done));
    assert_false(done);
    assert_non_null(strstr(why.text, "this server has the name www.example.org too"));
    assert_non_null(strstr(why.advice, "add www.example.org to the command"));
    add_names(&bed, "www.example.org");
    char *said = NULL;
    AUTO_FREE char *text = wished(&bed, (struct wish){0}, &said);
    assert_non_null(strstr(text, "ssl_certificate wild.pem")); /* its other names keep it */
    assert_non_null(strstr(strstr(text, "server_name *.example.org"), "tlsup begin cert:example.org"));
    assert_non_null(strstr(said, "answered https://www.example.org until now"));
    free(said);
}

/* The key before or behind the certificate in its file. */
static void test_certificate_and_key_in_one_file(void **state)
{
    static const char *const order[][2] = {{"keep.pem", "keep.key"}, {"keep.key", "keep.pem"}};
    (void)state;
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        AUTO_BED bed;
        AUTO_BUF both = BUF_INIT;
        struct err why = ERR_INIT;
        bool done;
        bed_http(&bed, "    server { listen 443 ssl; server_name example.org keep.example.org; "
                       "ssl_certificate both.pem; ssl_certificate_key both.pem; }\n");
        for (size_t k = 0; k < 2; k++) {
            AUTO_FREE char *path = fs_join(base_dir, order[i][k]);
            AUTO_BUF part = BUF_INIT;
            ok(fs_read(path, 1 << 20, &part, &err));
            buf_add(&both, buf_str(&part), part.len);
        }
        put(bed.dir, "both.pem", buf_str(&both), both.len);
        add_names(&bed, "example.org");
        free(said_while(&bed, (struct wish){0}, &why, &done));
        assert_false(done);
        assert_non_null(strstr(why.advice, "keep.example.org"));
    }
}

/* Who answers there already is told, or that nobody does. */
static void test_redirect_to_a_nameless_server(void **state)
{
    static const struct {
        const char *there, *text, *advice;
    } table[] = {
        {"ssl_certificate old.pem;", "nginx.conf:5 answers", "\"server_name example.org;\" in the block at"},
        {"ssl_certificate old.pem; server_name _;", "nginx.conf:5 answers", "nginx.conf:5"},
        {"ssl_certificate old.pem; server_name other.org;", "no server answers there",
         "tlsup issue example.org"},
        {"ssl_certificate old.pem; return 444;", "no server answers there", "tlsup issue example.org"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        AUTO_BED bed;
        struct err why = ERR_INIT;
        bool done;
        AUTO_FREE char *body = mem_fmt("    server { listen 80; server_name example.org; return 301 "
                                       "https://$host$request_uri; }\n    server { listen 443 ssl; "
                                       "ssl_certificate_key old.key; %s }\n",
                                       table[i].there);
        bed_http(&bed, body);
        add_names(&bed, "example.org");
        free(said_while(&bed, (struct wish){0}, &why, &done));
        assert_false(done);
        assert_non_null(strstr(why.text, table[i].text));
        assert_non_null(strstr(why.advice, table[i].advice));
    }
}

static void test_what_nginx_does_not_read(void **state)
{
    char word[4200] = "", *bodies[5];
    (void)state;
    memset(word, 'w', 4096);
    bodies[0] = mem_fmt("    server { root %.4096s; }\n", word);
    bodies[1] = mem_fmt("    server { root \"%.4095s\"; }\n", word);
    bodies[2] = mem_fmt("    # %.4096s\n", word);
    bodies[3] = mem_dup("    map $host $b { x { } }\n");
    bodies[4] = mem_dup("    types { a { b c; } }\n");
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        AUTO_BED bed;
        struct sites sites = SITES_INIT;
        struct err err = ERR_INIT;
        bed_http(&bed, bodies[i]);
        assert_false(web_read(&bed.web, &sites, &err));
        assert_non_null(strstr(err.text, "nginx.conf:4"));
        assert_false(web_test(&bed.web, &(struct err)ERR_INIT));
        free(bodies[i]);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_view),
        cmocka_unit_test(test_more_than_a_pipe_holds),
        cmocka_unit_test(test_another_view),
        cmocka_unit_test(test_one_file_more),
        cmocka_unit_test(test_a_broken_one),
        cmocka_unit_test(test_a_binary_geo_table),
        cmocka_unit_test(test_what_a_person_types),
        cmocka_unit_test(test_change_in_between),
        cmocka_unit_test(test_disabled_sites),
        cmocka_unit_test(test_no_second_site_for_a_waiting_name),
        cmocka_unit_test(test_profile_of_a_new_443),
        cmocka_unit_test(test_profile_over_what_is_there),
        cmocka_unit_test(test_profile_in_a_shared_file),
        cmocka_unit_test(test_whose_protocols_count),
        cmocka_unit_test(test_new_default_server),
        cmocka_unit_test(test_what_would_not_be_served),
        cmocka_unit_test(test_location_of_another_client),
        cmocka_unit_test_teardown(test_modern_is_spoken, end_tls),
        cmocka_unit_test_teardown(test_hsts_is_sent, end_tls),
        cmocka_unit_test(test_hsts_where_it_is_sent_already),
        cmocka_unit_test(test_hsts_of_a_twin),
        cmocka_unit_test(test_file_of_a_configuration_manager),
        cmocka_unit_test(test_blocks_without_a_line_between),
        cmocka_unit_test(test_conflicting_names),
        cmocka_unit_test(test_exact_name_beside_a_wildcard),
        cmocka_unit_test(test_regex_that_is_unclear),
        cmocka_unit_test(test_what_nginx_does_not_read),
        cmocka_unit_test_teardown(test_captures_of_a_name, end_nginx),
        cmocka_unit_test(test_stapling_ends_with_the_responder),
        cmocka_unit_test(test_https_that_others_serve),
        cmocka_unit_test(test_certificate_and_key_in_one_file),
        cmocka_unit_test(test_redirect_to_a_nameless_server),
    };
    if (!find_program() || !spawn_find("openssl")) {
        printf("1..0 # SKIP nginx or openssl is not installed\n");
        return 77;
    }
    log_set_level(LOG_LEVEL_ERROR);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (argc > 1) {
        cmocka_set_test_filter(argv[1]);
    }
    int failed = cmocka_run_group_tests_name("nginx_view", tests, set_up, tear_down);
    curl_global_cleanup();
    return failed;
}
