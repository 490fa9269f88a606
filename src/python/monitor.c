/* SPDX-License-Identifier: Apache-2.0 */
/*
 * monitor.c -- seeing a thread's instructions and errors, from 3.12 on: by
 * sys.monitoring, for the moment between an expiry and its exception.
 *
 * It tells of all threads; those that are not meant go on.  Where both of the
 * numbers that are nobody's are taken, exceptions come where the interpreter
 * puts them.
 */
#include "place.h"

#include "raise.h"

#ifdef MONITORED

enum { NOT_ASKED = -1, NONE_FREE = -2 };

/* Our number as a tool of sys.monitoring, in the main interpreter. */
static int tool = NOT_ASKED;

/* How many threads' errors are watched. */
static unsigned int watching;

static PyObject *monitoring(void)
{
    return PySys_GetObject("monitoring");
}

static long event(const char *name)
{
    PyObject *events = PyObject_GetAttrString(monitoring(), "events");
    PyObject *number = events ? PyObject_GetAttrString(events, name) : NULL;
    long value = number ? PyLong_AsLong(number) : 0;
    Py_XDECREF(number);
    Py_XDECREF(events);
    return value;
}

static bool have_called(PyObject *module, const char *name, const char *callback_name)
{
    PyObject *callback = PyObject_GetAttrString(module, callback_name);
    PyObject *done = callback ? PyObject_CallMethod(monitoring(), "register_callback", "ilO", tool,
                                                    event(name), callback)
                              : NULL;
    Py_XDECREF(callback);
    Py_XDECREF(done);
    return done;
}

static bool take_tool_once(PyObject *module)
{
    PyObject *done = NULL;
    if (tool != NOT_ASKED)
        return tool != NONE_FREE;
    for (int number = 4; monitoring() && !done && number > 2; number--) {
        done = PyObject_CallMethod(monitoring(), "use_tool_id", "is", number, "coopdl");
        PyErr_Clear();
        tool = number;
    }
    if (!done || !have_called(module, "INSTRUCTION", "_on_instruction") ||
        !have_called(module, "RAISE", "_on_raise"))
        tool = NONE_FREE;
    Py_XDECREF(done);
    PyErr_Clear();
    return tool != NONE_FREE;
}

#ifdef Py_GIL_DISABLED
/* The raiser and the main thread may both want it for the first time. */
static bool take_tool(PyObject *module)
{
    static PyMutex taking;
    PyMutex_Lock(&taking);
    bool taken = take_tool_once(module);
    PyMutex_Unlock(&taking);
    return taken;
}
#else
static bool take_tool(PyObject *module)
{
    return take_tool_once(module);
}
#endif

static bool watch(PyObject *code, long events)
{
    PyObject *done =
        PyObject_CallMethod(monitoring(), "set_local_events", "iOl", tool, code, events);
    Py_XDECREF(done);
    PyErr_Clear();
    return done;
}

bool coopdl_py_await_place(PyObject *module, struct thread *thread, PyThreadState *there)
{
    coopdl_py_forget_place(thread, there);
    if (!take_tool(module))
        return false;
    if (coopdl_py_find_frame(thread, there) && watch(thread->awaited, event("INSTRUCTION")))
        return true;
    Py_CLEAR(thread->awaited);
    return false;
}

static bool awaited_elsewhere(const PyObject *code)
{
    for (struct thread *t = coopdl_py_next(NULL); t; t = coopdl_py_next(t))
        if (t->awaited == code)
            return true;
    return false;
}

void coopdl_py_forget_place(struct thread *thread, PyThreadState *Py_UNUSED(there))
{
    PyObject *code = thread->awaited;
    if (!code)
        return;
    thread->awaited = NULL;
    if (!awaited_elsewhere(code)) {
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
        watch(code, 0);
        PyErr_Restore(type, error, traceback);
    }
    Py_DECREF(code);
}

PyObject *coopdl_py_on_instruction(PyObject *Py_UNUSED(module), PyObject *const *arguments,
                                   Py_ssize_t count)
{
    struct thread *thread = coopdl_py_self();
    if (count == 2 && thread && thread->awaited == arguments[0] &&
        coopdl_py_step(thread, PyEval_GetFrame(), (int)PyLong_AsLong(arguments[1]) / 2) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static void watch_raises(bool on)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyObject *done =
        PyObject_CallMethod(monitoring(), "set_events", "il", tool, on ? event("RAISE") : 0L);
    Py_XDECREF(done);
    PyErr_Restore(type, error, traceback);
}

void coopdl_py_watch_errors(PyObject *module, struct thread *thread,
                            PyThreadState *Py_UNUSED(there))
{
    if (thread->watched || !take_tool(module))
        return;
    thread->watched = true;
    if (watching++ == 0)
        watch_raises(true);
}

void coopdl_py_ignore_errors(struct thread *thread, PyThreadState *Py_UNUSED(there))
{
    if (!thread->watched)
        return;
    thread->watched = false;
    if (--watching == 0)
        watch_raises(false);
}

PyObject *coopdl_py_on_raise(PyObject *Py_UNUSED(module), PyObject *const *arguments,
                             Py_ssize_t count)
{
    struct thread *thread = coopdl_py_self();
    if (count != 3 || !thread || !thread->watched)
        Py_RETURN_NONE;
    PyObject *traceback = PyException_GetTraceback(arguments[2]);
    int seen = coopdl_py_error_seen(thread, arguments[2], traceback ? traceback : Py_None);
    Py_XDECREF(traceback);
    return seen < 0 ? NULL : Py_NewRef(Py_None);
}

#endif
