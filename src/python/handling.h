/* SPDX-License-Identifier: Apache-2.0 */
/* handling.h -- whether an exception that was raised is being handled. */
#ifndef COOPDL_PYTHON_HANDLING_H
#define COOPDL_PYTHON_HANDLING_H

#include "thread.h"

/* Whether our exception for that entry is being handled in that thread, the calling one or one that
 * stands still: `there` is its state.  If not, it was swallowed.  With the GIL. */
bool coopdl_py_is_handling(struct module_state *state, const struct thread *thread,
                           PyThreadState *there, const struct entry *owner);

/* Whether this exception or what it was raised in is one of ours for that scope (None: the budget).
 */
bool coopdl_py_stems_from(struct module_state *state, PyObject *exception, PyObject *scope);

#endif
