/*
 * apache_companion.c - the twin on port 443 of a virtual host on port 80: what it holds, and where it is put.
 */
#include <ctype.h>
#include <fnmatch.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "apache_edit.h"
#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/name.h"

static bool in_table(const char *name, const char *const *table, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcasecmp(name, table[i]) == 0)
            return true;
    }
    return false;
}

/* -- what is left out -- */

/* Said once for the process, or said by the twin itself. */
static const char *const not_for_tls[] = {
    "WSGIDaemonProcess",
    "WSGIImportScript",
    "FastCgiServer",
    "FastCgiExternalServer",
    "SSLEngine",
    "SSLCertificateFile",
    "SSLProtocol",
    "SSLCertificateKeyFile",
    "SSLCertificateChainFile",
    "SSLHonorCipherOrder",
    "SSLCipherSuite",
    "SSLSessionTickets",
};
static const char *const names_of_host[] = {"ServerName", "ServerAlias"};
static const char *const serving[] = {
    "DocumentRoot",
    "ProxyPass",
    "ProxyPassMatch",
    "Alias",
    "AliasMatch",
    "ScriptAlias",
    "ScriptAliasMatch",
    "WSGIScriptAlias",
    "WSGIScriptAliasMatch",
    "JkMount",
    "SetHandler",
    "PassengerAppRoot",
    "VirtualDocumentRoot",
    "VirtualScriptAlias",
    "UserDir",
    "FcgidWrapper",
    "FallbackResource",
    "DirectoryIndex",
};

struct emit {
    const struct apache_edit *edit;
    const struct apache_source *source;
    bool tls;
    bool counted; /* rules that skip others by number: their number has to stay */
    bool defines; /* what it holds asks what is defined */
    struct buf *out;
};

enum fate { KEEP, DROP, NEUTRAL };

/* They hold for the whole server from their line on, whatever host they stand in: the site's own do that. */
static const char *const for_all[] = {"Define", "UnDefine", "UndefMacro"};

/* Would this condition, on the host's name, stop the redirect once the client is there? */
static bool condition_stops(const char *args, const char *target)
{
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(args, &words);
    if (words.n < 2 ||
        (strcasecmp(words.v[0], "%{HTTP_HOST}") != 0 && strcasecmp(words.v[0], "%{SERVER_NAME}") != 0))
        return false;
    const char *pattern = words.v[1];
    bool negate = pattern[0] == '!';
    pattern += negate;
    bool matches = true;
    regex_t regex;
    if (pattern[0] == '=') {
        matches = strcasecmp(pattern + 1, target) == 0;
    } else if (regcomp(&regex, pattern, REG_EXTENDED | REG_ICASE | REG_NOSUB) == 0) {
        matches = regexec(&regex, target, 0, NULL, 0) == 0;
        regfree(&regex);
    } else {
        return false;
    }
    return matches == negate;
}

static bool condition_is_alternative(const char *args)
{
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(args, &words);
    return words.n > 2 && (strcasestr(words.v[2], "[OR") || strcasestr(words.v[2], ",OR") ||
                           strcasestr(words.v[2], "ornext"));
}

/* Does it come back to the same site? Then the twin would redirect to itself. */
static bool is_loop(const struct emit *emit, const struct apache_redirect *redirect,
                    const struct strlist *conditions)
{
    if (!redirect->host[0])
        return true;
    if (!apache_host_has(emit->source->host, redirect->host) &&
        !strlist_has(&emit->source->names, redirect->host))
        return false;
    for (size_t i = 0; i < conditions->n; i++) {
        if (condition_is_alternative(conditions->v[i]))
            return true;
    }
    for (size_t i = 0; i < conditions->n; i++) {
        if (condition_stops(conditions->v[i], redirect->host))
            return false;
    }
    return true;
}

static enum fate fate_of(const struct emit *emit, const char *name, const char *args,
                         const struct strlist *conditions)
{
    if (in_table(name, names_of_host, COUNT_OF(names_of_host)))
        return DROP;
    if (in_table(name, for_all, COUNT_OF(for_all)))
        return emit->defines && strcasecmp(name, "UndefMacro") != 0 ? KEEP : DROP;
    if (!emit->tls)
        return KEEP;
    if (in_table(name, not_for_tls, COUNT_OF(not_for_tls)))
        return DROP;
    struct apache_redirect redirect;
    if (!apache_redirects(name, args, "https://", &redirect) || !is_loop(emit, &redirect, conditions))
        return KEEP;
    return redirect.rewrite && emit->counted ? NEUTRAL : DROP;
}

static char *node_text(const struct emit *emit, const struct apache_node *node, size_t use)
{
    AUTO_FREE char *raw = apache_substitute(&emit->edit->model.tree, node->text, use);
    return apache_expand(&emit->edit->model.tree, raw);
}

