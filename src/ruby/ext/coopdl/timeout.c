/* SPDX-License-Identifier: Apache-2.0 */
/*
 * timeout.c -- Coopdl.timeout: a scope around a block, and what happens at its end.
 *
 * What must hold: once the scope was left, no exception that was sent for it is raised any
 * more.  So it is taken out of the thread's queue before the method goes on.  No interrupt is
 * checked between the end of the block and the leaving.
 *
 * A block that ends before its deadline has its own result.  When the deadline has passed,
 * `timeout` raises Timeout::Error, or the class given, and `move_on_after` returns nil:
 *
 *   the block ended with                what follows
 *   this scope's exception              the error, or nil
 *   another scope's, an exit, a break   it passes
 *   an error that follows from ours     it passes: the clean-up's own
 *   Errno::ETIMEDOUT or EINTR, or       the error, or nil; the block's error is its
 *   any other StandardError             cause: a call was cut with it
 *   a value, or a throw of ours         the error, or nil: the block has swallowed the
 *                                       error of a cut call.  But a given class that
 *                                       was raised may be rescued in the block
 *
 * A forked child must not run the code of its parent after the block: there it exits, through
 * the ensure clauses around the block.
 */
#include "timeout.h"

#include "exception.h"
#include "handle.h"
#include "scope.h"
#include "waiter.h"

#include <math.h>
#include <ruby/fiber/scheduler.h>
#include <stdio.h>
#include <string.h>

struct call {
    struct scope scope;
    VALUE seconds;
    bool silent;  /* its end is no error: move_on_after */
    bool expired; /* before the scope was left */
    bool raised;  /* its exception, in the block */
    bool over;    /* the clean-up took longer than the grace */
    bool known;   /* what was ended first */
    struct coopdl_cut cut;
    char text[512];
};

/* How long the clean-up may take where nothing is said. */
#define GRACE (5 * COOPDL_SECOND)

static VALUE coopdl, fiber_class;

/* `what` is named if it is no time. */
static int64_t float_to_ns(double seconds, const char *what)
{
    if (isnan(seconds) || seconds < 0)
        rb_raise(rb_eArgError, "%s must be a non-negative number", what);
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
        return float_to_ns(RFLOAT_VALUE(seconds), "Timeout sec");
    return float_to_ns(NUM2DBL(rb_funcall(DBL2NUM(0.0), '+', 1, seconds)), "Timeout sec");
}

static int64_t to_grace(VALUE options)
{
    VALUE seconds = Qundef;
    ID grace = rb_intern("grace");
    if (NIL_P(options))
        return GRACE;
    rb_get_kwargs(options, &grace, 0, 1, &seconds);
    if (seconds == Qundef)
        return GRACE;
    return NIL_P(seconds) ? COOPDL_NEVER : float_to_ns(NUM2DBL(seconds), "grace");
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
    struct call *call = (struct call *)arguments;
    return rb_yield(call->silent ? coopdl_handle(&call->scope) : call->seconds);
}

/* On an eventfd of its own Ruby sleeps, and waits for its locks, queues, threads and children.  The
 * backtrace says for which; `ppoll() on eventfd` would send its reader astray. */
static bool is_rubys_own_wait(const struct coopdl_cut *cut)
{
    bool is_ruby = strncmp(cut->library, "libruby", strlen("libruby")) == 0 ||
                   strncmp(cut->library, "ruby", strlen("ruby")) == 0;
    return is_ruby && strcmp(cut->target, "eventfd") == 0;
}

static VALUE leave(VALUE arguments)
{
    struct call *call = (struct call *)arguments;
    struct scope *scope = &call->scope;
    /* The library may not have come round to it yet, but a child that inherited the deadline may
     * have ended by it. */
    call->expired = coopdl_scope_leave(scope) == 1 || scope->sent || coopdl_passed(scope->deadline);
    call->raised = scope->raised;
    call->known = call->expired && coopdl_cut_of(&scope->core, &call->cut) == 1 &&
                  !is_rubys_own_wait(&call->cut) &&
                  coopdl_describe(&scope->core, call->text, sizeof(call->text)) > 0;
    call->over = call->expired && coopdl_scope_over(scope, coopdl_now());
    coopdl_handle_end(scope, call->expired);
    if (!NIL_P(scope->queued))
        coopdl_exception_collect(scope);
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
        if (coopdl_exception_owner(error) == serial)
            return true;
    return false;
}

