/* SPDX-License-Identifier: Apache-2.0 */
/*
 * frame_id.c -- an identity for the frame of a running function, and what only the interpreter's
 * own frame says.
 *
 * From 3.11 on the interpreter makes a frame object only on request.  The interpreter's own frame,
 * which the thread state points to, stays the same and serves as the identity.
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

bool coopdl_py_frame_is_of_c(const PyFrameObject *frame)
{
#if PY_VERSION_HEX >= 0x030E0000
    const _PyInterpreterFrame *previous = frame->f_frame->previous;
    return !previous || previous->owner >= FRAME_OWNED_BY_INTERPRETER;
#elif PY_VERSION_HEX >= 0x030C0000
    const _PyInterpreterFrame *previous = frame->f_frame->previous;
    return !previous || previous->owner == FRAME_OWNED_BY_CSTACK;
#elif PY_VERSION_HEX >= 0x030B0000
    return frame->f_frame->is_entry;
#else
    (void)frame;
    return true;
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
