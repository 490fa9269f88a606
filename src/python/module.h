/* SPDX-License-Identifier: Apache-2.0 */
/* module.h -- what the files of the extension share. */
#ifndef COOPDL_PYTHON_MODULE_H
#define COOPDL_PYTHON_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "coopdl.h"

#include <stdbool.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* One for each interpreter that imports the module. */
struct module_state {
    PyTypeObject *timeout;
    PyTypeObject *shield;
    PyTypeObject *bound;  /* what `scope.__exit__` is */
    PyTypeObject *method; /* what a `with` statement looks up in the type */
    PyObject *exceeded;   /* DeadlineExceeded */
    PyObject *reached;    /* DeadlineReached */
    PyObject *interrupt;  /* the same, for a budget: a KeyboardInterrupt */
    PyObject *empty;      /* _queue.Empty, once it is needed (wait.c) */
};

#endif
