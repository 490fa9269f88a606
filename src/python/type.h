/* SPDX-License-Identifier: Apache-2.0 */
/* type.h -- timeout, timeout_at, move_on_after and shield as Python sees them. */
#ifndef COOPDL_PYTHON_TYPE_H
#define COOPDL_PYTHON_TYPE_H

#include "module.h"

/* The types; -1 with an exception set. */
int coopdl_py_add_types(PyObject *module, struct module_state *state);

/* For the module: the functions that make scopes of the type timeout. */
PyObject *coopdl_py_timeout_at(PyObject *module, PyObject *const *arguments, Py_ssize_t count,
                               PyObject *names);
PyObject *coopdl_py_move_on_after(PyObject *module, PyObject *const *arguments, Py_ssize_t count,
                                  PyObject *names);
extern const char coopdl_py_timeout_at_doc[], coopdl_py_move_on_after_doc[];

#endif
