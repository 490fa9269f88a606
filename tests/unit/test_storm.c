/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_storm.c -- loops that ignore errors make at most 60 tries
 * in the first second after a deadline, and 25 in any later one.
 *
 * storm.c counts, started anew with the library preloaded, in a scope and under
 * a budget.  With the trap and without it: the suite runs twice.
 */
#include "support.h"

#include <stdio.h>

TestSuite(storm, .timeout = 60);

enum { IN_FIRST_SECOND = 60, IN_LATER_SECOND = 25, LOOPS = 18 };

static FILE *start(const char *settings, const char *argument)
{
    char line[4096];
    snprintf(line, sizeof(line), "exec env %s LD_PRELOAD='%s' '%s' %s", settings,
             getenv("COOPDL_LIBRARY"), getenv("COOPDL_STORM"), argument);
    FILE *output = popen(line, "r");
    cr_assert(output);
    return output;
}

static void count(const char *settings, const char *argument)
{
    FILE *output = start(settings, argument);
    int first, later, rows = 0;
    char name[64];
    for (; fscanf(output, "%d %d %63[^\n]", &first, &later, name) == 3; rows++) {
        cr_log_info("%s: %d, then %d", name, first, later);
        cr_expect(first > 0 && first <= IN_FIRST_SECOND, "%s: %d in the first second", name, first);
        cr_expect(later > 0 && later <= IN_LATER_SECOND, "%s: %d in the second", name, later);
    }
    cr_expect(pclose(output) == 0);
    cr_expect(rows == LOOPS, "%d", rows);
}

Test(storm, in_a_scope)
{
    count("", "100");
}

Test(storm, under_a_budget)
{
    count("COOPDL_BUDGET=100ms COOPDL_GRACE=off", "budget");
}

Test(storm, a_process_that_is_born_late_begins_at_the_longest_pause)
{
    static const struct {
        const char *settings;
        long long least, most;
    } cases[] = {{"COOPDL_BUDGET=1ns COOPDL_GRACE=off", 50000, 50000 + LATEST / 1000},
                 {"COOPDL_BUDGET=100ms COOPDL_GRACE=off", 0, 100000 + LATEST / 1000}};
    for (size_t i = 0; i < 2; i++) {
        FILE *output = start(cases[i].settings, "once");
        long long took = -1;
        cr_expect(fscanf(output, "%lld", &took) == 1);
        pclose(output);
        cr_expect(took >= cases[i].least && took < cases[i].most, "%lld us", took);
    }
}
