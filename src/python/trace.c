/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.c -- seeing a thread's instructions and errors, up to 3.11: by a trace
 * function in C, for the moment between an expiry and its exception.
 *
 * Where a debugger traces the thread it keeps it, and exceptions come where the
 * interpreter puts them.  Both wishes share one function: it goes when the last
 * is taken back.
 */
#include "place.h"

#include "code.h"
#include "raise.h"

#ifdef TRACED

#include <frameobject.h>

static int on_trace(PyObject *Py_UNUSED(self), PyFrameObject *frame, int what, PyObject *argument)
{
    struct thread *thread = coopdl_py_self();
    if (thread && what == PyTrace_EXCEPTION)
        return coopdl_py_error_seen(thread, PyTuple_GET_ITEM(argument, 1),
                                    PyTuple_GET_ITEM(argument, 2));
    return thread && what == PyTrace_OPCODE
               ? coopdl_py_step(thread, frame, coopdl_py_code_at(frame))
               : 0;
}

/* The function goes or stays, by what is still wished. */
static bool follow(const struct thread *thread, PyThreadState *there)
{
    bool wished = thread->awaited || thread->watched;
    if (there->c_tracefunc && there->c_tracefunc != on_trace)
        return false;
    if (wished == (there->c_tracefunc == on_trace))
        return true;
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    bool done = _PyEval_SetTrace(there, wished ? on_trace : NULL, NULL) == 0;
    PyErr_Restore(type, error, traceback);
    return done;
}

void coopdl_py_watch_errors(PyObject *Py_UNUSED(module), struct thread *thread,
                            PyThreadState *there)
{
    if (there) {
        thread->watched = true;
        thread->watched = follow(thread, there);
    }
}

void coopdl_py_ignore_errors(struct thread *thread, PyThreadState *there)
{
    if (!thread->watched)
        return;
    thread->watched = false;
    if (there)
        follow(thread, there);
}

bool coopdl_py_await_place(PyObject *Py_UNUSED(module), struct thread *thread, PyThreadState *there)
{
    if (coopdl_py_find_frame(thread, there) &&
        PyObject_SetAttrString(thread->awaited_in, "f_trace_opcodes", Py_True) == 0 &&
        follow(thread, there))
        return true;
    PyErr_Clear();
    Py_CLEAR(thread->awaited);
    return false;
}

void coopdl_py_forget_place(struct thread *thread, PyThreadState *there)
{
    if (!thread->awaited)
        return;
    Py_CLEAR(thread->awaited);
    if (there)
        follow(thread, there);
}

#endif
