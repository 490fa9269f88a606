/* SPDX-License-Identifier: Apache-2.0 */
/* hold.h -- whether what is due is held back where a thread is now. */
#ifndef COOPDL_PYTHON_HOLD_H
#define COOPDL_PYTHON_HOLD_H

#include "thread.h"

/* In the calling thread, and in one that stands still. */
bool coopdl_py_holds_here(struct thread *thread, PyThreadState *here);
bool coopdl_py_holds_there(struct thread *thread, PyThreadState *there);

#endif
