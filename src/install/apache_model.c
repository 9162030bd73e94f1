/*
 * apache_model.c - virtual hosts, names and addresses by Apache's own rules (see apache_model.h).
 */
#include "apache_model.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tlsup/fs.h"
#include "tlsup/mem.h"
#include "tlsup/spawn.h"

/* -- small things -- */

static void lower(char *text)
{
    for (; *text; text++)
        *text = (char)tolower((unsigned char)*text);
}

static bool all_digits(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

static int port_of(const char *text)
{
    long port = strtol(text, NULL, 10);
    return port < 0 || port > 65535 ? 0 : (int)port;
}

/* Numeric addresses in one form; the unspecified ones are the wildcard. */
static void canonical(const char *text, char out[64])
{
    unsigned char raw[16];
    char form[INET6_ADDRSTRLEN];
    AUTO_FREE char *inner = mem_dup(text);
    if (inner[0] == '[' && strchr(inner, ']')) {
        *strchr(inner, ']') = '\0';
        memmove(inner, inner + 1, strlen(inner));
    }
    if (strcasecmp(text, "_default_") == 0)
        snprintf(out, 64, "*");
    else if (inet_pton(AF_INET, inner, raw) == 1 && inet_ntop(AF_INET, raw, form, sizeof form))
        snprintf(out, 64, "%s", form);
    else if (inet_pton(AF_INET6, inner, raw) == 1 && inet_ntop(AF_INET6, raw, form, sizeof form))
        snprintf(out, 64, "[%s]", form);
    else
        snprintf(out, 64, "%s", text);
}

/* ADDR, ADDR:PORT, ADDR:*, [v6]:PORT */
static struct apache_address parse_address(const char *word)
{
    struct apache_address out = {.port = 0};
    AUTO_FREE char *text = mem_dup(word);
    char *colon = strrchr(text, ':');
    char *bracket = strrchr(text, ']');
    if (colon && (!bracket || colon > bracket)) {
        *colon = '\0';
        out.port = port_of(colon + 1);
    }
    lower(text);
    canonical(text, out.address);
    return out;
}

/* -- host names as addresses -- */

static const char *hosts_file(void)
{
    static struct buf text; /* read once */
    static bool tried;
    struct err ignored = ERR_INIT;
    if (!tried)
        (void)!fs_read("/etc/hosts", 1u << 20, &text, &ignored);
    tried = true;
    return buf_str(&text);
}

/* The server asks the resolver; we are not to use the network, so what /etc/hosts says must do. The name
 * itself where it says nothing. */
static void resolve(const char *name, struct strlist *out)
{
    AUTO_STRLIST lines = STRLIST_INIT;
    size_t before = out->n;
    strlist_split(&lines, hosts_file(), "\n");
    for (size_t i = 0; i < lines.n; i++) {
        AUTO_STRLIST words = STRLIST_INIT;
        char address[64];
        lines.v[i][strcspn(lines.v[i], "#")] = '\0';
        strlist_split(&words, lines.v[i], " \t\r");
        bool names_it = false;
        for (size_t k = 1; k < words.n && !names_it; k++)
            names_it = strcasecmp(words.v[k], name) == 0;
        if (!names_it)
            continue;
        canonical(words.v[0], address);
        if (!strlist_has(out, address))
            strlist_add(out, address);
    }
    if (out->n == before)
        strlist_add(out, strcmp(name, "localhost") == 0 ? "127.0.0.1" : name);
}

static bool is_host_name(const char *address)
{
    return address[0] != '[' && strcmp(address, "*") != 0 && strspn(address, "0123456789.") < strlen(address);
}

/* An address, or all those of a host name. The caller frees. */
static struct apache_address *resolved(const char *word, size_t *n)
{
    struct apache_address at = parse_address(word);
    AUTO_STRLIST addresses = STRLIST_INIT;
    if (is_host_name(at.address))
        resolve(at.address, &addresses);
    else
        strlist_add(&addresses, at.address);
    struct apache_address *list = mem_array(addresses.n, sizeof *list);
    for (*n = 0; *n < addresses.n; ++*n) {
        list[*n] = at;
        snprintf(list[*n].address, sizeof list[*n].address, "%s", addresses.v[*n]);
    }
    return list;
}

static bool is_wildcard(const char *address)
{
    return strcmp(address, "*") == 0 || strcmp(address, "0.0.0.0") == 0 || strcmp(address, "[::]") == 0;
}

/* -- the environment -- */

static const char *list_value(const struct strlist *list, const char *name, size_t len)
{
    for (size_t i = list->n; i-- > 0;) {
        if (strncmp(list->v[i], name, len) == 0 && list->v[i][len] == '=')
            return list->v[i] + len + 1;
    }
    return NULL;
}

/* One `$NAME`, `${NAME}` or `${NAME:-other}` at *at, which goes on behind it. */
static void expand_shell(const char **at, const struct strlist *known, struct buf *out)
{
    bool braces = (*at)[1] == '{';
    const char *name = *at + 1 + braces;
    size_t len = 0;
    while (isalnum((unsigned char)name[len]) || name[len] == '_')
        len++;
    const char *value = len ? list_value(known, name, len) : "$";
    const char *end = name + len;
    if (braces) {
        const char *close = strchr(end, '}');
        if ((!value || !*value) && strncmp(end, ":-", 2) == 0 && close)
            buf_add(out, end + 2, (size_t)(close - end) - 2);
        end = close ? close + 1 : end + strlen(end);
    }
    if (value)
        buf_adds(out, value);
    *at = end;
}

/* `[export ]NAME=value` lines of Debian's envvars; everything else in it is passed over. */
static void envvars_line(const char *line, struct strlist *out)
{
    line += strspn(line, " \t");
    if (strncmp(line, "export ", 7) == 0)
        line += 7 + strspn(line + 7, " \t");
    size_t len = 0;
    while (isalnum((unsigned char)line[len]) || line[len] == '_')
        len++;
    if (!len || line[len] != '=')
        return;
    AUTO_BUF value = BUF_INIT;
    buf_add(&value, line, len + 1);
    char quote = 0;
    for (const char *at = line + len + 1; *at && (quote || !strchr(" \t;#", *at));) {
        if (*at == '$' && quote != '\'') {
            expand_shell(&at, out, &value);
            continue;
        }
        if (*at == quote)
            quote = 0;
        else if (!quote && (*at == '"' || *at == '\''))
            quote = *at;
        else
            buf_addc(&value, *at);
        at++;
    }
    strlist_add(out, buf_str(&value));
}

static void read_envvars(const char *path, struct strlist *out)
{
    AUTO_BUF text = BUF_INIT;
    struct err ignored = ERR_INIT;
    if (!fs_exists(path) || !fs_read(path, 1u << 20, &text, &ignored))
        return;
    AUTO_STRLIST lines = STRLIST_INIT;
    strlist_split(&lines, buf_str(&text), "\n");
    for (size_t i = 0; i < lines.n; i++)
        envvars_line(lines.v[i], out);
}

/* The NUL-separated words of a file below /proc. */
static void read_proc(pid_t pid, const char *name, struct strlist *out)
{
    AUTO_FREE char *path = mem_fmt("/proc/%ld/%s", (long)pid, name);
    FILE *file = pid > 0 ? fopen(path, "re") : NULL;
    if (!file)
        return;
    char *word = NULL;
    size_t cap = 0;
    while (out->n < 4096 && getdelim(&word, &cap, '\0', file) > 0)
        strlist_add(out, word);
    free(word);
    fclose(file);
}

void apache_command_line(pid_t pid, struct strlist *out)
{
    read_proc(pid, "cmdline", out);
}

void apache_environment(const struct web *web, struct strlist *out)
{
    AUTO_FREE char *dir = fs_dirname(web->conf);
    AUTO_FREE char *path = fs_join(dir, "envvars");
    read_envvars(path, out);
    /* The running server's own environment is what a reload goes by. */
    AUTO_STRLIST running = STRLIST_INIT;
    read_proc(web->master_pid, "environ", &running);
    for (size_t i = 0; i < running.n; i++) {
        if (strncmp(running.v[i], "APACHE_", 7) == 0 || strncmp(running.v[i], "HTTPD_", 6) == 0)
            strlist_add(out, running.v[i]);
    }
}

/* -- reading -- */

/* Modules that are part of the program: `-l` lists their file names. */
static void list_static_modules(const char *bin, struct strlist *out)
{
    const char *argv[] = {bin, "-l", NULL};
    struct spawn_result result = {0};
    struct err ignored = ERR_INIT;
    if (spawn_run(argv, NULL, &result, &ignored))
        strlist_split(out, buf_str(&result.output), " \t\r\n");
    spawn_result_clear(&result);
}

static void static_modules(const struct web *web, struct apache_tree *tree)
{
    /* A program does not change while we run, and every edit reads the configuration anew. */
    static char known[sizeof web->bin];
    static struct strlist words;
    if (strcmp(known, web->bin) != 0) {
        strlist_clear(&words);
        list_static_modules(web->bin, &words);
        snprintf(known, sizeof known, "%s", web->bin);
    }
    for (size_t i = 0; i < words.n; i++) {
        size_t len = strlen(words.v[i]);
        if (len > 2 && strcmp(words.v[i] + len - 2, ".c") == 0)
            apache_tree_module(tree, words.v[i]);
    }
    static const char *const always[] = {"core.c", "http_core.c", "mod_so.c"};
    for (size_t i = 0; i < COUNT_OF(always); i++)
        apache_tree_module(tree, always[i]);
}

static void command_line_defines(const struct web *web, struct apache_tree *tree)
{
    AUTO_STRLIST words = STRLIST_INIT;
    read_proc(web->master_pid, "cmdline", &words);
    for (size_t i = 1; i < words.n; i++) {
        const char *name = NULL;
        if (strcmp(words.v[i], "-D") == 0 && i + 1 < words.n)
            name = words.v[++i];
        else if (strncmp(words.v[i], "-D", 2) == 0)
            name = words.v[i] + 2;
        if (name)
            apache_tree_define(tree, name, "");
    }
}

static void prepare_tree(const struct web *web, const struct strlist *assume, struct apache_tree *tree)
{
    tree->server_root = mem_dup(web->prefix);
    tree->version_number = web->version_number;
    static_modules(web, tree);
    command_line_defines(web, tree);
    for (size_t i = 0; assume && i < assume->n; i++)
        apache_tree_module(tree, assume->v[i]);
    AUTO_STRLIST env = STRLIST_INIT;
    apache_environment(web, &env);
    for (size_t i = 0; i < env.n; i++) {
        char *equals = strchr(env.v[i], '=');
        AUTO_FREE char *name = mem_ndup(env.v[i], (size_t)(equals - env.v[i]));
        apache_tree_env(tree, name, equals + 1);
    }
}

const struct apache_block *apache_block_around(const struct apache_file *file, size_t node, const char *kind)
{
    for (size_t i = file->nodes[node].block; i != APACHE_NONE; i = file->blocks[i].around) {
        if (!kind || strcmp(kind, file->blocks[i].kind) == 0)
            return &file->blocks[i];
    }
    return NULL;
}

bool apache_is_ours(const struct apache_file *file, size_t node)
{
    return apache_block_around(file, node, "challenge") || apache_block_around(file, node, "redirect") ||
           apache_block_around(file, node, "certificate") || apache_block_around(file, node, "tls");
}

static const struct apache_block *line_block(const struct apache_tree *tree, const struct apache_line *line)
{
    return apache_block_around(tree->files[line->file], line->node, "companion");
}

static void add_listen(struct apache_model *model, const struct apache_line *line)
{
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(line->args, &words);
    if (!words.n)
        return;
    AUTO_FREE char *any = all_digits(words.v[0]) ? mem_fmt("*:%s", words.v[0]) : mem_dup(words.v[0]);
    size_t n;
    struct apache_address *list = resolved(any, &n);
    for (size_t i = 0; i < n; i++) {
        struct apache_listen listen = {
            .at = list[i], .line = line, .ours = line_block(&model->tree, line) != NULL};
        listen.https = words.n > 1 ? strcasecmp(words.v[1], "https") == 0 : listen.at.port == 443;
        model->listens = mem_resize(model->listens, model->n_listens + 1, sizeof *model->listens);
        model->listens[model->n_listens++] = listen;
    }
    free(list);
}

/* `[scheme://]name[:port]` */
static char *server_name(const char *word)
{
    const char *scheme = strstr(word, "://");
    if (scheme)
        word = scheme + 3;
    char *name = mem_dup(word);
    char *colon = strrchr(name, ':');
    char *bracket = strrchr(name, ']');
    if (colon && (!bracket || colon > bracket) && strchr(name, ':') == colon)
        *colon = '\0';
    lower(name);
    return name;
}

static void host_directive(struct apache_host *host, const struct apache_line *line)
{
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(line->args, &words);
    if (!words.n)
        return;
    if (strcasecmp(line->name, "ServerName") == 0) {
        free(host->server_name);
        host->server_name = server_name(words.v[0]);
    } else if (strcasecmp(line->name, "ServerAlias") == 0) {
        for (size_t i = 0; i < words.n; i++) {
            lower(words.v[i]);
            strlist_add(&host->aliases, words.v[i]);
        }
    } else if (strcasecmp(line->name, "SSLEngine") == 0) {
        host->ssl = strcasecmp(words.v[0], "on") == 0;
    }
}

static struct apache_host *add_host(struct apache_model *model, size_t open)
{
    if ((model->n_hosts & (model->n_hosts - 1)) == 0)
        model->hosts =
            mem_resize(model->hosts, model->n_hosts ? 2 * model->n_hosts : 1, sizeof *model->hosts);
    struct apache_host *host = &model->hosts[model->n_hosts++];
    *host = (struct apache_host){.open = open, .ssl = -1};
    return host;
}

static void read_host(struct apache_model *model, size_t open)
{
    const struct apache_tree *tree = &model->tree;
    struct apache_host *host = add_host(model, open);
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(tree->lines[open].args, &words);
    for (size_t i = 0; i < words.n; i++) {
        size_t n;
        struct apache_address *list = resolved(words.v[i], &n);
        host->addresses = mem_resize(host->addresses, host->n_addresses + n, sizeof *host->addresses);
        memcpy(host->addresses + host->n_addresses, list, n * sizeof *list);
        host->n_addresses += n;
        free(list);
    }
    for (size_t i = 0; i < host->n_addresses; i++) {
        if (is_wildcard(host->addresses[i].address))
            snprintf(host->addresses[i].address, sizeof host->addresses[i].address, "*");
    }
    const struct apache_block *block = line_block(tree, &tree->lines[open]);
    if (block && block->intact)
        host->companion = block->id;
    for (size_t i = open + 1; i < tree->lines[open].next; i++) {
        if (tree->lines[i].parent == open && tree->lines[i].kind == APACHE_DIRECTIVE)
            host_directive(host, &tree->lines[i]);
    }
}

static int by_place(const void *a, const void *b)
{
    const struct apache_place *x = a, *y = b;
    int order = strcmp(x->address, y->address);
    if (order == 0)
        order = x->port - y->port;
    return order != 0 ? order : (x->host > y->host) - (x->host < y->host);
}

static void list_places(struct apache_model *model)
{
    size_t n = 0;
    for (size_t i = 0; i + 1 < model->n_hosts; i++)
        n += model->hosts[i].n_addresses;
    model->places = mem_array(n + 1, sizeof *model->places);
    for (size_t i = 0; i + 1 < model->n_hosts; i++) {
        for (size_t k = 0; k < model->hosts[i].n_addresses; k++) {
            const struct apache_address *at = &model->hosts[i].addresses[k];
            model->places[model->n_places++] =
                (struct apache_place){.address = at->address, .port = at->port, .host = i};
        }
    }
    qsort(model->places, model->n_places, sizeof *model->places, by_place);
}

/* One on specific addresses alone has what the resolver says of them instead. */
static void name_unnamed(struct apache_model *model)
{
    const char *name = model->hosts[model->n_hosts - 1].server_name;
    for (size_t i = 0; i + 1 < model->n_hosts; i++) {
        struct apache_host *host = &model->hosts[i];
        for (size_t k = 0; k < host->n_addresses && !host->server_name; k++) {
            if (strcmp(host->addresses[k].address, "*") == 0)
                host->main_name = name;
        }
    }
}

static void collect(struct apache_model *model)
{
    const struct apache_tree *tree = &model->tree;
    struct apache_host main_server = {.open = APACHE_NONE, .ssl = -1};
    for (size_t i = 0; i < tree->n_lines; i++) {
        const struct apache_line *line = &tree->lines[i];
        if (line->kind == APACHE_OPEN && strcasecmp(line->name, "VirtualHost") == 0)
            read_host(model, i);
        else if (line->parent == APACHE_NONE && line->kind == APACHE_DIRECTIVE) {
            if (strcasecmp(line->name, "Listen") == 0)
                add_listen(model, line);
            host_directive(&main_server, line);
            if ((model->n_main_lines & (model->n_main_lines - 1)) == 0)
                model->main_lines =
                    mem_resize(model->main_lines, model->n_main_lines ? 2 * model->n_main_lines : 1,
                               sizeof *model->main_lines);
            model->main_lines[model->n_main_lines++] = i;
        }
    }
    *add_host(model, APACHE_NONE) = main_server;
    name_unnamed(model);
    list_places(model);
}

bool apache_model_read(const struct web *web, const struct txn *txn, const struct strlist *assume,
                       struct apache_model *out, struct err *err)
{
    struct apache_model model = {.tree.txn = txn};
    prepare_tree(web, assume, &model.tree);
    if (!apache_tree_walk(&model.tree, web->conf, err)) {
        apache_model_clear(&model);
        return false;
    }
    collect(&model);
    *out = model;
    return true;
}

bool apache_model_read_beside(const struct web *web, const struct apache_model *base, const char *path,
                              struct apache_model *out, struct err *err)
{
    struct apache_model model = {0};
    struct apache_tree *tree = &model.tree;
    const struct apache_tree *from = &base->tree;
    tree->txn = from->txn;
    tree->server_root = mem_dup(from->server_root);
    tree->version_number = web->version_number;
    for (size_t i = 0; i < from->modules.n; i++)
        apache_tree_module(tree, from->modules.v[i]);
    for (size_t i = 0; i < from->n_vars; i++)
        apache_tree_define(tree, from->vars[i].name, from->vars[i].value);
    for (size_t i = 0; i < from->n_env; i++)
        apache_tree_env(tree, from->env[i].name, from->env[i].value);
    if (!apache_tree_walk(tree, path, err)) {
        apache_model_clear(&model);
        return false;
    }
    collect(&model);
    *out = model;
    return true;
}

void apache_model_clear(struct apache_model *model)
{
    for (size_t i = 0; i < model->n_hosts; i++) {
        free(model->hosts[i].addresses);
        free(model->hosts[i].server_name);
        strlist_clear(&model->hosts[i].aliases);
    }
    free(model->hosts);
    free(model->listens);
    free(model->places);
    free(model->main_lines);
    apache_tree_clear(&model->tree);
    *model = (struct apache_model){0};
}

/* -- who answers -- */

struct apache_host *apache_main(const struct apache_model *model)
{
    return &model->hosts[model->n_hosts - 1];
}

bool apache_listens_on(const struct apache_model *model, int port)
{
    for (size_t i = 0; i < model->n_listens; i++) {
        if (model->listens[i].at.port == port)
            return true;
    }
    return false;
}

bool apache_host_on(const struct apache_host *host, const char *address, int port)
{
    for (size_t i = 0; i < host->n_addresses; i++) {
        if (host->addresses[i].port == port && strcmp(host->addresses[i].address, address) == 0)
            return true;
    }
    return false;
}

bool apache_alias_matches(const char *alias, const char *name)
{
    if (!strpbrk(alias, "*?"))
        return strcasecmp(alias, name) == 0;
    /* The server knows * and ? alone: what fnmatch would take for more is protected. */
    AUTO_BUF pattern = BUF_INIT;
    for (; *alias; alias++) {
        if (*alias == '[' || *alias == '\\')
            buf_addc(&pattern, '\\');
        buf_addc(&pattern, *alias);
    }
    return fnmatch(buf_str(&pattern), name, FNM_CASEFOLD) == 0;
}

const char *apache_host_name(const struct apache_host *host)
{
    return host->server_name ? host->server_name : host->main_name;
}

bool apache_host_has(const struct apache_host *host, const char *name)
{
    const char *own = apache_host_name(host);
    if (own && strcasecmp(own, name) == 0)
        return true;
    for (size_t i = 0; i < host->aliases.n; i++) {
        if (apache_alias_matches(host->aliases.v[i], name))
            return true;
    }
    for (size_t i = 0; i < host->n_addresses; i++) {
        if (strcasecmp(host->addresses[i].address, name) == 0)
            return true;
    }
    return false;
}

static bool is_ignored(const struct apache_host *host, const char *ignore)
{
    return ignore && host->companion && strcmp(host->companion, ignore) == 0;
}

struct group {
    struct apache_host *chosen, *first;
};

static size_t first_place(const struct apache_model *model, const char *address, int port)
{
    size_t low = 0, high = model->n_places;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct apache_place *place = &model->places[middle];
        int order = strcmp(place->address, address);
        if (order < 0 || (order == 0 && place->port < port))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct group find_group(const struct apache_model *model, const char *name, const char *address,
                               int port, const char *ignore)
{
    struct group group = {0};
    for (size_t i = first_place(model, address, port); i < model->n_places && model->places[i].port == port &&
                                                       strcmp(model->places[i].address, address) == 0;
         i++) {
        struct apache_host *host = &model->hosts[model->places[i].host];
        if (is_ignored(host, ignore))
            continue;
        if (!group.first)
            group.first = host;
        if (apache_host_has(host, name)) {
            group.chosen = host;
            break;
        }
        if (!*name)
            break; /* only the first is asked for */
    }
    return group;
}

struct apache_host *apache_owner_at(const struct apache_model *model, const char *name, const char *address,
                                    int port, bool explicit_only, const char *ignore)
{
    if (!apache_listens_on(model, port))
        return NULL;
    if (is_wildcard(address))
        address = "*";
    /* The most specific address wins, and for it the host with the port before the one for any port. */
    const char *tried[] = {address, "*"};
    for (size_t i = 0; i < COUNT_OF(tried); i++) {
        for (int any = 0; any < 2; any++) {
            struct group group = find_group(model, name, tried[i], any ? 0 : port, ignore);
            if (group.first)
                return group.chosen ? group.chosen : explicit_only ? NULL : group.first;
        }
    }
    struct apache_host *fallback = apache_main(model);
    return explicit_only && !apache_host_has(fallback, name) ? NULL : fallback;
}

void apache_addresses(const struct apache_model *model, int port, const char *ignore, struct strlist *out)
{
    for (size_t i = 0; i + 1 < model->n_hosts; i++) {
        const struct apache_host *host = &model->hosts[i];
        for (size_t k = 0; k < host->n_addresses; k++) {
            const struct apache_address *at = &host->addresses[k];
            if ((at->port == port || at->port == 0) && !is_ignored(host, ignore) &&
                !strlist_has(out, at->address))
                strlist_add(out, at->address);
        }
    }
}

static bool is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "[::1]") == 0 ||
           strcmp(address, "localhost") == 0;
}

