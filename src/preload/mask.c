/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mask.c -- what keeps our signals deliverable, as libc does it for those that
 * it uses itself.
 *
 * The kick never gets into a thread's mask or a handler's, SIGSYS, which the
 * trap needs, never into a handler's.  Their actions are ours once our handlers
 * are installed.  What the program asked for is remembered and shown to it when
 * it looks.  For every other signal, and until a handler is installed, these are
 * libc's functions.
 *
 * That handlers' masks are looked after from the start, before there is a kick,
 * is so that a handler which was installed first can be kicked too.
 */
#include "core/kick.h"
#include "core/policy.h"
#include "preload/cut.h"
#include "preload/preload.h"
#include "trap/trap.h"

#include <errno.h>

/* Whether this thread believes that it blocks the kick. */
static __thread bool believes_blocked __attribute__((tls_model("initial-exec")));

/* The signals that are kept out of handlers' masks, and of each those whose handlers' masks were to
 * contain it. */
enum { KICK, TRAP, KEPT };
static _Atomic uint64_t masked_in_handler[KEPT];

static int kept(int which)
{
    return which == KICK ? coopdl_policy.signal : coopdl_policy.trap ? SIGSYS : 0;
}

/* The kick's number once its action is ours, else 0. */
static int owned(void)
{
    return atomic_load_explicit(&coopdl_kick_signal, memory_order_relaxed);
}

/* Where the program's action for a signal is kept whose action is ours; null for any other. */
static struct sigaction *chained(int number)
{
    return number && number == owned() ? &coopdl_kick_chained : coopdl_trap_chained(number);
}

static int change_mask(int (*real)(int, const sigset_t *, sigset_t *), int how, const sigset_t *set,
                       sigset_t *old)
{
    int kick = owned();
    if (!kick)
        return real(how, set, old);
    sigset_t open;
    bool named = false, believed = believes_blocked;
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
        believes_blocked = named;
    else if (set && named)
        believes_blocked = how == SIG_BLOCK;
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

int coopdl_mask_sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    struct sigaction *ours = chained(number);
    if (ours) {
        struct sigaction before = *ours;
        if (action)
            *ours = *action;
        if (old)
            *old = before;
        return 0;
    }
    if (number < 1 || number > 64)
        return coopdl_real.sigaction(number, action, old);

    uint64_t bit = COOPDL_SIGSET_BIT(number), before[KEPT];
    struct sigaction open;
    if (action)
        open = *action;
    for (int which = 0; which < KEPT; which++) {
        before[which] = atomic_load(&masked_in_handler[which]);
        if (action && kept(which))
            sigdelset(&open.sa_mask, kept(which));
    }
    int result = coopdl_real.sigaction(number, action ? &open : NULL, old);
    if (result != 0)
        return result;
    for (int which = 0; which < KEPT; which++) {
        if (old && before[which] & bit)
            sigaddset(&old->sa_mask, kept(which));
        if (action && kept(which) && sigismember(&action->sa_mask, kept(which)) == 1)
            atomic_fetch_or(&masked_in_handler[which], bit);
        else if (action && before[which] & bit)
            atomic_fetch_and(&masked_in_handler[which], ~bit);
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
    *ours = action;
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
    bool believed = believes_blocked;
    if (ours == &coopdl_kick_chained)
        believes_blocked = handler == SIG_HOLD;
    sighandler_t before = handler == SIG_HOLD ? ours->sa_handler : change_handler(ours, handler, 0);
    return ours == &coopdl_kick_chained && believed ? SIG_HOLD : before;
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
    believes_blocked = true;
    return 0;
}

/* The masks of these have room for the signals up to 32 alone. */
static int without_kick(int mask)
{
    int kick = owned();
    return kick && kick <= 32 ? mask & ~(int)COOPDL_SIGSET_BIT(kick) : mask;
}

int coopdl_mask_sigblock(int mask)
{
    return coopdl_real.sigblock(without_kick(mask));
}

int coopdl_mask_sigsetmask(int mask)
{
    return coopdl_real.sigsetmask(without_kick(mask));
}

int coopdl_mask_siginterrupt(int number, int interrupt)
{
    return chained(number) ? 0 : coopdl_real.siginterrupt(number, interrupt);
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
