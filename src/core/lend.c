/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lend.c -- one thread gives another thread of the process a deadline.
 *
 * A thread that waits for another and cannot give up (pthread_join) lends the other its
 * deadline, as priority inheritance lends a priority.  A runtime does the same for its own kinds
 * of waits.
 *
 * What must hold:
 * - The loan is the borrower's outermost deadline.  The borrower's shields hide it, and the
 *   borrower's scopes stay inside it.
 * - The lender changes the borrower's word, and never its entries.
 * - After a loan was taken back no kick for it is under way, and the word is the one that
 *   follows from the borrower's own entries.  A call that was kicked before may still be about
 *   to return EINTR: nobody can see that from outside.
 *
 * How: the lender takes the borrower's kick, stores the loan (thread->lent), and then stores the
 * word that follows from the entries and the loan (recount.c).
 *
 * Interleavings.
 * - The borrower changes its word meanwhile.  The lender's compare and exchange fails.  The
 *   borrower, which had to wait for the kick where its word was fired, reads the loan again
 *   (publish in scope.c).
 * - The borrower has concealed its word.  It is about to publish, and then reads the loan.
 * - The borrower ends.  It marks its record before it waits for the kick (thread.h): so the
 *   lender finds its id and has the record, or does not find it.
 * - The borrower has no record.  One is reserved for it (thread.c).  The kick makes the borrower
 *   claim a record of its own, which takes over the loan (claim.c).
 * - Two threads lend at once.  One has the kick, and the other waits.  The later loan counts.
 * - The lender is the scheduler's thread, inside the hook for the borrower.  It holds the kick
 *   already.
 * - Two threads wait for each other, each in the handler of its kick.  Each has given its own
 *   kick back before it lends.
 * - A signal of the program arrives, whose handler leaves by longjmp and so would keep the kick
 *   for ever.  So all signals are blocked.
 */
#include "coopdl.h"

#include "core/clock.h"
#include "core/hooks.h"
#include "core/kick.h"
#include "core/lend.h"
#include "core/process.h"
#include "core/recount.h"
#include "core/scheduler.h"
#include "core/scope.h"
#include "core/sys.h"
#include "core/thread.h"

#include <errno.h>
#include <signal.h>

/* Holding the kick. */
static void set(struct coopdl_thread *thread, int64_t deadline)
{
    if (atomic_exchange(&thread->lent, deadline) != deadline)
        atomic_store(&thread->lent_delivered, TIME_NEVER);
    (void)coopdl_recount(thread);
}

static bool exists(int32_t tid)
{
    return tid > 0 && coopdl_sys(SYS_tgkill, coopdl_pid, tid, 0) == 0;
}

/* One attempt: 0 or an errno; EAGAIN where the record has changed hands. */
static int try_to_lend(int32_t tid, int64_t deadline)
{
    struct coopdl_thread *thread = coopdl_record_of(tid);
    if (!thread && deadline == TIME_NEVER)
        return exists(tid) ? 0 : ESRCH;
    if (!thread && !exists(tid))
        return ESRCH;
    if (!thread && !(thread = coopdl_reserve(tid)))
        return ENOMEM;
    bool asking = coopdl_is_asking_about(thread);
    if (!asking)
        coopdl_kick_await(thread);
    int error = atomic_load(&thread->tid) == tid ? 0 : EAGAIN;
    if (!error) {
        set(thread, deadline);
        /* The record is no longer needed, or the thread has claimed one meanwhile. */
        if (atomic_load(&thread->reserved) && (deadline == TIME_NEVER || coopdl_has_record(tid))) {
            int32_t expected = tid;
            if (atomic_compare_exchange_strong(&thread->tid, &expected, LEAVING)) {
                coopdl_forget(thread);
                return coopdl_has_record(tid) ? EAGAIN : exists(tid) ? 0 : ESRCH;
            } /* else it is taking over this loan, and waits for the kick */
        }
    }
    if (!asking)
        coopdl_kick_drop(thread);
    return error;
}

int coopdl_lend_to(int32_t tid, int64_t deadline)
{
    uint64_t all = ~UINT64_C(0), mask;
    int error;
    deadline = coopdl_word(deadline);
    if (coopdl_self && atomic_load(&coopdl_self->tid) == tid) {
        atomic_store(&coopdl_self->lent, deadline);
        coopdl_publish(coopdl_self);
        return 0;
    }
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, COOPDL_SIGSET_SIZE);
    do /* again where a record has changed hands */
        error = try_to_lend(tid, deadline);
    while (error == EAGAIN);
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, COOPDL_SIGSET_SIZE);
    return error;
}

static __thread struct coopdl_await *awaiting __attribute__((tls_model("initial-exec")));

IN_HANDLER void coopdl_lend_on(struct coopdl_thread *thread)
{
    struct coopdl_await *await = awaiting;
    if (likely(!await) || !await->tid || !coopdl_cutting(thread))
        return;
    const struct coopdl_entry *owner = coopdl_owner(thread, coopdl_clock());
    /* The budget is every thread's own. */
    if (!owner || (!owner->scope && owner != &thread->borrowed))
        return;
    await->lent = true;
    coopdl_lend_to(await->tid, owner->deadline);
}

void coopdl_await_begin(struct coopdl_await *await, int32_t tid)
{
    *await = (struct coopdl_await){.tid = tid, .outer = awaiting};
    awaiting = await;
    atomic_signal_fence(memory_order_seq_cst);
    if (coopdl_self)
        coopdl_lend_on(coopdl_self);
}

/* Where the thread has ended, the record that was reserved for it is freed. */
void coopdl_await_end(struct coopdl_await *await)
{
    awaiting = await->outer;
    atomic_signal_fence(memory_order_seq_cst);
    if (unlikely(await->lent))
        coopdl_lend_to(await->tid, TIME_NEVER);
}

int coopdl_lend(pid_t thread, int64_t deadline)
{
    int error = coopdl_scheduler_start() ? EAGAIN : coopdl_lend_to(thread, deadline);
    if (!error)
        return 0;
    errno = error == ENOMEM ? EAGAIN : error;
    return -1;
}
