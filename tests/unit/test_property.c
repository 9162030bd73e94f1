/*
 * test_property.c - what must hold for every configuration, shown on all fixtures, on changes of them by
 * chance, and on texts made by chance.
 *
 * - Each byte of a text belongs to exactly one part of its parse; the parts in order are the text.
 * - Edits between the parts change nothing beside their ranges.
 * - What enable does, done twice is done once; undone, every byte, mode, owner and link is as before; and the
 * server accepts each state.
 *
 * TLSUP_TEST_SEED=N repeats a run, FUZZ_SECONDS=N goes on with new seeds for so long.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "web_bed.h"

#include "../../src/install/apache_edit.h"
#include "../../src/install/nginx_edit.h"
#include "../fuzz/grammar_apache.h"

enum {
    TEXTS = 20000,         /* made or changed by chance, for the lexers */
    EDITS_PER_FIXTURE = 6, /* sets of edits */
    CHANGED_TRIES =
        2, /* changes of each fixture; those that the server still accepts are enabled and undone */
};

static uint64_t seed;
static const char *what; /* is being tried, for the message */
static const struct buf *what_text;

#define holds(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            broken(__LINE__, #condition);                                                                    \
    } while (0)

/* A text that may have any bytes, to be read by a person. */
static void add_readable(const struct buf *text, struct buf *out)
{
    for (size_t i = 0; i < text->len; i++) {
        unsigned char c = (unsigned char)text->data[i];
        if (c == '\n' || (c >= ' ' && c < 127))
            buf_addc(out, (char)c);
        else
            buf_addf(out, "\\x%02x", c);
    }
}

static void broken(int line, const char *condition)
{
    AUTO_BUF shown = BUF_INIT;
    if (what_text != NULL)
        add_readable(what_text, &shown);
    fail_msg("line %d: %s does not hold for %s (TLSUP_TEST_SEED=%llu):\n%s", line, condition, what,
             (unsigned long long)seed, buf_str(&shown));
}

static void want_server(enum web_kind kind)
{
    if (bed_base[0] == '\0' || (kind == WEB_NGINX ? nginx_program() == NULL
                                                  : apache_program() == NULL || apache_modules() == NULL)) {
        print_message("no %s to ask: skipped\n", web_kind_name(kind));
        skip();
    }
}

/* -- lexing and writing back: nginx -- */

struct tokens {
    struct nginx_token *v;
    size_t n, at;
};

static void read_tokens(const struct buf *text, struct tokens *out)
{
    struct nginx_lexer lexer;
    struct nginx_token token;
    size_t at = 0;
    *out = (struct tokens){0};
    nginx_lexer_init(&lexer, buf_str(text), text->len);
    while (nginx_lexer_next(&lexer, &token)) {
        holds(token.begin == at && token.end > at && token.end <= text->len);
        at = token.end;
        if ((out->n & (out->n - 1)) == 0)
            out->v = mem_resize(out->v, out->n > 0 ? out->n * 2 : 1, sizeof *out->v);
        out->v[out->n++] = token;
    }
    holds(at == text->len);
}

/* Past space and comments; what comes then, NULL at the end. */
static const struct nginx_token *next_part(struct tokens *tokens)
{
    while (tokens->at < tokens->n &&
           (tokens->v[tokens->at].kind == NGINX_SPACE || tokens->v[tokens->at].kind == NGINX_COMMENT))
        tokens->at++;
    return tokens->at < tokens->n ? &tokens->v[tokens->at] : NULL;
}

static const struct nginx_token *take_part(struct tokens *tokens, enum nginx_token_kind kind)
{
    const struct nginx_token *token = next_part(tokens);
    holds(token != NULL && token->kind == kind);
    tokens->at++;
    return token;
}

