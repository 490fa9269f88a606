/* SPDX-License-Identifier: Apache-2.0 */
/* nearest.c -- the option with the least edit distance (Levenshtein) to what was given. */
#include "nearest.h"

#include <string.h>

enum { LONGEST = 32, FAR = 3 };

static int least(int a, int b, int c)
{
    int ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* How many letters have to be inserted, deleted or replaced; one row of the table at a time. */
static int distance(const char *given, size_t length, const char *name)
{
    int row[LONGEST + 1];
    size_t width = strlen(name);
    for (size_t j = 0; j <= width; j++)
        row[j] = (int)j;
    for (size_t i = 0; i < length; i++) {
        int diagonal = row[0]++;
        for (size_t j = 0; j < width; j++) {
            int above = row[j + 1];
            row[j + 1] = least(above + 1, row[j] + 1, diagonal + (given[i] != name[j]));
            diagonal = above;
        }
    }
    return row[width];
}

const char *nearest_option(const char *given, const struct option *options)
{
    const char *nearest = NULL;
    int nearest_distance = FAR;
    if (strncmp(given, "--", 2) != 0)
        return NULL;
    given += 2;
    size_t length = strcspn(given, "=");
    if (length == 0 || length > LONGEST)
        return NULL;
    for (; options->name; options++) {
        int found = strlen(options->name) <= LONGEST ? distance(given, length, options->name) : FAR;
        if (found < nearest_distance) {
            nearest_distance = found;
            nearest = options->name;
        }
    }
    return nearest;
}
