/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lend.c -- a thread that joins another one lends it its deadline.
 *
 * At the end of a `with ThreadPoolExecutor():` and of asyncio.run a thread waits in Thread.join. If
 * the grace of its scope is over, only the joined thread can end that wait.  So the joined thread
 * is put inside the deadline: its calls are cut and it is raised in, as if the scope were its own,
 * until the scope is left.  (The wait is inherited, as in priority inheritance.)
 *
 * The joined thread has LENT to end.  Until then nothing is raised in the joining thread.
 */
#include "lend.h"

#include "frames.h"

#define LENT COOPDL_SECOND

/* An attribute of an object, a new reference, or null.  From its dictionary: a look-up might run
 * code of the program's. */
static PyObject *attribute(PyObject *object, const char *name)
{
    PyObject *dict = object ? PyObject_GenericGetDict(object, NULL) : NULL;
    PyObject *value = dict && PyDict_Check(dict) ? PyDict_GetItemString(dict, name) : NULL;
    Py_XINCREF(value);
    Py_XDECREF(dict);
    PyErr_Clear();
    return value;
}

static unsigned long number_of(PyObject *object, const char *name)
{
    PyObject *value = attribute(object, name);
    unsigned long number = value && PyLong_CheckExact(value) ? PyLong_AsUnsignedLong(value) : 0;
    Py_XDECREF(value);
    PyErr_Clear();
    return number;
}

/* The state of the thread that has this ident.  Up to 3.11 that of a thread that has not begun yet
 * has its parent's: the older one is meant, which comes later. */
static PyThreadState *state_of(unsigned long ident)
{
    PyThreadState *found = NULL;
    PyThreadState *state = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
    for (; state; state = PyThreadState_Next(state))
        if (state->thread_id == ident)
            found = state;
    return found;
}

/* Whether nothing is lent to it: no deadline at all is outside of its scopes, or the budget, which
 * is not over. */
static bool may_borrow(const struct thread *thread)
{
    const struct entry *base = atomic_load(&thread->base);
    return thread->kind == KIND_WORKER &&
           (!base || (base->budget && atomic_load(&base->deadline) > coopdl_now()));
}

static void put_back(struct thread *thread)
{
    bool inside = atomic_load(&thread->budget.deadline) != COOPDL_NEVER;
    atomic_store(&thread->base, inside ? &thread->budget : NULL);
}

static void lend(struct entry *entry, struct thread *borrower)
{
    int64_t deadline = atomic_load(&entry->deadline), now = coopdl_now();
    struct entry *lent = coopdl_py_entry(borrower);
    if (!lent) {
        PyErr_Clear();
        return;
    }
    lent->owner = entry->owner;
    lent->shield = lent->inherited = false;
    lent->lent_until = 0;
    atomic_store(&lent->outer, entry); /* whose it is */
    atomic_store(&lent->deadline, deadline);
    atomic_store(&lent->overdue, now + (atomic_load(&entry->overdue) - deadline));
    atomic_store(&lent->life, LIFE_ARMED);
    atomic_store(&borrower->base, lent);
    if (coopdl_lend(atomic_load(&borrower->tid), deadline) < 0) {
        put_back(borrower);
        return;
    }
    entry->lent_until = now + LENT;
    coopdl_log(COOPDL_LOG_CUTS,
               "python: the grace of a scope is over: a thread that is joined in it "
               "is inside its deadline too");
}

/* To the thread of this thread object, if it runs. */
static void lend_to(struct entry *entry, const struct thread *lender, PyObject *object)
{
    pid_t tid = (pid_t)number_of(object, "_native_id");
    PyThreadState *state = tid ? state_of(number_of(object, "_ident")) : NULL;
    if (!state || state == lender->attached.state)
        return;
    struct thread *borrower = coopdl_py_find(tid);
    if (!borrower || borrower->kind == KIND_UNKNOWN)
        borrower = coopdl_py_claim(tid, state);
    if (borrower && may_borrow(borrower))
        lend(entry, borrower);
}

/* An event loop that shuts down its executor waits for the threads of that in another thread. */
static void lend_to_executor(struct entry *entry, const struct thread *lender, PyObject *loop)
{
    PyObject *shuts_down = attribute(loop, "_executor_shutdown_called");
    PyObject *executor = shuts_down == Py_True ? attribute(loop, "_default_executor") : NULL;
    PyObject *threads = attribute(executor, "_threads");
    PyObject *list = threads && PyAnySet_CheckExact(threads) ? PySequence_List(threads) : NULL;
    for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list); i++)
        lend_to(entry, lender, PyList_GET_ITEM(list, i));
    Py_XDECREF(list);
    Py_XDECREF(threads);
    Py_XDECREF(executor);
    Py_XDECREF(shuts_down);
    PyErr_Clear();
}

void coopdl_py_lend_to_joined(struct thread *thread, PyThreadState *there, struct entry *entry)
{
    PyObject *joined = coopdl_py_joined(there);
    PyObject *loop =
        joined ? NULL : coopdl_py_in_method(there, "run_forever", "/asyncio/base_events.py");
    if (joined)
        lend_to(entry, thread, joined);
    if (loop)
        lend_to_executor(entry, thread, loop);
    Py_XDECREF(loop);
    Py_XDECREF(joined);
}

void coopdl_py_take_back(struct entry *entry)
{
    for (struct thread *t = coopdl_py_next(NULL); t; t = coopdl_py_next(t)) {
        struct entry *lent = atomic_load(&t->base);
        if (!lent || atomic_load(&lent->outer) != entry || !atomic_load(&t->tid))
            continue;
        atomic_store(&lent->deadline, COOPDL_NEVER);
        lent->owner = NULL;
        put_back(t);
        coopdl_lend(atomic_load(&t->tid), COOPDL_NEVER);
    }
    entry->lent_until = 0;
}
