/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expiry.c -- how an expiry becomes an exception.
 *
 * What must hold:
 * 1. Nothing of the program runs on a thread of ours: no bytecode, no destructor, no collection, no
 *    callback.  (raiser.c keeps the collector off, evaluates nothing, and calls only functions of
 *    the interpreter's that run no code of the program's.)
 * 2. Nothing is raised outside the body of the scope that it is for: not in a destructor or the
 *    callback of a weak reference, not in `__enter__` or `__exit__`, not between a `with`
 *    statement's `__exit__` and its end, not after it.  (Code that hangs there: defer.c.)
 * 3. A scope whose `with` statement is over has been left, however it ended (method.c).
 * 4. Every enclosing `with`, `finally` and `except` runs; `with lock:` has given its lock back.
 *
 * So an exception is only ever made and raised by the thread that it is for, at a safe point
 * (frames.h), after a look at the list of its scopes.  No exception is sent from one thread to
 * another: the raiser only has the thread's instructions and errors watched (watch.h).
 *
 * The life of an entry's expiry (enum life):
 *
 *             deadline               safe point
 *     ARMED ------------> NOTIFIED --------------> RAISED ----.
 *                                     ^              |        | while it is being handled
 *                                     |    swallowed |  <-----' (handling.c), until the grace is
 *                          safe point |              v          over; after that it is raised again
 *                                     '--------- SWALLOWED      in the clean-up, every AGAIN
 *
 *     any --`__exit__`--> LEFT            any --reschedule--> ARMED
 *
 * The library's thread asks (hooks.c).  The raiser makes the transitions to NOTIFIED and SWALLOWED
 * (coopdl_py_look), and so does the thread itself when it looks at our signal.  Only the thread
 * itself makes those to RAISED, LEFT and ARMED.  Each transition is made with the GIL held.
 *
 * Ways to a safe point, all of which ask `due`:
 * - the main thread looks at our signal, in the interpreter's loop and in C code that waits or
 *   computes for long (coopdl_py_on_signal); so does a worker that holds the GIL (identity.c);
 * - the next safe point of the watched frame (at_safe_point);
 * - an error is raised, mostly that of a cut call: it is replaced, or the exception would come in
 *   the middle of the `except` or `finally` that the error leads to (on_error);
 * - a wait for another thread has come back with nothing (coopdl_py_end_wait, wait.c).
 *
 * Each time that nothing is raised, COOPDL_LOG=debug says why.
 */
#include "expiry.h"

#include "activity.h"
#include "budget.h"
#include "defer.h"
#include "error.h"
#include "frames.h"
#include "handling.h"
#include "identity.h"
#include "interrupt.h"
#include "lend.h"
#include "meet.h"

#include <stdio.h>

#define AGAIN (20 * COOPDL_MILLISECOND)

struct module_state *_Atomic coopdl_py_main_state;
PyObject *_Atomic coopdl_py_main_module;

static void defer(const char *why)
{
    char text[100];
    snprintf(text, sizeof(text), "python: nothing is raised; deferred: %s", why);
    coopdl_log(COOPDL_LOG_DEBUG, text);
}

static bool is_overdue(const struct entry *owner, int64_t now)
{
    return atomic_load(&owner->overdue) <= now;
}

/* The calling thread raises this: until it is swallowed nothing is cut. */
static void deliver(struct thread *thread, struct entry *owner, PyObject *error)
{
    thread->deferral.since = 0;
    atomic_store(&thread->error, error);
    thread->raised_at = coopdl_now();
    thread->raised_work = coopdl_py_work(thread);
    atomic_store(&owner->life, LIFE_RAISED);
    atomic_store(&thread->verdict, COOPDL_HANDLING);
    bool base = owner == atomic_load(&thread->base);
    coopdl_deliver(base ? NULL : &owner->scope);
}

/* A new exception for this entry, which is raised now; null, with another one set, if that fails.
 * The collector may run while it is made, and code of the program's in it. */
static PyObject *make(struct module_state *state, struct entry *owner)
{
    struct thread *thread = coopdl_py_self();
    PyObject *class = coopdl_py_reached_class(state, owner);
    struct explanation explanation;
    bool base = !owner || !thread || owner == atomic_load(&thread->base);
    coopdl_py_explain(&explanation, base ? NULL : &owner->scope, base ? NO_LENGTH : owner->length);
    PyObject *exception = coopdl_py_new_error(class, coopdl_py_scope(owner), &explanation);
    if (exception && owner && thread && atomic_load(&owner->life) != LIFE_LEFT)
        deliver(thread, owner, exception);
    return exception;
}

static void raise_error(PyObject *exception)
{
    if (exception)
        PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_XDECREF(exception);
}

void coopdl_py_raise(struct module_state *state, struct entry *owner)
{
    raise_error(make(state, owner));
}

void coopdl_py_raise_at_end(PyObject *class, PyObject *scope, PyObject *cause,
                            const struct explanation *explanation)
{
    PyObject *exception = coopdl_py_new_error(class, scope, explanation);
    if (exception && cause)
        PyException_SetCause(exception, Py_NewRef(cause));
    raise_error(exception);
}

