/*
 * output.h - what a person sees: steps with progress on a terminal, plain lines when piped; errors; tables.
 *
 * Results go to standard output, progress and errors to standard error. Colours only on a terminal whose TERM
 * is not dumb, and not with CLICOLOR=0; CLICOLOR_FORCE=1 wants them everywhere, NO_COLOR nowhere. -q shows
 * errors only.
 */
#ifndef TLSUP_CLI_OUTPUT_H
#define TLSUP_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "tlsup/buf.h"
#include "tlsup/err.h"

void output_init(bool quiet);
/* A step begins: "Asking Let's Encrypt for a certificate". On a terminal it spins, with seconds elapsed after
 * the first, until the next call here. */
void output_step(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Replace the detail behind the running step: "waiting for the CA to check example.org". */
void output_detail(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Keep the spinner alive; call often (it draws at most ten times a second). */
void output_tick(void);
/* The step ended well: a tick mark and the text (the step's own when fmt is NULL; otherwise a printf format).
 * A step still running when the next one begins has ended well, too. */
void output_done(const char *fmt, ...);
/* The step ended badly; the error itself is printed by output_error(). */
void output_failed(void);
/* Standard output is one document's, for a program: output_line() shows nothing. */
void output_document(bool is);
/* What fails has been told by an earlier run: with -q, output_error() shows it no more. */
void output_told_before(void);
/* A line to standard output that belongs to the result (not shown with -q). */
void output_line(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* A remark that needs attention, standard error. */
/* The same for sentences: broken between words where the terminal ends. */
void output_text(const char *fmt, ...) PRINTF_LIKE(1, 2);
void output_warning(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* An error, for people: what, where, what to do next; wrapped at the terminal's width. Shows "try again in …"
 * for wait_s. Lines of the text or the advice that begin with a space (commands to copy, words of a peer) are
 * left as they are. */
void output_error(const struct err *err);
/* Ask a yes/no question on the terminal; `otherwise` when there is none to ask, or the answer is empty.
 * Ctrl-D and a signal are a no. */
bool output_ask(const char *question, bool otherwise);
bool output_is_terminal(void); /* standard error */

/* -- for texts and tables on standard output -- */
enum output_style { STYLE_PLAIN, STYLE_GOOD, STYLE_BAD, STYLE_CAUTION, STYLE_DIM, STYLE_BOLD, STYLE_COUNT };
/* The escape sequence that begins a style on standard output, "" where colours are not shown; STYLE_PLAIN
 * ends it. */
const char *output_style(enum output_style style);
size_t output_columns(void);           /* of the terminal on standard output; 0 when it is none */
bool output_utf8(void);                /* may text have more than ASCII? */
size_t output_width(const char *text); /* columns that a text takes */
/* Append `text` cut to at most `columns`, with an ellipsis when something was cut. */
void output_cut(struct buf *out, const char *text, size_t columns);
/* Append `text`, broken between words so that no line is wider than `width`; the first line begins at
 * `column`, the others are indented by `indent`. A word that is too long stays whole. Lines that begin with a
 * space are neither broken nor indented. No final newline. */
void output_wrap(struct buf *out, const char *text, size_t column, size_t indent, size_t width);

#endif
