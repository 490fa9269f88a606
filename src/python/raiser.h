/* SPDX-License-Identifier: Apache-2.0 */
/* raiser.h -- the thread that has the interpreter's lock for the library's. */
#ifndef COOPDL_PYTHON_RAISER_H
#define COOPDL_PYTHON_RAISER_H

#include "thread.h"

/* Starts it if it does not run; an errno, 0 for none. */
int coopdl_py_raiser_start(void);

/* Ends it; without the interpreter's lock. */
void coopdl_py_raiser_stop(void);

/* In a forked child: it is gone. */
void coopdl_py_raiser_forked(void);

/* Has it look at a thread; what it made of it the last time. */
enum coopdl_verdict coopdl_py_ask(struct thread *thread);

/* Has it go round once. */
void coopdl_py_wake_raiser(void);

/* Takes back what is on its way to the calling thread. */
void coopdl_py_cancel(struct thread *thread);

/* Without the interpreter's lock (free-threaded builds) the raiser and a thread that enters or
 * leaves are kept apart by a lock of their own. */
#ifdef Py_GIL_DISABLED
void coopdl_py_lock(void);
void coopdl_py_unlock(void);
#else
static inline void coopdl_py_lock(void)
{
}
static inline void coopdl_py_unlock(void)
{
}
#endif

#endif
