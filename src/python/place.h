/* SPDX-License-Identifier: Apache-2.0 */
/* place.h -- raising where the handlers of the code that is interrupted apply. */
#ifndef COOPDL_PYTHON_PLACE_H
#define COOPDL_PYTHON_PLACE_H

#include "thread.h"

/* Whether the interpreter would look in the wrong place for handlers if it raised in that thread
 * now, or at the next place where it may. */
bool coopdl_py_misplaced(PyThreadState *there, bool computing);

/* Has coopdl_py_place_reached called in that thread as soon as its code is at a place that will
 * do.  False, without an exception, if that cannot be had. */
bool coopdl_py_await_place(PyObject *module, struct thread *thread, PyThreadState *there);

/* Takes that back. */
void coopdl_py_forget_place(struct thread *thread, PyThreadState *there);

/* raise.c: raises what is due in the calling thread; -1 with an exception set, 0 if nothing is. */
int coopdl_py_place_reached(void);

/* What sys.monitoring calls. */
PyObject *coopdl_py_on_instruction(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

#endif