/* The fate of each node of a range; a condition shares that of its rule. */
static void judge(const struct emit *emit, const struct apache_file *file, size_t from, size_t to, size_t use,
                  enum fate *fates)
{
    AUTO_STRLIST conditions = STRLIST_INIT;
    for (size_t i = from; i < to; i++) {
        const struct apache_node *node = &file->nodes[i];
        fates[i - from] = KEEP;
        if (node->kind == APACHE_OPEN && apache_is(node, "Macro")) {
            /* what uses it has its lines already */
            for (; i <= node->partner && i < to; i++)
                fates[i - from] = DROP;
            i--;
            continue;
        }
        if (node->kind != APACHE_DIRECTIVE)
            continue;
        AUTO_FREE char *text = node_text(emit, node, use);
        const char *args;
        AUTO_FREE char *name = apache_name(text, &args);
        if (strcasecmp(name, "RewriteCond") == 0) {
            strlist_add(&conditions, args);
            continue;
        }
        fates[i - from] = fate_of(emit, name, args, &conditions);
        if (strcasecmp(name, "RewriteRule") != 0)
            continue;
        for (size_t k = i; fates[i - from] != KEEP && conditions.n && k-- > from;) {
            if (apache_is(&file->nodes[k], "RewriteRule"))
                break;
            if (apache_is(&file->nodes[k], "RewriteCond"))
                fates[k - from] = DROP;
        }
        strlist_clear(&conditions);
    }
}

/* -- what is copied -- */

static void emit_nodes(struct emit *emit, size_t file, size_t from, size_t to, size_t use);

static size_t find_line(const struct emit *emit, size_t file, size_t node, size_t use)
{
    const struct apache_model *model = &emit->edit->model;
    size_t from, to;
    apache_host_span(model, emit->source->host, &from, &to);
    for (size_t i = from; i < to; i++) {
        const struct apache_line *line = &model->tree.lines[i];
        if (line->file == file && line->node == node && line->use == use)
            return i;
    }
    return APACHE_NONE;
}

/* Does an Include read a file that defines macros? */
static bool brings_macros(const struct apache_tree *tree, size_t line)
{
    const char *args = tree->lines[line].args;
    AUTO_FREE char *word = apache_word(&args);
    AUTO_FREE char *path = apache_path(tree, word ? word : "");
    for (size_t i = 0; i < tree->n_macros; i++) {
        if (fnmatch(path, tree->files[tree->macros[i].file]->path, FNM_PERIOD) == 0)
            return true;
    }
    return false;
}

/* Does what an Include or Use brings in hold anything to leave out? */
static bool brings_dropped(const struct emit *emit, size_t line)
{
    const struct apache_tree *tree = &emit->edit->model.tree;
    static const struct strlist none = STRLIST_INIT;
    if (brings_macros(tree, line))
        return true;
    for (size_t i = line + 1; i < tree->lines[line].next; i++) {
        if (tree->lines[i].kind == APACHE_DIRECTIVE &&
            fate_of(emit, tree->lines[i].name, tree->lines[i].args, &none) != KEEP)
            return true;
    }
    return false;
}

/* Put in the place of an Include or Use what it brings, less what is to be left out. */
static void emit_inline(struct emit *emit, size_t line)
{
    const struct apache_tree *tree = &emit->edit->model.tree;
    for (size_t i = 0; i < tree->n_uses; i++) {
        if (tree->uses[i].line != line || line + 1 >= tree->lines[line].next)
            continue;
        const struct apache_line *first = &tree->lines[line + 1];
        const struct apache_file *file = tree->files[first->file];
        size_t macro = first->node;
        while (macro != APACHE_NONE && !apache_is(&file->nodes[macro], "Macro"))
            macro = file->nodes[macro].parent;
        if (macro != APACHE_NONE)
            emit_nodes(emit, first->file, macro + 1, file->nodes[macro].partner, i);
        return;
    }
    size_t last = APACHE_NONE;
    for (size_t i = line + 1; i < tree->lines[line].next;) {
        const struct apache_line *inner = &tree->lines[i];
        if (inner->file != last) {
            last = inner->file;
            emit_nodes(emit, last, 0, tree->files[last]->n_nodes, APACHE_NONE);
        }
        bool brings = inner->kind == APACHE_DIRECTIVE && inner->next > i + 1;
        i = brings ? inner->next : i + 1;
    }
}

/* What a proxied application is told of the way in which the visitor came. */
static const struct {
    const char *field, *plain, *tls;
} forwarded[] = {
    {"X-Forwarded-Proto", "http", "https"},  {"X-Forwarded-Protocol", "http", "https"},
    {"X-Forwarded-Scheme", "http", "https"}, {"X-Scheme", "http", "https"},
    {"X-Url-Scheme", "http", "https"},       {"X-Forwarded-Port", "80", "443"},
    {"X-Forwarded-Ssl", "off", "on"},        {"Front-End-Https", "off", "on"},
};

