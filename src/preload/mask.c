/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mask.c -- keeps the library's signals deliverable, as libc does for the signals that it uses
 * itself.
 *
 * Nothing is changed before there is a deadline.  From then on the kick never gets into a
 * thread's mask or a handler's mask.  Once the trap is armed, SIGSYS, which the trap needs,
 * never gets into a handler's mask.  The actions for these two signals are the library's then.
 * What the program asked for is remembered, and shown to the program when it asks.  The
 * program's own signals of the kick's number are kept while the program has them blocked
 * (core/kept.c).  For every other signal these are libc's functions.
 *
 * A thread's mask is shown as the program has set it.  The exception is the mask during a
 * handler: the kernel sets that one, without the kick.  A new thread begins with none of the
 * library's signals shown as blocked.
 */
#include "core/handler.h"
#include "core/kept.h"
#include "core/kick.h"
#include "core/policy.h"
#include "preload/cut.h"
#include "preload/preload.h"
#include "trap/trap.h"

#include <errno.h>

/* The kick's number once its action is ours, else 0. */
static int owned(void)
{
    return atomic_load_explicit(&coopdl_kick_signal, memory_order_relaxed);
}

/* Which signal is kept out of handlers' masks; 0 until it is. */
static int opened_for(int which)
{
    return which == COOPDL_OPENED_FOR_KICK ? owned() : coopdl_trap_chained(SIGSYS) ? SIGSYS : 0;
}

/* Where the program's action is kept for a signal whose action is the library's; null for any other
 * signal. */
static struct sigaction *chained(int number)
{
    return number && number == owned() ? &coopdl_kick_chained : coopdl_trap_chained(number);
}

/* The thread believes from now on that it blocks the kick, or does not. */
static void believe(bool blocked)
{
    coopdl_kick_believed = blocked;
    if (!blocked)
        coopdl_deliver_kept();
}

static int change_mask(int (*real)(int, const sigset_t *, sigset_t *), int how, const sigset_t *set,
                       sigset_t *old)
{
    int kick = owned();
    if (!kick)
        return real(how, set, old);
    sigset_t open;
    bool named = false, believed = coopdl_kick_believed;
    if (set) {
        open = *set;
        named = sigismember(&open, kick) == 1;
        if (how != SIG_UNBLOCK)
            sigdelset(&open, kick);
    }
    int result = real(how, set ? &open : NULL, old);
    if (result != 0)
        return result;
    if (old && believed)
        sigaddset(old, kick);
    if (set && how == SIG_SETMASK)
        believe(named);
    else if (set && named)
        believe(how == SIG_BLOCK);
    return 0;
}

int coopdl_mask_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    return change_mask(coopdl_real.pthread_sigmask, how, set, old);
}

int coopdl_mask_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
    return change_mask(coopdl_real.sigprocmask, how, set, old);
}

static void change_action(struct sigaction *ours, const struct sigaction *action)
{
    if (ours != &coopdl_kick_chained) {
        *ours = *action;
        return;
    }
    coopdl_kick_chain(action);
    coopdl_kick_reinstall();
}

int coopdl_mask_sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    struct sigaction *ours = chained(number);
    if (ours) {
        struct sigaction before = *ours;
        if (action)
            change_action(ours, action);
        if (old)
            *old = before;
        return 0;
    }
    if (number < 1 || number > 64)
        return coopdl_real.sigaction(number, action, old);

    uint64_t bit = COOPDL_SIGSET_BIT(number), before[COOPDL_OPENED];
    struct sigaction open;
    if (action)
        open = *action;
    for (int which = 0; which < COOPDL_OPENED; which++) {
        before[which] = atomic_load(&coopdl_opened[which]);
        if (action && opened_for(which))
            sigdelset(&open.sa_mask, opened_for(which));
    }
    int result = coopdl_real.sigaction(number, action ? &open : NULL, old);
    if (result != 0)
        return result;
    for (int which = 0; which < COOPDL_OPENED; which++) {
        if (old && before[which] & bit)
            sigaddset(&old->sa_mask, opened_for(which));
        if (action && opened_for(which) && sigismember(&action->sa_mask, opened_for(which)) == 1)
            atomic_fetch_or(&coopdl_opened[which], bit);
        else if (action && before[which] & bit)
            atomic_fetch_and(&coopdl_opened[which], ~bit);
    }
    return 0;
}

