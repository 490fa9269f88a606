/* SPDX-License-Identifier: Apache-2.0 */
/* test_environment.c -- what the started program finds in its environment. */
#include "process.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char library[PATH_MAX];

static void find_library(void)
{
    set_up();
    cr_assert(realpath(tested("TEST_LIBRARY"), library));
}

TestSuite(environment, .init = find_library, .fini = tear_down, .timeout = 30);

#define SHOW_PRELOAD "sh", "-c", "printf %s \"$LD_PRELOAD\""
#define SHOW_DEADLINE "sh", "-c", "echo $COOPDL_DEADLINE"

Test(environment, library_is_the_one_built_with_it)
{
    cr_assert_str_eq(RUN(COOPDL, "5", SHOW_PRELOAD)->out.text, library);
    setenv("LD_PRELOAD", "", 1);
    cr_assert_str_eq(RUN(COOPDL, "5", SHOW_PRELOAD)->out.text, library);
}

Test(environment, other_preloads_stay_behind_it)
{
    char expected[PATH_MAX + 64];
    setenv("LD_PRELOAD", "libm.so.6 libdl.so.2:librt.so.1", 1);
    snprintf(expected, sizeof(expected), "%s:libm.so.6 libdl.so.2:librt.so.1", library);
    cr_assert_str_eq(RUN(COOPDL, "5", SHOW_PRELOAD)->out.text, expected);
}

Test(environment, library_is_not_listed_twice)
{
    static const struct {
        const char *before, *behind;
    } lists[] = {{"", ""}, {"libm.so.6:", ""}, {"", " libm.so.6"}, {"libm.so.6: ", ":"}};
    for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
        char list[PATH_MAX + 64];
        snprintf(list, sizeof(list), "%s%s%s", lists[i].before, library, lists[i].behind);
        setenv("LD_PRELOAD", list, 1);
        cr_assert_str_eq(RUN(COOPDL, "5", SHOW_PRELOAD)->out.text, list);
    }
    unsetenv("LD_PRELOAD");
    cr_assert_str_eq(RUN(COOPDL, "5", COOPDL, "5", SHOW_PRELOAD)->out.text, library);
}

Test(environment, longer_name_in_the_list_is_another_library)
{
    const char *copy = scratch("libcoopdl.so.copy");
    const char *shorter = scratch("libcoopdl.so");
    cr_assert_eq(exit_status(RUN("cp", library, copy)), 0);
    cr_assert_eq(exit_status(RUN("cp", library, shorter)), 0);
    char expected[PATH_MAX];
    snprintf(expected, sizeof(expected), "%s:%s", shorter, copy);
    setenv("COOPDL_LIBRARY", shorter, 1);
    setenv("LD_PRELOAD", copy, 1);
    cr_assert_str_eq(RUN(COOPDL, "5", SHOW_PRELOAD)->out.text, expected);
}

Test(environment, library_of_the_users_choice)
{
    const char *link = scratch("link.so");
    const char *copy = scratch("copy.so");
    cr_assert_eq(exit_status(RUN("cp", library, copy)), 0);
    cr_assert_eq(exit_status(RUN("ln", "-s", "copy.so", link)), 0);
    setenv("COOPDL_LIBRARY", link, 1);
    cr_assert_str_eq(RUN(COOPDL, "5", SHOW_PRELOAD)->out.text, copy);
}

static int64_t deadline_of(const struct process *process)
{
    int64_t deadline;
    cr_assert_eq(sscanf(process->out.text, "%" SCNd64, &deadline), 1, "'%s'", process->out.text);
    return deadline;
}

Test(environment, deadline_is_the_absolute_time)
{
    const struct process *process = RUN(COOPDL, "1m2.5s", SHOW_DEADLINE);
    cr_assert_geq(deadline_of(process), process->started + 62500 * MS);
    cr_assert_leq(deadline_of(process), process->ended + 62500 * MS);
}

Test(environment, inner_deadline_rules_if_it_is_earlier)
{
    const struct process *process = RUN(COOPDL, "50s", COOPDL, "20s", SHOW_DEADLINE);
    cr_assert_geq(deadline_of(process), process->started + 20000 * MS);
    cr_assert_leq(deadline_of(process), process->ended + 20000 * MS);
}

Test(environment, outer_deadline_rules_if_it_is_earlier)
{
    const struct process *process =
        RUN(COOPDL, "20s", "sh", "-c",
            "echo $COOPDL_DEADLINE; exec \"$COOPDL\" 50s sh -c 'echo $COOPDL_DEADLINE'");
    int64_t outer, inner;
    cr_assert_eq(sscanf(process->out.text, "%" SCNd64 " %" SCNd64, &outer, &inner), 2);
    /* A deadline is rounded up to 8 ns (coopdl.h). */
    cr_assert_geq(inner, outer);
    cr_assert_lt(inner, outer + 8);
}

Test(environment, budget_rules_if_it_is_earlier)
{
    setenv("COOPDL_BUDGET", "20s", 1);
    const struct process *process = RUN(COOPDL, "50s", SHOW_DEADLINE);
    cr_assert_geq(deadline_of(process), process->started + 20000 * MS);
    cr_assert_leq(deadline_of(process), process->ended + 20000 * MS);
}

Test(environment, largest_duration_does_not_overflow)
{
    const struct process *process = RUN(COOPDL, "106751d", SHOW_DEADLINE);
    cr_assert_eq(exit_status(process), 0);
    cr_assert_gt(deadline_of(process), process->ended);
    cr_assert_eq(exit_status(RUN(COOPDL, "--grace=106751d", "106751d", "true")), 0);
}

Test(environment, ladder_is_left_to_the_command)
{
    setenv("COOPDL_GRACE", "3s", 1);
    setenv("COOPDL_KILL_AFTER", "2s", 1);
    cr_assert_str_eq(
        RUN(COOPDL, "5", "sh", "-c", "echo $COOPDL_GRACE ${COOPDL_KILL_AFTER-unset}")->out.text,
        "off unset\n");
}

Test(environment, no_limit_leaves_it_alone)
{
    setenv("COOPDL_GRACE", "3s", 1);
    const struct process *plain = RUN("env");
    const struct process *started = RUN(COOPDL, "0", "env");
    cr_assert_str_eq(started->out.text, plain->out.text);
    cr_assert(!strstr(started->out.text, "COOPDL_DEADLINE"));
    cr_assert(!strstr(started->out.text, "LD_PRELOAD"));
}