/* `RequestHeader set X-Forwarded-Proto http`, as it is to be over TLS; NULL: it is another line. The caller
 * frees. */
static char *forwarded_over_tls(const struct emit *emit, const char *text)
{
    const char *args;
    AUTO_FREE char *name = apache_name(text, &args);
    AUTO_STRLIST words = STRLIST_INIT;
    if (!emit->tls || strcasecmp(name, "RequestHeader") != 0)
        return NULL;
    apache_words(args, &words);
    for (size_t i = 0; i < COUNT_OF(forwarded) && words.n == 3; i++) {
        if (strcasecmp(words.v[1], forwarded[i].field) == 0 &&
            strcasecmp(words.v[2], forwarded[i].plain) == 0)
            return mem_fmt("%s %s %s \"%s\"", name, words.v[0], words.v[1], forwarded[i].tls);
    }
    return NULL;
}

/* Is there a ${X} that a Define could change before our file is read? */
static bool has_defined(const struct apache_tree *tree, const char *text)
{
    for (const char *at = text; (at = strstr(at, "${")); at += 2) {
        AUTO_FREE char *name = mem_ndup(at + 2, strcspn(at + 2, "}"));
        bool in_environment = false;
        for (size_t i = 0; i < tree->n_env && !in_environment; i++)
            in_environment = strcmp(tree->env[i].name, name) == 0;
        if (!in_environment)
            return true;
    }
    return false;
}

/* The line as the server has it, with what was defined at its place; NULL: it is not in effect. The caller
 * frees. */
static char *line_in_effect(const struct emit *emit, size_t file, size_t node, size_t use)
{
    size_t index = find_line(emit, file, node, use);
    if (index == APACHE_NONE)
        return NULL;
    const struct apache_line *line = &emit->edit->model.tree.lines[index];
    bool open = line->kind == APACHE_OPEN;
    return mem_fmt("%s%s%s%s%s", open ? "<" : "", line->name, line->args[0] ? " " : "", line->args,
                   open ? ">" : "");
}

static void emit_text(struct emit *emit, size_t file_index, size_t node_index, size_t use)
{
    const struct apache_tree *tree = &emit->edit->model.tree;
    const struct apache_file *file = tree->files[file_index];
    const struct apache_node *node = &file->nodes[node_index];
    const char *raw = file->data + node->begin;
    size_t len = node->end - node->begin, indent = 0;
    while (indent < len && (raw[indent] == ' ' || raw[indent] == '\t'))
        indent++;
    bool words = node->kind == APACHE_DIRECTIVE || node->kind == APACHE_OPEN;
    AUTO_FREE char *text = NULL;
    if (words && has_defined(tree, node->text))
        text = line_in_effect(emit, file_index, node_index, use);
    if (!text && node->text && use != APACHE_NONE)
        text = apache_substitute(tree, node->text, use);
    char *over_tls = words ? forwarded_over_tls(emit, text ? text : node->text) : NULL;
    if (over_tls) {
        free(text);
        text = over_tls;
    }
    if (text) {
        buf_addf(emit->out, "%.*s%s\n", (int)indent, raw, text);
        return;
    }
    buf_add(emit->out, raw, len);
    if (len && raw[len - 1] != '\n')
        buf_addc(emit->out, '\n');
}

static void emit_nodes(struct emit *emit, size_t file_index, size_t from, size_t to, size_t use)
{
    const struct apache_file *file = emit->edit->model.tree.files[file_index];
    enum fate *fates = mem_array(to - from + 1, sizeof *fates);
    judge(emit, file, from, to, use, fates);
    for (size_t i = from; i < to; i++) {
        const struct apache_node *node = &file->nodes[i];
        if (apache_is_ours(file, i) || fates[i - from] == DROP)
            continue;
        if (fates[i - from] == NEUTRAL) {
            buf_adds(emit->out, "    RewriteRule \"^\" \"-\"\n");
            continue;
        }
        bool brings =
            node->kind == APACHE_DIRECTIVE &&
            (apache_is(node, "Include") || apache_is(node, "Use") || apache_is(node, "IncludeOptional"));
        size_t line = brings ? find_line(emit, file_index, i, use) : APACHE_NONE;
        if (line != APACHE_NONE && (apache_is(node, "Use") || brings_dropped(emit, line)))
            emit_inline(emit, line);
        else
            emit_text(emit, file_index, i, use);
    }
    free(fates);
}

static bool skips_by_number(const struct apache_edit *edit, const struct apache_host *host)
{
    size_t from, to;
    apache_host_span(&edit->model, host, &from, &to);
    for (size_t i = from; i < to; i++) {
        const struct apache_line *line = &edit->model.tree.lines[i];
        if (strcasecmp(line->name, "RewriteRule") != 0)
            continue;
        AUTO_STRLIST words = STRLIST_INIT;
        apache_words(line->args, &words);
        const char *flags = words.n > 2 ? words.v[2] : "";
        if (strcasestr(flags, "S=") || strcasestr(flags, "skip=") || strcasestr(flags, "[C") ||
            strcasestr(flags, ",C]") || strcasestr(flags, ",C,") || strcasestr(flags, "chain"))
            return true;
    }
    return false;
}

