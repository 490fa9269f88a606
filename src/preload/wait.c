/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c -- poll, select, epoll: calls that have a timeout of their own.
 *
 * Before expiry that timeout is capped (cut.h), in the unit that the call has,
 * rounded up.  select and pselect are not capped: a cap that runs out would
 * have cleared the caller's sets, which a failed select leaves alone; the kick
 * ends them.  After expiry all of them look once without waiting; but for epoll,
 * those with a timeout say in the end that it has run out (cut.c).
 */
#include "core/sys.h"
#include "preload/caller.h"
#include "preload/cut.h"
#include "preload/preload.h"

#include <limits.h>
#include <string.h>

/* A timeout that goes on over several waits. */
struct patience {
    int64_t wanted; /* ns; COOPDL_NEVER: for ever */
    int64_t begun;
    bool capped; /* whether the next wait is shorter than what is wanted */
};

/* How long the next wait may be, in ns. */
static int64_t next_wait(struct patience *patience, const struct coopdl_thread *thread)
{
    int64_t now = coopdl_clock(), left = patience->wanted;
    if (!patience->begun)
        patience->begun = now;
    else if (left != COOPDL_NEVER)
        left -= now - patience->begun;
    if (left < 0)
        left = 0;
    int64_t cap = coopdl_cap(thread, now);
    patience->capped = cap < left;
    return patience->capped ? cap : left;
}

static struct patience patience_ms(int timeout)
{
    return (struct patience){.wanted = timeout < 0 ? COOPDL_NEVER : timeout * COOPDL_MILLISECOND};
}

/* Whether a timeout in ms ends before the deadline: the common case, kept short.  Such a call needs
 * neither cap nor kick.  One that is negative, and so none, counts as 49 days: behind a later
 * deadline than that the kick is enough. */
static inline bool ends_before(int timeout)
{
    return coopdl_clock() + (unsigned int)timeout * COOPDL_MILLISECOND < coopdl_load(coopdl_self);
}

static int to_ms(int64_t ns)
{
    if (ns == COOPDL_NEVER)
        return -1;
    int64_t ms = ns / COOPDL_MILLISECOND + (ns % COOPDL_MILLISECOND != 0);
    return ms < INT_MAX ? (int)ms : INT_MAX;
}

/*
 * The one loop of all capped waits.  `wait` is an expression that waits for
 * `ns`; `look` one that does not wait.  A wait whose cap ran out is not cut
 * while a runtime's exception is at work, nor after the deadline was moved: it
 * goes on with what is left of its own timeout.
 */
#define WAIT(thread, patience, wait, look, cut)                                                    \
    for (;;) {                                                                                     \
        if (unlikely(coopdl_cutting(thread))) {                                                    \
            int seen = PERFORM(thread, look);                                                      \
            return seen ? seen : (cut);                                                            \
        }                                                                                          \
        int64_t ns = next_wait(&(patience), thread);                                               \
        int got = (wait);                                                                          \
        if (got < 0 && errno == EINTR && coopdl_cutting(thread))                                   \
            return (cut);                                                                          \
        if (got != 0 || !(patience).capped)                                                        \
            return got;                                                                            \
        coopdl_capped(thread);                                                                     \
    }

