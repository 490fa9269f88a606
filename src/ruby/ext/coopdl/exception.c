/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exception.c -- the exceptions of a scope: made, sent, raised, collected.
 *
 * What must hold:
 * - Every exception carries the serial number of its scope, which is never used again.
 * - Once a scope has been left, no exception of it is in its thread's queue.
 * - The scope learns of the exception at the moment of raising, when Ruby calls #exception.
 *   From there on the clean-up is running.
 *
 * A second exception for a scope means that the first was swallowed, or that the clean-up has
 * used up the grace.  It is thrown to the scope's end, since no rescue catches a throw.  A
 * forked child must not go on at that end: see coopdl_exception_exit.
 */
#include "exception.h"

#include "activity.h"
#include "lend.h"
#include "turn.h"

/* Exit statuses at the end of a budget, and of a scope in a forked child. */
enum { BUDGET = 1, CHILD = 124 };

static struct scope *sending; /* between counting what is sent and sending it */
static VALUE coopdl, delivery;
static ID id_owner;

VALUE coopdl_exception_internal(void)
{
    return rb_const_get(coopdl, rb_intern("ExitException"));
}

static VALUE make(VALUE arguments)
{
    const VALUE *argument = (const VALUE *)arguments;
    return rb_funcall(argument[0], rb_intern("exception"), 1, argument[1]);
}

static VALUE failure(VALUE unused, VALUE error)
{
    (void)unused;
    return error;
}

static VALUE owned(const struct scope *scope, VALUE exception)
{
    rb_ivar_set(exception, id_owner, ULL2NUM(scope->serial));
    rb_extend_object(exception, delivery);
    return exception;
}

/* The class may be anything, and have an `exception` that fails: that failure is raised then.  No
 * rb_protect: it would swallow the kill that ends the waiter. */
VALUE coopdl_exception_new(const struct scope *scope, VALUE klass)
{
    VALUE arguments[] = {klass, scope->message};
    VALUE exception = rb_rescue2(make, (VALUE)arguments, failure, Qnil, rb_eException, (VALUE)0);
    if (!rb_obj_is_kind_of(exception, rb_eException))
        exception = rb_exc_new_cstr(rb_eTypeError, "exception object expected");
    if (OBJ_FROZEN(exception))
        exception = rb_obj_dup(exception);
    return owned(scope, exception);
}

uint64_t coopdl_exception_owner(VALUE exception)
{
    VALUE serial = rb_ivar_get(exception, id_owner);
    return NIL_P(serial) ? 0 : NUM2ULL(serial);
}

/* A process exits at the end of its budget.  A forked child exits at the end of a scope, since it
 * must not run the code of its parent after the block.  Both run their ensure clauses, as with
 * `exit`.  `rescue => e`, and what test frameworks rescue, do not catch it. */
VALUE coopdl_exception_exit(struct scope *scope)
{
    VALUE klass = rb_const_get(coopdl, rb_intern("DeadlineExit"));
    VALUE arguments[] = {INT2FIX(scope == &coopdl_budget ? BUDGET : CHILD), scope->message};
    return owned(scope, rb_class_new_instance(2, arguments, klass));
}

static VALUE for_scope(struct scope *scope)
{
    if (scope->inherited || scope == &coopdl_budget)
        return coopdl_exception_exit(scope);
    return coopdl_exception_new(scope,
                                NIL_P(scope->klass) ? coopdl_exception_internal() : scope->klass);
}

static VALUE raise_it(VALUE argument)
{
    const struct scope *scope = (struct scope *)argument;
    rb_funcall(scope->thread, rb_intern("raise"), 1, scope->queued);
    return Qtrue;
}

static VALUE refused(VALUE unused, VALUE error)
{
    (void)unused, (void)error;
    return Qfalse;
}

/* Making the exception runs Ruby code, and the scope may be gone after it.  From `sending` until
 * the exception is in the queue other threads may run, also after delivery_exception has looked at
 * the monitors.  So a thread that leaves the scope, or has entered a monitor, waits until it was
 * sent. */
