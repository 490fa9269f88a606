/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscall.c -- system calls by number, for libc's syscall() and for the trap:
 * those of the wrapped calls go the way of the wrappers, all others straight to
 * the kernel.
 *
 * What differs between a system call and libc's function for it is put right
 * here: the size of the signal set, the pair that pselect6 takes, errors as
 * numbers.
 */
#include "preload/cut.h"
#include "preload/preload.h"

#include "core/sys.h"

#define P(type, argument) ((type)(uintptr_t)(argument))

/* A 64-bit offset takes two of 32. */
#ifdef COOPDL_WIDE
#define JOINED(low, high) ((off_t)((uint64_t)(high) << 32 | (unsigned long)(low)))
#else
#define JOINED(low, high) (low)
#endif

static long by_errno(int error)
{
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

/* The mask that pselect6 is given in a pair with its size. */
static const sigset_t *mask_of(long pair)
{
    return pair && coopdl_readable(P(void *, pair)) ? *P(const sigset_t **, pair) : NULL;
}

#if defined(__LP64__) || defined(COOPDL_WIDE)
#define OTHERWISE coopdl_real.syscall
#else
/* The same rows, wide: there they are the numbers with 64 bits. */
long coopdl_wide_syscall(long number, long a, long b, long c, long d, long e, long f);
#define OTHERWISE coopdl_wide_syscall
#define WIDE_NUMBER(name, call)
#endif

long coopdl_timed_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    switch (number) {
#define NUMBER(name, call)                                                                         \
    case SYS_##name:                                                                               \
        return (call);
#include "preload/calls.def"
    default:
        return OTHERWISE(number, a, b, c, d, e, f);
    }
}

#if !defined(COOPDL_TRAPPED) && !defined(COOPDL_WIDE)
bool coopdl_is_timed(long number)
{
    switch (number) {
#define NUMBER(name, call) case SYS_##name:
#include "preload/calls.def"
        return true;
    default:
        return false;
    }
}
#endif
