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
#include "core/policy.h"
#include "core/tick.h"
#include "core/timer.h"

#include <errno.h>

/* How long a kick that was sent may take to arrive, in ns. */
enum { PATIENCE = 100000000 };

_Atomic int coopdl_kick_signal;
struct sigaction coopdl_kick_chained;

/* The kernel's struct, not libc's. */
struct kernel_sigaction {
    union {
        void (*handler)(int);
        void (*action)(int, siginfo_t *, void *);
    };
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

#if defined(__x86_64__)
/* These very bytes tell an unwinder that the frame is a signal's: a cancelled thread unwinds
 * through it. */
void coopdl_restorer(void);
__asm__(".text\n.hidden coopdl_restorer\n.globl coopdl_restorer\n.type coopdl_restorer,@function\n"
        ".p2align 4\nnop\ncoopdl_restorer:\n mov $15,%rax\n syscall\n"
        ".size coopdl_restorer,.-coopdl_restorer\n");
#define RESTORER coopdl_restorer
#define RESTORER_FLAG 0x04000000UL
#else
#define RESTORER NULL
#define RESTORER_FLAG 0UL
#endif

static bool is_timer(const siginfo_t *info)
{
    return info->si_code == SI_TIMER && info->si_value.sival_ptr == coopdl_timer_cookie();
}

static bool is_kick(const struct coopdl_thread *thread, const siginfo_t *info)
{
    return thread && info->si_code == SI_TKILL && atomic_load(&thread->kick) != 0;
}

/* The signal was the program's own. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    const struct sigaction *action = &coopdl_kick_chained;
    if (action->sa_flags & SA_SIGINFO) {
        action->sa_sigaction(number, info, context);
    } else if (action->sa_handler == SIG_DFL) {
        bool late_kick = info->si_code == SI_TKILL && info->si_pid == coopdl_pid;
        if (number == SIGURG || late_kick)
            return;
        /* The default is to end the process: have the kernel do it. */
        struct kernel_sigaction fatal = {.handler = NULL};
        uint64_t mask = COOPDL_SIGSET_BIT(number);
        coopdl_sys(SYS_rt_sigaction, number, &fatal, 0, COOPDL_SIGSET_SIZE);
        coopdl_sys(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, 0, COOPDL_SIGSET_SIZE);
        coopdl_sys(SYS_tgkill, coopdl_sys(SYS_getpid), coopdl_sys(SYS_gettid), number);
    } else if (action->sa_handler != SIG_IGN) {
        action->sa_handler(number);
    }
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
        atomic_store(&thread->kick, KICK_NONE);
    } else if (!thread && info->si_code == SI_TKILL && coopdl_budget_over()) {
        /* The budget's end found a thread that no wrapper has seen yet. */
        (void)coopdl_claim();
    } else {
        pass_on(number, info, context);
    }
    errno = saved;
}

static void keep_chained(const struct kernel_sigaction *old)
{
    coopdl_kick_chained.sa_flags = (int)old->flags;
    if (old->flags & SA_SIGINFO)
        coopdl_kick_chained.sa_sigaction = old->action;
    else
        coopdl_kick_chained.sa_handler = old->handler;
}

void coopdl_kick_install(void)
{
    static _Atomic int installing;
    if (atomic_load(&coopdl_kick_signal) || atomic_exchange(&installing, 1))
        return;
    int number = coopdl_policy.signal;
    struct kernel_sigaction action = {
        .action = on_kick, .flags = SA_SIGINFO | SA_ONSTACK | RESTORER_FLAG, .restorer = RESTORER};
    struct kernel_sigaction old = {.handler = NULL};
    coopdl_sys(SYS_rt_sigaction, number, 0, &old, COOPDL_SIGSET_SIZE);
    keep_chained(&old);
    coopdl_sys(SYS_rt_sigaction, number, &action, 0, COOPDL_SIGSET_SIZE);
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
