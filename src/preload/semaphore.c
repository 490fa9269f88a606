/* SPDX-License-Identifier: Apache-2.0 */
/*
 * semaphore.c -- sem_wait and its timed forms.
 *
 * Runtimes build their locks on them and take any error but the expected ones
 * for something else than "not locked": so sem_wait is told EINTR and nothing
 * else, ever, and the timed ones their own time-out.  After expiry the
 * semaphore is taken if it is free.
 */
#include "preload/cut.h"
#include "preload/preload.h"

/* The semaphore was not had in time: by the errno that this call has for it. */
static int cut(const char *call, int error)
{
    int told = coopdl_cut_errno(coopdl_self, call, ANSWER_EINTR);
    errno = error ? error : told;
    return -1;
}

/* Takes it if it is free: 0, or -1 with EAGAIN. */
static int take_now(sem_t *semaphore)
{
    return PERFORM(coopdl_self, sem_trywait(semaphore));
}

int coopdl_timed_sem_wait(sem_t *semaphore)
{
    if (unlikely(coopdl_cutting(coopdl_self)))
        return take_now(semaphore) == 0 ? 0 : cut("sem_wait", 0);
    int result = coopdl_real.sem_wait(semaphore);
    return result && errno == EINTR && coopdl_cutting(coopdl_self) ? cut("sem_wait", 0) : result;
}

/* libc reads the time itself, but only if it has to wait. */
static bool is_time(const struct timespec *time)
{
    return time->tv_nsec >= 0 && time->tv_nsec < COOPDL_SECOND;
}

int coopdl_timed_sem_timedwait(sem_t *semaphore, const struct timespec *until)
{
    if (unlikely(coopdl_cutting(coopdl_self)) && is_time(until))
        return take_now(semaphore) == 0 ? 0 : cut("sem_timedwait", ETIMEDOUT);
    int result = coopdl_real.sem_timedwait(semaphore, until);
    return result && errno == EINTR && coopdl_cutting(coopdl_self) ? cut("sem_timedwait", ETIMEDOUT)
                                                                   : result;
}

int coopdl_timed_sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until)
{
    if (unlikely(coopdl_cutting(coopdl_self)) && is_time(until) &&
        (clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME))
        return take_now(semaphore) == 0 ? 0 : cut("sem_clockwait", ETIMEDOUT);
    int result = coopdl_real.sem_clockwait(semaphore, clock, until);
    return result && errno == EINTR && coopdl_cutting(coopdl_self) ? cut("sem_clockwait", ETIMEDOUT)
                                                                   : result;
}
