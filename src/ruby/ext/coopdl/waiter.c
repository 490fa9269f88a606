/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiter.c -- the Ruby thread that waits for expiries and sends exceptions.
 *
 *   the library's thread        the waiter, a Ruby thread    the expired thread
 *
 *   hook: marks the scope, ---> wakes, wants the GVL
 *         answers KICK -------------------------------------> kicked: a postponed job
 *                               gets the GVL <--------------- the job gives it away (turn.c)
 *                               Thread#raise ---------------> #exception is called: it is
 *                                                             being raised, the scope is
 *                                                             delivered
 *
 * What must hold:
 * - The hook takes no GVL: coopdl_leave waits for it with the GVL held.
 * - The waiter's wait ends when Ruby wants it to (its unblocking function posts
 *   the semaphore), or the interpreter would not exit.
 * - The waiter is outside every deadline, the budget's too (it enters a shield).
 *
 * Nothing is cut at first, so that Ruby's own calls get their exception and no
 * Errno::ETIMEDOUT.  Where it does not come through, the call is one that Ruby
 * cannot interrupt, and is cut: when the exception was sent a while ago, or when
 * not even that was possible the third time that the hook is asked, since such a
 * call holds the GVL.
 *
 * Once raised, the scope is left in peace as long as the exception is at work,
 * which the waiter looks at each time the hook is asked (Coopdl.at_work?).  One
 * that was swallowed is followed by another.  When the grace is over, nothing is
 * in peace: each time that the hook is asked, another one is sent, and what
 * waits is cut.  Threads that the expired one joins then get one as well; those
 * that do not take it are lent the deadline, and their calls are cut.
 *
 * A scope around it has that clean-up for its own: until it has ended, or until the
 * grace of either is over, nothing is sent for a scope that expires later.
 *
 * Interleavings: a thread has been told that it is being raised in, and loses the GVL before it is
 * in the clause that handles the exception, so that none is found: it has swallowed the exception
 * only when it has computed since, or waits.  The waiter has looked, and loses the GVL before it
 * draws its conclusion; the thread goes on: whoever has used no processor time has not.
 *
 * Deferred: nothing is sent, and nothing cut,
 * - between a Monitor#enter and the #exit that the block makes (monitor.c), up to
 *   the grace's end; a thread that waits there, and has waited each time of some, is not computing
 *   towards its `exit` and is sent its exception;
 * - while the main thread is in a clean-up of its own at the budget's end, such
 *   as the report of an error, for FOREIGN at most.
 * Nor is the budget's sent behind another exception that the call is yet to end
 * by: it would be raised in the clean-up of that.
 */
#include "waiter.h"

#include "activity.h"
#include "exception.h"
#include "joins.h"
#include "turn.h"

#include <errno.h>
#include <pthread.h>
#include <ruby/thread.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

/* In ns: how long a thread that has been sent its exception may take to raise it. */
enum { PATIENCE = 500000 };

/* In ns: how long the thread itself waits that has left its last monitor and has nothing to do but
 * to end.  Each thread that computes may have the GVL for 100 ms first; if this one went on, it
 * might be in a monitor again by the time that the waiter looks. */
#define RESUME (2 * COOPDL_SECOND)

/* In ns: how long behind the budget's end another exception's clean-up is left in peace; how much
 * later than its parent a forked child expires; how long a thread may wait inside a monitor. */
#define FOREIGN (2 * COOPDL_SECOND)
#define INHERITED (50 * COOPDL_MILLISECOND)
#define WAITING (100 * COOPDL_MILLISECOND)

/* In ns, behind the grace: how long a joined thread has to end before the one that joins is raised
 * in, too. */
#define LENT COOPDL_SECOND

/* In ns of its processor time: what a thread takes from being raised in to the clause that handles
 * the exception, at most. */
enum { UNWINDING = 500000 };

/* How often in a row it is to have been waiting there. */
enum { STOPPED = 4 };

static pid_t main_thread;

static sem_t expiries;
static VALUE coopdl;

/* Whether it may be in the clean-up of its exception, or is about to be raised in. */
static bool may_clean_up(const struct scope *scope, int64_t now)
{
    int stage = atomic_load(&scope->stage);
    return (stage == STAGE_SENT || stage == STAGE_AT_WORK) && !coopdl_scope_over(scope, now);
}

