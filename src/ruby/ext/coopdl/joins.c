/* SPDX-License-Identifier: Apache-2.0 */
/*
 * joins.c -- threads that an expired thread joins.  When the grace of its clean-up is over, the
 * thread that it joins is put inside the same deadline, as with priority inheritance.
 *
 * The joined thread is sent an exception.  If it is in a call that Ruby cannot interrupt, it
 * does not take the exception: then it is lent the deadline, and its calls are cut.
 *
 * What must hold:
 * - A native thread, which Ruby 3.1 uses for one Ruby thread after another, keeps no deadline
 *   that was lent to an earlier Ruby thread.  So a thread gives the deadline back as it raises,
 *   and once more when the join has ended.
 * - A join that began before the first scope is known: the joining thread may be joined itself
 *   by a thread that enters a scope later.  So joins are noted from the module's loading on.
 *
 * Thread#join and #value keep their names, owners and arity.  They call the originals, which
 * have got a private name.
 */
#include "joins.h"

#include "exception.h"
#include "lend.h"

static ID id_joined; /* no @: not to be seen from Ruby */

struct joining {
    VALUE thread, before;
    int count;
    const VALUE *arguments;
    ID original;
};

static VALUE joined_by(VALUE thread)
{
    return rb_ivar_get(thread, id_joined);
}

static VALUE wait_for_it(VALUE argument)
{
    struct joining *joining = (struct joining *)argument;
    return rb_funcallv(joining->thread, joining->original, joining->count, joining->arguments);
}

static VALUE has_waited(VALUE argument)
{
    const struct joining *joining = (struct joining *)argument;
    rb_ivar_set(rb_thread_current(), id_joined, joining->before);
    coopdl_lend_back(joining->thread);
    return Qnil;
}

/* A thread outside every scope may be joined itself by one that is inside. */
static VALUE joined(struct joining *joining)
{
    VALUE self = rb_thread_current();
    joining->before = rb_ivar_get(self, id_joined); /* a trap's handler may join, too */
    rb_ivar_set(self, id_joined, joining->thread);
    return rb_ensure(wait_for_it, (VALUE)joining, has_waited, (VALUE)joining);
}

static VALUE thread_join(int argc, const VALUE *argv, VALUE self)
{
    struct joining joining = {self, Qnil, argc, argv, rb_intern("coopdl_join")};
    return joined(&joining);
}

static VALUE thread_value(VALUE self)
{
    struct joining joining = {self, Qnil, 0, NULL, rb_intern("coopdl_value")};
    return joined(&joining);
}

/* False for a thread that has ended. */
static bool pass_on_to(const struct scope *scope, VALUE thread)
{
    if (!RTEST(rb_funcall(thread, rb_intern("alive?"), 0)))
        return false;
    if (RTEST(rb_funcall(thread, rb_intern("pending_interrupt?"), 0))) {
        coopdl_lend_now(thread);
        return true;
    }
    VALUE exception = coopdl_exception_new(scope, coopdl_exception_internal());
    rb_funcall(thread, rb_intern("raise"), 1, exception);
    return true;
}

/* All are known before the first is raised in, or that might have left its own join. */
bool coopdl_joins_pass_on(const struct scope *scope)
{
    enum { CHAIN = 16 };
    VALUE joined[CHAIN], thread = scope->thread;
    int count = 0;
    while (count < CHAIN && !NIL_P(thread = joined_by(thread)))
        joined[count++] = thread;
    bool any = false;
    while (count > 0)
        any |= pass_on_to(scope, joined[--count]);
    return any;
}

void coopdl_joins_init(void)
{
    id_joined = rb_intern("coopdl_joined");
    coopdl_lend_init();
    rb_alias(rb_cThread, rb_intern("coopdl_join"), rb_intern("join"));
    rb_alias(rb_cThread, rb_intern("coopdl_value"), rb_intern("value"));
    rb_funcall(rb_cThread, rb_intern("private"), 2, ID2SYM(rb_intern("coopdl_join")),
               ID2SYM(rb_intern("coopdl_value")));
    rb_define_method(rb_cThread, "join", thread_join, -1);
    rb_define_method(rb_cThread, "value", thread_value, 0);
}
