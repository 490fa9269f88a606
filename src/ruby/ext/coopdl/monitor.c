/* SPDX-License-Identifier: Apache-2.0 */
/*
 * monitor.c -- which monitors a thread has entered and not left.
 *
 * `enter` without a block has no clause that undoes it.  An exception between `enter` and the
 * `begin` of the `ensure` after it leaves the monitor locked, as in rubygems' own `require`.  So
 * nothing is sent to a thread between its Monitor#enter and Monitor#exit (serve.c says for how
 * long).  A monitor that was entered before the scope is left after the scope's block, and does
 * not count for that scope.
 *
 * What must hold: `held` counts a monitor from before it is entered until after it has been
 * left.  An exception that was sent before is raised before the monitor is entered.
 *
 * Interleavings.
 * - The waiter sends while the thread is in `enter`, where it may wait for another thread to
 *   leave.  Ruby raises there, and a thread that has entered by then leaves again.  So a monitor
 *   that is being entered does not count.
 * - The waiter has looked, and loses the GVL before it sends; the thread enters a monitor.  So
 *   `enter` waits at its end until the exception has been sent, and raises it there.
 *
 * The methods keep their names, owners and arity.  They call the originals, which have got a
 * private name.
 */
#include "monitor.h"

#include "activity.h"
#include "exception.h"
#include "waiter.h"

static VALUE is_done(VALUE own)
{
    ((struct activity *)own)->held--;
    return Qnil;
}

VALUE coopdl_monitor_undisturbed(VALUE (*call)(VALUE), VALUE argument)
{
    struct activity *own = coopdl_activity();
    coopdl_exception_settle();
    own->held++;
    VALUE result = rb_ensure(call, argument, is_done, (VALUE)own);
    if (atomic_load(&own->postponed))
        coopdl_waiter_resume();
    return result;
}

static VALUE original_exit(VALUE monitor)
{
    return rb_funcall(monitor, rb_intern("coopdl_exit"), 0);
}

static bool is_owned(VALUE monitor)
{
    return RTEST(rb_funcall(monitor, rb_intern("mon_owned?"), 0));
}

struct taking {
    VALUE monitor;
    ID original;
    struct activity *own;
    bool looked, before; /* whether it was owned already */
    bool taken;          /* the call came back */
    bool undone;
    VALUE entered;
};

static VALUE take(VALUE argument)
{
    struct taking *taking = (struct taking *)argument;
    taking->before = is_owned(taking->monitor);
    taking->looked = true;
    taking->entered = rb_funcall(taking->monitor, taking->original, 0);
    coopdl_exception_settle();
    taking->taken = true;
    return taking->entered;
}

/* A thread that owned the monitor before has entered it once more by now. */
static VALUE undo(VALUE argument)
{
    struct taking *taking = (struct taking *)argument;
    bool owned = taking->looked && (taking->before || is_owned(taking->monitor));
    taking->undone = true;
    return owned ? original_exit(taking->monitor) : Qnil;
}

/* Another exception may come between looking and giving back. */
static VALUE give_back(VALUE argument)
{
    if (!((struct taking *)argument)->undone)
        rb_ensure(undo, argument, give_back, argument);
    return Qnil;
}

static VALUE is_without(VALUE argument)
{
    ((struct taking *)argument)->own->held--;
    return Qnil;
}

static VALUE has_tried(VALUE argument)
{
    struct taking *taking = (struct taking *)argument;
    taking->own->entering--;
    if (!taking->taken)
        rb_ensure(give_back, argument, is_without, argument);
    else if (taking->entered == Qfalse)
        is_without(argument);
    return Qnil;
}

/* When Ruby runs a method for C code, an exception that was sent is raised after the method's end,
 * and its result is lost: so the method's work must be undone.  It may be a throw, which rb_protect
 * and rb_errinfo cannot pass on. */
static VALUE held(VALUE monitor, const char *original)
{
    struct taking taking = {
        .monitor = monitor, .original = rb_intern(original), .own = coopdl_activity()};
    coopdl_exception_settle();
    taking.own->entering++;
    taking.own->held++;
    return rb_ensure(take, (VALUE)&taking, has_tried, (VALUE)&taking);
}

static VALUE monitor_enter(VALUE self)
{
    return held(self, "coopdl_enter");
}

static VALUE monitor_try_enter(VALUE self)
{
    return held(self, "coopdl_try_enter");
}

struct leaving {
    VALUE monitor;
    struct activity *own;
    bool refused; /* it was not owned */
};

static VALUE refused(VALUE argument, VALUE error)
{
    ((struct leaving *)argument)->refused = true;
    rb_exc_raise(error);
}

static VALUE leave(VALUE argument)
{
    return rb_rescue2(original_exit, ((struct leaving *)argument)->monitor, refused, argument,
                      rb_eThreadError, (VALUE)0);
}

/* An exception may still be raised after the exit. */
static VALUE has_left(VALUE argument)
{
    const struct leaving *leaving = (struct leaving *)argument;
    if (!leaving->refused && leaving->own->held > 0)
        leaving->own->held--;
    return Qnil;
}

static VALUE monitor_exit(VALUE self)
{
    struct leaving leaving = {.monitor = self, .own = coopdl_activity()};
    VALUE left = rb_ensure(leave, (VALUE)&leaving, has_left, (VALUE)&leaving);
    if (atomic_load(&leaving.own->postponed))
        coopdl_waiter_resume();
    return left;
}

void coopdl_monitor_init(void)
{
    VALUE monitor = rb_path2class("Monitor");
    static const char *const kept[][2] = {
        {"coopdl_enter", "enter"},
        {"coopdl_try_enter", "try_enter"},
        {"coopdl_exit", "exit"},
    };
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
        rb_alias(monitor, rb_intern(kept[i][0]), rb_intern(kept[i][1]));
        rb_funcall(monitor, rb_intern("private"), 1, ID2SYM(rb_intern(kept[i][0])));
    }
    rb_define_method(monitor, "enter", monitor_enter, 0);
    rb_define_method(monitor, "mon_enter", monitor_enter, 0);
    rb_define_method(monitor, "try_enter", monitor_try_enter, 0);
    rb_define_method(monitor, "mon_try_enter", monitor_try_enter, 0);
    rb_define_method(monitor, "try_mon_enter", monitor_try_enter, 0);
    rb_define_method(monitor, "exit", monitor_exit, 0);
    rb_define_method(monitor, "mon_exit", monitor_exit, 0);
}
