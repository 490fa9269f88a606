/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold.c -- whether what is due is held back where a thread is now.
 *
 * It is where the handlers of its code would be skipped, or where what has been
 * taken is given back by nobody yet: place.c says where that is, and finds a
 * better place.  But what computes or waits there for long is not to go on for
 * ever, so it is held back for a while only: until so much processor time has
 * been used there, or for as long as it takes to be sure that the thread waits.
 */
#include "hold.h"

#include "code.h"
#include "place.h"

#define WAITS (2 * COOPDL_MILLISECOND)
#define COMPUTES (10 * COOPDL_MILLISECOND)

/* Whether a thread is where it was when it was looked at the last few times, and has not worked for
 * most of the time (then it has only come there again): it waits.  What was found before it came to
 * where nothing is to be raised counts for nothing.
 * A thread that looks itself may do so behind the call that waits, and have what it waited for: but
 * then its stack is shorter than in it.  For it two looks are enough, after 1 and 3 ms: the others
 * are 7 and 15 ms late, and another thread may be found waiting for the interpreter's lock. */
static bool stands(struct thread *thread, PyThreadState *there, const void *stack, int looks)
{
    PyFrameObject *frame = PyThreadState_GetFrame(there);
    PyCodeObject *code = frame ? PyFrame_GetCode(frame) : NULL;
    int at = frame ? coopdl_py_code_at(frame) : -1;
    bool same = thread->hold.since && thread->hold.code == code && thread->hold.at == at &&
                thread->hold.stack == stack;
    thread->hold.code = code;
    thread->hold.at = at;
    thread->hold.stack = stack;
    thread->hold.stood = same ? thread->hold.stood + 1 : 0;
    Py_XDECREF(code);
    Py_XDECREF(frame);
    return thread->hold.stood >= looks &&
           2 * (coopdl_py_work(thread) - thread->hold.work) < coopdl_now() - thread->hold.since;
}

/* It is where nothing is to be raised: how much it has worked since it was found there first. */
static int64_t worked(struct thread *thread)
{
    int64_t work = coopdl_py_work(thread);
    if (!thread->hold.since) {
        thread->hold.since = coopdl_now();
        thread->hold.work = work;
    }
    return work - thread->hold.work;
}

/* Whether nothing is to be raised where the calling thread is.  In an `__enter__` or the like that
 * is so for a while: code that computes there is ended at last.  What waits there is ended sooner:
 * where it goes round a loop, since who waits with a time-out looks only behind each call, or,
 * still there the next time, in its wait. */
bool coopdl_py_holds_here(struct thread *thread, PyThreadState *here)
{
    bool waited = thread->hold.waits, stood = stands(thread, here, __builtin_frame_address(0), 2);
    thread->hold.waits = false;
    if (!coopdl_py_between(here)) {
        thread->hold.since = 0;
        return coopdl_py_misplaced(here, true);
    }
    if (worked(thread) >= COMPUTES)
        return false;
    thread->hold.waits = stood && coopdl_now() - thread->hold.since >= WAITS;
    return !thread->hold.waits || !waited;
}

/* The same for another thread.  One that waits goes on as soon as it has its lock, and only then
 * would see an asynchronous exception; so its place is where it waits once more. */
bool coopdl_py_holds_there(struct thread *thread, PyThreadState *there)
{
    bool between = coopdl_py_between(there);
    thread->hold.waits = between && stands(thread, there, NULL, 3);
    if (!between && !coopdl_py_misplaced(there, false)) {
        thread->hold.since = 0;
        return false;
    }
    return worked(thread) < COMPUTES || (!between && coopdl_py_misplaced(there, true));
}
