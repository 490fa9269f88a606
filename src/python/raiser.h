/* SPDX-License-Identifier: Apache-2.0 */
/* raiser.h -- the thread that waits for the GIL in the place of the library's thread. */
#ifndef COOPDL_PYTHON_RAISER_H
#define COOPDL_PYTHON_RAISER_H

#include "thread.h"

/* Starts it if it does not run; an errno, 0 for none. */
int coopdl_py_raiser_start(void);

/* Ends it; without the GIL. */
void coopdl_py_raiser_stop(void);

/* In a forked child: it is gone. */
void coopdl_py_raiser_forked(void);

/* Whether it is this thread. */
bool coopdl_py_is_raiser(pid_t tid);

/* Has it look at a thread; what it found at the last look. */
enum coopdl_verdict coopdl_py_ask(struct thread *thread);

#endif
