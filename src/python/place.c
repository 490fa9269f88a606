/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.c -- raising where the handlers of the code that is interrupted apply.
 *
 * Two kinds of places will not do.
 * - From 3.11 on handlers are found in a table, by the offset of the instruction
 *   that fails.  The interpreter looks at its interrupts on a jump backwards too,
 *   and an error there is looked up at the wrong offset: up to 3.12 at the
 *   instruction before the jump's target, from 3.13 on at the jump itself.
 *   Neither need lie in the `try` or `with` that the loop is in.
 * - In an `__enter__` or `__exit__` that is written in Python (those of
 *   threading.Condition and multiprocessing's locks are), or below it: what it
 *   has taken is given back by nobody until it has returned, and what it has not
 *   given back yet stays taken.  So too in an `acquire` or `release`.  And in a
 *   `__del__` whatever is raised is thrown away.
 *
 * There nothing is raised; instead each instruction of that code, or of the
 * caller of such a function, is looked at before it is executed (trace.c up to
 * 3.11, monitor.c after that), and what is due is raised at one before which the
 * interpreter might have looked: the target of a jump backwards, what follows a
 * call and is covered by the same handler as the call, or the beginning of the
 * body of a `with`.  The second is for a thread that waits in a call: should
 * that end with an error, the next such jump may be of the kind that skips
 * handlers.
 *
 * What waits again and again in such a function, with a time-out
 * (threading.Semaphore.acquire), would not return for long.  What is due is
 * raised there where it goes round its loop, for then it has not got what it
 * waits for.
 *
 * What must hold: with the interpreter's lock a thread stands still; at a jump
 * or at the beginning of a function it stands where interrupts are looked at.
 * Up to 3.12 an asynchronous exception is raised there; from 3.13 on only where
 * they are looked at the next time, so there such a place is always looked for.
 * Other threads that run the same code are seen too, and ignored.
 */
#include "place.h"

#include "code.h"
#include "raise.h"

#include <frameobject.h>
#include <opcode.h>

/* The code of a frame, a new reference, and where the frame is in it. */
static PyCodeObject *enter_code(PyFrameObject *frame, struct code *code, int *at)
{
    PyCodeObject *object = PyFrame_GetCode(frame);
    *at = coopdl_py_code_at(frame);
    if (!coopdl_py_code_read(code, object))
        Py_CLEAR(object);
    return object;
}

static void leave_code(PyCodeObject *object, struct code *code)
{
    coopdl_py_code_done(code);
    Py_DECREF(object);
}

static const char *const takers[] = {"__enter__", "acquire", "enter_context", NULL};
static const char *const givers[] = {"__exit__", "release", "__del__", NULL};

static bool is_one_of(PyFrameObject *frame, const char *const *names)
{
    PyCodeObject *object = PyFrame_GetCode(frame);
    while (*names && PyUnicode_CompareWithASCIIString(object->co_name, *names) != 0)
        names++;
    Py_DECREF(object);
    return *names;
}

/* A function that takes something for its caller, or gives it back. */
static bool hands_over(PyFrameObject *frame)
{
    return is_one_of(frame, takers) || is_one_of(frame, givers);
}

/* The caller of the outermost such function, a new reference; null if there is none. */
static PyFrameObject *receiver(PyThreadState *there)
{
    PyFrameObject *frame = PyThreadState_GetFrame(there), *found = NULL;
    for (int depth = 0; frame && depth < 100; depth++) {
        PyFrameObject *back = PyFrame_GetBack(frame);
        if (back && hands_over(frame))
            Py_XSETREF(found, (PyFrameObject *)Py_NewRef(back));
        Py_SETREF(frame, back);
    }
    Py_XDECREF(frame);
    return found;
}

bool coopdl_py_between(PyThreadState *there)
{
    PyFrameObject *frame = receiver(there);
    Py_XDECREF(frame);
    return frame;
}

/* Whether an instruction is in a loop. */
static bool is_in_loop(const struct code *code, int at)
{
    for (int i = 0; i < code->count; i = coopdl_py_code_next(code, i))
        if (i >= at && coopdl_py_code_is_backward(code, i) && coopdl_py_code_target(code, i) <= at)
            return true;
    return false;
}

static bool goes_round(PyFrameObject *frame)
{
    struct code code;
    int at;
    PyCodeObject *object = enter_code(frame, &code, &at);
    bool does = object && is_in_loop(&code, at);
    if (object)
        leave_code(object, &code);
    return does;
}

/* The innermost frame that is in a loop, in a function that takes something or below one; a new
 * reference, or null. */
static PyFrameObject *taker(PyThreadState *there)
{
    PyFrameObject *frame = PyThreadState_GetFrame(there), *found = NULL;
    for (int depth = 0; frame && depth < 100 && !hands_over(frame); depth++) {
        if (!found && goes_round(frame))
            found = (PyFrameObject *)Py_NewRef(frame);
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    if (!frame || !is_one_of(frame, takers))
        Py_CLEAR(found);
    else if (!found && goes_round(frame))
        found = (PyFrameObject *)Py_NewRef(frame);
    Py_XDECREF(frame);
    return found;
}

#if PY_VERSION_HEX >= 0x030D0000

/* Whether a frame reaches a place of its own before it returns: it is in a call, or has a loop. */
static bool has_place(PyFrameObject *frame)
{
    struct code code;
    int at;
    PyCodeObject *object = enter_code(frame, &code, &at);
    if (!object)
        return false;
    bool has = coopdl_py_code_is_call(&code, at);
    for (int i = 0; !has && i < code.count; i = coopdl_py_code_next(&code, i))
        has = coopdl_py_code_is_backward(&code, i);
    leave_code(object, &code);
    return has;
}

#else

/* In a tight loop, or in a call. */
static bool has_place(PyFrameObject *Py_UNUSED(frame))
{
    return true;
}

#endif

/* The frame in which a place is looked for, a new reference, or null. */
static PyFrameObject *frame_of(PyThreadState *there)
{
    PyFrameObject *frame = receiver(there);
    if (frame)
        return frame;
    frame = PyThreadState_GetFrame(there);
    PyFrameObject *back = frame && !has_place(frame) ? PyFrame_GetBack(frame) : NULL;
    if (back)
        Py_SETREF(frame, back);
    return frame;
}

bool coopdl_py_find_frame(struct thread *thread, PyThreadState *there)
{
    PyFrameObject *frame = thread->hold.waits ? taker(there) : NULL;
    thread->goes_round = frame;
    if (!frame)
        frame = frame_of(there);
    Py_CLEAR(thread->awaited);
    thread->awaited_in = frame;
    if (!frame)
        return false;
    thread->awaited = (PyObject *)PyFrame_GetCode(frame);
    thread->executed = coopdl_py_code_at(frame);
    Py_DECREF(frame);
    return true;
}

#if PY_VERSION_HEX >= 0x030B0000

/* Whether that jump is one where handlers are skipped. */
static bool skips(const struct code *code, int at)
{
    int target = coopdl_py_code_target(code, at);
#if PY_VERSION_HEX >= 0x030D0000
    int looked_up = coopdl_py_code_next(code, at) - 1;
#else
    int looked_up = target - 1;
#endif
    return coopdl_py_code_handler(code, looked_up) != coopdl_py_code_handler(code, target);
}

/* Whether code has a jump that skips handlers. */
static bool is_prone(const struct code *code)
{
    if (PyBytes_GET_SIZE(code->object->co_exceptiontable))
        for (int at = 0; at < code->count; at = coopdl_py_code_next(code, at))
            if (coopdl_py_code_is_backward(code, at) && skips(code, at))
                return true;
    return false;
}

static bool is_misplaced(const struct code *code, int at, bool computing)
{
    if (at < 0)
        return false;
    if (PY_VERSION_HEX >= 0x030D0000 && !computing)
        return true;
    if (coopdl_py_code_is_backward(code, at))
        return skips(code, at);
    return !computing && coopdl_py_code_opcode(code, at) != RESUME && is_prone(code);
}

#else

static bool is_misplaced(const struct code *Py_UNUSED(code), int Py_UNUSED(at),
                         bool Py_UNUSED(computing))
{
    return false;
}

#endif

bool coopdl_py_misplaced(PyThreadState *there, bool computing)
{
    struct code code;
    int at;
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    PyCodeObject *object = frame ? enter_code(frame, &code, &at) : NULL;
    Py_XDECREF(frame);
    if (!object)
        return false;
    bool misplaced = is_misplaced(&code, at, computing);
    leave_code(object, &code);
    return misplaced;
}

/* Before the instruction at `now`, with the one at `before` executed last: whether this place will
 * do. */
static bool will_do(const struct code *code, int before, int now, bool goes_round)
{
    if (before < 0)
        return false;
    if (coopdl_py_code_is_backward(code, before))
        return now == coopdl_py_code_target(code, before);
    if (goes_round || now != coopdl_py_code_next(code, before))
        return false;
    return coopdl_py_code_is_with(code, before) ||
           (coopdl_py_code_is_call(code, before) &&
            coopdl_py_code_handler(code, before) == coopdl_py_code_handler(code, now));
}

int coopdl_py_step(struct thread *thread, PyFrameObject *frame, int now)
{
    struct code code;
    int before = thread->executed;
    if (!thread->awaited || frame != thread->awaited_in)
        return 0;
    thread->executed = now;
    if (!coopdl_py_code_read(&code, (PyCodeObject *)thread->awaited))
        return 0;
    bool will = will_do(&code, before, now, thread->goes_round);
    coopdl_py_code_done(&code);
    if (!will)
        return 0;
    coopdl_py_forget_place(thread, PyThreadState_Get());
    return coopdl_py_place_reached();
}
