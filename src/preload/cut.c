/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cut.c -- how a call that would wait after expiry fails.
 *
 * The first cut in a scope fails with EINTR, so that a runtime looks at its interrupts.  Every
 * further one fails with ETIMEDOUT, so that restart loops end.  From the fifth on each call
 * pauses first (core/pause.c).
 *
 * From the fifth cut on a poll or select with a timeout of its own returns 0 for some of its
 * cuts, as if that timeout had run out.  CPython's ssl gives up on 0 and ignores errors; libcurl
 * gives up on an error, and takes 0 for "nothing yet". So every place in a loop of calls must
 * get both results after a while, however many calls the loop makes.  If 0 and ETIMEDOUT took
 * turns, a loop of two calls would get 0 for ever at one call and ETIMEDOUT at the other.  So
 * the parity of the bits of the cut's number decides (the Thue-Morse sequence): at no fixed
 * distance is it constant.
 *
 * The trap may cut a call inside a wrapper.  The call comes back to the wrapper with EINTR, and
 * the wrapper cuts it as well: that is the same cut, and counts once (thread->cut_by_trap).
 * Where the trap has cut a call that libc makes inside, the next cut of a wrapper counts as the
 * same one.
 */
#include "preload/cut.h"

#include "core/ending.h"
#include "core/evidence.h"
#include "core/hangup.h"
#include "core/kick.h"
#include "core/policy.h"
#include "core/probe.h"
#include "core/scheduler.h"
#include "core/scope.h"
#include "core/sys.h"
#include "preload/real.h"
#include "trap/trap.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>

enum { PROMPT_CUTS = 4 };

/* Whether the trap has counted this cut already. */
static bool is_counted(const struct coopdl_thread *thread, const struct coopdl_entry *owner,
                       bool trapped)
{
    return thread->cut_by_trap && owner->cuts && !trapped;
}

int64_t coopdl_next_pause(struct coopdl_thread *thread, int64_t sleep, bool trapped)
{
    struct coopdl_entry *owner = coopdl_owner(thread, coopdl_clock());
    return owner && !is_counted(thread, owner, trapped) ? coopdl_pause_due(owner, sleep) : 0;
}

int coopdl_cut_result(struct coopdl_thread *thread, const char *call, enum coopdl_result result,
                      int64_t sleep, bool trapped)
{
    int64_t now = coopdl_clock();
    struct coopdl_entry *owner = coopdl_owner(thread, now);
    if (!owner) /* the deadline was moved in a handler just now */
        return EINTR;
    uint32_t cut = owner->cuts;
    if (is_counted(thread, owner, trapped)) {
        cut--;
        coopdl_note_same_cut(thread, owner, call);
    } else {
        PROBE3(cut, call, owner->deadline, cut);
        if (cut != UINT32_MAX)
            owner->cuts++;
        coopdl_note_cut(thread, owner, call, now, trapped && thread->wrapped);
        coopdl_pause(thread, coopdl_pause_due(owner, sleep));
    }
    thread->cut_by_trap = trapped;
    if (result == RESULT_EINTR || coopdl_policy.error == ERRNO_EINTR)
        return EINTR;
    bool run_out = cut >= PROMPT_CUTS && __builtin_parity(cut);
    if (result == RESULT_TIMED && run_out && coopdl_policy.error == ERRNO_ESCALATE)
        return 0;
    return cut == 0 && coopdl_policy.error != ERRNO_ETIMEDOUT ? EINTR : ETIMEDOUT;
}

void coopdl_capped(struct coopdl_thread *thread)
{
    int64_t word = coopdl_load(thread);
    if (word < 0 || word > coopdl_clock())
        return;
    if (coopdl_hooked()) /* a runtime is asked before anything is cut: the scheduler is late */
        coopdl_wake();
    else
        coopdl_fire_self(thread);
}

/* By the voluntary switches of the kernel's struct rusage, which consists of words.  Where the
 * kernel refuses to tell, each call counts as one that slept: none is repeated. */
long coopdl_sleeps(void)
{
    enum { SWITCHES = 16, WORDS = 18 };
    static _Atomic long unknown;
    long usage[WORDS];
    return coopdl_sys(SYS_getrusage, RUSAGE_THREAD, usage) == 0 ? usage[SWITCHES]
                                                                : atomic_fetch_add(&unknown, 1);
}

