/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hooks.c -- the answers to the library's question about a thread whose deadline has passed; and
 * the start and end of raising.
 *
 * This file reaches the main thread, because to mark a signal as received takes no GIL
 * (interrupt.c).  The raiser does everything else.  Where the program has taken our handler away,
 * the main thread is reached as a worker is, until it enters the next scope.
 */
#include "hooks.h"

#include "activity.h"
#include "budget.h"
#include "error.h"
#include "expiry.h"
#include "identity.h"
#include "interrupt.h"
#include "meet.h"
#include "raiser.h"
#include "wait.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How often the raiser may fail to answer for the main thread.  The visits are 1, 2, 4, 8 and 16 ms
 * apart: 31 ms in all, since on a busy machine the raiser waits for a processor, and for a thread
 * that computes to give the GIL away.  A call that is cut before may have its error handled by the
 * program before the exception is raised. */
enum { MOST_UNANSWERED = 5 };

/* A forked child inherits a scope's deadline this much later: its parent ends first, and ends it.
 */
#define CHILD_LATER (50 * COOPDL_MILLISECOND)

static _Atomic bool hooked;
static _Atomic bool due; /* the main thread is to look at our signal in its next kick */
static bool ended;       /* with the GIL */

/* Whether this entry's deadline has passed, and no exception for it is on its way. */
static bool is_unanswered(const struct entry *entry, int64_t now)
{
    return atomic_load(&entry->deadline) <= now &&
           (atomic_load(&entry->life) != LIFE_RAISED || atomic_load(&entry->overdue) <= now);
}

/* Whether something is to be raised in a thread, as far as can be told without the GIL. */
static bool is_open(const struct thread *thread, int64_t now)
{
    const struct entry *entry = atomic_load(&thread->top);
    for (; entry && !entry->shield; entry = atomic_load(&entry->outer))
        if (is_unanswered(entry, now))
            return true;
    const struct entry *base = entry ? NULL : atomic_load(&thread->base);
    return base && is_unanswered(base, now);
}

/* A worker that computes is to look at our signal, as the main thread does.  While it holds the GIL
 * in C code, the raiser does not answer, no safe point comes, and nobody can tell whether its last
 * exception has been swallowed. */
static enum coopdl_verdict verdict_on_worker(struct thread *thread, enum coopdl_verdict verdict)
{
    bool answered = atomic_load(&thread->unanswered) <= MOST_UNANSWERED;
    if (atomic_load(&thread->slept) || (answered && !is_open(thread, coopdl_now())) ||
        !coopdl_py_identity_want(thread))
        return verdict;
    /* A thread that is cut is not kicked while it is in no call. */
    return verdict == COOPDL_HANDLING || !answered ? COOPDL_KICK : verdict;
}

/* The main thread can be reached at once.  Nothing is cut before its errors are watched, unless the
 * raiser does not get the GIL: a call may be cut that was made with it.  Once an exception has been
 * raised and exists, only the raiser can tell whether it is being handled.
 *
 * A raiser that has answered since the last question has marked our signal if an exception is due.
 * A further mark would come while that exception is on its way, and C code that looks at signals on
 * that way (input) would call our handler with an error set: a debug build aborts there. */
static enum coopdl_verdict verdict_on(struct thread *thread)
{
    atomic_store(&thread->slept, coopdl_py_sleeps(thread) ? atomic_load(&thread->slept) + 1 : 0);
    enum coopdl_verdict verdict = coopdl_py_ask(thread);
    if (thread->kind == KIND_WORKER)
        return verdict_on_worker(thread, verdict);
    bool answered = atomic_load(&thread->unanswered) == 1 &&
                    (verdict == COOPDL_CUT || atomic_load(&thread->error));
    if (answered || !coopdl_py_interrupt_main())
        return verdict;
    atomic_store(&due, true);
    if (atomic_load(&thread->error))
        return verdict;
    return verdict == COOPDL_CUT || atomic_load(&thread->unanswered) > MOST_UNANSWERED
               ? COOPDL_CUT
               : COOPDL_KICK;
}

static bool is_entered(const struct thread *thread, const coopdl_scope *scope)
{
    const struct entry *entry = atomic_load(&thread->top);
    while (entry && &entry->scope != scope)
        entry = atomic_load(&entry->outer);
    return entry;
}

