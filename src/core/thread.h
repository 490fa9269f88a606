/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thread.h -- one record for each thread that has, or had, a deadline.
 *
 * The word.  All that others need to know of a thread is one 64-bit word: its
 * ruling deadline, in multiples of 8 ns, with two flags in the low bits.
 *
 *     WORD_NEVER             no deadline
 *     deadline               armed: the scheduler fires it once that has passed
 *     deadline|FIRED         expired: calls that would wait are cut
 *     deadline|FIRED|PEACE   expired, but a runtime's exception is at work:
 *                            nothing is cut, the hook is asked again
 *
 * All but the armed ones are negative, so that one comparison with a time sorts
 * out whether it lies before an armed deadline.
 *
 * Since the deadline is part of the word, whoever fires with a compare and
 * exchange fires the deadline that he looked at: that the word went to another
 * value and came back in between does no harm, since equal words are equal
 * deadlines.
 *
 * Who writes.  The thread itself stores any word (scope.c).  Anybody who holds
 * the thread's kick (below) may set FIRED on a deadline that has passed, and
 * set or clear PEACE on a fired one.  The thread may fire itself.
 *
 * The kick.  None, or taken while someone is about to signal the thread, or
 * sent while the signal has not arrived (kick.c).  It is taken before the word
 * is looked at, and a leaving thread changes the word before it looks at the
 * kick: so either the kicker sees the new word and does nothing, or the leaver
 * sees the kick and waits.  Whoever holds it for a fired thread may read that thread's
 * entries: none is left or changed meanwhile, though some may be added.
 *
 * The entries.  A thread's stack of deadlines, one for each scope that it is
 * inside, the budget at the bottom.  They are kept here and not in the caller's
 * scopes, which may be gone when nobody left them.
 *
 * Records live in slabs, are recycled and never unmapped: the scheduler reads
 * them while threads die.
 */
#ifndef COOPDL_CORE_THREAD_H
#define COOPDL_CORE_THREAD_H

#include "coopdl.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define WORD_FIRED 1
#define WORD_PEACE 2
#define WORD_FLAGS 7
#define WORD_UNARMED INT64_MIN

/* The latest time that a word can hold stands for `never`. */
#define TIME_NEVER (INT64_MAX & ~(int64_t)WORD_FLAGS)
#define WORD_NEVER (TIME_NEVER | WORD_UNARMED)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

enum { TRAP_OPEN, TRAP_SHUT };

/* What a trapped thread may be asleep in: nothing, or what only another kick ends. */
enum { AWAKE, ASLEEP_FUTEX, ASLEEP_MOMENT, ASLEEP_CALL };

/* Bits in an entry's flags. */
enum { SCOPE_SHIELD = 1, SCOPE_DELIVERED = 2 };

#ifndef __GCC_HAVE_SYNC_COMPARE_AND_SWAP_8
#error "thread.h: the word is changed in signal handlers; here its atomics would take a lock"
#endif

struct coopdl_entry {
    int64_t deadline;    /* as coopdl_word makes it */
    coopdl_scope *scope; /* null: the budget */
    uint32_t flags;
    uint32_t cuts; /* how many calls this one has cut */
};

/* Most threads need no more; the rest is mapped in as needed, and stays with the record. */
enum { COOPDL_FIRST_ENTRIES = 8 };

struct coopdl_thread {
    _Atomic int64_t word;
    _Atomic uint32_t kick;
    _Atomic int32_t tid; /* 0: the record is free */

    /* When a fired thread is visited next, and how long after that again (tick.c). */
    _Atomic int64_t visit;
    _Atomic int64_t backoff;
    _Atomic uint32_t visits; /* counted by the visitor when he has done with the scopes */
    _Atomic bool kicked;     /* since it was fired */

    /* The trap (src/trap/).  `selector` is the byte that the kernel looks at before each system
     * call of a thread that is `trapped`: TRAP_OPEN or TRAP_SHUT.  Who finds it shut need not kick
     * a thread again, but for what it is `asleep` in. */
    _Atomic uint8_t selector;
    bool trapped;
    bool dozed; /* the last call that was seen was asleep in a futex */
    bool told;  /* the trap has cut a call: the wrapper around it counts it no second time */
    _Atomic uint8_t asleep;

    _Atomic uint32_t depth;
    uint32_t room;
    struct coopdl_entry *_Atomic entries; /* null: the first ones */
    struct coopdl_entry first[COOPDL_FIRST_ENTRIES];

    /* When the hook is asked again about a delivered scope inside one that is yet to expire; 0:
     * there is none (tick.c). */
    _Atomic int64_t again;
} __attribute__((aligned(128)));

/* A wrapper may run in a signal handler: no lazy allocation behind a TLS access. */
extern __thread struct coopdl_thread *coopdl_self
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

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

static inline int64_t coopdl_load(const struct coopdl_thread *thread)
{
    return atomic_load_explicit(&thread->word, memory_order_relaxed);
}

/* Expired, and no runtime's exception is at work. */
static inline bool coopdl_cutting(const struct coopdl_thread *thread)
{
    return (coopdl_load(thread) & (WORD_FIRED | WORD_PEACE)) == WORD_FIRED;
}

/* The calling thread's record, made if there is none; null when memory is out.
 * Async-signal-safe. */
struct coopdl_thread *coopdl_claim(void);

/* The calling thread's record if a deadline rules it now, else null.  This is what a process
 * pays that has none: keep it at one TLS load, one test, one branch. */
static inline struct coopdl_thread *coopdl_active(void)
{
    struct coopdl_thread *thread = coopdl_self;
    if (likely(!thread)) {
        if (likely(!coopdl_budgeted))
            return NULL;
        thread = coopdl_claim();
        if (!thread)
            return NULL;
    }
    return coopdl_load(thread) == WORD_NEVER ? NULL : thread;
}

/* Every record in use, one after the other: `record` null gives the first. */
struct coopdl_thread *coopdl_next_thread(struct coopdl_thread *record);

/* Whether a thread has one. */
bool coopdl_has_record(int32_t tid);

/* The record of a thread that is gone without having given it back. */
void coopdl_forget(struct coopdl_thread *record);

/* In a forked child: only the calling thread's record is left. */
void coopdl_thread_forked(void);

#endif
