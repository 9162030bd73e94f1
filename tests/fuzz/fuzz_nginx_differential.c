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

static char own_dir[] = "/tmp/tlsup-fuzz.XXXXXX";
static char own_path[sizeof own_dir + sizeof "/nginx.conf"];

static void remove_own(void)
{
    unlink(own_path);
    rmdir(own_dir);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    judge_begin(nginx_program() != NULL, ask);
    if (mkdtemp(own_dir) == NULL)
        abort();
    snprintf(own_path, sizeof own_path, "%s/nginx.conf", own_dir);
    atexit(remove_own);
    return 0;
}

/* Of a file, because what may stand in which block is seen on the walk. */
static bool is_accepted(const struct buf *text)
{
    struct nginx_config config = NGINX_CONFIG_INIT;
    struct err err = ERR_INIT;
    judge_put(own_path, text);
    bool accepted = nginx_config_load(&config, own_path, NULL, NULL, &err);
    nginx_config_clear(&config);
    return accepted;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF text = BUF_INIT;
    struct dice dice = dice_from(data, size);
    if (size > 0 && data[0] == '=') {
        buf_adds(&text, NGINX_MAIN "http {\n" NGINX_HTTP);
        buf_add(&text, data + 1, size - 1);
    } else {
        grammar_nginx(&dice, &text);
    }
    judge_compare(&text, is_accepted(&text));
    return 0;
}