/* The record of a thread whose outermost deadline has passed, the budget or one that was lent to
 * it; null if it has none, and needs none. */
static struct thread *find_at_end(pid_t tid)
{
    if (atomic_load(&coopdl_py_budget) > coopdl_now() || coopdl_py_is_raiser(tid))
        return coopdl_py_find(tid);
    struct thread *thread = coopdl_py_expect(tid);
    if (thread)
        coopdl_py_join_budget(thread);
    return thread;
}

/* The hook, on the library's thread.
 * The library's list and ours do not change at once: where a shield is left the library's is the
 * first, where a scope is moved ours.  So a scope of ours that is not due by our list is due in a
 * moment, or no longer; to cut what is called then, with nothing to raise, would be an error of its
 * own. */
static enum coopdl_verdict on_expired(pid_t tid, coopdl_scope *scope)
{
    struct thread *thread = scope ? coopdl_py_find(tid) : find_at_end(tid);
    if (!thread || thread->kind == KIND_FOREIGN)
        return COOPDL_CUT;
    if (thread->kind == KIND_UNKNOWN)
        return coopdl_py_is_seen(thread) ? coopdl_py_ask(thread) : coopdl_py_unseen(thread);
    struct entry *owner = coopdl_py_unspent(thread, coopdl_now());
    if (!owner)
        return is_entered(thread, scope) ? COOPDL_HANDLING : COOPDL_CUT;
    enum coopdl_verdict verdict = verdict_on(thread);
    /* Kicked, the main thread finds out whether the interpreter has started. */
    return owner->budget && thread->kind == KIND_MAIN && !coopdl_py_is_started() ? COOPDL_KICK
                                                                                 : verdict;
}

/* In the kicked thread's signal handler.  Before 3.13 only the main thread itself can have a
 * signal of Python's noticed by code that computes; or else it is when the raiser has taken the GIL
 * from it. */
static void on_kicked(void)
{
    coopdl_py_see();
    coopdl_py_identity_lend();
    if (atomic_load(&due) && syscall(SYS_gettid) == getpid() && atomic_exchange(&due, false))
        coopdl_py_interrupt_main();
}

static const struct coopdl_hooks hooks = {.expired = on_expired, .kicked = on_kicked};

static int install_signal(void)
{
    PyObject *handler = PyObject_GetAttrString(atomic_load(&coopdl_py_main_module), "_on_signal");
    int result = handler ? coopdl_py_interrupt_install(handler) : -1;
    bool lends = result == 0 && coopdl_py_identity_start(handler);
    Py_XDECREF(handler);
    if (result == 0 && !lends)
        coopdl_log(COOPDL_LOG_CUTS, "python: C code in a worker thread is not interrupted: the "
                                    "interpreter's main thread is not where it is looked for");
    return result;
}

static int install_hooks(void)
{
    if (coopdl_py_watch_start(atomic_load(&coopdl_py_main_module), &coopdl_py_watcher) < 0)
        return -1;
    int error = coopdl_py_raiser_start();
    if (!error && coopdl_set_hooks(&hooks) < 0)
        error = errno;
    if (error) {
        errno = error;
        coopdl_py_set_errno();
        return -1;
    }
    coopdl_py_replace_waits(atomic_load(&coopdl_py_main_state));
    atomic_store(&hooked, true);
    return 0;
}

int coopdl_py_prepare(struct thread *thread)
{
    if (unlikely(thread->kind == KIND_FOREIGN)) /* what is installed is the main interpreter's */
        return 0;
    if (unlikely(!atomic_load_explicit(&hooked, memory_order_relaxed)) && !ended &&
        atomic_load(&coopdl_py_main_module) && install_hooks() < 0)
        return -1;
    if (unlikely(thread->kind == KIND_MAIN && !coopdl_py_interrupts()))
        return install_signal();
    return 0;
}

/* The interpreter ends: from here on expiries cut, as they do without a hook; but what was left in
 * peace, as daemons are that nobody waits for, stays so. */
PyObject *coopdl_py_stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    ended = true;
    atomic_store(&hooked, false);
    Py_BEGIN_ALLOW_THREADS
    coopdl_set_hooks(NULL);
    coopdl_py_raiser_stop();
    Py_END_ALLOW_THREADS
    atomic_store(&coopdl_py_main_state, NULL);
    atomic_store(&coopdl_py_main_module, NULL);
    Py_RETURN_NONE;
}

