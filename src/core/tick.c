/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tick.c -- one visit to all threads: those whose deadline has passed are fired, and those that
 * are fired are kicked again.  Where no thread of a slab is due, its records are not read
 * (due.h).
 *
 * The scheduler's thread makes these visits, or the handler of the budget's timer in a process
 * without a scheduler.  Both do for a moment when one takes over from the other: whoever takes a
 * thread's kick visits that thread.
 *
 * A kick can be lost: between a wrapper's look at the word and its system call, and in any code
 * that restarts on EINTR.  So a fired thread is visited again, after 1 ms, doubling, to 100 ms.
 * A thread with a shut trap (src/trap/) loses no kick, and is kicked again only for the call
 * that it has announced to sleep in.  It announces the call and asks for a visit before it falls
 * asleep.  A visit that came just before is followed by another.
 *
 * Where a runtime has set hooks, a thread is fired with HANDLING, so that none of its calls is
 * cut before the hook has been asked.  The hook's verdict then sets or clears HANDLING.
 *
 * A delivered scope may lie inside one that is yet to expire.  To ask the hook about it again,
 * the visitor fires the word with HANDLING for that time, and restores it if the verdict is
 * HANDLING.  A thread that leaves a scope meanwhile sees a fired word and waits.
 */
#include "core/tick.h"

#include "core/alarm.h"
#include "core/budget.h"
#include "core/clock.h"
#include "core/due.h"
#include "core/hooks.h"
#include "core/kick.h"
#include "core/probe.h"
#include "core/scope.h"

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

enum {
    RETRY = 100000,
    FIRST_BACKOFF = COOPDL_FIRST_BACKOFF,
    LAST_BACKOFF = 100000000,
    LAST_PENDING = 16000000
};

static _Atomic uint64_t kicks[COOPDL_KICK_CAUSES];

uint64_t coopdl_kicks(coopdl_kick_cause cause)
{
    return (unsigned int)cause < COOPDL_KICK_CAUSES ? atomic_load(&kicks[cause]) : 0;
}

/* The runtime's verdict; sets or clears HANDLING by it, unless the thread has changed its word
 * meanwhile.  Without a hook, HANDLING stays as the thread has set it. */
static enum coopdl_verdict ask(struct coopdl_thread *thread, bool asking, int64_t now)
{
    const struct coopdl_hooks *h = atomic_load_explicit(&coopdl_hooks, memory_order_acquire);
    int64_t word = coopdl_load(thread), wanted;
    if (!asking || !h || !h->expired)
        return word & WORD_HANDLING ? COOPDL_HANDLING : COOPDL_CUT;
    const struct coopdl_entry *owner = coopdl_owner(thread, now);
    enum coopdl_verdict verdict = coopdl_hook_expired(h, thread, owner ? owner->scope : NULL);
    word = coopdl_load(thread);
    do {
        if (!(word & WORD_FIRED))
            return COOPDL_HANDLING;
        wanted = verdict == COOPDL_CUT ? word & ~(int64_t)WORD_HANDLING : word | WORD_HANDLING;
    } while (!atomic_compare_exchange_weak(&thread->word, &word, wanted));
    /* Nothing was cut while it was set, and the thread may have fallen asleep behind a shut trap.
     */
    if (word & ~wanted & WORD_HANDLING)
        atomic_store(&thread->kicked, false);
    return verdict;
}

/* When the hook is to be asked again about a thread that has not expired. */
static int64_t again(const struct coopdl_thread *thread)
{
    int64_t when = atomic_load(&thread->again);
    return when && coopdl_hooked() ? when : TIME_NEVER;
}

/* The next time, unless the thread has gone on. */
static void put_off(struct coopdl_thread *thread, int64_t when)
{
    int64_t old = atomic_load(&thread->again);
    if (old)
        atomic_compare_exchange_strong(&thread->again, &old, when);
}

static int64_t fired_for_asking(int64_t now)
{
    return (now & ~(int64_t)WORD_FLAGS) | WORD_UNARMED | WORD_FIRED | WORD_HANDLING;
}

