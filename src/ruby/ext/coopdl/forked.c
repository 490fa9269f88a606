/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forked.c -- what a forked child does with the deadlines of the blocks that its parent is in.
 *
 * They expire in the child later than in the parent, by INHERITED: the parent ends first, and ends
 * the child.
 */
#include "forked.h"

#include "activity.h"
#include "exception.h"
#include "hook.h"
#include "turn.h"
#include "waiter.h"

#include <pthread.h>

/* In ns. */
#define INHERITED (50 * COOPDL_MILLISECOND)

static void in_forked_child(void)
{
    coopdl_scope_forked();
    coopdl_exception_reset();
    coopdl_hook_init();
    coopdl_turn_forked();
    coopdl_activity_forked();
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

void coopdl_forked_init(VALUE module)
{
    pthread_atfork(NULL, NULL, in_forked_child);
    rb_define_private_method(rb_singleton_class(module), "after_fork", after_fork, 0);
    rb_define_singleton_method(module, "detach", detach, 0);
}
