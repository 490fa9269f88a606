/* SPDX-License-Identifier: Apache-2.0 */
/*
 * names.h -- which names of the table this program can test: those that this
 * libc has, for times and offsets of the size that the program is compiled
 * with.
 *
 * Where time_t and off_t have 32 bits the tests are compiled once for each size
 * (tests/alone).  Of two names for the same call one fits the types that the
 * test then has.
 */
#ifndef COOPDL_TESTS_NAMES_H
#define COOPDL_TESTS_NAMES_H

#include "core/sys.h"

#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>

/* The library has it also where libc does not (glibc before 2.35, musl).
 * NOLINTNEXTLINE(readability-redundant-declaration) */
int epoll_pwait2(int fd, struct epoll_event *events, int n, const struct timespec *timeout,
                 const sigset_t *mask);

#define IF_IT_IS(name, value)                                                                      \
    if (strcmp(tested, #name) == 0)                                                                \
        return value;

static inline bool is_here(const char *tested)
{
#if !defined(__GLIBC__)
/* Not by way of another macro: the headers make some of the names macros. */
#define EXPORTED(name)                                                                             \
    if (strcmp(tested, name) == 0)                                                                 \
        return true;
#define GNU(...)
#define ALIAS(alias, name) EXPORTED(#alias)
#define WIDE(wide, name) EXPORTED(#wide)
#define CALL(type, name, ...) EXPORTED(#name)
#define CHILD(type, name, ...) EXPORTED(#name)
#define MASK(type, name, ...) EXPORTED(#name)
#include "preload/calls.def"
    return false;
#elif defined(COOPDL_WIDE)
#define WIDE(wide, name) IF_IT_IS(name, false)
#define WIDE_FORTIFIED(type, chk, ...)
#define ALIAS(alias, name) IF_IT_IS(alias, is_here(#name))
#define FORTIFIED(type, chk, parameters, arguments, fits, name, base) IF_IT_IS(chk, is_here(#name))
#include "preload/calls.def"
#elif !defined(__LP64__)
#define WIDE(wide, name) IF_IT_IS(wide, false)
#define WIDE_FORTIFIED(type, chk, ...) IF_IT_IS(chk, false)
#include "preload/calls.def"
#endif
    (void)tested;
    return true;
}

/* Not libc's, but wrapped all the same: plain system calls, and so no cancellation points. */
static inline bool is_raw(const char *tested)
{
#ifndef __GLIBC__
    IF_IT_IS(epoll_wait, true) /* musl 1.2.2 */
    IF_IT_IS(epoll_pwait, true)
    IF_IT_IS(epoll_pwait2, true)
    IF_IT_IS(preadv2, true)
    IF_IT_IS(pwritev2, true)
#elif !__GLIBC_PREREQ(2, 35)
    IF_IT_IS(epoll_pwait2, true)
#endif
    (void)tested;
    return false;
}

#ifndef __GLIBC__
ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t offset, int flags);
ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t offset, int flags);
int epoll_pwait2(int fd, struct epoll_event *events, int n, const struct timespec *timeout,
                 const sigset_t *mask);
#endif

#endif
