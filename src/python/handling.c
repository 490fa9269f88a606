/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handling.c -- whether an exception that was raised is being handled.
 *
 * While it is, its thread is left alone until the grace is over; if not, it was swallowed, and is
 * raised again.  It is being handled
 * - where the interpreter says so of it, or of an exception in whose context it is: in the thread,
 *   or in a coroutine or generator that it went through and that is suspended in its clean-up,
 * while the thread runs an event loop;
 * - where the interpreter prints it and ends, in the main thread;
 * - on its way to a handler: destructors run while it unwinds the stack, a Task keeps it for the
 *   awaiting coroutine.  The interpreter does not say so.  But the object exists, which a swallowed
 *   exception mostly does not; so for a moment that is believed;
 * - in the main thread where the budget is over and the object exists: a program that caught the
 *   exception and keeps it is ending itself, as after Ctrl-C, mostly outside of any handler. pytest
 *   catches it, and then writes its report.  A scope has an end by which such a block is over; the
 *   budget has none.  In other threads a Future keeps it, and its thread goes on to the next task.
 *
 * A KeyboardInterrupt that is being handled when the deadline passes is left alone for a moment.
 */
#include "handling.h"

#include "activity.h"
#include "error.h"
#include "frames.h"

#include <frameobject.h>

#define TRANSIT (10 * COOPDL_MILLISECOND)
#define LONG_TRANSIT                                                                               \
    (200 * COOPDL_MILLISECOND) /* on a loaded machine it may not run for so long                   \
                                */
#define AFTER_INTERRUPT (100 * COOPDL_MILLISECOND)

bool coopdl_py_stems_from(struct module_state *state, PyObject *exception, PyObject *scope)
{
    /* A chain may be a ring. */
    for (int links = 0; exception && links < 1000; links++) {
        if (!PyExceptionInstance_Check(exception))
            return false;
        if (coopdl_py_is_about(state, exception, scope))
            return true;
        exception = ((PyBaseExceptionObject *)exception)->context;
    }
    return false;
}

static bool stems_from(struct module_state *state, PyObject *exception, const struct entry *owner)
{
    return coopdl_py_stems_from(state, exception, coopdl_py_scope(owner));
}

static bool is_handled(struct module_state *state, PyThreadState *there, const struct entry *owner)
{
    bool grace = atomic_load(&owner->deadline) > coopdl_now() - AFTER_INTERRUPT;
    for (_PyErr_StackItem *item = there->exc_info; item; item = item->previous_item)
        if (item->exc_value &&
            (stems_from(state, item->exc_value, owner) ||
             (grace && PyErr_GivenExceptionMatches(item->exc_value, PyExc_KeyboardInterrupt))))
            return true;
    return false;
}

/* It lives, and was raised a moment ago: a moment of the thread's own time, since it may have to
 * wait for a processor and for the GIL where others compute, but not for long. */
static bool has_just_come(const struct thread *thread)
{
    int64_t since = coopdl_now() - thread->raised_at;
    return atomic_load(&thread->error) && since < LONG_TRANSIT &&
           (since < TRANSIT || coopdl_py_work(thread) - thread->raised_work < TRANSIT);
}

/* The exception lives, but the thread does not handle it. */
static bool is_coming(struct module_state *state, const struct thread *thread,
                      const struct entry *owner)
{
    PyObject *error = atomic_load(&thread->error);
    if (!error || !stems_from(state, error, owner))
        return false;
    if ((owner->budget && thread->kind == KIND_MAIN) || has_just_come(thread))
        return true;
    PyObject *traceback = ((PyBaseExceptionObject *)error)->traceback;
    for (; traceback; traceback = (PyObject *)((PyTracebackObject *)traceback)->tb_next)
        if (stems_from(state, coopdl_py_handled_in(((PyTracebackObject *)traceback)->tb_frame),
                       owner))
            return true;
    return false;
}

static bool is_last(struct module_state *state, const struct entry *owner)
{
    PyObject *last = PySys_GetObject("last_value");
    return last && stems_from(state, last, owner);
}

bool coopdl_py_is_handling(struct module_state *state, const struct thread *thread,
                           PyThreadState *there, const struct entry *owner)
{
    return is_handled(state, there, owner) ||
           (thread->kind == KIND_MAIN && is_last(state, owner)) || is_coming(state, thread, owner);
}
