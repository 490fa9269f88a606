/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sizes.h -- which names take times and offsets of the size that this program
 * is compiled with.
 *
 * Where time_t and off_t have 32 bits the tests are compiled once for each size
 * (tests/narrow).  Of two names for the same call one fits the types that the
 * test then has.
 */
#ifndef COOPDL_TESTS_SIZES_H
#define COOPDL_TESTS_SIZES_H

#include "core/sys.h"

#include <stdbool.h>
#include <string.h>

#define IF_IT_IS(name, value)                                                                      \
    if (strcmp(tested, #name) == 0)                                                                \
        return value;

static inline bool of_this_size(const char *tested)
{
#if defined(COOPDL_WIDE)
#define WIDE(wide, name) IF_IT_IS(name, false)
#define WIDE_FORTIFIED(type, chk, ...)
#define ALIAS(alias, name) IF_IT_IS(alias, of_this_size(#name))
#define FORTIFIED(type, chk, parameters, arguments, fits, name, base)                              \
    IF_IT_IS(chk, of_this_size(#name))
#include "preload/calls.def"
#elif !defined(__LP64__)
#define WIDE(wide, name) IF_IT_IS(wide, false)
#define WIDE_FORTIFIED(type, chk, ...) IF_IT_IS(chk, false)
#include "preload/calls.def"
#endif
    (void)tested;
    return true;
}

#endif