/* Are there conditions left that go by what is defined? */
static bool asks_definitions(const char *text)
{
    for (const char *at = text; (at = strcasestr(at, "<If")); at += strlen("<If")) {
        const char *variable = strstr(at, "${"), *end = strchr(at, '\n');
        if (strncasecmp(at, "<IfDefine", strlen("<IfDefine")) == 0 || (variable && (!end || variable < end)))
            return true;
    }
    return false;
}

static void emit_body(const struct apache_edit *edit, const struct apache_source *source, bool tls,
                      struct buf *out)
{
    const struct apache_tree *tree = &edit->model.tree;
    AUTO_BUF text = BUF_INIT;
    struct emit emit = {.edit = edit, .source = source, .tls = tls, .out = &text};
    emit.counted = skips_by_number(edit, source->host);
    if (source->host->open == APACHE_NONE) {
        const struct apache_line *root = apache_host_line(&edit->model, source->host, "DocumentRoot");
        if (root)
            buf_addf(out, "    DocumentRoot %s\n", root->args);
        return;
    }
    const struct apache_line *open = &tree->lines[source->host->open];
    size_t end = tree->files[open->file]->nodes[open->node].partner;
    emit_nodes(&emit, open->file, open->node + 1, end, open->use);
    emit.defines = asks_definitions(buf_str(&text));
    if (emit.defines) {
        buf_reset(&text);
        emit_nodes(&emit, open->file, open->node + 1, end, open->use);
    }
    buf_add(out, buf_str(&text), text.len);
}

/* -- can it be done? -- */

static bool serves_something(const struct apache_edit *edit, const struct apache_host *host)
{
    size_t from, to;
    apache_host_span(&edit->model, host, &from, &to);
    for (size_t i = from; i < to; i++) {
        const struct apache_line *line = &edit->model.tree.lines[i];
        if (line->kind == APACHE_DIRECTIVE && in_table(line->name, serving, COUNT_OF(serving)))
            return true;
        if (strcasecmp(line->name, "RewriteRule") == 0 &&
            (strstr(line->args, " http://") || strstr(line->args, "[P")))
            return true;
    }
    return false;
}

/* Redirects that all go to other sites do not loop. */
static bool redirects_to_itself(const struct apache_edit *edit, const struct apache_source *source)
{
    size_t from, to;
    apache_host_span(&edit->model, source->host, &from, &to);
    for (size_t i = from; i < to; i++) {
        const struct apache_line *line = &edit->model.tree.lines[i];
        struct apache_redirect redirect;
        if (line->kind == APACHE_DIRECTIVE &&
            apache_redirects(line->name, line->args, "https://", &redirect) && redirect.everything &&
            (!redirect.host[0] || apache_host_has(source->host, redirect.host) ||
             strlist_has(&source->names, redirect.host)))
            return true;
    }
    return false;
}

bool apache_companion_check(const struct apache_edit *edit, const struct apache_source *source,
                            struct err *err)
{
    AUTO_FREE char *where = apache_host_where(&edit->model, source->host);
    const char *name = source->names.v[0];
    bool is_main = source->host->open == APACHE_NONE;
    if (apache_host_redirects(&edit->model, source->host, "https://") && redirects_to_itself(edit, source) &&
        (is_main || !serves_something(edit, source->host))) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, name,
                "%s sends every request for %s to https and serves nothing itself: on port 443 it would "
                "redirect to itself",
                where, name);
        return err_advise(err, "Say in it what the site is made of, with a DocumentRoot or a ProxyPass, and "
                               "run the command again.");
    }
    if (source->is_default && !is_main && apache_host_line(&edit->model, source->host, "WSGIDaemonProcess")) {
        err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, name,
                "no virtual host names %s, and the default one (%s) runs a WSGI daemon of its own, which a "
                "twin cannot share",
                name, where);
        return err_advise(err, "Add \"ServerAlias %s\" to it, or write a virtual host for that name.", name);
    }
    return true;
}

/* -- the text -- */

/* Names of the source that the certificate covers, then those ordered that it answers. */
static void twin_names(const struct apache_source *source, struct strlist *out)
{
    AUTO_STRLIST own = STRLIST_INIT;
    if (apache_host_name(source->host))
        strlist_add(&own, apache_host_name(source->host));
    for (size_t i = 0; i < source->host->aliases.n; i++)
        strlist_add(&own, source->host->aliases.v[i]);
    for (size_t i = 0; !source->is_default && i < own.n; i++) {
        if (strlist_has(&source->names, own.v[i]) && !strlist_has(out, own.v[i]))
            strlist_add(out, own.v[i]);
    }
    for (size_t i = 0; i < source->names.n; i++) {
        if (!strlist_has(out, source->names.v[i]))
            strlist_add(out, source->names.v[i]);
    }
}

