/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cut.c -- the answer to a call that would wait after expiry.
 *
 * The first cut in a scope is EINTR, so that a runtime looks at its interrupts;
 * every further one is ETIMEDOUT, so that restart loops end.  After the fourth
 * each cut first waits a little, so that a program that takes no error for an
 * answer neither burns a core nor floods its log; and a call that has a time-out
 * of its own is told that it has run out, which some believe that believe no
 * error (CPython's ssl).
 *
 * A program that polls between short sleeps counts them, and ends when it has
 * slept for long enough by its own count (SQLite's busy handler).  So a sleep
 * that is cut pauses for far less than it would have slept, at first, and never
 * for longer.
 *
 * A wrapper's call that the trap has cut comes back to the wrapper with EINTR,
 * and is cut there again: that is the same cut, told twice (thread->told).  Where
 * the trap cut a call of libc's own, it is the wrapper's next cut that counts
 * for the same.
 */
#include "preload/cut.h"

#include "core/kick.h"
#include "core/log.h"
#include "core/policy.h"
#include "core/scheduler.h"
#include "core/scope.h"
#include "core/sys.h"
#include "preload/real.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>

enum { PROMPT_CUTS = 4, SLEEPS_TO_DOUBLE = 64 };

#define LONGEST_PAUSE (50 * COOPDL_MILLISECOND)

/* `first`, doubled so many times, to the longest. */
static int64_t doubled(int64_t first, uint32_t times)
{
    int64_t pause = times < 16 ? first << times : LONGEST_PAUSE;
    return pause < LONGEST_PAUSE ? pause : LONGEST_PAUSE;
}

static int64_t pause_before(uint32_t cut, int64_t sleep)
{
    if (cut < PROMPT_CUTS)
        return 0;
    if (sleep == COOPDL_NEVER)
        return doubled(COOPDL_MILLISECOND, cut - PROMPT_CUTS);
    if (cut < SLEEPS_TO_DOUBLE)
        return 0;
    int64_t pause = doubled(16 * COOPDL_MICROSECOND, cut / SLEEPS_TO_DOUBLE);
    return pause < sleep ? pause : sleep;
}

int64_t coopdl_next_pause(struct coopdl_thread *thread, int64_t sleep)
{
    const struct coopdl_entry *owner = coopdl_owner(thread, coopdl_clock());
    return owner ? pause_before(owner->cuts, sleep) : 0;
}

/* A kick may shorten it: then the next one is as long again. */
static void pause_for(struct coopdl_thread *thread, int64_t ns)
{
    if (ns == 0)
        return;
    struct timespec pause = coopdl_timespec(ns);
    atomic_store(&thread->asleep, AWAKE);
    coopdl_sys(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &pause, 0);
}

int coopdl_tell(struct coopdl_thread *thread, const char *call, enum coopdl_answer answer,
                int64_t sleep, bool trapped)
{
    int64_t now = coopdl_clock();
    struct coopdl_entry *owner = coopdl_owner(thread, now);
    if (!owner) /* the deadline was moved in a handler just now */
        return EINTR;
    uint32_t cut = owner->cuts;
    if (thread->told && cut && !trapped) {
        cut--;
    } else {
        if (cut != UINT32_MAX)
            owner->cuts++;
        if (cut == 0)
            coopdl_log_cut(call, !owner->scope, now - owner->deadline);
        pause_for(thread, pause_before(cut, sleep));
    }
    thread->told = trapped;
    if (answer == ANSWER_EINTR || (answer == ANSWER_GENTLE && !owner->scope) ||
        coopdl_policy.error == ERRNO_EINTR)
        return EINTR;
    if (answer == ANSWER_TIMED && cut >= PROMPT_CUTS && coopdl_policy.error == ERRNO_ESCALATE)
        return 0;
    return cut == 0 && coopdl_policy.error != ERRNO_ETIMEDOUT ? EINTR : ETIMEDOUT;
}

void coopdl_capped(struct coopdl_thread *thread)
{
    int64_t word = coopdl_load(thread);
    if (word < 0 || word > coopdl_clock())
        return;
    if (coopdl_hooked()) /* a runtime is asked before anything is cut: the scheduler is late */
        coopdl_wake();
    else
        coopdl_fire_self(thread);
}

bool coopdl_would_wait(int fd, short events)
{
    struct pollfd pollfd = {.fd = fd, .events = events};
    struct timespec now = {0};
    long ready;
    do
        ready = coopdl_sys(SYS_ppoll, &pollfd, 1, &now, 0, COOPDL_SIGSET_SIZE);
    while (ready == -EINTR); /* a kick */
    if (ready != 0)
        return false;
    /* Not ready.  What does not wait for that either: a descriptor in non-blocking mode, and one
     * that is not open for this at all. */
    long flags = coopdl_sys(SYS_fcntl, fd, F_GETFL);
    long access = flags & O_ACCMODE, needed = events & POLLIN ? O_WRONLY : O_RDONLY;
    return flags >= 0 && !(flags & O_NONBLOCK) && access != needed;
}

bool coopdl_is_blocking(int fd)
{
    long flags = coopdl_sys(SYS_fcntl, fd, F_GETFL);
    return flags >= 0 && !(flags & O_NONBLOCK);
}

bool coopdl_readable(const void *address)
{
    /* No such way to change a signal mask exists, but the mask is read first. */
    return coopdl_sys(SYS_rt_sigprocmask, -1, address, 0, COOPDL_SIGSET_SIZE) == -EINVAL;
}

bool coopdl_open_mask(const sigset_t *mask, sigset_t *copy)
{
    if (!coopdl_readable(mask))
        return false;
    /* Only what the kernel has read: callers of the system call's size exist. */
    memset(copy, 0, sizeof(*copy));
    memcpy(copy, mask, COOPDL_SIGSET_SIZE);
    int kick = atomic_load(&coopdl_kick_signal);
    if (kick)
        sigdelset(copy, kick);
    if (coopdl_policy.trap)
        sigdelset(copy, SIGSYS);
    return true;
}
