/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handling.c -- whether an exception that was raised is being handled.
 *
 * A thread that handles the exception is not disturbed until the grace is over.  Otherwise the
 * exception was swallowed, and is raised again.  The exception is being handled in these cases:
 * - The interpreter handles it, or handles an exception that has it as a context.  This is looked
 *   up in the thread, and, while the thread runs an event loop, in each coroutine or generator that
 *   the exception went through and that is suspended in its clean-up.
 * - The interpreter prints it and ends, in the main thread.
 * - It is on its way to a handler: destructors run while the stack unwinds, and a Task keeps the
 *   exception for the awaiting coroutine.  The interpreter does not show this state.  But the
 *   exception object exists, and a swallowed exception mostly does not, so the existence counts as
 *   handling for a moment.
 * - The budget is over and the object exists, in the main thread.  A program that has caught the
 *   exception and keeps it is ending itself, as after Ctrl-C, mostly outside any handler: pytest
 *   catches it and then writes its report.  A scope has an end that ends such a program's block;
 *   the budget has none.  In other threads the object may be kept by a Future while the thread goes
 *   on to its next task, so there the existence does not count.
 *
 * A KeyboardInterrupt that is being handled when the deadline passes is not disturbed for a moment.
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
