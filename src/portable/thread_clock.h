/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread_clock.h -- the clock of a thread's processor time, by the thread's number, and back.
 *
 * On Linux the number of the clock contains the number of the thread: inverted, above three bits
 * for the kind of clock. pthread_getcpuclockid makes the same number, but reads the memory of a
 * thread that may be gone. libc has no function that gives another thread's number.
 */
#ifndef COOPDL_PORTABLE_THREAD_CLOCK_H
#define COOPDL_PORTABLE_THREAD_CLOCK_H

#include <sys/types.h>

enum { COOPDL_CLOCK_KIND_BITS = 3, COOPDL_CLOCK_OF_THREAD = 6 /* its processor time so far */ };

static inline clockid_t coopdl_thread_clock(pid_t thread)
{
    return (clockid_t)(~(unsigned int)thread << COOPDL_CLOCK_KIND_BITS | COOPDL_CLOCK_OF_THREAD);
}

static inline pid_t coopdl_thread_of_clock(clockid_t clock)
{
    return ~(clock >> COOPDL_CLOCK_KIND_BITS);
}

#endif
