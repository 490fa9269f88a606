/* SPDX-License-Identifier: Apache-2.0 */
/*
 * serve.c -- what the waiter does about one expired scope: it sends an exception, waits for the
 * clean-up, or defers.
 *
 * Once the exception was raised, nothing is sent while it is being handled.  The waiter looks at
 * that each time the hook is asked (Coopdl.handling?).  If it was swallowed, another is sent.
 * When the grace is over, another is sent each time that the hook is asked, and calls that wait
 * are cut.  Threads that the expired thread joins then get an exception as well.  If such a
 * thread does not take it, the deadline is lent to that thread, and its calls are cut.
 *
 * A clean-up inside an outer scope counts for the outer scope, too.  Until it has ended, or
 * until the grace of either scope is over, nothing is sent for the outer scope, which expires
 * later.
 *
 * Interleavings.
 * - A thread is about to raise the exception, and loses the GVL before it reaches the clause
 *   that handles it.  The waiter finds no such clause.  So the exception counts as swallowed
 *   only if the thread has computed since, or waits.
 * - The waiter has looked at the thread, and loses the GVL before it decides.  The thread goes
 *   on meanwhile.  So the waiter decides only if the thread has used no processor time since.
 *
 * Deferred.  Nothing is sent and nothing is cut in these cases:
 * - The thread is between a Monitor#enter and the #exit that the block makes (monitor.c), up to
 *   the end of the grace.  A thread that waits there at each of several looks is not on its way
 *   to its `exit`, and is sent its exception.
 * - The main thread is in a clean-up of its own at the budget's end, such as the report of an
 *   error: for FOREIGN at most.
 *
 * The budget's exception is not sent while another exception is in the thread's queue: it would
 * be raised in the clean-up of that one.
 */
#include "serve.h"

#include "activity.h"
#include "exception.h"
#include "hook.h"
#include "joins.h"

/* In ns: how long after the budget's end another exception's clean-up is not disturbed; how long a
 * thread may wait inside a monitor. */
#define FOREIGN (2 * COOPDL_SECOND)
#define WAITING (100 * COOPDL_MILLISECOND)

/* In ns, after the grace: how long a joined thread may take to end before the joining thread is
 * sent an exception, too. */
#define LENT COOPDL_SECOND

/* In ns of processor time: the most that a thread uses between being raised in and reaching the
 * clause that handles the exception. */
enum { UNWINDING = 500000 };

/* In how many looks in a row a thread waits inside a monitor before it is sent its exception. */
enum { STOPPED = 4 };

static VALUE coopdl;

static bool has_status(VALUE thread, const char *wanted)
{
    VALUE status = rb_funcall(thread, rb_intern("status"), 0);
    return RB_TYPE_P(status, T_STRING) && rb_str_equal(status, rb_str_new_cstr(wanted)) == Qtrue;
}

/* Whether the exception is being handled.  The thread may have lost the GVL on its way to the
 * clause that does; and it may have run since this looked at it. */
static bool is_handling(const struct scope *scope)
{
    uint64_t serial = scope->serial;
    for (int attempt = 0; attempt < 3; attempt++) {
        int64_t work = coopdl_activity_work(scope->activity);
        if (RTEST(rb_funcall(coopdl, rb_intern("handling?"), 2, scope->thread, scope->exception)))
            return true;
        if (!coopdl_scope_linked(scope, serial))
            return true;
        bool runs = has_status(scope->thread, "run");
        if (!coopdl_scope_linked(scope, serial))
            return true;
        if (coopdl_activity_work(scope->activity) == work)
            return runs && work - scope->raised_work < UNWINDING;
    }
    return true;
}

static bool has_pending(VALUE thread)
{
    return RTEST(rb_funcall(thread, rb_intern("pending_interrupt?"), 0));
}

/* An exception that is in the queue already comes first, and may have a clean-up of its own.
 * Meanwhile the call that keeps it there is cut. */
static bool queues_behind(const struct scope *scope, int64_t now)
{
    return scope == &coopdl_budget && now < scope->deadline + FOREIGN && has_pending(scope->thread);
}

