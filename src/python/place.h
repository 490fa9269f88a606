/* SPDX-License-Identifier: Apache-2.0 */
/* place.h -- raising where the handlers of the code that is interrupted apply. */
#ifndef COOPDL_PYTHON_PLACE_H
#define COOPDL_PYTHON_PLACE_H

#include "thread.h"

/* By what a thread's instructions and errors are seen: sys.monitoring, or a trace function. */
#if PY_VERSION_HEX >= 0x030C0000
#define MONITORED
#else
#define TRACED
#endif

/* Whether the interpreter would look in the wrong place for handlers if it raised in that thread
 * now (`computing`), or at the next place where it may. */
bool coopdl_py_misplaced(PyThreadState *there, bool computing);

/* Whether that thread is in a function that takes something for its caller or gives it back, such
 * as `__enter__`, `__exit__` and `__del__`. */
bool coopdl_py_between(PyThreadState *there);

/* Has coopdl_py_place_reached called in that thread as soon as its code is at a place that will
 * do.  False, without an exception, if that cannot be had. */
bool coopdl_py_await_place(PyObject *module, struct thread *thread, PyThreadState *there);

/* Has the next error of that thread replaced by what is due: a call that was cut fails before the
 * interpreter looks at its interrupts, and what is due would come in the middle of the `finally`
 * or `except` that this error leads to. */
void coopdl_py_watch_errors(PyObject *module, struct thread *thread, PyThreadState *there);
void coopdl_py_ignore_errors(struct thread *thread, PyThreadState *there);

/* Takes coopdl_py_await_place back. */
void coopdl_py_forget_place(struct thread *thread, PyThreadState *there);

#ifdef MONITORED
/* What sys.monitoring calls. */
PyObject *coopdl_py_on_instruction(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *coopdl_py_on_raise(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
#endif

/* For trace.c and monitor.c: sets the frame in which a place is looked for; false if there is none.
 */
bool coopdl_py_find_frame(struct thread *thread, PyThreadState *there);

/* The thread is about to execute an instruction of a frame; -1 with an exception set if it is to
 * go no further. */
int coopdl_py_step(struct thread *thread, PyFrameObject *frame, int now);

#endif
