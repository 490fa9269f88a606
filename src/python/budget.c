/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.c -- the process's deadline, as it is raised in the main thread.
 *
 * coopdl.pth imports this package while the interpreter imports `site`, where an exception is a
 * fatal error of its start.  So a budget that ends before that is done is raised a moment later, in
 * the program.  `python -m coopdl` holds it until its program begins: before that nobody would turn
 * the exception into the exit status 124.  The main thread finds out itself, each time that it
 * looks at our signal: nobody waits for another thread to do so, since a regular expression may
 * keep the GIL for ever.
 */
#include "budget.h"

#include <frameobject.h>

struct entry coopdl_py_budget = {.deadline = COOPDL_NEVER, .overdue = COOPDL_NEVER};

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