struct apache_host *apache_owner(const struct apache_model *model, const char *name, int port,
                                 bool explicit_only, const char *ignore)
{
    struct apache_host *by_name = apache_owner_at(model, name, "*", port, true, ignore);
    if (by_name && by_name->open != APACHE_NONE)
        return by_name;
    AUTO_STRLIST addresses = STRLIST_INIT;
    apache_addresses(model, port, ignore, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        struct apache_host *host = apache_owner_at(model, name, addresses.v[i], port, true, ignore);
        if (host)
            return host;
    }
    if (explicit_only)
        return by_name;
    struct apache_host *fallback = apache_owner_at(model, name, "*", port, false, ignore);
    for (size_t i = 0; fallback && fallback->open == APACHE_NONE && i < addresses.n; i++) {
        if (!is_loopback(addresses.v[i]))
            return apache_owner_at(model, name, addresses.v[i], port, false, ignore);
    }
    return fallback;
}

/* -- addresses of other machines -- */

/* Could a socket of this machine have it? */
bool apache_is_foreign(const char *address)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {0};
    size_t len = strlen(address);
    AUTO_FREE char *inner = address[0] == '[' && len > 2 ? mem_ndup(address + 1, len - 2) : mem_dup(address);
    if (inet_pton(AF_INET, inner, &at.v4.sin_addr) == 1)
        at.any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, inner, &at.v6.sin6_addr) == 1)
        at.any.sa_family = AF_INET6;
    else
        return false;
    int fd = socket(at.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool foreign = bind(fd, &at.any, at.any.sa_family == AF_INET ? sizeof at.v4 : sizeof at.v6) != 0 &&
                   errno == EADDRNOTAVAIL;
    close(fd);
    return foreign;
}

