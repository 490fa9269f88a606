/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.c -- raising where the handlers of the code that is interrupted apply.
 *
 * From 3.11 on handlers are found in a table, by the offset of the instruction
 * that fails.  The interpreter looks at its interrupts on a jump backwards too,
 * and an error there is looked up at the wrong offset: up to 3.12 at the
 * instruction before the jump's target, from 3.13 on at the jump itself.
 * Neither need lie in the `try` or `with` that the loop is in.  It is right to
 * look at the target: the jump has been made, or will be.
 *
 * Where the two differ nothing is raised; instead each instruction of that code
 * is looked at before it is executed (trace.c in 3.11, monitor.c after that), and what is due is
 * raised at one before which the interpreter might have looked: the target of a jump backwards, or
 * what follows a call and is covered by the same handler as the call.  The latter is for a thread
 * that waits in a call: should that end with an error, the next such jump may be of the kind that
 * skips handlers.
 *
 * What must hold: with the interpreter's lock a thread stands still; at a jump
 * or at the beginning of a function it stands where interrupts are looked at.
 * Other threads that run the same code are seen too, and ignored.
 */
#include "place.h"

#if PY_VERSION_HEX >= 0x030B0000 && !defined(Py_GIL_DISABLED)

#include <frameobject.h>
#include <opcode.h>

/* Offsets are in code units of two bytes. */

static unsigned int number(const uint8_t **at)
{
    unsigned int value = **at & 63;
    while (*(*at)++ & 64)
        value = value << 6 | (**at & 63);
    return value;
}

/* Where the handler begins that covers an instruction; -1 for none. */
static int handler_of(PyCodeObject *code, int offset)
{
    const uint8_t *at = (const uint8_t *)PyBytes_AS_STRING(code->co_exceptiontable);
    const uint8_t *end = at + PyBytes_GET_SIZE(code->co_exceptiontable);
    while (at < end) {
        int start = (int)number(&at), length = (int)number(&at), target = (int)number(&at);
        number(&at); /* the depth of the stack */
        if (offset >= start && offset < start + length)
            return target;
    }
    return -1;
}

static bool is_backward(int opcode)
{
    switch (opcode) {
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

static bool is_call(int opcode)
{
    switch (opcode) {
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

/* The units of inline cache behind an instruction. */
static int caches_behind(const uint8_t *bytes, int count, int at)
{
    int caches = 0;
    while (at + 1 + caches < count && bytes[(Py_ssize_t)2 * (at + 1 + caches)] == 0) /* CACHE */
        caches++;
    return caches;
}

/* Where the jump backwards at this offset goes. */
static int target_of(const uint8_t *bytes, int count, int at)
{
    int distance = bytes[2 * at + 1];
    for (int i = 1; i <= 3 && at >= i && bytes[(Py_ssize_t)2 * (at - i)] == EXTENDED_ARG; i++)
        distance |= bytes[2 * (at - i) + 1] << (8 * i);
    return at + 1 + caches_behind(bytes, count, at) - distance;
}

/* Whether that jump is one where handlers are skipped. */
static bool skips(PyCodeObject *code, const uint8_t *bytes, int count, int at)
{
    int target = target_of(bytes, count, at);
#if PY_VERSION_HEX >= 0x030D0000
    int looked_up = at + caches_behind(bytes, count, at);
#else
    int looked_up = target - 1;
#endif
    return handler_of(code, looked_up) != handler_of(code, target);
}

/* Whether code has a jump that skips handlers. */
static bool is_prone(PyCodeObject *code, const uint8_t *bytes, int count)
{
    if (PyBytes_GET_SIZE(code->co_exceptiontable))
        for (int at = 0; at < count; at += 1 + caches_behind(bytes, count, at))
            if (is_backward(bytes[(Py_ssize_t)2 * at]) && skips(code, bytes, count, at))
                return true;
    return false;
}

/* The code of a frame as it was compiled; a new reference, or null without an exception. */
static PyObject *bytes_of(PyCodeObject *code)
{
    PyObject *bytes = PyCode_GetCode(code);
    if (!bytes)
        PyErr_Clear();
    return bytes;
}

static bool frame_is_misplaced(PyFrameObject *frame, bool innermost, bool computing)
{
    PyCodeObject *code = PyFrame_GetCode(frame);
    PyObject *bytes = bytes_of(code);
    bool misplaced = false;
    int at = PyFrame_GetLasti(frame) / 2;
    if (bytes && at >= 0) {
        const uint8_t *compiled = (const uint8_t *)PyBytes_AS_STRING(bytes);
        int count = (int)(PyBytes_GET_SIZE(bytes) / 2), opcode = compiled[(Py_ssize_t)2 * at];
        if (innermost && is_backward(opcode))
            misplaced = skips(code, compiled, count, at);
        else if (innermost && (computing || opcode == RESUME))
            misplaced = false;
        else
            misplaced = is_prone(code, compiled, count);
    }
    Py_XDECREF(bytes);
    Py_DECREF(code);
    return misplaced;
}

bool coopdl_py_misplaced(PyThreadState *there, bool computing)
{
    PyFrameObject *frame = there ? PyThreadState_GetFrame(there) : NULL;
    bool misplaced = frame && frame_is_misplaced(frame, true, computing);
    Py_XDECREF(frame);
    return misplaced;
}

/* Before the instruction at `now`, with the one at `before` executed last: whether this place will
 * do. */
static bool will_do(PyCodeObject *code, int before, int now)
{
    PyObject *bytes = bytes_of(code);
    if (!bytes)
        return true;
    const uint8_t *compiled = (const uint8_t *)PyBytes_AS_STRING(bytes);
    int count = (int)(PyBytes_GET_SIZE(bytes) / 2),
        opcode = before < 0 ? 0 : compiled[(Py_ssize_t)2 * before];
    bool will = (is_backward(opcode) && now == target_of(compiled, count, before)) ||
                (is_call(opcode) && now == before + 1 + caches_behind(compiled, count, before) &&
                 handler_of(code, before) == handler_of(code, now));
    Py_DECREF(bytes);
    return will;
}

int coopdl_py_step(struct thread *thread, PyCodeObject *code, int now)
{
    int before = thread->executed;
    thread->executed = now;
    if (!will_do(code, before, now))
        return 0;
    coopdl_py_forget_place(thread, PyThreadState_Get());
    return coopdl_py_place_reached();
}

PyObject *coopdl_py_code_of(PyThreadState *there, int *executed)
{
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    if (!frame)
        return NULL;
    PyObject *code = (PyObject *)PyFrame_GetCode(frame);
    *executed = PyFrame_GetLasti(frame) / 2;
    Py_DECREF(frame);
    return code;
}

#else

bool coopdl_py_misplaced(PyThreadState *Py_UNUSED(there), bool Py_UNUSED(computing))
{
    return false;
}

#endif
