/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timeout.c -- Coopdl.timeout: a scope around a block, and what its end means.
 *
 * What must hold: once the scope has been left nothing that was sent for it is
 * raised any more, so it is taken out of the thread's queue before the method
 * goes on.  No interrupt is looked at between the block's end and the leaving.
 *
 * A block that ends before its deadline gives what it gives.  After it:
 *
 *   ended with                          what Coopdl.timeout does
 *   this scope's exception              raises Timeout::Error, or the class given
 *   another scope's, an exit, a break   lets it pass
 *   an error that follows from ours     lets it pass: the clean-up's own
 *   Errno::ETIMEDOUT or EINTR, and
 *   any other StandardError             raises, with that error as the cause:
 *                                       it is what a call was cut with
 *   a value, or a throw of ours         raises: what was cut was swallowed.  But
 *                                       a class that was given and has been
 *                                       raised may be rescued in the block
 */
#include "timeout.h"

#include "expiry.h"
#include "scope.h"

#include <math.h>
#include <ruby/fiber/scheduler.h>

struct call {
    struct scope scope;
    VALUE seconds;
    bool expired; /* before the scope was left */
    bool raised;  /* its exception, in the block */
};

static VALUE coopdl;

static int64_t float_to_ns(double seconds)
{
    if (isnan(seconds))
        rb_raise(rb_eArgError, "Timeout sec must be a non-negative number");
    double ns = ceil(seconds * 1e9);
    return ns >= 9.2e18 ? COOPDL_NEVER : (int64_t)ns;
}

/* Whatever can be added to a time, as stdlib has it. */
static int64_t to_ns(VALUE seconds)
{
    if (FIXNUM_P(seconds)) {
        long whole = FIX2LONG(seconds);
        return whole > COOPDL_NEVER / COOPDL_SECOND ? COOPDL_NEVER : whole * COOPDL_SECOND;
    }
    if (RB_FLOAT_TYPE_P(seconds))
        return float_to_ns(RFLOAT_VALUE(seconds));
    return float_to_ns(NUM2DBL(rb_funcall(DBL2NUM(0.0), '+', 1, seconds)));
}

static bool is_limit(VALUE seconds)
{
    if (NIL_P(seconds))
        return false;
    bool plain = FIXNUM_P(seconds) || RB_FLOAT_TYPE_P(seconds);
    if (plain ? seconds == INT2FIX(0) || (!FIXNUM_P(seconds) && RFLOAT_VALUE(seconds) == 0.0)
              : RTEST(rb_funcall(seconds, rb_intern("zero?"), 0)))
        return false;
    if (FIXNUM_P(seconds) ? FIX2LONG(seconds) < 0 : RTEST(rb_funcall(INT2FIX(0), '>', 1, seconds)))
        rb_raise(rb_eArgError, "Timeout sec must be a non-negative number");
    return true;
}

static VALUE run_block(VALUE arguments)
{
    return rb_yield(((struct call *)arguments)->seconds);
}

static VALUE leave(VALUE arguments)
{
    struct call *call = (struct call *)arguments;
    struct scope *scope = &call->scope;
    /* The library may not have come round to it yet, but a child that inherited the deadline may
     * have ended by it. */
    call->expired = coopdl_scope_leave(scope) == 1 || scope->sent || coopdl_passed(scope->deadline);
    call->raised = scope->raised;
    if (!NIL_P(scope->queued))
        coopdl_expiry_collect(scope);
    return Qnil;
}

static VALUE unlink_scope(VALUE arguments)
{
    coopdl_scope_unlink(&((struct call *)arguments)->scope);
    return Qnil;
}

static VALUE leave_and_unlink(VALUE arguments)
{
    return rb_ensure(leave, arguments, unlink_scope, arguments);
}

static VALUE bounded(VALUE arguments)
{
    return rb_ensure(run_block, arguments, leave_and_unlink, arguments);
}

static bool follows(VALUE error, uint64_t serial)
{
    for (; !NIL_P(error); error = rb_funcall(error, rb_intern("cause"), 0))
        if (coopdl_expiry_owner(error) == serial)
            return true;
    return false;
}

/* It may follow from our exception all the same: a C function has caught that and says by errno
 * what it was doing, as starting a program does. */
