/* SPDX-License-Identifier: Apache-2.0 */
/* scheduler.h -- the thread that watches the deadlines of scopes. */
#ifndef COOPDL_CORE_SCHEDULER_H
#define COOPDL_CORE_SCHEDULER_H

#include "core/alarm.h"

int coopdl_scheduler_launch(void);

/* Starts the scheduler's thread if it does not run: 0 or an errno. */
static inline int coopdl_scheduler_start(void)
{
    return __builtin_expect(atomic_load_explicit(&coopdl_scheduler_running, memory_order_relaxed),
                            1)
               ? 0
               : coopdl_scheduler_launch();
}

/* Waits until the scheduler has ended its current round. */
void coopdl_scheduler_rest(void);

/* The calling thread, which has a record, ends. */
void coopdl_scheduler_loses(void);

/* In a forked child, which has no scheduler. */
void coopdl_scheduler_forked(void);

#endif
