/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kept.c -- keeps the program's own signals of the kick's number while the program has them
 * blocked.
 *
 * The kernel never has that signal blocked, so that the kick gets through.  The kick's handler
 * therefore also gets signals of the program that the program believes to be blocked.  It keeps
 * them here, as the kernel keeps pending signals.  A kept signal goes to the thread that
 * unblocks the signal, waits for it, or asks what is pending.
 *
 * What must hold:
 * - A kept signal is handled or taken once.  One that was sent to a thread is taken by that
 *   thread alone.
 * - All code here is async-signal-safe.  The lock is held with all signals blocked, so that no
 *   handler of the holder's thread can wait for it.  The kick's handler has them blocked anyway.
 * - As in the kernel, a signal below SIGRTMIN is pending once for a thread and once for the
 *   process; of others, as many as there is room for.  A signal without room is lost, as where
 *   RLIMIT_SIGPENDING is reached.
 *
 * Interleaving: a signal is kept after a thread has looked for one, and before it waits.  So the
 * waiter announces its wait before it looks (coopdl_kept_awaited), and has the signal blocked
 * during both (sigwait.c).  The thread that keeps a signal sends the waiter one, which is then
 * pending and ends the wait.
 */
#include "core/kept.h"

#include "core/kick.h"
#include "core/process.h"
#include "core/sys.h"

#include <stdatomic.h>
#include <stdint.h>

enum { ROOM = 64 };

__thread bool coopdl_kick_believed __attribute__((tls_model("initial-exec")));

static struct {
    int32_t tid; /* 0: for the process */
    siginfo_t info;
} kept[ROOM];
static uint32_t count;
static atomic_flag lock = ATOMIC_FLAG_INIT;
static _Atomic uint32_t pending; /* `count`, to be read without the lock */
static _Atomic int32_t waiter;

static uint64_t enter(void)
{
    uint64_t all = ~UINT64_C(0), mask;
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, COOPDL_SIGSET_SIZE);
    while (atomic_flag_test_and_set(&lock))
        coopdl_sys(SYS_sched_yield);
    return mask;
}

static void leave(uint64_t mask)
{
    atomic_store(&pending, count);
    atomic_flag_clear(&lock);
    coopdl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, 0, COOPDL_SIGSET_SIZE);
}

static int32_t self(void)
{
    return (int32_t)coopdl_sys(SYS_gettid);
}

bool coopdl_is_delivery(const siginfo_t *info)
{
    return info->si_code == SI_QUEUE && info->si_value.sival_ptr == (void *)&kept;
}

static void send_delivery(int32_t tid)
{
    siginfo_t info = {.si_signo = atomic_load(&coopdl_kick_signal), .si_code = SI_QUEUE};
    info.si_value.sival_ptr = &kept;
    coopdl_sys(SYS_rt_tgsigqueueinfo, coopdl_pid, tid, info.si_signo, &info);
}

void coopdl_keep(const siginfo_t *info)
{
    int32_t tid = info->si_code == SI_TKILL ? self() : 0;
    uint64_t mask = enter();
    bool again = false;
    for (uint32_t i = 0; i < count; i++)
        again |= kept[i].tid == tid;
    if (count < ROOM && !(again && info->si_signo < SIGRTMIN)) {
        kept[count].tid = tid;
        kept[count++].info = *info;
    }
    leave(mask);
    int32_t other = atomic_load(&waiter);
    if (tid == 0 && other)
        send_delivery(other);
}

/* The place of the first for this thread; ROOM if there is none. */
static uint32_t first(int32_t tid)
{
    for (uint32_t i = 0; i < count; i++)
        if (kept[i].tid == 0 || kept[i].tid == tid)
            return i;
    return ROOM;
}

bool coopdl_kept(void)
{
    if (atomic_load(&pending) == 0)
        return false;
    int32_t tid = self();
    uint64_t mask = enter();
    bool any = first(tid) != ROOM;
    leave(mask);
    return any;
}

bool coopdl_take_kept(siginfo_t *info)
{
    if (atomic_load(&pending) == 0)
        return false;
    int32_t tid = self();
    uint64_t mask = enter();
    uint32_t place = first(tid);
    if (place != ROOM) {
        *info = kept[place].info;
        for (count--; place < count; place++)
            kept[place] = kept[place + 1];
        leave(mask);
        return true;
    }
    leave(mask);
    return false;
}

/* Each signal is handled as the system call that sends it returns. */
void coopdl_deliver_kept(void)
{
    for (int n = 0; n < ROOM && !coopdl_kick_believed && coopdl_kept(); n++)
        send_delivery(self());
}

void coopdl_kept_awaited(bool awaited)
{
    atomic_store(&waiter, awaited ? self() : 0);
}

void coopdl_kept_forked(void)
{
    count = 0;
    atomic_store(&pending, 0);
    atomic_store(&waiter, 0);
    atomic_flag_clear(&lock);
}
