/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scope.c -- a thread's stack of deadlines, and the word that says which deadline rules.
 *
 * The entries are the truth, and the thread's word (thread.h) follows from them.  It holds the
 * earliest deadline that is not delivered, of all entries from the innermost scope down to the
 * innermost shield.  Where there is no shield, the budget and the deadline that was lent
 * (lend.c) are among them.  Every change has two steps: the list first, and the word after it
 * (publish).  An entry that is on the list is changed only while the word is concealed, since
 * whoever holds the kick of a fired thread reads the list.
 *
 * Interleavings.
 * - A signal handler enters and leaves a scope between the two steps.  It leaves the list as it
 *   found it (but see coopdl_add_entry) and stores the word that follows from it.  The second
 *   step then stores the same word.
 * - The scheduler fires the old word before the second step.  The exchange in publish returns a
 *   fired word, and the thread waits until that kick has arrived, so that no EINTR lands after
 *   the scope was left.  After the second step the scheduler's compare and exchange fails.
 * - The scheduler computes when to wake while a word changes: see scheduler.c.
 * - Another thread lends a deadline during publish.  The lender stores the loan and then the
 *   word. publish stores the word and then reads the loan again.  So either the lender's word
 *   stands, or publish repeats its second step.
 */
#include "core/scope.h"

#include "core/alarm.h"
#include "core/clock.h"
#include "core/hooks.h"
#include "core/kick.h"
#include "core/pause.h"
#include "core/probe.h"
#include "core/process.h"

/* The earliest deadlines, down to the innermost shield, that are not and that are delivered;
 * TIME_NEVER: there is none. */
struct ruling {
    int64_t live, delivered;
};

static inline void count_in(struct ruling *ruling, int64_t deadline, bool is_delivered)
{
    if (unlikely(is_delivered))
        ruling->delivered = deadline < ruling->delivered ? deadline : ruling->delivered;
    else
        ruling->live = deadline < ruling->live ? deadline : ruling->live;
}

static inline struct ruling rule(struct coopdl_thread *thread, int64_t lent)
{
    struct ruling ruling = {.live = TIME_NEVER, .delivered = TIME_NEVER};
    uint32_t depth;
    const struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    while (depth && !(entries[depth - 1].flags & SCOPE_SHIELD)) {
        depth--;
        count_in(&ruling, entries[depth].deadline, entries[depth].flags & SCOPE_DELIVERED);
    }
    if (depth == 0 && unlikely(lent != TIME_NEVER))
        count_in(&ruling, lent, lent == atomic_load(&thread->lent_delivered));
    return ruling;
}

/* A delivered deadline stands in it, for the hook to be asked again, only where nothing undelivered
 * is left to wait for; see also ask_again. */
static inline int64_t word_of(const struct ruling *ruling)
{
    if (ruling->live != TIME_NEVER)
        return ruling->live;
    return ruling->delivered == TIME_NEVER
               ? WORD_NEVER
               : ruling->delivered | WORD_UNARMED | WORD_FIRED | WORD_HANDLING;
}

/* A deadline may be delivered that the word does not show, since the word is that of one yet to
 * expire. */
static inline int64_t ask_again(struct coopdl_thread *thread, int64_t word, bool any_delivered)
{
    int64_t deadline = coopdl_word_deadline(word), when = 0;
    if (unlikely(any_delivered) && word >= 0 && coopdl_hooked()) {
        when = coopdl_clock() + COOPDL_FIRST_BACKOFF;
        atomic_store(&thread->backoff, COOPDL_FIRST_BACKOFF);
    }
    if (unlikely(when != atomic_load_explicit(&thread->again, memory_order_relaxed)))
        atomic_store(&thread->again, when);
    return when && when < deadline ? when : deadline;
}

int64_t coopdl_ruling(struct coopdl_thread *thread)
{
    struct ruling ruling = rule(thread, atomic_load(&thread->lent));
    return word_of(&ruling);
}

int64_t coopdl_ask_again(struct coopdl_thread *thread, int64_t word)
{
    struct ruling ruling = rule(thread, atomic_load(&thread->lent));
    return ask_again(thread, word, ruling.delivered != TIME_NEVER);
}

/* The word was fired and has been changed, and no kick is under way any more: the trap follows.
 * Should the new word be fired meanwhile, its kick may be taken off the queue with the old one's,
 * or come while the trap is turned off: so the second look. */
static void follow(struct coopdl_thread *thread)
{
    if (!coopdl_cutting(thread) && thread->trapped)
        coopdl_trap_off(thread);
    if (coopdl_cutting(thread) && coopdl_trap_on)
        coopdl_trap_on(thread, NULL);
}

/* Stores the word that follows, and returns the old one; by when the watcher must visit. */
static inline int64_t store_word(struct coopdl_thread *thread, int64_t lent, int64_t *visit)
{
    struct ruling ruling = rule(thread, lent);
    int64_t word = word_of(&ruling);
    *visit = ask_again(thread, word, ruling.delivered != TIME_NEVER);
    return atomic_exchange(&thread->word, word);
}

/* What is seldom to be done after the word has been stored: the old word was fired, or another
 * thread has lent a deadline meanwhile, or the watcher is to wake earlier. */