/* Every token is eaten by exactly one node, in order; nodes lie inside of their parents. */
static void check_nodes(const struct buf *text, const struct nginx_node *block, struct tokens *tokens)
{
    size_t at = block->open;
    for (size_t i = 0; i < block->n_children; i++) {
        const struct nginx_node *node = &block->children[i];
        holds(node->n_args > 0 && node->begin >= at && node->begin < node->end && node->end <= block->close);
        for (size_t k = 0; k < node->n_args; k++) {
            const struct nginx_token *word = take_part(tokens, NGINX_WORD);
            holds(k > 0 || (word->begin == node->begin && word->line == node->line));
            AUTO_FREE char *meaning = nginx_word_decode(buf_str(text) + word->begin, word->end - word->begin);
            holds(strcmp(meaning, node->args[k]) == 0);
        }
        if (node->block) {
            holds(take_part(tokens, NGINX_OPEN)->end == node->open && node->open <= node->close &&
                  node->close + 1 == node->end);
            if (tokens->at < tokens->n && tokens->v[tokens->at].kind == NGINX_LUA) {
                holds(node->n_children == 0);
                tokens->at++;
            }
            check_nodes(text, node, tokens);
            const struct nginx_token *close = take_part(tokens, NGINX_CLOSE);
            holds(close->begin == node->close && close->end == node->end);
        } else {
            holds(take_part(tokens, NGINX_SEMICOLON)->end == node->end);
        }
        at = node->end;
    }
}

/* Out of the tree alone: what stands between the nodes, and the nodes. */
static void write_back(const struct buf *text, const struct nginx_node *block, struct buf *out)
{
    const char *data = buf_str(text);
    size_t at = block->open;
    for (size_t i = 0; i < block->n_children; i++) {
        const struct nginx_node *node = &block->children[i];
        buf_add(out, data + at, node->begin - at);
        buf_add(out, data + node->begin, (node->block ? node->open : node->end) - node->begin);
        if (node->block) {
            write_back(text, node, out);
            buf_add(out, data + node->close, node->end - node->close);
        }
        at = node->end;
    }
    buf_add(out, data + at, block->close - at);
}

/* True when it is a configuration. */
static bool nginx_tiles(const struct buf *text)
{
    struct tokens tokens;
    struct nginx_node root;
    struct err err = ERR_INIT;
    what_text = text;
    read_tokens(text, &tokens);
    bool parsed = nginx_parse(buf_str(text), text->len, "text", 0, &root, &err);
    if (parsed) {
        AUTO_BUF back = BUF_INIT;
        check_nodes(text, &root, &tokens);
        holds(next_part(&tokens) == NULL);
        write_back(text, &root, &back);
        holds(bed_same(text, &back));
        nginx_node_clear(&root);
    } else {
        holds(err_isset(&err));
    }
    free(tokens.v);
    return parsed;
}

/* -- lexing and writing back: Apache -- */

static void check_apache_nodes(const struct apache_file *file)
{
    size_t section = APACHE_NONE, line = 1;
    for (size_t i = 0; i < file->n_nodes; i++) {
        const struct apache_node *node = &file->nodes[i];
        holds(node->begin == (i > 0 ? file->nodes[i - 1].end : 0) && node->end > node->begin);
        holds(node->line == line);
        for (size_t at = node->begin; at < node->end; at++)
            line += file->data[at] == '\n';
        if (node->kind == APACHE_CLOSE) {
            holds(section != APACHE_NONE && node->partner == section && file->nodes[section].partner == i);
            section = file->nodes[section].parent;
        }
        holds(node->parent == section);
        if (node->kind == APACHE_OPEN)
            section = i;
    }
    holds(section == APACHE_NONE);
}

static bool apache_tiles(const struct buf *text)
{
    struct apache_file file;
    struct err err = ERR_INIT;
    what_text = text;
    if (!apache_lex("text", buf_str(text), text->len, &file, &err)) {
        holds(err_isset(&err));
        return false;
    }
    AUTO_BUF back = BUF_INIT;
    check_apache_nodes(&file);
    for (size_t i = 0; i < file.n_nodes; i++)
        buf_add(&back, file.data + file.nodes[i].begin, file.nodes[i].end - file.nodes[i].begin);
    holds(bed_same(text, &back));
    apache_file_clear(&file);
    return true;
}

/* -- texts -- */