/* The clean-up of a scope inside is this one's, too, up to the grace's end of either. */
static struct scope *cleaning_inside(const struct scope *scope, int64_t now)
{
    struct scope *inner = coopdl_scope_over(scope, now) ? NULL : scope->inner;
    while (inner && !inner->shield && !may_clean_up(inner, now))
        inner = inner->inner;
    return inner && !inner->shield ? inner : NULL;
}

/* Whether there is an exception to send, from what the hook knows. */
static bool owed(struct scope *scope, int64_t now)
{
    int stage = atomic_load(&scope->stage);
    if (stage == STAGE_ENTERED)
        return !cleaning_inside(scope, now);
    return stage == STAGE_AT_WORK && coopdl_scope_over(scope, now);
}

static enum coopdl_verdict verdict(struct scope *scope, int64_t now)
{
    if (atomic_load(&scope->deferred) && !coopdl_scope_over(scope, now))
        return COOPDL_PEACE;
    if (atomic_load(&scope->stage) == STAGE_SENT)
        return now < atomic_load(&scope->sent_at) + PATIENCE ? COOPDL_KICK : COOPDL_CUT;
    if (owed(scope, now))
        return atomic_fetch_add(&scope->asked, 1) < 2 ? COOPDL_KICK : COOPDL_CUT;
    return COOPDL_PEACE;
}

struct inquiry {
    int64_t now;
    enum coopdl_verdict verdict;
};

/* While the exception of one scope is at work, another that was entered by the clean-up may
 * expire. */
static bool inquire(struct scope *scope, void *data)
{
    struct inquiry *inquiry = data;
    if (scope->deadline > inquiry->now || atomic_load(&scope->stage) == STAGE_OVER)
        return true;
    atomic_store(&scope->wanted, true);
    if (owed(scope, inquiry->now))
        coopdl_turn_want();
    inquiry->verdict = verdict(scope, inquiry->now);
    return inquiry->verdict == COOPDL_PEACE;
}

static enum coopdl_verdict expired(pid_t thread, coopdl_scope *core)
{
    struct inquiry inquiry = {.now = coopdl_now(), .verdict = COOPDL_PEACE};
    if (!atomic_load(&coopdl_turn_has_waiter) || (!core && thread != main_thread))
        return COOPDL_CUT;
    if (!core)
        inquire(&coopdl_budget, &inquiry);
    else if (!coopdl_scope_visit(core, inquire, &inquiry))
        return COOPDL_CUT;
    sem_post(&expiries);
    return inquiry.verdict;
}

/* In a signal handler; under a budget also in threads that are not Ruby's. */
static void kicked(void)
{
    if (ruby_native_thread_p())
        coopdl_turn_ask();
}

static const struct coopdl_hooks hooks = {.expired = expired, .kicked = kicked};

static bool linked(const struct scope *scope, uint64_t serial)
{
    return scope == &coopdl_budget || coopdl_scope_find(serial) == scope;
}

static bool has_status(VALUE thread, const char *wanted)
{
    VALUE status = rb_funcall(thread, rb_intern("status"), 0);
    return RB_TYPE_P(status, T_STRING) && rb_str_equal(status, rb_str_new_cstr(wanted)) == Qtrue;
}

/* Whether the exception is being handled.  The thread may have lost the GVL on its way to the
 * clause that does; and it may have run since this looked at it. */
