/* SPDX-License-Identifier: Apache-2.0 */
/* work.h -- whether an exception that was raised is at work, or was swallowed. */
#ifndef COOPDL_PYTHON_WORK_H
#define COOPDL_PYTHON_WORK_H

#include "thread.h"

/* Whether one for that entry is at work in that thread, the calling one or one that stands still:
 * `there` is the interpreter's record of it. */
bool coopdl_py_at_work(struct module_state *state, const struct thread *thread,
                       PyThreadState *there, const struct entry *owner);

#endif
