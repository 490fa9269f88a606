/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kick.c -- sends the kick, and makes sure that no kick arrives late. arrival.c has the handler.
 *
 * What must hold:
 * - At most one kick is under way for a thread, from coopdl_kick_take until the signal has
 *   arrived.  Meanwhile thread->kick is not KICK_NONE.
 * - Once coopdl_kick_settle has returned, no kick that was taken before can reach the thread.
 * - The handler is installed without SA_RESTART, so that the system call ends.  It runs on the
 *   alternate stack where there is one, and it keeps errno.
 * - The handler runs with the program's signals blocked.  A handler of the program that leaves
 *   by longjmp would otherwise leave a kick under way for ever, and no other kick would follow.
 *
 * Interleavings of the kicker (take; read the word; send) and of the thread that leaves a scope
 * (change the word; settle), both sequentially consistent:
 * - The kicker reads first: it sends the signal, and the thread sees the kick and waits for the
 *   signal.
 * - The thread changes its word first: the kicker reads the new word and drops the kick.  The
 *   thread may have seen the kick, and then waits until it is dropped.
 *
 * The thread waits with the signal blocked, and takes it off the queue itself.  So the wait also
 * ends where the handler would never run: the program has blocked the signal, in a handler or
 * with a system call of its own.
 *
 * A program may use the same signal.  A signal without the value of a kick is the program's, and
 * is kept while the program believes that it has blocked it (kept.c).  A program that takes
 * signals off the queue past the wrappers may take a kick with them.  So a thread waits for a
 * sent kick no longer than TIMEOUT, and a kick that arrives after that ends no call.
 */
#include "core/kick.h"

#include "core/clock.h"
#include "core/handler.h"
#include "core/policy.h"
#include "core/process.h"

#include <errno.h>

enum { TIMEOUT = COOPDL_KICK_TIMEOUT };

_Atomic int coopdl_kick_signal;
struct sigaction coopdl_kick_chained;

bool (*_Atomic coopdl_kick_timer)(const siginfo_t *);
void (*coopdl_trap_on)(struct coopdl_thread *, void *);
void (*coopdl_trap_off)(struct coopdl_thread *);

/* A kick carries a value that no other signal has.  Where a filter of system calls refuses such a
 * signal, the kick is sent by tgkill.  Then any tgkill signal of this number from the process
 * itself may be a kick. */
static char cookie;
static atomic_bool plain;

IN_HANDLER bool coopdl_is_certain_kick(const siginfo_t *info)
{
    return info->si_code == SI_QUEUE && info->si_value.sival_ptr == &cookie;
}

IN_HANDLER bool coopdl_is_kick(const siginfo_t *info)
{
    return coopdl_is_certain_kick(info) || coopdl_may_be_kick(info);
}

IN_HANDLER bool coopdl_may_be_kick(const siginfo_t *info)
{
    return atomic_load(&plain) && info->si_code == SI_TKILL;
}

/* The flags and the restorer that libc adds to an action, as seen in the one that it has installed.
 */
static struct {
    int flags;
    void (*restorer)(void);
} added;

static atomic_bool ever_sent;

void coopdl_kick_chain(const struct sigaction *action)
{
    coopdl_kick_chained = *action;
    coopdl_kick_chained.sa_flags |= added.flags;
    coopdl_kick_chained.sa_restorer = added.restorer;
    sigdelset(&coopdl_kick_chained.sa_mask, SIGKILL);
    sigdelset(&coopdl_kick_chained.sa_mask, SIGSTOP);
}

/* Until the first kick is sent, a signal of the program's own restarts the calls that it asked to
 * restart. */
void coopdl_kick_reinstall(void)
{
    bool restarts =
        coopdl_kick_chained.sa_flags & SA_RESTART || coopdl_kick_chained.sa_handler == SIG_IGN;
    bool sent;
    do {
        sent = atomic_load(&ever_sent);
        coopdl_handler_install(coopdl_policy.signal, coopdl_on_kick,
                               restarts && !sent ? SA_RESTART : 0, coopdl_mask_of_others);
    } while (sent != atomic_load(&ever_sent)); /* by another thread, which did this before */
}

static atomic_bool installing;

/* A fork while another thread installs leaves it undone in the child. */
void coopdl_kick_forked(void)
{
    if (!atomic_load(&coopdl_kick_signal))
        atomic_store(&installing, false);
}

/* The second thread waits for the first: without the handler its deadline would be refused.  All
 * callers have the program's signals blocked, so no handler waits here for the thread that it has
 * interrupted. */
