/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lend.c -- a deadline for another thread of this process, from outside.
 *
 * Who waits for another thread without a way to give up (pthread_join) lends it
 * the deadline, as priority inheritance lends a priority; a runtime does the same
 * for a thread that it waits for by its own means.
 *
 * What must hold:
 * - The loan is the borrower's outermost deadline: its shields hide it, and its
 *   own scopes go on inside it.
 * - The lender changes the borrower's word alone, never its entries.
 * - After it has been taken back no kick for it is under way, and the word holds
 *   what the borrower's own entries come to.  A call that had been kicked before
 *   may still be about to return EINTR: nobody else can see that.
 *
 * How.  Holding the borrower's kick, the lender stores the loan (thread->lent), and
 * then in the word's place what the entries come to (recount.c).
 *
 * Interleavings.
 * - The borrower changes its word meanwhile: the lender's compare and exchange
 *   fails, and the borrower, which had to wait for the kick where its word was
 *   fired, looks at the loan again (scope.c, publish).
 * - The borrower has concealed its word: it is about to publish, and sees the loan.
 * - The borrower ends: it marks its record before it waits for the kick (thread.h),
 *   so the lender finds its id and has the record, or does not.
 * - The borrower has no record: one is reserved (thread.c).  Its kick makes the
 *   borrower claim one of its own, which takes the loan over.
 * - Two lenders at once: one has the kick, the other waits.  The last one counts.
 * - The lender is the scheduler's thread, inside the hook for the borrower: it has
 *   the kick already.
 * - Two threads that wait for each other, each in its kick's handler: the handler
 *   has given its own kick back before it lends.
 * - A signal of the program's in the middle, whose handler leaves by longjmp, would
 *   keep the kick for ever: all signals are blocked.
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
        /* No longer needed, or the thread has claimed one meanwhile. */
        if (atomic_load(&thread->reserved) && (deadline == TIME_NEVER || coopdl_has_record(tid))) {
            int32_t expected = tid;
            if (atomic_compare_exchange_strong(&thread->tid, &expected, LEAVING)) {
                coopdl_forget(thread);
                return coopdl_has_record(tid) ? EAGAIN : exists(tid) ? 0 : ESRCH;
            } /* else it is taking this loan over, and waits for us to drop the kick */
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

/* Where the thread has ended, what was reserved for it goes. */
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
