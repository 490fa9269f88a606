/* SPDX-License-Identifier: Apache-2.0 */
/* defer.h -- whether a raise is deferred because of where a thread is. */
#ifndef COOPDL_PYTHON_DEFER_H
#define COOPDL_PYTHON_DEFER_H

#include "thread.h"

/* The calling thread waits for another one, in a call that either gets what it waits for or fails:
 * an exception inside that call loses nothing. */
void coopdl_py_wait_begins(struct thread *thread);
void coopdl_py_wait_is_over(struct thread *thread);

/* Why nothing is to be raised in the calling thread, which looks at its signals; null if an
 * exception may be raised. `overdue`: the grace of the deadline is over. */
const char *coopdl_py_deferred_here(struct thread *thread, PyThreadState *here, bool overdue);

/* The same where the calling thread is in a wait for another one that has lasted for `waited` ns
 * after a deadline, and has not got what it waits for. */
const char *coopdl_py_deferred_wait(const struct thread *thread, PyThreadState *here,
                                    int64_t waited, bool overdue);

/* The same for a thread that stands still.  There nothing is raised at once, but at a safe point of
 * its own: sets `thread->deferral` so that the right frame is chosen for that. */
const char *coopdl_py_deferred_there(struct thread *thread, PyThreadState *there, bool overdue);

#endif
