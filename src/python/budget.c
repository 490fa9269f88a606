/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.c -- the process's deadline, as an exception in its threads.
 *
 * What must hold:
 * 1. The main thread is raised in first.  Its clean-up may need other threads: one that runs an
 *    event loop, or one that writes a log.  The other threads go on uncut for HEAD_START, and for
 *    up to LONGEST while the main thread does not sleep, since a loaded machine takes long to write
 *    a traceback.  They get no such time while the main thread waits for threads to end, in
 *    Thread.join or at the interpreter's end.  So a daemon thread that nobody joins is left behind
 *    as without a budget, and writes nothing while the interpreter ends.
 * 2. A thread that joins another one is raised in only after that one has had its time (JOINS).
 *    Otherwise asyncio hangs: its main thread waits for a thread that joins the executor's threads.
 *    The main thread is raised in at once in a join, except at the interpreter's end (SHUTS_DOWN):
 *    there no code handles the exception, and the main thread waits for nothing but threads.
 * 3. Nothing is raised in a thread outside its run(), where threading starts and ends the thread:
 *    the starting thread waits until the new one has begun, and the end must take the thread off
 *    threading's list.
 *
 * Interleavings.
 * - The main thread comes to its join after a look at another thread.  The next look follows 1, 2,
 *   4 ms later and so on, also during a wait for a lock (wait.c).
 * - The main thread ends, and stops the raiser, while another thread is watched.  That thread finds
 *   nothing due, since coopdl_py_main_state is null.
 *
 * coopdl.pth imports this package while the interpreter imports `site`, where an exception would
 * end the interpreter with a fatal error.  So a budget that ends before `site` is imported is
 * raised a moment later, in the program.  `python -m coopdl` holds the budget until its program
 * begins, since before that no code turns the exception into the exit status 124.  The main thread
 * finds out by itself each time that it looks at our signal: a regular expression in another
 * thread may keep the GIL for ever.
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
