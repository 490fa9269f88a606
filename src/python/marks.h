/* SPDX-License-Identifier: Apache-2.0 */
/* marks.h -- the interpreter's marks of the signals that wait for the main thread. */
#ifndef COOPDL_PYTHON_MARKS_H
#define COOPDL_PYTHON_MARKS_H

#include "thread.h"

enum { SIGNALS = 64 };

/* With the GIL: whether the marks are where they are looked for.  `signal` is a signal of which
 * `handler` is Python's handler. */
bool coopdl_py_marks_find(int signal, PyObject *handler);

/* Whether a signal was marked; then it is marked if `set`.  By the holder of the GIL, for signals
 * from 1 to SIGNALS; async-signal-safe. */
bool coopdl_py_mark_exchange(int signal, bool set);

#endif
