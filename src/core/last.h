/* SPDX-License-Identifier: Apache-2.0 */
/* last.h -- whether the scheduler is the last thread of a process. */
#ifndef COOPDL_CORE_LAST_H
#define COOPDL_CORE_LAST_H

#include <stdbool.h>

/* The calling thread ends.  Whether the others may end without it: the first thread has ended, or
 * is this one. */
bool coopdl_last_begins(void);

/* Whether no thread is left but the calling one. */
bool coopdl_last_is_self(void);

#endif
