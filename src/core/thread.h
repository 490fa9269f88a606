/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.h -- one record for each thread that has, or had, a deadline.
 *
 * The word.  Other threads need to know one 64-bit word of a thread: its ruling deadline, in
 * multiples of 8 ns, with flags in the low bits.
 *
 *     WORD_NEVER                no deadline
 *     deadline                  armed: the watcher fires it once that time has passed
 *     deadline|FIRED            expired: calls that would wait are cut
 *     deadline|FIRED|HANDLING   expired, but a runtime's exception is being handled:
 *                               nothing is cut, and the hook is asked again
 *     WORD_CONCEALED            no deadline for a moment: the thread is changing its
 *                               entries, and stores another word at once
 *     time|FIRED|HANDLING|MOMENT
 *                               fired for a moment, so that the holder of the kick may
 *                               read the entries; no exception is being handled
 *
 * All but the armed words are negative, so that one comparison tells whether a time lies before
 * an armed deadline.
 *
 * The deadline is part of the word.  So a thread that fires with a compare and exchange fires
 * the deadline that it has read.  The word may have changed and come back in between: that does
 * no harm, since equal words mean equal deadlines.
 *
 * Who writes the word.  The thread itself stores any word (scope.c), and may fire itself.  The
 * holder of the thread's kick may set FIRED on a deadline that has passed, and set or clear
 * HANDLING on a fired word.  A lender stores the word that follows from the entries, with
 * compare and exchange (lend.c).
 *
 * The kick is in one of three states: none; taken, while someone is about to signal the thread;
 * sent, while the signal has not arrived (kick.c).  A kicker takes the kick before it reads the
 * word.  A thread that leaves a scope changes its word before it reads the kick.  So either the
 * kicker sees the new word and does nothing, or the thread sees the kick and waits.  The holder
 * of a fired thread's kick may read that thread's entries: none is left or changed meanwhile,
 * but some may be added.  A thread that gives its record back marks the record first (LEAVING),
 * and then waits for the kick.  So whoever holds the kick and then finds the thread's id has the
 * record until it drops the kick.
 *
 * The entries are a thread's stack of deadlines: one for each scope that the thread is inside,
 * and the budget at the bottom.  They are kept here and not in the caller's scopes, whose memory
 * may be gone when a scope was not left.  Outside of all of them lies the deadline that another
 * thread has lent (lend.c), whose entry is a field of the record.
 *
 * Records lie in slabs, and are used again but never unmapped: the scheduler reads them while
 * threads end.
 */
#ifndef COOPDL_CORE_THREAD_H
#define COOPDL_CORE_THREAD_H

#include "coopdl.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define WORD_FIRED 1
#define WORD_HANDLING 2
#define WORD_MOMENT 4
#define WORD_FLAGS 7
#define WORD_UNARMED INT64_MIN

/* The latest time that a word can hold stands for `never`. */
#define TIME_NEVER (INT64_MAX & ~(int64_t)WORD_FLAGS)
#define WORD_NEVER (TIME_NEVER | WORD_UNARMED)
#define WORD_CONCEALED (WORD_NEVER | WORD_MOMENT)

/* In the place of a thread's id: its record is being made, or given back. */
enum { LEAVING = -1 };

/* How long after firing a thread is visited again, in ns; it doubles from there (tick.c). */
#define COOPDL_FIRST_BACKOFF 1000000

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* The code that every kick's handler runs is not instrumented: the handler may interrupt
 * ThreadSanitizer's runtime inside an atomic operation, whose lock that thread then holds. */
#define IN_HANDLER __attribute__((no_sanitize("thread")))

enum { TRAP_OPEN, TRAP_SHUT };

/* What a trapped thread may be asleep in: nothing, or a call that only another kick ends. */
enum { AWAKE, ASLEEP_FUTEX, ASLEEP_MOMENT, ASLEEP_CALL };

/* Bits in an entry's flags. */
enum { SCOPE_SHIELD = 1, SCOPE_DELIVERED = 2, SCOPE_INHERITED = 4 };

#ifndef __GCC_HAVE_SYNC_COMPARE_AND_SWAP_8
#error "thread.h: the word is changed in signal handlers; here its atomics would take a lock"
#endif