/* Holding the kick: whether the hook is to be asked again.  If so, the word is fired, and `held` is
 * the word from before. */
static bool due_again(struct coopdl_thread *thread, int64_t now, bool asking, int64_t *held)
{
    *held = atomic_load(&thread->word);
    if (*held < 0 || *held <= now || !asking || again(thread) > now ||
        !atomic_compare_exchange_strong(&thread->word, held, fired_for_asking(now)))
        return false;
    atomic_store(&thread->kicked, false);
    return true;
}

static void give_back(struct coopdl_thread *thread, int64_t now, int64_t held, int64_t next)
{
    int64_t fired = fired_for_asking(now);
    put_off(thread, next);
    atomic_compare_exchange_strong(&thread->word, &fired, held);
}

/* Holding the kick: whether the thread is due, fired if it was not. */
static bool due(struct coopdl_thread *thread, int64_t now, bool asking)
{
    int64_t word = atomic_load(&thread->word);
    if (word & WORD_FIRED)
        return atomic_load(&thread->visit) <= now;
    if (word < 0 || word > now)
        return false;
    int64_t fired =
        word | WORD_UNARMED | WORD_FIRED | (asking && coopdl_hooked() ? WORD_HANDLING : 0);
    if (!atomic_compare_exchange_strong(&thread->word, &word, fired))
        return false;
    PROBE2(expired, atomic_load(&thread->tid), coopdl_word_deadline(word));
    atomic_store(&thread->backoff, FIRST_BACKOFF);
    atomic_store(&thread->kicked, false);
    return true;
}

/* Why an expired thread is kicked; COOPDL_KICK_CAUSES if it is not. */
static coopdl_kick_cause cause_for(struct coopdl_thread *thread, enum coopdl_verdict verdict)
{
    if (verdict == COOPDL_HANDLING)
        return COOPDL_KICK_CAUSES;
    if (verdict == COOPDL_KICK) /* the trap does not do what the runtime wants it for */
        return COOPDL_KICK_UNTRAPPED;
    if (!atomic_exchange(&thread->kicked, true))
        return COOPDL_KICK_EXPIRY;
    if (atomic_load(&thread->selector) != TRAP_SHUT)
        return COOPDL_KICK_UNTRAPPED;
    switch (atomic_load(&thread->asleep)) {
    case ASLEEP_FUTEX:
        return COOPDL_KICK_FUTEX;
    case ASLEEP_MOMENT:
        return COOPDL_KICK_MOMENT;
    case ASLEEP_CALL:
        return COOPDL_KICK_CALL;
    default:
        return COOPDL_KICK_CAUSES;
    }
}

/* The last signal has not arrived: the thread does not run, or blocks it.  Where thousands of
 * threads wait for a processor, a visit every millisecond would keep them from it.  But a visit
 * that the runtime has asked for mostly comes while the first kick is under way, and follows in a
 * moment. */
static void come_back(struct coopdl_thread *thread, int64_t now)
{
    int64_t backoff = atomic_load(&thread->backoff);
    if (atomic_exchange(&thread->asked_for, false)) {
        atomic_store(&thread->visit, now + RETRY);
        put_off(thread, now + RETRY);
        return;
    }
    atomic_store(&thread->backoff, min(2 * backoff, LAST_PENDING));
    atomic_store(&thread->visit, now + backoff);
    put_off(thread, now + FIRST_BACKOFF);
}

