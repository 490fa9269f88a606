/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scope.c -- a thread's stack of deadlines: enter, leave, move, shield.
 *
 * The scopes are the truth; the thread's word (thread.h) is what they come to:
 * the earliest deadline that is not delivered, from the innermost scope down to
 * the innermost shield or the budget.  Every change is made in two steps, the
 * list first and the word after it (publish).  A scope that is on the list
 * already is changed only while the word says `never` (conceal), since whoever
 * holds the kick of a fired thread walks the list.
 *
 * Interleavings.
 * - A signal handler enters and leaves between the two steps: it puts the list
 *   back as it found it (but see add) and computes the word from it; the second
 *   step is then repeated with the same result.
 * - The scheduler fires the old word before the second step: the exchange in
 *   publish shows FIRED, and the thread waits until that kick has been taken,
 *   so that no EINTR lands after leaving.  After the second step its compare
 *   and exchange fails.
 * - The scheduler computes when to wake while a word changes: scheduler.c.
 */
#include "core/scope.h"

#include "core/clock.h"
#include "core/kick.h"
#include "core/scheduler.h"
#include "core/tick.h"

#include "core/sys.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static int fail(int error)
{
    errno = error;
    return -1;
}

/* The word that the entries come to.  A delivered deadline stands in it, for the hook to be asked
 * again, only where nothing undelivered is left to wait for; see also ask_again. */
static int64_t ruling(struct coopdl_thread *thread)
{
    int64_t live = TIME_NEVER, delivered = TIME_NEVER;
    uint32_t depth;
    const struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    while (depth-- && !(entries[depth].flags & SCOPE_SHIELD)) {
        int64_t *earliest = entries[depth].flags & SCOPE_DELIVERED ? &delivered : &live;
        if (entries[depth].deadline < *earliest)
            *earliest = entries[depth].deadline;
    }
    if (live != TIME_NEVER)
        return live;
    return delivered == TIME_NEVER ? WORD_NEVER
                                   : delivered | WORD_UNARMED | WORD_FIRED | WORD_PEACE;
}

/* The innermost scope is delivered, but the word is that of one around it: notes when the hook is
 * to be asked about it again.  Returns by when whoever watches must look at the thread. */
