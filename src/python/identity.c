/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.c -- the main thread's identity, lent to a worker whose C code looks for signals.
 *
 * C code that computes for long (re, int, pow) calls PyErr_CheckSignals, which handles signals in
 * the main thread only: the thread whose ident is _PyRuntime.main_thread.  A worker that holds the
 * GIL is lent that ident, and our signal is marked as received.  The worker's next
 * PyErr_CheckSignals, or the interpreter's loop, then calls coopdl_py_on_signal in the worker.
 * That gives the identity back before anything else, and raises what is due.
 *
 *            kicked, holds the GIL
 *     NONE ----------------------------------------> LENT
 *      ^                                              |  our signal is handled
 *      '----------------------------------------------'  the thread gives the GIL away, leaves
 *                                                        the scope, is kicked again, or forks
 *
 * What must hold:
 * 1. Only the borrower makes these transitions, and it holds the GIL from LENT to NONE.  So no
 *    Python code ever runs in a main thread that is not itself.  The interpreter gives the GIL away
 *    by pthread_cond_signal, inside the GIL's mutex: its call of that is ours (got.c), which ends
 *    the loan first.  Without that nothing is lent.
 * 2. A signal of the program's waits for the main thread.  While LENT the signals that Python
 *    handles are set aside: the kernel's action notes the signal, and the end of the loan hands it
 *    to Python's own.  Signals that wait already are unmarked for the loan (marks.c), and marked
 *    again at its end.
 * 3. Our signal that nobody has handled is left marked: the main thread handles it, and finds that
 *    nothing is due.  The interpreter's note that some signal waits is taken back with the loan,
 *    or the next loan would take it for a signal of the program's.
 * 4. All of it is async-signal-safe.
 *
 * Interleavings.
 * - A signal arrives in another thread while the loan ends.  The borrower first says that there is
 *   no loan, and then looks for what was set aside; that other thread notes the signal first, and
 *   then looks whether there is a loan.  At least one of them hands the signal over.
 * - The kick comes while the borrower ends its loan.  The handler finds that it holds the GIL
 *   still, or not any more: the thread state is cleared before the GIL is given away.
 * - The main thread runs a handler of the program's, and further signals are marked, when the
 *   worker gets the GIL.  The loan puts them off too, and has the main thread look again.
 * - C code without the GIL changes the action of a signal meanwhile.  That action stays.
 */
#define Py_BUILD_CORE
#include "identity.h"

#include "got.h"
#include "interrupt.h"
#include "marks.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wconversion"
#include <internal/pycore_ceval.h>
#include <internal/pycore_interp.h>
#include <internal/pycore_runtime.h>
#pragma GCC diagnostic pop

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma weak _PyRuntime

static unsigned long main_ident; /* 0: nothing can be lent */
static _Atomic bool wanted;      /* a thread has been asked to borrow, ever */
static _Atomic pid_t borrower;
static struct sigaction actions[SIGNALS + 1]; /* of signals that are set aside, while lent */
static uint64_t replaced;                     /* which these are */
static _Atomic uint64_t aside;                /* those that have arrived meanwhile */

static uint64_t bit(int number)
{
    return (uint64_t)1 << (number - 1);
}

/* Whether the interpreter has noted that some signal waits for the main thread. */
static bool is_noted(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return __atomic_load_n(&_PyRuntime.main_tstate->eval_breaker, __ATOMIC_SEQ_CST) &
           _PY_SIGNALS_PENDING_BIT;
#else
    return _Py_atomic_load(&_PyRuntime.ceval.signals_pending) != 0;
#endif
}

static void take_note_back(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    __atomic_and_fetch(&_PyRuntime.main_tstate->eval_breaker, ~(uintptr_t)_PY_SIGNALS_PENDING_BIT,
                       __ATOMIC_SEQ_CST);
#else
    _Py_atomic_store(&_PyRuntime.ceval.signals_pending, 0);
#endif
}

static uint64_t put_off; /* signals of the program's that waited when the identity was lent */
static bool noted;       /* some signal waited then, perhaps ours for the main thread */

/* Takes the program's signals that wait away from the interpreter. */
static void put_signals_off(void)
{
    int ours = coopdl_py_interrupt_number();
    noted = is_noted();
    put_off = 0;
    for (int number = 1; number <= SIGNALS; number++)
        if (number != ours && coopdl_py_mark_exchange(number, false))
            put_off |= bit(number);
}

/* Gives them back.  Our own signal, marked after them, has the main thread's loop look for all; a
 * signal of the program's does so where the program has taken ours away. */
static void put_signals_back(void)
{
    int last = 0;
    for (int number = 1; number <= SIGNALS; number++)
        if (put_off & bit(number)) {
            (void)coopdl_py_mark_exchange(number, true);
            last = number;
        }
    if ((last || noted) && !coopdl_py_interrupt_main() && last)
        coopdl_py_interrupt_mark()(last);
    put_off = 0;
}

/* The calling thread's state, if it holds the GIL. */
static PyThreadState *holder(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    PyThreadState *current = PyThreadState_GetUnchecked();
#else
    PyThreadState *current = _PyThreadState_UncheckedGet();
#endif
    return current && current == PyGILState_GetThisThreadState() ? current : NULL;
}