static void add_unique(struct strlist *list, const char *text)
{
    if (!strlist_has(list, text))
        strlist_add(list, text);
}

/* The addresses for the twin on `port`: those of its source, unless another site's names would then lose
 * theirs. */
static void twin_addresses(const struct apache_edit *edit, const struct apache_companion *companion,
                           const struct apache_source *source, int port, struct strlist *out)
{
    AUTO_STRLIST taken = STRLIST_INIT;
    apache_addresses(&edit->model, port, companion->https->cert_name, &taken);
    bool wildcard = source->host->n_addresses == 0;
    for (size_t i = 0; i < source->host->n_addresses; i++) {
        const char *address = source->host->addresses[i].address;
        if (source->host->addresses[i].port != 80 && source->host->addresses[i].port != 0)
            continue;
        if (strcmp(address, "*") == 0 || (taken.n && !strlist_has(&taken, address)))
            wildcard = true;
        else
            add_unique(out, address);
    }
    if (!wildcard && out->n)
        return;
    add_unique(out, "*");
    for (size_t i = 0; i < taken.n; i++) {
        if (strncmp(taken.v[i], "127.", 4) != 0 && strcmp(taken.v[i], "[::1]") != 0)
            add_unique(out, taken.v[i]);
    }
}

static void open_host(const struct apache_edit *edit, const struct apache_companion *companion,
                      const struct apache_source *source, int port, struct buf *out)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    AUTO_STRLIST names = STRLIST_INIT;
    twin_addresses(edit, companion, source, port, &addresses);
    twin_names(source, &names);
    buf_adds(out, "<VirtualHost");
    for (size_t i = 0; i < addresses.n; i++)
        buf_addf(out, " %s:%d", addresses.v[i], port);
    /* A wildcard may be an alias only. */
    size_t first = 0;
    while (first < names.n && strpbrk(names.v[first], "*?"))
        first++;
    if (first < names.n)
        buf_addf(out, ">\n    ServerName %s\n", names.v[first]);
    else
        buf_addf(out, ">\n    ServerName any%s\n", names.v[0] + strspn(names.v[0], "*?"));
    for (size_t i = 0; i < names.n; i++) {
        if (i != first)
            buf_addf(out, "    ServerAlias %s\n", names.v[i]);
    }
}

static void add_indented(struct buf *out, const char *lines)
{
    while (*lines) {
        size_t len = strcspn(lines, "\n");
        buf_addf(out, "    %.*s\n", (int)len, lines);
        lines += len + (lines[len] == '\n');
    }
}

static void add_tls(const struct apache_edit *edit, const struct apache_companion *companion,
                    const struct apache_source *source, struct buf *out)
{
    const struct apache_tree *tree = &edit->model.tree;
    AUTO_BUF lines = BUF_INIT;
    buf_adds(out, "    SSLEngine on\n");
    apache_certificate_lines(out, "    ", edit, companion->https);
    buf_reset(&lines);
    apache_profile_lines(&lines, edit, companion->https);
    buf_adds(&lines, "SSLSessionTickets off\n");
    apache_hsts_line(&lines, edit, source->host, companion->https);
    add_indented(out, buf_str(&lines));
    if (apache_tree_has(tree, "http2_module") && !apache_tree_has(tree, "mpm_prefork_module") &&
        !apache_host_line(&edit->model, source->host, "Protocols"))
        buf_adds(out, "    Protocols h2 http/1.1\n");
}

/* The thumbprint in an answer of ours that is in effect for the host, or for its twin of before. */
static char *known_thumbprint(const struct apache_edit *edit, const struct apache_companion *companion,
                              const struct apache_source *source)
{
    const struct apache_tree *tree = &edit->model.tree;
    char *found = NULL;
    for (size_t i = 0; i < tree->n_lines; i++) {
        const struct apache_line *line = &tree->lines[i];
        if (strcasecmp(line->name, "ErrorDocument") != 0 ||
            !apache_block_around(tree->files[line->file], line->node, "challenge"))
            continue;
        const struct apache_block *around =
            apache_block_around(tree->files[line->file], line->node, "companion");
        bool twin = around && strcmp(around->id, companion->https->cert_name) == 0;
        size_t from, to;
        apache_host_span(&edit->model, source->host, &from, &to);
        if (!twin && (i < from || i >= to))
            continue;
        const char *dot = strstr(line->args, "}.");
        if (!dot)
            continue;
        free(found);
        found = mem_ndup(dot + 2, strcspn(dot + 2, "\""));
        if (twin)
            break;
    }
    return found;
}

