/* SPDX-License-Identifier: Apache-2.0 */
/* init.c -- the module Coopdl, and its small methods. */
#include "expiry.h"
#include "scope.h"
#include "timeout.h"

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
    if (scope && coopdl_expiry_on_its_way(scope))
        coopdl_expiry_take(scope);
    if (scope) {
        VALUE klass =
            NIL_P(scope->klass) ? rb_const_get(self, rb_intern("ExitException")) : scope->klass;
        rb_exc_raise(coopdl_expiry_exception(scope, klass));
    }
    if (coopdl_remaining() == 0)
        rb_raise(rb_path2class("Timeout::Error"), "execution expired");
    return Qnil;
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
    /* That of the library. */
    rb_define_const(module, "VERSION", rb_obj_freeze(rb_str_new_cstr(coopdl_version())));
    coopdl_scope_init();
    coopdl_timeout_init(module);
    coopdl_expiry_init(module);
    if (coopdl_deadline() != COOPDL_NEVER) /* the budget's end is to be raised */
        coopdl_expiry_start();
}
