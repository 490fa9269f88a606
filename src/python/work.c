/* SPDX-License-Identifier: Apache-2.0 */
/*
 * work.c -- whether an exception that was raised is at work, or was swallowed.
 *
 * While it is at work, its thread is left in peace, however long that takes;
 * swallowed, it is raised again.  It is at work
 * - where it is being handled, or is the context of what is: in the thread, or in
 *   a coroutine or generator that it went through and that is suspended in its
 *   clean-up, while the thread runs an event loop;
 * - where the interpreter prints it and ends;
 * - on its way there: destructors run while it unwinds the stack, a Task keeps it
 *   for who awaits the Task.  No place says so.  But it lives, which what was
 *   swallowed mostly does not; so for a moment that is believed.
 *
 * A Ctrl-C that is being handled when the deadline passes is let through: the
 * program that does not end by it is told a moment later.
 */
#include "work.h"

#include "raise.h"

#include <frameobject.h>

#define TRANSIT (10 * COOPDL_MILLISECOND)
#define LONG_TRANSIT (40 * COOPDL_MILLISECOND) /* eight turns of sys.getswitchinterval() */
#define AFTER_INTERRUPT (100 * COOPDL_MILLISECOND)

/* Whether this exception or what it was raised in is one of ours for that entry. */
static bool stems_from(struct module_state *state, PyObject *exception, const struct entry *owner)
{
    /* A chain may be a ring. */
    for (int links = 0; exception && links < 1000; links++) {
        if (!PyExceptionInstance_Check(exception))
            return false;
        PyBaseExceptionObject *base = (PyBaseExceptionObject *)exception;
        if ((PyObject_TypeCheck(exception, (PyTypeObject *)state->exceeded) ||
             PyObject_TypeCheck(exception, (PyTypeObject *)state->insists)) &&
            base->dict && PyDict_GetItemString(base->dict, "scope") == coopdl_py_scope(owner))
            return true;
        exception = base->context;
    }
    return false;
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

/* What a generator or coroutine handles that owns this frame; borrowed, or null. */
static PyObject *handled_in(PyFrameObject *frame)
{
#if PY_VERSION_HEX >= 0x030B0000
    PyObject *generator = PyFrame_GetGenerator(frame);
    Py_XDECREF(generator); /* its frame is held */
#else
    PyObject *generator = frame->f_gen;
#endif
    return generator ? ((PyGenObject *)generator)->gi_exc_state.exc_value : NULL;
}

/* It lives, and was raised a moment ago: a moment of the thread's own time, since it may have to
 * wait for the interpreter's lock where others compute, but not for long. */
static bool has_just_come(const struct thread *thread)
{
    int64_t since = coopdl_now() - atomic_load(&thread->raised_at);
    return atomic_load(&thread->error) && since < LONG_TRANSIT &&
           (since < TRANSIT ||
            coopdl_py_work(thread) - atomic_load(&thread->raised_work) < TRANSIT);
}

/* The exception lives, but the thread does not handle it. */
static bool is_coming(struct module_state *state, const struct thread *thread,
                      const struct entry *owner)
{
    PyObject *error = atomic_load(&thread->error);
    if (!error || !stems_from(state, error, owner))
        return false;
    if (has_just_come(thread))
        return true;
    PyObject *traceback = ((PyBaseExceptionObject *)error)->traceback;
    for (; traceback; traceback = (PyObject *)((PyTracebackObject *)traceback)->tb_next)
        if (stems_from(state, handled_in(((PyTracebackObject *)traceback)->tb_frame), owner))
            return true;
    return false;
}

static bool is_last(struct module_state *state, const struct entry *owner)
{
    PyObject *last = PySys_GetObject("last_value");
    return last && stems_from(state, last, owner);
}

/* A thread that does not stand still: what it is handling is asked of the interpreter. */
static bool is_handled_somewhere(struct module_state *state, const struct thread *thread,
                                 const struct entry *owner)
{
    PyObject *function = PySys_GetObject("_current_exceptions");
    PyObject *all = function ? PyObject_CallNoArgs(function) : NULL;
    PyObject *ident = PyLong_FromUnsignedLong(thread->ident);
    PyObject *exception = all && ident ? PyDict_GetItem(all, ident) : NULL;
    bool found = exception && stems_from(state, exception, owner);
    Py_XDECREF(ident);
    Py_XDECREF(all);
    PyErr_Clear();
    return found;
}

bool coopdl_py_at_work(struct module_state *state, const struct thread *thread,
                       PyThreadState *there, const struct entry *owner)
{
    if (!there)
        return !OTHERS_STAND &&
               (is_handled_somewhere(state, thread, owner) || has_just_come(thread));
    return is_handled(state, there, owner) || is_last(state, owner) ||
           is_coming(state, thread, owner);
}