/* Such an error may be a cut even where it follows from the scope's exception: a C function has
 * caught that and reports by errno, as functions that start a program do. */
static bool is_cut(VALUE error)
{
    return rb_obj_is_kind_of(error, rb_path2class("Errno::ETIMEDOUT")) ||
           rb_obj_is_kind_of(error, rb_path2class("Errno::EINTR"));
}

/* rubygems' `require` looks whether it has its lock, takes it, and looks again in an ensure clause.
 * It calls it an error when it was interrupted before the first look. */
static bool is_rubygems(VALUE error)
{
    static const char start[] = "CRITICAL: RUBYGEMS_ACTIVATION_MONITOR";
    VALUE message = rb_obj_as_string(error);
    return rb_obj_is_instance_of(error, rb_eRuntimeError) &&
           strncmp(StringValueCStr(message), start, sizeof(start) - 1) == 0;
}

static VALUE default_message(void)
{
    static VALUE expired;
    if (!expired) {
        expired = rb_obj_freeze(rb_str_new_cstr("execution expired"));
        rb_gc_register_mark_object(expired);
    }
    return expired;
}

/* The program's own text is kept; the facts about the cut are appended to stdlib's text, which
 * programs match. */
static VALUE message_of(const struct call *call)
{
    VALUE message = call->scope.message;
    if (!call->known || message != default_message() || !NIL_P(call->scope.klass))
        return message;
    char text[sizeof("execution expired ") + sizeof(call->text)];
    snprintf(text, sizeof(text), "execution expired %s", call->text);
    return rb_external_str_new_cstr(text);
}

/* A path may be in it. */
static VALUE text_or_nil(const char *text)
{
    return *text ? rb_external_str_new_cstr(text) : Qnil;
}

/* The call that was ended first, as the last members of Coopdl::Cut. */
static VALUE facts_of(const struct call *call)
{
    const struct coopdl_cut *cut = &call->cut;
    if (!call->known)
        return rb_ary_new();
    return rb_ary_new_from_args(
        4, text_or_nil(cut->call), text_or_nil(cut->target), text_or_nil(cut->library),
        cut->waited < 0 ? Qnil : DBL2NUM((double)cut->waited / COOPDL_SECOND));
}

/* The place where the block was is of more use than ours. */
NORETURN(static void raise_timeout(struct call *call));
static void raise_timeout(struct call *call)
{
    struct scope *scope = &call->scope;
    VALUE klass = NIL_P(scope->klass) ? rb_path2class("Timeout::Error") : scope->klass;
    VALUE sent = scope->exception;
    VALUE error = rb_funcall(klass, rb_intern("exception"), 1, message_of(call));
    VALUE backtrace = NIL_P(sent) ? Qnil : rb_funcall(sent, rb_intern("backtrace"), 0);
    if (!NIL_P(backtrace))
        rb_funcall(error, rb_intern("set_backtrace"), 1, backtrace);
    rb_funcall(coopdl, rb_intern("describe"), 6, error, call->seconds,
               DBL2NUM((double)scope->deadline / COOPDL_SECOND), scope->thread,
               call->over ? Qtrue : Qfalse, facts_of(call));
    rb_exc_raise(error);
}

/* The scope's own end, in the thread and process that it is for. */
static VALUE end_expired(struct call *call)
{
    if (call->scope.inherited)
        rb_exc_raise(coopdl_exception_exit(&call->scope));
    if (!call->silent)
        raise_timeout(call);
    return Qnil;
}

static VALUE conclude_error(VALUE arguments, VALUE error)
{
    struct call *call = (struct call *)arguments;
    uint64_t serial = call->scope.serial, owner = coopdl_exception_owner(error);
    bool own = owner == serial, given = !NIL_P(call->scope.klass);
    if (own && (!given || call->scope.inherited))
        return end_expired(call);
    bool cut = call->expired && !owner && (is_cut(error) || is_rubygems(error));
    if (!cut && (!call->expired || owner || (given && call->raised) ||
                 !rb_obj_is_kind_of(error, rb_eStandardError) || follows(error, serial)))
        rb_exc_raise(error);
    return end_expired(call);
}