static int64_t ask_again(struct coopdl_thread *thread, int64_t word)
{
    uint32_t depth;
    const struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    int64_t deadline = coopdl_word_deadline(word), when = 0;
    if (unlikely(word >= 0 && depth && entries[depth - 1].flags & SCOPE_DELIVERED &&
                 coopdl_hooked())) {
        when = coopdl_clock() + COOPDL_FIRST_BACKOFF;
        atomic_store(&thread->backoff, COOPDL_FIRST_BACKOFF);
    }
    if (unlikely(when != atomic_load_explicit(&thread->again, memory_order_relaxed)))
        atomic_store(&thread->again, when);
    return when && when < deadline ? when : deadline;
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

/* The second step.  Returns the word as it was. */
static int64_t publish(struct coopdl_thread *thread)
{
    int64_t word = ruling(thread), deadline = ask_again(thread, word);
    int64_t old = atomic_exchange(&thread->word, word);
    if (unlikely(old & WORD_FIRED))
        coopdl_kick_settle(thread);
    /* Never later than what the scheduler waits for, unless a deadline came up that had been
     * hidden: one that has passed already is in force at once.  With hooks the scheduler asks
     * first. */
    if (unlikely(coopdl_wakes(deadline))) {
        if (!coopdl_hooked() && deadline <= coopdl_clock())
            coopdl_fire_self(thread);
        coopdl_wake();
    }
    if (unlikely(old & WORD_FIRED))
        follow(thread);
    return old;
}

/* Nobody looks at the list after this, until publish. */
static void conceal(struct coopdl_thread *thread)
{
    if (atomic_exchange(&thread->word, WORD_NEVER) & WORD_FIRED) {
        coopdl_kick_settle(thread);
        follow(thread);
    }
}

/* A runtime's exception is at work and the thread goes on to other scopes: note in the list what
 * the flag in the word said of the entries that had expired. */
static void absorb_peace(struct coopdl_thread *thread)
{
    conceal(thread);
    int64_t now = coopdl_clock();
    uint32_t depth;
    struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    while (depth-- && !(entries[depth].flags & SCOPE_SHIELD))
        if (entries[depth].deadline <= now)
            entries[depth].flags |= SCOPE_DELIVERED;
}

/* Makes room for another entry.  The old place stays as it is: it may be being read. */
static bool grow(struct coopdl_thread *thread)
{
    uint32_t depth, room = 2 * thread->room;
    struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    long memory = coopdl_sys(SYS_mmap, 0, room * sizeof(*entries), PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory < 0 && memory > -4096)
        return false;
    memcpy((void *)memory, entries, depth * sizeof(*entries));
    atomic_store(&thread->entries, (struct coopdl_entry *)memory);
    thread->room = room;
    return true;
}

/* Puts an entry on top.  A handler that comes between the two stores uses the same place, or moves
 * the entries; what it left there is replaced.  True if so: publish is owed. */
static bool add(struct coopdl_thread *thread, coopdl_scope *scope, int64_t deadline, uint32_t flags)
{
    const struct coopdl_entry entry = {.deadline = deadline, .scope = scope, .flags = flags};
    uint32_t depth, deeper;
    coopdl_entries(thread, &depth)[depth] = entry;
    atomic_store_explicit(&thread->depth, depth + 1, memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    struct coopdl_entry *place = &coopdl_entries(thread, &deeper)[depth];
    if (likely(place->scope == scope))
        return false;
    conceal(thread);
    *place = entry;
    return true;
}

static int push(coopdl_scope *scope, int64_t deadline, uint32_t flags)
{
    if (!scope)
        return fail(EINVAL);
    struct coopdl_thread *thread = coopdl_self ? coopdl_self : coopdl_claim();
    if (!thread)
        return fail(ENOMEM);
    int error = coopdl_scheduler_start();
    if (unlikely(error))
        return fail(error);
    if (unlikely(atomic_load_explicit(&thread->depth, memory_order_relaxed) + 1 >= thread->room) &&
        !grow(thread))
        return fail(ENOMEM);

    int64_t word = coopdl_load(thread);
    if (unlikely((word & (WORD_FIRED | WORD_PEACE)) == (WORD_FIRED | WORD_PEACE)))
        absorb_peace(thread);
    deadline = coopdl_word(deadline);
    scope->thread = thread;
    scope->place = atomic_load_explicit(&thread->depth, memory_order_relaxed);
    bool owed = add(thread, scope, deadline, flags);
    if (owed || flags || word & WORD_PEACE || deadline < coopdl_word_deadline(word))
        publish(thread);
    return 0;
}

int coopdl_enter(coopdl_scope *scope, int64_t deadline)
{
    return push(scope, deadline, 0);
}

int coopdl_shield(coopdl_scope *scope)
{
    return push(scope, COOPDL_NEVER, SCOPE_SHIELD);
}

/* The entry of a scope that the calling thread is inside; null if it is not. */
static struct coopdl_entry *entry_of(const coopdl_scope *scope)
{
    uint32_t depth;
    if (unlikely(!scope || !coopdl_self || scope->thread != coopdl_self))
        return NULL;
    struct coopdl_entry *entries = coopdl_entries(coopdl_self, &depth);
    return scope->place < depth && entries[scope->place].scope == scope ? &entries[scope->place]
                                                                        : NULL;
}

int coopdl_leave(coopdl_scope *scope)
{
    struct coopdl_entry *entry = entry_of(scope);
    if (unlikely(!entry))
        return fail(EINVAL);
    struct coopdl_entry left = *entry;
    atomic_store_explicit(&coopdl_self->depth, (uint32_t)scope->place, memory_order_release);
    int64_t old = publish(coopdl_self);
    if (left.flags & SCOPE_SHIELD)
        return 0;
    return left.flags & SCOPE_DELIVERED || left.cuts ||
           (old & WORD_FIRED && left.deadline <= coopdl_word_deadline(old));
}

int coopdl_move(coopdl_scope *scope, int64_t deadline)
{
    struct coopdl_entry *entry = entry_of(scope);
    if (!entry || entry->flags & SCOPE_SHIELD)
        return fail(EINVAL);
    conceal(coopdl_self);
    entry->deadline = coopdl_word(deadline);
    entry->flags = 0;
    entry->cuts = 0;
    publish(coopdl_self);
    return 0;
}

int coopdl_deliver(coopdl_scope *scope)
{
    struct coopdl_entry *entry = entry_of(scope);
    if (!entry || entry->flags & SCOPE_SHIELD || entry->deadline > coopdl_clock())
        return fail(EINVAL);
    conceal(coopdl_self);
    entry->flags |= SCOPE_DELIVERED;
    publish(coopdl_self);
    return 0;
}

int coopdl_expired(const coopdl_scope *scope)
{
    const struct coopdl_entry *entry = entry_of(scope);
    if (unlikely(!entry))
        return 0;
    if (likely(!(coopdl_load(coopdl_self) & WORD_FIRED)))
        return (entry->flags & SCOPE_DELIVERED) != 0;
    return entry->deadline <= coopdl_clock();
}

int64_t coopdl_deadline(void)
{
    struct coopdl_thread *thread = coopdl_active();
    return thread ? coopdl_word_deadline(coopdl_load(thread)) : COOPDL_NEVER;
}

int64_t coopdl_remaining(void)
{
    int64_t deadline = coopdl_deadline();
    if (deadline == COOPDL_NEVER)
        return COOPDL_NEVER;
    int64_t left = deadline - coopdl_clock();
    return left > 0 ? left : 0;
}

struct coopdl_entry *coopdl_owner(struct coopdl_thread *thread, int64_t now)
{
    uint32_t depth;
    struct coopdl_entry *owner = NULL, *entries = coopdl_entries(thread, &depth);
    while (depth-- && !(entries[depth].flags & SCOPE_SHIELD))
        if (entries[depth].deadline <= now)
            owner = &entries[depth];
    return owner;
}

int64_t coopdl_next_deadline(struct coopdl_thread *thread, int64_t now)
{
    int64_t next = TIME_NEVER;
    uint32_t depth;
    const struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    while (depth-- && !(entries[depth].flags & SCOPE_SHIELD))
        if (entries[depth].deadline > now && entries[depth].deadline < next)
            next = entries[depth].deadline;
    return next;
}

void coopdl_found(struct coopdl_thread *thread, int64_t deadline)
{
    add(thread, NULL, coopdl_word(deadline), 0);
    publish(thread);
}

void coopdl_unfound(struct coopdl_thread *thread)
{
    uint32_t depth;
    conceal(thread);
    struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    if (depth && !entries[0].scope)
        entries[0].deadline = TIME_NEVER;
    publish(thread);
}

void coopdl_fire_self(struct coopdl_thread *thread)
{
    int64_t word = coopdl_load(thread);
    if (word < 0)
        return;
    atomic_store(&thread->visit, 0);
    atomic_store(&thread->backoff, COOPDL_FIRST_BACKOFF);
    atomic_store(&thread->kicked, false);
    while (word >= 0)
        if (atomic_compare_exchange_weak(&thread->word, &word, word | WORD_UNARMED | WORD_FIRED))
            break;
    follow(thread);
}

void coopdl_abandon(struct coopdl_thread *thread)
{
    conceal(thread);
    atomic_store(&thread->depth, 0);
}
