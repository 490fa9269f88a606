/* SPDX-License-Identifier: Apache-2.0 */
/* line.h -- text put together in the caller's memory, cut off where that ends; without stdio.
 * Async-signal-safe. */
#ifndef COOPDL_CORE_LINE_H
#define COOPDL_CORE_LINE_H

#include "coopdl.h"

#include <stddef.h>
#include <stdint.h>

/* `length` is the length of the whole text; `text` has as much of it as fits, with a null at the
 * end. */
struct coopdl_line {
    char *text;
    size_t size, length;
};

static inline void coopdl_add_char(struct coopdl_line *line, char c)
{
    if (line->length + 1 < line->size) {
        line->text[line->length] = c;
        line->text[line->length + 1] = '\0';
    }
    line->length++;
}

static inline void coopdl_add(struct coopdl_line *line, const char *text)
{
    while (*text)
        coopdl_add_char(line, *text++);
}

static inline void coopdl_add_based(struct coopdl_line *line, uint64_t number, unsigned int base)
{
    char digits[24], *digit = digits + sizeof(digits) - 1;
    *digit = '\0';
    do
        *--digit = "0123456789abcdef"[number % base];
    while (number /= base);
    coopdl_add(line, digit);
}

static inline void coopdl_add_number(struct coopdl_line *line, int64_t number)
{
    if (number < 0)
        coopdl_add_char(line, '-');
    coopdl_add_based(line, number < 0 ? -(uint64_t)number : (uint64_t)number, 10);
}

/* A duration for people, in two units at most, of which none is finer than needed: 9m12s, 4.98s,
 * 12ms. */
static inline void coopdl_add_duration(struct coopdl_line *line, int64_t ns)
{
    int64_t ms = ns / COOPDL_MILLISECOND, s = ms / 1000;
    if (s < 1) {
        coopdl_add_number(line, ms);
        coopdl_add(line, "ms");
    } else if (s < 60) {
        coopdl_add_number(line, s);
        if (ms % 1000 >= 10) {
            coopdl_add_char(line, '.');
            coopdl_add_number(line, ms % 1000 / 100);
            if (ms % 100 >= 10)
                coopdl_add_number(line, ms % 100 / 10);
        }
        coopdl_add(line, "s");
    } else if (s < 3600) {
        coopdl_add_number(line, s / 60);
        coopdl_add(line, "m");
        coopdl_add_number(line, s % 60);
        coopdl_add(line, "s");
    } else {
        coopdl_add_number(line, s / 3600);
        coopdl_add(line, "h");
        coopdl_add_number(line, s % 3600 / 60);
        coopdl_add(line, "m");
    }
}

#endif