/* Is some of its addresses for the port one of this machine? */
static bool is_reachable(const struct apache_host *host, int port)
{
    for (size_t i = 0; i < host->n_addresses; i++) {
        const struct apache_address *at = &host->addresses[i];
        if ((at->port == port || at->port == 0) && !apache_is_foreign(at->address))
            return true;
    }
    return false;
}

struct apache_host *apache_unreachable(const struct apache_model *model, const char *name, int port,
                                       const char *ignore)
{
    struct apache_host *first = NULL;
    for (size_t i = 0; i + 1 < model->n_hosts; i++) {
        struct apache_host *host = &model->hosts[i];
        bool on_port = false;
        for (size_t k = 0; k < host->n_addresses; k++)
            on_port = on_port || host->addresses[k].port == port || host->addresses[k].port == 0;
        if (!on_port || is_ignored(host, ignore) || !apache_host_has(host, name))
            continue;
        if (is_reachable(host, port))
            return NULL;
        if (!first)
            first = host;
    }
    return first;
}

/* The machine's own addresses, but for loopback and those of one link, for people. */
static void own_addresses(struct strlist *out)
{
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0)
        return;
    for (const struct ifaddrs *one = list; one; one = one->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        if (!one->ifa_addr || (one->ifa_flags & IFF_LOOPBACK))
            continue;
        const void *raw = NULL;
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)(const void *)one->ifa_addr)->sin6_addr;
        if (one->ifa_addr->sa_family == AF_INET)
            raw = &((const struct sockaddr_in *)(const void *)one->ifa_addr)->sin_addr;
        else if (one->ifa_addr->sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(v6))
            raw = v6;
        if (raw && inet_ntop(one->ifa_addr->sa_family, raw, text, sizeof text) && !strlist_has(out, text))
            strlist_add(out, text);
    }
    freeifaddrs(list);
}

