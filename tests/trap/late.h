/* SPDX-License-Identifier: Apache-2.0 */
/*
 * late.h -- what the programs here share: how late each of them is.
 *
 * They know nothing of the library.  That there is a deadline they see in the
 * environment, as every program does that is started under one.
 */
#ifndef LATE_H
#define LATE_H

#include <err.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* To be called as soon as the call has ended: prints how late that was in ns, and exits. */
_Noreturn static inline void say_how_late(void)
{
    const char *deadline = getenv("COOPDL_DEADLINE");
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!deadline)
        errx(125, "there is no deadline");
    printf("%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec - strtoll(deadline, NULL, 10));
    exit(0);
}

/*
 * The loop around the call: it restarts on EINTR for ever, or, for a test in
 * which nothing else comes, that many times.  Anything but the deadline's
 * ETIMEDOUT, or the last EINTR, is a failure of the program.
 */
static inline bool restarts(const char *call, const char *times)
{
    static int interruptions;

    if (errno == EINTR)
        return !times || interruptions++ < atoi(times);
    if (errno != ETIMEDOUT)
        err(1, "%s", call);
    return false;
}

/* A pipe that nobody writes to, and that does not end: its reading end. */
static inline int silent_pipe(void)
{
    int ends[2];

    if (pipe(ends) < 0)
        err(1, "cannot make a pipe");
    return ends[0];
}

#endif
