/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pause.c -- how long a call that is cut waits first.
 *
 * A program that ignores the error of a cut call makes the call again, at once and for ever.  So
 * from the fifth try on each call pauses before it fails: 1 ms, doubling, to 50 ms.
 *
 * What must hold:
 * - A loop of tries makes at most 60 in the first second after its deadline, and 25 in any later
 *   second.  A try is a cut call other than a sleep, or an attempt to connect, which may succeed
 *   at once each time.
 * - A pause lasts until a fixed time.  Neither a kick nor a signal of the program ends it.  The
 *   end of the expiry does.
 * - A process that begins after the deadline begins with the longest pause: in a loop where each
 *   try is a process of its own, no process makes five tries.
 *
 * Sleeps are treated in another way.  A program that polls between short sleeps adds up their
 * durations, and gives up when the sum is long enough.  SQLite's busy handler sleeps 100 ms at a
 * time, 1,200 times.  A pause of 50 ms before each sleep would end it a minute late.
 *
 * So a sleep pauses for a share of its own duration: 1/8192, doubled for each 128 s that the
 * sleeps have asked for and for each 2,048 sleeps, up to 1/16.  A loop of two minutes ends 15 ms
 * late, one of ten minutes two seconds late; endless sleeps of 1 s come to 20 a second.  Shares
 * are added up until they come to 1 ms, since the kernel's shortest sleep is longer than most
 * shares.  A sleep of less than 1 ms counts as 1 ms.
 *
 * Tries and sleeps are counted apart.  In a loop that polls and then sleeps, the poll pauses as
 * if there were no sleeps.
 */
#include "core/pause.h"

#include "core/clock.h"
#include "core/sys.h"

enum { PROMPT = 4, DOUBLINGS = 6, SLEEPS_TO_DOUBLE = 2048, SMALLEST_SHIFT = 4, LARGEST_SHIFT = 13 };

#define SLEPT_TO_DOUBLE (128 * COOPDL_SECOND)

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t before_try(struct coopdl_entry *owner)
{
    uint32_t tries = owner->tries;
    if (tries < PROMPT + DOUBLINGS)
        owner->tries++;
    return tries < PROMPT ? 0 : min(COOPDL_MILLISECOND << (tries - PROMPT), COOPDL_LONGEST_PAUSE);
}

static int64_t before_sleep(struct coopdl_entry *owner, int64_t sleep)
{
    int64_t asked = sleep > COOPDL_MILLISECOND ? sleep : COOPDL_MILLISECOND;
    int64_t doubled = owner->sleeps / SLEEPS_TO_DOUBLE + owner->slept / SLEPT_TO_DOUBLE;
    int shift = LARGEST_SHIFT - (int)min(doubled, LARGEST_SHIFT - SMALLEST_SHIFT);
    if (owner->sleeps >= PROMPT)
        owner->owed += min(asked >> shift, COOPDL_LONGEST_PAUSE);
    if (owner->sleeps != UINT32_MAX)
        owner->sleeps++;
    owner->slept = coopdl_later(owner->slept, asked);
    if (owner->owed < COOPDL_MILLISECOND)
        return 0;
    int64_t pause = min(min(owner->owed, sleep), COOPDL_LONGEST_PAUSE);
    owner->owed -= pause;
    return pause;
}

int64_t coopdl_pause_due(struct coopdl_entry *owner, int64_t sleep)
{
    return sleep == COOPDL_NEVER ? before_try(owner) : sleep ? before_sleep(owner, sleep) : 0;
}

void coopdl_pause(struct coopdl_thread *thread, int64_t ns)
{
    if (ns <= 0)
        return;
    const struct timespec until = coopdl_timespec(coopdl_later(coopdl_clock(), ns));
    atomic_store(&thread->asleep, AWAKE);
    while (coopdl_cutting(thread) &&
           coopdl_sys(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &until, 0) != 0)
        ;
}

void coopdl_pause_born_late(struct coopdl_thread *thread, int64_t born)
{
    uint32_t depth;
    struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    while (depth--)
        if (entries[depth].deadline <= born) {
            entries[depth].tries = PROMPT + DOUBLINGS;
            entries[depth].owed = COOPDL_LONGEST_PAUSE;
        }
}