bool apache_refuse_unreachable(const struct apache_model *model, const struct apache_host *host,
                               struct err *err)
{
    AUTO_FREE char *where = apache_host_where(model, host);
    AUTO_STRLIST own = STRLIST_INIT;
    own_addresses(&own);
    const struct apache_address *at = host->addresses;
    for (size_t i = host->n_addresses; i-- > 0;) {
        if (apache_is_foreign(host->addresses[i].address))
            at = &host->addresses[i];
    }
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, where,
            "%s is a virtual host for %s, which this machine does not have, so it never answers", where,
            at->address);
    int port = at->port;
    AUTO_FREE char *any = port ? mem_fmt("*:%d", port) : mem_dup("*");
    if (!own.n)
        return err_advise(err, "Write <VirtualHost %s> there, and run the command again.", any);
    return err_advise(err,
                      "Write <VirtualHost %s> there, or an address that the machine has (%s), and run the "
                      "command again.",
                      any, own.v[0]);
}

/* -- one host -- */

void apache_host_span(const struct apache_model *model, const struct apache_host *host, size_t *from,
                      size_t *to)
{
    bool whole = host->open == APACHE_NONE;
    *from = whole ? 0 : host->open + 1;
    *to = whole ? model->tree.n_lines : model->tree.lines[host->open].next;
}

