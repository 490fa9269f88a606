/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sigwait.c -- waiting for signals.
 *
 * A wait for the kick's own number keeps that signal blocked, so that no signal arrives between
 * the look at the kept signals (core/kept.c) and the wait.  A signal that is then taken from the
 * queue is the program's, or is a kick.  A kick is treated as in its handler, and ends the wait
 * with EINTR.
 *
 * sigwait must not fail with EINTR, and libc's restarts inside.  So it is made of sigwaitinfo
 * here.  Only a cut ends it, with the error number as its result.
 */
#include "preload/cut.h"
#include "preload/preload.h"

#include "core/arrival.h"
#include "core/kept.h"
#include "core/kick.h"
#include "core/sys.h"

static const struct timespec no_time = {0};

/* A signal is pending that `blocked` would let through: waiting with that mask would not wait, and
 * its EINTR is the program's own. */
static bool would_arrive(uint64_t blocked)
{
    uint64_t pending = 0;
    coopdl_sys(SYS_rt_sigpending, &pending, COOPDL_SIGSET_SIZE);
    return (pending & ~blocked) != 0;
}

static uint64_t current_mask(void)
{
    uint64_t mask = 0;
    coopdl_sys(SYS_rt_sigprocmask, SIG_BLOCK, 0, &mask, COOPDL_SIGSET_SIZE);
    return mask;
}

/* The kick's number, if it is in the set; else 0. */
static int awaits_kick(const sigset_t *set)
{
    int kick = atomic_load(&coopdl_kick_signal);
    return kick && sigismember(set, kick) == 1 ? kick : 0;
}

/* Restores the flag after a wait with another mask, also where the thread is cancelled in it. */
static void believe_again(void *before)
{
    coopdl_kick_believed = *(const bool *)before;
}

static int suspend(const sigset_t *open)
{
    uint64_t blocked;
    __builtin_memcpy(&blocked, open, sizeof(blocked));
    if (unlikely(coopdl_cutting(coopdl_self)))
        return would_arrive(blocked) ? coopdl_real.sigsuspend(open)
                                     : coopdl_cut(coopdl_self, "sigsuspend");
    return (int)coopdl_kicked(coopdl_real.sigsuspend(open), ON_NOTHING, "sigsuspend");
}

int coopdl_timed_pause(void)
{
    if (unlikely(coopdl_cutting(coopdl_self)))
        return coopdl_cut(coopdl_self, "pause");
    return (int)coopdl_kicked(coopdl_real.pause(), ON_NOTHING, "pause");
}

int coopdl_timed_sigsuspend(const sigset_t *mask)
{
    sigset_t open;
    if (!coopdl_open_mask(mask, &open))
        return coopdl_real.sigsuspend(mask);
    bool before = coopdl_kick_believed, believed = awaits_kick(mask) != 0;
    int result = -1;
    pthread_cleanup_push(believe_again, &before);
    coopdl_kick_believed = believed;
    if (before && !believed && coopdl_kept()) {
        coopdl_deliver_kept();
        errno = EINTR;
    } else {
        result = suspend(&open);
    }
    pthread_cleanup_pop(1);
    return result;
}

#ifdef __GLIBC__
/* The mask of BSD: the first 32 signals, with the others unblocked. */
int coopdl_timed_sigpause(int mask)
{
    if (unlikely(coopdl_cutting(coopdl_self)))
        return would_arrive((uint32_t)mask) ? coopdl_real.sigpause(mask)
                                            : coopdl_cut(coopdl_self, "sigpause");
    return (int)coopdl_kicked(coopdl_real.sigpause(mask), ON_NOTHING, "sigpause");
}
#else /* the plain name is that of X/Open's */
#define coopdl_timed___xpg_sigpause coopdl_timed_sigpause
#define __xpg_sigpause sigpause
#endif

int coopdl_timed___xpg_sigpause(int number)
{
    if (number < 1 || number > 64)
        return coopdl_real.__xpg_sigpause(number);
    if (unlikely(coopdl_cutting(coopdl_self)))
        return would_arrive(current_mask() & ~COOPDL_SIGSET_BIT(number))
                   ? coopdl_real.__xpg_sigpause(number)
                   : coopdl_cut(coopdl_self, "sigpause");
    return (int)coopdl_kicked(coopdl_real.__xpg_sigpause(number), ON_NOTHING, "sigpause");
}

/* libc's sigtimedwait; without a timeout sigwaitinfo.
 *
 * musl's waits again after EINTR, a kick's too. So this library makes the system call itself, which
 * is no cancellation point: the set contains musl's signal of pthread_cancel as well. Wherever that
 * signal arrives, it ends the wait: its handler blocks it and sends it again. The cancellation is
 * not made asynchronous, as musl would unwind with the stack aligned as it is here by chance. */
#define MUSL_SIGCANCEL 33