static void read_fixture(enum web_kind kind, const char *name, struct buf *out)
{
    AUTO_FREE char *path = mem_fmt("%s/tests/fixtures/%s/%s", bed_source(), web_kind_name(kind), name);
    bed_slurp(path, out);
}

static void mutate(enum web_kind kind, struct dice *dice, struct buf *text)
{
    if (kind == WEB_NGINX)
        dice_mutate(dice, NGINX_SPECIAL, NGINX_N_SPECIAL, text);
    else
        dice_mutate(dice, APACHE_SPECIAL, APACHE_N_SPECIAL, text);
}

/* A fixture changed a little, or a text made by chance. */
static void make_text(enum web_kind kind, const struct strlist *fixtures, struct dice *dice, struct buf *text)
{
    if (dice_one_in(dice, 2)) {
        kind == WEB_NGINX ? grammar_nginx(dice, text) : grammar_apache(dice, text);
        return;
    }
    read_fixture(kind, fixtures->v[dice_throw(dice, fixtures->n)], text);
    for (size_t n = 1 + dice_throw(dice, 4); n > 0; n--)
        mutate(kind, dice, text);
}

static bool more(size_t done, size_t usual, int64_t since_ms)
{
    return dice_seconds() > 0 ? clock_mono_ms() - since_ms < dice_seconds() * 1000 : done < usual;
}

static void every_byte_has_its_place(enum web_kind kind, bool (*tiles)(const struct buf *text))
{
    AUTO_STRLIST fixtures = STRLIST_INIT;
    int64_t since_ms = clock_mono_ms();
    size_t texts = 0, parsed = 0;
    bed_fixtures(kind, &fixtures);
    what = "a fixture";
    for (size_t i = 0; i < fixtures.n; i++) {
        AUTO_BUF text = BUF_INIT;
        read_fixture(kind, fixtures.v[i], &text);
        (void)tiles(&text); /* some have a part that is not for the server */
    }
    what = "a text made by chance";
    for (seed = dice_seed(1); more(texts, TEXTS, since_ms); seed++, texts++) {
        AUTO_BUF text = BUF_INIT;
        struct dice dice = dice_seeded(seed);
        make_text(kind, &fixtures, &dice, &text);
        parsed += tiles(&text);
    }
    print_message(
        "%s: %zu fixtures and %zu texts by chance, %zu of them configurations: every byte in its place\n",
        web_kind_name(kind), fixtures.n, texts, parsed);
    assert_true(parsed > texts / 10);
}

static void nginx_text_is_its_parts(void **state)
{
    (void)state;
    every_byte_has_its_place(WEB_NGINX, nginx_tiles);
}

static void apache_text_is_its_parts(void **state)
{
    (void)state;
    every_byte_has_its_place(WEB_APACHE, apache_tiles);
}

/* -- edits stay inside their ranges -- */

/* What one file must hold in the end: its bytes outside of the ranges, and our texts. */
struct wanted {
    char *path;
    size_t at; /* up to here it is written */
    struct buf text;
};

static void want_edit(struct wanted *wanted, const char *data, size_t begin, size_t end, const char *text)
{
    buf_add(&wanted->text, data + wanted->at, begin - wanted->at);
    buf_adds(&wanted->text, text);
    wanted->at = end;
}

static void check_wanted(struct txn *txn, struct wanted *wanted, const char *data, size_t len)
{
    AUTO_BUF staged = BUF_INIT;
    buf_add(&wanted->text, data + wanted->at, len - wanted->at);
    ok(txn_read(txn, wanted->path, BED_FILE_LIMIT, &staged, &err));
    what_text = &staged;
    holds(bed_same(&wanted->text, &staged));
    what_text = NULL;
    buf_clear(&wanted->text);
}

static const char *const insertions[] = {"# ours\n",           " ", "\n\n", "a b;", "# \xe9 ours\r\n", "x",
                                         "\t# tab\n    y z;\n"};

