/* SPDX-License-Identifier: Apache-2.0 */
/*
 * duration.c -- text to nanoseconds.
 *
 * Whole numbers only: a double would turn 0.1 into something earlier or later.
 * What must hold: the result is never smaller than what was written (a finer
 * fraction is rounded up), and nothing overflows on the way.
 */
#include "coopdl.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct unit {
    const char *name;
    int64_t ns;
} units[] = {
    /* From the largest to the smallest: the order in which they may follow each other. */
    {"d", 86400 * COOPDL_SECOND},
    {"h", 3600 * COOPDL_SECOND},
    {"m", 60 * COOPDL_SECOND},
    {"s", COOPDL_SECOND},
    {"ms", COOPDL_MILLISECOND},
    {"us", COOPDL_MICROSECOND},
    {"ns", 1},
};

enum { SECONDS = 3, UNITS = sizeof(units) / sizeof(units[0]) };

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The unit that `text` names up to the next number or its end; its length goes to `length`. */
static int find_unit(const char *text, size_t *length)
{
    *length = strcspn(text, "0123456789.");
    for (int i = 0; i < UNITS; i++)
        if (*length == strlen(units[i].name) && memcmp(text, units[i].name, *length) == 0)
            return i;
    return -1;
}

/* whole.fraction of a unit, in ns, added to *sum; -1 when that does not fit. */
static int add(int64_t *sum, const char *whole, const char *fraction, int64_t unit)
{
    int64_t value = 0;
    for (; is_digit(*whole); whole++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *whole - '0', &value))
            return -1;
    if (__builtin_mul_overflow(value, unit, &value))
        return -1;

    /* From the last digit to the first, a tenth of what is behind each: exact however many. */
    const char *digit = fraction;
    while (is_digit(*digit))
        digit++;
    int64_t part = 0, inexact = 0;
    while (digit > fraction) {
        part += (*--digit - '0') * unit;
        inexact |= part % 10;
        part /= 10;
    }
    part += inexact != 0;
    return __builtin_add_overflow(value, part, &value) || __builtin_add_overflow(*sum, value, sum)
               ? -1
               : 0;
}

int coopdl_duration(const char *text, int64_t *nanoseconds)
{
    int64_t sum = 0;
    int last = -1, overflow = 0;

    if (!text || !*text)
        goto malformed;
    for (int first = 1; *text; first = 0) {
        const char *whole = text, *fraction = "";
        while (is_digit(*text))
            text++;
        int digits = text > whole;
        if (*text == '.') {
            fraction = ++text;
            while (is_digit(*text))
                text++;
            digits |= text > fraction;
        }
        if (!digits)
            goto malformed;

        size_t length;
        int unit = *text ? find_unit(text, &length) : (length = 0, first ? SECONDS : -1);
        if (unit <= last)
            goto malformed;
        last = unit;
        text += length;
        overflow |= add(&sum, whole, fraction, units[unit].ns) != 0;
    }
    if (overflow) {
        errno = ERANGE;
        return -1;
    }
    *nanoseconds = sum;
    return 0;

malformed:
    errno = EINVAL;
    return -1;
}
