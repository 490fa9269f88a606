/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waits.h -- the table of waits that a report is made from (coopdl --report).
 *
 * The command makes the table, in a file without a name.  All processes that are measured map it
 * and write to it (preload/measure.c), and the command reads it when they have ended
 * (cli/report.c).  There is a row for each combination of a place that makes calls and a target
 * of these calls.  A row is never removed.  The call that a thread is in at the moment is among
 * the `live` entries: so a call that never returns because its process is killed is counted too,
 * when the process is waited for.
 *
 * What must hold: there are no locks, and a process that dies at any moment leaves a table that
 * the others can use.  A row belongs to its key, the hash of its texts.  A process that finds a
 * row that is not `ready` writes the texts once more; they are the same.
 */
#ifndef COOPDL_CORE_WAITS_H
#define COOPDL_CORE_WAITS_H

#include "coopdl.h"

#include <stdatomic.h>
#include <stdint.h>

/* Where the descriptor of that file leads to, without a number of its own: its name. */
#define COOPDL_WAITS_FILE "coopdl-report"

enum {
    COOPDL_WAITS_VERSION = 0x636f0001,
    COOPDL_WAITS_ROWS = 4096,
    COOPDL_WAITS_LIVE = 1024,
    COOPDL_WAITS_PROBES = 64
};

struct coopdl_waits_row {
    _Atomic uint64_t key;                   /* 0: it is free */
    _Atomic uint64_t count, total, longest; /* the times in ns */
    _Atomic uint32_t ready;
    _Atomic uint32_t cuts;
    _Atomic uint32_t unfinished; /* of `count`: the process has ended in the call */
    uint32_t unused;
    char program[16], call[24], library[48], function[64];
    char target[sizeof(((struct coopdl_cut *)0)->target)];
};

/* The call that a thread is in.  A thread takes the entry for the call, and gives it back
 * afterwards. */
struct coopdl_waits_live {
    _Atomic uint64_t owner; /* the process's id, and the thread's below it; 0: it is free */
    _Atomic uint64_t begun; /* 0: not yet */
    _Atomic uint32_t row;
    uint32_t unused;
};

struct coopdl_waits {
    uint32_t version, size;
    _Atomic uint32_t processes; /* that were started, or have become another program */
    uint32_t unused;
    struct coopdl_waits_live live[COOPDL_WAITS_LIVE];
    struct coopdl_waits_row rows[COOPDL_WAITS_ROWS]; /* the first is for what finds no room */
};

static inline void coopdl_waits_add(struct coopdl_waits_row *row, uint64_t ns)
{
    uint64_t longest = atomic_load_explicit(&row->longest, memory_order_relaxed);
    atomic_fetch_add_explicit(&row->count, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&row->total, ns, memory_order_relaxed);
    while (ns > longest && !atomic_compare_exchange_weak(&row->longest, &longest, ns))
        ;
}

/* A process has ended, at `now`: the calls that its threads were in have ended with it. */
static inline void coopdl_waits_ended(struct coopdl_waits *waits, int32_t pid, int64_t now)
{
    for (int i = 0; i < COOPDL_WAITS_LIVE; i++) {
        struct coopdl_waits_live *live = &waits->live[i];
        uint64_t owner = atomic_load(&live->owner), begun = atomic_load(&live->begun);
        uint32_t row = atomic_load(&live->row);
        if (owner >> 32 != (uint32_t)pid || !owner)
            continue;
        atomic_store(&live->begun, 0);
        if (!atomic_compare_exchange_strong(&live->owner, &owner, 0) || !begun ||
            row >= COOPDL_WAITS_ROWS)
            continue;
        atomic_fetch_add(&waits->rows[row].unfinished, 1);
        coopdl_waits_add(&waits->rows[row], (uint64_t)now > begun ? (uint64_t)now - begun : 0);
    }
}

#endif