static bool is_cut(VALUE error)
{
    return rb_obj_is_kind_of(error, rb_path2class("Errno::ETIMEDOUT")) ||
           rb_obj_is_kind_of(error, rb_path2class("Errno::EINTR"));
}

/* The place where the block was is of more use than ours. */
NORETURN(static void raise_timeout(struct call *call));
static void raise_timeout(struct call *call)
{
    struct scope *scope = &call->scope;
    VALUE klass = NIL_P(scope->klass) ? rb_path2class("Timeout::Error") : scope->klass;
    VALUE sent = scope->exception;
    VALUE error = rb_funcall(klass, rb_intern("exception"), 1, scope->message);
    VALUE backtrace = NIL_P(sent) ? Qnil : rb_funcall(sent, rb_intern("backtrace"), 0);
    if (!NIL_P(backtrace))
        rb_funcall(error, rb_intern("set_backtrace"), 1, backtrace);
    rb_exc_raise(error);
}

static VALUE conclude_error(VALUE arguments, VALUE error)
{
    struct call *call = (struct call *)arguments;
    uint64_t serial = call->scope.serial, owner = coopdl_expiry_owner(error);
    bool own = owner == serial, given = !NIL_P(call->scope.klass);
    if (own && !given)
        raise_timeout(call);
    bool cut = call->expired && !owner && is_cut(error);
    if (!cut && (!call->expired || owner || (given && call->raised) ||
                 !rb_obj_is_kind_of(error, rb_eStandardError) || follows(error, serial)))
        rb_exc_raise(error);
    raise_timeout(call);
}

static VALUE concluded(RB_BLOCK_CALL_FUNC_ARGLIST(tag, arguments))
{
    (void)argc, (void)argv, (void)blockarg, (void)tag;
    return rb_rescue2(bounded, arguments, conclude_error, arguments, rb_eException, (VALUE)0);
}

static VALUE with_limit(struct call *call)
{
    coopdl_expiry_start();
    int64_t limit = to_ns(call->seconds);
    call->scope.tag = rb_obj_alloc(rb_cObject);
    coopdl_scope_enter(&call->scope, coopdl_after(limit));
    VALUE value = rb_catch_obj(call->scope.tag, concluded, (VALUE)call);
    if (call->expired && (NIL_P(call->scope.klass) || !call->raised))
        raise_timeout(call);
    RB_GC_GUARD(call->scope.klass);
    RB_GC_GUARD(call->scope.message);
    return value;
}

/*
 * Runs the block, and ends it when it takes longer than that.
 * @overload timeout(sec, klass = nil, message = nil)
 *   @param sec [Numeric, nil] seconds; 0 and nil: no limit
 *   @param klass [Class, nil] raised inside and outside the block, in place of an
 *     internal exception inside and Timeout::Error outside
 *   @param message [String, nil] its message, else "execution expired"
 *   @yieldparam sec what was given
 *   @return what the block returns
 *   @raise [ArgumentError] for a negative limit
 */
static VALUE timeout(int argc, const VALUE *argv, VALUE self)
{
    static VALUE expired;
    VALUE seconds, klass, message;
    if (!expired) {
        expired = rb_obj_freeze(rb_str_new_cstr("execution expired"));
        rb_gc_register_mark_object(expired);
    }
    rb_check_arity(argc, 1, 3);
    seconds = argv[0];
    klass = argc > 1 ? argv[1] : Qnil;
    message = argc > 2 ? argv[2] : Qnil;
    if (!is_limit(seconds))
        return rb_yield(seconds);
    rb_need_block();
    VALUE scheduler = rb_fiber_scheduler_current();
    if (!NIL_P(scheduler) && rb_respond_to(scheduler, rb_intern("timeout_after"))) {
        return rb_funcall(coopdl, rb_intern("timeout_by"), 5, scheduler, seconds, klass,
                          NIL_P(message) ? expired : message, rb_block_proc());
    }
    struct call call = {
        .scope = {.klass = RTEST(klass) ? klass : Qnil,
                  .message = RTEST(message) ? message : expired},
        .seconds = seconds,
    };
    (void)self;
    return with_limit(&call);
}

void coopdl_timeout_init(VALUE module)
{
    coopdl = module;
    rb_define_singleton_method(module, "timeout", timeout, -1);
}
