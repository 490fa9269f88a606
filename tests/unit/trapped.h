/* SPDX-License-Identifier: Apache-2.0 */
/* trapped.h -- system calls past the wrappers, for test_trap.c and test_trap_signals.c.
 *
 * They are made with an instruction of the test's own, which no wrapper sees. */
#ifndef COOPDL_TESTS_TRAPPED_H
#define COOPDL_TESTS_TRAPPED_H

#include "support.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

static inline bool trapping(void)
{
#ifdef __x86_64__
    const char *trap = getenv("COOPDL_TRAP");
    return !trap || strcmp(trap, "0") != 0;
#else
    return false;
#endif
}

/* Past libc, with the errno negated, as the kernel has it. */
static inline long inline_syscall(long number, long a, long b, long c, long d)
{
#ifdef __x86_64__
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
#else
    long result = syscall(number, a, b, c, d);
    return result < 0 ? -errno : result;
#endif
}

static inline long inline_read(int fd)
{
    char byte;
    return inline_syscall(SYS_read, fd, (long)&byte, 1, 0);
}

/* The thread is cut past the wrappers: twice, since the first error is EINTR either way. */
static inline void expect_cut(int silent)
{
    long first = inline_read(silent), second = inline_read(silent);
    expect(first == -EINTR || first == -ETIMEDOUT, "%ld", first);
    expect(second == (trapping() ? -ETIMEDOUT : -EINTR), "%ld", second);
}

/* The same where the trap is off for a moment: it takes the error of another kick. */
static inline void expect_cut_soon(int silent)
{
    long error = inline_read(silent);
    expect(error == -EINTR || error == -ETIMEDOUT, "%ld", error);
    expect_cut(silent);
}

/* Enters a scope that has expired, and is trapped when this returns. */
static inline void enter_expired(coopdl_scope *scope, int silent)
{
    coopdl_enter(scope, 0);
    await_expiry(scope);
    long error = inline_read(silent);
    expect(error == -EINTR, "%ld", error);
}

/* libc's own function, past the wrappers. */
static inline void *libcs(const char *name)
{
#ifdef __GLIBC__
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
#else
    void *libc = dlopen("libc.so", RTLD_NOW | RTLD_NOLOAD);
#endif
    void *function = libc ? dlsym(libc, name) : NULL;
    cr_assert(function);
    return function;
}

static inline bool is_blocked(int number)
{
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    return sigismember(&mask, number) == 1;
}

#endif
