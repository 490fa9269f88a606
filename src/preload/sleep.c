/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sleep.c -- the sleeps.
 *
 * All of them come down to one: sleep for so many ns, and say how many were
 * left and why it ended.  A sleep that ends before the deadline is libc's own.
 */
#include "preload/cut.h"
#include "preload/preload.h"

/*
 * Sleeps for `wanted` ns on `clock`: 0, or the errno that it ended with and the
 * rest in *rest.  The real sleep is made in pieces only where the cap runs out
 * while nothing may be cut (cut.h).
 */
__attribute__((always_inline)) static inline int
doze(struct coopdl_thread *thread, clockid_t clock, int64_t wanted, int64_t *rest, const char *call)
{
    int64_t left = wanted, begun = 0;
    for (;;) {
        *rest = left;
        if (unlikely(coopdl_cutting(thread))) {
            thread->place.begun = begun;
            return coopdl_cut_sleep(thread, call, RESULT_ESCALATES, left);
        }
        int64_t now = coopdl_clock(), cap = coopdl_cap(thread, now);
        if (!begun)
            begun = now;
        struct timespec piece = coopdl_timespec(cap < left ? cap : left), over = {0};
        int error = coopdl_real.clock_nanosleep(clock, 0, &piece, &over);
        if (!error && cap >= left)
            return 0;
        left -= coopdl_ns(&piece) - (error == EINTR ? coopdl_ns(&over) : 0);
        *rest = left;
        if (error) {
            if (error != EINTR || !(coopdl_load(thread) & WORD_FIRED))
                return error;
            thread->place.begun = begun;
            coopdl_from(thread, COOPDL_CALLER);
            if (coopdl_cutting(thread))
                return coopdl_cut_a_sleep(thread, call, RESULT_ESCALATES, left);
            coopdl_note_kicked(thread, call);
            return error;
        }
        coopdl_capped(thread);
    }
}

static bool capable(clockid_t clock)
{
    return clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME || clock == CLOCK_BOOTTIME;
}

/* Whether this is a sleep that waits and fits: the kernel can read it, and it is not zero. */
static bool sleeps(const struct timespec *wanted)
{
    return coopdl_readable_timespec(wanted) && (wanted->tv_sec || wanted->tv_nsec) &&
           coopdl_ns(wanted) != COOPDL_NEVER;
}

/* Whether a sleep is over before the deadline. */
static bool ends_before(const struct coopdl_thread *thread, int64_t ns)
{
    return coopdl_later(coopdl_clock(), ns) < coopdl_load(thread);
}

/* Relative sleeps on a clock that runs at the rate of the deadline's.  A sleep that ends before the
 * deadline is the kernel's own, with what the kernel writes back. */
__attribute__((always_inline)) static inline int
timed_sleep(struct coopdl_thread *thread, clockid_t clock, const struct timespec *wanted,
            struct timespec *rest, const char *call)
{
    int64_t left = coopdl_ns(wanted);
    if (ends_before(thread, left)) {
        int error = coopdl_real.clock_nanosleep(clock, 0, wanted, rest);
        /* A handler has entered a scope, and left by longjmp. */
        return error == EINTR && coopdl_cutting(thread)
                   ? coopdl_cut_sleep(thread, call, RESULT_ESCALATES, left)
                   : error;
    }
    int error = doze(thread, clock, left, &left, call);
    if (!rest || (error != EINTR && error != ETIMEDOUT))
        return error;
    if (!coopdl_writable(rest, sizeof(*rest)))
        return EFAULT;
    /* A sleep that is cut with ETIMEDOUT reports that no time is left: libc's sleep returns that,
     * and its caller's loop ends. */
    *rest = coopdl_timespec(error == EINTR ? left : 0);
    return error;
}

