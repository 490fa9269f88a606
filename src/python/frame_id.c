/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame_id.c -- what tells the frames of the functions that run apart.
 *
 * From 3.11 on a frame object is made when somebody asks for one, of a frame of the interpreter's:
 * that is what stays the same, and what the thread state has.
 */
#include "frame_id.h"

#include <frameobject.h>

#if PY_VERSION_HEX >= 0x030B0000
#include "internal_frame.h"
#endif

const void *coopdl_py_frame_id(const PyFrameObject *frame)
{
#if PY_VERSION_HEX >= 0x030B0000
    return frame->f_frame;
#else
    return frame;
#endif
}

#if PY_VERSION_HEX >= 0x030E0000
int coopdl_py_frame_stack(PyFrameObject *frame)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    const _PyInterpreterFrame *own = frame->f_frame;
    int locals = code->co_nlocalsplus;
    Py_DECREF(code);
    return own->stackpointer ? (int)(own->stackpointer - own->localsplus) - locals : -1;
}
#endif
