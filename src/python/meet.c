/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meet.c -- the threads that the budget's end finds, which have never been in a scope.
 *
 * A thread is raised in by its state, which is not known of one that has not come to us: the system
 * knows it by a number that the state (up to 3.10) does not have.  So it is asked: its kick's
 * handler notes the state that the interpreter knows it by, and the raiser looks for that among
 * those of the main interpreter.
 *
 *     UNKNOWN --kick--> seen --raiser--> WORKER --its state is gone (coopdl_py_lose)--> UNKNOWN
 *                            `---------> UNKNOWN, and cut: it runs no Python, or in another
 *                                        interpreter
 *
 * What must hold:
 * 1. The handler calls nothing but what reads the thread's own memory.
 * 2. What it has noted may be old: the raiser only compares it, and only with states that are there
 *    while it has the GIL.
 * 3. Until a thread has been asked nothing of it is cut.  One whose handler does not run (it has
 *    the signal blocked) is cut after PATIENCE visits.
 *
 * Interleavings.
 * - The thread enters its first scope meanwhile: it finds the same record, and attaches it.
 * - A thread of a C library runs Python for a moment, and no longer when the raiser looks: it is
 *   found to run none, and is cut.  It is asked again at each kick.
 * - It ends: its record is given back by itself, if it has ever asked for it; else it stays, and is
 *   asked about by nobody.
 */
#include "meet.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { PATIENCE = 5 };

/* Whether any thread is to be met. */
static _Atomic bool meeting;

void coopdl_py_see(void)
{
    if (!atomic_load(&meeting))
        return;
    struct thread *thread = coopdl_py_find((pid_t)syscall(SYS_gettid));
    if (!thread || thread->kind != KIND_UNKNOWN)
        return;
    atomic_store(&thread->seen, PyGILState_GetThisThreadState());
    atomic_store(&thread->looked, true);
}

bool coopdl_py_is_seen(const struct thread *thread)
{
    return atomic_load(&thread->looked);
}

enum coopdl_verdict coopdl_py_unseen(struct thread *thread)
{
    atomic_store(&meeting, true);
    return atomic_fetch_add(&thread->unanswered, 1) < PATIENCE ? COOPDL_KICK : COOPDL_CUT;
}

bool coopdl_py_meet(struct thread *thread)
{
    PyThreadState *seen = atomic_load(&thread->seen);
    PyThreadState *state = seen ? PyInterpreterState_ThreadHead(PyInterpreterState_Main()) : NULL;
    while (state && state != seen)
        state = PyThreadState_Next(state);
    if (!state)
        return false;
    coopdl_py_attach(thread, state);
    return true;
}

enum coopdl_verdict coopdl_py_lose(struct thread *thread)
{
    if (atomic_load(&thread->base) != &thread->budget)
        return COOPDL_HANDLING;
    thread->kind = KIND_UNKNOWN;
    return COOPDL_CUT;
}
