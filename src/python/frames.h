/* SPDX-License-Identifier: Apache-2.0 */
/* frames.h -- where a thread is, and at which places an exception may be raised in it.
 *
 * All of this is for the holder of the GIL, about its own thread or one that therefore stands
 * still; `there` is the thread's state. */
#ifndef COOPDL_PYTHON_FRAMES_H
#define COOPDL_PYTHON_FRAMES_H

#include "thread.h"

/* A critical function: between the call of one and its end nothing is raised, neither in it nor in
 * what it calls. */
enum critical_kind {
    CRITICAL_ENTER,   /* takes something for its caller */
    CRITICAL_EXIT,    /* gives it back */
    CRITICAL_DESTROY, /* what it raises is thrown away */
    CRITICAL_START,   /* starts a thread, which up to 3.12 is not awaited before it has begun */
    CRITICAL_JOIN     /* it takes what is raised in it for the end of the thread that it joins */
};

struct critical {
    enum critical_kind kind;
    bool by_name;      /* nothing but its name says so */
    const char *where; /* for the log */
};

/* The outermost critical function that a thread is in, inside the body of a scope, but a destructor
 * before any other, then Thread.start, and one that only its name makes one after any other; null
 * if the thread is in none.  Where the scope's body is not known, or is the program, all functions
 * that run count. */
const struct critical *coopdl_py_critical(PyThreadState *there, const struct entry *scope);

/* The exception that a generator or coroutine handles that owns this frame; borrowed, or null. */
PyObject *coopdl_py_handled_in(PyFrameObject *frame);

/* Whether the interpreter would look in the wrong place for handlers if a signal's handler raised
 * in the calling thread, which looks at its signals now. */
bool coopdl_py_misplaced(PyThreadState *there);

/* Whether another thread is in the call of `__enter__` by a `with` and would find an exception that
 * it has been sent behind that call, before the `with` has begun. */
bool coopdl_py_enters(PyThreadState *there);

/* Sets the frame whose instructions are to be watched (takes the reference; null is allowed), and
 * returns it, or null if there is no memory. */
PyFrameObject *coopdl_py_aim(struct watch *watch, PyFrameObject *frame);

/* Sets the frame in which a safe point will come up: the innermost one, or the caller of the
 * critical function that the thread is in.  A new reference, or null. */
PyFrameObject *coopdl_py_choose_frame(struct thread *thread, PyThreadState *there);

/* Before the instruction at `now` of the watched frame is executed: whether that is a safe point.
 */
bool coopdl_py_is_safe(struct watch *watch, int now);

/* The object whose method a thread executes, by the method's name and the end of its file's name: a
 * new reference, or null if it is in no such method. */
PyObject *coopdl_py_in_method(PyThreadState *there, const char *method, const char *file);

/* The thread object that a thread waits for in Thread.join, a new reference, or null. */
static inline PyObject *coopdl_py_joined(PyThreadState *there)
{
    return coopdl_py_in_method(there, "join", "/threading.py");
}

/* Whether a thread is at the interpreter's end, where that waits for the others. */
bool coopdl_py_shuts_down(PyThreadState *there);

/* Whether a thread is in the code of threading that begins and ends it. */
bool coopdl_py_is_outside_run(PyThreadState *there);

/* Whether the innermost function that a thread executes has this name, in a file whose name ends
 * so.
 */
bool coopdl_py_executes(PyThreadState *there, const char *function, const char *file);

/* Whether a thread is where Thread.join up to 3.12 waits for a lock. */
static inline bool coopdl_py_joins_by_lock(PyThreadState *there)
{
    return coopdl_py_executes(there, "_wait_for_tstate_lock", "/threading.py");
}

#endif
