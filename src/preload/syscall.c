/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall.c -- system calls by number, for libc's syscall() and for the trap.
 *
 * Before expiry syscall() makes the call with its own number and arguments, so that the kernel
 * returns, writes back and refuses as without the library.  The call is no cancellation point.
 * It is not capped: the kick ends it, and the next kick if one was lost.  A signal mask that the
 * call waits with is opened for the kick, as in the wrappers.
 *
 * After expiry the numbers in the table take the path of the wrappers, in their plain form
 * (COOPDL_TRAPPED in real.h), since syscall() must stay no cancellation point.  A system call
 * differs from libc's function in several ways: the size of a signal set, the pair of arguments
 * of pselect6, errors as numbers, and what the kernel refuses before it waits.  The macros that
 * are defined here put these right in the rows of the table.
 */
#include "preload/cut.h"
#include "preload/preload.h"

#include "core/kick.h"
#include "core/sys.h"

#include <string.h>

#define P(type, argument) ((type)(uintptr_t)(argument))

/* The mask that pselect6 is given in a pair with its size. */
struct masked {
    const sigset_t *mask;
    size_t size;
};

#ifdef COOPDL_TRAPPED

/* The call itself, where the kernel answers at once. */
#define AS_IT_IS coopdl_result(coopdl_sys6(number, a, b, c, d, e, f))

/* A 64-bit offset takes two of 32. */
#ifdef COOPDL_WIDE
#define JOINED(low, high) ((off_t)((uint64_t)(high) << 32 | (unsigned long)(low)))
#else
#define JOINED(low, high) (low)
#endif

static long by_errno(int error)
{
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

/* A time-out, or none, that the kernel can read and takes for one. */
static bool is_time(long time)
{
    return !time || coopdl_readable_timespec(P(struct timespec *, time));
}

/* A mask, or none, of the only size that the kernel takes. */
static bool is_mask(long mask, long size)
{
    return !mask || size == COOPDL_SIGSET_SIZE;
}

static bool is_pair(long pair)
{
    return !pair || (coopdl_readable(P(void *, pair), sizeof(struct masked)) &&
                     is_mask((long)P(struct masked *, pair)->mask, P(struct masked *, pair)->size));
}

static const sigset_t *mask_of(long pair)
{
    return pair ? P(struct masked *, pair)->mask : NULL;
}

/* Whether the clock is one to sleep on: it is tried with a time that has passed, which does not
 * sleep. */
static bool is_sleepable(long clock)
{
    struct timespec past = {0};
    return coopdl_sys(SYS_clock_nanosleep, clock, TIMER_ABSTIME, &past, 0) == 0;
}

/* The kernel writes back the time that is left of a timeout: none, of one that has run out. */
static long written_back(long result, long time)
{
    if (result == 0 && time && coopdl_writable(P(void *, time), sizeof(struct timespec)))
        memset(P(void *, time), 0, sizeof(struct timespec));
    return result;
}

/* libc's waitid has no `usage`. */
static long waitid_with_usage(long type, long id, siginfo_t *info, long options, long usage)
{
    siginfo_t own;
    if (!info)
        info = &own;
    long result =
        PERFORM(coopdl_self,
                coopdl_result(coopdl_sys(SYS_waitid, type, id, info, options | WNOHANG, usage)));
    return result || options & WNOHANG || info->si_pid
               ? result
               : (coopdl_on(coopdl_self, ON_CHILD, type == P_PID ? id : 0),
                  coopdl_cut(coopdl_self, "waitid"));
}

#if !defined(__LP64__) && !defined(COOPDL_WIDE)
/* The same rows, wide: there they are the numbers with 64 bits. */
long coopdl_wide_cut_syscall(long number, long a, long b, long c, long d, long e, long f);
#define OTHERWISE coopdl_wide_cut_syscall(number, a, b, c, d, e, f)
#define WIDE_NUMBER(name, call)
#else
#define OTHERWISE AS_IT_IS
#endif

long coopdl_cut_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    switch (number) {
#define NUMBER(name, call)                                                                         \
    case SYS_##name:                                                                               \
        return (call);
#include "preload/calls.def"
    default:
        return OTHERWISE;
    }
}

#else

#ifdef COOPDL_WIDE
#define coopdl_number_name coopdl_wide_number_name
#define OTHERWISE NULL
#elif defined(__LP64__)
#define OTHERWISE NULL
#else
#define OTHERWISE coopdl_wide_number_name(number)
#define WIDE_NUMBER(name, call)
#endif
const char *coopdl_wide_number_name(long number);

