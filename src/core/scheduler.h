/* SPDX-License-Identifier: Apache-2.0 */
/* scheduler.h -- the thread that watches the deadlines of scopes. */
#ifndef COOPDL_CORE_SCHEDULER_H
#define COOPDL_CORE_SCHEDULER_H

#include "core/timer.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

extern atomic_bool coopdl_scheduler_running;

/* Until when the scheduler sleeps; TIME_NEVER while it is awake: then it wants to be told. */
extern _Atomic int64_t coopdl_scheduler_wake;

int coopdl_scheduler_launch(void);
void coopdl_scheduler_rouse(void);

/* Starts it if it does not run: 0 or an errno. */
static inline int coopdl_scheduler_start(void)
{
    return __builtin_expect(atomic_load_explicit(&coopdl_scheduler_running, memory_order_relaxed),
                            1)
               ? 0
               : coopdl_scheduler_launch();
}

/* Whether whoever watches must be told of a thread's word that now holds this deadline.  The word
 * is stored first, this look comes after it. */
static inline bool coopdl_wakes(int64_t deadline)
{
    return !atomic_load_explicit(&coopdl_scheduler_running, memory_order_relaxed) ||
           deadline < atomic_load(&coopdl_scheduler_wake);
}

/* Tells him. */
static inline void coopdl_wake(void)
{
    if (atomic_load_explicit(&coopdl_scheduler_running, memory_order_relaxed))
        coopdl_scheduler_rouse();
    else
        coopdl_timer_follow();
}

/* Waits until the round that the scheduler is in has ended. */
void coopdl_scheduler_rest(void);

/* The calling thread, which has a record, ends. */
void coopdl_scheduler_loses(void);

/* The scheduler's thread id, 0 if it does not run. */
int32_t coopdl_scheduler_tid(void);

/* In a forked child: there is none any more. */
void coopdl_scheduler_forked(void);

#endif