const struct apache_line *apache_host_line(const struct apache_model *model, const struct apache_host *host,
                                           const char *name)
{
    size_t from, to;
    const struct apache_line *found = NULL;
    for (size_t i = 0; host->open == APACHE_NONE && i < model->n_main_lines; i++) {
        const struct apache_line *line = &model->tree.lines[model->main_lines[i]];
        if (strcasecmp(line->name, name) == 0)
            found = line;
    }
    if (host->open == APACHE_NONE)
        return found;
    apache_host_span(model, host, &from, &to);
    for (size_t i = from; i < to; i++) {
        const struct apache_line *line = &model->tree.lines[i];
        if (line->parent == host->open && line->kind == APACHE_DIRECTIVE && strcasecmp(line->name, name) == 0)
            found = line;
    }
    return found;
}

int apache_host_port(const struct apache_model *model, const struct apache_host *host)
{
    int port = 0;
    for (size_t i = 0; i < model->n_listens; i++) {
        int listens = model->listens[i].at.port;
        for (size_t k = 0; k < host->n_addresses; k++) {
            int own = host->addresses[k].port;
            if ((own == listens || own == 0) && (port == 0 || listens == 80))
                port = listens;
        }
    }
    return port;
}

bool apache_host_is_tls(const struct apache_model *model, const struct apache_host *host)
{
    if (!apache_tree_has(&model->tree, "ssl_module"))
        return false;
    int ssl = host->ssl;
    if (ssl < 0)
        ssl = apache_main(model)->ssl;
    if (ssl >= 0)
        return ssl == 1;
    for (size_t i = 0; i < host->n_addresses; i++) {
        for (size_t k = 0; k < model->n_listens; k++) {
            if (model->listens[k].https && model->listens[k].at.port == host->addresses[i].port)
                return true;
        }
    }
    return false;
}