static void hand_over(void)
{
    uint64_t arrived = atomic_exchange(&aside, 0);
    for (int number = 1; arrived; number++, arrived >>= 1)
        if (arrived & 1)
            coopdl_py_interrupt_mark()(number);
}

/* The kernel's action while the identity is lent. */
static void set_aside(int number)
{
    atomic_fetch_or(&aside, bit(number));
    if (!atomic_load(&borrower))
        hand_over();
}

static void replace_actions(void)
{
    replaced = 0;
    for (int number = 1; number <= SIGNALS; number++) {
        struct sigaction *action = &actions[number];
        if (sigaction(number, NULL, action) != 0 || action->sa_flags & SA_SIGINFO ||
            action->sa_handler != coopdl_py_interrupt_mark())
            continue;
        struct sigaction ours = *action;
        ours.sa_handler = set_aside;
        if (sigaction(number, &ours, NULL) == 0)
            replaced |= bit(number);
    }
}

static void restore_actions(void)
{
    for (int number = 1; number <= SIGNALS; number++) {
        struct sigaction now;
        if (replaced & bit(number) && sigaction(number, NULL, &now) == 0 &&
            !(now.sa_flags & SA_SIGINFO) && now.sa_handler == set_aside)
            sigaction(number, &actions[number], NULL);
    }
    replaced = 0;
}

static void end_loan(void)
{
    _PyRuntime.main_thread = main_ident;
    take_note_back();
    put_signals_back();
    restore_actions();
    atomic_store(&borrower, 0);
    hand_over();
}

static bool is_borrower(void)
{
    return unlikely(atomic_load(&borrower)) && atomic_load(&borrower) == (pid_t)syscall(SYS_gettid);
}

void coopdl_py_identity_give_back(void)
{
    if (is_borrower())
        end_loan();
}

/* The loop takes the note back before it calls the handler. */
bool coopdl_py_identity_handle(void)
{
    if (!is_borrower())
        return false;
    bool loop = PY_VERSION_HEX < 0x030D0000 && !is_noted();
    end_loan();
    return loop;
}

/* In the place of the interpreter's import. */
static int signal_condition(pthread_cond_t *condition)
{
    coopdl_py_identity_give_back();
    return pthread_cond_signal(condition);
}

bool coopdl_py_identity_want(struct thread *thread)
{
    if (!main_ident || atomic_load(&borrower))
        return false;
    atomic_store(&thread->borrows, true);
    atomic_store(&wanted, true);
    return true;
}

static void lend(pid_t here, PyThreadState *state)
{
    pid_t nobody = 0;
    if (!atomic_compare_exchange_strong(&borrower, &nobody, here))
        return;
    replace_actions();
    put_signals_off();
    _PyRuntime.main_thread = (unsigned long)pthread_self();
    if (!coopdl_py_interrupt_main()) {
        end_loan();
        return;
    }
#if PY_VERSION_HEX >= 0x030D0000
    /* That has told the main thread's loop only. */
    __atomic_or_fetch(&state->eval_breaker, _PY_SIGNALS_PENDING_BIT, __ATOMIC_SEQ_CST);
#else
    (void)state;
#endif
}

void coopdl_py_identity_lend(void)
{
    if (likely(!atomic_load(&wanted)))
        return;
    pid_t here = (pid_t)syscall(SYS_gettid);
    struct thread *thread = coopdl_py_find(here);
    if (!thread || !atomic_exchange(&thread->borrows, false))
        return;
    coopdl_py_identity_give_back();
    PyThreadState *state = holder();
    if (state && state == thread->attached.state)
        lend(here, state);
}

/* The calling thread is the child's main thread from here on.  What was sent to the parent is the
 * parent's.  A kick may come at once, before Python knows of the child: the deadlines of the thread
 * hang on a timer. */
void coopdl_py_identity_forked(void)
{
    if (main_ident)
        main_ident = (unsigned long)pthread_self();
    atomic_store(&aside, 0);
    if (atomic_load(&borrower))
        end_loan();
}

/* Whether our signal, once it is marked, is seen where this version's headers have the marks.  The
 * main thread handles it next, and finds that nothing is due. */
static bool is_seen(void)
{
    return coopdl_py_interrupt_main() && is_noted() &&
           coopdl_py_mark_exchange(coopdl_py_interrupt_number(), true);
}

bool coopdl_py_identity_start(PyObject *handler)
{
    unsigned long here = (unsigned long)pthread_self();
    if (main_ident)
        return true;
    if (&_PyRuntime == NULL || _PyRuntime.main_thread != here)
        return false;
#if PY_VERSION_HEX >= 0x030D0000
    if (_PyRuntime.main_tstate != PyThreadState_Get())
        return false;
#endif
    if (!coopdl_py_marks_find(coopdl_py_interrupt_number(), handler) || !is_seen())
        return false;
    if (!coopdl_py_replace_import((void (*)(void))PyEval_SaveThread, "pthread_cond_signal",
                                  (void (*)(void))signal_condition))
        return false;
    main_ident = here;
    return true;
}
