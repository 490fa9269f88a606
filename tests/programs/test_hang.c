/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hang.c -- without the library the programs of test_programs.c hang.
 *
 * All at once, to save time: two seconds after the last was started, each of
 * them must still be there.  Else their ending at a budget would prove nothing.
 */
#include "run.h"

#include <criterion/criterion.h>
#include <time.h>

#define HANG (2 * SECOND)

static const struct {
    const char *name;
    const char *command[16];
} programs[] = {
#define PROGRAM(name, error, ...) {#name, {__VA_ARGS__}},
#include "programs.def"
#undef PROGRAM
};

#define PROGRAMS (sizeof programs / sizeof *programs)

TestSuite(hang, .init = servers_start, .fini = servers_end, .timeout = 60);

static void sleep_until(int64_t time)
{
    struct timespec until = {time / SECOND, time % SECOND};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
        ;
}

static size_t start_all(struct run *runs)
{
    size_t started = 0;

    for (size_t i = 0; i < PROGRAMS; i++)
        if (!run_missing(programs[i].command)) {
            run_start(&runs[i], programs[i].command, -1, -1);
            started++;
        }
    return started;
}

Test(hang, without_the_library)
{
    struct run runs[PROGRAMS] = {0};
    size_t started = start_all(runs);

    sleep_until(run_now() + HANG);
    for (size_t i = 0; i < PROGRAMS; i++) {
        bool hangs;

        if (!runs[i].pid)
            continue;
        hangs = run_alive(&runs[i]);
        run_kill(&runs[i]);
        cr_expect(hangs, "%s ended by itself: %s; output: %s", programs[i].name, run_end(&runs[i]),
                  run_output(&runs[i]));
    }
    cr_expect(started > 0, "no program was found");
}