/* A name that only the default host answers: the same page by its own name on port 80. */
static void add_plain_twin(const struct apache_edit *edit, const struct apache_companion *companion,
                           const struct apache_source *source, struct buf *out)
{
    AUTO_FREE char *thumbprint = known_thumbprint(edit, companion, source);
    AUTO_BUF content = BUF_INIT;
    open_host(edit, companion, source, 80, out);
    if (thumbprint) {
        apache_challenge_rules(&content);
        apache_block_write(out, "challenge", "rules", "    ", "\n", buf_str(&content));
    }
    if (companion->https->redirect && !apache_host_redirects(&edit->model, source->host, "https://")) {
        buf_reset(&content);
        apache_redirect_rules(&content, &source->names);
        apache_block_write(out, "redirect", companion->https->cert_name, "    ", "\n", buf_str(&content));
    }
    emit_body(edit, source, false, out);
    if (thumbprint) {
        buf_reset(&content);
        apache_challenge_answer(&content, thumbprint);
        apache_block_write(out, "challenge", "answer", "    ", "\n", buf_str(&content));
    }
    buf_adds(out, "</VirtualHost>\n");
}

static bool has_plain_twin(const struct apache_companion *companion)
{
    for (size_t i = 0; i < companion->n_sources; i++) {
        if (companion->sources[i].plain_twin)
            return true;
    }
    return false;
}

static bool foreign_listen(const struct apache_edit *edit)
{
    for (size_t i = 0; i < edit->model.n_listens; i++) {
        if (edit->model.listens[i].at.port == 443 && !edit->model.listens[i].ours)
            return true;
    }
    return false;
}

/* `asleep`: it is put into a file that is read already, and has to wait there until mod_ssl is linked. */
static void companion_text(const struct apache_edit *edit, const struct apache_companion *companion,
                           bool asleep, struct buf *out)
{
    AUTO_BUF text = BUF_INIT;
    int port = apache_host_port(&edit->model, companion->sources[0].host);
    buf_adds(&text, asleep ? "<IfModule ssl_module>\n" : "");
    buf_addf(&text,
             "# Written by tlsup. Edit the host on port %d rather than this file, and run tlsup again.\n",
             port ? port : 80);
    const struct apache_modules *modules = companion->modules;
    for (size_t i = 0; i < modules->symbols.n; i++)
        buf_addf(&text, "<IfModule !%s>\nLoadModule %s \"%s\"\n</IfModule>\n", modules->symbols.v[i],
                 modules->symbols.v[i], modules->paths.v[i]);
    if (!foreign_listen(edit))
        buf_adds(&text, "<IfDefine !TLSUP_LISTEN_443>\nDefine TLSUP_LISTEN_443\nListen 443\n</IfDefine>\n");
    for (size_t i = 0; i < companion->n_sources; i++) {
        const struct apache_source *source = &companion->sources[i];
        open_host(edit, companion, source, 443, &text);
        add_tls(edit, companion, source, &text);
        emit_body(edit, source, true, &text);
        buf_adds(&text, "</VirtualHost>\n");
        if (source->plain_twin)
            add_plain_twin(edit, companion, source, &text);
    }
    buf_adds(&text, asleep ? "</IfModule>\n" : "");
    apache_block_write(out, "companion", companion->https->cert_name, "", "\n", buf_str(&text));
}

/* -- the place -- */

struct place {
    char *dir, *file; /* file name within dir */
    size_t include;   /* the line that reads it */
    int rank;
};

static const struct {
    const char *dir;
    int rank;
} dir_ranks[] = {
    {"sites-enabled", 1}, {"vhosts.d", 2},      {"sites.d", 3},       {"conf.d", 4},
    {"Includes", 5},      {"conf-enabled", 20}, {"mods-enabled", -1}, {"conf.modules.d", -1},
};

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int dir_rank(const char *dir)
{
    for (size_t i = 0; i < COUNT_OF(dir_ranks); i++) {
        if (strcasecmp(base_of(dir), dir_ranks[i].dir) == 0)
            return dir_ranks[i].rank;
    }
    return strstr(base_of(dir), "mod") ? -1 : 10;
}

/* Is `host` read before a file of this name behind the Include? */
static bool host_is_before(const struct apache_edit *edit, const struct apache_host *host,
                           const struct place *place)
{
    const struct apache_tree *tree = &edit->model.tree;
    if (host->open < place->include)
        return true;
    if (host->open >= tree->lines[place->include].next)
        return false;
    const char *path = tree->files[tree->lines[host->open].file]->path;
    AUTO_FREE char *dir = fs_dirname(path);
    return strcmp(dir, place->dir) != 0 || strcmp(base_of(path), place->file) < 0;
}

/* Some host is the default for its address: it must stay so. */
static bool keeps_defaults(const struct apache_edit *edit, const struct apache_companion *companion,
                           const struct place *place, int port)
{
    AUTO_STRLIST addresses = STRLIST_INIT;
    apache_addresses(&edit->model, port, companion->https->cert_name, &addresses);
    for (size_t i = 0; i < addresses.n; i++) {
        const struct apache_host *first =
            apache_owner_at(&edit->model, "", addresses.v[i], port, false, companion->https->cert_name);
        if (first && first->open != APACHE_NONE && !host_is_before(edit, first, place))
            return false;
    }
    return true;
}

