/* SPDX-License-Identifier: Apache-2.0 */
/*
 * argument.c -- what a function that runs was called with.
 *
 * From 3.12 on the interpreter has a function for that.  Before, the dictionary of a frame's locals
 * would do, but making it undoes what a debugger has written there: so the frame itself is read.
 */
#include "argument.h"

#include <frameobject.h>

#if PY_VERSION_HEX >= 0x030C0000

PyObject *coopdl_py_argument(PyFrameObject *frame, int n)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *names = n < code->co_argcount ? PyCode_GetVarnames(code) : NULL;
    PyObject *value = names && n < PyTuple_GET_SIZE(names)
                          ? PyFrame_GetVar(frame, PyTuple_GET_ITEM(names, n))
                          : NULL;
    Py_XDECREF(names);
    Py_DECREF(code);
    PyErr_Clear();
    return value;
}

#else

#if PY_VERSION_HEX >= 0x030B0000

#include "internal_frame.h"

static PyObject **locals_of(PyFrameObject *frame)
{
    return frame->f_frame->localsplus;
}

#else

static PyObject **locals_of(PyFrameObject *frame)
{
    return frame->f_localsplus;
}

#endif

PyObject *coopdl_py_argument(PyFrameObject *frame, int n)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *value = n < code->co_argcount ? locals_of(frame)[n] : NULL;
    Py_DECREF(code);
    /* An argument that an inner function uses is in a cell. */
    if (value && PyCell_Check(value))
        value = PyCell_GET(value);
    return Py_XNewRef(value);
}

#endif
