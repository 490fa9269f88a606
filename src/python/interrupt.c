/* SPDX-License-Identifier: Apache-2.0 */
/*
 * interrupt.c -- the signal of Python's by which the main thread is interrupted.
 *
 * The interpreter's handler of the kernel's signals marks a signal as received, and needs no GIL
 * for that.  It is called here, and no signal is sent.  Only Python's side of a realtime signal is
 * used: the kernel's action of that signal stays the default one.
 *
 * What must hold: nothing is marked as received that has no Python handler.  The program may take
 * ours away (a server that sets all signals back), and only the holder of the GIL may ask Python
 * for the handler.  So the kernel's action has the signal itself in its mask, which is without
 * effect while the action is the default one.  Python's signal.signal() empties that mask.
 *
 * PyErr_SetInterruptEx is not used: it compares handlers, and without the GIL that comparison
 * crashes where the handler is a number.
 */
#include "interrupt.h"

#include <signal.h>
#include <stdatomic.h>

static _Atomic int number; /* 0: none */
static coopdl_py_mark *_Atomic python_handler;

static bool is_ours(int signal)
{
    struct sigaction now;
    return sigaction(signal, NULL, &now) == 0 && sigismember(&now.sa_mask, signal) == 1;
}

/* A realtime signal that nobody uses. */
static int free_signal(struct sigaction *before)
{
    for (int signal = SIGRTMAX - 6; signal > SIGRTMIN; signal--)
        if (sigaction(signal, NULL, before) == 0 && !(before->sa_flags & SA_SIGINFO) &&
            before->sa_handler == SIG_DFL)
            return signal;
    PyErr_SetString(PyExc_RuntimeError, "coopdl: every realtime signal is in use");
    return 0;
}

int coopdl_py_interrupt_install(PyObject *handler)
{
    struct sigaction before, pythons;
    int signal = free_signal(&before);
    if (!signal)
        return -1;
    PyObject *module = PyImport_ImportModule("_signal");
    PyObject *old = module ? PyObject_CallMethod(module, "signal", "iO", signal, handler) : NULL;
    Py_XDECREF(module);
    if (!old)
        return -1;
    Py_DECREF(old);
    sigaddset(&before.sa_mask, signal);
    sigaction(signal, &before, &pythons);
    atomic_store(&python_handler, pythons.sa_handler);
    atomic_store(&number, signal);
    return 0;
}

bool coopdl_py_interrupt_main(void)
{
    int signal = atomic_load(&number);
    if (!signal)
        return false;
    if (!is_ours(signal)) {
        atomic_compare_exchange_strong(&number, &signal, 0);
        return false;
    }
    atomic_load (&python_handler)(signal);
    return true;
}

int coopdl_py_interrupt_number(void)
{
    return atomic_load(&number);
}

coopdl_py_mark *coopdl_py_interrupt_mark(void)
{
    return atomic_load(&python_handler);
}

bool coopdl_py_interrupts(void)
{
    return atomic_load_explicit(&number, memory_order_relaxed) != 0;
}
