/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fgets_loop.c -- reads lines from a silent pipe, and takes no error for an
 * answer.
 *
 *     fgets_loop [INTERRUPTIONS]
 *
 * The read is made inside libc.
 */
#include "late.h"

int main(int argc, char **argv)
{
    FILE *input = fdopen(silent_pipe(), "r");
    char line[80];

    if (!input || argc > 2)
        errx(125, "usage: fgets_loop [INTERRUPTIONS]");
    do {
        clearerr(input);
        if (fgets(line, sizeof line, input))
            errx(1, "a line from a silent pipe");
    } while (restarts("fgets", argv[1]));
    say_how_late();
}
