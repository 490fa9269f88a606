/* SPDX-License-Identifier: Apache-2.0 */
/* alarm.h -- the program's own SIGALRM, which ends a call that waits. */
#ifndef COOPDL_TESTS_ALARM_H
#define COOPDL_TESTS_ALARM_H

#include <signal.h>
#include <stddef.h>
#include <sys/time.h>

static void on_alarm(int number)
{
    (void)number;
}

/* Every so many microseconds: the first one may come before the call begins. */
static inline void set_alarm(long interval)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval soon = {{.tv_usec = interval}, {.tv_usec = interval}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
}

static inline void stop_alarm(void)
{
    struct itimerval never = {0};
    setitimer(ITIMER_REAL, &never, NULL);
}

#endif