/* One look at a thread, the calling one or one that stands still. */
struct look {
    struct module_state *state;
    struct thread *thread;
    PyThreadState *there;
    int64_t now;
    const char *why; /* nothing is due */
};

/* Whether an exception for this entry is being handled, or for one inside it: the clean-up of that
 * one is this one's too. */
static bool is_handled(const struct look *look, const struct entry *entry)
{
    struct entry *inner = atomic_load(&look->thread->top);
    for (; inner && inner != entry; inner = atomic_load(&inner->outer))
        if (atomic_load(&inner->life) == LIFE_RAISED &&
            coopdl_py_is_handling(look->state, look->thread, look->there, inner))
            return true;
    return coopdl_py_is_handling(look->state, look->thread, look->there, entry);
}

/* Whether clean-up hangs: it sleeps, at more than two visits in a row, or has computed since the
 * last exception was raised.  The grace may be over before it has had a processor. */
static bool is_stuck(const struct look *look)
{
    const struct thread *thread = look->thread;
    return look->now - thread->raised_at >= AGAIN &&
           (atomic_load(&thread->slept) > 2 ||
            coopdl_py_work(thread) - thread->raised_work >= COOPDL_PY_COMPUTES);
}

/* Whether an exception for this entry is to be raised, as far as the entry itself says. */
static bool is_due(struct look *look, struct entry *entry)
{
    if (atomic_load(&entry->deadline) > look->now || (entry->budget && !coopdl_py_is_started()))
        return false;
    const char *why =
        entry->budget ? coopdl_py_budget_waits(look->thread, look->there, look->now) : NULL;
    if (why) {
        look->why = why;
        return false;
    }
    if (entry->lent_until > look->now) {
        look->why = "waits for a thread that is inside this deadline too";
        return false;
    }
    if (coopdl_py_is_spent(entry, look->now)) {
        look->why = "is raised once";
        return false;
    }
    if (!is_handled(look, entry))
        return true;
    look->why = "handling";
    return is_overdue(entry, look->now) && is_stuck(look);
}

/* Whether it can be raised where the thread is. */
static bool is_raisable(struct look *look, struct entry *entry)
{
    return is_due(look, entry) && !coopdl_py_critical(look->there, entry);
}

/* The outermost entry that is due: one in the clean-up of another has its own deadline. */
static struct entry *outermost(struct look *look, struct entry *entry,
                               bool is(struct look *, struct entry *))
{
    if (!entry)
        entry = atomic_load(&look->thread->base);
    else if (entry->shield)
        return NULL;
    else {
        struct entry *outer = outermost(look, atomic_load(&entry->outer), is);
        if (outer)
            return outer;
    }
    return entry && is(look, entry) ? entry : NULL;
}

/* What is due: the entry, or null and why nothing is. */
static struct entry *due(struct look *look)
{
    look->now = coopdl_now();
    look->why = NULL;
    if (!look->state || !look->thread || !coopdl_py_owner(look->thread, look->now))
        return NULL;
    /* One that is deferred, since it is entered in an `__exit__` or destructor of its body, does
     * not put off the deadline of one that is entered there. */
    struct entry *top = atomic_load(&look->thread->top), *owner = outermost(look, top, is_raisable);
    if (!owner)
        owner = outermost(look, top, is_due);
    if (!owner)
        return NULL;
    look->thread->due = owner;
    look->why = NULL;
    if (atomic_load(&owner->life) == LIFE_RAISED)
        atomic_store(&owner->life, LIFE_SWALLOWED);
    else if (atomic_load(&owner->life) == LIFE_ARMED)
        atomic_store(&owner->life, LIFE_NOTIFIED);
    return owner;
}

struct entry *coopdl_py_due(struct thread *thread)
{
    struct look look = {.state = atomic_load(&coopdl_py_main_state),
                        .thread = thread,
                        .there = PyThreadState_Get()};
    struct entry *owner = due(&look);
    if (look.why)
        defer(look.why);
    return owner;
}

/* True with an exception set if the thread is to go no further.  Nothing is raised if the
 * interpreter's loop asks in a worker: that is raised in at its next safe point. */
static bool look_here(struct thread *thread, PyThreadState *here, bool loop)
{
    struct entry *owner = coopdl_py_due(thread);
    if (!owner)
        return false;
    const char *why = coopdl_py_deferred_here(thread, here, is_overdue(owner, coopdl_now()));
    if (!why && loop)
        why = "between two instructions of a worker";
    if (why) {
        /* The next call may be cut before the raiser has had the GIL. */
        defer(why);
        coopdl_py_watch_errors(thread, here);
        coopdl_py_watch_instructions(thread, here);
        return false;
    }
    coopdl_py_unwatch_instructions(thread, here);
    coopdl_py_raise(atomic_load(&coopdl_py_main_state), owner);
    return true;
}