struct coopdl_entry {
    int64_t deadline;    /* as coopdl_word makes it */
    coopdl_scope *scope; /* null: the budget */
    uint32_t flags;
    uint32_t cuts;  /* how many calls this one has cut */
    uint32_t tries; /* how many of them, and attempts to connect, were no sleeps (pause.c) */
    uint32_t sleeps;
    uint16_t hung;    /* how many of the cuts were on sockets that may be hung up (hangup.c) */
    uint16_t noted;   /* what it has ended first is in the record (evidence.c) */
    uint32_t hung_at; /* `cuts` when the last of them was counted */
    int64_t slept;    /* the sum of the sleeps' durations, ns */
    int64_t owed;     /* the pauses that the sleeps still owe, ns */
};

/* A wait by epoll_* that has been cut and is made again (preload/wait.c). */
struct coopdl_waiting {
    int64_t deadline; /* of the entry that cuts it */
    int64_t wanted;   /* the caller's own timeout, ns */
    int64_t begun;    /* 0: there is none */
    int fd;
};

/* The target of a call that a deadline ends (evidence.c). */
enum coopdl_object {
    ON_NOTHING,
    ON_DESCRIPTOR, /* a */
    ON_CONNECT,    /* a descriptor, b and c: the address and its size */
    ON_POLL,       /* a: the descriptors, b: how many */
    ON_SELECT,     /* a: how many; b, c, d: the sets */
    ON_EPOLL,      /* a: a descriptor */
    ON_CHILD,      /* a: its pid; not above 0: any */
    ON_PATH        /* a: the path */
};

/* The caller and the target of a call, filled in on the way to its cut. */
struct coopdl_place {
    const void *caller; /* the address that it returns to; null: not known */
    int64_t begun;      /* when it began to wait; 0: not known */
    enum coopdl_object object;
    long a, b, c, d;
};

/* What the kick's handler has interrupted. */
struct coopdl_interrupted {
    bool call;  /* a system call */
    long first; /* its first argument */
    uintptr_t stack;
};

/* The child that a wait has reaped, before the caller of the wait knows (core/ending.c). */
struct coopdl_reaping {
    int32_t pid; /* 0: nothing */
    int status;
};

/* Most threads need no more; the rest is mapped in as needed, and stays with the record. */
enum { COOPDL_FIRST_ENTRIES = 8 };

struct coopdl_thread {
    _Atomic int64_t word;
    _Atomic uint32_t kick;
    _Atomic int32_t tid;            /* 0: the record is free */
    _Atomic bool reserved;          /* for a thread that has not claimed it (lend.c) */
    _Atomic uint8_t number;         /* in its slab; there before the record is first in use */
    _Atomic int64_t lent;           /* by another thread; TIME_NEVER: nothing */
    _Atomic int64_t lent_delivered; /* the loan whose exception is being handled */

    /* When a fired thread is visited next, and how long after that again (tick.c). */
    _Atomic int64_t visit;
    _Atomic int64_t backoff;
    _Atomic uint32_t visits; /* how often a visitor has finished with the scopes */
    _Atomic bool kicked;     /* since it was fired */
    _Atomic bool asked_for;  /* the visit that is next, by coopdl_ask_now */

    /* The trap (src/trap/).  `selector` is the byte that the kernel reads before each system call
     * of a thread that is `trapped`: TRAP_OPEN or TRAP_SHUT.  A thread with a shut selector is
     * kicked again only for the call that it is `asleep` in. */
    _Atomic uint8_t selector;
    bool trapped;
    bool dozed;       /* the last call that was seen was asleep in a futex */
    bool cut_by_trap; /* a call was: the wrapper around it does not count it again */
    bool reaps;       /* a wrapper's wait for a child is */
    _Atomic uint8_t asleep;

    _Atomic uint32_t depth;
    uint32_t room;
    struct coopdl_entry *_Atomic entries; /* null: the first ones */
    struct coopdl_entry first[COOPDL_FIRST_ENTRIES];

    /* When the hook is asked again about a delivered scope inside one that is yet to expire; 0:
     * there is none (tick.c). */
    _Atomic int64_t again;

    struct coopdl_reaping reaping;
    struct coopdl_waiting waiting;

    struct coopdl_entry borrowed; /* what is lent, as an entry: cuts and pauses */

