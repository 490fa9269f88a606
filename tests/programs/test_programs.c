/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_programs.c -- programs that would hang end at their budget.
 *
 * Never before it, at most LATE after it, by themselves and with an error that
 * they report, and nothing that they started is left.  The grace is off, so no
 * signal can have helped.
 */
#include "run.h"

#include <criterion/criterion.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define BUDGET (1 * SECOND)
#define LATE (1 * SECOND)
#define TIMEOUT (4 * SECOND)

TestSuite(programs, .init = servers_start, .fini = servers_end, .timeout = 30);

static bool says(const char *output, const char *pattern)
{
    regex_t expression;
    bool found;

    cr_assert(regcomp(&expression, pattern, REG_EXTENDED | REG_NOSUB) == 0, "%s", pattern);
    found = regexec(&expression, output, 0, NULL, 0) == 0;
    regfree(&expression);
    return found;
}

static struct run ends_on_time(const char *const *command)
{
    struct run run;
    bool ended;

    run_need(command);
    run_start(&run, command, -1, -1);
    ended = run_wait(&run, run.started + BUDGET + TIMEOUT);
    run_kill(&run);
    cr_assert(ended, "it was still there %.3f s after its start; output: %s", run_seconds(&run),
              run_output(&run));
    cr_expect(run.ended >= run.started + BUDGET, "%.6f s is before its budget: %s; output: %s",
              run_seconds(&run), run_end(&run), run_output(&run));
    cr_expect(run.ended <= run.started + BUDGET + LATE, "%.6f s is too late: %s; output: %s",
              run_seconds(&run), run_end(&run), run_output(&run));
    return run;
}

static void is_cut(const char *const *command, const char *error)
{
    struct run run;

    run_preload("1s");
    setenv("COOPDL_GRACE", "off", 1);
    run = ends_on_time(command);
    cr_expect(WIFEXITED(run.status) && WEXITSTATUS(run.status) != 0,
              "%s is no ordinary error; output: %s", run_end(&run), run_output(&run));
    cr_expect(says(run_output(&run), error), "its output does not match \"%s\": %s", error,
              run_output(&run));
}

#define PROGRAM(name, error, ...)                                                                  \
    Test(programs, name)                                                                           \
    {                                                                                              \
        is_cut((const char *const[]){__VA_ARGS__, NULL}, error);                                   \
    }
#include "programs.def"
#undef PROGRAM

/* The error text shows that curl ended by itself: one that was signalled says nothing. */
Test(programs, command)
{
    struct run run = ends_on_time(
        (const char *const[]){"$COOPDL", "1s", "$CURL", "-qsS", "$BLACKHOLE_URL", NULL});

    cr_expect(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 124, "%s", run_end(&run));
    cr_expect(says(run_output(&run), "curl: \\([0-9]+\\)"), "output: %s", run_output(&run));
}

/* curl says its exit status in its error text. */
Test(programs, command_preserve_status)
{
    struct run run = ends_on_time((const char *const[]){"$COOPDL", "--preserve-status", "1s",
                                                        "$CURL", "-qsS", "$BLACKHOLE_URL", NULL});
    char expected[32];

    cr_expect(WIFEXITED(run.status) && WEXITSTATUS(run.status) != 124, "%s", run_end(&run));
    snprintf(expected, sizeof expected, "curl: \\(%d\\)", WEXITSTATUS(run.status));
    cr_expect(says(run_output(&run), expected), "%s; output: %s", run_end(&run), run_output(&run));
}
