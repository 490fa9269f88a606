/* SPDX-License-Identifier: Apache-2.0 */
/* init.c -- the module Coopdl, and its small methods. */
#include "exception.h"
#include "forked.h"
#include "handle.h"
#include "joins.h"
#include "monitor.h"
#include "pipe.h"
#include "processes.h"
#include "scope.h"
#include "stacks.h"
#include "timeout.h"
#include "waiter.h"

static VALUE seconds(int64_t nanoseconds)
{
    return nanoseconds == COOPDL_NEVER ? Qnil : DBL2NUM((double)nanoseconds / COOPDL_SECOND);
}

/*
 * What is left until the deadline that rules this thread: that of the earliest
 * scope around the call, or of the budget.
 * @return [Float, nil] seconds, 0.0 once it has passed; nil without a deadline
 */
static VALUE remaining(VALUE self)
{
    (void)self;
    return seconds(coopdl_remaining());
}

/*
 * The deadline that rules this thread.
 * @return [Float, nil] seconds of Process::CLOCK_MONOTONIC; nil without one
 */
static VALUE deadline(VALUE self)
{
    (void)self;
    return seconds(coopdl_deadline());
}

/*
 * Whether the library is preloaded. Without that only what Ruby can interrupt
 * ends at its deadline.
 * @return [Boolean]
 */
static VALUE preloaded(VALUE self)
{
    (void)self;
    return coopdl_preloaded() ? Qtrue : Qfalse;
}

static VALUE run_block(VALUE unused)
{
    (void)unused;
    return rb_yield_values(0);
}

static VALUE leave_shield(VALUE arguments)
{
    struct scope *scope = (struct scope *)arguments;
    coopdl_scope_leave(scope);
    coopdl_scope_unlink(scope);
    return Qnil;
}

/*
 * Runs the block untouched by the deadlines around it; one that passes meanwhile
 * is raised when the block has ended. Limits that are set inside hold as ever.
 * @yield the code to shield
 * @return what the block returns
 */
static VALUE shield(VALUE self)
{
    struct scope scope;
    (void)self;
    rb_need_block();
    rb_thread_check_ints(); /* what has been sent already comes before the block */
    coopdl_scope_shield(&scope);
    return rb_ensure(run_block, Qnil, leave_shield, (VALUE)&scope);
}

/* The outermost scope that has expired owns the expiry. */
static struct scope *expired(void)
{
    struct scope *owner = NULL;
    for (struct scope *scope = coopdl_innermost; scope && !scope->shield; scope = scope->outer)
        if (coopdl_passed(scope->deadline))
            owner = scope;
    return owner;
}

/*
 * Raises if the deadline around the call has passed: for code that holds off
 * interrupts, or wants to end at places of its own choosing.
 * @return [nil]
 */
static VALUE check(VALUE self)
{
    struct scope *scope = expired();
    (void)self;
    if (!scope && coopdl_remaining() == 0 && rb_thread_current() == coopdl_budget.thread)
        scope = &coopdl_budget;
    if (scope && coopdl_exception_on_its_way(scope))
        coopdl_exception_take(scope);
    if (scope)
        coopdl_exception_raise(scope);
    if (coopdl_remaining() == 0)
        rb_exc_raise(rb_exc_new_cstr(coopdl_exception_internal(), "execution expired"));
    return Qnil;
}

/* The call that the budget has ended first in the calling thread, as text, or nil. */
static VALUE ended_first(VALUE self)
{
    char text[512];
    (void)self;
    return coopdl_describe(NULL, text, sizeof(text)) > 0 ? rb_external_str_new_cstr(text) : Qnil;
}

void Init_coopdl(void); /* Ruby looks for it */

__attribute__((visibility("default"))) void Init_coopdl(void)
{
    VALUE module = rb_define_module("Coopdl");
    rb_define_singleton_method(module, "remaining", remaining, 0);
    rb_define_singleton_method(module, "deadline", deadline, 0);
    rb_define_singleton_method(module, "preloaded?", preloaded, 0);
    rb_define_singleton_method(module, "shield", shield, 0);
    rb_define_singleton_method(module, "check!", check, 0);
    rb_define_private_method(rb_singleton_class(module), "ended_first", ended_first, 0);
    /* That of the library. */
    rb_define_const(module, "VERSION", rb_obj_freeze(rb_str_new_cstr(coopdl_version())));
    coopdl_scope_init();
    coopdl_timeout_init(module);
    coopdl_handle_init(module);
    coopdl_exception_init(module);
    coopdl_waiter_init(module);
    coopdl_forked_init(module);
    coopdl_monitor_init();
    coopdl_joins_init();
    coopdl_pipe_init();
    coopdl_processes_init(module);
    coopdl_stacks_init(module);
    if (coopdl_deadline() != COOPDL_NEVER) /* the budget's end is to be raised */
        coopdl_waiter_start();
}
