/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.c -- the time: where it comes from, the clock of the public API, and a sleep for the
 * library itself.
 *
 * The kernel ends calls and wakes the scheduler by its own clock, so the library must read that
 * one.  A program may preload another clock_gettime (libfaketime) that shows another time and
 * takes locks, which a signal handler must not do.  So the library looks up the function of libc
 * itself, past every preload.
 *
 * Until that function has been found, and where it cannot be found, the library makes the system
 * call.
 */
#include "core/clock.h"

#include "core/symbol.h"
#include "core/sys.h"

#ifdef __LP64__
#define CLOCK_GETTIME "clock_gettime"
#define SYS_CLOCK_GETTIME SYS_clock_gettime
#else
#define CLOCK_GETTIME "__clock_gettime64"
#define SYS_CLOCK_GETTIME SYS_clock_gettime64
#endif

static int ask_the_kernel(clockid_t clock, struct coopdl_instant *now)
{
    return (int)coopdl_sys(SYS_CLOCK_GETTIME, clock, now);
}

coopdl_clock_reader *coopdl_read_clock = ask_the_kernel;

/* Before the budget's constructor, which reads it.  libc is there already: nothing is loaded. */
__attribute__((constructor(101))) static void find_clock(void)
{
    void *found = coopdl_in_libc(CLOCK_GETTIME);
    if (found)
        *(void **)&coopdl_read_clock = found;
}

int64_t coopdl_now(void)
{
    return coopdl_clock();
}

int64_t coopdl_after(int64_t nanoseconds)
{
    int64_t now = coopdl_clock();
    return nanoseconds <= 0 ? now : coopdl_later(now, nanoseconds);
}

int coopdl_passed(int64_t deadline)
{
    struct coopdl_instant coarse;
    if (coopdl_read_clock(CLOCK_MONOTONIC_COARSE, &coarse) == 0 &&
        (coarse.seconds + 1) * COOPDL_SECOND + coarse.nanoseconds < deadline)
        return 0;
    return coopdl_clock() >= deadline;
}

void coopdl_sleep_for(int64_t ns)
{
    const struct timespec time = coopdl_timespec(ns);
    coopdl_sys(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, 0);
}

const char *coopdl_version(void)
{
    return COOPDL_VERSION;
}
