/* SPDX-License-Identifier: Apache-2.0 */
/*
 * semaphore.c -- sem_wait and its timed forms.
 *
 * Runtimes build their locks on semaphores, and some take an unexpected error for success.  So a
 * sem_wait that is cut always fails with EINTR, and a timed one with its own ETIMEDOUT.  After
 * expiry the semaphore is taken if it is free.
 *
 * A lock without a timeout then calls sem_wait again and again.  Each call pauses (cut.c) by
 * waiting for the semaphore itself, so that it is taken as soon as it is free.
 */
#include "preload/cut.h"
#include "preload/preload.h"

/* How long a wait until then would last, in ns. */
static int64_t left_until(clockid_t clock, const struct timespec *until)
{
    struct timespec now = {0};
    int64_t end = coopdl_ns(until);
    if (clock_gettime(clock, &now) != 0)
        return 0;
    end -= end == COOPDL_NEVER ? 1 : coopdl_ns(&now); /* anything but `never` */
    return end > 0 ? end : 0;
}

/* Waits for the semaphore for the time of a pause: whether it was taken.  A timed wait counts as a
 * sleep (cut.c).  The trap need not ask for another kick because of this wait, which ends by
 * itself. */
static bool had_in_pause(sem_t *semaphore, int64_t left)
{
    int64_t pause = coopdl_next_pause(coopdl_self, left, false);
    struct timespec until;
    if (pause == 0 || clock_gettime(CLOCK_REALTIME, &until) != 0)
        return false;
    until = coopdl_timespec(coopdl_ns(&until) + pause);
    coopdl_self->dozed = true;
    int result;
    do /* a kick does not end a pause */
        result = coopdl_real.sem_timedwait(semaphore, &until);
    while (result && errno == EINTR && coopdl_cutting(coopdl_self));
    return result == 0;
}

/* The semaphore was not taken in time: fails with the errno that this call has for that.  `saved`
 * is the errno from before, which stays if the semaphore is taken after all. */
static int cut(sem_t *semaphore, const char *call, int64_t left, int saved)
{
    int error = left == COOPDL_NEVER ? 0 : ETIMEDOUT;
    if (had_in_pause(semaphore, left)) {
        errno = saved;
        return 0;
    }
    int cut_error = coopdl_cut_sleep(coopdl_self, call, RESULT_EINTR, 0);
    errno = error ? error : cut_error;
    return -1;
}

/* Takes the semaphore if it is free: 0, or -1 with EAGAIN. */
static int take_now(sem_t *semaphore)
{
    return PERFORM(coopdl_self, sem_trywait(semaphore));
}

/* The real call has come back: whether it was kicked out of its wait. */
static bool was_kicked(int result)
{
    return result && errno == EINTR && coopdl_cutting(coopdl_self);
}

int coopdl_timed_sem_wait(sem_t *semaphore)
{
    int saved = errno;
    if (unlikely(coopdl_cutting(coopdl_self)))
        return take_now(semaphore) == 0 ? 0 : cut(semaphore, "sem_wait", COOPDL_NEVER, saved);
    int result = coopdl_real.sem_wait(semaphore);
    return was_kicked(result) ? cut(semaphore, "sem_wait", COOPDL_NEVER, saved) : result;
}

/* libc reads the time itself, but only if it has to wait. */
static bool is_time(const struct timespec *time)
{
    return time->tv_nsec >= 0 && time->tv_nsec < COOPDL_SECOND;
}

int coopdl_timed_sem_timedwait(sem_t *semaphore, const struct timespec *until)
{
    int saved = errno;
    if (unlikely(coopdl_cutting(coopdl_self)) && is_time(until))
        return take_now(semaphore) == 0
                   ? 0
                   : cut(semaphore, "sem_timedwait", left_until(CLOCK_REALTIME, until), saved);
    int result = coopdl_real.sem_timedwait(semaphore, until);
    return was_kicked(result)
               ? cut(semaphore, "sem_timedwait", left_until(CLOCK_REALTIME, until), saved)
               : result;
}

int coopdl_timed_sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until)
{
    int saved = errno;
    if (unlikely(coopdl_cutting(coopdl_self)) && is_time(until) &&
        (clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME))
        return take_now(semaphore) == 0
                   ? 0
                   : cut(semaphore, "sem_clockwait", left_until(clock, until), saved);
    int result = coopdl_real.sem_clockwait(semaphore, clock, until);
    return was_kicked(result) ? cut(semaphore, "sem_clockwait", left_until(clock, until), saved)
                              : result;
}