int coopdl_timed_nanosleep(const struct timespec *wanted, struct timespec *rest)
{
    struct coopdl_thread *thread = coopdl_self;
    if (!sleeps(wanted))
        return PERFORM(thread, coopdl_real.nanosleep(wanted, rest));
    int error = timed_sleep(thread, CLOCK_REALTIME, wanted, rest, "nanosleep");
    if (!error)
        return 0;
    errno = error;
    return -1;
}

/* How many ns a sleep on any clock lasts: not above 0 where it is not valid or its end has come,
 * COOPDL_NEVER where they cannot be counted. */
static int64_t left_on(clockid_t clock, int flags, const struct timespec *wanted)
{
    struct timespec now = {0};
    if (!coopdl_readable_timespec(wanted) || clock_gettime(clock, &now) != 0)
        return 0;
    if (!(flags & TIMER_ABSTIME))
        now = (struct timespec){0};
    int64_t end = coopdl_ns(wanted);
    return end == COOPDL_NEVER ? end : end - coopdl_ns(&now);
}

int coopdl_timed_clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted,
                                 struct timespec *rest)
{
    struct coopdl_thread *thread = coopdl_self;
    if (flags == 0 && capable(clock) && sleeps(wanted))
        return timed_sleep(thread, clock, wanted, rest, "clock_nanosleep");

    /* Until a time, on a clock of its own, or for longer than can be counted: left to the kick. */
    int64_t left = left_on(clock, flags, wanted);
    if (left <= 0) {
        int error;
        do
            error = coopdl_real.clock_nanosleep(clock, flags, wanted, rest);
        while (error == EINTR && coopdl_cutting(thread));
        return error;
    }
    int error = EINTR;
    if (coopdl_cutting(thread)) {
        if (rest && !(flags & TIMER_ABSTIME)) {
            if (!coopdl_writable(rest, sizeof(*rest)))
                return EFAULT;
            *rest = *wanted;
        }
    } else {
        error = coopdl_real.clock_nanosleep(clock, flags, wanted, rest);
        if (error == EINTR && !coopdl_cutting(thread) && coopdl_load(thread) & WORD_FIRED) {
            coopdl_from(thread, COOPDL_CALLER);
            coopdl_note_kicked(thread, "clock_nanosleep");
        }
    }
    if (error == EINTR && coopdl_cutting(thread))
        return coopdl_cut_sleep(thread, "clock_nanosleep", RESULT_ESCALATES, left);
    return error;
}

int coopdl_timed_usleep(useconds_t us)
{
    struct coopdl_thread *thread = coopdl_self;
    int64_t left;
    if (us == 0)
        return PERFORM(thread, coopdl_real.usleep(0));
    int error = doze(thread, CLOCK_REALTIME, us * COOPDL_MICROSECOND, &left, "usleep");
    if (!error)
        return 0;
    errno = error;
    return -1;
}

unsigned int coopdl_timed_sleep(unsigned int seconds)
{
    struct coopdl_thread *thread = coopdl_self;
    int64_t left;
    if (seconds == 0)
        return 0;
    int error = doze(thread, CLOCK_REALTIME, seconds * COOPDL_SECOND, &left, "sleep");
    if (error != EINTR)
        return 0; /* slept, or cut before: sleep has no way to fail, and 0 ends the caller's loop */
    return (unsigned int)((left + COOPDL_SECOND - 1) / COOPDL_SECOND);
}

/* C11: 0, -1 when interrupted, another negative number for any other failure; errno is not said. */
int coopdl_timed_thrd_sleep(const struct timespec *wanted, struct timespec *rest)
{
    int slept;
    if (!sleeps(wanted)) {
        do
            slept = coopdl_real.thrd_sleep(wanted, rest);
        while (slept == -1 && coopdl_load(coopdl_self) & WORD_FIRED); /* a kick */
        return slept;
    }
    int error = timed_sleep(coopdl_self, CLOCK_REALTIME, wanted, rest, "thrd_sleep");
    return error == 0 ? 0 : error == EINTR ? -1 : -2;
}
