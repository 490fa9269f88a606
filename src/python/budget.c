/* SPDX-License-Identifier: Apache-2.0 */
/*
 * budget.c -- the process's deadline, as it is raised in the main thread.
 *
 * coopdl.pth imports this package while the interpreter imports `site`, where an
 * exception is a fatal error of its start.  So until that is done the budget is
 * held back: should it end before, it is raised a moment later, in the program.
 */
#include "budget.h"

struct entry coopdl_py_budget = {.deadline = COOPDL_NEVER};

static _Atomic int64_t held = COOPDL_NEVER;

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

void coopdl_py_hold_budget(int64_t deadline)
{
    atomic_store(&held, deadline);
}

bool coopdl_py_budget_is_held(void)
{
    return atomic_load(&held) != COOPDL_NEVER;
}

void coopdl_py_release_budget(void)
{
    if (coopdl_py_budget_is_held() && !is_being_imported("site"))
        atomic_store(&coopdl_py_budget.deadline, atomic_exchange(&held, COOPDL_NEVER));
}