__attribute__((noinline, cold)) static void publish_rest(struct coopdl_thread *thread, int64_t old,
                                                         int64_t lent, int64_t visit)
{
    bool was_fired = old & WORD_FIRED;
    if (was_fired)
        coopdl_kick_settle(thread);
    while (lent != atomic_load(&thread->lent)) {
        lent = atomic_load(&thread->lent);
        if (store_word(thread, lent, &visit) & WORD_FIRED) {
            was_fired = true;
            coopdl_kick_settle(thread);
        }
    }
    /* The new deadline is never later than the one that the scheduler waits for, unless a hidden
     * deadline became visible: one that has passed already is in force at once.  With hooks the
     * scheduler asks first. */
    if (coopdl_wakes(coopdl_slab_of(thread), visit)) {
        if (!coopdl_hooked() && visit <= coopdl_clock())
            coopdl_fire_self(thread);
        coopdl_wake();
    }
    if (was_fired)
        follow(thread);
}

/* The second step. */
int64_t coopdl_publish(struct coopdl_thread *thread)
{
    struct coopdl_slab *slab = coopdl_slab_of(thread); /* here: the exchange waits for it anyway */
    int64_t lent = atomic_load(&thread->lent), visit, old = store_word(thread, lent, &visit);
    if (unlikely(old & WORD_FIRED || lent != atomic_load(&thread->lent) ||
                 coopdl_wakes(slab, visit)))
        publish_rest(thread, old, lent, visit);
    return old;
}

void coopdl_conceal(struct coopdl_thread *thread)
{
    if (atomic_exchange(&thread->word, WORD_CONCEALED) & WORD_FIRED) {
        coopdl_kick_settle(thread);
        follow(thread);
    }
}

/* A signal handler between the two stores uses the same place, or moves the entries; what it has
 * left there is overwritten. */
bool coopdl_add_entry(struct coopdl_thread *thread, coopdl_scope *scope, int64_t deadline,
                      uint32_t flags)
{
    const struct coopdl_entry entry = {.deadline = deadline, .scope = scope, .flags = flags};
    uint32_t depth, deeper;
    coopdl_entries(thread, &depth)[depth] = entry;
    atomic_store_explicit(&thread->depth, depth + 1, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    struct coopdl_entry *place = &coopdl_entries(thread, &deeper)[depth];
    if (likely(place->scope == scope))
        return false;
    coopdl_conceal(thread);
    *place = entry;
    return true;
}

/* The loan as an entry; each loan has counts of its own. */
static struct coopdl_entry *borrowed(struct coopdl_thread *thread, int64_t lent)
{
    if (thread == coopdl_self && thread->borrowed.deadline != lent)
        thread->borrowed = (struct coopdl_entry){.deadline = lent};
    return &thread->borrowed;
}

struct coopdl_entry *coopdl_owner(struct coopdl_thread *thread, int64_t now)
{
    uint32_t depth;
    struct coopdl_entry *owner = NULL, *entries = coopdl_entries(thread, &depth);
    for (; depth && !(entries[depth - 1].flags & SCOPE_SHIELD); depth--)
        if (entries[depth - 1].deadline <= now)
            owner = &entries[depth - 1];
    int64_t lent = atomic_load(&thread->lent);
    return depth == 0 && unlikely(lent <= now) ? borrowed(thread, lent) : owner;
}

int64_t coopdl_next_deadline(struct coopdl_thread *thread, int64_t now)
{
    int64_t next = TIME_NEVER, lent = atomic_load(&thread->lent);
    uint32_t depth;
    const struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    for (; depth && !(entries[depth - 1].flags & SCOPE_SHIELD); depth--)
        if (entries[depth - 1].deadline > now && entries[depth - 1].deadline < next)
            next = entries[depth - 1].deadline;
    return depth == 0 && lent > now && lent < next ? lent : next;
}

void coopdl_found(struct coopdl_thread *thread, int64_t deadline)
{
    coopdl_add_entry(thread, NULL, coopdl_word(deadline), 0);
    coopdl_pause_born_late(thread, coopdl_born);
    coopdl_publish(thread);
}

void coopdl_refound(struct coopdl_thread *thread, int64_t deadline)
{
    uint32_t depth;
    coopdl_conceal(thread);
    struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    if (depth && !entries[0].scope)
        entries[0] = (struct coopdl_entry){.deadline = coopdl_word(deadline)};
    coopdl_publish(thread);
}

void coopdl_unfound(struct coopdl_thread *thread)
{
    coopdl_refound(thread, COOPDL_NEVER);
}

void coopdl_disown(struct coopdl_thread *thread)
{
    uint32_t depth;
    coopdl_conceal(thread);
    struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    while (depth--)
        if (entries[depth].flags & SCOPE_INHERITED)
            entries[depth].deadline = TIME_NEVER;
    coopdl_publish(thread);
}

void coopdl_fire_self(struct coopdl_thread *thread)
{
    int64_t word = coopdl_load(thread);
    if (word < 0)
        return;
    atomic_store(&thread->visit, 0);
    atomic_store(&thread->backoff, COOPDL_FIRST_BACKOFF);
    atomic_store(&thread->kicked, false);
    /* A loan may be taken back meanwhile: only the word that was looked at is fired. */
    if (atomic_compare_exchange_strong(&thread->word, &word, word | WORD_UNARMED | WORD_FIRED))
        PROBE2(expired, atomic_load(&thread->tid), coopdl_word_deadline(word));
    coopdl_thread_due(thread, 0);
    follow(thread);
}

void coopdl_abandon(struct coopdl_thread *thread)
{
    coopdl_conceal(thread);
    atomic_store(&thread->depth, 0);
    atomic_store(&thread->word, WORD_NEVER);
}
