/* SPDX-License-Identifier: Apache-2.0 */
/* hooks.h -- what the library asks, and the beginning and the end of what is raised. */
#ifndef COOPDL_PYTHON_HOOKS_H
#define COOPDL_PYTHON_HOOKS_H

#include "thread.h"

/* The module of an interpreter is there; -1 with an exception set. */
int coopdl_py_start(PyObject *module, struct module_state *state);

/* What a thread needs before its first scope; -1 with an exception set. */
int coopdl_py_prepare(struct thread *thread);

/* For the module: the end of it all; what a forked child does; the budget is raised from here on.
 */
PyObject *coopdl_py_stop(PyObject *module, PyObject *unused);
PyObject *coopdl_py_after_fork(PyObject *module, PyObject *unused);
PyObject *coopdl_py_install_budget(PyObject *module, PyObject *held);
PyObject *coopdl_py_begin(PyObject *module, PyObject *unused);

#endif