const struct apache_file *apache_host_file(const struct apache_model *model, const struct apache_host *host)
{
    return model->tree.files[host->open == APACHE_NONE ? 0 : model->tree.lines[host->open].file];
}

const struct apache_node *apache_host_node(const struct apache_model *model, const struct apache_host *host)
{
    return &apache_host_file(model, host)->nodes[model->tree.lines[host->open].node];
}

char *apache_host_where(const struct apache_model *model, const struct apache_host *host)
{
    const struct apache_file *file = apache_host_file(model, host);
    if (host->open == APACHE_NONE)
        return mem_fmt("%s (outside of any VirtualHost)", file->path);
    return mem_fmt("%s:%zu", file->path, apache_host_node(model, host)->line);
}

/* -- redirects -- */

static bool is_everything(const char *pattern)
{
    static const char *const patterns[] = {
        "^",  ".*",     "^.*$",  "^(.*)$", "(.*)", "^(.*)",  "^/?(.*)", "^/(.*)$", "/(.*)", "^/?(.*)$",
        "^/", "^/(.*)", "^/.*$", "/",      "^/?",  "^/?.*$", "^.*",     "^/.*",    "(.+)",  "^(.+)$"};
    for (size_t i = 0; i < COUNT_OF(patterns); i++) {
        if (strcmp(pattern, patterns[i]) == 0)
            return true;
    }
    return false;
}

