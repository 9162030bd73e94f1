/*
 * fuzz_apache.c - libFuzzer harness for the Apache lexer: the nodes tile the file, words end, blocks are
 * found inside of it.
 * Link it with src/install/apache_lexer.c, src/install/apache_tree.c, the base layer, libcrypto and libidn2,
 * under clang -fsanitize=fuzzer,address,undefined.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/install/apache_lexer.h"
#include "tlsup/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_words(const char *text)
{
    AUTO_STRLIST words = STRLIST_INIT;
    apache_words(text, &words);
    check(words.n <= strlen(text));
    AUTO_FREE char *name = apache_name(text, NULL);
    AUTO_FREE char *args = apache_arguments(text);
    check(strlen(name) <= strlen(text) && strlen(args) <= strlen(text));
}

static void check_node(const struct apache_file *file, size_t i)
{
    const struct apache_node *node = &file->nodes[i];
    check(node->begin == (i ? file->nodes[i - 1].end : 0) && node->end > node->begin);
    check((node->text == NULL) == (node->kind == APACHE_BLANK));
    check(node->parent == APACHE_NONE || node->parent < i);
    if (node->kind == APACHE_OPEN || node->kind == APACHE_CLOSE)
        check(node->partner < file->n_nodes && file->nodes[node->partner].partner == i);
    if (node->text)
        check_words(node->text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct apache_file file;
    struct err err = ERR_INIT;
    if (!apache_lex("fuzz", (const char *)data, size, &file, &err)) {
        check(err_isset(&err));
        return 0;
    }
    for (size_t i = 0; i < file.n_nodes; i++)
        check_node(&file, i);
    check(file.len == size && (!size || file.nodes[file.n_nodes - 1].end == size));
    for (size_t i = 0; i < file.n_blocks; i++)
        check(file.blocks[i].first < file.blocks[i].last && file.blocks[i].last < file.n_nodes);
    struct apache_tree tree = {0};
    apache_tree_define(&tree, "A", "x");
    for (size_t i = 0; i < file.n_nodes; i++) {
        if (file.nodes[i].text)
            free(apache_expand(&tree, file.nodes[i].text));
    }
    apache_tree_clear(&tree);
    apache_file_clear(&file);
    return 0;
}
