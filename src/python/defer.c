/* SPDX-License-Identifier: Apache-2.0 */
/*
 * defer.c -- whether a raise is deferred because of the place where the thread is.
 *
 * Nothing is raised in a critical function (frames.h).  But code that hangs there must end:
 * - Code that computes in an `__enter__` or `__exit__` has until the grace is over.  A function
 *   that is critical by its name alone (`acquire_image`) has ALLOWANCE of processor time past its
 *   deadline.  The grace is a time of day, and code that only waited through it has not computed:
 *   such code counts as computing once it has used WORKS of processor time since.  What a wait
 *   itself costs does not count: a thread is charged for the handlers of signals that come then.
 * - A wait for a lock is ended when it is recognised: at the point where it repeats its loop, or in
 *   the wait itself, before the lock is taken.
 * - In a worker thread's `__exit__` such a wait is ended only after the grace.
 * - In Thread.join up to 3.12 the wait ends by itself (wait.c).
 * - A wait in an `__exit__` for a thread (as ThreadPoolExecutor has it) is ended after the grace.
 *   From then on the awaited thread has the deadline too (lend.c).
 * - A destructor throws exceptions away.  There only a wait for a lock is ended, after the grace: a
 *   collection may run millions of destructors, and that is no hang.
 * - In Thread.start the wait ends as soon as the new thread has a processor.  It is ended after the
 *   grace if the new thread never says that it has begun.
 */
#include "defer.h"

#include "activity.h"
#include "code.h"
#include "frames.h"

#include <frameobject.h>

#define WAITS (2 * COOPDL_MILLISECOND)
#define ALLOWANCE (100 * COOPDL_MILLISECOND)
/* Longer than COOPDL_PY_COMPUTES: what is taken twice can be given back, what is lost cannot.  On a
 * virtual machine a thread is charged for time that its processor did not have. */
#define WORKS (20 * COOPDL_MILLISECOND)

/* Whether a frame is at an instruction that may wait: not at a jump. */
static bool may_wait(PyFrameObject *frame, int at)
{
    struct code code;
    if (!frame || !coopdl_py_code_read(&code, frame))
        return false;
    bool may = coopdl_py_code_is_call(&code, at) || coopdl_py_code_with(&code, at) != WITH_NOTHING;
    coopdl_py_code_done(&code);
    return may;
}

/* Whether a thread waits: it is where it was at the last looks, slept each time that the library's
 * thread visited it, and has not worked for most of the time since.  Its share of the time alone
 * would not tell: on a loaded machine that of a thread that computes is small too.  Such a thread
 * does not sleep, but for the GIL (coopdl_py_sleeps).
 *
 * A thread that looks itself may do so behind the call that waits, and have what it waited for: but
 * then its stack is shorter than in that call.  For such a thread two looks are enough, after 1 and
 * 3 ms: the others are 7 and 15 ms late, and another thread may be found waiting for the GIL. */
static bool stands(struct thread *thread, PyThreadState *there, const void *stack, int looks)
{
    struct deferral *deferral = &thread->deferral;
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    PyCodeObject *code = frame ? PyFrame_GetCode(frame) : NULL;
    int at = frame ? coopdl_py_code_at(frame) : -1;
    bool same = deferral->since && deferral->code == code && deferral->at == at &&
                deferral->stack == stack && may_wait(frame, at);
    deferral->code = code;
    deferral->at = at;
    deferral->stack = stack;
    deferral->same = same ? deferral->same + 1 : 0;
    Py_XDECREF(code);
    Py_XDECREF(frame);
    return deferral->same >= looks && atomic_load(&thread->slept) > looks &&
           2 * (coopdl_py_work(thread) - deferral->work) < coopdl_now() - deferral->since;
}

/* Likewise, and notes it. */
static bool waits(struct thread *thread, PyThreadState *there, const void *stack, int looks)
{
    bool found = stands(thread, there, stack, looks);
    if (found)
        thread->deferral.rested = coopdl_py_work(thread);
    return found;
}

