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
 *
 * Python's handler also writes the number of the signal to the descriptor that the program has
 * named by signal.set_wakeup_fd.  For our signal that byte is not written, by a thread that marks
 * it: an event loop closes the descriptor before it takes it back, and then the number may belong
 * to a file of another thread.  So the interpreter's call of write is ours (got.c).  The byte is
 * needed by nobody, since the kick ends the main thread's wait.
 */
#include "interrupt.h"

#include "got.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <unistd.h>

static _Atomic int number; /* 0: none */
static coopdl_py_mark *_Atomic python_handler;

static bool is_ours(int signal)
{
    struct sigaction now;
    return sigaction(signal, NULL, &now) == 0 && sigismember(&now.sa_mask, signal) == 1;
}

/* The calling thread marks our signal.  In a signal handler too: it is in the static block of
 * thread-local variables, like all of this module (-ftls-model), and is there without a call. */
static _Thread_local volatile bool marking;

/* In the place of the interpreter's import.  A signal of the program's may interrupt the thread
 * while it marks ours, and its byte is written. */
static ssize_t write_of_others(int file, const void *data, size_t size)
{
    bool ours =
        unlikely(marking) && size == 1 && *(const unsigned char *)data == atomic_load(&number);
    return ours ? (ssize_t)size : write(file, data, size);
}

static void mark(int signal)
{
    bool outer = marking; /* of the code that a kick has interrupted */
    marking = true;
    atomic_load (&python_handler)(signal);
    marking = outer;
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
    (void)coopdl_py_replace_import((void (*)(void))PyEval_SaveThread, "write",
                                   (void (*)(void))write_of_others);
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
    mark(signal);
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