void coopdl_exception_send(struct scope *scope)
{
    uint64_t serial = scope->serial;
    VALUE exception = for_scope(scope);
    if (!coopdl_scope_linked(scope, serial) || scope->left)
        return;
    int stage = atomic_exchange(&scope->stage, STAGE_SENT);
    coopdl_scope_unqueue(scope); /* an earlier one that was lost with its thread's queue */
    scope->exception = scope->queued = exception;
    coopdl_turn_queued(scope->activity);
    atomic_store(&scope->sent_at, coopdl_now());
    sending = scope;
    VALUE sent = rb_rescue2(raise_it, (VALUE)scope, refused, Qnil, rb_eThreadError, (VALUE)0);
    sending = NULL;
    if (RTEST(sent)) {
        scope->sent = true;
        return;
    }
    coopdl_scope_unqueue(scope);
    atomic_store(&scope->stage, stage);
    atomic_store(&scope->deferred, true);
    atomic_store(&scope->activity->postponed, true);
}

void coopdl_exception_raise(struct scope *scope)
{
    rb_exc_raise(for_scope(scope));
}

void coopdl_exception_settle(void)
{
    VALUE self = rb_thread_current();
    while (sending && sending->thread == self)
        rb_thread_schedule();
    rb_thread_check_ints();
}

void coopdl_exception_reset(void)
{
    sending = NULL;
}

/* The scopes inside this one end with it: nothing is sent for them either. */
static void deliver(struct scope *scope, VALUE exception)
{
    bool again = scope->raised;
    for (struct scope *inner = scope; inner; inner = inner->inner) {
        inner->exception = exception;
        inner->raised_work = coopdl_activity_work(inner->activity);
        if (atomic_load(&inner->stage) == STAGE_ENTERED || inner == scope)
            atomic_store(&inner->stage, STAGE_RAISED);
    }
    scope->raised = true;
    atomic_store(&scope->asked, 0);
    if (exception == scope->queued)
        coopdl_scope_unqueue(scope);
    if (scope == &coopdl_budget)
        return;
    /* The scope is moved in two cases: another thread has cancelled it; or the program ignored the
     * error of a cut call, and the library would otherwise fail the next call as a later cut. */
    if (again || coopdl_deliver(&scope->core) != 0) {
        coopdl_move(&scope->core, scope->deadline);
        coopdl_deliver(&scope->core);
    }
}

/* A fiber other than the scope's raises the scope's exception for the second time.  If the scope's
 * fiber has resumed that fiber, it swallows the exception.  More likely the scope's fiber was
 * dropped in the middle, and the scope with it. */
static void give_up(struct scope *scope)
{
    coopdl_scope_leave(scope);
    coopdl_scope_unlink(scope);
    scope->given_up = true;
}

static VALUE nothing(RB_BLOCK_CALL_FUNC_ARGLIST(unused, self))
{
    (void)argc, (void)argv, (void)blockarg, (void)self;
    rb_thread_schedule();
    return unused;
}

/* Of two exceptions in a thread's queue Ruby 3.1 forgets the second: it stays there until something
 * else interrupts the thread.  Were that the kill at the interpreter's exit, it would never end. */
static void remind_of_queue(void)
{
    if (!RTEST(rb_funcall(rb_thread_current(), rb_intern("pending_interrupt?"), 0)))
        return;
    VALUE mask = rb_hash_new();
    rb_hash_aset(mask, rb_cObject, ID2SYM(rb_intern("never")));
    rb_block_call(rb_cThread, rb_intern("handle_interrupt"), 1, &mask, nothing, Qnil);
}

struct raising {
    struct scope *scope; /* or null */
    VALUE exception;
    bool goes_on;
};

/* An exception that was sent for a scope inside would be raised in this one's clean-up. */
static void collect_inside(const struct scope *scope)
{
    for (struct scope *inner = scope->inner; inner; inner = inner->inner)
        if (!NIL_P(inner->queued))
            coopdl_exception_collect(inner);
}

static VALUE let_others_come_first(VALUE argument)
{
    struct raising *raising = (struct raising *)argument;
    remind_of_queue();
    if (raising->scope)
        collect_inside(raising->scope);
    raising->goes_on = true;
    return Qnil;
}

