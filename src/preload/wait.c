/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c -- poll, select, epoll: calls that have a timeout of their own.
 *
 * Before expiry that timeout is capped (cut.h), in the unit that the call has, rounded up.
 * select and pselect are not capped, and the kick ends them: a cap that runs out would have
 * cleared the caller's sets, which a failed select must leave alone.  After expiry all of them
 * look once without waiting.  Those with a timeout report in the end that it has run out: poll
 * and select after some cuts (cut.c), epoll when it has.
 *
 * Event loops wait in epoll, and abort on any error but EINTR.  Many of them only go on after
 * EINTR, and do not count the time.  So their epoll returns 0 once their own timeout has passed
 * since the first call of a series.  A series is formed by waits for the same descriptor with
 * the same timeout under the same deadline (struct coopdl_waiting).  It ends when epoll returns
 * 0, or an event.
 *
 * CPython alone gets ETIMEDOUT from epoll: its module `select` raises that, and asyncio ends by
 * it.
 */
#include "core/ending.h"
#include "core/scope.h"
#include "core/sys.h"
#include "preload/caller.h"
#include "preload/cut.h"
#include "preload/preload.h"

#include <limits.h>
#include <string.h>

/* The caller's timeout, which may span several waits. */
struct remaining {
    int64_t wanted; /* ns; COOPDL_NEVER: for ever */
    int64_t begun;
    bool capped; /* whether the next wait is shorter than what is wanted */
};

/* How long the next wait may be, in ns. */
static int64_t next_wait(struct remaining *remaining, const struct coopdl_thread *thread)
{
    int64_t now = coopdl_clock(), left = remaining->wanted;
    if (!remaining->begun)
        remaining->begun = now;
    else if (left != COOPDL_NEVER)
        left -= now - remaining->begun;
    if (left < 0)
        left = 0;
    int64_t cap = coopdl_cap(thread, now);
    remaining->capped = cap < left;
    return remaining->capped ? cap : left;
}

