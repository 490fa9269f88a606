/* SPDX-License-Identifier: Apache-2.0 */
/*
 * argument.c -- the arguments of a running function.
 *
 * From 3.12 on the interpreter has a function that reads them.  Before 3.12 the dictionary of a
 * frame's locals has them too, but making that dictionary overwrites what a debugger has stored
 * there.  So this file reads the frame itself.
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