static bool joins(PyThreadState *there)
{
    PyObject *joined = coopdl_py_joined(there);
    Py_XDECREF(joined);
    return joined;
}

/* The thread is in a critical function: how much it has worked since it was found there first. */
static int64_t worked(struct thread *thread)
{
    int64_t work = coopdl_py_work(thread);
    if (!thread->deferral.since) {
        thread->deferral.since = coopdl_now();
        thread->deferral.work = thread->deferral.rested = work;
    }
    return work - thread->deferral.work;
}

static bool has_had_its_time(struct thread *thread, const struct critical *critical, bool overdue)
{
    int64_t work = worked(thread), rested = thread->deferral.rested - thread->deferral.work;
    return critical->kind != CRITICAL_DESTROY && critical->kind != CRITICAL_JOIN &&
           !thread->deferral.waiting &&
           ((overdue && work - rested >= WORKS) || (critical->by_name && work >= ALLOWANCE));
}

static bool ends_after_grace(const struct critical *critical)
{
    return critical->kind == CRITICAL_DESTROY || critical->kind == CRITICAL_START;
}

static void forget(struct deferral *deferral)
{
    deferral->since = 0;
    deferral->waits = deferral->over = false;
}

const char *coopdl_py_deferred_here(struct thread *thread, PyThreadState *here, bool overdue)
{
    struct deferral *deferral = &thread->deferral;
    bool waited = deferral->waits, stood = waits(thread, here, __builtin_frame_address(0), 2);
    const struct critical *critical = coopdl_py_critical(here, thread->due);
    deferral->waits = false;
    if (!critical) {
        forget(deferral);
        return coopdl_py_misplaced(here) ? "where handlers are skipped" : NULL;
    }
    deferral->over = has_had_its_time(thread, critical, overdue);
    if (deferral->over)
        return NULL;
    if (critical->kind == CRITICAL_JOIN || (ends_after_grace(critical) && !overdue))
        return critical->where;
    if (critical->kind == CRITICAL_EXIT && !overdue && joins(here))
        return "waits for a thread";
    stood = stood || (deferral->waiting && critical->kind == CRITICAL_ENTER);
    deferral->waits = stood && coopdl_now() - deferral->since >= WAITS;
    return !deferral->waits ? critical->where : !waited ? "waits for a lock" : NULL;
}

/* A thread that waits goes on as soon as it has its lock, and only then would come to a safe point;
 * so its safe point is where it waits once more. */
const char *coopdl_py_deferred_there(struct thread *thread, PyThreadState *there, bool overdue)
{
    struct deferral *deferral = &thread->deferral;
    const struct critical *critical = coopdl_py_critical(there, thread->due);
    if (!critical) {
        forget(deferral);
        return !overdue && coopdl_py_enters(there) ? "enters a with" : NULL;
    }
    deferral->waits = waits(thread, there, NULL, 3) && (overdue || !ends_after_grace(critical));
    deferral->over = has_had_its_time(thread, critical, overdue);
    return deferral->over ? NULL : deferral->waits ? "waits for a lock" : critical->where;
}

void coopdl_py_wait_begins(struct thread *thread)
{
    thread->deferral.waiting++;
}

void coopdl_py_wait_is_over(struct thread *thread)
{
    thread->deferral.waiting--;
    if (thread->deferral.since)
        thread->deferral.rested = coopdl_py_work(thread);
}

/* In a critical function that takes something, a wait that is short may have come behind another
 * one that was not in vain; in one that gives something back, it is not given back if this ends. */
const char *coopdl_py_deferred_wait(const struct thread *thread, PyThreadState *here,
                                    int64_t waited, bool overdue)
{
    const struct critical *critical = coopdl_py_critical(here, thread->due);
    if (!critical || critical->kind == CRITICAL_JOIN)
        return NULL;
    bool ends = critical->kind == CRITICAL_ENTER ? waited >= WAITS : overdue;
    return ends ? NULL : critical->where;
}
