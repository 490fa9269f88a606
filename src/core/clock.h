/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h -- CLOCK_MONOTONIC in nanoseconds, and back to what the kernel takes. */
#ifndef COOPDL_CORE_CLOCK_H
#define COOPDL_CORE_CLOCK_H

#include "coopdl.h"

#include <time.h>

/* What the kernel writes for a time of 64 bits, whatever the size of this file's time_t. */
struct coopdl_instant {
    int64_t seconds;
    long nanoseconds;
    long room; /* it writes as much where a long has 32 bits */
};

typedef int coopdl_clock_reader(clockid_t clock, struct coopdl_instant *now);
extern coopdl_clock_reader *coopdl_read_clock __attribute__((visibility("hidden")));

/* The vDSO's clock: no system call, about 22 ns, async-signal-safe. */
static inline int64_t coopdl_clock(void)
{
    struct coopdl_instant now;
    coopdl_read_clock(CLOCK_MONOTONIC, &now);
    return now.seconds * COOPDL_SECOND + now.nanoseconds;
}

/* The most that fits, where 32 bits have no room for it: 68 years. */
static inline struct timespec coopdl_timespec(int64_t ns)
{
    int64_t seconds = ns / COOPDL_SECOND;
    if (sizeof(time_t) < sizeof(seconds) && seconds > INT32_MAX)
        seconds = INT32_MAX;
    return (struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = (long)(ns % COOPDL_SECOND)};
}

/* now + ns, never beyond COOPDL_NEVER; ns is not negative. */
static inline int64_t coopdl_later(int64_t now, int64_t ns)
{
    int64_t sum;
    return __builtin_add_overflow(now, ns, &sum) ? COOPDL_NEVER : sum;
}

/* Sleeps for so many ns, by a system call that no deadline cuts; a signal may end it before.
 * Async-signal-safe. */
void coopdl_sleep_for(int64_t ns);

#endif