/* What is defined where the sources are may be asked for in their twins. */
static bool comes_after_sources(const struct apache_edit *edit, const struct apache_companion *companion,
                                const struct place *place)
{
    for (size_t i = 0; i < companion->n_sources; i++) {
        const struct apache_host *host = companion->sources[i].host;
        if (host->open != APACHE_NONE && !host_is_before(edit, host, place))
            return false;
    }
    return true;
}

static char *safe_name(const char *name)
{
    char *safe = mem_dup(name[0] == '*' && name[1] == '.' ? name + 2 : name);
    for (char *c = safe; *c; c++) {
        if (!isalnum((unsigned char)*c) && !strchr(".-_", *c))
            *c = '_';
    }
    if (safe[0] == '.')
        safe[0] = '_';
    return safe;
}

/* The Include's directory and the pattern in it; false when a new file could not be added there. */
static bool include_dir(const struct apache_tree *tree, size_t index, char **dir, char **pattern)
{
    const struct apache_line *line = &tree->lines[index];
    if (line->parent != APACHE_NONE || line->use != APACHE_NONE || line->kind != APACHE_DIRECTIVE ||
        (strcasecmp(line->name, "Include") != 0 && strcasecmp(line->name, "IncludeOptional") != 0))
        return false;
    const char *args = line->args;
    AUTO_FREE char *word = apache_word(&args);
    if (!word)
        return false;
    AUTO_FREE char *path = apache_path(tree, word);
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        path[--len] = '\0';
    if (fs_is_dir(path)) {
        *dir = mem_dup(path);
        *pattern = mem_dup("*");
        return true;
    }
    AUTO_FREE char *parent = fs_dirname(path);
    if (!strpbrk(base_of(path), "*?[") || strpbrk(parent, "*?[") || !fs_is_dir(parent))
        return false;
    *dir = mem_dup(parent);
    *pattern = mem_dup(base_of(path));
    return true;
}

static bool source_is_in(const struct apache_edit *edit, const struct apache_companion *companion,
                         size_t include)
{
    const struct apache_host *host = companion->sources[0].host;
    return host->open != APACHE_NONE && host->open > include &&
           host->open < edit->model.tree.lines[include].next;
}

/* Does a host in it ask what is defined? (Our own Listen does, before all hosts.) */
static bool hosts_ask_definitions(const char *text)
{
    const char *hosts = strstr(text, "<VirtualHost");
    return hosts && asks_definitions(hosts);
}

/* A companion of ours that somebody has disabled may be written anew; any other file of its name is not ours.
 */
static bool is_old_companion(const struct txn *txn, const char *path, const char *id)
{
    AUTO_BUF text = BUF_INIT;
    struct apache_file file;
    struct err ignored = ERR_INIT;
    if (!txn_read(txn, path, 1u << 20, &text, &ignored) ||
        !apache_lex(path, buf_str(&text), text.len, &file, &ignored))
        return false;
    bool ours = file.n_blocks > 0 && file.blocks[0].intact && strcmp(file.blocks[0].kind, "companion") == 0 &&
                strcmp(file.blocks[0].id, id) == 0 && file.blocks[0].first == 0 &&
                file.blocks[0].last + 1 == file.n_nodes;
    apache_file_clear(&file);
    return ours;
}

/* Debian keeps the files of sites-enabled beside it; NULL = there is no such directory. The caller frees. */
static char *available_dir(const char *dir)
{
    AUTO_FREE char *parent = fs_dirname(dir);
    char *available = fs_join(parent, "sites-available");
    if (strcmp(base_of(dir), "sites-enabled") == 0 && fs_is_dir(available))
        return available;
    free(available);
    return NULL;
}

static bool is_free(const struct apache_edit *edit, const char *dir, const char *name, const char *id)
{
    AUTO_FREE char *path = fs_join(dir, name);
    if (txn_exists(edit->txn, path))
        return false;
    AUTO_FREE char *available = available_dir(dir);
    AUTO_FREE char *file = available ? fs_join(available, name) : NULL;
    return !file || !txn_exists(edit->txn, file) || is_old_companion(edit->txn, file, id);
}

