/*
 * fuzz_apache_differential.c - what `apache2 -t` accepts, our lexer accepts; what is broken for it is broken
 * for us.
 *
 * An input is a text when it begins with '=', else the throws of the dice by which one is made
 * (grammar_apache.h). Needs root, for the namespaces in which Apache is asked.
 */
#include "../../src/install/apache_lexer.h"
#include "grammar_apache.h"
#include "judge_process.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static enum verdict ask(const char *dir, const struct buf *text, struct buf *said)
{
    static const char *const modules[] = {"mpm_event", "authz_core", "authz_host", "alias", "dir"};
    AUTO_FREE char *path = fs_join(dir, "apache2.conf");
    AUTO_BUF whole = BUF_INIT;
    buf_addf(&whole,
             "Define WWW %s\nDefaultRuntimeDir %s\nPidFile %s/pid\nErrorLog %s/error.log\nServerName "
             "main.example\nListen 80\n",
             dir, dir, dir, dir);
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++)
        buf_addf(&whole, "LoadModule %s_module %s/mod_%s.so\n", modules[i], apache_modules(), modules[i]);
    buf_add(&whole, buf_str(text), text->len);
    judge_put(path, &whole);
    return judge_apache(path, dir, said);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    judge_begin(apache_program() != NULL && apache_modules() != NULL, ask);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_BUF text = BUF_INIT;
    struct apache_file file;
    struct err err = ERR_INIT;
    struct dice dice = dice_from(data, size);
    if (size > 0 && data[0] == '=')
        buf_add(&text, data + 1, size - 1);
    else
        grammar_apache(&dice, &text);
    if (memchr(buf_str(&text), '\0', text.len) != NULL)
        return 0; /* for the server the line ends there; we refuse such a file rather than edit it */
    bool accepted = apache_lex("input", buf_str(&text), text.len, &file, &err);
    if (accepted)
        apache_file_clear(&file);
    judge_compare(&text, accepted);
    return 0;
}
