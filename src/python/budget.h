/* SPDX-License-Identifier: Apache-2.0 */
/* budget.h -- the process's deadline, as it is raised in its threads. */
#ifndef COOPDL_PYTHON_BUDGET_H
#define COOPDL_PYTHON_BUDGET_H

#include "thread.h"

/* From the interpreter's start until the program's. */
void coopdl_py_hold_budget(bool hold);

/* Whether the interpreter is past its start, so that the budget may be raised.  With the GIL, in
 * the main thread. */
bool coopdl_py_started(void);

/* The same as far as it has been found out; without the GIL. */
bool coopdl_py_is_started(void);

/* Why the budget is not raised in a thread yet, the calling one or one that stands still; null if
 * it may be.  With the GIL. */
const char *coopdl_py_budget_waits(const struct thread *thread, PyThreadState *there, int64_t now);

#endif