static VALUE concluded(RB_BLOCK_CALL_FUNC_ARGLIST(tag, arguments))
{
    (void)argc, (void)argv, (void)blockarg, (void)tag;
    return rb_rescue2(bounded, arguments, conclude_error, arguments, rb_eException, (VALUE)0);
}

static VALUE with_limit(struct call *call)
{
    coopdl_waiter_start();
    int64_t limit = to_ns(call->seconds);
    call->scope.tag = rb_obj_alloc(rb_cObject);
    coopdl_scope_enter(&call->scope, coopdl_after(limit));
    VALUE value = rb_catch_obj(call->scope.tag, concluded, (VALUE)call);
    if (call->expired && (NIL_P(call->scope.klass) || !call->raised || call->scope.thrown))
        value = end_expired(call);
    RB_GC_GUARD(call->scope.klass);
    RB_GC_GUARD(call->scope.message);
    return value;
}

/* The fiber scheduler of the thread, or the one that the program names: if it has timers it is
 * asked, as in stdlib. */
static VALUE scheduler_with_timers(void)
{
    ID current = rb_intern("current_scheduler");
    VALUE scheduler = rb_method_basic_definition_p(CLASS_OF(fiber_class), current)
                          ? rb_fiber_scheduler_current()
                          : rb_funcall(fiber_class, current, 0);
    bool has = !NIL_P(scheduler) && rb_respond_to(scheduler, rb_intern("timeout_after"));
    return has ? scheduler : Qnil;
}

/*
 * Runs the block, and ends it when it takes longer than that.
 * @overload timeout(sec, klass = nil, message = nil, grace: 5.0)
 *   @param sec [Numeric, nil] seconds; 0 and nil: no limit
 *   @param klass [Class, nil] raised inside and outside the block, in place of an
 *     internal exception inside and Timeout::Error outside
 *   @param message [String, nil] its message, else "execution expired"
 *   @param grace [Numeric, nil] seconds that the block's clean-up (ensure, rescue) may take from
 *     the deadline on; then what it waits in is cut, and it is raised in as well, again and again.
 *     nil: no limit
 *   @yieldparam sec what was given
 *   @return what the block returns
 *   @raise [ArgumentError] for a negative limit
 */
static VALUE timeout(int argc, const VALUE *argv, VALUE self)
{
    VALUE seconds, klass, message, options;
    (void)self;
    (rb_scan_args)(argc, argv, "12:", &seconds, &klass, &message, &options);
    int64_t grace = to_grace(options);
    if (!is_limit(seconds))
        return rb_yield(seconds);
    rb_need_block();
    VALUE scheduler = scheduler_with_timers();
    if (!NIL_P(scheduler)) {
        return rb_funcall(coopdl, rb_intern("timeout_by"), 5, scheduler, seconds, klass,
                          NIL_P(message) ? default_message() : message, rb_block_proc());
    }
    struct call call = {
        .scope = {.klass = RTEST(klass) ? klass : Qnil,
                  .message = RTEST(message) ? message : default_message(),
                  .grace = grace},
        .seconds = seconds,
    };
    return with_limit(&call);
}

/*
 * Runs the block, and goes on behind it when it takes longer than that: no error. Ask the scope
 * whether it did.
 * @overload move_on_after(sec, grace: 5.0)
 *   @param sec [Numeric, nil] seconds; 0 and nil: no limit, but the block can be cancelled
 *   @param grace see {timeout}
 *   @yieldparam scope [Coopdl::Scope]
 *   @return what the block returns, or nil
 *   @raise [ArgumentError] for a negative limit
 */
static VALUE move_on_after(int argc, const VALUE *argv, VALUE self)
{
    VALUE seconds, options;
    (void)self;
    (rb_scan_args)(argc, argv, "1:", &seconds, &options);
    int64_t grace = to_grace(options);
    rb_need_block();
    struct call call = {
        .scope = {.klass = Qnil, .message = default_message(), .grace = grace},
        .seconds = is_limit(seconds) ? seconds : DBL2NUM(HUGE_VAL),
        .silent = true,
    };
    return with_limit(&call);
}

void coopdl_timeout_init(VALUE module)
{
    coopdl = module;
    fiber_class = rb_path2class("Fiber");
    rb_define_singleton_method(module, "timeout", timeout, -1);
    rb_define_singleton_method(module, "move_on_after", move_on_after, -1);
}