PyObject *coopdl_py_install_budget(PyObject *Py_UNUSED(module), PyObject *held)
{
    /* The record of a thread that makes another interpreter stays what it is. */
    if (PyInterpreterState_Get() != PyInterpreterState_Main())
        Py_RETURN_NONE;
    struct thread *thread = coopdl_py_thread();
    if (!thread)
        return NULL;
    int64_t budget = coopdl_deadline();
    /* Inside a scope of ours this would be that scope's deadline. */
    if (thread->kind != KIND_MAIN || atomic_load(&thread->top) ||
        budget >= (COOPDL_NEVER & ~(int64_t)7))
        Py_RETURN_NONE;
    if (coopdl_py_prepare(thread) < 0)
        return NULL;
    coopdl_py_hold_budget(held == Py_True);
    (void)coopdl_py_started();
    atomic_store(&coopdl_py_budget, budget);
    coopdl_py_join_budget(thread);
    Py_RETURN_NONE;
}

PyObject *coopdl_py_begin(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    coopdl_py_hold_budget(false);
    (void)coopdl_py_started();
    Py_RETURN_NONE;
}

/* The scopes that were entered before the fork. */
static void inherit(struct entry *entry)
{
    for (; entry; entry = atomic_load(&entry->outer)) {
        int64_t deadline = atomic_load(&entry->deadline);
        if (entry->shield || entry->inherited || deadline == COOPDL_NEVER)
            continue;
        entry->inherited = true;
        deadline = entry->stays ? COOPDL_NEVER : deadline + CHILD_LATER;
        if (coopdl_move(&entry->scope, deadline) < 0)
            continue;
        atomic_store(&entry->deadline, deadline);
        atomic_store(&entry->overdue, COOPDL_NEVER);
        atomic_store(&entry->life, LIFE_ARMED);
    }
}

/* A child that was forked inside a scope, or under a budget, goes on with it. */
PyObject *coopdl_py_after_fork(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(unused))
{
    struct thread *thread = coopdl_py_self();
    if (!thread || (!atomic_load(&thread->top) && !atomic_load(&thread->base)))
        Py_RETURN_NONE;
    inherit(atomic_load(&thread->top));
    if (coopdl_py_prepare(thread) < 0)
        return NULL;
    Py_RETURN_NONE;
}

static void in_child(void)
{
    coopdl_py_raiser_forked();
    coopdl_py_identity_forked();
    atomic_store(&hooked, false);
}

static int call_with(const char *module, const char *function, const char *keyword,
                     PyObject *callback)
{
    PyObject *from = PyImport_ImportModule(module), *result = NULL;
    PyObject *target = from ? PyObject_GetAttrString(from, function) : NULL;
    PyObject *positional = keyword ? PyTuple_New(0) : PyTuple_Pack(1, callback);
    PyObject *named = keyword ? Py_BuildValue("{sO}", keyword, callback) : NULL;
    if (target && positional && (named || !keyword))
        result = PyObject_Call(target, positional, named);
    Py_XDECREF(named);
    Py_XDECREF(positional);
    Py_XDECREF(target);
    Py_XDECREF(from);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

int coopdl_py_start(PyObject *module, struct module_state *state)
{
    static bool forks;
    if (PyInterpreterState_Get() != PyInterpreterState_Main())
        return 0;
    PyObject *stop = PyObject_GetAttrString(module, "_stop");
    PyObject *after = PyObject_GetAttrString(module, "_after_fork");
    int result = stop && after ? call_with("atexit", "register", NULL, stop) : -1;
    if (result == 0)
        result = call_with("os", "register_at_fork", "after_in_child", after);
    Py_XDECREF(after);
    Py_XDECREF(stop);
    if (result < 0)
        return -1;
    if (!forks)
        pthread_atfork(NULL, NULL, in_child);
    forks = true;
    ended = false;
    atomic_store(&coopdl_py_main_state, state);
    atomic_store(&coopdl_py_main_module, module);
    /* Later there may be scopes in workers alone, which cannot set Python's handler. */
    if (syscall(SYS_gettid) == getpid() && install_signal() < 0)
        PyErr_Clear();
    return 0;
}