static sighandler_t change_handler(struct sigaction *ours, sighandler_t handler, int flags)
{
    sighandler_t before = ours->sa_handler;
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    if (handler == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    change_action(ours, &action);
    return before;
}

/* These set an action by number and otherwise leave masks alone. */
sighandler_t coopdl_mask_signal(int number, sighandler_t handler)
{
    struct sigaction *ours = chained(number);
    return ours ? change_handler(ours, handler, SA_RESTART) : coopdl_real.signal(number, handler);
}

sighandler_t coopdl_mask_sysv_signal(int number, sighandler_t handler)
{
    struct sigaction *ours = chained(number);
    return ours ? change_handler(ours, handler, SA_RESETHAND | SA_NODEFER)
                : coopdl_real.sysv_signal(number, handler);
}

sighandler_t coopdl_mask_sigset(int number, sighandler_t handler)
{
    struct sigaction *ours = chained(number);
    if (!ours)
        return coopdl_real.sigset(number, handler);
    bool is_kick = ours == &coopdl_kick_chained, believed = is_kick && coopdl_kick_believed;
    sighandler_t before = handler == SIG_HOLD ? ours->sa_handler : change_handler(ours, handler, 0);
    if (is_kick)
        believe(handler == SIG_HOLD);
    return believed ? SIG_HOLD : before;
}

int coopdl_mask_sigignore(int number)
{
    struct sigaction *ours = chained(number);
    if (!ours)
        return coopdl_real.sigignore(number);
    change_handler(ours, SIG_IGN, 0);
    return 0;
}

int coopdl_mask_sighold(int number)
{
    if (!number || number != owned())
        return coopdl_real.sighold(number);
    believe(true);
    return 0;
}

int coopdl_mask_sigrelse(int number)
{
    if (!number || number != owned())
        return coopdl_real.sigrelse(number);
    believe(false);
    return 0;
}

int coopdl_mask_sigpending(sigset_t *set)
{
    int result = coopdl_real.sigpending(set);
    if (result == 0 && owned() && coopdl_kept())
        sigaddset(set, owned());
    return result;
}

/* The masks of these have room for the signals up to 32 alone; the others are unblocked by
 * sigsetmask. */
static bool names_kick(int mask)
{
    int kick = owned();
    return kick && kick <= 32 && (uint64_t)(uint32_t)mask & COOPDL_SIGSET_BIT(kick);
}

static int without_kick(int mask)
{
    return names_kick(mask) ? mask & ~(int)COOPDL_SIGSET_BIT(owned()) : mask;
}

static int with_kick(int mask, bool believed)
{
    return believed && owned() <= 32 ? mask | (int)COOPDL_SIGSET_BIT(owned()) : mask;
}

int coopdl_mask_sigblock(int mask)
{
    bool believed = owned() && coopdl_kick_believed;
    int before = coopdl_real.sigblock(without_kick(mask));
    if (names_kick(mask))
        believe(true);
    return with_kick(before, believed);
}

int coopdl_mask_sigsetmask(int mask)
{
    bool believed = owned() && coopdl_kick_believed;
    int before = coopdl_real.sigsetmask(without_kick(mask));
    if (owned())
        believe(names_kick(mask));
    return with_kick(before, believed);
}

int coopdl_mask_siginterrupt(int number, int interrupt)
{
    struct sigaction *ours = chained(number);
    if (!ours)
        return coopdl_real.siginterrupt(number, interrupt);
    struct sigaction action = *ours;
    action.sa_flags = interrupt ? action.sa_flags & ~SA_RESTART : action.sa_flags | SA_RESTART;
    change_action(ours, &action);
    return 0;
}

/* A kick that is read as data interrupts nothing. */
int coopdl_mask_signalfd(int fd, const sigset_t *mask, int flags)
{
    sigset_t open;
    int kick = owned();
    if (!kick || !coopdl_open_mask(mask, &open))
        return coopdl_real.signalfd(fd, mask, flags);
    return coopdl_real.signalfd(fd, &open, flags);
}
