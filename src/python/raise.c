/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raise.c -- how an expiry becomes an exception, in the thread that it is for.
 *
 * The main thread is told by a signal of Python's, which every place in CPython
 * that waits or computes for long looks for; a C function is its handler and
 * raises.  Any other thread gets an asynchronous exception (async.c).  And in
 * both a call that was cut fails before either is looked at: that error is
 * replaced.
 *
 * What must hold: nothing is raised for an entry that was left, nor while an
 * exception for it is at work: so each of these ways asks due_here.
 */
#include "raise.h"

#include "async.h"
#include "budget.h"
#include "hold.h"
#include "hooks.h"
#include "place.h"
#include "raiser.h"
#include "work.h"

PyObject *coopdl_py_scope(const struct entry *owner)
{
    return owner && owner->owner ? owner->owner : Py_None;
}

void coopdl_py_raised(struct thread *thread, struct entry *owner, PyObject *error)
{
    coopdl_py_lock();
    /* Memory may have been collected as it was made, and the raiser have come in between. */
    if (thread->pending)
        coopdl_py_take_back(atomic_load(&coopdl_py_main_state), thread);
    thread->hold.since = 0;
    thread->error = error;
    thread->raised_at = coopdl_now();
    thread->raised_work = coopdl_py_work(thread);
    /* Its errors stay watched: a destructor may eat this while the error of a cut call is made. */
    thread->insist = true;
    atomic_store(&owner->raised, true);
    atomic_store(&thread->told, COOPDL_PEACE);
    coopdl_py_unlock();
    if (owner != &coopdl_py_budget)
        coopdl_deliver(&owner->scope);
}

/* A new exception for this entry, which is raised now; null, with another one set, if that fails.
 */
static PyObject *make(PyObject *class, struct entry *owner)
{
    struct thread *thread = coopdl_py_self();
    PyObject *exception = PyObject_CallFunction(class, "s", "deadline exceeded");
    if (exception && PyObject_SetAttrString(exception, "scope", coopdl_py_scope(owner)) < 0)
        Py_CLEAR(exception);
    if (exception && owner && thread)
        coopdl_py_raised(thread, owner, exception);
    return exception;
}

static void raise_as(PyObject *class, struct entry *owner, PyObject *cause)
{
    PyObject *exception = make(class, owner);
    if (!exception)
        return;
    if (cause)
        PyException_SetCause(exception, Py_NewRef(cause));
    PyErr_SetObject(class, exception);
    Py_DECREF(exception);
}

void coopdl_py_raise(struct module_state *state, struct entry *owner, PyObject *cause)
{
    raise_as(state->exceeded, owner, cause);
}

/* What is due in the calling thread: the entry, or null. */
static struct entry *due_here(struct module_state *state)
{
    struct thread *thread = coopdl_py_self();
    struct entry *owner = thread && state ? coopdl_py_owner(thread, coopdl_now()) : NULL;
    return owner && !coopdl_py_at_work(state, thread, PyThreadState_Get(), owner) ? owner : NULL;
}

static void raise_due(struct module_state *state, struct entry *owner)
{
    raise_as(atomic_load(&owner->raised) ? state->insists : state->exceeded, owner, NULL);
}

PyObject *coopdl_py_on_signal(PyObject *module, PyObject *Py_UNUSED(arguments))
{
    struct module_state *state = PyModule_GetState(module);
    struct thread *thread = coopdl_py_self();
    struct entry *owner = due_here(state);
    PyThreadState *here = PyThreadState_Get();
    if (thread && !owner)
        atomic_store(&thread->calm, true);
    if (!owner || coopdl_py_under_way(thread) ||
        (coopdl_py_holds_here(thread, here) && coopdl_py_await_place(module, thread, here)))
        Py_RETURN_NONE;
    coopdl_py_forget_place(thread, here);
    raise_due(state, owner);
    return NULL;
}

int coopdl_py_place_reached(void)
{
    struct module_state *state = atomic_load(&coopdl_py_main_state);
    struct entry *owner = due_here(state);
    if (!owner)
        return 0;
    raise_due(state, owner);
    return -1;
}

int coopdl_py_error_seen(struct thread *thread, PyObject *error, PyObject *traceback)
{
    struct module_state *state = atomic_load(&coopdl_py_main_state);
    if (!thread->watched || !PyExceptionInstance_Check(error) || !state ||
        !PyErr_GivenExceptionMatches(error, PyExc_Exception) ||
        PyErr_GivenExceptionMatches(error, PyExc_StopIteration) ||
        PyErr_GivenExceptionMatches(error, PyExc_StopAsyncIteration) ||
        PyErr_GivenExceptionMatches(error, state->exceeded))
        return 0;
    struct entry *owner = due_here(state);
    if (!owner || (coopdl_py_between(PyThreadState_Get()) &&
                   !PyErr_GivenExceptionMatches(error, PyExc_TimeoutError)))
        return 0;
    coopdl_py_take_back(state, thread);
    coopdl_py_forget_place(thread, PyThreadState_Get());
    PyObject *exception = make(thread->insist ? state->insists : state->exceeded, owner);
    if (exception) {
        /* It was raised where the error was. */
        PyException_SetTraceback(exception, traceback);
        PyException_SetTraceback(error, traceback);
        PyException_SetContext(exception, Py_NewRef(error));
        PyException_SetCause(exception, Py_NewRef(error));
        PyErr_Restore(Py_NewRef(Py_TYPE(exception)), exception, Py_NewRef(traceback));
    }
    return -1;
}