static struct remaining remaining_ms(int timeout)
{
    return (struct remaining){.wanted = timeout < 0 ? COOPDL_NEVER : timeout * COOPDL_MILLISECOND};
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

/* The loop of all capped waits.  `wait` is an expression that waits for `ns`; `look` is one that
 * does not wait.  A wait whose cap has run out is not cut while a runtime's exception is being
 * handled, nor after the deadline was moved: it goes on with the rest of its own timeout. */
#define WAIT(thread, remaining, wait, look, on, call, cut)                                         \
    for (;;) {                                                                                     \
        if (unlikely(coopdl_cutting(thread))) {                                                    \
            int seen = PERFORM(thread, look);                                                      \
            if (seen)                                                                              \
                return seen;                                                                       \
            (on);                                                                                  \
            (thread)->place.begun = (remaining).begun;                                             \
            coopdl_from(thread, COOPDL_CALLER);                                                    \
            return (cut);                                                                          \
        }                                                                                          \
        int64_t ns = next_wait(&(remaining), thread);                                              \
        int got = (wait);                                                                          \
        if (got < 0) {                                                                             \
            if (errno != EINTR || !(coopdl_load(thread) & WORD_FIRED))                             \
                return got;                                                                        \
            (on);                                                                                  \
            (thread)->place.begun = (remaining).begun;                                             \
            coopdl_from(thread, COOPDL_CALLER);                                                    \
            if (coopdl_cutting(thread))                                                            \
                return (cut);                                                                      \
            coopdl_note_kicked(thread, call);                                                      \
            return got;                                                                            \
        }                                                                                          \
        if (got != 0 || !(remaining).capped)                                                       \
            return got;                                                                            \
        coopdl_capped(thread);                                                                     \
    }

static void on_poll(struct coopdl_thread *thread, const struct pollfd *fds, nfds_t n)
{
    coopdl_on(thread, ON_POLL, (long)fds);
    thread->place.b = (long)n;
}

/* A call with a timeout returns 0 after some cuts, as if that had run out.  One that waits for no
 * descriptor is a sleep. */
static int timed_cut(struct coopdl_thread *thread, const char *call, int64_t timeout, bool sleeps)
{
    bool timed = timeout != COOPDL_NEVER;
    int error = coopdl_cut_a_sleep(thread, call, timed ? RESULT_TIMED : RESULT_ESCALATES,
                                   sleeps ? timeout : COOPDL_NEVER);
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

/* The errno stays, whatever the hang-up does to the sockets. */
static int poll_cut(struct coopdl_thread *thread, const char *call, const struct pollfd *fds,
                    nfds_t n, int64_t timeout)
{
    int result = timed_cut(thread, call, timeout, n == 0);
    bool any = false;
    for (nfds_t i = 0; i < n; i++)
        any |= coopdl_socket_cut(fds[i].fd);
    if (any && coopdl_hangup_due(thread))
        for (nfds_t i = 0; i < n; i++)
            coopdl_hang_up(fds[i].fd);
    return result;
}

/* A descriptor that has hung up may be that of a writer which the same budget has ended.  A relay
 * would pass that on as the end of the data. */
__attribute__((noinline, cold)) static int without_writers(struct coopdl_thread *thread,
                                                           struct pollfd *fds, nfds_t n, int ready)
{
    for (nfds_t i = 0; i < n; i++)
        if (fds[i].revents && !coopdl_is_end_of_writer(thread, fds[i].fd, fds[i].revents))
            return ready;
    for (nfds_t i = 0; i < n; i++)
        fds[i].revents = 0;
    return 0;
}

#define POLLED(thread, call)                                                                       \
    __extension__({                                                                                \
        int ready = (call);                                                                        \
        ready > 0 && unlikely(coopdl_cutting(thread)) ? without_writers(thread, fds, n, ready)     \
                                                      : ready;                                     \
    })

__attribute__((noinline)) static int poll_capped(struct pollfd *fds, nfds_t n, int timeout)
{
    struct coopdl_thread *thread = coopdl_self;
    struct remaining remaining = remaining_ms(timeout);
    if (timeout == 0)
        return PERFORM(thread, coopdl_real.poll(fds, n, 0));
    WAIT(thread, remaining, POLLED(thread, coopdl_real.poll(fds, n, to_ms(ns))),
         POLLED(thread, coopdl_real.poll(fds, n, 0)), on_poll(thread, fds, n), "poll",
         poll_cut(thread, "poll", fds, n, remaining.wanted))
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
    struct remaining remaining = {.wanted = timeout ? coopdl_ns(timeout) : COOPDL_NEVER};
    WAIT(thread, remaining, POLLED(thread, ppoll_ns(fds, n, ns, mask)),
         POLLED(thread, ppoll_ns(fds, n, 0, mask)), on_poll(thread, fds, n), "ppoll",
         poll_cut(thread, "ppoll", fds, n, remaining.wanted));
}

/* The series of waits that this call belongs to; a new one, if this is the first call that its
 * owner cuts. */
static struct coopdl_waiting *waiting_of(struct coopdl_thread *thread, int fd,
                                         const struct remaining *remaining)
{
    struct coopdl_waiting *waiting = &thread->waiting;
    int64_t now = coopdl_clock();
    const struct coopdl_entry *owner = coopdl_owner(thread, now);
    int64_t deadline = owner && owner->cuts ? owner->deadline : -1;
    if (waiting->begun && waiting->fd == fd && waiting->wanted == remaining->wanted &&
        waiting->deadline == deadline)
        return waiting;
    *waiting = (struct coopdl_waiting){.deadline = owner ? owner->deadline : -1,
                                       .wanted = remaining->wanted,
                                       .begun = remaining->begun ? remaining->begun : now,
                                       .fd = fd};
    return waiting;
}

/* What is left of the caller's own timeout. */
static int64_t left_of(const struct coopdl_waiting *waiting)
{
    int64_t passed = coopdl_clock() - waiting->begun;
    return waiting->wanted == COOPDL_NEVER ? COOPDL_NEVER
           : passed < waiting->wanted      ? waiting->wanted - passed
                                           : 0;
}

/* A series ends with an event. */
static int waited(struct coopdl_thread *thread, int got)
{
    if (unlikely(got > 0))
        thread->waiting.begun = 0;
    return got;
}

static int epoll_result(struct coopdl_thread *thread, const char *call, int fd,
                        const struct remaining *remaining, const void *caller)
{
    if (coopdl_is_python(caller)) {
        errno = coopdl_cut_a_sleep(thread, call, RESULT_ESCALATES, COOPDL_NEVER);
        return -1;
    }
    struct coopdl_waiting *waiting = waiting_of(thread, fd, remaining);
    int error = coopdl_cut_wait(thread, call, left_of(waiting));
    if (left_of(waiting) == 0) {
        waiting->begun = 0;
        return 0;
    }
    errno = error;
    return -1;
}

static int epoll_cut(struct coopdl_thread *thread, const char *call, int fd,
                     const struct remaining *remaining, const void *caller)
{
    int result = epoll_result(thread, call, fd, remaining, caller);
    if (coopdl_sockets_of_epoll_cut(fd) && coopdl_hangup_due(thread))
        coopdl_hang_up_epoll(fd);
    return result;
}

/* The caller that may be CPython: under the trap it is not known. */
#ifdef COOPDL_TRAPPED
#define CALLER NULL
#else
#define CALLER COOPDL_CALLER
#endif

__attribute__((noinline)) static int epoll_wait_capped(int fd, struct epoll_event *events, int n,
                                                       int timeout)
{
    struct coopdl_thread *thread = coopdl_self;
    struct remaining remaining = remaining_ms(timeout);
    if (timeout == 0)
        return PERFORM(thread, coopdl_real.epoll_wait(fd, events, n, 0));
    WAIT(thread, remaining, waited(thread, coopdl_real.epoll_wait(fd, events, n, to_ms(ns))),
         waited(thread, coopdl_real.epoll_wait(fd, events, n, 0)), coopdl_on(thread, ON_EPOLL, fd),
         "epoll_wait", epoll_cut(thread, "epoll_wait", fd, &remaining, CALLER))
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
    struct remaining remaining = remaining_ms(timeout);
    if (timeout == 0 || (mask && !coopdl_open_mask(mask, &open)))
        return PERFORM(thread, coopdl_real.epoll_pwait(fd, events, n, timeout, mask));
    if (mask)
        mask = &open;
    WAIT(thread, remaining, waited(thread, coopdl_real.epoll_pwait(fd, events, n, to_ms(ns), mask)),
         waited(thread, coopdl_real.epoll_pwait(fd, events, n, 0, mask)),
         coopdl_on(thread, ON_EPOLL, fd), "epoll_pwait",
         epoll_cut(thread, "epoll_pwait", fd, &remaining, CALLER));
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
    struct remaining remaining = {.wanted = timeout ? coopdl_ns(timeout) : COOPDL_NEVER};
    WAIT(thread, remaining, waited(thread, epoll_pwait2_ns(fd, events, n, ns, mask)),
         waited(thread, epoll_pwait2_ns(fd, events, n, 0, mask)), coopdl_on(thread, ON_EPOLL, fd),
         "epoll_pwait2", epoll_cut(thread, "epoll_pwait2", fd, &remaining, CALLER));
}

/* As much of a set as the kernel takes: whole longs. */
static size_t size_of_set(int n)
{
    enum { BITS = 8 * sizeof(long) };
    return ((size_t)n + BITS - 1) / BITS * sizeof(long);
}

/* The kernel reads them, and writes them in the end. */
static bool are_sets(fd_set *sets[3], size_t size)
{
    for (int i = 0; i < 3; i++)
        if (sets[i] && !(coopdl_readable(sets[i], size) && coopdl_writable(sets[i], size)))
            return false;
    return true;
}

/* After expiry: what is ready now, without touching the caller's sets if nothing is. */
static int look_select(int n, fd_set *sets[3])
{
    enum { BYTES = FD_SETSIZE / 8 };
    unsigned char copies[3][BYTES] __attribute__((aligned(8)));
    size_t size = size_of_set(n);
    struct timespec now = {0};
    void *used[3];
    if (size > 0 && !are_sets(sets, size)) {
        errno = EFAULT;
        return -1;
    }
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

/* Sets may be larger than their type has room for. */
static bool is_in(int fd, fd_set *sets[3])
{
    enum { BITS = 8 * sizeof(unsigned long) };
    for (int i = 0; i < 3; i++)
        if (sets[i] && ((const unsigned long *)sets[i])[fd / BITS] >> (fd % BITS) & 1)
            return true;
    return false;
}

static void on_select(struct coopdl_thread *thread, int n, fd_set *sets[3])
{
    thread->place = (struct coopdl_place){
        .object = ON_SELECT, .a = n, .b = (long)sets[0], .c = (long)sets[1], .d = (long)sets[2]};
}

/* No descriptor was ready.  A caller whose timeout has run out finds empty sets. */
static int cut_select(struct coopdl_thread *thread, const char *call, int n, fd_set *sets[3],
                      int64_t timeout, const void *caller)
{
    on_select(thread, n, sets);
    coopdl_from(thread, caller);
    int result = timed_cut(thread, call, timeout, n == 0);
    bool any = false;
    for (int fd = 0; fd < n; fd++)
        any |= is_in(fd, sets) && coopdl_socket_cut(fd);
    bool due = any && coopdl_hangup_due(thread);
    for (int fd = 0; fd < n && due; fd++)
        if (is_in(fd, sets))
            coopdl_hang_up(fd);
    for (int i = 0; i < 3 && result == 0; i++)
        if (sets[i])
            memset(sets[i], 0, size_of_set(n));
    return result;
}

static int64_t timeval_ns(const struct timeval *timeout)
{
    struct timespec time;
    if (!timeout)
        return COOPDL_NEVER;
    time = (struct timespec){.tv_sec = timeout->tv_sec, .tv_nsec = 0};
    return coopdl_later(coopdl_ns(&time), timeout->tv_usec * COOPDL_MICROSECOND);
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
        return ready ? ready
                     : cut_select(thread, "select", n, sets, timeval_ns(timeout), COOPDL_CALLER);
    }
    return (int)coopdl_kicked_on(coopdl_real.select(n, r, w, e, timeout),
                                 on_select(thread, n, sets), "select");
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
        return ready ? ready
                     : cut_select(thread, "pselect", n, sets,
                                  timeout ? coopdl_ns(timeout) : COOPDL_NEVER, COOPDL_CALLER);
    }
    int got = coopdl_real.pselect(n, r, w, e, timeout, mask ? &open : NULL);
    return (int)coopdl_kicked_on(got, on_select(thread, n, sets), "pselect");
}
