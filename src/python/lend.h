/* SPDX-License-Identifier: Apache-2.0 */
/* lend.h -- the deadline of a thread that joins another holds for that other too.  With the GIL. */
#ifndef COOPDL_PYTHON_LEND_H
#define COOPDL_PYTHON_LEND_H

#include "thread.h"

/* If that thread is in Thread.join, lends the entry's deadline to the thread that it joins. */
void coopdl_py_lend_to_joined(struct thread *thread, PyThreadState *there, struct entry *entry);

/* Takes back what has been lent for this entry. */
void coopdl_py_take_back(struct entry *entry);

#endif