static int wait_for_signal(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
#if defined(__GLIBC__) || defined(COOPDL_TRAPPED)
    return timeout ? coopdl_real.sigtimedwait(set, info, timeout)
                   : coopdl_real.sigwaitinfo(set, info);
#else
    uint64_t with_cancel;
    int number;
    __builtin_memcpy(&with_cancel, set, sizeof(with_cancel));
    with_cancel |= COOPDL_SIGSET_BIT(MUSL_SIGCANCEL);
    do {
        pthread_testcancel();
        number = coopdl_raw.sigtimedwait((const sigset_t *)&with_cancel, info, timeout);
    } while (number == MUSL_SIGCANCEL ||
             (number < 0 && errno == EINTR && !(coopdl_load(coopdl_self) & WORD_FIRED)));
    return number;
#endif
}

/* A thread that is cancelled comes by here as well. */
static void end_await(void *unused)
{
    (void)unused;
    coopdl_kept_awaited(false);
    coopdl_kick_block(SIG_UNBLOCK);
}

static int await_kick(const sigset_t *set, int kick, siginfo_t *info,
                      const struct timespec *timeout)
{
    for (;;) {
        int number = coopdl_take_kept(info) ? kick : wait_for_signal(set, info, timeout);
        if (number != kick)
            return number;
        if (coopdl_is_delivery(info))
            continue;
        if (!coopdl_kick_taken(info))
            return number;
        if (coopdl_cutting(coopdl_self)) {
            errno = EINTR;
            return -1;
        }
    }
}

/* Waits for `open`, which is the program's set without the kick, and for the kick's own number:
 * that, or another's, or -1. */
static int wait_with_kick(const sigset_t *open, int kick, siginfo_t *info,
                          const struct timespec *timeout)
{
    sigset_t set = *open;
    int number;
    sigaddset(&set, kick);
    pthread_cleanup_push(end_await, NULL);
    coopdl_kick_block(SIG_BLOCK);
    coopdl_kept_awaited(true);
    number = await_kick(&set, kick, info, timeout);
    pthread_cleanup_pop(1);
    return number;
}

/* As wait_for_signal; `wanted` is the program's set, which the kernel could read. */
static int await(const sigset_t *wanted, const sigset_t *open, siginfo_t *info,
                 const struct timespec *timeout)
{
    siginfo_t own;
    int kick = awaits_kick(wanted);
    if (likely(!kick))
        return wait_for_signal(open, info, timeout);
    int number = wait_with_kick(open, kick, &own, timeout);
    if (number <= 0 || !info)
        return number;
    if (!coopdl_writable(info, sizeof(*info))) {
        errno = EFAULT;
        return -1;
    }
    *info = own;
#ifndef COOPDL_TRAPPED
    if (info->si_code == SI_TKILL) /* as libc has it */
        info->si_code = SI_USER;
#endif
    return number;
}

/* Takes a pending signal of the set from the queue: its number, or -1. */
static int take_signal(const sigset_t *wanted, const sigset_t *open, siginfo_t *info)
{
    return PERFORM(coopdl_self, await(wanted, open, info, &no_time));
}

int coopdl_timed_sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
    sigset_t open;
    if (!coopdl_open_mask(set, &open))
        return coopdl_real.sigwaitinfo(set, info);
    if (likely(!coopdl_cutting(coopdl_self)))
        return (int)coopdl_kicked(await(set, &open, info, NULL), ON_NOTHING, "sigwaitinfo");
    int number = take_signal(set, &open, info);
    return number > 0 || errno != EAGAIN ? number : coopdl_cut(coopdl_self, "sigwaitinfo");
}

int coopdl_timed_sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
    sigset_t open;
    if (!coopdl_open_mask(set, &open) || (timeout && !coopdl_readable_timespec(timeout)))
        return coopdl_real.sigtimedwait(set, info, timeout);
    bool waits = !timeout || timeout->tv_sec || timeout->tv_nsec;
    int number = unlikely(coopdl_cutting(coopdl_self)) && waits ? take_signal(set, &open, info)
                                                                : await(set, &open, info, timeout);
    if (number < 0 && (errno == EAGAIN || errno == EINTR) && waits && coopdl_cutting(coopdl_self)) {
        int cut_error = coopdl_cut_errno(coopdl_self, "sigtimedwait", RESULT_ESCALATES);
        errno = timeout ? EAGAIN : cut_error; /* a timed wait fails as if its timeout had run out */
    }
    return number;
}

int coopdl_timed_sigwait(const sigset_t *set, int *number)
{
    sigset_t open;
    int saved = errno;
    if (!coopdl_open_mask(set, &open))
        return coopdl_real.sigwait(set, number);
    for (;;) {
        int got = unlikely(coopdl_cutting(coopdl_self)) ? take_signal(set, &open, NULL)
                                                        : await(set, &open, NULL, NULL);
        int error = errno;
        errno = saved;
        if (got > 0) {
            *number = got;
            return 0;
        }
        if (error != EINTR && error != EAGAIN)
            return error;
        if (coopdl_cutting(coopdl_self))
            return coopdl_cut_errno(coopdl_self, "sigwait", RESULT_ESCALATES);
    }
}