PyObject *coopdl_py_on_signal(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(arguments))
{
    struct thread *thread = coopdl_py_self();
    bool loop = coopdl_py_identity_handle();
    if (PyErr_Occurred()) /* whoever looks at signals has an error already: it goes on */
        return NULL;
    (void)coopdl_py_started();
    if (!thread)
        Py_RETURN_NONE;
    return look_here(thread, PyThreadState_Get(), loop) ? NULL : Py_NewRef(Py_None);
}

/* Watched is the caller of what is not to be raised in (frames.c): the exception comes there. */
static enum wait_end end_quietly(struct thread *thread, PyThreadState *here)
{
    coopdl_py_watch_errors(thread, here);
    coopdl_py_watch_instructions(thread, here);
    return WAIT_ENDS;
}

enum wait_end coopdl_py_end_wait(struct thread *thread, int64_t waited)
{
    PyThreadState *here = PyThreadState_Get();
    struct entry *owner = coopdl_py_owner(thread, coopdl_now());
    if (owner && is_overdue(owner, coopdl_now()))
        coopdl_py_lend_to_joined(thread, here, owner);
    owner = coopdl_py_due(thread);
    if (!owner)
        return WAIT_GOES_ON;
    const char *why =
        coopdl_py_deferred_wait(thread, here, waited, is_overdue(owner, coopdl_now()));
    if (why) {
        defer(why);
        return WAIT_GOES_ON;
    }
    if (coopdl_py_joins_by_lock(here))
        return end_quietly(thread, here);
    coopdl_py_unwatch_instructions(thread, here);
    coopdl_py_raise(atomic_load(&coopdl_py_main_state), owner);
    return WAIT_RAISED;
}

static int at_safe_point(struct thread *thread)
{
    struct entry *owner = coopdl_py_due(thread);
    coopdl_py_unwatch_instructions(thread, PyThreadState_Get());
    if (!owner)
        return 0;
    coopdl_py_raise(atomic_load(&coopdl_py_main_state), owner);
    return -1;
}

/* What is no failure: the end of an iteration, and all that is no Exception. */
static bool is_failure(struct module_state *state, PyObject *error)
{
    return PyExceptionInstance_Check(error) &&
           PyErr_GivenExceptionMatches(error, PyExc_Exception) &&
           !PyErr_GivenExceptionMatches(error, PyExc_StopIteration) &&
           !PyErr_GivenExceptionMatches(error, PyExc_StopAsyncIteration) &&
           !PyErr_GivenExceptionMatches(error, state->exceeded);
}

static int on_error(struct thread *thread, PyObject *error, PyObject *traceback)
{
    struct module_state *state = atomic_load(&coopdl_py_main_state);
    PyThreadState *here = PyThreadState_Get();
    struct entry *owner = state && is_failure(state, error) ? coopdl_py_due(thread) : NULL;
    /* In a critical function only what a cut call has failed with. */
    if (!owner || (coopdl_py_critical(here, owner) &&
                   !PyErr_GivenExceptionMatches(error, PyExc_TimeoutError)))
        return 0;
    coopdl_py_unwatch_instructions(thread, here);
    PyObject *exception = make(state, owner);
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

const struct watcher coopdl_py_watcher = {.safe_point = at_safe_point, .error = on_error};

/* The main thread looks at our signal by itself; but C code that throws errors away (what makes the
 * message of a ValueError) can come first every time. */
static void reach(struct thread *thread, PyThreadState *there, const struct entry *owner)
{
    coopdl_py_watch_errors(thread, there);
    bool looks = thread->kind == KIND_MAIN && coopdl_py_interrupt_main();
    if (!looks || atomic_load(&owner->life) == LIFE_SWALLOWED)
        coopdl_py_watch_instructions(thread, there);
}

enum coopdl_verdict coopdl_py_look(struct module_state *state, struct thread *thread)
{
    PyThreadState *there = coopdl_py_state(thread);
    struct look look = {.state = state, .thread = thread, .there = there};
    struct entry *owner = there ? coopdl_py_owner(thread, coopdl_now()) : NULL;
    if (owner && is_overdue(owner, coopdl_now()))
        coopdl_py_lend_to_joined(thread, there, owner);
    owner = owner ? due(&look) : NULL;
    if (owner && thread->kind != KIND_MAIN)
        look.why = coopdl_py_deferred_there(thread, there, is_overdue(owner, look.now));
    if (look.why)
        defer(look.why);
    if (owner) {
        reach(thread, there, owner);
        return COOPDL_CUT;
    }
    coopdl_py_unwatch_instructions(thread, there);
    coopdl_py_unwatch_errors(thread, there);
    return there ? COOPDL_HANDLING : coopdl_py_lose(thread);
}

void coopdl_py_settle(struct thread *thread, struct entry *entry)
{
    PyThreadState *here = PyThreadState_Get();
    coopdl_py_identity_give_back();
    coopdl_py_unwatch_instructions(thread, here);
    coopdl_py_unwatch_errors(thread, here);
    if (entry->lent_until)
        coopdl_py_take_back(entry);
    thread->deferral.since = 0;
    atomic_store(&thread->slept, 0);
    atomic_store(&thread->wanted, false);
    atomic_store(&thread->verdict, COOPDL_HANDLING);
}