static void visit(struct coopdl_thread *thread, int64_t now, bool asking)
{
    if (!coopdl_kick_take(thread)) {
        come_back(thread, now);
        return;
    }
    int64_t held;
    bool asked_again = due_again(thread, now, asking, &held);
    if (!asked_again && !due(thread, now, asking)) {
        coopdl_kick_drop(thread);
        return;
    }
    enum coopdl_verdict verdict =
        asked_again && !coopdl_owner(thread, now) ? COOPDL_HANDLING : ask(thread, asking, now);
    int64_t backoff = atomic_load(&thread->backoff);
    int64_t next = now + backoff, outer = coopdl_next_deadline(thread, now);
    atomic_store(&thread->backoff, 2 * backoff < LAST_BACKOFF ? 2 * backoff : LAST_BACKOFF);
    atomic_store(&thread->visit, outer < next ? outer : next);
    if (asked_again && verdict == COOPDL_HANDLING)
        give_back(thread, now, held, next);
    atomic_fetch_add(&thread->visits, 1);
    coopdl_kick_cause cause = cause_for(thread, verdict);
    if (cause == COOPDL_KICK_CAUSES) {
        coopdl_kick_drop(thread);
        return;
    }
    atomic_fetch_add(&kicks[cause], 1);
    PROBE2(kicked, atomic_load(&thread->tid), (int)cause);
    coopdl_kick_send(thread);
}

/* The watcher is to visit the thread then, if the thread is fired. */
static void visit_at(struct coopdl_thread *thread, int64_t when)
{
    atomic_store(&thread->visit, when);
    if (coopdl_wakes(coopdl_slab_of(thread), when))
        coopdl_wake();
}

void coopdl_kick_soon(struct coopdl_thread *thread, uint8_t asleep)
{
    atomic_store(&thread->asleep, asleep);
    atomic_store(&thread->backoff, FIRST_BACKOFF);
    visit_at(thread, coopdl_clock() + FIRST_BACKOFF);
}

/* A visitor that finishes meanwhile may put the visit off again: then the thread is asked about at
 * its usual time. */
void coopdl_ask_now(pid_t tid)
{
    struct coopdl_thread *thread = coopdl_record_of(tid);
    if (!thread)
        return;
    int64_t now = coopdl_clock();
    atomic_store(&thread->asked_for, true);
    put_off(thread, now);
    visit_at(thread, now);
}

/* When there is something to do about a thread that has this word. */
static int64_t due_time(const struct coopdl_thread *thread, int64_t word)
{
    if (word & WORD_FIRED)
        return atomic_load(&thread->visit);
    int64_t deadline = coopdl_word_deadline(word), other = word < 0 ? TIME_NEVER : again(thread);
    return other < deadline ? other : deadline;
}

/* One thread; returns when it is due next. */
static int64_t look(struct coopdl_thread *thread, int64_t now, bool asking)
{
    int64_t when = due_time(thread, atomic_load(&thread->word));
    if (when > now)
        return when;
    visit(thread, now, asking);
    when = due_time(thread, atomic_load(&thread->word));
    /* Otherwise another thread holds the kick for a short time. */
    return when > now ? when : now + RETRY;
}

/* The scheduler's look at the threads of a slab; returns when the next one is due. */
static int64_t look_at_slab(struct coopdl_slab *slab, int64_t now)
{
    int64_t next = TIME_NEVER;
    atomic_store(&slab->due, TIME_NEVER);
    for (int i = 0; i < COOPDL_SLAB_RECORDS; i++)
        if (atomic_load(&slab->records[i].tid) != 0)
            next = min(next, look(&slab->records[i], now, true));
    coopdl_slab_due(slab, next);
    return next;
}

/* The visit by the timer's handler.  At the budget's end most threads are due; and the handler may
 * be interrupted, so it raises no slab's `due`. */
static int64_t look_at_all(int64_t now)
{
    int64_t next = TIME_NEVER;
    for (struct coopdl_thread *t = coopdl_next_thread(NULL); t; t = coopdl_next_thread(t)) {
        int64_t when = look(t, now, false);
        coopdl_thread_due(t, when);
        next = min(next, when);
    }
    return next;
}

int64_t coopdl_tick(bool asking)
{
    int64_t now = coopdl_clock(), next = coopdl_budget_tick(now);
    if (!asking)
        return min(next, look_at_all(now));
    for (struct coopdl_slab *slab = &coopdl_slabs; slab; slab = atomic_load(&slab->next)) {
        int64_t due = atomic_load(&slab->due);
        next = min(next, due > now ? due : look_at_slab(slab, now));
    }
    return next;
}
