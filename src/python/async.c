/* SPDX-License-Identifier: Apache-2.0 */
/*
 * async.c -- an asynchronous exception, from another thread.
 *
 * The interpreter keeps one for each thread, a class, and the last one that is
 * set wins: somebody else's is left alone.  What is set is raised when that
 * thread looks at its interrupts, which may be long after; so who leaves the
 * scope that it is for takes it back.
 *
 * Up to 3.12 a flag of the interpreter's says that there is one, for all its
 * threads.  It goes down only where one is raised; while it is up each thread
 * looks at its interrupts wherever it may, for nothing, and in 3.11 one that is
 * traced looks at them for ever.  Neither a thread that waits nor one that was
 * taken back may do that to a program.  So the raiser puts the flag down each
 * time.  What must hold: a thread for which there is one still finds it.  It does
 * not have the interpreter's lock then, since the raiser does; and as it takes
 * that, it puts the flag up itself.  So it does also when it is kicked where it
 * waits for a lock, to wait on; which is why the raiser comes back for that.
 */
#include "async.h"

#include "raiser.h"

#ifdef Py_GIL_DISABLED

/* Threads come and go while one looks for it. */
PyThreadState *coopdl_py_there(const struct thread *Py_UNUSED(thread))
{
    return NULL;
}

/* Until the exception is made.  Somebody else's may have taken its place: to send it again does no
 * harm. */
bool coopdl_py_under_way(const struct thread *thread)
{
    return thread->pending;
}

#else

PyThreadState *coopdl_py_there(const struct thread *thread)
{
    PyThreadState *there = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
    while (there && there->thread_id != thread->ident)
        there = PyThreadState_Next(there);
    return there;
}

static PyObject **slot_of(const struct thread *thread)
{
    PyThreadState *there = coopdl_py_there(thread);
    return there ? &there->async_exc : NULL;
}

bool coopdl_py_under_way(const struct thread *thread)
{
    PyObject **slot = slot_of(thread);
    return thread->pending && slot && *slot;
}

#endif

#if PY_VERSION_HEX < 0x030D0000

static bool flag_is_up; /* with the interpreter's lock */

static void set(unsigned long ident, PyObject *class)
{
    PyThreadState_SetAsyncExc(ident, class);
    flag_is_up = true;
    if (!class) /* where it is sent the raiser itself is at work */
        coopdl_py_wake_raiser();
}

static bool is_one_under_way(void)
{
    struct thread *thread = coopdl_py_next(NULL);
    while (thread && !coopdl_py_under_way(thread))
        thread = coopdl_py_next(thread);
    return thread;
}

bool coopdl_py_lower_flag(void)
{
    bool again = is_one_under_way();
    if (!flag_is_up && !again)
        return false;
    PyObject *code = Py_CompileString("0", "<coopdl>", Py_eval_input), *names = PyDict_New();
    PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), PyExc_Exception);
    Py_XDECREF(code && names ? PyEval_EvalCode(code, names, names) : NULL);
    PyErr_Clear();
    Py_XDECREF(names);
    Py_XDECREF(code);
    flag_is_up = false;
    return again;
}

#else

static void set(unsigned long ident, PyObject *class)
{
    PyThreadState_SetAsyncExc(ident, class);
}

bool coopdl_py_lower_flag(void)
{
    return false;
}

#endif

void coopdl_py_take_back(struct module_state *state, struct thread *thread)
{
    thread->pending = NULL;
#ifdef Py_GIL_DISABLED
    (void)state;
#else
    PyObject **slot = slot_of(thread); /* it may hold somebody else's by now */
    if (!state || (slot && *slot != state->exceeded && *slot != state->insists))
        return;
#endif
    set(thread->ident, NULL);
}

void coopdl_py_send(struct module_state *state, struct thread *thread, struct entry *owner)
{
    atomic_store(&owner->raised, true);
    thread->pending = owner;
    set(thread->ident, thread->insist ? state->insists : state->exceeded);
}