/* Of the nodes below `block` some get an edit; `floor` keeps them from overlapping. */
static void edit_nginx_nodes(struct dice *dice, struct nginx_editor *editor, const struct nginx_node *block,
                             struct wanted *wanted, const char *data)
{
    for (size_t i = 0; i < block->n_children; i++) {
        const struct nginx_node *node = &block->children[i];
        size_t kind = dice_throw(dice, 8);
        const char *text = kind == 2 ? "" : DICE_PICK(dice, insertions);
        if (kind > 3) {
            if (node->block)
                edit_nginx_nodes(dice, editor, node, wanted, data);
            continue;
        }
        /* before it, in its place, cut, behind it */
        size_t begin = kind == 3 ? node->end : node->begin, end = kind == 0 ? node->begin : node->end;
        if (begin < wanted->at ||
            (begin == wanted->at && begin > 0)) /* two insertions at one place have no order */
            continue;
        nginx_edit_add(editor, node->file, begin, end - begin, text);
        want_edit(wanted, data, begin, end, text);
    }
}

static void edit_nginx(struct bed *bed, struct dice *dice, struct txn *txn)
{
    struct err err = ERR_INIT;
    AUTO_NGINX_EDITOR editor = {.web = &bed->web, .txn = txn, .err = &err};
    if (!nginx_editor_open(&editor, NULL, NULL))
        fail_msg("%s", err.text);
    const struct nginx_config *config = nginx_config_of(&editor);
    struct wanted *wanted = mem_array(config->n_files, sizeof *wanted);
    for (size_t i = 0; i < config->n_files; i++) {
        wanted[i].path = config->files[i]->path;
        if (!dice_one_in(dice, 3))
            edit_nginx_nodes(dice, &editor, &config->files[i]->root, &wanted[i],
                             buf_str(&config->files[i]->text));
    }
    if (!nginx_edit_stage(&editor))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < config->n_files; i++)
        check_wanted(txn, &wanted[i], buf_str(&config->files[i]->text), config->files[i]->text.len);
    free(wanted);
}

/* Whole lines, and no section loses one of its ends: what would not be a configuration is refused before it
 * is staged. */
static void edit_apache_file(struct dice *dice, struct apache_edit *edit, size_t index, struct wanted *wanted)
{
    static const char *const lines[] = {"# ours\n",
                                        "\n",
                                        "Define A b\n",
                                        "# \xe9 \r\n",
                                        "\t# tab\n\tServerAdmin a@example.org\n",
                                        "Define \\\n B \\\n c\n"};
    const struct apache_file *file = edit->model.tree.files[index];
    for (size_t i = 0; i < file->n_nodes; i++) {
        const struct apache_node *node = &file->nodes[i];
        size_t kind = dice_throw(dice, 8);
        bool section = node->kind == APACHE_OPEN || node->kind == APACHE_CLOSE,
             line = file->data[node->end - 1] == '\n';
        const char *text = kind == 2 ? "" : DICE_PICK(dice, lines);
        size_t begin = kind == 3 ? node->end : node->begin, end = kind == 0 ? node->begin : node->end;
        if (kind > 3 || begin < wanted->at || (section && (kind == 1 || kind == 2)) || (kind == 3 && !line))
            continue;
        apache_splice(edit, index, begin, end - begin, text);
        want_edit(wanted, file->data, begin, end, text);
    }
}

