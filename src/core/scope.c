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
 *   back as it found it and computes the word from it; the second step is then
 *   repeated with the same result.
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

#include <errno.h>

static coopdl_scope *top_of(const struct coopdl_thread *thread)
{
    return atomic_load_explicit(&thread->top, memory_order_relaxed);
}

static int fail(int error)
{
    errno = error;
    return -1;
}

/* The word that the list comes to.  A delivered deadline stands in it, for the hook to be asked
 * again, only where nothing undelivered is left to wait for. */
static int64_t ruling(const struct coopdl_thread *thread)
{
    int64_t live = TIME_NEVER, delivered = TIME_NEVER;
    const coopdl_scope *scope = top_of(thread);
    for (; scope && !(scope->flags & SCOPE_SHIELD); scope = scope->outer) {
        int64_t *earliest = scope->flags & SCOPE_DELIVERED ? &delivered : &live;
        if (scope->deadline < *earliest)
            *earliest = scope->deadline;
    }
    if (!scope) {
        int64_t *earliest = thread->base_delivered ? &delivered : &live;
        if (thread->base < *earliest)
            *earliest = thread->base;
    }
    if (live != TIME_NEVER)
        return live;
    return delivered == TIME_NEVER ? WORD_NEVER
                                   : delivered | WORD_UNARMED | WORD_FIRED | WORD_PEACE;
}

/* The second step.  Returns the word as it was. */
static int64_t publish(struct coopdl_thread *thread)
{
    int64_t word = ruling(thread);
    int64_t old = atomic_exchange(&thread->word, word);
    if (unlikely(old & WORD_FIRED))
        coopdl_kick_settle(thread);
    /* Never later than what the scheduler waits for, unless a deadline came up that had been
     * hidden: one that has passed already is in force at once.  With hooks the scheduler asks
     * first. */
    int64_t deadline = coopdl_word_deadline(word);
    if (unlikely(coopdl_wakes(deadline))) {
        if (!coopdl_hooked() && deadline <= coopdl_clock())
            coopdl_fire_self(thread);
        coopdl_wake();
    }
    return old;
}

/* Nobody looks at the list after this, until publish. */
static void conceal(struct coopdl_thread *thread)
{
    if (atomic_exchange(&thread->word, WORD_NEVER) & WORD_FIRED)
        coopdl_kick_settle(thread);
}

/* A runtime's exception is at work and the thread goes on to other scopes: note in the list what
 * the flag in the word said of the scopes that had expired. */
static void absorb_peace(struct coopdl_thread *thread)
{
    conceal(thread);
    int64_t now = coopdl_clock();
    coopdl_scope *scope = top_of(thread);
    for (; scope && !(scope->flags & SCOPE_SHIELD); scope = scope->outer)
        if (scope->deadline <= now)
            scope->flags |= SCOPE_DELIVERED;
    if (!scope && thread->base <= now)
        thread->base_delivered = true;
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

    int64_t word = coopdl_load(thread);
    if (unlikely((word & (WORD_FIRED | WORD_PEACE)) == (WORD_FIRED | WORD_PEACE)))
        absorb_peace(thread);
    scope->outer = top_of(thread);
    scope->thread = thread;
    scope->deadline = coopdl_word(deadline);
    scope->cuts = 0;
    scope->flags = flags;
    atomic_store_explicit(&thread->top, scope, memory_order_release);
    if (flags || word & WORD_PEACE || scope->deadline < coopdl_word_deadline(word))
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

static bool inside(const struct coopdl_thread *thread, const coopdl_scope *scope)
{
    if (!thread || !scope)
        return false;
    for (const coopdl_scope *s = top_of(thread); s; s = s->outer)
        if (s == scope)
            return true;
    return false;
}

int coopdl_leave(coopdl_scope *scope)
{
    struct coopdl_thread *thread = coopdl_self;
    if (unlikely(!inside(thread, scope)))
        return fail(EINVAL);
    bool was_delivered = scope->flags & SCOPE_DELIVERED;
    atomic_store_explicit(&thread->top, scope->outer, memory_order_release);
    int64_t old = publish(thread);
    if (scope->flags & SCOPE_SHIELD)
        return 0;
    return was_delivered || scope->cuts ||
           (old & WORD_FIRED && scope->deadline <= coopdl_word_deadline(old));
}

int coopdl_move(coopdl_scope *scope, int64_t deadline)
{
    if (!inside(coopdl_self, scope) || scope->flags & SCOPE_SHIELD)
        return fail(EINVAL);
    conceal(coopdl_self);
    scope->deadline = coopdl_word(deadline);
    scope->flags = 0;
    scope->cuts = 0;
    publish(coopdl_self);
    return 0;
}

int coopdl_deliver(coopdl_scope *scope)
{
    if (!inside(coopdl_self, scope) || scope->flags & SCOPE_SHIELD ||
        scope->deadline > coopdl_clock())
        return fail(EINVAL);
    conceal(coopdl_self);
    scope->flags |= SCOPE_DELIVERED;
    publish(coopdl_self);
    return 0;
}

int coopdl_expired(const coopdl_scope *scope)
{
    struct coopdl_thread *thread = coopdl_self;
    if (unlikely(!thread || scope->thread != thread))
        return 0;
    if (likely(!(coopdl_load(thread) & WORD_FIRED)))
        return (scope->flags & SCOPE_DELIVERED) != 0;
    return scope->deadline <= coopdl_clock();
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

coopdl_scope *coopdl_owner(const struct coopdl_thread *thread, int64_t now)
{
    coopdl_scope *owner = NULL;
    coopdl_scope *scope = atomic_load(&thread->top);
    for (; scope && !(scope->flags & SCOPE_SHIELD); scope = scope->outer)
        if (scope->deadline <= now)
            owner = scope;
    return !scope && thread->base <= now ? NULL : owner;
}

int64_t coopdl_next_deadline(const struct coopdl_thread *thread, int64_t now)
{
    int64_t next = TIME_NEVER;
    const coopdl_scope *scope = atomic_load(&thread->top);
    for (; scope && !(scope->flags & SCOPE_SHIELD); scope = scope->outer)
        if (scope->deadline > now && scope->deadline < next)
            next = scope->deadline;
    return !scope && thread->base > now && thread->base < next ? thread->base : next;
}

void coopdl_fire_self(struct coopdl_thread *thread)
{
    int64_t word = coopdl_load(thread);
    if (word < 0)
        return;
    atomic_store(&thread->visit, 0);
    atomic_store(&thread->backoff, COOPDL_FIRST_BACKOFF);
    while (word >= 0)
        if (atomic_compare_exchange_weak(&thread->word, &word, word | WORD_UNARMED | WORD_FIRED))
            break;
}

void coopdl_abandon(struct coopdl_thread *thread)
{
    conceal(thread);
    atomic_store(&thread->top, NULL);
    thread->base = TIME_NEVER;
}
