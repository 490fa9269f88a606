/* SPDX-License-Identifier: Apache-2.0 */
/* identity.h -- the main thread's identity, lent to a worker whose C code looks for signals. */
#ifndef COOPDL_PYTHON_IDENTITY_H
#define COOPDL_PYTHON_IDENTITY_H

#include "thread.h"

/* With the GIL, in the main thread, once our signal has this handler (interrupt.c): whether there
 * is an identity that can be lent. */
bool coopdl_py_identity_start(PyObject *handler);

/* Asks for a loan to this thread, which is kicked next; false if none can be made.  From any thread
 * and without the GIL. */
bool coopdl_py_identity_want(struct thread *thread);

/* In a kicked thread's signal handler: lends the identity to this thread, if that was asked for and
 * it has the GIL, and marks our signal as received. */
void coopdl_py_identity_lend(void);

/* In the borrower: ends the loan.  In any other thread: nothing. */
void coopdl_py_identity_give_back(void);

/* The same, in the handler of our signal.  True where that handler must not fail: up to 3.12 the
 * interpreter's loop would note, as it does for the main thread, that signals wait. */
bool coopdl_py_identity_handle(void);

/* In a forked child, before Python knows of it. */
void coopdl_py_identity_forked(void);

#endif