    /* The call that a deadline of this thread has ended first (evidence.c).  Others read `cut`
     * while `cut_version` is even and stays the same. */
    struct coopdl_interrupted interrupted;
    struct coopdl_place place;
    const void *trapped_at;    /* the system call that the trap cuts now */
    bool wrapped;              /* it seems to be a wrapper's, which will say more of it */
    bool unsaid;               /* the line about it is owed */
    bool caller_sought;        /* its library and function are in the record, if they are known */
    const void *measured_from; /* the call that is measured returns to; null: none is */
    const coopdl_scope *cut_scope;
    _Atomic uint32_t cut_version;
    struct coopdl_cut cut;
} __attribute__((aligned(128)));

enum { COOPDL_SLAB_RECORDS = 63 };

struct coopdl_slab {
    struct coopdl_slab *_Atomic next;
    _Atomic int64_t due; /* when the first of its threads is (due.h) */
    struct coopdl_thread records[COOPDL_SLAB_RECORDS];
};

/* The first one. */
extern struct coopdl_slab coopdl_slabs __attribute__((visibility("hidden")));

/* Of a record that has been in use. */
static inline struct coopdl_slab *coopdl_slab_of(struct coopdl_thread *thread)
{
    char *records = (char *)(thread - atomic_load_explicit(&thread->number, memory_order_relaxed));
    return (struct coopdl_slab *)(void *)(records - offsetof(struct coopdl_slab, records));
}

/* A wrapper may run in a signal handler: no lazy allocation behind a TLS access. */
extern __thread struct coopdl_thread *coopdl_self
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* The same as the exported names see it: null for ever where all calls are measured, so that each
 * takes the way of a thread that has none yet (preload/measure.c). */
extern __thread struct coopdl_thread *coopdl_shown
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Whether all calls are measured: said before main, once. */
extern bool coopdl_measures __attribute__((visibility("hidden")));

/* Whether the process has a budget, so that threads without a record need one. */
extern bool coopdl_budgeted __attribute__((visibility("hidden")));

/* A deadline as the word holds it: rounded up, never down; what has passed for ever is 0. */
static inline int64_t coopdl_word(int64_t deadline)
{
    return deadline >= TIME_NEVER ? TIME_NEVER
           : deadline <= 0        ? 0
                                  : (deadline + WORD_FLAGS) & ~(int64_t)WORD_FLAGS;
}

static inline int64_t coopdl_word_deadline(int64_t word)
{
    return word & TIME_NEVER;
}

/* The entries and how many there are.  The count is read first: entries only move to where there
 * are more of them. */
static inline struct coopdl_entry *coopdl_entries(struct coopdl_thread *thread, uint32_t *depth)
{
    *depth = atomic_load(&thread->depth);
    struct coopdl_entry *mapped = atomic_load(&thread->entries);
    return mapped ? mapped : thread->first;
}

IN_HANDLER static inline int64_t coopdl_load(const struct coopdl_thread *thread)
{
    return atomic_load_explicit(&thread->word, memory_order_relaxed);
}

/* Expired, and no runtime's exception is being handled. */
IN_HANDLER static inline bool coopdl_cutting(const struct coopdl_thread *thread)
{
    return (coopdl_load(thread) & (WORD_FIRED | WORD_HANDLING)) == WORD_FIRED;
}

/* Every record in use, one after the other: `record` null gives the first. */
struct coopdl_thread *coopdl_next_thread(struct coopdl_thread *record);

/* Whether a thread has claimed one. */
bool coopdl_has_record(int32_t tid);

/* The record of a thread that it has claimed, or that is reserved for it; null if there is none. */
struct coopdl_thread *coopdl_record_of(int32_t tid);

/* A free record for a thread that has none: its id is LEAVING until the caller stores the
 * thread's.  Null when memory is out.  Async-signal-safe. */
struct coopdl_thread *coopdl_new_record(void);

/* The same for another thread, which has none; null when memory is out. */
struct coopdl_thread *coopdl_reserve(int32_t tid);

/* Whether a record was ever reserved. */
extern atomic_bool coopdl_ever_reserved;

/* Frees the calling thread's own. */
void coopdl_free_record(struct coopdl_thread *record);

/* Frees the record of a thread that is gone without having given it back. */
void coopdl_forget(struct coopdl_thread *record);

/* Makes all slabs due: the next visit reads all records. */
void coopdl_all_due(void);

#endif