/* The host of a URL behind its scheme; "" when it is built from the request. */
static void target_host(const char *from, char out[256])
{
    size_t len = strcspn(from, "/:?#%$ ");
    bool open_end = len && (from[len] == '%' || from[len] == '$') && from[len - 1] == '.';
    snprintf(out, 256, "%.*s", open_end ? 0 : (int)(len < 255 ? len : 255), from);
    lower(out);
}

static bool has_scheme(const char *text, const char *scheme)
{
    return strncasecmp(text, scheme, strlen(scheme)) == 0;
}

static bool has_flag(const char *flags, const char *wanted)
{
    AUTO_STRLIST list = STRLIST_INIT;
    strlist_split(&list, flags, "[], \t");
    for (size_t i = 0; i < list.n; i++) {
        if (strcasecmp(list.v[i], wanted) == 0)
            return true;
    }
    return false;
}

static bool rewrite_redirects(const struct strlist *words, const char *scheme, struct apache_redirect *out)
{
    if (words->n < 2 || !has_scheme(words->v[1], scheme))
        return false;
    if (words->n > 2 && (has_flag(words->v[2], "P") || has_flag(words->v[2], "proxy")))
        return false;
    out->rewrite = true;
    out->everything = is_everything(words->v[0]);
    target_host(words->v[1] + strlen(scheme), out->host);
    return true;
}

