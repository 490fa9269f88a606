/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sys.h -- raw system calls.
 *
 * The core may run inside a signal handler, inside malloc, before libc's
 * constructors and under an interposer of its own making: it asks the kernel
 * itself.  Unlike libc's, these return -errno, leave errno alone and are no
 * cancellation points.
 */
#ifndef COOPDL_CORE_SYS_H
#define COOPDL_CORE_SYS_H

#include <stdint.h>
#include <sys/syscall.h>

#if defined(__clang_analyzer__)
/* The analyzer looks into inline functions, but not at what assembly writes through a pointer. */
long coopdl_sys6(long nr, long a, long b, long c, long d, long e, long f);
#elif defined(__x86_64__)
static inline long coopdl_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
static inline long coopdl_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return x0;
}
#else
#error "sys.h: no raw system call for this architecture yet"
#endif

/* coopdl_sys(SYS_read, fd, buffer, size): from none to six arguments, each made a long. */
#define COOPDL_SYS_PICK(nr, a, b, c, d, e, f, ...)                                                 \
    coopdl_sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define coopdl_sys(...) COOPDL_SYS_PICK(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* The size of the kernel's signal set, and the bit of one signal in it. */
#define COOPDL_SIGSET_SIZE 8
#define COOPDL_SIGSET_BIT(signal) (UINT64_C(1) << ((signal)-1))

#endif
