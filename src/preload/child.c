/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.c -- waiting for children.
 *
 * Before expiry the calls run as they are, and the kick ends them.  After expiry they look with
 * WNOHANG: a child that has ended is reaped, and one that has not is left as it is.  Where the
 * budget has ended, the process may be signalled, and a child has a moment to end by itself
 * (core/ending.c).
 */
#include "core/clock.h"
#include "core/ending.h"
#include "preload/cut.h"
#include "preload/preload.h"

/* Of the two, not every libc makes wait4 a cancellation point. */
static pid_t wait_for(pid_t pid, int *status, int options, struct rusage *usage)
{
    return usage ? coopdl_real.wait4(pid, status, options, usage)
                 : coopdl_real.waitpid(pid, status, options);
}

/* The loop of all waits for children after expiry.  `look` does not wait; the loop is done when
 * `found`.  A process that was signalled, and has handled the signal, waits again with `wait`. */
#define WAIT_ON(thread, child, look, found, wait, call)                                            \
    for (;;) {                                                                                     \
        __typeof__(look) seen = PERFORM(thread, look);                                             \
        if (found)                                                                                 \
            return seen;                                                                           \
        switch (coopdl_cutting(thread) ? coopdl_end_waiter(thread, false) : WAITER_RESTARTS) {     \
        case WAITER_CUT:                                                                           \
            coopdl_on(thread, ON_CHILD, child);                                                    \
            return coopdl_cut(thread, call);                                                       \
        case WAITER_GOES_ON:                                                                       \
            doze();                                                                                \
            break;                                                                                 \
        case WAITER_INTERRUPTED:                                                                   \
            errno = EINTR;                                                                         \
            return -1;                                                                             \
        case WAITER_RESTARTS:                                                                      \
            seen = (wait);                                                                         \
            if (seen >= 0 || errno != EINTR || !coopdl_cutting(thread))                            \
                return seen;                                                                       \
        }                                                                                          \
    }

/* The wait may have been kicked for a runtime's exception. */
static void note_kicked(struct coopdl_thread *thread, long child, const char *call,
                        const void *caller)
{
    if (!(coopdl_load(thread) & WORD_FIRED))
        return;
    coopdl_on(thread, ON_CHILD, child);
    coopdl_from(thread, caller);
    coopdl_note_kicked(thread, call);
}

/* Between two looks. */
static void doze(void)
{
    TEST_CANCEL();
    coopdl_sleep_for(COOPDL_MILLISECOND);
}

/* The child that an outer wait of this thread has reaped, which a signal's handler has interrupted:
 * the wait in that handler gets it. */
static pid_t take_found(pid_t pid, int *status, struct rusage *usage)
{
    struct coopdl_reaping *reaping = &coopdl_self->reaping;
    pid_t found = reaping->pid;
    if (pid > 0 && pid != found)
        return 0;
    if (status)
        *status = reaping->status;
    if (usage)
        *usage = (struct rusage){0};
    reaping->pid = 0;
    return found;
}

/* A child has been found: the process may be signalled before the caller knows. */
static pid_t leave_found(pid_t found, int status)
{
    struct coopdl_reaping *reaping = &coopdl_self->reaping;
    reaping->status = status;
    reaping->pid = found;
    coopdl_waited(coopdl_self);
    if (!reaping->pid) {
        errno = EINTR;
        return -1;
    }
    reaping->pid = 0;
    return found;
}

__attribute__((always_inline)) static inline pid_t wait_late(pid_t pid, int *status, int options,
                                                             struct rusage *usage)
{
    struct coopdl_thread *thread = coopdl_self;
    WAIT_ON(thread, pid, wait_for(pid, status, options | WNOHANG, usage), seen || options & WNOHANG,
            wait_for(pid, status, options, usage), "wait")
}

__attribute__((always_inline)) static inline pid_t wait_once(pid_t pid, int *status, int options,
                                                             struct rusage *usage)
{
    struct coopdl_thread *thread = coopdl_self;
    if (likely(!coopdl_cutting(thread))) {
        pid_t ended = wait_for(pid, status, options, usage);
        if (ended >= 0 || errno != EINTR)
            return ended;
        if (!coopdl_cutting(thread)) {
            note_kicked(thread, pid, "wait", COOPDL_CALLER);
            return ended;
        }
    }
    return wait_late(pid, status, options, usage);
}

pid_t coopdl_timed_wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
    struct coopdl_reaping *reaping = &coopdl_self->reaping;
    bool outer = coopdl_self->reaps;
    int own = 0;
    pid_t found = unlikely(reaping->pid) ? take_found(pid, status, usage) : 0;
    if (found)
        return found;
    if (!coopdl_budgeted)
        return wait_once(pid, status, options, usage);
    coopdl_self->reaps = true;
    /* The kernel has the caller's pointer: it may be a bad one. */
    found = wait_once(pid, status ? status : &own, options, usage);
    if (found > 0)
        found = leave_found(found, status ? *status : own);
    coopdl_self->reaps = outer;
    return found;
}

pid_t coopdl_timed_waitpid(pid_t pid, int *status, int options)
{
    return coopdl_timed_wait4(pid, status, options, NULL);
}

pid_t coopdl_timed_wait(int *status)
{
    return coopdl_timed_wait4(-1, status, 0, NULL);
}

pid_t coopdl_timed_wait3(int *status, int options, struct rusage *usage)
{
    return coopdl_timed_wait4(-1, status, options, usage);
}

int coopdl_timed_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    siginfo_t own;
    struct coopdl_thread *thread = coopdl_self;
    if (likely(!coopdl_cutting(thread))) {
        int result = coopdl_real.waitid(type, id, info, options);
        if (result == 0 && !(options & (WNOHANG | WNOWAIT)))
            coopdl_waited(thread);
        if (result >= 0 || errno != EINTR)
            return result;
        if (!coopdl_cutting(thread)) {
            note_kicked(thread, type == P_PID ? (long)id : 0, "waitid", COOPDL_CALLER);
            return result;
        }
    }
    if (!info)
        info = &own;
    /* The kernel has filled it in, with no process if none has ended. */
    WAIT_ON(thread, type == P_PID ? (long)id : 0,
            coopdl_real.waitid(type, id, info, options | WNOHANG),
            seen || options & WNOHANG || info->si_pid, coopdl_real.waitid(type, id, info, options),
            "waitid")
}
