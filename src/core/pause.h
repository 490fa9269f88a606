/* SPDX-License-Identifier: Apache-2.0 */
/* pause.h -- how long a call that is cut waits first, so that a loop of calls does not burn a core.
 */
#ifndef COOPDL_CORE_PAUSE_H
#define COOPDL_CORE_PAUSE_H

#include "core/thread.h"

#define COOPDL_LONGEST_PAUSE (50 * COOPDL_MILLISECOND)

/* Counts a call that `owner` is about to cut, or an attempt to connect.  Returns for how many ns
 * the call is to pause.  `sleep`: the duration in ns if the call is a sleep; COOPDL_NEVER for any
 * other call; 0 for a call that has been counted and has paused already. */
int64_t coopdl_pause_due(struct coopdl_entry *owner, int64_t sleep);

/* Pauses the calling thread until a fixed time, through all kicks, but no longer than it is cut. */
void coopdl_pause(struct coopdl_thread *thread, int64_t ns);

/* The calling thread's process has just begun: for deadlines that had passed before, the longest
 * pause applies from the first cut on. */
void coopdl_pause_born_late(struct coopdl_thread *thread, int64_t born);

#endif