static void edit_apache(struct bed *bed, struct dice *dice, struct txn *txn)
{
    struct err err = ERR_INIT;
    struct apache_edit edit = {0};
    if (!apache_edit_begin(&bed->web, txn, NULL, &edit, &err))
        fail_msg("%s", err.text);
    size_t n = edit.model.tree.n_files;
    struct wanted *wanted = mem_array(n, sizeof *wanted);
    for (size_t i = 0; i < n; i++) {
        wanted[i].path = edit.model.tree.files[i]->path;
        if (!dice_one_in(dice, 3))
            edit_apache_file(dice, &edit, i, &wanted[i]);
    }
    if (!apache_edit_stage(&edit, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < n; i++)
        check_wanted(txn, &wanted[i], edit.model.tree.files[i]->data, edit.model.tree.files[i]->len);
    free(wanted);
    apache_edit_clear(&edit);
}

/* Staging writes nothing; what is applied is what was staged; taken back, all is as before. */
static size_t apply_and_take_back(const struct bed *bed, struct txn *txn, const struct buf *before)
{
    AUTO_BUF now = BUF_INIT;
    AUTO_STRLIST paths = STRLIST_INIT;
    size_t n = txn_count(txn);
    struct buf *texts = mem_array(n + 1, sizeof *texts);
    txn_paths(txn, &paths);
    holds(paths.n == n);
    for (size_t i = 0; i < n; i++)
        ok(txn_read(txn, paths.v[i], BED_FILE_LIMIT, &texts[i], &err));
    bed_look(bed, &now);
    holds(bed_same(before, &now));
    ok(txn_apply(txn, &err));
    for (size_t i = 0; i < n; i++) {
        AUTO_BUF text = BUF_INIT;
        bed_slurp(paths.v[i], &text);
        holds(bed_same(&texts[i], &text));
        buf_clear(&texts[i]);
    }
    ok(txn_rollback(txn, &err));
    bed_look(bed, &now);
    holds(bed_same(before, &now));
    free(texts);
    return n;
}

/* Some fixtures are there to be refused. */
static bool readable(const struct bed *bed)
{
    struct sites sites = SITES_INIT;
    struct err err = ERR_INIT;
    bool done = web_read(&bed->web, &sites, &err);
    sites_clear(&sites);
    return done;
}

static void edits_stay_inside(enum web_kind kind,
                              void (*edit)(struct bed *bed, struct dice *dice, struct txn *txn))
{
    AUTO_STRLIST fixtures = STRLIST_INIT;
    size_t sets = 0, files = 0;
    want_server(kind);
    bed_fixtures(kind, &fixtures);
    what_text = NULL;
    seed = dice_seed(1);
    for (size_t i = 0; i < fixtures.n; i++) {
        AUTO_BED bed;
        AUTO_BUF before = BUF_INIT;
        what = fixtures.v[i];
        bed_fixture(&bed, kind, fixtures.v[i]);
        bed_look(&bed, &before);
        if (!readable(&bed))
            continue;
        for (size_t k = 0; k < EDITS_PER_FIXTURE; k++, sets++) {
            struct dice dice = dice_seeded(seed + sets);
            struct txn *txn = bed_begin(&bed);
            edit(&bed, &dice, txn);
            files += apply_and_take_back(&bed, txn, &before);
            txn_free(txn);
        }
    }
    print_message(
        "%s: %zu sets of edits in %zu files of %zu fixtures: nothing changed outside of their ranges\n",
        web_kind_name(kind), sets, files, fixtures.n);
}

static void nginx_edits_stay_inside(void **state)
{
    (void)state;
    edits_stay_inside(WEB_NGINX, edit_nginx);
}

static void apache_edits_stay_inside(void **state)
{
    (void)state;
    edits_stay_inside(WEB_APACHE, edit_apache);
}

/* -- enable, again, undo -- */

struct tally {
    size_t beds, done, refused, unfit;
};

static void finish(struct txn *txn)
{
    ok(txn_apply(txn, &err));
    ok(txn_note(txn, TXN_TESTED, &err) && txn_note(txn, TXN_VERIFIED, &err) && txn_commit(txn, &err));
}

static void check_twice_is_once(const struct bed *bed, bool redirect)
{
    AUTO_BUF diff = BUF_INIT;
    struct txn *again = bed_begin(bed);
    ok(bed_stage(bed, redirect, again, &err));
    txn_diff(again, &diff);
    if (txn_count(again) != 0)
        fail_msg("%s (TLSUP_TEST_SEED=%llu): done again, it changes\n%s", what, (unsigned long long)seed,
                 buf_str(&diff));
    txn_free(again);
}

static void undo(const struct bed *bed)
{
    AUTO_STRLIST messages = STRLIST_INIT;
    struct txn *txn = bed_begin(bed);
    ok(txn_undo(txn, NULL, &messages, &err));
    finish(txn);
    txn_free(txn);
    if (messages.n > 0)
        fail_msg("%s (TLSUP_TEST_SEED=%llu): undo says: %s", what, (unsigned long long)seed, messages.v[0]);
}

static void check_server(const struct bed *bed, const char *when)
{
    struct err err = ERR_INIT;
    if (web_test(&bed->web, &err))
        return;
    AUTO_BUF all = BUF_INIT, shown = BUF_INIT;
    bed_look(bed, &all);
    add_readable(&all, &shown);
    const char *at = strstr(buf_str(&shown), "nginx.conf 1");
    fail_msg("%s (TLSUP_TEST_SEED=%llu) %s: %s\n%s", what, (unsigned long long)seed, when, err.text,
             at != NULL ? at : buf_str(&shown));
}

/* On a configuration that the server accepts. */
static void enable_and_undo(const struct bed *bed, bool redirect, struct tally *tally)
{
    AUTO_BUF before = BUF_INIT, after = BUF_INIT;
    struct txn *txn = bed_begin(bed);
    struct err why = ERR_INIT;
    tally->beds++;
    bed_look(bed, &before);
    bool staged = bed_stage(bed, redirect, txn, &why);
    tally->refused += !staged;
    if (!staged && why.code != ERR_WEBSERVER)
        fail_msg("%s (TLSUP_TEST_SEED=%llu): refused with a strange reason: %s", what,
                 (unsigned long long)seed, why.text);
    if (staged && txn_count(txn) > 0) {
        finish(txn);
        check_server(bed, "after the edit");
        check_twice_is_once(bed, redirect);
        undo(bed);
        check_server(bed, "after the undo");
        tally->done++;
    }
    txn_free(txn);
    bed_look(bed, &after);
    what_text = &after;
    holds(bed_same(&before, &after));
    what_text = NULL;
}

static void enable_fixture(enum web_kind kind, const char *name, struct tally *tally)
{
    for (int redirect = 0; redirect < 2; redirect++) {
        AUTO_BED bed;
        struct err err = ERR_INIT;
        bed_fixture(&bed, kind, name);
        if (web_test(&bed.web, &err)) {
            enable_and_undo(&bed, redirect == 1, tally);
        } else {
            print_message("%s is not for the server of this machine: %.300s\n", name, err.text);
            tally->unfit++;
        }
    }
}

/* The same meaning, written in another way: other gaps, comments, quotes. */
static void restyle_nginx(struct dice *dice, struct buf *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789./_-:";
    AUTO_BUF old = BUF_INIT;
    struct tokens tokens;
    buf_add(&old, buf_str(text), text->len);
    read_tokens(&old, &tokens);
    buf_reset(text);
    for (size_t i = 0; i < tokens.n; i++) {
        const struct nginx_token *token = &tokens.v[i];
        AUTO_FREE char *word = mem_ndup(old.data + token->begin, token->end - token->begin);
        bool after_comment = i > 0 && tokens.v[i - 1].kind == NGINX_COMMENT, change = dice_one_in(dice, 4);
        if (token->kind == NGINX_SPACE && change && !after_comment)
            gap(dice, text);
        else if (token->kind == NGINX_WORD && change && strspn(word, plain) == strlen(word))
            buf_addf(text, dice_one_in(dice, 2) ? "\"%s\"" : "'%s'", word);
        else
            buf_add(text, old.data + token->begin, token->end - token->begin);
        if ((token->kind == NGINX_SEMICOLON || token->kind == NGINX_OPEN || token->kind == NGINX_CLOSE) &&
            dice_one_in(dice, 6))
            gap(dice, text);
    }
    free(tokens.v);
}

/* The same for Apache: continuation lines, indentation, case of names, remarks. */
static void restyle_apache(struct dice *dice, struct buf *text)
{
    AUTO_BUF old = BUF_INIT;
    bool quoted = false, name = true;
    buf_add(&old, buf_str(text), text->len);
    buf_reset(text);
    for (size_t i = 0; i < old.len; i++) {
        char c = old.data[i];
        bool begins = i == 0 || (old.data[i - 1] == '\n' && (i < 2 || old.data[i - 2] != '\\'));
        if (begins) {
            static const char *const before[] = {"# \xe9 remark\n", "\n", "\t ", "  ", "# on \\\n and on\n"};
            buf_adds(text, dice_one_in(dice, 5) ? DICE_PICK(dice, before) : "");
            quoted = false;
        }
        name = begins || (name && c != ' ' && c != '#' && c != '\t');
        quoted ^= c == '"' || c == '\'';
        if (name && c >= 'a' && c <= 'z' && dice_one_in(dice, 12))
            c = (char)(c - 32);
        buf_addc(text, c);
        if (c == ' ' && !quoted && i > 0 && old.data[i - 1] != '\\' && dice_one_in(dice, 10))
            buf_adds(text, dice_one_in(dice, 2) ? "\\\n" : "\\\r\n  ");
    }
}

/* The fixture with one of its files changed by chance. Nothing happens where the server refuses that. */
static void enable_changed(enum web_kind kind, const char *name, struct tally *tally)
{
    AUTO_BED bed;
    AUTO_BUF text = BUF_INIT;
    struct dice dice = dice_seeded(seed);
    struct err err = ERR_INIT;
    bed_fixture(&bed, kind, name);
    const char *file = bed.edited.v[dice_throw(&dice, bed.edited.n)];
    AUTO_FREE char *path = fs_join(bed.root, file);
    bed_slurp(path, &text);
    if (!dice_one_in(&dice, 3))
        kind == WEB_NGINX ? restyle_nginx(&dice, &text) : restyle_apache(&dice, &text);
    else
        mutate(kind, &dice, &text);
    bed_put(bed.root, file, buf_str(&text), text.len);
    if (web_test(&bed.web, &err))
        enable_and_undo(&bed, dice_one_in(&dice, 2), tally);
}

static void enable_again_undo(enum web_kind kind, size_t tries)
{
    AUTO_STRLIST fixtures = STRLIST_INIT;
    struct tally fixture = {0}, changed = {0};
    int64_t since_ms = clock_mono_ms();
    want_server(kind);
    bed_fixtures(kind, &fixtures);
    what_text = NULL;
    seed = dice_seed(1);
    for (size_t i = 0; i < fixtures.n; i++) {
        what = fixtures.v[i];
        enable_fixture(kind, what, &fixture);
    }
    for (size_t n = 0; more(n, tries * fixtures.n, since_ms); n++, seed++) {
        what = fixtures.v[n % fixtures.n];
        enable_changed(kind, what, &changed);
    }
    print_message("%s: %zu fixtures and %zu changed ones that it accepts: %zu and %zu enabled, again without "
                  "a change, and undone to the byte; %zu and %zu refused\n",
                  web_kind_name(kind), fixture.beds, changed.beds, fixture.done, changed.done,
                  fixture.refused, changed.refused);
    assert_true(fixture.unfit <= fixtures.n / 10);
}

static void nginx_enable_again_undo(void **state)
{
    (void)state;
    enable_again_undo(WEB_NGINX, CHANGED_TRIES);
}

static void apache_enable_again_undo(void **state)
{
    (void)state;
    enable_again_undo(WEB_APACHE, 1);
}

static int end(void **state)
{
    (void)state;
    bed_forget_pairs();
    if (bed_base[0] != '\0')
        bed_remove_base();
    return 0;
}

int main(int argc, char **argv)
{
    if (getenv("TLSUP_TEST_BRIEF") != NULL) {
        puts("skipped: this is a brief run, and it takes long");
        return 77;
    }
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(nginx_text_is_its_parts), cmocka_unit_test(apache_text_is_its_parts),
        cmocka_unit_test(nginx_edits_stay_inside), cmocka_unit_test(apache_edits_stay_inside),
        cmocka_unit_test(nginx_enable_again_undo), cmocka_unit_test(apache_enable_again_undo),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    (void)bed_source(); /* before the working directory changes */
    if (!bed_isolate("tlsup-property"))
        bed_base[0] = '\0';
    return cmocka_run_group_tests(tests, NULL, end);
}
