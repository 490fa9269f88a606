/* SPDX-License-Identifier: Apache-2.0 */
/*
 * due.h -- for each slab of records, when the first of its threads is due.
 *
 * So a look at all threads (tick.c) reads one word for each slab, and the records
 * of the slabs that are due: with 10,000 threads some 160 words and 63 records,
 * rather than 10,000 records.
 *
 * What must hold: a slab's `due` is never later than when there is something to do
 * about one of its threads, but while the scheduler looks at its records.  It may be
 * earlier: then a look finds nothing, and corrects it.
 *
 * Who writes.  Whoever makes a thread due earlier changes the record, lowers `due`,
 * and then looks at what the scheduler waits for (scheduler.h).  The scheduler's
 * thread alone raises it, and nothing is left behind in it by a timer's handler that
 * has been interrupted (tick.c).
 *
 * Interleaving of the scheduler's look (due = never; read the records; lower `due`
 * to the earliest of them) and of a thread that changes its record (store the word;
 * lower `due` if it is later), all sequentially consistent:
 * - the word is stored before it is read: it is counted in.  That the thread found a
 *   `due` early enough, which the scheduler has put to `never` since, does no harm;
 * - it is stored after it was read: the thread then finds `never`, or what others, or
 *   the scheduler at its end, have lowered it to, and lowers it itself.
 * The scheduler reads `due` of a slab that it leaves alone after it has put
 * coopdl_scheduler_wake to `never`.  Where that is before the thread lowers it, the
 * thread's look at coopdl_scheduler_wake comes later still, and it wakes the scheduler.
 *
 * All here is async-signal-safe.
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

/* There is something to do about the thread then.  What says so in its record is stored before. */
static inline void coopdl_thread_due(struct coopdl_thread *thread, int64_t when)
{
    coopdl_slab_due(coopdl_slab_of(thread), when);
}

#endif
