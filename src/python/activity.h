/* SPDX-License-Identifier: Apache-2.0 */
/* activity.h -- whether a thread works or sleeps. */
#ifndef COOPDL_PYTHON_ACTIVITY_H
#define COOPDL_PYTHON_ACTIVITY_H

#include "thread.h"

/* Who has used so much processor time computes.  The clock does not tell: on a loaded machine a
 * thread may have to wait for a processor for seconds. */
#define COOPDL_PY_COMPUTES (2 * COOPDL_MILLISECOND)

/* The processor time that a thread has used; 0 if it is gone. */
int64_t coopdl_py_work(const struct thread *thread);

/* Whether a thread sleeps in the kernel now, for something else than the GIL, as far as that can be
 * seen.  Without the GIL. */
bool coopdl_py_sleeps(const struct thread *thread);

#endif
