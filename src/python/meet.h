/* SPDX-License-Identifier: Apache-2.0 */
/* meet.h -- the threads that the budget's end finds, which have never been in a scope. */
#ifndef COOPDL_PYTHON_MEET_H
#define COOPDL_PYTHON_MEET_H

#include "thread.h"

/* In a kick's handler: which state the kicked thread has, if it is to be met. */
void coopdl_py_see(void);

/* Whether that handler has run; and what is to be done about a thread in which it has not.  On the
 * library's thread. */
bool coopdl_py_is_seen(const struct thread *thread);
enum coopdl_verdict coopdl_py_unseen(struct thread *thread);

/* Whether a thread runs Python, in the main interpreter: then it is known from here on.  With the
 * GIL. */
bool coopdl_py_meet(struct thread *thread);

/* A thread that has left Python: what becomes of its calls.  With the GIL. */
enum coopdl_verdict coopdl_py_lose(struct thread *thread);

#endif
