/* SPDX-License-Identifier: Apache-2.0 */
/* frame_id.h -- what tells the frames of the functions that run apart. */
#ifndef COOPDL_PYTHON_FRAME_ID_H
#define COOPDL_PYTHON_FRAME_ID_H

#include "module.h"

/* The frame that a thread executes, as an address that is only compared: to make an object of it
 * would cost more than to enter a scope.  A generator's frame keeps it while it is suspended.  Null
 * if there is none.  With the GIL. */
static inline const void *coopdl_py_frame_id_now(const PyThreadState *there)
{
#if PY_VERSION_HEX >= 0x030D0000
    return there->current_frame;
#elif PY_VERSION_HEX >= 0x030B0000
    return there->cframe->current_frame;
#else
    return there->frame;
#endif
}

/* Whether C code has called its function, and not the interpreter as it executed another one.  Up
 * to 3.10 C code makes each call. */
bool coopdl_py_frame_is_of_c(const PyFrameObject *frame);

#if PY_VERSION_HEX >= 0x030E0000
/* How many values are on a frame's stack, as the interpreter has last noted it: -1 where it has
 * not.  With the GIL. */
int coopdl_py_frame_stack(PyFrameObject *frame);
#endif

/* What coopdl_py_frame_id_now is of a frame whose function has not returned. */
const void *coopdl_py_frame_id(const PyFrameObject *frame);

#endif
