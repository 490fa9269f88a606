/* SPDX-License-Identifier: Apache-2.0 */
/* pause.h -- how long a call that is cut waits first, so that no program storms. */
#ifndef COOPDL_CORE_PAUSE_H
#define COOPDL_CORE_PAUSE_H

#include "core/thread.h"

#define COOPDL_LONGEST_PAUSE (50 * COOPDL_MILLISECOND)

/* Counts a call that `owner` is about to cut, or an attempt to connect, and returns for how many ns
 * it is to pause.  `sleep`: for how many ns the call would have slept if it is a sleep;
 * COOPDL_NEVER for any other; 0 for one that has paused and been counted already. */
int64_t coopdl_pause_due(struct coopdl_entry *owner, int64_t sleep);

/* Pauses the calling thread, until a time and through all kicks, but no longer than it is cut. */
void coopdl_pause(struct coopdl_thread *thread, int64_t ns);

/* The calling thread's process has begun just now: the deadlines that had passed by then begin at
 * the longest pause. */
void coopdl_pause_born_late(struct coopdl_thread *thread, int64_t born);

#endif
