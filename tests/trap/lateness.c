/* SPDX-License-Identifier: Apache-2.0 */
/* lateness.c -- how late a program is that is run again and again: see lateness.h. */
#include "lateness.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT (5 * SECOND)
#define MOST_RUNS 100
#define MOST_TRIES 20

static int64_t run_once(const char *const *command)
{
    struct run run;
    const char *output;
    char *end;
    int64_t late;
    bool ended;

    run_start(&run, command, -1, -1);
    ended = run_wait(&run, run.started + TIMEOUT);
    run_kill(&run);
    output = run_output(&run);
    close(run.output);
    cr_assert(ended, "it, or what it had started, was still there after %.3f s; output: %s",
              run_seconds(&run), output);
    if (WIFEXITED(run.status) && WEXITSTATUS(run.status) == 77)
        cr_skip_test("%.*s", (int)strcspn(output, "\n"), output);
    if (WIFEXITED(run.status) && WEXITSTATUS(run.status) == 75)
        return -1;
    cr_assert(run.status == 0, "%s; output: %s", run_end(&run), output);
    late = strtoll(output, &end, 10);
    cr_assert(end > output && *end == '\n', "no number: %s", output);
    return late;
}

static int compare(const void *a, const void *b)
{
    const int64_t *one = a, *other = b;

    return (*one > *other) - (*one < *other);
}

static double in_ms(int64_t nanoseconds)
{
    return (double)nanoseconds / MILLISECOND;
}

static void print(const char *const *command, int64_t median, int64_t worst)
{
    char line[256];
    int length = snprintf(line, sizeof line, "# %8.3f ms late, at worst %8.3f ms:", in_ms(median),
                          in_ms(worst));

    for (; *command && length < (int)sizeof line - 1; command++)
        length += snprintf(line + length, sizeof line - (size_t)length, " %s", *command);
    fprintf(stderr, "%s\n", line);
}

int64_t lateness_expect(const char *const *command, const char *budget, int runs, int64_t median,
                        int64_t worst)
{
    int64_t late[MOST_RUNS] = {0};

    cr_assert(runs > 0 && runs <= MOST_RUNS);
    run_need(command);
    run_preload(budget);
    setenv("COOPDL_GRACE", "off", 1);
    for (int i = 0; i < runs; i++)
        for (int tries = 0; (late[i] = run_once(command)) < 0 && tries < MOST_TRIES; tries++)
            ;
    qsort(late, (size_t)runs, sizeof *late, compare);
    print(command, late[runs / 2], late[runs - 1]);
    cr_expect(late[0] >= 0, "one was %.6f ms early", in_ms(-late[0]));
    cr_expect(late[runs / 2] <= median, "the median was %.3f ms late", in_ms(late[runs / 2]));
    cr_expect(late[runs - 1] <= worst, "one was %.3f ms late", in_ms(late[runs - 1]));
    return late[0];
}
