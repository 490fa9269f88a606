/* SPDX-License-Identifier: Apache-2.0 */
/* budget.h -- the process's deadline, as it is raised in the main thread. */
#ifndef COOPDL_PYTHON_BUDGET_H
#define COOPDL_PYTHON_BUDGET_H

#include "thread.h"

/* Outside of all entries of the main thread. */
extern struct entry coopdl_py_budget;

/* From the interpreter's start until the program's. */
void coopdl_py_hold_budget(bool hold);

/* Whether the interpreter is past its start, so that the budget may be raised.  With the GIL, in
 * the main thread. */
bool coopdl_py_started(void);

/* The same as far as it has been found out; without the GIL. */
bool coopdl_py_is_started(void);

#endif