static bool at_work(const struct scope *scope)
{
    uint64_t serial = scope->serial;
    for (int attempt = 0; attempt < 3; attempt++) {
        int64_t work = coopdl_activity_work(scope->activity);
        if (RTEST(rb_funcall(coopdl, rb_intern("at_work?"), 2, scope->thread, scope->exception)))
            return true;
        if (!linked(scope, serial))
            return true;
        bool runs = has_status(scope->thread, "run");
        if (!linked(scope, serial))
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

/* What is in its queue already comes first, and may have a clean-up of its own.  The call that
 * keeps it there is cut meanwhile. */
static bool queues_behind(const struct scope *scope, int64_t now)
{
    return scope == &coopdl_budget && now < scope->deadline + FOREIGN && has_pending(scope->thread);
}

/* To look at a thread may let others run, here and in what follows: the scope may be gone after it.
 */
static bool is_cleaning_inside(const struct scope *scope, int64_t now)
{
    const struct scope *inner = cleaning_inside(scope, now);
    return inner && (atomic_load(&inner->stage) == STAGE_SENT || at_work(inner));
}

static void serve_entered(struct scope *scope, int64_t now)
{
    uint64_t serial = scope->serial;
    if (is_cleaning_inside(scope, now) || !linked(scope, serial) || scope->left)
        return;
    if (atomic_load(&scope->stage) == STAGE_ENTERED && !queues_behind(scope, now))
        coopdl_exception_send(scope);
}

static void serve_raised(struct scope *scope, bool over)
{
    uint64_t serial = scope->serial;
    bool once = !NIL_P(scope->klass) && !scope->inherited;
    bool peace = over && !once ? false : at_work(scope);
    if (!linked(scope, serial) || atomic_load(&scope->stage) != STAGE_AT_WORK)
        return;
    if (once && !peace) /* whoever names a class may rescue it in the block */
        atomic_store(&scope->stage, STAGE_OVER);
    else if (over || !peace)
        coopdl_exception_send(scope);
}

/* What it had forgotten behind another's exception: see remind_of_queue.  Of the calls that wait
 * `wakeup` would end those alone that are called so, for a program that has masked ours. */
static void remind(const struct scope *scope)
{
    uint64_t serial = scope->serial;
    VALUE thread = scope->thread;
    bool look =
        has_status(thread, "run") || RTEST(rb_funcall(coopdl, rb_intern("wakeable?"), 1, thread));
    /* It may have gone on while Ruby code looked at it: to a sleep of its own. */
    if (look && linked(scope, serial) && !scope->left && atomic_load(&scope->stage) == STAGE_SENT)
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

/* Its block has had its exception, and only a clean-up is late. */
static bool is_lending(const struct scope *scope, int64_t now)
{
    return atomic_load(&scope->stage) == STAGE_AT_WORK &&
           now < scope->deadline + scope->grace + LENT;
}

static void serve_scope(struct scope *scope)
{
    uint64_t serial = scope->serial;
    int64_t now = coopdl_now();
    bool over = coopdl_scope_over(scope, now);
    if (scope->left || coopdl_scope_shielded(scope))
        return; /* the hook is asked again when the shield has been left */
    bool joins = over && coopdl_joins_pass_on(scope);
    if (!linked(scope, serial) || (joins && is_lending(scope, now)))
        return;
    if (deferred(scope, now) || !linked(scope, serial) || scope->left)
        return;
    switch (atomic_load(&scope->stage)) {
    case STAGE_ENTERED:
        serve_entered(scope, now);
        break;
    case STAGE_SENT:
        remind(scope);
        break;
    case STAGE_AT_WORK:
        serve_raised(scope, over);
        break;
    }
}

static struct scope *wanted(void)
{
    if (atomic_exchange(&coopdl_budget.wanted, false))
        return &coopdl_budget;
    struct scope *oldest = NULL;
    for (struct scope *scope = coopdl_scope_youngest(); scope; scope = scope->older)
        if (atomic_load(&scope->wanted))
            oldest = scope;
    if (oldest)
        atomic_store(&oldest->wanted, false);
    return oldest;
}

static void *await_expiry(void *unused)
{
    (void)unused;
    coopdl_turn_hurry();
    sem_wait(&expiries); /* for whatever reason it ends: the caller looks */
    return NULL;
}

static void end_wait(void *unused)
{
    (void)unused;
    sem_post(&expiries);
}

static VALUE wait_and_serve(VALUE unused)
{
    coopdl_scope shield;
    coopdl_shield(&shield);
    coopdl_activity()->waiter = true;
    for (;;) {
        rb_thread_call_without_gvl(await_expiry, NULL, end_wait, NULL);
        uint32_t seen = coopdl_turn_wanted();
        struct scope *scope;
        while ((scope = wanted()))
            serve_scope(scope);
        coopdl_turn_served(seen);
    }
    return unused;
}

static VALUE stop_waiting(VALUE unused)
{
    coopdl_exception_reset();
    atomic_store(&coopdl_turn_has_waiter, false);
    return unused;
}

/* The body of the waiter. */
static VALUE waiter_run(VALUE self)
{
    return rb_ensure(wait_and_serve, self, stop_waiting, self);
}

/* Ruby's own handler for SIGSYS does nothing, but with a handler of the program's the library does
 * not trap its threads: libc's own calls, as in getaddrinfo, would go on.  The program's is kept.
 */
static void make_room_for_the_trap(void)
{
    struct sigaction action;
    if (sigaction(SIGSYS, NULL, &action) != 0 || action.sa_handler == SIG_DFL ||
        action.sa_handler == SIG_IGN)
        return;
    VALUE number = INT2FIX(SIGSYS), standard = rb_str_new_cstr("SYSTEM_DEFAULT");
    VALUE before = rb_funcall(rb_mKernel, rb_intern("trap"), 2, number, standard);
    if (!NIL_P(before))
        rb_funcall(rb_mKernel, rb_intern("trap"), 2, number, before);
}

static VALUE start_waiter(VALUE unused)
{
    make_room_for_the_trap();
    rb_funcall(coopdl, rb_intern("start_waiter"), 0);
    return unused;
}

void coopdl_waiter_start(void)
{
    if (RB_LIKELY(atomic_load(&coopdl_turn_has_waiter)))
        return;
    if (coopdl_set_hooks(&hooks) != 0)
        rb_sys_fail("coopdl cannot start a thread");
    int failed;
    atomic_store(&coopdl_turn_has_waiter, true); /* it may be another thread that runs next */
    rb_protect(start_waiter, Qnil, &failed);
    if (failed) {
        atomic_store(&coopdl_turn_has_waiter, false);
        rb_jump_tag(failed);
    }
}

static bool resume(struct scope *scope)
{
    bool resumed = atomic_load(&scope->deferred) && !coopdl_scope_in_monitor(scope);
    if (resumed)
        atomic_store(&scope->wanted, true);
    return resumed;
}

void coopdl_waiter_resume(void)
{
    bool any = rb_thread_current() == coopdl_budget.thread && resume(&coopdl_budget);
    for (struct scope *scope = coopdl_innermost; scope; scope = scope->outer)
        any |= resume(scope);
    if (!any)
        return;
    atomic_store(&coopdl_activity()->postponed, false);
    coopdl_turn_want();
    sem_post(&expiries);
    coopdl_turn_give(RESUME);
    rb_thread_check_ints();
}

void coopdl_waiter_cancelled(struct scope *scope)
{
    atomic_store(&scope->wanted, true);
    coopdl_turn_want();
    sem_post(&expiries);
    coopdl_turn_give(COOPDL_HAND_OVER);
}

static void in_forked_child(void)
{
    coopdl_scope_forked();
    coopdl_exception_reset();
    sem_init(&expiries, 0, 0);
    coopdl_turn_forked();
    coopdl_activity_forked();
    main_thread = getpid();
}

/* In a forked child, with the GVL: deadlines that it has inherited are to be raised. */
static VALUE after_fork(VALUE self)
{
    (void)self;
    coopdl_budget.thread = rb_thread_current();
    coopdl_budget.activity = coopdl_activity();
    coopdl_budget.queued = Qnil;
    if (atomic_load(&coopdl_budget.stage) == STAGE_SENT)
        atomic_store(&coopdl_budget.stage, STAGE_ENTERED);
    coopdl_scope_inherit(INHERITED);
    if (coopdl_deadline() != COOPDL_NEVER)
        coopdl_waiter_start();
    return Qnil;
}

/*
 * In a forked child: takes it out of the scopes that it has inherited from its
 * parent.  A budget stays.  Process.setsid and Process.daemon do this by
 * themselves.
 * @return [nil]
 */
static VALUE detach(VALUE self)
{
    (void)self;
    coopdl_scope_detach();
    return Qnil;
}

/* The program has swallowed what was cut, and ended before the waiter had its turn. */
static bool is_owed_at_end(void)
{
    return rb_thread_current() == coopdl_budget.thread && !coopdl_budget.raised &&
           coopdl_passed(coopdl_budget.deadline);
}

/* What expires from here on, while the VM is taken down, cuts without it. */
static void at_end(VALUE unused)
{
    VALUE error = rb_errinfo();
    (void)unused;
    coopdl_set_hooks(NULL);
    bool never_raised = NIL_P(error) && is_owed_at_end();
    if (never_raised)
        error = coopdl_exception_exit(&coopdl_budget);
    if (!NIL_P(error) && coopdl_exception_owner(error) == coopdl_budget.serial)
        rb_funcall(coopdl, rb_intern("report"), 1, error);
    if (never_raised)
        rb_exc_raise(error);
}

void coopdl_waiter_init(VALUE module)
{
    coopdl = module;
    sem_init(&expiries, 0, 0);
    pthread_atfork(NULL, NULL, in_forked_child);
    coopdl_turn_init();
    main_thread = getpid();
    rb_define_private_method(rb_singleton_class(module), "wait_and_serve", waiter_run, 0);
    rb_define_private_method(rb_singleton_class(module), "after_fork", after_fork, 0);
    rb_define_singleton_method(module, "detach", detach, 0);
    rb_set_end_proc(at_end, Qnil);
}
