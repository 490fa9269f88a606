/* SPDX-License-Identifier: Apache-2.0 */
/* internal_frame.h -- the frame of the interpreter's that a frame object is of, from 3.11 on; and
 * what a generator is, from 3.14 on. */
#ifndef COOPDL_PYTHON_INTERNAL_FRAME_H
#define COOPDL_PYTHON_INTERNAL_FRAME_H

#include "module.h"

#define Py_BUILD_CORE
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#include <internal/pycore_frame.h>
#if PY_VERSION_HEX >= 0x030E0000
#include <internal/pycore_interpframe_structs.h>
#endif
#pragma GCC diagnostic pop

#endif
