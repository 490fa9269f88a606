/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.c -- the process's deadline, as it is raised in its threads.
 *
 * What must hold:
 * 1. The main thread comes first.  Its clean-up may need other threads: an event loop, or one that
 *    writes a log.  They go on, uncut, for HEAD_START, and for up to LONGEST while it does not
 *    sleep: on a loaded machine it takes its time to write its traceback.  But not while it waits
 *    for threads to end: in Thread.join, or at the interpreter's end.  So a daemon that nobody
 *    waits for is left behind as ever, and does not write while the interpreter ends.
 * 2. Who waits for a thread to end is not raised in before that thread has had its time (JOINS):
 *    else asyncio, whose main thread waits for one that joins its executor's, would wait for ever.
 *    The main thread is raised in at once, but at the interpreter's end (SHUTS_DOWN): there nobody
 *    handles what is raised, and other threads are all that is waited for.
 * 3. Nothing is raised in a thread outside of its run(), where threading begins and ends it: who
 *    starts it waits for it to have begun, and it is to be taken off the list of threads.
 *
 * Interleavings.  The main thread comes to its join after a look at another thread: the next look
 * is 1, 2, 4 ms later and so on, in the wait for a lock (wait.c) too.  It ends, and stops the
 * raiser, while another thread is watched: that finds nothing due (coopdl_py_main_state is null).
 *
 * coopdl.pth imports this package while the interpreter imports `site`, where an exception is a
 * fatal error of its start.  So a budget that ends before that is done is raised a moment later, in
 * the program.  `python -m coopdl` holds it until its program begins: before that nobody would turn
 * the exception into the exit status 124.  The main thread finds out itself, each time that it
 * looks at our signal: nobody waits for another thread to do so, since a regular expression may
 * keep the GIL for ever.
 */
#include "budget.h"

#include "activity.h"
#include "frames.h"

#include <frameobject.h>
#include <unistd.h>

#define HEAD_START (250 * COOPDL_MILLISECOND)
#define LONGEST (2 * COOPDL_SECOND)
#define JOINS (LONGEST + COOPDL_SECOND)
#define SHUTS_DOWN COOPDL_SECOND

static _Atomic bool started, held;

void coopdl_py_hold_budget(bool hold)
{
    atomic_store(&held, hold);
}

/* As the import system marks a module that it is not done with. */
static bool is_being_imported(const char *name)
{
    PyObject *modules = PyImport_GetModuleDict(), *module = PyDict_GetItemString(modules, name);
    PyObject *spec = module ? PyObject_GetAttrString(module, "__spec__") : NULL;
    PyObject *mark = spec ? PyObject_GetAttrString(spec, "_initializing") : NULL;
    bool is = mark == Py_True;
    Py_XDECREF(mark);
    Py_XDECREF(spec);
    PyErr_Clear();
    return is;
}

/* Whether a line of a program's is being executed, or of a module that it imports.  Between the end
 * of `site` and the first line there are frames of the import system alone, and nobody who would
 * handle the exception: `site` has just lost its mark, or `runpy` is imported. */
static bool is_in_program(void)
{
    static const char imports[] = "<frozen importlib";
    PyFrameObject *frame = PyThreadState_GetFrame(PyThreadState_Get());
    bool is = false;
    while (frame && !is) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        const char *file = PyUnicode_AsUTF8(code->co_filename);
        is = file && strncmp(file, imports, sizeof(imports) - 1) != 0;
        Py_DECREF(code);
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    Py_XDECREF(frame);
    PyErr_Clear();
    return is;
}

bool coopdl_py_started(void)
{
    if (!atomic_load(&started) && !atomic_load(&held) && !is_being_imported("site") &&
        is_in_program())
        atomic_store(&started, true);
    return atomic_load(&started);
}

bool coopdl_py_is_started(void)
{
    return atomic_load(&started);
}

static bool joins(PyThreadState *there)
{
    PyObject *joined = coopdl_py_joined(there);
    Py_XDECREF(joined);
    return joined;
}

/* Whether the main thread has clean-up to do, `since` ns after the budget's end. */
static bool main_goes_on(int64_t since)
{
    const struct thread *main = since < LONGEST ? coopdl_py_find(getpid()) : NULL;
    PyThreadState *there = main && main->kind == KIND_MAIN ? coopdl_py_state(main) : NULL;
    return there && !joins(there) && !coopdl_py_shuts_down(there) &&
           (since < HEAD_START || !coopdl_py_sleeps(main));
}

const char *coopdl_py_budget_waits(const struct thread *thread, PyThreadState *there, int64_t now)
{
    int64_t since = now - atomic_load(&thread->budget.deadline);
    if (thread->kind == KIND_MAIN)
        return since < SHUTS_DOWN && coopdl_py_shuts_down(there) ? "waits for other threads" : NULL;
    if (coopdl_py_is_outside_run(there))
        return "the thread begins or ends";
    if (main_goes_on(since))
        return "the main thread comes first";
    return since < JOINS && joins(there) ? "waits for a thread that is inside this deadline too"
                                         : NULL;
}
