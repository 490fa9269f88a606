/* SPDX-License-Identifier: Apache-2.0 */
/* budget.h -- the process's deadline, as it is raised in the main thread. */
#ifndef COOPDL_PYTHON_BUDGET_H
#define COOPDL_PYTHON_BUDGET_H

#include "thread.h"

/* Outside of all entries of the main thread; never, until it is released. */
extern struct entry coopdl_py_budget;

/* Sets it, but holds it back. */
void coopdl_py_hold_budget(int64_t deadline);
bool coopdl_py_budget_is_held(void);

/* Releases it if the interpreter is past its start; with the interpreter's lock. */
void coopdl_py_release_budget(void);

#endif
