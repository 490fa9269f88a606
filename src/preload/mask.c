/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mask.c -- what keeps the kick deliverable, as libc does it for the signals
 * that it uses itself.
 *
 * The kick's signal never gets into a thread's mask or a handler's, and its
 * action is ours once the handler is installed; what the program asked for is
 * remembered and shown to it when it looks.  For every other signal, and until
 * the handler is installed, these are libc's functions.
 *
 * That handlers' masks are looked after from the start, before there is a kick,
 * is so that a handler which was installed first can be kicked too.
 */
#include "core/kick.h"
#include "core/policy.h"
#include "preload/cut.h"
#include "preload/preload.h"

#include <errno.h>

/* Whether this thread believes that it blocks the kick. */
static __thread bool believes_blocked __attribute__((tls_model("initial-exec")));

/* The signals whose handlers' masks were to contain the kick. */
static _Atomic uint64_t masked_in_handler;

/* The kick's number once its action is ours, else 0. */
static int owned(void)
{
    return atomic_load_explicit(&coopdl_kick_signal, memory_order_relaxed);
}

static bool is_ours(int number)
{
    return number && number == owned();
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
    if (is_ours(number)) {
        struct sigaction before = coopdl_kick_chained;
        if (action)
            coopdl_kick_chained = *action;
        if (old)
            *old = before;
        return 0;
    }
    int kick = coopdl_policy.signal;
    if (!kick || number < 1 || number > 64)
        return coopdl_real.sigaction(number, action, old);

    uint64_t bit = COOPDL_SIGSET_BIT(number), before = atomic_load(&masked_in_handler);
    struct sigaction open;
    if (action) {
        open = *action;
        sigdelset(&open.sa_mask, kick);
    }
    int result = coopdl_real.sigaction(number, action ? &open : NULL, old);
    if (result != 0)
        return result;
    if (old && before & bit)
        sigaddset(&old->sa_mask, kick);
    if (action && sigismember(&action->sa_mask, kick) == 1)
        atomic_fetch_or(&masked_in_handler, bit);
    else if (action && before & bit)
        atomic_fetch_and(&masked_in_handler, ~bit);
    return 0;
}

static sighandler_t change_handler(sighandler_t handler, int flags)
{
    sighandler_t before = coopdl_kick_chained.sa_handler;
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    if (handler == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    coopdl_kick_chained = action;
    return before;
}

/* These set an action by number and otherwise leave masks alone. */
sighandler_t coopdl_mask_signal(int number, sighandler_t handler)
{
    return is_ours(number) ? change_handler(handler, SA_RESTART)
                           : coopdl_real.signal(number, handler);
}

sighandler_t coopdl_mask_sysv_signal(int number, sighandler_t handler)
{
    return is_ours(number) ? change_handler(handler, SA_RESETHAND | SA_NODEFER)
                           : coopdl_real.sysv_signal(number, handler);
}

sighandler_t coopdl_mask_sigset(int number, sighandler_t handler)
{
    if (!is_ours(number))
        return coopdl_real.sigset(number, handler);
    bool believed = believes_blocked;
    believes_blocked = handler == SIG_HOLD;
    sighandler_t before =
        handler == SIG_HOLD ? coopdl_kick_chained.sa_handler : change_handler(handler, 0);
    return believed ? SIG_HOLD : before;
}

int coopdl_mask_sigignore(int number)
{
    if (!is_ours(number))
        return coopdl_real.sigignore(number);
    change_handler(SIG_IGN, 0);
    return 0;
}

int coopdl_mask_sighold(int number)
{
    if (!is_ours(number))
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
    return is_ours(number) ? 0 : coopdl_real.siginterrupt(number, interrupt);
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