/* Another exception was raised instead, and this one is no longer in the queue: it is sent again.
 */
static VALUE has_let_them(VALUE argument)
{
    const struct raising *raising = (struct raising *)argument;
    struct scope *scope = raising->scope;
    if (raising->goes_on || !scope || scope->queued != raising->exception)
        return Qnil;
    coopdl_scope_unqueue(scope);
    atomic_store(&scope->asked, 0);
    /* The first exception may be an outer scope's, whose clean-up runs here undisturbed. */
    bool inside = scope->exception != raising->exception;
    atomic_store(&scope->stage, inside ? STAGE_RAISED : STAGE_ENTERED);
    return Qnil;
}

/* Ruby calls this in the thread that raises, at that moment; but also when the waiter sends it. */
static VALUE delivery_exception(int argc, const VALUE *argv, VALUE self)
{
    if (argc > 0)
        return rb_call_super(argc, argv);
    if (sending && sending->queued == self && rb_thread_current() != sending->thread) {
        if (coopdl_scope_in_monitor(sending) && !sending->insists)
            rb_raise(rb_eThreadError, "the thread has entered a monitor");
        return self;
    }
    struct scope *scope = coopdl_scope_own(coopdl_exception_owner(self));
    bool again = scope && scope != &coopdl_budget && self == scope->queued && scope->raised &&
                 !scope->left && !scope->inherited;
    if (scope && scope->inherited && scope->raised && coopdl_scope_over(scope, coopdl_now()))
        rb_funcall(rb_mProcess, rb_intern("exit!"), 1, INT2FIX(CHILD)); /* it takes no exit */
    coopdl_lend_back(rb_thread_current());
    struct raising raising = {.scope = scope, .exception = self};
    rb_ensure(let_others_come_first, (VALUE)&raising, has_let_them, (VALUE)&raising);
    if (scope)
        deliver(scope, self);
    if (again && rb_fiber_current() == scope->fiber) {
        scope->thrown = true;
        rb_throw_obj(scope->tag, self);
    }
    if (again)
        give_up(scope);
    return self;
}

/* Lets through what is queued, even if the program has masked it. */
static VALUE take(VALUE exception)
{
    VALUE mask = rb_hash_new();
    rb_hash_aset(mask, rb_obj_class(exception), ID2SYM(rb_intern("immediate")));
    return rb_block_call(rb_cThread, rb_intern("handle_interrupt"), 1, &mask, nothing, Qnil);
}

void coopdl_exception_take(const struct scope *scope)
{
    take(scope->queued);
}

/* Killing a thread empties its queue: exceptions in it never come. (To ask for the class alone
 * crashes Ruby 3.1.) */
bool coopdl_exception_on_its_way(const struct scope *scope)
{
    return !NIL_P(scope->queued) &&
           (sending == scope ||
            RTEST(rb_funcall(rb_thread_current(), rb_intern("pending_interrupt?"), 0)));
}

static VALUE drop_own(VALUE scope, VALUE error)
{
    if (coopdl_exception_owner(error) != ((struct scope *)scope)->serial)
        rb_exc_raise(error);
    return Qnil;
}

static VALUE take_all(VALUE argument)
{
    struct scope *scope = (struct scope *)argument;
    while (coopdl_exception_on_its_way(scope))
        rb_rescue2(take, scope->queued, drop_own, argument, rb_eException, (VALUE)0);
    return Qnil;
}

/* Another's exception, throw or kill that comes meanwhile goes on when ours is out. */
static VALUE collect(VALUE argument)
{
    if (coopdl_exception_on_its_way((struct scope *)argument))
        rb_ensure(take_all, argument, collect, argument);
    return Qnil;
}

void coopdl_exception_collect(struct scope *scope)
{
    collect((VALUE)scope);
}

void coopdl_exception_init(VALUE module)
{
    coopdl = module;
    id_owner = rb_intern("coopdl_owner"); /* no @: not to be seen from Ruby */
    delivery = rb_define_module_under(module, "Delivery");
    rb_define_method(delivery, "exception", delivery_exception, -1);
    rb_funcall(module, rb_intern("private_constant"), 1, ID2SYM(rb_intern("Delivery")));
}
