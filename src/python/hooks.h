/* SPDX-License-Identifier: Apache-2.0 */
/* hooks.h -- the beginning and the end of what is raised. */
#ifndef COOPDL_PYTHON_HOOKS_H
#define COOPDL_PYTHON_HOOKS_H

#include "thread.h"

/* The main interpreter's, while it lives. */
extern struct module_state *_Atomic coopdl_py_main_state;
extern PyObject *_Atomic coopdl_py_main_module;

/* The signal by which the main thread is told; 0: it cannot be yet. */
extern _Atomic int coopdl_py_signal;

/* The module of an interpreter is there; -1 with an exception set. */
int coopdl_py_start(PyObject *module, struct module_state *state);

/* What a thread needs before its first scope; -1 with an exception set. */
int coopdl_py_prepare(struct thread *thread);

/* For the module: the end of it all. */
PyObject *coopdl_py_stop(PyObject *module, PyObject *unused);
PyObject *coopdl_py_after_fork(PyObject *module, PyObject *unused);

#endif
