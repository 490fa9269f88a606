/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enter.c -- the C API of scopes: enter, leave, move, shield, deliver.
 *
 * Each changes the calling thread's stack of deadlines (scope.c, which has the
 * interleavings) and then publishes what that comes to.
 */
#include "core/alarm.h"
#include "core/claim.h"
#include "core/clock.h"
#include "core/kick.h"
#include "core/move.h"
#include "core/probe.h"
#include "core/scheduler.h"
#include "core/scope.h"
#include "core/sys.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static int fail(int error)
{
    errno = error;
    return -1;
}

/* A runtime's exception is being handled, and the thread goes on to other scopes.  The flag
 * HANDLING in the word is about the entries that have expired: it is copied into their flags. */
static void note_handling(struct coopdl_thread *thread)
{
    coopdl_conceal(thread);
    int64_t now = coopdl_clock();
    uint32_t depth;
    struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    for (; depth && !(entries[depth - 1].flags & SCOPE_SHIELD); depth--)
        if (entries[depth - 1].deadline <= now)
            entries[depth - 1].flags |= SCOPE_DELIVERED;
    int64_t lent = atomic_load(&thread->lent);
    if (depth == 0 && lent <= now)
        atomic_store(&thread->lent_delivered, lent);
}

/* Makes room for another entry.  The old memory stays as it is: another thread may be reading it.
 */
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
    if (unlikely((word & WORD_FLAGS) == (WORD_FIRED | WORD_HANDLING)))
        note_handling(thread);
    deadline = coopdl_word(deadline);
    scope->thread = thread;
    scope->place = atomic_load_explicit(&thread->depth, memory_order_relaxed);
    bool owed = coopdl_add_entry(thread, scope, deadline, flags);
    PROBE3(scope_entered, scope, deadline, flags);
    if (owed || flags || word & WORD_HANDLING || deadline < coopdl_word_deadline(word))
        coopdl_publish(thread);
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
static inline struct coopdl_entry *entry_of(const coopdl_scope *scope)
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
    int64_t deadline = entry->deadline;
    uint32_t flags = entry->flags, cuts = entry->cuts;
    atomic_store_explicit(&coopdl_self->depth, (uint32_t)scope->place, memory_order_release);
    PROBE2(scope_left, scope, deadline);
    int64_t old = coopdl_publish(coopdl_self);
    if (flags & SCOPE_SHIELD)
        return 0;
    return flags & SCOPE_DELIVERED || cuts ||
           (old & WORD_FIRED && deadline <= coopdl_word_deadline(old));
}

int coopdl_move(coopdl_scope *scope, int64_t deadline)
{
    deadline = coopdl_word(deadline);
    if (scope && scope->thread && scope->thread != coopdl_self) {
        int error = coopdl_move_there(scope, deadline);
        return error ? fail(error) : 0;
    }
    struct coopdl_entry *entry = entry_of(scope);
    if (!entry || entry->flags & SCOPE_SHIELD)
        return fail(EINVAL);
    /* Ruby arms a scope again by giving it its own deadline: then the record of the first ended
     * call stays. */
    uint16_t noted = deadline == entry->deadline ? entry->noted : 0;
    coopdl_conceal(coopdl_self);
    *entry = (struct coopdl_entry){.deadline = deadline, .scope = scope, .noted = noted};
    coopdl_publish(coopdl_self);
    return 0;
}

/* Delivers the budget and the loan, as far as they have passed. */
static bool deliver_base(struct coopdl_thread *thread, int64_t now)
{
    uint32_t depth = 0;
    struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    bool budget = depth && !entries[0].scope && entries[0].deadline <= now;
    bool lent = atomic_load(&thread->lent) <= now;
    if (budget)
        entries[0].flags |= SCOPE_DELIVERED;
    if (lent)
        atomic_store(&thread->lent_delivered, atomic_load(&thread->lent));
    return budget || lent;
}

static bool deliver_entry(struct coopdl_entry *entry, int64_t now)
{
    if (!entry || entry->flags & SCOPE_SHIELD || entry->deadline > now)
        return false;
    entry->flags |= SCOPE_DELIVERED;
    return true;
}

int coopdl_deliver(coopdl_scope *scope)
{
    struct coopdl_thread *thread = coopdl_self;
    if (!thread || (scope && !entry_of(scope)))
        return fail(EINVAL);
    int64_t now = coopdl_clock();
    coopdl_conceal(thread);
    bool done = scope ? deliver_entry(entry_of(scope), now) : deliver_base(thread, now);
    coopdl_publish(thread);
    return done ? 0 : fail(EINVAL);
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
