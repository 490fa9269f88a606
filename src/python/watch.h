/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watch.h -- seeing a thread's instructions and errors, for the moment between an expiry and its
 * exception: by a trace function up to 3.11 (trace.c), by sys.monitoring from 3.12 on (monitor.c).
 *
 * All functions are for the holder of the GIL, about its own thread or another; `there` is that
 * thread's state.  None of them runs code of the program's, and none leaves an exception.
 */
#ifndef COOPDL_PYTHON_WATCH_H
#define COOPDL_PYTHON_WATCH_H

#include "thread.h"

#if PY_VERSION_HEX >= 0x030C0000
#define MONITORED
#endif

/* What is called in the watched thread; each returns -1 with an exception set, or 0. */
struct watcher {
    int (*safe_point)(struct thread *thread);
    int (*error)(struct thread *thread, PyObject *error, PyObject *traceback);
};

/* Once, in a thread of the program's; -1 with an exception set. */
int coopdl_py_watch_start(PyObject *module, const struct watcher *watcher);

/* Has `safe_point` called as soon as the thread is at one. */
void coopdl_py_watch_instructions(struct thread *thread, PyThreadState *there);
void coopdl_py_unwatch_instructions(struct thread *thread, PyThreadState *there);

/* Has `error` called for each exception that is raised in the thread. */
void coopdl_py_watch_errors(struct thread *thread, PyThreadState *there);
void coopdl_py_unwatch_errors(struct thread *thread, PyThreadState *there);

#ifdef MONITORED
/* What sys.monitoring calls. */
PyObject *coopdl_py_on_instruction(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *coopdl_py_on_raise(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
#endif

#endif
