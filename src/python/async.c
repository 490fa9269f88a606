/* SPDX-License-Identifier: Apache-2.0 */
/*
 * async.c -- an asynchronous exception, from another thread.
 *
 * The interpreter keeps one for each thread, a class, and the last one that is
 * set wins: somebody else's is left alone.  What is set is raised when that
 * thread looks at its interrupts, which may be long after; so who leaves the
 * scope that it is for takes it back.
 */
#include "async.h"

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
    PyThreadState_SetAsyncExc(thread->ident, NULL);
}

void coopdl_py_send(struct module_state *state, struct thread *thread, struct entry *owner)
{
    atomic_store(&owner->raised, true);
    thread->pending = owner;
    PyThreadState_SetAsyncExc(thread->ident, thread->insist ? state->insists : state->exceeded);
}
