/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiter.c -- the Ruby thread that waits for expiries and sends exceptions.
 *
 *   the library's thread        the waiter, a Ruby thread    the expired thread
 *
 *   hook: marks the scope, ---> wakes, wants the GVL
 *         answers KICK -------------------------------------> kicked: a postponed job
 *   (hook.c)                    gets the GVL <--------------- the job gives it away (turn.c)
 *                               Thread#raise (serve.c) -----> #exception is called: it is
 *                                                             being raised, the scope is
 *                                                             delivered (exception.c)
 *
 * What must hold:
 * - The waiter's wait ends when Ruby wants it to (its unblocking function wakes
 *   it), or the interpreter would not exit.
 * - The waiter is outside every deadline, the budget's too (it enters a shield).
 */
#include "waiter.h"

#include "activity.h"
#include "exception.h"
#include "hook.h"
#include "serve.h"
#include "turn.h"

#include <ruby/thread.h>
#include <signal.h>

/* In ns: how long a thread that has left its last monitor waits for its exception.  Each computing
 * thread may have the GVL for 100 ms first.  If this thread went on, it might be in a monitor again
 * by the time that the waiter looks. */
#define RESUME (2 * COOPDL_SECOND)

static VALUE coopdl;

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
    coopdl_hook_wait();
    return NULL;
}

static void end_wait(void *unused)
{
    (void)unused;
    coopdl_hook_wake();
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
            coopdl_serve(scope);
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

static VALUE waiter_run(VALUE self)
{
    return rb_ensure(wait_and_serve, self, stop_waiting, self);
}

/* Ruby's own handler for SIGSYS does nothing, but with a handler of the program the library does
 * not trap threads: calls that libc makes inside, as in getaddrinfo, would go on.  A handler that
 * the program has set is kept. */
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
    if (coopdl_hook_set() != 0)
        rb_sys_fail("coopdl cannot start a thread");
    int failed;
    atomic_store(&coopdl_turn_has_waiter, true); /* another thread may run next */
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
    coopdl_hook_wake();
    coopdl_turn_give(RESUME);
    rb_thread_check_ints();
}

void coopdl_waiter_cancelled(struct scope *scope)
{
    atomic_store(&scope->wanted, true);
    coopdl_turn_want();
    coopdl_hook_wake();
    coopdl_turn_give(COOPDL_HAND_OVER);
}

/* The program has swallowed the error of a cut call, and has ended before the waiter had its turn.
 */
static bool is_owed_at_end(void)
{
    return rb_thread_current() == coopdl_budget.thread && !coopdl_budget.raised &&
           coopdl_passed(coopdl_budget.deadline);
}

/* From here on, while the VM is taken down, expiries cut without the waiter. */
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
    coopdl_hook_init();
    coopdl_turn_init();
    coopdl_serve_init(module);
    rb_define_private_method(rb_singleton_class(module), "wait_and_serve", waiter_run, 0);
    rb_set_end_proc(at_end, Qnil);
}
