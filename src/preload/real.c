/* SPDX-License-Identifier: Apache-2.0 */
/*
 * real.c -- libc's own functions: resolved all at once, in our constructor.
 *
 * Allocators and other libraries may call us before it has run, from inside
 * malloc, where dlsym must not be called: until then the blocking calls are
 * plain system calls.  No deadline can exist yet.  They also stand in for what libc
 * does not have, and are what a wrapper uses that must not have libc's restarts.
 *
 * What must hold: the trap lets the system calls of this library pass.  So a kick that
 * arrives after the wrapper's look at the deadline, and before such a system call, would
 * be lost, where libc's call would be trapped.  The thread is marked for as long as that
 * system call takes, and is kicked again.
 */
#include "preload/real.h"

#include "core/clock.h"
#include "core/symbol.h"
#include "core/sys.h"
#include "core/thread.h"

#include <errno.h>

/* What is no plain system call, and nothing that an allocator would call. */
#define LIBC(name, arguments) (coopdl_resolve(), coopdl_real.name arguments)

/* In two registers where one has 32 bits; where it has 64, the second is ignored. */
#define SPLIT(offset) (long)(offset), (long)((int64_t)(offset) >> 32)

#ifdef COOPDL_WIDE
#define LARGE __O_LARGEFILE
#else
#define LARGE 0
#endif

/* Outside of all scopes there is no record, and no kick. */
static uint8_t mark(uint8_t asleep)
{
    struct coopdl_thread *thread = coopdl_self;
    return thread ? atomic_exchange(&thread->asleep, asleep) : AWAKE;
}

/* The kernel's result. */
#define MARKED(name, ...)                                                                          \
    __extension__({                                                                                \
        uint8_t mark_before = mark(ASLEEP_MOMENT);                                                 \
        long kernels_result = coopdl_sys(SYS_##name, __VA_ARGS__);                                 \
        mark(mark_before);                                                                         \
        kernels_result;                                                                            \
    })

#define SYSTEM(name, ...) coopdl_result(MARKED(name, __VA_ARGS__))

static int coopdl_early_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
                              const sigset_t *mask)
{
    struct timespec left; /* the kernel writes what is left of it */
    if (timeout)
        left = *timeout;
    return (int)SYSTEM(ppoll, fds, n, timeout ? &left : NULL, mask, COOPDL_SIGSET_SIZE);
}

static int coopdl_early_poll(struct pollfd *fds, nfds_t n, int timeout)
{
    struct timespec wait = coopdl_timespec(timeout * COOPDL_MILLISECOND);
    return coopdl_early_ppoll(fds, n, timeout < 0 ? NULL : &wait, NULL);
}

static int coopdl_early_pselect(int n, fd_set *r, fd_set *w, fd_set *e,
                                const struct timespec *timeout, const sigset_t *mask)
{
    struct timespec left;
    struct {
        const sigset_t *mask;
        size_t size;
    } masked = {mask, COOPDL_SIGSET_SIZE};
    if (timeout)
        left = *timeout;
    return (int)SYSTEM(pselect6, n, r, w, e, timeout ? &left : NULL, &masked);
}

/* Where the kernel has but the general form, it does not write back what is left. */
static int coopdl_early_select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout)
{
#if defined(SYS_select) && !defined(COOPDL_WIDE)
    return (int)SYSTEM(select, n, r, w, e, timeout);
#else
    struct timespec wait = {0};
    if (timeout)
        wait =
            (struct timespec){.tv_sec = timeout->tv_sec, .tv_nsec = (long)timeout->tv_usec * 1000};
    return coopdl_early_pselect(n, r, w, e, timeout ? &wait : NULL, NULL);
#endif
}

static int coopdl_early_clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted,
                                        struct timespec *rest)
{
    return (int)-MARKED(clock_nanosleep, clock, flags, wanted, rest);
}

static int coopdl_early_usleep(useconds_t us)
{
    struct timespec wait = coopdl_timespec(us * COOPDL_MICROSECOND);
    return (int)SYSTEM(clock_nanosleep, CLOCK_REALTIME, 0, &wait, 0);
}

static unsigned int coopdl_early_sleep(unsigned int seconds)
{
    struct timespec wait = coopdl_timespec(seconds * COOPDL_SECOND), left = {0};
    return MARKED(clock_nanosleep, CLOCK_REALTIME, 0, &wait, &left) < 0 ? (unsigned int)left.tv_sec
                                                                        : 0;
}

/* The kernel has but one size of it, which is that of 32 bits where there are two. */
static pid_t coopdl_early_wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
#ifdef COOPDL_WIDE
    return LIBC(wait4, (pid, status, options, usage));
#else
    return (pid_t)SYSTEM(wait4, pid, status, options, usage);
#endif
}

/* The same, and it is that of 64 bits. */
static int coopdl_early_epoll_pwait2(int fd, struct epoll_event *events, int n,
                                     const struct timespec *timeout, const sigset_t *mask)
{
#if defined(__LP64__) || defined(COOPDL_WIDE)
    return (int)SYSTEM(epoll_pwait2, fd, events, n, timeout, mask, COOPDL_SIGSET_SIZE);
#else
    return LIBC(epoll_pwait2, (fd, events, n, timeout, mask));
#endif
}

static int coopdl_early_semtimedop(int id, struct sembuf *operations, size_t n,
                                   const struct timespec *timeout)
{
#ifdef SYS_semtimedop
    return (int)SYSTEM(semtimedop, id, operations, n, timeout);
#else
    return LIBC(semtimedop, (id, operations, n, timeout));
#endif
}

static int coopdl_early_eventfd_write(int fd, eventfd_t value)
{
    return SYSTEM(write, fd, &value, sizeof(value)) < 0 ? -1 : 0;
}

#define CALL(type, name, parameters, arguments, early, ...)                                        \
    static type early_##name parameters                                                            \
    {                                                                                              \
        return (type)(early);                                                                      \
    }
#include "preload/calls.def"

struct coopdl_real coopdl_real = {
#define CALL(type, name, ...) .name = early_##name,
#include "preload/calls.def"
};

const struct coopdl_real coopdl_raw = {
#define CALL(type, name, ...) .name = early_##name,
#include "preload/calls.def"
};

/* A cast from void * to a function pointer is POSIX, not ISO C. */
static void resolve(void *place, const char *name)
{
    void *found = coopdl_next(name);
    if (found) /* else this libc has no such call: nobody calls it */
        *(void **)place = found;
}

__attribute__((constructor(101))) void coopdl_resolve(void)
{
#define CALL(type, name, ...) resolve(&coopdl_real.name, #name);
#ifdef COOPDL_WIDE /* those that have another name for this size */
#define WIDE(wide, name) resolve(&coopdl_real.name, #wide);
#endif
#define FORTIFIED(type, chk, ...) resolve(&coopdl_real.chk, #chk);
#define MASK(type, name, ...) resolve(&coopdl_real.name, #name);
#define CHILD(type, name, ...) resolve(&coopdl_real.name, #name);
#define JOIN(type, name, ...) resolve(&coopdl_real.name, #name);
#include "preload/calls.def"
#ifndef COOPDL_WIDE
    coopdl_note_sockets();
#endif
}

#ifndef COOPDL_WIDE
static int preloaded;

/* Whether the program calls this library's `poll`, or that of a library before this one. */
__attribute__((constructor(101))) static void look(void)
{
    preloaded = coopdl_is_first("poll");
}

int coopdl_preloaded(void)
{
    return preloaded;
}
#endif