static bool is_status(const char *word)
{
    static const char *const names[] = {"permanent", "temp", "seeother", "gone"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcasecmp(word, names[i]) == 0)
            return true;
    }
    return all_digits(word);
}

bool apache_redirects(const char *name, const char *args, const char *scheme, struct apache_redirect *out)
{
    static const char *const aliases[] = {"Redirect", "RedirectMatch", "RedirectPermanent", "RedirectTemp"};
    *out = (struct apache_redirect){0};
    bool known = false, rewrite = strcasecmp(name, "RewriteRule") == 0;
    for (size_t i = 0; i < COUNT_OF(aliases); i++)
        known = known || strcasecmp(name, aliases[i]) == 0;
    if (!known && !rewrite)
        return false;
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(args, &words);
    if (rewrite)
        return rewrite_redirects(&words, scheme, out);
    if (!words.n || !has_scheme(words.v[words.n - 1], scheme))
        return false;
    size_t first = words.n > 1 && is_status(words.v[0]) ? 1 : 0;
    out->everything = first + 1 == words.n || is_everything(words.v[first]);
    target_host(words.v[words.n - 1] + strlen(scheme), out->host);
    return true;
}

enum condition { CONDITION_PLAIN, CONDITION_NAME, CONDITION_OTHER };

/* Does it hold for every plain request (but that for a challenge), or by the name asked for, or else? */
static enum condition condition_kind(const char *args)
{
    static const char *const plain[] = {"%{HTTPS}", "%{SERVER_PORT}", "%{REQUEST_SCHEME}",
                                        "%{HTTP:X-Forwarded-Proto}", "%{ENV:HTTPS}"};
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(args, &words);
    if (words.n < 2)
        return CONDITION_OTHER;
    for (size_t i = 0; i < COUNT_OF(plain); i++) {
        if (strcasecmp(words.v[0], plain[i]) == 0)
            return CONDITION_PLAIN;
    }
    if (strcasecmp(words.v[0], "%{HTTP_HOST}") == 0 || strcasecmp(words.v[0], "%{SERVER_NAME}") == 0)
        return CONDITION_NAME;
    bool challenge = strcasecmp(words.v[0], "%{REQUEST_URI}") == 0 && words.v[1][0] == '!' &&
                     strstr(words.v[1], "well-known");
    return challenge ? CONDITION_PLAIN : CONDITION_OTHER;
}

bool apache_condition_is_plain(const char *args)
{
    return condition_kind(args) == CONDITION_PLAIN;
}

bool apache_host_redirects(const struct apache_model *model, const struct apache_host *host,
                           const char *scheme)
{
    const struct apache_tree *tree = &model->tree;
    const struct apache_line *engine = apache_host_line(model, host, "RewriteEngine");
    bool rewriting = engine && strcasecmp(engine->args, "on") == 0;
    enum condition strictest = CONDITION_PLAIN;
    size_t from, to;
    apache_host_span(model, host, &from, &to);
    for (size_t i = from; i < to; i++) {
        const struct apache_line *line = &tree->lines[i];
        if (line->parent != host->open || line->kind != APACHE_DIRECTIVE)
            continue;
        if (apache_is_ours(tree->files[line->file], line->node))
            continue;
        if (strcasecmp(line->name, "RewriteCond") == 0) {
            enum condition kind = condition_kind(line->args);
            strictest = kind > strictest ? kind : strictest;
            continue;
        }
        /* A redirect from some names to one certain name leaves that name alone. */
        struct apache_redirect redirect;
        bool redirects = apache_redirects(line->name, line->args, scheme, &redirect) && redirect.everything;
        bool reached = !redirect.rewrite ||
                       (rewriting &&
                        (strictest == CONDITION_PLAIN || (strictest == CONDITION_NAME && !redirect.host[0])));
        if (redirects && reached)
            return true;
        if (strcasecmp(line->name, "RewriteRule") == 0)
            strictest = CONDITION_PLAIN;
    }
    return false;
}
