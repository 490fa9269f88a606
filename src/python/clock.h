/* SPDX-License-Identifier: Apache-2.0 */
/* clock.h -- Python's seconds and the library's nanoseconds. */
#ifndef COOPDL_PYTHON_CLOCK_H
#define COOPDL_PYTHON_CLOCK_H

#include "module.h"

/* A duration in seconds, or None; -1 with an exception set for anything else. */
int64_t coopdl_py_read_duration(PyObject *seconds);

/* A time of time.monotonic(), or None; what lies before its beginning is 0; -1 as above. */
int64_t coopdl_py_read_deadline(PyObject *when);

/* Seconds, or None for `never`. */
PyObject *coopdl_py_time(int64_t nanoseconds);

#endif