static void consider(const struct apache_edit *edit, const struct apache_companion *companion, bool ordered,
                     size_t include, struct place *best)
{
    AUTO_FREE char *dir = NULL;
    AUTO_FREE char *pattern = NULL;
    if (!include_dir(&edit->model.tree, include, &dir, &pattern))
        return;
    int rank = dir_rank(dir);
    if (rank < 0)
        return;
    if (source_is_in(edit, companion, include))
        rank = 0;
    AUTO_FREE char *safe = safe_name(companion->https->cert_name);
    static const char *const prefixes[] = {"", "zzz-"};
    for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
        AUTO_FREE char *name = mem_fmt("%s%s-tlsup.conf", prefixes[i], safe);
        struct place place = {.dir = dir, .file = name, .include = include, .rank = rank * 2 + (int)i};
        if (fnmatch(pattern, name, FNM_PERIOD) != 0 ||
            !is_free(edit, dir, name, companion->https->cert_name) ||
            !keeps_defaults(edit, companion, &place, 443) ||
            (ordered && !comes_after_sources(edit, companion, &place)) ||
            (has_plain_twin(companion) && !keeps_defaults(edit, companion, &place, 80)))
            continue;
        if (best->dir && best->rank <= place.rank)
            continue;
        free(best->dir);
        free(best->file);
        *best = (struct place){
            .dir = mem_dup(dir), .file = mem_dup(name), .include = include, .rank = place.rank};
    }
}

/* Debian keeps the file in sites-available and a link to it in sites-enabled. */
static bool stage_new_file(struct apache_edit *edit, const struct place *place, const struct buf *text,
                           char **link, char **target, struct err *err)
{
    AUTO_FREE char *path = fs_join(place->dir, place->file);
    AUTO_FREE char *available = available_dir(place->dir);
    if (!available)
        return txn_write(edit->txn, path, text->data, text->len, 0644, err);
    AUTO_FREE char *file = fs_join(available, place->file);
    if (!txn_write(edit->txn, file, text->data, text->len, 0644, err))
        return false;
    *link = mem_dup(path);
    *target = mem_fmt("../sites-available/%s", place->file);
    return true;
}

static void append_to_conf(struct apache_edit *edit, const char *text)
{
    const struct apache_file *conf = edit->model.tree.files[0];
    bool newline = !conf->len || conf->data[conf->len - 1] == '\n';
    AUTO_FREE char *whole = mem_fmt("%s%s", newline ? "" : "\n", text);
    apache_splice(edit, 0, conf->len, 0, whole);
}

/* The companion of before, if there is one. */
static const struct apache_block *old_companion(const struct apache_edit *edit, const char *id, size_t *file)
{
    const struct apache_tree *tree = &edit->model.tree;
    for (size_t f = 0; f < tree->n_files; f++) {
        for (size_t i = 0; i < tree->files[f]->n_blocks; i++) {
            const struct apache_block *block = &tree->files[f]->blocks[i];
            if (strcmp(block->kind, "companion") == 0 && strcmp(block->id, id) == 0) {
                *file = f;
                return block;
            }
        }
    }
    return NULL;
}

static bool refuse_edited(const char *path, struct err *err)
{
    err_set(err, ERR_WEBSERVER, NEXT_FIX_CONFIG, path, "%s was changed by hand since tlsup wrote it", path);
    return err_advise(err, "Take the changes out, or remove the file, and run the command again.");
}

bool apache_companion_stage(struct apache_edit *edit, const struct apache_companion *companion, char **link,
                            char **target, struct err *err)
{
    *link = *target = NULL;
    AUTO_BUF text = BUF_INIT;
    bool debian = apache_has_mods_enabled(edit);
    size_t index;
    const struct apache_block *old = old_companion(edit, companion->https->cert_name, &index);
    if (old) {
        const struct apache_file *file = edit->model.tree.files[index];
        if (!old->intact)
            return refuse_edited(file->path, err);
        size_t begin = file->nodes[old->first].begin, end = file->nodes[old->last].end;
        companion_text(edit, companion, debian && (begin > 0 || end < file->len), &text);
        if (end - begin != text.len || memcmp(file->data + begin, text.data, text.len) != 0)
            apache_splice(edit, index, begin, end - begin, buf_str(&text));
        return true;
    }
    struct place place = {0};
    companion_text(edit, companion, false, &text);
    bool ordered = hosts_ask_definitions(buf_str(&text));
    for (size_t i = 0; i < edit->model.tree.n_lines; i++)
        consider(edit, companion, ordered, i, &place);
    if (!place.dir) {
        buf_reset(&text);
        companion_text(edit, companion, debian, &text);
        append_to_conf(edit, buf_str(&text));
        return true;
    }
    bool ok = stage_new_file(edit, &place, &text, link, target, err);
    free(place.dir);
    free(place.file);
    return ok;
}

bool apache_companion_remove(struct apache_edit *edit, const char *id, struct err *err)
{
    size_t index;
    const struct apache_block *old = old_companion(edit, id, &index);
    if (!old || !old->intact)
        return true;
    const struct apache_file *file = edit->model.tree.files[index];
    size_t begin = file->nodes[old->first].begin, end = file->nodes[old->last].end;
    if (begin > 0 || end < file->len) {
        apache_splice(edit, index, begin, end - begin, "");
        return true;
    }
    if (!txn_unlink(edit->txn, file->path, err))
        return false;
    return strcmp(file->path, file->real) == 0 || txn_unlink(edit->txn, file->real, err);
}