/* With a timeout, in the end, as if that had run out. */
static int timed_cut(struct coopdl_thread *thread, const char *call, bool timed)
{
    int error = coopdl_cut_errno(thread, call, timed ? ANSWER_TIMED : ANSWER_ESCALATES);
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

__attribute__((noinline)) static int poll_capped(struct pollfd *fds, nfds_t n, int timeout)
{
    struct coopdl_thread *thread = coopdl_self;
    struct patience patience = patience_ms(timeout);
    if (timeout == 0)
        return PERFORM(thread, coopdl_real.poll(fds, n, 0));
    WAIT(thread, patience, coopdl_real.poll(fds, n, to_ms(ns)), coopdl_real.poll(fds, n, 0),
         timed_cut(thread, "poll", timeout > 0))
}

int coopdl_timed_poll(struct pollfd *fds, nfds_t n, int timeout)
{
    return ends_before(timeout) ? coopdl_real.poll(fds, n, timeout) : poll_capped(fds, n, timeout);
}

static int ppoll_ns(struct pollfd *fds, nfds_t n, int64_t ns, const sigset_t *mask)
{
    struct timespec wait = coopdl_timespec(ns);
    return coopdl_real.ppoll(fds, n, ns == COOPDL_NEVER ? NULL : &wait, mask);
}

/* Whether a timeout can be capped: none at all, or one that is valid and not zero. */
static bool can_wait(const struct timespec *timeout)
{
    return !timeout || (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 &&
                        timeout->tv_nsec < COOPDL_SECOND && (timeout->tv_sec || timeout->tv_nsec));
}

int coopdl_timed_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
                       const sigset_t *mask)
{
    struct coopdl_thread *thread = coopdl_self;
    sigset_t open;
    if (!can_wait(timeout) || (mask && !coopdl_open_mask(mask, &open)))
        return PERFORM(thread, coopdl_real.ppoll(fds, n, timeout, mask));
    if (mask)
        mask = &open;
    struct patience patience = {.wanted = timeout ? coopdl_ns(timeout) : COOPDL_NEVER};
    WAIT(thread, patience, ppoll_ns(fds, n, ns, mask), ppoll_ns(fds, n, 0, mask),
         timed_cut(thread, "ppoll", timeout != NULL));
}

/* Event loops abort on anything but EINTR, and a budget is not theirs to handle.  Python's does
 * not wait itself: it raises what its module `select` is told, and asyncio ends by that. */
static int epoll_cut(struct coopdl_thread *thread, const char *call, const void *caller)
{
    bool python = coopdl_is_python(caller);
    errno = coopdl_cut_errno(thread, call, python ? ANSWER_ESCALATES : ANSWER_GENTLE);
    return -1;
}

/* To whom the function returns that this is used in: the program, since the wrappers end in calls
 * that the compiler makes jumps; unoptimised it is a wrapper, and nobody is known.  Under the trap
 * that is nobody's caller. */
#ifdef COOPDL_TRAPPED
#define CALLER NULL
#else
#define CALLER __builtin_extract_return_addr(__builtin_return_address(0))
#endif

__attribute__((noinline)) static int epoll_wait_capped(int fd, struct epoll_event *events, int n,
                                                       int timeout)
{
    struct coopdl_thread *thread = coopdl_self;
    struct patience patience = patience_ms(timeout);
    if (timeout == 0)
        return PERFORM(thread, coopdl_real.epoll_wait(fd, events, n, 0));
    WAIT(thread, patience, coopdl_real.epoll_wait(fd, events, n, to_ms(ns)),
         coopdl_real.epoll_wait(fd, events, n, 0), epoll_cut(thread, "epoll_wait", CALLER))
}

int coopdl_timed_epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
    return ends_before(timeout) ? coopdl_real.epoll_wait(fd, events, n, timeout)
                                : epoll_wait_capped(fd, events, n, timeout);
}

int coopdl_timed_epoll_pwait(int fd, struct epoll_event *events, int n, int timeout,
                             const sigset_t *mask)
{
    struct coopdl_thread *thread = coopdl_self;
    sigset_t open;
    struct patience patience = patience_ms(timeout);
    if (timeout == 0 || (mask && !coopdl_open_mask(mask, &open)))
        return PERFORM(thread, coopdl_real.epoll_pwait(fd, events, n, timeout, mask));
    if (mask)
        mask = &open;
    WAIT(thread, patience, coopdl_real.epoll_pwait(fd, events, n, to_ms(ns), mask),
         coopdl_real.epoll_pwait(fd, events, n, 0, mask), epoll_cut(thread, "epoll_pwait", CALLER));
}

static int epoll_pwait2_ns(int fd, struct epoll_event *events, int n, int64_t ns,
                           const sigset_t *mask)
{
    struct timespec wait = coopdl_timespec(ns);
    return coopdl_real.epoll_pwait2(fd, events, n, ns == COOPDL_NEVER ? NULL : &wait, mask);
}

