/* SPDX-License-Identifier: Apache-2.0 */
/*
 * turn.c -- how threads that compute give the GVL to others when a deadline has passed.
 *
 * Ruby gives the GVL to the waiting threads in turn, and a thread that computes keeps it for 100
 * ms.  An exception needs two turns: one of the waiter, which sends it, and one of the thread
 * that it is for.  Beside ten threads that compute these take two seconds.  So a job is posted
 * to the thread that has the GVL, which gives the GVL away at once.  The job is posted again to
 * the next thread, until the waiter and the target have had their turns.
 *
 * What must hold:
 * - The job raises nothing.  It runs in the middle of Ruby's interrupt handling, where an
 *   exception corrupts the VM.
 * - A thread gives the GVL away for COOPDL_HAND_OVER at most each time.  For an exception in a
 *   queue it does so up to FRESH after that was sent.  So an exception that a thread cannot
 *   take, because the program has masked it, does not slow the other threads down.
 * - No thread waits for itself: neither one that an exception was sent to, nor the waiter, to
 *   which the job may be posted when it has woken and has the GVL. (The waiter once waited for
 *   itself, and all other threads for it, as long as kicks came.)
 *
 * Interleaving: the job is posted to the thread that has the GVL by the VM's record, which is
 * written when a thread has got it.  So the record may still name the thread that has just given
 * the GVL away.  Therefore the job is posted again every SLICE.  A thread gives the GVL away
 * only once for the same want: where no waiter serves the want, it would do nothing else.
 */
#include "turn.h"

#include "coopdl.h"

#include <errno.h>
#include <linux/futex.h>
#include <ruby/debug.h>
#include <ruby/thread.h>
#include <sys/syscall.h>
#include <unistd.h>

/* In ns. */
enum { FRESH = 50000000, SLICE = 200000 };

_Atomic bool coopdl_turn_has_waiter;

static _Atomic uint32_t wanted, served; /* how often there was something to send; a futex */
static _Atomic int queued;              /* how many exceptions were sent and are not raised yet */
static _Atomic int64_t last_sent;
#ifdef HAVE_RB_POSTPONED_JOB_PREREGISTER
static rb_postponed_job_handle_t job;
#endif

void coopdl_turn_want(void)
{
    atomic_fetch_add(&wanted, 1);
}

uint32_t coopdl_turn_wanted(void)
{
    return atomic_load(&wanted);
}

void coopdl_turn_served(uint32_t seen)
{
    atomic_store(&served, seen);
    syscall(SYS_futex, &served, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

void coopdl_turn_queued(struct activity *target)
{
    if (target)
        atomic_fetch_add(&target->queued, 1);
    atomic_store(&last_sent, coopdl_now());
    atomic_fetch_add(&queued, 1);
}

void coopdl_turn_raised(struct activity *target)
{
    if (target)
        atomic_fetch_sub(&target->queued, 1);
    atomic_fetch_sub(&queued, 1);
}

static bool is_served(uint32_t upto)
{
    return (int32_t)(upto - atomic_load(&served)) <= 0;
}

/* Whether others are to be raised in soon. */
static bool is_queued(int64_t now)
{
    return atomic_load(&queued) > 0 && now < atomic_load(&last_sent) + FRESH;
}

struct giving {
    struct activity *own;
    int64_t longest;
};

static bool is_over(const struct activity *own, uint32_t upto, int64_t now)
{
    if (!atomic_load(&coopdl_turn_has_waiter) || own->waiter || atomic_load(&own->queued) > 0)
        return true;
    return (is_served(upto) || own->given == upto) && !is_queued(now);
}

static void *give(void *argument)
{
    struct giving *giving = argument;
    uint32_t upto = atomic_load(&wanted);
    int64_t now = coopdl_now(), end = now + giving->longest;
    for (; now < end && !is_over(giving->own, upto, now); now = coopdl_now()) {
        uint32_t seen = atomic_load(&served);
        struct timespec slice = {.tv_nsec = SLICE};
        if (syscall(SYS_futex, &served, FUTEX_WAIT_PRIVATE, seen, &slice, NULL, 0) != 0)
            coopdl_turn_ask();
    }
    if (!is_served(upto))
        giving->own->given = upto;
    return NULL;
}

/* The `2` in the name: interrupts are not checked afterwards, since that may raise.  Without need
 * the GVL is not released, or a thread that computes would look like one that waits (remind in
 * serve.c). */
void coopdl_turn_give(int64_t longest)
{
    struct activity *own = coopdl_activity();
    struct giving giving = {.own = own, .longest = longest};
    if (is_over(own, atomic_load(&wanted), coopdl_now()))
        return;
    own->serving = true;
    rb_thread_call_without_gvl2(give, &giving, NULL, NULL);
    own->serving = false;
}

static void hand_over(void *unused)
{
    (void)unused;
    coopdl_turn_give(COOPDL_HAND_OVER);
}

void coopdl_turn_ask(void)
{
#ifdef HAVE_RB_POSTPONED_JOB_PREREGISTER
    if (job != POSTPONED_JOB_HANDLE_INVALID) /* others have taken all there are */
        rb_postponed_job_trigger(job);
#else
    rb_postponed_job_register_one(0, hand_over, NULL);
#endif
}

void coopdl_turn_hurry(void)
{
    while (is_queued(coopdl_now())) {
        coopdl_turn_ask();
        struct timespec slice = {.tv_nsec = SLICE};
        nanosleep(&slice, NULL);
    }
}

void coopdl_turn_forked(void)
{
    atomic_store(&served, atomic_load(&wanted));
    atomic_store(&queued, 0);
    atomic_store(&coopdl_turn_has_waiter, false);
}

void coopdl_turn_init(void)
{
#ifdef HAVE_RB_POSTPONED_JOB_PREREGISTER
    job = rb_postponed_job_preregister(0, hand_over, NULL);
#endif
}
