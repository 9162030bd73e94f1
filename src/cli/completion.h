/*
 * completion.h - `tlsup completion SHELL`: what the shells offer, made from the tables of commands and
 * options.
 *
 *   completion.c                what each option and each command takes
 *   completion_bash.c, ..._zsh.c, ..._fish.c    the scripts
 *
 * Certificates are offered by the files in CONFIG_DIR/certs.d, which everybody may list. Their names never go
 * through a shell's evaluation: a file of any name may be there.
 */
#ifndef TLSUP_CLI_COMPLETION_H
#define TLSUP_CLI_COMPLETION_H

#include "options_internal.h"

enum complete {
    COMPLETE_NOTHING, /* a value of the person's own */
    COMPLETE_WORDS,
    COMPLETE_FILE,
    COMPLETE_DIRECTORY,
    COMPLETE_CERTIFICATE,
    COMPLETE_USER,
    COMPLETE_COMMAND,
};

struct completion {
    enum complete kind;
    bool is_list; /* several, with commas between them */
    struct strlist words;
};

/* Both initialise `out`; clear it with completion_clear(). */
void completion_of_option(const struct option *option, struct completion *out);
void completion_of_arguments(enum takes takes, struct completion *out);
void completion_clear(struct completion *completion);

/* Are there other rows of that name, for other commands? */
bool completion_is_ambiguous(const struct option *option);
/* The first word of a command ("account"), each once; NULL past the last. `summary`: what it does. */
const char *completion_first_word_at(size_t index, const char **summary);
/* The beginning of a help text, for one line. */
#define COMPLETION_BRIEF_BYTES 72
const char *completion_brief(const char *help, char out[COMPLETION_BRIEF_BYTES]);
/* 'text' for a shell. */
void completion_quote(struct buf *out, const char *text);

void completion_bash(struct buf *out);
void completion_zsh(struct buf *out);
void completion_fish(struct buf *out);

#endif