int coopdl_timed_epoll_pwait2(int fd, struct epoll_event *events, int n,
                              const struct timespec *timeout, const sigset_t *mask)
{
    struct coopdl_thread *thread = coopdl_self;
    sigset_t open;
    if ((timeout && (!coopdl_readable_timespec(timeout) || !can_wait(timeout))) ||
        (mask && !coopdl_open_mask(mask, &open)))
        return PERFORM(thread, coopdl_real.epoll_pwait2(fd, events, n, timeout, mask));
    if (mask)
        mask = &open;
    struct patience patience = {.wanted = timeout ? coopdl_ns(timeout) : COOPDL_NEVER};
    WAIT(thread, patience, epoll_pwait2_ns(fd, events, n, ns, mask),
         epoll_pwait2_ns(fd, events, n, 0, mask), epoll_cut(thread, "epoll_pwait2", CALLER));
}

/* As much of a set as the kernel takes: whole longs. */
static size_t size_of_set(int n)
{
    enum { BITS = 8 * sizeof(long) };
    return ((size_t)n + BITS - 1) / BITS * sizeof(long);
}

/* After expiry: what is ready now, without touching the caller's sets if nothing is. */
static int look_select(int n, fd_set *sets[3])
{
    enum { BYTES = FD_SETSIZE / 8 };
    unsigned char copies[3][BYTES] __attribute__((aligned(8)));
    size_t size = size_of_set(n);
    struct timespec now = {0};
    void *used[3];
    for (int i = 0; i < 3; i++) {
        used[i] = sets[i];
        if (sets[i] && size <= BYTES)
            used[i] = memcpy(copies[i], sets[i], size);
    }
    long got = coopdl_sys(SYS_pselect6, n, used[0], used[1], used[2], &now, 0);
    for (int i = 0; i < 3 && got > 0; i++)
        if (used[i] && used[i] != sets[i])
            memcpy(sets[i], used[i], size);
    if (got >= 0)
        return (int)got;
    errno = (int)-got;
    return -1;
}

/* Nothing was.  Who is told that the time has run out finds empty sets. */
static int cut_select(struct coopdl_thread *thread, const char *call, int n, fd_set *sets[3],
                      bool timed)
{
    int result = timed_cut(thread, call, timed);
    for (int i = 0; i < 3 && result == 0; i++)
        if (sets[i])
            memset(sets[i], 0, size_of_set(n));
    return result;
}

int coopdl_timed_select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout)
{
    struct coopdl_thread *thread = coopdl_self;
    fd_set *sets[] = {r, w, e};
    bool waits = n >= 0 && (!timeout || (timeout->tv_sec >= 0 && timeout->tv_usec >= 0 &&
                                         (timeout->tv_sec || timeout->tv_usec)));
    if (!waits)
        return PERFORM(thread, coopdl_real.select(n, r, w, e, timeout));
    if (coopdl_cutting(thread)) {
        int ready = PERFORM(thread, look_select(n, sets));
        return ready ? ready : cut_select(thread, "select", n, sets, timeout != NULL);
    }
    return (int)coopdl_kicked(coopdl_real.select(n, r, w, e, timeout), "select");
}

int coopdl_timed_pselect(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *timeout,
                         const sigset_t *mask)
{
    struct coopdl_thread *thread = coopdl_self;
    fd_set *sets[] = {r, w, e};
    sigset_t open;
    if (n < 0 || !can_wait(timeout) || (mask && !coopdl_open_mask(mask, &open)))
        return PERFORM(thread, coopdl_real.pselect(n, r, w, e, timeout, mask));
    if (coopdl_cutting(thread)) {
        int ready = PERFORM(thread, look_select(n, sets));
        return ready ? ready : cut_select(thread, "pselect", n, sets, timeout != NULL);
    }
    int got = coopdl_real.pselect(n, r, w, e, timeout, mask ? &open : NULL);
    return (int)coopdl_kicked(got, "pselect");
}
