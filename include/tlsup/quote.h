/*
 * quote.h - what a program of the user's has printed, within the text of an error: lines of their own, each behind "| ".
 *
 * So it can be told from our words wherever that text comes to stand, and taken out where it is not for everybody: it may hold a secret.
 */
#ifndef TLSUP_QUOTE_H
#define TLSUP_QUOTE_H

#include "tlsup/buf.h"

/* "\n| LINE" for each line of `output`, without line ends at its end. Appends. */
void quote_add(const char *output, struct buf *to);
/* The text without such lines, nor the ':' that announces them. Appends. */
void quote_drop(const char *text, struct buf *to);
bool quote_is_in(const char *text);

#endif
