/* SPDX-License-Identifier: Apache-2.0 */
/*
 * recount.c -- computes the word of another thread anew, after a change of what it follows from.
 *
 * The caller holds that thread's kick, and has changed the thread's loan (lend.c) or one of its
 * deadlines (move.c).  Here the word is fired for a moment (WORD_MOMENT), so that the entries do
 * not change.  Then the word that follows from the entries takes its place.
 *
 * Interleavings.
 * - The thread changes its word meanwhile: one of the two exchanges here fails.  Where its word
 *   was fired, the thread waits for the kick before it goes on.
 * - The thread has concealed its word: it is about to publish another one.
 */
#include "core/recount.h"

#include "core/alarm.h"
#include "core/clock.h"
#include "core/kick.h"
#include "core/scope.h"

/* A kick that was sent and does not arrive is given up, as in kick.c. */
void coopdl_kick_await(struct coopdl_thread *thread)
{
    int64_t begun = coopdl_clock();
    for (int64_t pause = 20 * COOPDL_MICROSECOND; !coopdl_kick_take(thread);
         pause += pause < COOPDL_MILLISECOND ? pause : 0) {
        coopdl_sleep_for(pause);
        uint32_t sent = KICK_SENT;
        if (coopdl_clock() - begun > COOPDL_KICK_TIMEOUT)
            atomic_compare_exchange_strong(&thread->kick, &sent, KICK_NONE);
    }
}

/* The word that replaces `word` where the entries give `rules`.  A thread that has expired stays so
 * as long as one of its entries has. */
static int64_t new_word(int64_t word, int64_t rules, int64_t now)
{
    if (!(word & WORD_FIRED) || rules < 0 || rules > now)
        return rules;
    return rules | WORD_UNARMED | WORD_FIRED | (word & WORD_HANDLING);
}

static int64_t fired_for_a_moment(int64_t now)
{
    return (now & ~(int64_t)WORD_FLAGS) | WORD_UNARMED | WORD_FIRED | WORD_HANDLING | WORD_MOMENT;
}

bool coopdl_recount(struct coopdl_thread *thread)
{
    int64_t now = coopdl_clock(), word = coopdl_load(thread), held;
    do {
        word = atomic_load(&thread->word);
        if (word == WORD_CONCEALED)
            return false;
        held = word & WORD_FIRED ? word : fired_for_a_moment(now);
    } while (!atomic_compare_exchange_weak(&thread->word, &word, held));
    int64_t rules = coopdl_ruling(thread), wanted = new_word(word, rules, now);
    atomic_store(&thread->visit, now); /* the hook is asked about a new owner */
    bool stands = atomic_compare_exchange_strong(&thread->word, &held, wanted);
    if (coopdl_wakes(coopdl_slab_of(thread), coopdl_ask_again(thread, wanted)))
        coopdl_wake();
    return stands;
}
