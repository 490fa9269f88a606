/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arrival.c -- the handler of the kick's signal; and how a thread that calls exec keeps its kick
 * away.
 *
 * What must hold:
 * - The handler does all that a kick is for before it gives the kick back (thread->kick).  The
 *   loan to another thread comes after that: the lender may have to wait for the kick of that
 *   thread.
 * - A signal with the kick's number that is neither a kick nor the budget's timer belongs to the
 *   program, and is passed on.
 *
 * A signal that is pending when a thread calls exec would end the new program, where its action
 * is the default one.  So the calling thread takes its own kick before exec, as a kicker would,
 * and stops the timer.  The kernel ends all other threads at exec.
 */
#include "core/arrival.h"

#include "core/budget.h"
#include "core/claim.h"
#include "core/evidence.h"
#include "core/handler.h"
#include "core/hooks.h"
#include "core/kept.h"
#include "core/kick.h"
#include "core/lend.h"
#include "core/process.h"
#include "core/sys.h"
#include "core/timer.h"

#include <errno.h>

void (*coopdl_reader_kicked)(struct coopdl_thread *, void *);

/* The signal was the program's own. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    bool late = coopdl_may_be_kick(info) && info->si_pid == coopdl_pid;
    bool ignored = number == SIGURG || number == SIGCHLD || number == SIGWINCH || number == SIGCONT;
    if (coopdl_kick_chained.sa_handler == SIG_DFL && (ignored || late))
        return;
    coopdl_pass_on(&coopdl_kick_chained, number, info, context);
}

/* The thread is expired: nothing that it does from here on is to slip through. */
IN_HANDLER static void trap(struct coopdl_thread *thread, void *context)
{
    if (coopdl_reader_kicked && coopdl_budgeted && context && coopdl_cutting(thread))
        coopdl_reader_kicked(thread, context);
    if (coopdl_trap_on && coopdl_cutting(thread))
        coopdl_trap_on(thread, context);
}

/* Whether the kick was for a deadline that another thread has lent to this one, which has no
 * record. */
static bool is_lent(void)
{
    struct coopdl_thread *reserved = coopdl_record_of((int32_t)coopdl_sys(SYS_gettid));
    if (!reserved)
        return false;
    uint32_t sent = KICK_SENT;
    atomic_compare_exchange_strong(&reserved->kick, &sent, KICK_NONE);
    return true;
}

/* A kick has arrived: whether it was for this thread.  `context` is null where no handler runs. */
IN_HANDLER static bool kicked(struct coopdl_thread *thread, void *context)
{
    if (thread && atomic_load(&thread->kick)) {
        coopdl_hook_kicked();
        if (context)
            coopdl_note_interrupted(thread, context);
        trap(thread, context);
        atomic_store(&thread->kick, KICK_NONE);
        coopdl_lend_on(thread);
        return true;
    }
    /* An unregistered thread. */
    if (thread || !(coopdl_budget_over() || is_lent()))
        return false;
    if ((thread = coopdl_claim())) {
        if (context)
            coopdl_note_interrupted(thread, context);
        trap(thread, context);
        coopdl_lend_on(thread);
    }
    return true;
}

IN_HANDLER static void on_kick(int number, siginfo_t *info, void *context)
{
    int saved = errno;
    siginfo_t kept;
    if (coopdl_is_timer(info))
        coopdl_timer_expired();
    else if ((coopdl_is_kick(info) && kicked(coopdl_self, context)) || coopdl_is_certain_kick(info))
        ; /* or it is late, and its deadline is gone */
    else if (coopdl_is_delivery(info)) {
        if (!coopdl_kick_believed && coopdl_take_kept(&kept))
            pass_on(number, &kept, context);
    } else if (coopdl_kick_believed)
        coopdl_keep(info);
    else
        pass_on(number, info, context);
    errno = saved;
}

void (*const coopdl_on_kick)(int, siginfo_t *, void *) = on_kick;

bool coopdl_kick_taken(const siginfo_t *info)
{
    if (coopdl_is_timer(info))
        coopdl_timer_expired();
    else if (!(coopdl_is_kick(info) && kicked(coopdl_self, NULL)) && !coopdl_is_certain_kick(info))
        return false;
    return true;
}

bool coopdl_kick_hold(void)
{
    struct coopdl_thread *thread = coopdl_self;
    if (!thread && coopdl_budgeted) /* the budget's end kicks it all the same */
        thread = coopdl_claim();
    if (!thread || coopdl_sys(SYS_getpid) != coopdl_pid)
        return false;
    while (!coopdl_kick_take(thread))
        coopdl_kick_collect(thread);
    coopdl_timer_hold();
    if (coopdl_kick_believed) /* the new program is to find it blocked */
        coopdl_kick_block(SIG_BLOCK);
    return true;
}

void coopdl_kick_release(void)
{
    if (coopdl_kick_believed)
        coopdl_kick_block(SIG_UNBLOCK);
    coopdl_kick_drop(coopdl_self);
    coopdl_timer_release();
}
