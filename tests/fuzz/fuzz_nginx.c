/*
 * fuzz_nginx.c - libFuzzer entry for the nginx lexer and parser: no byte lost, every range inside its parent,
 * words survive a round trip.
 *
 *     clang -g -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Iinclude tests/fuzz/fuzz_nginx.c
 * src/install/nginx_lexer.c src/base/{buf,err,fs,log,mem,clock}.c -lcrypto
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/install/nginx_lexer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ') {
            return true;
        }
    }
    return false;
}

static void check_word(const char *meaning)
{
    AUTO_BUF word = BUF_INIT;
    if (has_control(meaning)) {
        return;
    }
    nginx_word_encode(meaning, &word);
    char *back = nginx_word_decode(buf_str(&word), word.len);
    check(strcmp(back, meaning) == 0);
    free(back);
}

static void check_node(const struct nginx_node *node, size_t begin, size_t end)
{
    size_t at = begin;
    for (size_t i = 0; i < node->n_children; i++) {
        const struct nginx_node *child = &node->children[i];
        check(child->begin >= at && child->end > child->begin && child->end <= end);
        check(child->n_args > 0);
        for (size_t k = 0; k < child->n_args; k++) {
            check_word(child->args[k]);
        }
        if (child->block) {
            check(child->open > child->begin && child->close >= child->open &&
                  child->end == child->close + 1);
            check_node(child, child->open, child->close);
        }
        at = child->end;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = size > 0 ? (const char *)data : "";
    struct nginx_lexer lexer;
    struct nginx_token token;
    struct nginx_node root;
    struct err err = ERR_INIT;
    size_t at = 0;
    nginx_lexer_init(&lexer, text, size);
    while (nginx_lexer_next(&lexer, &token)) {
        check(token.begin == at && token.end > at && token.end <= size);
        at = token.end;
    }
    check(at == size);
    if (nginx_parse(text, size, "input", 0, &root, &err)) {
        check_node(&root, 0, size);
        nginx_node_clear(&root);
    } else {
        check(err_isset(&err) && root.n_children == 0);
    }
    return 0;
}
