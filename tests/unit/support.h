/* SPDX-License-Identifier: Apache-2.0 */
/*
 * support.h -- what the unit tests share.
 *
 * The machine may be busy: a test asserts exactly that nothing is early, and
 * generously that nothing is late.
 */
#ifndef COOPDL_TESTS_SUPPORT_H
#define COOPDL_TESTS_SUPPORT_H

#include "coopdl.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS COOPDL_MILLISECOND
#define LATEST (1000 * MS) /* beside other people's builds; how late it is, the benchmark says */

/*
 * cr_expect for use inside a scope.  Criterion reports each assertion over a
 * socket, which an expired scope would cut like any other: so behind a shield.
 */
#define expect(condition, ...)                                                                     \
    do {                                                                                           \
        bool holds = (condition);                                                                  \
        coopdl_scope shield_;                                                                      \
        coopdl_shield(&shield_);                                                                   \
        cr_expect(holds, "" #condition " -- " __VA_ARGS__);                                        \
        coopdl_leave(&shield_);                                                                    \
    } while (0)

static inline void assert_on_time(int64_t deadline, const char *what)
{
    int64_t late = coopdl_now() - deadline;
    expect(late >= 0, "%s: %lld us early", what, (long long)-late / 1000);
    expect(late < LATEST, "%s: %lld us late", what, (long long)late / 1000);
}

/* Burns processor time until `when`: no system call that could be cut. */
static inline void spin_until(int64_t when)
{
    while (coopdl_now() < when)
        ;
}

/* Waits, without a wrapped call, until the library has noticed that the scope expired. */
static inline void await_expiry(coopdl_scope *scope)
{
    int64_t give_up = coopdl_now() + 5 * COOPDL_SECOND;
    while (!coopdl_expired(scope))
        if (coopdl_now() >= give_up)
            abort();
}

/* A pipe that nobody writes to. */
static inline int silent_pipe(void)
{
    int ends[2];
    cr_assert(pipe(ends) == 0);
    return ends[0];
}

/* Reads from it: the errno, 0 for data. */
static inline int read_errno(int fd)
{
    char byte;
    return read(fd, &byte, 1) < 0 ? errno : 0;
}

/* The exit status of a child, which is bounded by the test's own time-out. */
static inline int status_of(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        cr_assert(errno == EINTR);
    return status;
}

#endif
