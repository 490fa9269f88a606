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

int coopdl_py_code_calling(const struct code *code, int at)
{
    while (at > 0 && coopdl_py_code_opcode(code, at) == 0) /* CACHE */
        at--;
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

#ifdef BEFORE_WITH
bool coopdl_py_code_is_with(const struct code *code, int at)
{
    return coopdl_py_code_opcode(code, at) == BEFORE_WITH;
}
#else
/* From 3.14 on a `with` loads `__enter__`, by a number, and calls it. */
bool coopdl_py_code_is_with(const struct code *code, int at)
{
    enum { ENTER = 0 };
    return coopdl_py_code_opcode(code, at) == CALL && code->units[2 * at + 1] == 0 &&
           coopdl_py_code_opcode(code, at - 1) == LOAD_SPECIAL && code->units[2 * at - 1] == ENTER;
}
#endif

static unsigned int number(const uint8_t **at)
{
    unsigned int value = **at & 63;
    while (*(*at)++ & 64)
        value = value << 6 | (**at & 63);
    return value;
}

/* Where the handler begins, and how many values it leaves on the stack. */
static int find_handler(const struct code *code, int offset, int *depth)
{
    PyObject *table = code->object->co_exceptiontable;
    const uint8_t *at = (const uint8_t *)PyBytes_AS_STRING(table);
    const uint8_t *end = at + PyBytes_GET_SIZE(table);
    while (at < end) {
        int start = (int)number(&at), length = (int)number(&at), target = (int)number(&at);
        *depth = (int)(number(&at) >> 1); /* behind it a flag */
        if (offset >= start && offset < start + length)
            return target;
    }
    return -1;
}

int coopdl_py_code_handler(const struct code *code, int offset)
{
    int depth;
    return find_handler(code, offset, &depth);
}

int coopdl_py_code_depth(const struct code *code, int offset)
{
    int depth;
    return find_handler(code, offset, &depth) < 0 ? -1 : depth;
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

int coopdl_py_code_calling(const struct code *Py_UNUSED(code), int at)
{
    return at;
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

bool coopdl_py_code_is_with(const struct code *code, int at)
{
    return coopdl_py_code_opcode(code, at) == SETUP_WITH;
}

int coopdl_py_code_handler(const struct code *Py_UNUSED(code), int Py_UNUSED(at))
{
    return -1;
}

#endif

bool coopdl_py_code_is_return(const struct code *code, int at)
{
    switch (coopdl_py_code_opcode(code, at)) {
    case RETURN_VALUE:
    case YIELD_VALUE:
#ifdef RETURN_CONST
    case RETURN_CONST:
#endif
#ifdef RETURN_GENERATOR
    case RETURN_GENERATOR:
#endif
        return true;
    default:
        return false;
    }
}

bool coopdl_py_code_is_call(const struct code *code, int at)
{
    switch (coopdl_py_code_opcode(code, at)) {
    case CALL_FUNCTION_EX:
    case FOR_ITER:
    case GET_ITER:
    case COMPARE_OP:
    case CONTAINS_OP:
    case LOAD_ATTR:
    case STORE_ATTR:
    case STORE_SUBSCR:
    case DELETE_SUBSCR:
    case IMPORT_NAME:
    case UNPACK_SEQUENCE:
    case LIST_EXTEND:
#ifdef BINARY_SUBSCR
    case BINARY_SUBSCR:
#endif
#ifdef LOAD_METHOD
    case LOAD_METHOD:
#endif
#if PY_VERSION_HEX >= 0x030B0000
    case RESUME:
    case SEND:
    case CALL:
    case BINARY_OP:
#ifdef PRECALL
    case PRECALL: /* where it is specialized it makes the call itself */
#endif
#ifdef CALL_KW
    case CALL_KW:
#endif
#else
    case CALL_FUNCTION:
    case CALL_FUNCTION_KW:
    case CALL_METHOD:
    case YIELD_FROM:
    case BINARY_ADD:
    case BINARY_SUBTRACT:
    case BINARY_MULTIPLY:
    case BINARY_POWER:
    case BINARY_MODULO:
    case BINARY_FLOOR_DIVIDE:
    case INPLACE_ADD:
    case INPLACE_MULTIPLY:
#endif
        return true;
    default:
        return false;
    }
}

bool coopdl_py_code_read(struct code *code, PyFrameObject *frame)
{
    code->object = PyFrame_GetCode(frame);
    code->bytes = bytes_of(code->object);
    if (!code->bytes) {
        PyErr_Clear();
        Py_CLEAR(code->object);
        return false;
    }
    code->units = (const uint8_t *)PyBytes_AS_STRING(code->bytes);
    code->count = (int)(PyBytes_GET_SIZE(code->bytes) / 2);
    return true;
}

void coopdl_py_code_done(struct code *code)
{
    Py_CLEAR(code->bytes);
    Py_CLEAR(code->object);
}

int coopdl_py_code_opcode(const struct code *code, int at)
{
    return at < 0 || at >= code->count ? -1 : code->units[(Py_ssize_t)2 * at];
}

/* The number of arguments of a call; below 0 for any other instruction. */
static int arguments_of_call(const struct code *code, int at)
{
    switch (coopdl_py_code_opcode(code, at)) {
#if PY_VERSION_HEX >= 0x030B0000
    case CALL:
#else
    case CALL_FUNCTION:
    case CALL_METHOD:
#endif
        return code->units[2 * at + 1];
    default:
        return -1;
    }
}

/* Whether an instruction may stand between the load of a function and its call. */
static bool prepares_call(const struct code *code, int at)
{
    switch (coopdl_py_code_opcode(code, at)) {
#ifdef PUSH_NULL
    case PUSH_NULL:
#endif
#ifdef PRECALL
    case PRECALL:
#endif
        return true;
    default:
        return false;
    }
}

/* The index of the name that an instruction loads; below 0 if it loads none. */
static int loaded_name(const struct code *code, int at)
{
    int argument = code->units[2 * at + 1];
    if (at > 0 && code->units[2 * at - 2] == EXTENDED_ARG)
        argument |= code->units[2 * at - 1] << 8;
    switch (coopdl_py_code_opcode(code, at)) {
    case LOAD_NAME:
#ifdef LOAD_METHOD
    case LOAD_METHOD:
#endif
        return argument;
    case LOAD_ATTR: /* with a flag in the lowest bit, in some versions */
        return PY_VERSION_HEX >= 0x030C0000 ? argument >> 1 : argument;
    case LOAD_GLOBAL:
        return PY_VERSION_HEX >= 0x030B0000 ? argument >> 1 : argument;
    default:
        return -1;
    }
}

enum { BEFORE = 3 };

/* The instructions before one, the nearest first, but for those that only prepare a call; -1 where
 * there are none. */
static void find_before(const struct code *code, int at, int before[BEFORE])
{
    for (int i = 0; i < BEFORE; i++)
        before[i] = -1;
    for (int i = 0; i < at; i = coopdl_py_code_next(code, i)) {
        if (prepares_call(code, i))
            continue;
        before[2] = before[1];
        before[1] = before[0];
        before[0] = i;
    }
}

PyObject *coopdl_py_code_called(const struct code *code, int at)
{
    int before[BEFORE];
    if (arguments_of_call(code, at) != 0)
        return NULL;
    find_before(code, at, before);
    int name = before[0] < 0 ? -1 : loaded_name(code, before[0]);
    PyObject *names = code->object->co_names;
    return name >= 0 && name < PyTuple_GET_SIZE(names) ? PyTuple_GET_ITEM(names, name) : NULL;
}

/* `__exit__` is called with three times None, which no expression loads like this. */
static bool is_exit_call(const struct code *code, int at)
{
#if PY_VERSION_HEX >= 0x030B0000
    const int arguments = PY_VERSION_HEX >= 0x030E0000 ? 3 : 2;
    const int loads[BEFORE] = {LOAD_CONST, LOAD_CONST, LOAD_CONST};
#else
    const int arguments = 3, loads[BEFORE] = {DUP_TOP, DUP_TOP, LOAD_CONST};
#endif
    int before[BEFORE];
    if (arguments_of_call(code, at) != arguments)
        return false;
    find_before(code, at, before);
    for (int i = 0; i < BEFORE; i++)
        if (coopdl_py_code_opcode(code, before[i]) != loads[i])
            return false;
    return true;
}

int coopdl_py_code_after(const struct code *code, int at)
{
    int next = coopdl_py_code_next(code, at);
#ifdef PRECALL
    if (coopdl_py_code_opcode(code, at) == PRECALL)
        next = coopdl_py_code_next(code, next);
#endif
    return next;
}

enum with coopdl_py_code_with(const struct code *code, int at)
{
    if (coopdl_py_code_is_with(code, at))
        return WITH_ENTERS;
    if (coopdl_py_code_opcode(code, at) == WITH_EXCEPT_START || is_exit_call(code, at))
        return WITH_EXITS;
    return WITH_NOTHING;
}

bool coopdl_py_code_passes_on(const struct code *code, int at)
{
    switch (coopdl_py_code_opcode(code, at)) {
    case CALL_FUNCTION_EX:
#if PY_VERSION_HEX < 0x030B0000
    case CALL_FUNCTION:
    case CALL_FUNCTION_KW:
    case CALL_METHOD:
#endif
        return true;
    default:
        return coopdl_py_code_with(code, at) != WITH_NOTHING;
    }
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
