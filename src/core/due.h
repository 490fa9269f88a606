/* SPDX-License-Identifier: Apache-2.0 */
/*
 * due.h -- for each slab of records, when the first of its threads is due.
 *
 * A visit to all threads (tick.c) reads one word for each slab, and only the records of the
 * slabs that are due.  With 10,000 threads these are some 160 words and 63 records, and not
 * 10,000 records.
 *
 * What must hold: a slab's `due` is never later than the time when one of its threads needs a
 * visit, except while the scheduler reads the records of the slab.  It may be earlier: then a
 * visit finds nothing to do, and corrects it.
 *
 * Who writes.  A thread that makes a thread due earlier changes the record, lowers `due`, and
 * then looks at what the scheduler waits for (scheduler.h).  Only the scheduler's thread raises
 * `due`.  A timer's handler does not, since it may be interrupted in the middle (tick.c).
 *
 * Interleaving of the scheduler (due = never; read the records; lower `due` to the earliest of
 * them) and of a thread that changes its record (store the word; lower `due` if it is later),
 * all sequentially consistent:
 * - The word is stored before the scheduler reads it: it is among those that the scheduler
 *   found.  The thread may have found a `due` that was early enough and that the scheduler has
 *   set to `never` since: that does no harm.
 * - The word is stored after the scheduler has read it: the thread then finds `never`, or the
 *   time to which others or the scheduler have lowered `due`, and lowers it itself.
 *
 * The scheduler reads the `due` of a slab that it does not visit after it has set
 * coopdl_scheduler_wake to `never`.  If it reads `due` before the thread lowers it, the thread
 * looks at coopdl_scheduler_wake later still, and wakes the scheduler.
 *
 * All code here is async-signal-safe.
 */
#ifndef COOPDL_CORE_DUE_H
#define COOPDL_CORE_DUE_H

#include "core/thread.h"

static inline void coopdl_slab_due(struct coopdl_slab *slab, int64_t when)
{
    int64_t due = atomic_load(&slab->due);
    while (when < due && !atomic_compare_exchange_weak(&slab->due, &due, when))
        ;
}

/* Something is to be done about the thread at that time.  The caller has stored the change in the
 * thread's record before. */
static inline void coopdl_thread_due(struct coopdl_thread *thread, int64_t when)
{
    coopdl_slab_due(coopdl_slab_of(thread), when);
}

#endif
