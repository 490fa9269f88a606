/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace.c -- watches a thread's instructions and errors, up to 3.11, by a trace function in C.
 *
 * The trace function of the program (of a debugger, or of coverage) goes on: ours calls it, and its
 * object stays where sys.gettrace() finds it.  If the program sets another trace function
 * meanwhile, ours is put in front of that one at the next look.
 *
 * This file writes the fields of the thread state itself.  The interpreter's function would run the
 * program's audit hooks, on the raiser's thread (rule 1 of expiry.c).
 */
#include "watch.h"

#include "frames.h"

#ifndef MONITORED

#include <frameobject.h>

static const struct watcher *watcher;

int coopdl_py_watch_start(PyObject *Py_UNUSED(module), const struct watcher *ours)
{
    watcher = ours;
    return 0;
}

static void set_opcodes(PyFrameObject *frame, bool on)
{
    if (PyObject_SetAttrString((PyObject *)frame, "f_trace_opcodes", on ? Py_True : Py_False) < 0)
        PyErr_Clear();
}

static bool has_opcodes(PyFrameObject *frame)
{
    PyObject *on = PyObject_GetAttrString((PyObject *)frame, "f_trace_opcodes");
    PyErr_Clear();
    Py_XDECREF(on);
    return on == Py_True;
}

/* With the reference to a frame: its instructions are seen from here on. */
static void see(struct thread *thread, PyFrameObject *frame)
{
    if (!frame)
        return;
    thread->watch.opcodes = has_opcodes(frame);
    set_opcodes(frame, true);
    Py_DECREF(frame);
}

/* No longer, if the frame still exists: then it is on the thread's stack. */
static void look_away(struct thread *thread, PyThreadState *there)
{
    PyFrameObject *frame = there ? PyThreadState_GetFrame(there) : NULL;
    while (frame && frame != thread->watch.frame)
        Py_SETREF(frame, PyFrame_GetBack(frame));
    if (frame && !thread->watch.opcodes)
        set_opcodes(frame, false);
    Py_XDECREF(frame);
    thread->watch.frame = NULL;
    coopdl_py_code_done(&thread->watch.code);
}

static int on_return(struct thread *thread, PyFrameObject *frame)
{
    if (!thread->watch.opcodes)
        set_opcodes(frame, false);
    coopdl_py_code_done(&thread->watch.code);
    see(thread, coopdl_py_aim(&thread->watch, PyFrame_GetBack(frame)));
    return 0;
}

static int ours(struct thread *thread, PyFrameObject *frame, int what, PyObject *argument)
{
    if (what == PyTrace_EXCEPTION)
        return thread->watch.errors ? watcher->error(thread, PyTuple_GET_ITEM(argument, 1),
                                                     PyTuple_GET_ITEM(argument, 2))
                                    : 0;
    if (!thread->watch.code.object || frame != thread->watch.frame)
        return 0;
    if (what == PyTrace_RETURN)
        return on_return(thread, frame);
    if (what != PyTrace_OPCODE || !coopdl_py_is_safe(&thread->watch, coopdl_py_code_at(frame)))
        return 0;
    return watcher->safe_point(thread);
}

static int on_trace(PyObject *object, PyFrameObject *frame, int what, PyObject *argument)
{
    struct thread *thread = coopdl_py_self();
    if (!thread)
        return 0;
    bool asked = what != PyTrace_OPCODE || frame != thread->watch.frame || thread->watch.opcodes;
    if (thread->watch.tracer && asked && thread->watch.tracer(object, frame, what, argument) < 0)
        return -1;
    return ours(thread, frame, what, argument);
}

/* The function goes or stays, by what is still watched. */
static void follow(struct thread *thread, PyThreadState *there)
{
    bool wanted = thread->watch.code.object || thread->watch.errors;
    if (!there)
        return;
    if (wanted && there->c_tracefunc != on_trace) {
        thread->watch.tracer = there->c_tracefunc;
        there->c_tracefunc = on_trace;
    } else if (!wanted && there->c_tracefunc == on_trace) {
        there->c_tracefunc = thread->watch.tracer;
    }
    bool traced = there->c_tracefunc || there->c_profilefunc;
#if PY_VERSION_HEX >= 0x030B0000
    there->cframe->use_tracing = traced && !there->tracing ? 255 : 0;
#else
    there->cframe->use_tracing = traced;
#endif
}

void coopdl_py_watch_instructions(struct thread *thread, PyThreadState *there)
{
    look_away(thread, there);
    see(thread, coopdl_py_choose_frame(thread, there));
    follow(thread, there);
}

void coopdl_py_unwatch_instructions(struct thread *thread, PyThreadState *there)
{
    if (!thread->watch.code.object)
        return;
    look_away(thread, there);
    follow(thread, there);
}

void coopdl_py_watch_errors(struct thread *thread, PyThreadState *there)
{
    thread->watch.errors = true;
    follow(thread, there);
}

void coopdl_py_unwatch_errors(struct thread *thread, PyThreadState *there)
{
    if (!thread->watch.errors)
        return;
    thread->watch.errors = false;
    follow(thread, there);
}

#endif
