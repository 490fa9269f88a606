/* SPDX-License-Identifier: Apache-2.0 */
/* alarm.h -- until when the watcher of the deadlines sleeps, and how it is woken earlier.  The
 * watcher is the scheduler's thread (scheduler.c) or, where there is none, a kernel timer
 * (timer.c). */
#ifndef COOPDL_CORE_ALARM_H
#define COOPDL_CORE_ALARM_H

#include "core/due.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

extern atomic_bool coopdl_scheduler_running;

/* Until when the scheduler sleeps; TIME_NEVER while it is awake: then it must be woken for any
 * deadline. */
extern _Atomic int64_t coopdl_scheduler_wake;

/* Sets the timer anew.  Handed in where a timer is started (timer.c); null if there never was one.
 */
extern void (*_Atomic coopdl_alarm_timer)(void);

/* Whether the watcher must be woken now that a thread of this slab has this deadline.  The caller
 * stores the word before this call. */
static inline bool coopdl_wakes(struct coopdl_slab *slab, int64_t deadline)
{
    coopdl_slab_due(slab, deadline);
    return !atomic_load_explicit(&coopdl_scheduler_running, memory_order_relaxed) ||
           deadline < atomic_load(&coopdl_scheduler_wake);
}

/* Wakes the watcher. */
void coopdl_wake(void);

/* Ends the scheduler's sleep, or the one that it is about to begin. */
void coopdl_scheduler_rouse(void);

/* How many alarms the scheduler has seen; and its sleep until a time, which ends at once if there
 * have been more since. */
uint32_t coopdl_alarms(void);
void coopdl_alarm_sleep(int64_t when, uint32_t seen);

/* The scheduler's thread id, 0 if it does not run. */
int32_t coopdl_scheduler_tid(void);
void coopdl_alarm_serves(int32_t tid);

#endif
