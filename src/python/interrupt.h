/* SPDX-License-Identifier: Apache-2.0 */
/* interrupt.h -- the signal of Python's by which the main thread is interrupted. */
#ifndef COOPDL_PYTHON_INTERRUPT_H
#define COOPDL_PYTHON_INTERRUPT_H

#include "module.h"

/* With the GIL, in the main thread, where no handler is installed: `handler` is called for the
 * signal from now on.  -1 with an exception set. */
int coopdl_py_interrupt_install(PyObject *handler);

/* Marks the signal as received.  False if there is none: no handler was installed, or the program
 * has taken the handler away.  From any thread, without the GIL, and async-signal-safe. */
bool coopdl_py_interrupt_main(void);

/* Python's handler of the kernel's signals: it marks a signal as received. */
typedef void coopdl_py_mark(int number);

coopdl_py_mark *coopdl_py_interrupt_mark(void);

/* The signal's number; 0 if there is none. */
int coopdl_py_interrupt_number(void);

/* Whether a handler is installed, as far as is known. */
bool coopdl_py_interrupts(void);

#endif
