/* SPDX-License-Identifier: Apache-2.0 */
/*
 * monitor.c -- watches a thread's instructions and errors, from 3.12 on, by sys.monitoring.
 *
 * sys.monitoring reports every thread that runs the watched code; the callback ignores threads that
 * are not watched.  Its functions are fetched once, in a thread of the program: the raiser calls
 * only functions that the interpreter itself has put there.  If all tool numbers are taken, nothing
 * is watched, the log says so, and calls are cut without an exception.
 */
#include "watch.h"

#include "frames.h"

#ifdef MONITORED

#include <frameobject.h>

enum { NONE = -1 };

static const struct watcher *watcher;
static int tool = NONE; /* our number, in the main interpreter */
static PyObject *set_local_events, *set_events;
static int instruction, raise;

static unsigned int watching; /* how many threads' errors are watched */

static PyObject *call(const char *name, const char *format, ...)
{
    PyObject *function = PyObject_GetAttrString(PySys_GetObject("monitoring"), name);
    va_list list;
    va_start(list, format);
    PyObject *arguments = function ? Py_VaBuildValue(format, list) : NULL;
    va_end(list);
    PyObject *result = arguments ? PyObject_Call(function, arguments, NULL) : NULL;
    Py_XDECREF(arguments);
    Py_XDECREF(function);
    return result;
}

/* The number of an event; -1 with an exception set. */
static int event(const char *name)
{
    PyObject *events = PyObject_GetAttrString(PySys_GetObject("monitoring"), "events");
    PyObject *number = events ? PyObject_GetAttrString(events, name) : NULL;
    int value = number ? (int)PyLong_AsLong(number) : -1;
    Py_XDECREF(number);
    Py_XDECREF(events);
    return value;
}

/* The numbers that are nobody's come first. */
static void take_tool(void)
{
    static const int numbers[] = {4, 3, 5, 2, 1, 0};
    for (size_t i = 0; tool == NONE && i < sizeof(numbers) / sizeof(*numbers); i++) {
        PyObject *taken = call("use_tool_id", "(is)", numbers[i], "coopdl");
        if (taken)
            tool = numbers[i];
        PyErr_Clear();
        Py_XDECREF(taken);
    }
}

static int have_called(PyObject *module, int number, const char *callback_name)
{
    PyObject *callback = PyObject_GetAttrString(module, callback_name);
    PyObject *done = callback ? call("register_callback", "(iiO)", tool, number, callback) : NULL;
    Py_XDECREF(callback);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

int coopdl_py_watch_start(PyObject *module, const struct watcher *ours)
{
    watcher = ours;
    PyObject *monitoring = PySys_GetObject("monitoring");
    if (tool != NONE || !monitoring)
        return 0;
    take_tool();
    if (tool == NONE) {
        coopdl_log(COOPDL_LOG_CUTS,
                   "python: every tool of sys.monitoring is in use: calls are cut, "
                   "but nothing is raised in code that computes");
        return 0;
    }
    Py_XSETREF(set_local_events, PyObject_GetAttrString(monitoring, "set_local_events"));
    Py_XSETREF(set_events, PyObject_GetAttrString(monitoring, "set_events"));
    instruction = event("INSTRUCTION");
    raise = event("RAISE");
    if (!set_local_events || !set_events || instruction < 0 || raise < 0)
        return -1;
    return have_called(module, instruction, "_on_instruction") < 0
               ? -1
               : have_called(module, raise, "_on_raise");
}

/* `events` of this code, or of all with a null one. */
static void set(PyObject *code, int events)
{
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyObject *done = code ? PyObject_CallFunction(set_local_events, "iOi", tool, code, events)
                          : PyObject_CallFunction(set_events, "ii", tool, events);
    Py_XDECREF(done);
    PyErr_Restore(type, error, traceback);
}

static bool is_watched_elsewhere(const PyCodeObject *code)
{
    for (struct thread *t = coopdl_py_next(NULL); t; t = coopdl_py_next(t))
        if (t->watch.code.object == code)
            return true;
    return false;
}

static void look_away(struct thread *thread)
{
    struct code code = thread->watch.code;
    if (!code.object)
        return;
    thread->watch.code.object = NULL;
    thread->watch.code.bytes = NULL;
    thread->watch.frame = NULL;
    if (!is_watched_elsewhere(code.object))
        set((PyObject *)code.object, 0);
    coopdl_py_code_done(&code);
}

/* With the reference to a frame: its instructions are seen from here on. */
static void see(struct thread *thread, PyFrameObject *frame)
{
    if (!frame)
        return;
    set((PyObject *)thread->watch.code.object, instruction);
    Py_DECREF(frame);
}

void coopdl_py_watch_instructions(struct thread *thread, PyThreadState *there)
{
    look_away(thread);
    if (tool != NONE)
        see(thread, coopdl_py_choose_frame(thread, there));
}

void coopdl_py_unwatch_instructions(struct thread *thread, PyThreadState *Py_UNUSED(there))
{
    look_away(thread);
}

/* The watched frame is about to execute the instruction at `now`. */
static int step(struct thread *thread, PyFrameObject *frame, int now)
{
    if (coopdl_py_is_safe(&thread->watch, now))
        return watcher->safe_point(thread);
    if (coopdl_py_code_is_return(&thread->watch.code, now)) {
        PyFrameObject *back = PyFrame_GetBack(frame);
        look_away(thread);
        see(thread, coopdl_py_aim(&thread->watch, back));
    }
    return 0;
}

PyObject *coopdl_py_on_instruction(PyObject *Py_UNUSED(module), PyObject *const *arguments,
                                   Py_ssize_t count)
{
    struct thread *thread = coopdl_py_self();
    PyFrameObject *frame = PyEval_GetFrame();
    if (count == 2 && thread && thread->watch.code.object && frame == thread->watch.frame &&
        step(thread, frame, (int)PyLong_AsLong(arguments[1]) / 2) < 0)
        return NULL;
    Py_RETURN_NONE;
}

void coopdl_py_watch_errors(struct thread *thread, PyThreadState *Py_UNUSED(there))
{
    if (thread->watch.errors || tool == NONE)
        return;
    thread->watch.errors = true;
    if (watching++ == 0)
        set(NULL, raise);
}

void coopdl_py_unwatch_errors(struct thread *thread, PyThreadState *Py_UNUSED(there))
{
    if (!thread->watch.errors)
        return;
    thread->watch.errors = false;
    if (--watching == 0)
        set(NULL, 0);
}

PyObject *coopdl_py_on_raise(PyObject *Py_UNUSED(module), PyObject *const *arguments,
                             Py_ssize_t count)
{
    struct thread *thread = coopdl_py_self();
    if (count != 3 || !thread || !thread->watch.errors)
        Py_RETURN_NONE;
    PyObject *traceback = PyException_GetTraceback(arguments[2]);
    int seen = watcher->error(thread, arguments[2], traceback ? traceback : Py_None);
    Py_XDECREF(traceback);
    return seen < 0 ? NULL : Py_NewRef(Py_None);
}

#endif
