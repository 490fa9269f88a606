/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failure.c -- one line on stderr each, in one write: COMMAND writes there too.
 *
 * By the name that the command was started by: who links it in the place of
 * timeout(1) reads that one's messages.
 */
#include "failure.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void __attribute__((format(printf, 1, 0))) say_list(const char *format, va_list arguments)
{
    char *text;
    if (vasprintf(&text, format, arguments) < 0)
        return;
    fprintf(stderr, "%s: %s\n", program_invocation_short_name, text);
    free(text);
}

void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say_list(format, arguments);
    va_end(arguments);
}

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say_list(format, arguments);
    va_end(arguments);
    exit(STATUS_FAILED);
}
