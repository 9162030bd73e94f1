/*
 * fuzz_nginx_differential.c - what `nginx -t` accepts, our parser accepts; what is broken for it is broken
 * for us.
 *
 * An input is a text when it begins with '=', else the throws of the dice by which one is made
 * (grammar_nginx.h). Needs root, for the namespaces in which nginx is asked.
 */
#include "../../src/install/nginx_lexer.h"
#include "grammar_nginx.h"
#include "judge_process.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static enum verdict ask(const char *dir, const struct buf *text, struct buf *said)
{
    AUTO_FREE char *path = fs_join(dir, "nginx.conf");
    judge_put(path, text);
    return judge_nginx(path, dir, said);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    judge_begin(nginx_program() != NULL, ask);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF text = BUF_INIT;
    struct nginx_node root;
    struct err err = ERR_INIT;
    struct dice dice = dice_from(data, size);
    if (size > 0 && data[0] == '=') {
        buf_adds(&text, NGINX_MAIN "http {\n" NGINX_HTTP);
        buf_add(&text, data + 1, size - 1);
    } else {
        grammar_nginx(&dice, &text);
    }
    bool accepted = nginx_parse(buf_str(&text), text.len, "input", 0, &root, &err);
    if (accepted)
        nginx_node_clear(&root);
    judge_compare(&text, accepted);
    return 0;
}
