/* SPDX-License-Identifier: Apache-2.0 */
/* alarm.c -- until when the deadlines' watcher sleeps, and how it is woken for an earlier one.
 *
 * The interleavings are in scheduler.c.  All here is async-signal-safe. */
#include "core/alarm.h"

#include "core/clock.h"
#include "core/futex.h"
#include "core/sys.h"

atomic_bool coopdl_scheduler_running;
_Atomic int64_t coopdl_scheduler_wake = TIME_NEVER;
void (*_Atomic coopdl_alarm_timer)(void);

static _Atomic uint32_t alarms;
static _Atomic int32_t scheduler_tid;

void coopdl_wake(void)
{
    if (atomic_load_explicit(&coopdl_scheduler_running, memory_order_relaxed)) {
        coopdl_scheduler_rouse();
        return;
    }
    void (*timer)(void) = atomic_load(&coopdl_alarm_timer);
    if (timer)
        timer();
}

void coopdl_scheduler_rouse(void)
{
    atomic_fetch_add(&alarms, 1);
    coopdl_sys(SYS_futex, &alarms, FUTEX_WAKE | FUTEX_PRIVATE, 1);
}

uint32_t coopdl_alarms(void)
{
    return atomic_load(&alarms);
}

void coopdl_alarm_sleep(int64_t when, uint32_t seen)
{
    struct timespec until = coopdl_timespec(when);
    /* FUTEX_WAIT_BITSET is the wait that takes an absolute time; this mask lets any wake-up end it.
     */
    coopdl_sys(SYS_futex, &alarms, FUTEX_WAIT_BITSET | FUTEX_PRIVATE, seen,
               when == TIME_NEVER ? NULL : &until, 0, ~UINT32_C(0));
}

int32_t coopdl_scheduler_tid(void)
{
    return atomic_load(&scheduler_tid);
}

void coopdl_alarm_serves(int32_t tid)
{
    atomic_store(&scheduler_tid, tid);
}
