/* SPDX-License-Identifier: Apache-2.0 */
/* raise.h -- how an expiry becomes an exception. */
#ifndef COOPDL_PYTHON_RAISE_H
#define COOPDL_PYTHON_RAISE_H

#include "thread.h"

/* Raises DeadlineExceeded for an entry, here and now; `owner` null: for a deadline that was not
 * set from Python.  `cause` may be null. */
void coopdl_py_raise(struct module_state *state, struct entry *owner, PyObject *cause);

/* This exception for this entry is raised: until it is swallowed nothing is cut. */
void coopdl_py_raised(struct thread *thread, struct entry *owner, PyObject *error);

/* The context object that goes on the exception, or None; borrowed. */
PyObject *coopdl_py_scope(const struct entry *owner);

/* Where a place that was awaited is reached (place.c): raises what is due in the calling thread; -1
 * with an exception set, 0 if nothing is. */
int coopdl_py_place_reached(void);

/* Where an error has come up (place.c): raises what is due in its place; -1 if so. */
int coopdl_py_error_seen(struct thread *thread, PyObject *error, PyObject *traceback);

/* For the module: Python's signal handler. */
PyObject *coopdl_py_on_signal(PyObject *module, PyObject *arguments);

#endif
