/* SPDX-License-Identifier: Apache-2.0 */
/* raise.h -- how an expiry becomes an exception. */
#ifndef COOPDL_PYTHON_RAISE_H
#define COOPDL_PYTHON_RAISE_H

#include "thread.h"

/* What a thread needs before its first scope.  -1 with an exception set. */
int coopdl_py_prepare(struct thread *thread);

/* Raises DeadlineExceeded for an entry, here and now; `owner` null: for a deadline that was not
 * set from Python.  `cause` may be null. */
void coopdl_py_raise(struct module_state *state, struct entry *owner, PyObject *cause);

/* This exception for this entry is raised: until it is swallowed nothing is cut. */
void coopdl_py_raised(struct thread *thread, struct entry *owner, PyObject *error);

/* The context object that goes on the exception, or None; borrowed. */
PyObject *coopdl_py_scope(const struct entry *owner);

/* Takes back what is on its way to the calling thread. */
void coopdl_py_cancel(struct thread *thread);

/* For the module: `expired` as Python's signal handler, and the end of it all. */
PyObject *coopdl_py_on_signal(PyObject *module, PyObject *arguments);
PyObject *coopdl_py_stop(PyObject *module, PyObject *unused);
PyObject *coopdl_py_after_fork(PyObject *module, PyObject *unused);

/* The module of the main interpreter is there. */
int coopdl_py_start(PyObject *module, struct module_state *state);

/* Without the interpreter's lock (free-threaded builds) the raiser and a thread that enters or
 * leaves are kept apart by a lock of their own. */
#ifdef Py_GIL_DISABLED
void coopdl_py_lock(void);
void coopdl_py_unlock(void);
#else
static inline void coopdl_py_lock(void)
{
}
static inline void coopdl_py_unlock(void)
{
}
#endif

#endif
