/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timer.c -- the watcher of the deadlines in a process without the scheduler's thread: one
 * kernel timer, whose signal has the kick's number.
 *
 * The timer goes off at the end of the budget, and then for each further visit to a fired thread
 * and for each step of the ladder.  The signal goes to the process.  The kernel prefers the
 * first thread for it, and the handler kicks the others.
 *
 * The timer also serves a forked child, which has inherited scopes but no scheduler, until that
 * child enters a scope of its own.  Only there can a thread leave the scope that the timer is
 * set to.  Then coopdl_timer_follow sets the timer anew, and takes a signal that has gone off in
 * the meantime off the queue.
 *
 * What must hold: all code here is async-signal-safe.
 */
#include "core/timer.h"

#include "core/alarm.h"
#include "core/clock.h"
#include "core/kick.h"
#include "core/sys.h"
#include "core/tick.h"

#include <stdatomic.h>

static char cookie;
static _Atomic int timer_id = -1;
static atomic_bool held; /* by a thread that calls exec */

/* Whether the kernel has taken it. */
static bool set(int64_t when)
{
    int id = atomic_load(&timer_id);
    /* 0 would stop the timer. */
    struct itimerspec setting = {.it_value = coopdl_timespec(when > 0 ? when : 1)};
    if (when == TIME_NEVER || atomic_load(&held))
        setting.it_value = (struct timespec){0};
    return id >= 0 && coopdl_sys(SYS_timer_settime, id, TIMER_ABSTIME, &setting, 0) >= 0;
}

/* Stops it, and sets it anew if `again`: a signal that has gone off meanwhile is taken. */
static void stop(bool again)
{
    uint64_t kick = COOPDL_SIGSET_BIT(atomic_load(&coopdl_kick_signal)), mask;
    struct timespec now = {0};
    siginfo_t info;
    coopdl_sys(SYS_rt_sigprocmask, SIG_BLOCK, &kick, &mask, COOPDL_SIGSET_SIZE);
    (void)set(TIME_NEVER);
    if (coopdl_sys(SYS_rt_sigtimedwait, &kick, &info, &now, COOPDL_SIGSET_SIZE) > 0 &&
        info.si_code != SI_TIMER) /* a kick, or the program's: put it back */
        coopdl_sys(SYS_rt_tgsigqueueinfo, coopdl_sys(SYS_getpid), coopdl_sys(SYS_gettid),
                   info.si_signo, &info);
    if (again)
        (void)set(coopdl_tick(false));
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, COOPDL_SIGSET_SIZE);
}

void coopdl_timer_expired(void)
{
    if (!atomic_load(&coopdl_scheduler_running))
        (void)set(coopdl_tick(false));
}

/* After a change of the calling thread's word; nothing of the timer is pending afterwards that
 * should not be. */
static void follow(void)
{
    if (atomic_load(&timer_id) >= 0)
        stop(true);
}

/* A signal of the number of the kick was taken from the queue: whether it was the timer's. */
static bool taken(const siginfo_t *info)
{
    if (!coopdl_is_timer(info))
        return false;
    coopdl_timer_expired();
    return true;
}

bool coopdl_timer_start(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL,
                             .sigev_signo = atomic_load(&coopdl_kick_signal),
                             .sigev_value.sival_ptr = &cookie};
    int id;
    atomic_store(&coopdl_alarm_timer, follow);
    atomic_store(&coopdl_kick_timer, taken);
    if (coopdl_sys(SYS_timer_create, CLOCK_MONOTONIC, &event, &id) < 0)
        return false;
    atomic_store(&timer_id, id);
    if (set(coopdl_tick(false)))
        return true;
    coopdl_timer_stop();
    return false;
}

void coopdl_timer_hold(void)
{
    atomic_store(&held, true);
    if (atomic_load(&timer_id) >= 0)
        stop(false);
}

void coopdl_timer_release(void)
{
    atomic_store(&held, false);
    follow();
}

void coopdl_timer_stop(void)
{
    int id = atomic_exchange(&timer_id, -1);
    if (id >= 0)
        coopdl_sys(SYS_timer_delete, id);
}

IN_HANDLER bool coopdl_is_timer(const siginfo_t *info)
{
    return info->si_code == SI_TIMER && info->si_value.sival_ptr == &cookie;
}

void coopdl_timer_forked(void)
{
    atomic_store(&held, false);
    atomic_store(&timer_id, -1);
}
