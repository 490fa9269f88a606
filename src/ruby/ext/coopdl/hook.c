/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hook.c -- the hook that the library calls for an expired scope: its verdict, and how it wakes
 * the waiter.
 *
 * What must hold: the hook does not take the GVL, since coopdl_leave waits for the hook with the
 * GVL held.
 *
 * At first nothing is cut, so that Ruby's own calls raise the exception, and not
 * Errno::ETIMEDOUT.  A call that does not let the exception through is one that Ruby cannot
 * interrupt.  Such a call is cut in two cases: the exception was sent RAISE_TIMEOUT ago; or it
 * could not even be sent when the hook is asked for the third time, since the call holds the
 * GVL.
 *
 * The kick comes before the exception: its handler wakes the waiter.  Thread#raise ends the
 * thread's wait as well, by a signal or a pipe of Ruby's.  If it came first, the library would not
 * have ended the call, and could not say what the thread was stuck in.  The hook itself wakes the
 * waiter where there is no kick, and where the last one has woken nobody: the thread blocks its
 * signal.
 */
#include "hook.h"

#include "turn.h"

#include <semaphore.h>
#include <unistd.h>

/* In ns: how long a thread that has been sent its exception may take to raise it. */
enum { RAISE_TIMEOUT = 500000 };

static pid_t main_thread;

static sem_t expiries;

/* Whether the scope's clean-up may be running, or its exception is about to be raised. */
static bool may_clean_up(const struct scope *scope, int64_t now)
{
    int stage = atomic_load(&scope->stage);
    return (stage == STAGE_SENT || stage == STAGE_RAISED) && !coopdl_scope_over(scope, now);
}

struct scope *coopdl_hook_cleaning_inside(const struct scope *scope, int64_t now)
{
    struct scope *inner = coopdl_scope_over(scope, now) ? NULL : scope->inner;
    while (inner && !inner->shield && !may_clean_up(inner, now))
        inner = inner->inner;
    return inner && !inner->shield ? inner : NULL;
}

/* Whether an exception is due, as far as the hook can see. */
static bool owed(struct scope *scope, int64_t now)
{
    int stage = atomic_load(&scope->stage);
    if (stage == STAGE_ENTERED)
        return !coopdl_hook_cleaning_inside(scope, now);
    return stage == STAGE_RAISED && coopdl_scope_over(scope, now);
}

static enum coopdl_verdict verdict(struct scope *scope, int64_t now)
{
    if (atomic_load(&scope->deferred) && !coopdl_scope_over(scope, now))
        return COOPDL_HANDLING;
    if (atomic_load(&scope->stage) == STAGE_SENT)
        return now < atomic_load(&scope->sent_at) + RAISE_TIMEOUT ? COOPDL_KICK : COOPDL_CUT;
    if (owed(scope, now))
        return atomic_fetch_add(&scope->asked, 1) < 2 ? COOPDL_KICK : COOPDL_CUT;
    return COOPDL_HANDLING;
}

struct inquiry {
    int64_t now;
    enum coopdl_verdict verdict;
    bool unanswered; /* the waiter has not looked since the last time */
};

/* While the exception of one scope is being handled, a scope that the clean-up has entered may
 * expire. */
static bool inquire(struct scope *scope, void *data)
{
    struct inquiry *inquiry = data;
    if (scope->deadline > inquiry->now || atomic_load(&scope->stage) == STAGE_OVER)
        return true;
    inquiry->unanswered |= atomic_exchange(&scope->wanted, true);
    if (owed(scope, inquiry->now))
        coopdl_turn_want();
    inquiry->verdict = verdict(scope, inquiry->now);
    return inquiry->verdict == COOPDL_HANDLING;
}

static enum coopdl_verdict expired(pid_t thread, coopdl_scope *core)
{
    struct inquiry inquiry = {.now = coopdl_now(), .verdict = COOPDL_HANDLING};
    if (!atomic_load(&coopdl_turn_has_waiter) || (!core && thread != main_thread))
        return COOPDL_CUT;
    if (!core)
        inquire(&coopdl_budget, &inquiry);
    else if (!coopdl_scope_visit(core, inquire, &inquiry))
        return COOPDL_CUT;
    if (inquiry.verdict != COOPDL_KICK || inquiry.unanswered)
        coopdl_hook_wake();
    return inquiry.verdict;
}

/* Runs in a signal handler; under a budget also in threads that are not Ruby's. */
static void kicked(void)
{
    coopdl_hook_wake();
    if (ruby_native_thread_p())
        coopdl_turn_ask();
}

static const struct coopdl_hooks hooks = {.expired = expired, .kicked = kicked};

int coopdl_hook_set(void)
{
    return coopdl_set_hooks(&hooks);
}

void coopdl_hook_wake(void)
{
    sem_post(&expiries);
}

void coopdl_hook_wait(void)
{
    sem_wait(&expiries);
}

void coopdl_hook_init(void)
{
    sem_init(&expiries, 0, 0);
    main_thread = getpid();
}
