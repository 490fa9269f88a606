/* SPDX-License-Identifier: Apache-2.0 */
/*
 * duration.c -- fuzzer: coopdl_duration with any text.
 *
 * Held: a text that is refused leaves the result alone; what is read is never less
 * than what was written, and at most 1 ns more (against strtold, which reads a
 * plain number too); a zero in front changes nothing.
 */
#include "coopdl.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int holds, const char *what, const char *text)
{
    if (holds)
        return;
    fprintf(stderr, "%s: '%s'\n", what, text);
    abort();
}

/* A number without a sign, and without the words and forms that are strtold's alone. */
static int is_plain(const char *text)
{
    return *text && strspn(text, "0123456789.eE+-") == strlen(text) && strchr("0123456789.", *text);
}

static void check_plain(const char *text, int result, int64_t ns)
{
    char *end;
    long double seconds = strtold(text, &end);
    if (*end || end == text)
        return;
    check(result == 0 || errno == ERANGE, "a number is refused", text);
    /* What is this small or large strtold cannot tell from 0 or infinity. */
    if (result || seconds == 0 || !isfinite(seconds))
        return;
    long double wanted = seconds * 1e9L, tolerance = 1e-17L * wanted;
    check((long double)ns >= wanted - tolerance, "too early", text);
    check((long double)ns <= wanted + 1 + tolerance, "too late", text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { LONGEST = 200 };
    char text[LONGEST + 2] = "0";
    int64_t ns = -1, with_zero = -1;
    if (size > LONGEST)
        return -1;
    memcpy(text + 1, data, size);
    int result = coopdl_duration(text + 1, &ns), error = errno;
    check(result == 0 ? ns >= 0 : ns == -1, "wrong result", text + 1);
    check(result == 0 || error == EINVAL || error == ERANGE, "wrong error", text + 1);
    if (is_plain(text + 1))
        check_plain(text + 1, result, ns);
    if (text[1] >= '0' && text[1] <= '9' && result == 0)
        check(coopdl_duration(text, &with_zero) == 0 && with_zero == ns, "a zero in front", text);
    return 0;
}
