/*
 * dice.h - chance that can be repeated: for the property tests and the fuzz targets that compare with real
 * servers.
 *
 * Throws come from a fuzzer's bytes as long as there are any, then from a generator seeded by the number
 * given (or by those bytes).
 */
#ifndef TLSUP_TESTS_DICE_H
#define TLSUP_TESTS_DICE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tlsup/buf.h"

#define DICE_FUNCTION __attribute__((unused)) static

struct dice {
    const uint8_t *data;
    size_t len, at;
    uint64_t state;
};

DICE_FUNCTION struct dice dice_from(const uint8_t *data, size_t len)
{
    struct dice dice = {.data = data, .len = len, .state = len + 1};
    for (size_t i = 0; i < len; i++)
        dice.state = (dice.state ^ data[i]) * 0x100000001b3U;
    return dice;
}

/* splitmix64 */
DICE_FUNCTION uint64_t dice_bits(struct dice *dice)
{
    uint64_t z = dice->state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

/* Mixed first: from seeds that follow each other, sequences would be the same but for one throw. */
DICE_FUNCTION struct dice dice_seeded(uint64_t seed)
{
    struct dice dice = {.state = seed};
    dice.state = dice_bits(&dice);
    return dice;
}

/* 0 .. below-1 */
DICE_FUNCTION size_t dice_throw(struct dice *dice, size_t below)
{
    if (below < 2)
        return 0;
    if (dice->at < dice->len && below <= 256)
        return dice->data[dice->at++] % below;
    return (size_t)(dice_bits(dice) % below);
}

/* Once in `n` times. */
DICE_FUNCTION bool dice_one_in(struct dice *dice, size_t n)
{
    return dice_throw(dice, n) == 0;
}

DICE_FUNCTION const char *dice_pick(struct dice *dice, const char *const *choices, size_t n)
{
    return choices[dice_throw(dice, n)];
}
#define DICE_PICK(dice, choices) dice_pick(dice, choices, sizeof(choices) / sizeof((choices)[0]))

/* The seed of a run: TLSUP_TEST_SEED repeats one. */
DICE_FUNCTION uint64_t dice_seed(uint64_t usual)
{
    const char *text = getenv("TLSUP_TEST_SEED");
    return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 0) : usual;
}

/* Seconds that a person gives to the random tests instead of their usual count of cases; 0 = the usual count.
 */
DICE_FUNCTION long dice_seconds(void)
{
    const char *text = getenv("FUZZ_SECONDS");
    return text != NULL ? strtol(text, NULL, 10) : 0;
}

/* One small change: bytes lost, doubled, put elsewhere, or others in their place. `special` are the bytes
 * that mean something to the language. */
DICE_FUNCTION void dice_mutate(struct dice *dice, const char *special, size_t n_special, struct buf *text)
{
    AUTO_BUF old = BUF_INIT;
    buf_add(&old, buf_str(text), text->len);
    size_t at = dice_throw(dice, old.len + 1), most = old.len - at;
    size_t n = most > 0 ? 1 + dice_throw(dice, dice_one_in(dice, 4) ? most : most > 12 ? 12 : most) : 0;
    size_t to = dice_throw(dice, old.len + 1);
    size_t kind = dice_throw(dice, 6);
    char byte = dice_one_in(dice, 4) ? (char)dice_throw(dice, 256) : special[dice_throw(dice, n_special)];
    const char *data = buf_str(&old);
    buf_reset(text);
    if (kind == 0 && n > 0) { /* lost */
        buf_add(text, data, at);
        buf_add(text, data + at + n, old.len - at - n);
    } else if (kind == 1 && n > 0) { /* doubled, elsewhere */
        buf_add(text, data, to);
        buf_add(text, data + at, n);
        buf_add(text, data + to, old.len - to);
    } else if (kind == 2 && n > 0) { /* replaced */
        buf_add(text, data, at);
        buf_addc(text, byte);
        buf_add(text, data + at + 1, old.len - at - 1);
    } else if (kind == 3 && n > 0) { /* the end lost */
        buf_add(text, data, dice_one_in(dice, 4) ? at : old.len - 1);
    } else { /* added */
        buf_add(text, data, at);
        buf_addc(text, byte);
        buf_add(text, data + at, old.len - at);
    }
}

#endif
