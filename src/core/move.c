/* SPDX-License-Identifier: Apache-2.0 */
/*
 * move.c -- gives a scope of another thread another deadline.
 *
 * What must hold:
 * - The scope's thread is in no function that changes its scopes.  The caller's lock sees to
 *   that: the runtime's own lock, with which it calls coopdl_enter and coopdl_leave.
 * - Once coopdl_move_there has returned, nothing is cut for the old deadline.  A call that was
 *   kicked for it before may still be about to return EINTR.
 *
 * How: the caller takes the kick of the scope's thread, so that nobody else reads that thread's
 * entries.  It changes the entry, and then the word (recount.c).
 *
 * Interleavings.
 * - The thread is in a call, and its wrapper reads the old deadline or the new one.  A cap that
 *   was made for a later deadline is ended by the kick.  One that was made for an earlier
 *   deadline runs out, the wrapper finds that nothing has expired, and goes on.
 * - The thread fires its own word, since its cap has run out: recount.c looks again.
 * - A signal handler in the thread enters and leaves a scope.  It conceals the word, or changes
 *   it during the recount, and may then wait for the kick.  So the caller drops the kick, and
 *   does everything again.
 * - The thread ends.  It marks its record before it waits for the kick (thread.h), so the caller
 *   finds another id, or finds that the scope is not on the thread's list.
 */
#include "core/move.h"

#include "coopdl.h"

#include "core/clock.h"
#include "core/hooks.h"
#include "core/kick.h"
#include "core/recount.h"
#include "core/sys.h"

#include <errno.h>

enum { AGAIN_AFTER = 20000 };

/* Holding the kick: an errno, 0 for none; EAGAIN where the thread is at its own word. */
static int move(struct coopdl_thread *thread, const coopdl_scope *scope, int64_t deadline)
{
    uint32_t depth;
    struct coopdl_entry *entries = coopdl_entries(thread, &depth);
    struct coopdl_entry *entry = &entries[scope->place];
    if (scope->place >= depth || entry->scope != scope || entry->flags & SCOPE_SHIELD)
        return EINVAL;
    if (entry->deadline != deadline)
        entry->noted = 0;
    entry->deadline = deadline;
    entry->flags &= ~(uint32_t)SCOPE_DELIVERED;
    entry->cuts = entry->tries = entry->sleeps = 0;
    return coopdl_recount(thread) ? 0 : EAGAIN;
}

/* Whether a scope's thread is one: it may have been entered by none. */
static bool is_record(const struct coopdl_thread *thread)
{
    const struct coopdl_thread *record = coopdl_next_thread(NULL);
    while (record && record != thread)
        record = coopdl_next_thread((struct coopdl_thread *)(uintptr_t)record);
    return record;
}

static int try_to_move(struct coopdl_thread *thread, const coopdl_scope *scope, int64_t deadline)
{
    int32_t tid = is_record(thread) ? atomic_load(&thread->tid) : 0;
    if (tid <= 0)
        return EINVAL;
    bool asking = coopdl_is_asking_about(thread);
    if (!asking)
        coopdl_kick_await(thread);
    int error = atomic_load(&thread->tid) == tid ? move(thread, scope, deadline) : EINVAL;
    if (!asking)
        coopdl_kick_drop(thread);
    return error;
}

int coopdl_move_there(const coopdl_scope *scope, int64_t deadline)
{
    uint64_t all = ~UINT64_C(0), mask;
    int error;
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, COOPDL_SIGSET_SIZE);
    while ((error = try_to_move(scope->thread, scope, deadline)) == EAGAIN)
        coopdl_sleep_for(AGAIN_AFTER);
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, COOPDL_SIGSET_SIZE);
    return error;
}
