/* SPDX-License-Identifier: Apache-2.0 */
/* error.h -- the exceptions, and what they are about. */
#ifndef COOPDL_PYTHON_ERROR_H
#define COOPDL_PYTHON_ERROR_H

#include "explain.h"

/* The exit status of what a deadline has ended, as timeout(1) has it. */
enum { COOPDL_PY_STATUS = 124 };

/* Adds them to the module; -1 with an exception set. */
int coopdl_py_add_errors(PyObject *module, struct module_state *state);

/* Raises what errno says that the library failed with: an OSError, or a RuntimeError, as threading
 * raises it, where no thread can be started, since BlockingIOError, the OSError for EAGAIN, is of
 * something else. */
void coopdl_py_set_errno(void);

/* The scope object that goes on an exception for this entry, or None; borrowed. */
PyObject *coopdl_py_scope(const struct entry *owner);

/* A new exception of this class about that scope, with what is known of its end, or null; null,
 * with another one set, if that fails. */
PyObject *coopdl_py_new_error(PyObject *class, PyObject *scope,
                              const struct explanation *explanation);

/* The class of what is raised inside the body, for this entry. */
PyObject *coopdl_py_reached_class(struct module_state *state, const struct entry *owner);

/* Whether an exception is a DeadlineReached; and whether it, or a DeadlineExceeded, is about this
 * entry. */
bool coopdl_py_is_reached(struct module_state *state, PyObject *exception);
bool coopdl_py_is_about(struct module_state *state, PyObject *exception, PyObject *scope);

#endif