bool coopdl_would_wait(int fd, short events)
{
    struct pollfd pollfd = {.fd = fd, .events = events};
    struct timespec now = {0};
    long ready;
    do
        ready = coopdl_sys(SYS_ppoll, &pollfd, 1, &now, 0, COOPDL_SIGSET_SIZE);
    while (ready == -EINTR); /* a kick */
    if (ready != 0)
        return false;
    /* Not ready.  Two kinds of descriptors do not wait for that either: one in non-blocking mode,
     * and one that is not open for this direction. */
    long flags = coopdl_sys(SYS_fcntl, fd, F_GETFL);
    long access = flags & O_ACCMODE, needed = events & POLLIN ? O_WRONLY : O_RDONLY;
    return flags >= 0 && !(flags & O_NONBLOCK) && access != needed;
}

bool coopdl_end_is_cut(int fd)
{
    struct coopdl_thread *thread = coopdl_self;
    return coopdl_budgeted && coopdl_cutting(thread) && coopdl_left_by_writer(thread, fd);
}

bool coopdl_end_is_reset(int fd, bool consumed)
{
    if (!coopdl_end_is_ours(fd, consumed))
        return false;
    errno = ECONNRESET;
    return true;
}

bool coopdl_is_blocking(int fd)
{
    long flags = coopdl_sys(SYS_fcntl, fd, F_GETFL);
    return flags >= 0 && !(flags & O_NONBLOCK);
}

/* Calls `asks` with an address in each page of a range, aligned to 8. */
static bool each_page(const void *address, size_t size, bool (*asks)(uintptr_t))
{
    enum { PAGE = 4096 }; /* the smallest there is */
    uintptr_t at = (uintptr_t)address & ~(uintptr_t)7, end;
    if (size == 0)
        return true;
    if (__builtin_add_overflow((uintptr_t)address, size - 1, &end))
        return false;
    for (; at <= end; at = (at & ~(uintptr_t)(PAGE - 1)) + PAGE)
        if (!asks(at))
            return false;
    return true;
}

static bool can_read(uintptr_t address)
{
    /* No such way to change a signal mask exists, but the mask is read first. */
    return coopdl_sys(SYS_rt_sigprocmask, -1, address, 0, COOPDL_SIGSET_SIZE) != -EFAULT;
}

static bool can_write(uintptr_t address)
{
    /* The word is or-ed with 0, by one instruction.  A waiter on it would be woken where the word
     * is 0x7ff, as any futex may be for nothing. */
    enum { OR_NOTHING = 2 << 28 | 0x7ff };
    uint32_t first = 0;
    return coopdl_sys(SYS_futex, &first, FUTEX_WAKE_OP | FUTEX_PRIVATE, 0, 0, address,
                      OR_NOTHING) != -EFAULT;
}

bool coopdl_readable(const void *address, size_t size)
{
    return each_page(address, size, can_read);
}

bool coopdl_writable(void *address, size_t size)
{
    return each_page(address, size, can_write);
}

bool coopdl_moves(const struct iovec *iov, int n)
{
    bool any = false;
    if (n <= 0 || n > IOV_MAX || !coopdl_readable(iov, (size_t)n * sizeof(*iov)))
        return false;
    for (int i = 0; i < n; i++) {
        if ((ssize_t)iov[i].iov_len < 0)
            return false;
        any |= iov[i].iov_len > 0;
    }
    return any;
}

bool coopdl_open_mask(const sigset_t *mask, sigset_t *copy)
{
    if (!coopdl_readable(mask, COOPDL_SIGSET_SIZE))
        return false;
    /* Copies only as much as the kernel has read: some callers pass a set of the system call's
     * size. */
    memset(copy, 0, sizeof(*copy));
    memcpy(copy, mask, COOPDL_SIGSET_SIZE);
    int kick = atomic_load(&coopdl_kick_signal);
    if (kick)
        sigdelset(copy, kick);
    if (coopdl_trap_chained(SIGSYS))
        sigdelset(copy, SIGSYS);
    return true;
}
