/* SPDX-License-Identifier: Apache-2.0 */
/* argument.h -- what a function that runs was called with. */
#ifndef COOPDL_PYTHON_ARGUMENT_H
#define COOPDL_PYTHON_ARGUMENT_H

#include "module.h"

/* The value that the n-th positional argument of a frame has now, a new reference; null, without an
 * exception, if there is none.  Runs no code of the program's.  With the GIL. */
PyObject *coopdl_py_argument(PyFrameObject *frame, int n);

#endif
