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
#include <strings.h>

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

/* Digits around a point, which an exponent may have moved to outside of them. */
struct decimal {
    const char *digits; /* with the point among them */
    const char *dot;    /* where that is, or behind the last digit */
    int count, point;   /* how many digits there are, and how many before the point */
};

static int digit(const struct decimal *number, int i)
{
    if (i < 0 || i >= number->count)
        return 0;
    return number->digits[i + (number->digits + i >= number->dot)] - '0';
}

/* The length of what was read, 0 if it is no number. */
static size_t read_decimal(const char *text, struct decimal *number)
{
    enum { FAR = 100000 }; /* more than any other number can have */
    const char *end = text;
    *number = (struct decimal){.digits = text};
    for (; is_digit(*end); end++)
        number->point++;
    number->dot = end;
    number->count = number->point;
    if (*end == '.')
        for (end++; is_digit(*end); end++)
            number->count++;
    if (number->count == 0)
        return 0;
    const char *sign = end + 1;
    const char *exponent = sign + (*end && (*sign == '-' || *sign == '+'));
    if ((*end != 'e' && *end != 'E') || !is_digit(*exponent))
        return (size_t)(end - text);
    int moved = 0;
    for (end = exponent; is_digit(*end); end++)
        moved = moved < FAR ? 10 * moved + (*end - '0') : FAR;
    number->point += *sign == '-' ? -moved : moved;
    return (size_t)(end - text);
}

/* So much of a unit, in ns, added to *sum; -1 when that does not fit. */
static int add(int64_t *sum, const struct decimal *number, int64_t unit)
{
    int64_t value = 0;
    for (int i = 0; i < number->point && (value || i < number->count); i++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit(number, i), &value))
            return -1;
    if (__builtin_mul_overflow(value, unit, &value))
        return -1;

    /* From the last digit to the first, a tenth of what is behind each: exact however many. */
    int64_t part = 0, inexact = 0;
    for (int i = number->count - 1; i >= number->point && (part || i >= 0); i--) {
        part += digit(number, i) * unit;
        inexact |= part % 10;
        part /= 10;
    }
    part += inexact != 0;
    return __builtin_add_overflow(value, part, &value) || __builtin_add_overflow(*sum, value, sum)
               ? -1
               : 0;
}

/* As strtold has it. */
static int is_infinity(const char *text)
{
    return strcasecmp(text, "inf") == 0 || strcasecmp(text, "infinity") == 0;
}

int coopdl_duration(const char *text, int64_t *nanoseconds)
{
    int64_t sum = 0;
    int last = -1, overflow = 0;

    if (!text || !*text)
        goto malformed;
    if (is_infinity(text)) {
        *nanoseconds = COOPDL_NEVER;
        return 0;
    }
    for (int first = 1; *text; first = 0) {
        struct decimal number;
        size_t read = read_decimal(text, &number), length;
        if (read == 0)
            goto malformed;
        text += read;
        int unit = *text ? find_unit(text, &length) : (length = 0, first ? SECONDS : -1);
        if (unit <= last)
            goto malformed;
        last = unit;
        text += length;
        overflow |= add(&sum, &number, units[unit].ns) != 0;
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