const char *coopdl_number_name(long number)
{
    switch (number) {
#define NUMBER(name, call)                                                                         \
    case SYS_##name:                                                                               \
        return #name;
#include "preload/calls.def"
    default:
        return OTHERWISE;
    }
}

#endif

#if !defined(COOPDL_TRAPPED) && !defined(COOPDL_WIDE)

/* The caller's mask, opened for the kick. */
struct opened {
    sigset_t mask;
    struct masked pair;
};

static void open_mask(struct opened *opened, long *mask, long size)
{
    if (*mask && size == COOPDL_SIGSET_SIZE &&
        coopdl_open_mask(P(sigset_t *, *mask), &opened->mask))
        *mask = (long)&opened->mask;
}

static void open_pair(struct opened *opened, long *pair)
{
    if (!*pair || !coopdl_readable(P(void *, *pair), sizeof(opened->pair)))
        return;
    opened->pair = *P(struct masked *, *pair);
    long mask = (long)opened->pair.mask;
    open_mask(opened, &mask, (long)opened->pair.size);
    opened->pair.mask = P(sigset_t *, mask);
    *pair = (long)&opened->pair;
}

/* By the numbers for both sizes of a time, where there are two. */
#ifdef SYS_ppoll_time64
#define WITH_TIME(name) SYS_##name : case SYS_##name##_time64
#else
#define WITH_TIME(name) SYS_##name
#endif

static void open_masks(struct opened *opened, long number, long *arguments)
{
    switch (number) {
    case WITH_TIME(ppoll):
        open_mask(opened, &arguments[3], arguments[4]);
        break;
    case WITH_TIME(pselect6):
        open_pair(opened, &arguments[5]);
        break;
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
        open_mask(opened, &arguments[4], arguments[5]);
        break;
    case SYS_rt_sigsuspend:
        open_mask(opened, &arguments[0], arguments[1]);
        break;
    default:
        break;
    }
}

/* The result of a call that was kicked out of its wait, as in the wrappers. */
static int tell(struct coopdl_thread *thread, long number, const long *arguments)
{
    const char *name = coopdl_number_name(number);
    bool epoll = number == SYS_epoll_pwait || number == SYS_epoll_pwait2;
#ifdef SYS_epoll_wait
    epoll |= number == SYS_epoll_wait;
#endif
    int error = coopdl_cut_result(thread, name, epoll ? RESULT_EINTR : RESULT_ESCALATES,
                                  COOPDL_NEVER, false);
    switch (number) {
    case WITH_TIME(mq_timedreceive):
    case WITH_TIME(mq_timedsend):
        return arguments[4] ? ETIMEDOUT : error;
    case WITH_TIME(rt_sigtimedwait):
        return arguments[2] ? EAGAIN : error;
    default:
        return error;
    }
}

/* The signal that is taken from the queue may be a kick. */
static bool waits_for_kick(long number, long set, long size)
{
    switch (number) {
    case WITH_TIME(rt_sigtimedwait):
        return size == COOPDL_SIGSET_SIZE && coopdl_readable(P(void *, set), COOPDL_SIGSET_SIZE) &&
               sigismember(P(sigset_t *, set), atomic_load(&coopdl_kick_signal)) == 1;
    default:
        return false;
    }
}

static long timed(long number, long a, long b, long c, long d, long e, long f)
{
    struct coopdl_thread *thread = coopdl_self;
    if (unlikely(coopdl_cutting(thread) || waits_for_kick(number, a, d))) {
        thread->trapped_at = COOPDL_CALLER;
        long result = coopdl_cut_syscall(number, a, b, c, d, e, f);
        thread->trapped_at = NULL;
        thread->cut_by_trap = false; /* no wrapper is around it that would count the same cut */
        return result;
    }
    struct opened opened;
    long arguments[] = {a, b, c, d, e, f};
    open_masks(&opened, number, arguments);
    long result = coopdl_real.syscall(number, arguments[0], arguments[1], arguments[2],
                                      arguments[3], arguments[4], arguments[5]);
    if (result == -1 && errno == EINTR && coopdl_cutting(thread))
        errno = tell(thread, number, arguments);
    return result;
}

long coopdl_timed_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    return coopdl_number_name(number) ? timed(number, a, b, c, d, e, f)
                                      : coopdl_real.syscall(number, a, b, c, d, e, f);
}

#endif
