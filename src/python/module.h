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
    PyTypeObject *timeout_at;
    PyTypeObject *shield;
    PyTypeObject *limited;
    PyObject *exceeded; /* DeadlineExceeded */
    PyObject *insists;  /* DeadlineInsists */
};

/* error.c: the two exceptions; -1 with an exception set. */
int coopdl_py_add_errors(PyObject *module, struct module_state *state);

/* context.c: timeout, timeout_at, shield; limited.c: what a decorated function becomes. */
int coopdl_py_add_contexts(PyObject *module, struct module_state *state);
int coopdl_py_add_limited(PyObject *module, struct module_state *state);

/* A decorated function: `context` says how long it may take. */
PyObject *coopdl_py_limit(struct module_state *state, PyObject *context, PyObject *function);

/* A new context of the same kind with the same limit. */
PyObject *coopdl_py_renew(PyObject *context);

#endif
