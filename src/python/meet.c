/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meet.c -- threads that have never been in a scope, found by the budget's end.
 *
 * To raise in a thread takes its thread state.  The system knows the thread by a number, which the
 * state does not have up to 3.10.  So the thread is asked: the handler of its kick notes the state
 * that the interpreter knows it by, and the raiser looks for that state among the states of the
 * main interpreter.
 *
 *     UNKNOWN --kick--> seen --raiser--> WORKER --its state is gone (coopdl_py_lose)--> UNKNOWN
 *                            `---------> UNKNOWN, and cut: the thread runs no Python, or runs in
 *                                        another interpreter
 *
 * What must hold:
 * 1. The handler only reads the thread's own memory.
 * 2. The noted state may be old.  The raiser only compares it, and only with states that exist
 *    while it has the GIL.
 * 3. Until a thread has been asked, none of its calls is cut.  A thread whose handler does not run
 *    (the signal is blocked) is cut after VISITS visits.
 *
 * Interleavings.
 * - The thread enters its first scope meanwhile.  It finds the same record, and attaches it.
 * - A thread of a C library runs Python for a moment, and has left it when the raiser looks.  The
 *   raiser finds that the thread runs no Python, and its calls are cut.  Each kick asks it again.
 * - The thread ends.  If it has ever asked for its record, it gives the record back; otherwise the
 *   record stays, and nothing asks about it.
 */
#include "meet.h"

#include <sys/syscall.h>
#include <unistd.h>

enum { VISITS = 5 };

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
    return atomic_fetch_add(&thread->unanswered, 1) < VISITS ? COOPDL_KICK : COOPDL_CUT;
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
