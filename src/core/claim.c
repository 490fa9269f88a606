/* SPDX-License-Identifier: Apache-2.0 */
/*
 * claim.c -- a thread claims a record at its first deadline, and gives the record back when it
 * ends.
 *
 * With the record the thread gets what a deadline needs: the handler of the kick, the notes of
 * its sockets (hangup.c), the budget as its outermost scope, and the deadline that was lent to
 * it before.
 *
 * What must hold: claiming is async-signal-safe and takes no lock.
 *
 * Interleavings.
 * - A signal handler that claims while its thread is claiming would leave the thread with two
 *   records.  So all signals are blocked during a claim.
 * - A lender may have reserved a record for the thread (lend.c).  The thread takes a record of
 *   its own first, and looks for a reserved one second.  The lender reserves first, and looks
 *   for a claimed record second.  So at least one of them finds the other's record.  Either
 *   takes the reserved record out of use with a compare and exchange on its tid, which only one
 *   of them wins.
 * - The lender finds the claimed record while the thread still copies the loan from the reserved
 *   one.  The copy could overwrite a new loan, or bring back a loan that was taken back.
 *   Whoever changes a loan holds the kick of the record: so the thread holds its own kick during
 *   the copy, and the lender waits.
 * - The holder of the reserved record's kick may be storing the loan.  So the thread waits for
 *   that kick before it reads the loan.  The holder may also be the watcher, which runs a hook:
 *   no hook may wait for a lock that a thread can hold when it enters its first scope. (The
 *   hooks of Python and Ruby do not take the interpreter's lock.)
 */
#include "core/claim.h"

#include "core/budget.h"
#include "core/hangup.h"
#include "core/kept.h"
#include "core/kick.h"
#include "core/pause.h"
#include "core/process.h"
#include "core/scheduler.h"
#include "core/scope.h"
#include "core/sys.h"

#include <pthread.h>
#include <signal.h>

static _Atomic uint32_t at_exit_key; /* and one; 0: there is none */

static void give_back(void *record)
{
    struct coopdl_thread *thread = record;
    atomic_store(&thread->tid, LEAVING);
    coopdl_abandon(thread);
    coopdl_kick_settle(thread);
    atomic_store(&thread->word, WORD_NEVER);
    coopdl_self = coopdl_shown = NULL;
    coopdl_free_record(thread);
    coopdl_scheduler_loses();
}

/* Made with the first deadline, so that a process without one has all its keys.  With a budget that
 * is before main, and the key among the first 32, for which pthread_setspecific allocates nothing;
 * else in coopdl_enter.  Of two threads that come at once, one gives its own back. */
static bool give_back_at_exit(struct coopdl_thread *thread)
{
    uint32_t key = atomic_load(&at_exit_key);
    pthread_key_t made;
    if (!key && pthread_key_create(&made, give_back) == 0) {
        if (atomic_compare_exchange_strong(&at_exit_key, &key, (uint32_t)made + 1))
            key = (uint32_t)made + 1;
        else
            pthread_key_delete(made);
    }
    return key && pthread_setspecific((pthread_key_t)(key - 1), thread) == 0;
}

/* Takes over the loan that was made before the calling thread had a record.  A lender sets
 * coopdl_ever_reserved before it reserves a record, and looks for a claimed record after that:
 * where this thread does not see the flag, the lender finds the claimed record. */
static bool take_over_loan(struct coopdl_thread *thread, int32_t tid)
{
    if (!atomic_load(&coopdl_ever_reserved))
        return false;
    for (struct coopdl_thread *t = coopdl_next_thread(NULL); t; t = coopdl_next_thread(t)) {
        int32_t mine = tid;
        if (!atomic_load(&t->reserved) || !atomic_compare_exchange_strong(&t->tid, &mine, LEAVING))
            continue;
        coopdl_kick_settle(t);
        atomic_store(&thread->lent, atomic_load(&t->lent));
        coopdl_forget(t);
        return true;
    }
    return false;
}

struct coopdl_thread *coopdl_claim(void)
{
    uint64_t all = ~UINT64_C(0), mask;
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, COOPDL_SIGSET_SIZE);
    struct coopdl_thread *thread = coopdl_self;
    /* In a vfork child this memory is the parent's: leave it alone. */
    if (!thread && coopdl_sys(SYS_getpid) == coopdl_pid && (thread = coopdl_new_record())) {
        int32_t tid = (int32_t)coopdl_sys(SYS_gettid);
        coopdl_self = thread;
        coopdl_shown = coopdl_measures ? NULL : thread;
        (void)coopdl_kick_take(thread); /* no other thread knows the record yet */
        atomic_store(&thread->tid, tid);
        bool borrows = take_over_loan(thread, tid);
        coopdl_kick_drop(thread);
        (void)give_back_at_exit(thread);
        coopdl_kick_install();
        coopdl_hangup_start();
        coopdl_budget_join(thread);
        if (borrows)
            coopdl_publish(thread);
    }
    /* Whatever the mask was, the kick must get through to a thread that has a deadline. */
    if (thread && mask & COOPDL_SIGSET_BIT(atomic_load(&coopdl_kick_signal)))
        coopdl_kick_believed = true;
    coopdl_kick_unmask(thread, &mask);
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, COOPDL_SIGSET_SIZE);
    return thread;
}

void coopdl_thread_forked(void)
{
    for (struct coopdl_thread *t = coopdl_next_thread(NULL); t; t = coopdl_next_thread(t))
        if (t != coopdl_self)
            coopdl_forget(t);
    coopdl_all_due();
    if (coopdl_self) {
        atomic_store(&coopdl_self->tid, (int32_t)coopdl_sys(SYS_gettid));
        atomic_store(&coopdl_self->kick, 0);
        /* The kernel does not hand the trap down. */
        atomic_store(&coopdl_self->selector, TRAP_OPEN);
        coopdl_self->trapped = false;
        /* The thread that has lent this one a deadline is not in the child, and cannot take it
         * back. */
        if (atomic_exchange(&coopdl_self->lent, TIME_NEVER) != TIME_NEVER)
            coopdl_publish(coopdl_self);
        coopdl_pause_born_late(coopdl_self, coopdl_born);
        uint32_t depth;
        struct coopdl_entry *entries = coopdl_entries(coopdl_self, &depth);
        while (depth--)
            entries[depth].flags |= SCOPE_INHERITED;
    }
}
