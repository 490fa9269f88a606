/* SPDX-License-Identifier: Apache-2.0 */
/*
 * code.c -- what compiled code says: jumps, calls, handlers.
 *
 * Up to 3.10 handlers are found on a stack that the frame keeps, from 3.11 on
 * in a table; jumps backwards have an absolute target, or opcodes of their own.
 */
#include "code.h"

#include <frameobject.h>
#include <opcode.h>

#if PY_VERSION_HEX >= 0x030B0000

static PyObject *bytes_of(PyCodeObject *object)
{
    return PyCode_GetCode(object);
}

int coopdl_py_code_at(PyFrameObject *frame)
{
    int at = PyFrame_GetLasti(frame);
    return at < 0 ? -1 : at / 2;
}

int coopdl_py_code_next(const struct code *code, int at)
{
    do
        at++;
    while (at < code->count && code->units[(Py_ssize_t)2 * at] == 0); /* CACHE */
    return at;
}

bool coopdl_py_code_is_backward(const struct code *code, int at)
{
    switch (coopdl_py_code_opcode(code, at)) {
    case JUMP_BACKWARD:
#ifdef POP_JUMP_BACKWARD_IF_TRUE
    case POP_JUMP_BACKWARD_IF_TRUE:
    case POP_JUMP_BACKWARD_IF_FALSE:
    case POP_JUMP_BACKWARD_IF_NONE:
    case POP_JUMP_BACKWARD_IF_NOT_NONE:
#endif
        return true;
    default:
        return false;
    }
}

bool coopdl_py_code_is_call(const struct code *code, int at)
{
    switch (coopdl_py_code_opcode(code, at)) {
    case CALL:
    case CALL_FUNCTION_EX:
#ifdef CALL_KW
    case CALL_KW:
#endif
        return true;
    default:
        return false;
    }
}

bool coopdl_py_code_is_with(const struct code *code, int at)
{
    return coopdl_py_code_opcode(code, at) == BEFORE_WITH;
}

static unsigned int number(const uint8_t **at)
{
    unsigned int value = **at & 63;
    while (*(*at)++ & 64)
        value = value << 6 | (**at & 63);
    return value;
}

int coopdl_py_code_handler(const struct code *code, int offset)
{
    PyObject *table = code->object->co_exceptiontable;
    const uint8_t *at = (const uint8_t *)PyBytes_AS_STRING(table);
    const uint8_t *end = at + PyBytes_GET_SIZE(table);
    while (at < end) {
        int start = (int)number(&at), length = (int)number(&at), target = (int)number(&at);
        number(&at); /* the depth of the stack */
        if (offset >= start && offset < start + length)
            return target;
    }
    return -1;
}

#else

static PyObject *bytes_of(PyCodeObject *object)
{
    return Py_NewRef(object->co_code);
}

int coopdl_py_code_at(PyFrameObject *frame)
{
    return frame->f_lasti;
}

int coopdl_py_code_next(const struct code *Py_UNUSED(code), int at)
{
    return at + 1;
}

bool coopdl_py_code_is_backward(const struct code *code, int at)
{
    switch (coopdl_py_code_opcode(code, at)) {
    case JUMP_ABSOLUTE:
    case POP_JUMP_IF_TRUE:
    case POP_JUMP_IF_FALSE:
        return coopdl_py_code_target(code, at) <= at;
    default:
        return false;
    }
}

bool coopdl_py_code_is_call(const struct code *code, int at)
{
    switch (coopdl_py_code_opcode(code, at)) {
    case CALL_FUNCTION:
    case CALL_FUNCTION_KW:
    case CALL_FUNCTION_EX:
    case CALL_METHOD:
        return true;
    default:
        return false;
    }
}

bool coopdl_py_code_is_with(const struct code *code, int at)
{
    return coopdl_py_code_opcode(code, at) == SETUP_WITH;
}

int coopdl_py_code_handler(const struct code *Py_UNUSED(code), int Py_UNUSED(at))
{
    return -1;
}

#endif

bool coopdl_py_code_read(struct code *code, PyCodeObject *object)
{
    code->object = object;
    code->bytes = bytes_of(object);
    if (!code->bytes) {
        PyErr_Clear();
        return false;
    }
    code->units = (const uint8_t *)PyBytes_AS_STRING(code->bytes);
    code->count = (int)(PyBytes_GET_SIZE(code->bytes) / 2);
    return true;
}

void coopdl_py_code_done(struct code *code)
{
    Py_DECREF(code->bytes);
}

int coopdl_py_code_opcode(const struct code *code, int at)
{
    return at < 0 || at >= code->count ? -1 : code->units[(Py_ssize_t)2 * at];
}

int coopdl_py_code_target(const struct code *code, int at)
{
    int argument = code->units[2 * at + 1];
    for (int i = 1; i <= 3 && at >= i && code->units[(Py_ssize_t)2 * (at - i)] == EXTENDED_ARG; i++)
        argument |= code->units[2 * (at - i) + 1] << (8 * i);
#if PY_VERSION_HEX >= 0x030B0000
    return coopdl_py_code_next(code, at) - argument;
#else
    return argument;
#endif
}