/* A look at a thread may let other threads run, here and below: the scope may be gone after it. */
static bool is_cleaning_inside(const struct scope *scope, int64_t now)
{
    const struct scope *inner = coopdl_hook_cleaning_inside(scope, now);
    return inner && (atomic_load(&inner->stage) == STAGE_SENT || is_handling(inner));
}

static void serve_entered(struct scope *scope, int64_t now)
{
    uint64_t serial = scope->serial;
    if (is_cleaning_inside(scope, now) || !coopdl_scope_linked(scope, serial) || scope->left)
        return;
    if (atomic_load(&scope->stage) == STAGE_ENTERED && !queues_behind(scope, now))
        coopdl_exception_send(scope);
}

static void serve_raised(struct scope *scope, bool over)
{
    uint64_t serial = scope->serial;
    bool once = !NIL_P(scope->klass) && !scope->inherited;
    bool handling = over && !once ? false : is_handling(scope);
    if (!coopdl_scope_linked(scope, serial) || atomic_load(&scope->stage) != STAGE_RAISED)
        return;
    if (once && !handling) /* a program that names a class may rescue it in the block */
        atomic_store(&scope->stage, STAGE_OVER);
    else if (over || !handling)
        coopdl_exception_send(scope);
}

/* Reminds the thread of an exception that it has forgotten after another one: see remind_of_queue.
 * `wakeup` also ends calls of that name which wait for something else: so only a thread is woken
 * that runs, or waits in a call that the program did not ask to be woken from. */
static void remind(const struct scope *scope)
{
    uint64_t serial = scope->serial;
    VALUE thread = scope->thread;
    bool look =
        has_status(thread, "run") || RTEST(rb_funcall(coopdl, rb_intern("wakeable?"), 1, thread));
    /* The thread may have gone on while Ruby code looked at it: to a sleep of its own. */
    if (look && coopdl_scope_linked(scope, serial) && !scope->left &&
        atomic_load(&scope->stage) == STAGE_SENT)
        rb_thread_wakeup_alive(thread);
}

static bool in_monitor(struct scope *scope, int64_t now)
{
    if (!coopdl_scope_in_monitor(scope))
        return false;
    bool stopped = !scope->activity->serving && has_status(scope->thread, "sleep");
    scope->stopped = stopped ? scope->stopped + 1 : 0;
    return scope->stopped < STOPPED || now < scope->deadline + WAITING;
}

static bool in_clean_up(const struct scope *scope, int64_t now)
{
    return scope == &coopdl_budget && now < scope->deadline + FOREIGN &&
           RTEST(rb_funcall(coopdl, rb_intern("in_clause?"), 1, scope->thread));
}

static bool deferred(struct scope *scope, int64_t now)
{
    int stage = atomic_load(&scope->stage);
    bool defer = false, over = coopdl_scope_over(scope, now);
    if (!over && stage != STAGE_SENT)
        defer = in_monitor(scope, now) || (stage == STAGE_ENTERED && in_clean_up(scope, now));
    if (defer && scope->activity)
        atomic_store(&scope->activity->postponed, true);
    atomic_store(&scope->deferred, defer);
    scope->insists = over || scope->stopped >= STOPPED;
    return defer;
}

/* The block has had its exception, and only a clean-up is late. */
static bool is_lending(const struct scope *scope, int64_t now)
{
    return atomic_load(&scope->stage) == STAGE_RAISED &&
           now < scope->deadline + scope->grace + LENT;
}

void coopdl_serve(struct scope *scope)
{
    uint64_t serial = scope->serial;
    int64_t now = coopdl_now();
    bool over = coopdl_scope_over(scope, now);
    if (scope->left || coopdl_scope_shielded(scope))
        return; /* the hook is asked again when the shield has been left */
    bool joins = over && coopdl_joins_pass_on(scope);
    if (!coopdl_scope_linked(scope, serial) || (joins && is_lending(scope, now)))
        return;
    if (deferred(scope, now) || !coopdl_scope_linked(scope, serial) || scope->left)
        return;
    switch (atomic_load(&scope->stage)) {
    case STAGE_ENTERED:
        serve_entered(scope, now);
        break;
    case STAGE_SENT:
        remind(scope);
        break;
    case STAGE_RAISED:
        serve_raised(scope, over);
        break;
    }
}

void coopdl_serve_init(VALUE module)
{
    coopdl = module;
}