void coopdl_kick_install(void)
{
    if (atomic_load(&coopdl_kick_signal))
        return;
    if (atomic_exchange(&installing, true)) {
        while (!atomic_load(&coopdl_kick_signal))
            coopdl_sleep_for(20 * COOPDL_MICROSECOND);
        return;
    }
    int number = coopdl_policy.signal;
    struct coopdl_action before = coopdl_action_of(number);
    if (before.action != coopdl_on_kick) /* as a fork may have left it */
        coopdl_kick_chained = coopdl_action_for_libc(&before);
    /* libc installs the handler first: that shows what libc adds.  And musl's semaphores restart
     * after a signal until a handler without SA_RESTART has been installed through its sigaction.
     */
    struct sigaction libcs = {.sa_sigaction = coopdl_on_kick, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(number, &libcs, NULL);
    struct coopdl_action as_libc = coopdl_action_of(number);
    added.flags = (int)as_libc.flags & ~libcs.sa_flags;
    added.restorer = as_libc.restorer;
    coopdl_kick_reinstall();
    atomic_store(&coopdl_kick_signal, number);
    coopdl_handlers_open(number, COOPDL_OPENED_FOR_KICK);
}

const char *coopdl_kick_refused(void)
{
    static atomic_bool works;
    if (atomic_load(&works))
        return NULL;
    coopdl_kick_install();
    int32_t tid = (int32_t)coopdl_sys(SYS_gettid);
    siginfo_t none = {.si_code = SI_QUEUE};
    if (tid <= 0)
        return "gettid";
    if (coopdl_action_of(atomic_load(&coopdl_kick_signal)).action != coopdl_on_kick)
        return "rt_sigaction";
    if (coopdl_sys(SYS_rt_sigprocmask, SIG_BLOCK, 0, 0, COOPDL_SIGSET_SIZE) < 0)
        return "rt_sigprocmask";
    /* Signal 0 sends nothing, but the permission is checked. */
    if (coopdl_sys(SYS_rt_tgsigqueueinfo, coopdl_pid, tid, 0, &none) < 0 &&
        coopdl_sys(SYS_tgkill, coopdl_pid, tid, 0) < 0)
        return "tgkill";
    atomic_store(&works, true);
    return NULL;
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

long coopdl_kick_tid(int32_t tid)
{
    siginfo_t info = {.si_signo = atomic_load(&coopdl_kick_signal), .si_code = SI_QUEUE};
    long result = -ENOSYS;
    info.si_value.sival_ptr = &cookie;
    if (!atomic_exchange(&ever_sent, true))
        coopdl_kick_reinstall();
    if (!atomic_load(&plain))
        result = coopdl_sys(SYS_rt_tgsigqueueinfo, coopdl_pid, tid, info.si_signo, &info);
    if (result != -ENOSYS && result != -EPERM && result != -EACCES)
        return result;
    atomic_store(&plain, true);
    return coopdl_sys(SYS_tgkill, coopdl_pid, tid, info.si_signo);
}

void coopdl_kick_send(struct coopdl_thread *thread)
{
    atomic_store(&thread->kick, KICK_SENT);
    long result = coopdl_kick_tid(atomic_load(&thread->tid));
    if (result == -ESRCH)
        coopdl_forget(thread);
    else if (result < 0) /* EAGAIN: no room for a queued signal; the next visit tries again */
        coopdl_kick_drop(thread);
}

void coopdl_kick_collect(struct coopdl_thread *thread)
{
    uint64_t kick = COOPDL_SIGSET_BIT(atomic_load(&coopdl_kick_signal)), mask;
    coopdl_sys(SYS_rt_sigprocmask, SIG_BLOCK, &kick, &mask, COOPDL_SIGSET_SIZE);
    /* The kicker may have dropped the kick, or be about to, or run a hook: so look again every so
     * often. */
    int64_t begun = coopdl_clock();
    for (int64_t pause = 50 * COOPDL_MICROSECOND; atomic_load(&thread->kick);
         pause += pause < COOPDL_MILLISECOND ? pause : 0) {
        if (atomic_load(&thread->kick) == KICK_SENT && coopdl_clock() - begun > TIMEOUT)
            coopdl_kick_drop(thread);
        struct timespec wait = coopdl_timespec(pause);
        siginfo_t info;
        if (coopdl_sys(SYS_rt_sigtimedwait, &kick, &info, &wait, COOPDL_SIGSET_SIZE) <= 0)
            continue;
        bool (*timer)(const siginfo_t *) = atomic_load(&coopdl_kick_timer);
        if (timer && timer(&info))
            continue;
        if (coopdl_is_kick(&info) && atomic_load(&thread->kick))
            coopdl_kick_drop(thread);
        else if (!coopdl_is_certain_kick(&info)) /* the program's: back to the end of the queue */
            coopdl_sys(SYS_rt_tgsigqueueinfo, coopdl_pid, atomic_load(&thread->tid), info.si_signo,
                       &info);
    }
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, COOPDL_SIGSET_SIZE);
}

void coopdl_kick_block(int how)
{
    uint64_t kick = COOPDL_SIGSET_BIT(atomic_load(&coopdl_kick_signal));
    coopdl_sys(SYS_rt_sigprocmask, how, &kick, 0, COOPDL_SIGSET_SIZE);
}

void coopdl_kick_settle(struct coopdl_thread *thread)
{
    if (atomic_load(&thread->kick))
        coopdl_kick_collect(thread);
    /* The signal orders the visitor's reads of this thread's entries before what follows.  In terms
     * of the language this load does. */
    (void)atomic_load(&thread->visits);
}
