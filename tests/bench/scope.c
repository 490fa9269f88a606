/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scope.c -- what one enter and leave cost in C, beside a clock_gettime:
 *
 *     scope ROUNDS
 *
 * A line for each round: ns of clock_gettime, of enter with a deadline that is
 * given and leave, of enter with a deadline made from now and leave.
 */
#include "program.h"

enum { TIMES = 20000 };

static double clock_reads(void)
{
    struct timespec time;
    int64_t begun = processor_time();
    for (int i = 0; i < TIMES; i++)
        clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)(processor_time() - begun) / (double)TIMES;
}

static double scopes_until(int64_t deadline)
{
    coopdl_scope scope;
    int64_t begun = processor_time();
    for (int i = 0; i < TIMES; i++) {
        enter(&scope, deadline);
        leave(&scope);
    }
    return (double)(processor_time() - begun) / (double)TIMES;
}

static double scopes_from_now(void)
{
    coopdl_scope scope;
    int64_t begun = processor_time();
    for (int i = 0; i < TIMES; i++) {
        enter(&scope, after(3600 * COOPDL_SECOND));
        leave(&scope);
    }
    return (double)(processor_time() - begun) / (double)TIMES;
}

int main(int count, char **arguments)
{
    coopdl_scope outer;
    long rounds = count > 1 ? strtol(arguments[1], NULL, 10) : 1;
    find_library();
    /* The scheduler is told of each deadline until it sleeps for an earlier one: give it the time
     * to begin, which on a busy machine it may not get at once. */
    struct timespec moment = {.tv_nsec = 50 * COOPDL_MILLISECOND};
    if (enter(&outer, after(600 * COOPDL_SECOND)) != 0 || nanosleep(&moment, NULL) != 0)
        return 1;
    int64_t deadline = after(3600 * COOPDL_SECOND);
    for (long i = 0; i < rounds; i++) {
        double clock = clock_reads(), given = scopes_until(deadline);
        printf("%.3f %.3f %.3f\n", clock, given, scopes_from_now());
    }
    return leave(&outer) != 0;
}
