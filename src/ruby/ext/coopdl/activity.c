/* SPDX-License-Identifier: Apache-2.0 */
/*
 * activity.c -- a thread's activity, and the processor time that it has used. monitor.c counts
 * the monitors.
 */
#include "activity.h"

#include "coopdl.h"

#include <sys/syscall.h>
#include <unistd.h>

static __thread struct activity activity;

/* The same as coopdl_thread_clock in src/portable/thread_clock.h, which a gem cannot include.
 * (pthread_getcpuclockid, in the version that compilers take, is of glibc 2.34.) */
static clockid_t own_clock(void)
{
    return (clockid_t)(~(unsigned int)syscall(SYS_gettid) << 3 | 6);
}

struct activity *coopdl_activity(void)
{
    VALUE thread = rb_thread_current();
    if (activity.thread != thread) {
        activity.thread = thread;
        activity.clock = own_clock();
        activity.held = activity.entering = activity.queued = 0;
        activity.postponed = activity.serving = activity.waiter = false;
    }
    return &activity;
}

void coopdl_activity_forked(void)
{
    activity.queued = 0;
    activity.clock = own_clock();
}

int64_t coopdl_activity_work(const struct activity *of)
{
    struct timespec time = {0};
    if (of)
        clock_gettime(of->clock, &time);
    return time.tv_sec * COOPDL_SECOND + time.tv_nsec;
}
