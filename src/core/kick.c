/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kick.c -- the signal, its handler, and the hand-shake that lets no kick land
 * late.
 *
 * What must hold:
 * - At most one kick is under way for a thread, from coopdl_kick_take until the
 *   signal has arrived (thread->kick is not 0 meanwhile).
 * - Once coopdl_kick_settle has returned, no kick that was taken before can
 *   reach the thread.
 * - The handler is there without SA_RESTART, so that the system call ends; it
 *   runs on the alternate stack where there is one; it keeps errno.
 * - No handler of the program's comes in between: one that leaves by longjmp
 *   would leave a kick under way for ever, and no other would follow.
 *
 * Interleavings of the kicker (take; look at the word; send) and the leaver
 * (change the word; settle), both sequentially consistent:
 * - the kicker looks first: he signals, and the leaver sees the kick and waits
 *   for the signal;
 * - the leaver changes first: the kicker sees the new word and drops the kick.
 *   The leaver may have seen the kick and waits for that instead.
 * The leaver waits with the signal blocked and takes it off the queue himself:
 * that works as well where the program had blocked it, in a handler or with a
 * system call of its own, and no handler would ever run.
 *
 * A program that uses the same signal is served too: what arrives while no kick
 * is under way, or was not sent by tgkill, is the program's.  One that takes
 * signals off the queue past our wrappers may take a kick with them: a leaver
 * waits for one that was sent no longer than PATIENCE, and one that turns up
 * after all ends nobody.
 */
#include "core/kick.h"

#include "core/budget.h"
#include "core/clock.h"
#include "core/fork.h"
#include "core/handler.h"
#include "core/policy.h"
#include "core/tick.h"
#include "core/timer.h"

#include <errno.h>

/* How long a kick that was sent may take to arrive, in ns. */
enum { PATIENCE = 100000000 };

_Atomic int coopdl_kick_signal;
struct sigaction coopdl_kick_chained;

void (*coopdl_trap_on)(struct coopdl_thread *, void *);
void (*coopdl_trap_off)(struct coopdl_thread *);

static bool is_timer(const siginfo_t *info)
{
    return info->si_code == SI_TIMER && info->si_value.sival_ptr == coopdl_timer_cookie();
}

static bool is_kick(const struct coopdl_thread *thread, const siginfo_t *info)
{
    return thread && info->si_code == SI_TKILL && atomic_load(&thread->kick) != 0;
}

/* The signal was the program's own, or nobody's any more. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    bool late_kick = info->si_code == SI_TKILL && info->si_pid == coopdl_pid;
    if (!(coopdl_kick_chained.sa_flags & SA_SIGINFO) && coopdl_kick_chained.sa_handler == SIG_DFL &&
        (number == SIGURG || late_kick))
        return;
    coopdl_pass_on(&coopdl_kick_chained, number, info, context);
}

/* The thread is expired: nothing that it does from here on is to slip through. */
static void trap(struct coopdl_thread *thread, void *context)
{
    if (coopdl_trap_on && coopdl_cutting(thread))
        coopdl_trap_on(thread, context);
}

/* Not instrumented: ThreadSanitizer's runtime cannot be entered from a handler that may have
 * interrupted it. */
__attribute__((no_sanitize("thread"))) static void on_kick(int number, siginfo_t *info,
                                                           void *context)
{
    int saved = errno;
    struct coopdl_thread *thread = coopdl_self;
    if (is_timer(info)) {
        coopdl_timer_expired();
    } else if (thread && info->si_code == SI_TKILL && atomic_load(&thread->kick)) {
        coopdl_hook_kicked();
        trap(thread, context);
        atomic_store(&thread->kick, KICK_NONE);
    } else if (!thread && info->si_code == SI_TKILL && coopdl_budget_over()) {
        /* The budget's end found a thread that no wrapper has seen yet. */
        if ((thread = coopdl_claim()))
            trap(thread, context);
    } else {
        pass_on(number, info, context);
    }
    errno = saved;
}

void coopdl_kick_install(void)
{
    static _Atomic int installing;
    if (atomic_load(&coopdl_kick_signal) || atomic_exchange(&installing, 1))
        return;
    int number = coopdl_policy.signal;
    struct coopdl_action before = coopdl_action_of(number);
    coopdl_kick_chained = coopdl_action_for_libc(&before);
#ifndef __GLIBC__
    /* musl's semaphores go on waiting after a signal as long as no handler without SA_RESTART has
     * come by its own sigaction. */
    struct sigaction told = {.sa_sigaction = on_kick, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(number, &told, NULL);
#endif
    coopdl_handler_install(number, on_kick, 0, coopdl_mask_of_others);
    atomic_store(&coopdl_kick_signal, number);
}

bool coopdl_kick_take(struct coopdl_thread *thread)
{
    uint32_t none = KICK_NONE;
    return atomic_compare_exchange_strong(&thread->kick, &none, KICK_TAKEN);
}

void coopdl_kick_drop(struct coopdl_thread *thread)
{
    atomic_store(&thread->kick, KICK_NONE);
}

void coopdl_kick_send(struct coopdl_thread *thread)
{
    atomic_store(&thread->kick, KICK_SENT);
    long result = coopdl_sys(SYS_tgkill, coopdl_pid, atomic_load(&thread->tid),
                             atomic_load(&coopdl_kick_signal));
    if (result == -ESRCH)
        coopdl_forget(thread);
    else if (result < 0) /* EAGAIN: no room for a queued signal; the next visit tries again */
        coopdl_kick_drop(thread);
}

/* Takes the kick off the queue, or sees it dropped. */
static void await_kick(struct coopdl_thread *thread)
{
    uint64_t kick = COOPDL_SIGSET_BIT(atomic_load(&coopdl_kick_signal)), mask;
    coopdl_sys(SYS_rt_sigprocmask, SIG_BLOCK, &kick, &mask, COOPDL_SIGSET_SIZE);
    /* The kicker may have dropped it, or be about to, or run a hook: look again every so often. */
    int64_t begun = coopdl_clock();
    for (int64_t pause = 50 * COOPDL_MICROSECOND; atomic_load(&thread->kick);
         pause += pause < COOPDL_MILLISECOND ? pause : 0) {
        if (atomic_load(&thread->kick) == KICK_SENT && coopdl_clock() - begun > PATIENCE)
            coopdl_kick_drop(thread);
        struct timespec wait = coopdl_timespec(pause);
        siginfo_t info;
        if (coopdl_sys(SYS_rt_sigtimedwait, &kick, &info, &wait, COOPDL_SIGSET_SIZE) <= 0)
            continue;
        if (is_timer(&info))
            coopdl_timer_expired();
        else if (is_kick(thread, &info))
            coopdl_kick_drop(thread);
        else /* the program's: back to the end of the queue */
            coopdl_sys(SYS_rt_tgsigqueueinfo, coopdl_pid, atomic_load(&thread->tid), info.si_signo,
                       &info);
    }
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, COOPDL_SIGSET_SIZE);
}

void coopdl_kick_settle(struct coopdl_thread *thread)
{
    if (atomic_load(&thread->kick))
        await_kick(thread);
    /* The signal has put the visitor's look at our scopes behind us; in the language's terms this
     * load does. */
    (void)atomic_load(&thread->visits);
}
