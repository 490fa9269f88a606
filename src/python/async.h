/* SPDX-License-Identifier: Apache-2.0 */
/* async.h -- an asynchronous exception, from another thread. */
#ifndef COOPDL_PYTHON_ASYNC_H
#define COOPDL_PYTHON_ASYNC_H

#include "thread.h"

/* The interpreter's own record of a thread; null if that is gone, or cannot be held. */
PyThreadState *coopdl_py_there(const struct thread *thread);

/* Has what is due for an entry raised in a thread as soon as it looks at its interrupts. */
void coopdl_py_send(struct module_state *state, struct thread *thread, struct entry *owner);

/* Whether it has not been raised yet. */
bool coopdl_py_under_way(const struct thread *thread);

/* Takes it back. */
void coopdl_py_take_back(struct module_state *state, struct thread *thread);

/* For the raiser, after each of these: spares other threads the consequences.  True if they can
 * come again in a moment. */
bool coopdl_py_lower_flag(void);

#endif
