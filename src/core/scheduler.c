/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scheduler.c -- the watcher of the deadlines: one thread, started at the first scope, that
 * sleeps on a futex until the earliest deadline.
 *
 * Why a thread and not a timer for each thread: a timer that goes off after its scope was left
 * would put an EINTR into a thread that has no deadline any more.  Here a late wake-up happens
 * on the scheduler's thread, where it does no harm.
 *
 * What must hold: the scheduler sleeps no longer than until the earliest armed word.
 *
 * Interleaving of the scheduler's round (wake = never; read all words; wake = earliest; sleep)
 * and of a thread that arms (store the word; read wake), both sequentially consistent:
 * - The thread stores its word before the scheduler reads it: the deadline is among those that
 *   the scheduler found.
 * - The thread stores its word after the scheduler has read it: the thread then finds `never` in
 *   wake, or the earliest deadline of the others.  If its own is earlier, it changes `alarms`
 *   and wakes the futex.  A futex that has not begun to sleep sees the changed value and does
 *   not sleep.
 *
 * So a loop that enters and leaves a scope makes no system call, as long as its deadline is
 * later than the one that the scheduler waits for.
 */
#include "core/scheduler.h"

#include "core/clock.h"
#include "core/hooks.h"
#include "core/kick.h"
#include "core/last.h"
#include "core/sys.h"
#include "core/thread.h"
#include "core/tick.h"
#include "core/timer.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Enough for a runtime's hook; memory that is not touched costs nothing. */
enum { STACK_SIZE = 256 * 1024 };

static pthread_mutex_t starting = PTHREAD_MUTEX_INITIALIZER;
static _Atomic uint32_t rounds;

/* This thread is not to be the last (last.c): while that is near, it sleeps for no longer than 1
 * ms, doubling, to 100 ms once the first thread has ended, and to 1 s before. */
static atomic_bool last_is_near;
enum { FIRST_PAUSE = 1000000, PAUSE_SOON = 100000000, PAUSE_MAYBE = 1000000000 };

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* All signals that are the program's.  Not those of libc below SIGRTMIN: setuid sends one to every
 * thread, and waits for each. */
static uint64_t programs_signals(void)
{
    enum { FIRST_REALTIME = 32 };
    uint64_t mask = ~UINT64_C(0);
    for (int number = FIRST_REALTIME; number < SIGRTMIN; number++)
        mask &= ~COOPDL_SIGSET_BIT(number);
    return mask;
}

/* The next look, at most `next`; 0 if this thread is the last. */
static int64_t next_look(int64_t next, int64_t *pause)
{
    enum coopdl_last last = coopdl_last_look();
    if (last == LAST_SELF)
        return 0;
    if (last == LAST_NOT) {
        *pause = FIRST_PAUSE;
        atomic_store(&last_is_near, false);
        return next;
    }
    int64_t look = coopdl_clock() + *pause;
    *pause = min(2 * *pause, last == LAST_SOON ? PAUSE_SOON : PAUSE_MAYBE);
    return min(look, next);
}

static void *schedule(void *unused)
{
    uint64_t mask = programs_signals();
    (void)unused;
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, COOPDL_SIGSET_SIZE);
    coopdl_alarm_serves((int32_t)coopdl_sys(SYS_gettid));
    coopdl_sys(SYS_prctl, PR_SET_NAME, "coopdl");
    coopdl_sys(SYS_prctl, PR_SET_TIMERSLACK, 1);
    for (int64_t pause = FIRST_PAUSE;;) {
        uint32_t seen = coopdl_alarms();
        atomic_store(&coopdl_scheduler_wake, TIME_NEVER);
        int64_t next = coopdl_tick(true);
        if (unlikely(atomic_load(&last_is_near)) && (next = next_look(next, &pause)) == 0)
            return NULL;
        atomic_store(&coopdl_scheduler_wake, next);
        atomic_fetch_add(&rounds, 1);
        coopdl_alarm_sleep(next, seen);
    }
}

static int launch(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int error = pthread_attr_init(&attributes);
    if (error)
        return error;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_SIZE + (size_t)sysconf(_SC_THREAD_STACK_MIN));
    error = pthread_create(&thread, &attributes, schedule, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

int coopdl_scheduler_launch(void)
{
    /* The new thread inherits the mask: no signal of the program lands on it.  The caller may be
     * trapped, and libc's calls here be seen: that takes a SIGSYS. */
    uint64_t most = ~COOPDL_SIGSET_BIT(SIGSYS), mask;
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &most, &mask, COOPDL_SIGSET_SIZE);
    pthread_mutex_lock(&starting);
    int error = atomic_load(&coopdl_scheduler_running) ? 0
                : coopdl_kick_refused()                ? EPERM
                                                       : launch();
    if (!error) {
        atomic_store(&coopdl_scheduler_running, true);
        coopdl_timer_stop();
    }
    pthread_mutex_unlock(&starting);
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, COOPDL_SIGSET_SIZE);
    return error;
}

void coopdl_scheduler_rest(void)
{
    if (!atomic_load(&coopdl_scheduler_running) || coopdl_sys(SYS_gettid) == coopdl_scheduler_tid())
        return;
    /* Waits for two ends of a round: the first may be the end of a round that began before this
     * call. */
    uint32_t begun = atomic_load(&rounds);
    while (atomic_load(&rounds) - begun < 2) {
        coopdl_scheduler_rouse();
        coopdl_sleep_for(100 * COOPDL_MICROSECOND);
    }
}

int coopdl_set_hooks(const struct coopdl_hooks *new_hooks)
{
    int error = new_hooks ? coopdl_scheduler_start() : 0;
    if (error) {
        errno = error;
        return -1;
    }
    atomic_store(&coopdl_hooks, new_hooks);
    coopdl_all_due(); /* a thread may be due to be asked about that was not before */
    coopdl_scheduler_rest();
    return 0;
}

void coopdl_scheduler_loses(void)
{
    if (!atomic_load(&coopdl_scheduler_running) || atomic_load(&last_is_near) ||
        !coopdl_last_is_near())
        return;
    atomic_store(&last_is_near, true);
    coopdl_scheduler_rouse();
}

void coopdl_scheduler_forked(void)
{
    starting = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    atomic_store(&coopdl_scheduler_running, false);
    atomic_store(&coopdl_scheduler_wake, TIME_NEVER);
    coopdl_alarm_serves(0);
    atomic_store(&last_is_near, false);
}
