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
/* The analyzer reads inline functions, but not the memory that assembly writes through a pointer.
 */
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
#elif defined(__riscv) && __riscv_xlen == 64
static inline long coopdl_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
    register long a7 __asm__("a7") = nr;
    register long a0 __asm__("a0") = a;
    register long a1 __asm__("a1") = b;
    register long a2 __asm__("a2") = c;
    register long a3 __asm__("a3") = d;
    register long a4 __asm__("a4") = e;
    register long a5 __asm__("a5") = f;
    __asm__ volatile("ecall"
                     : "+r"(a0)
                     : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5)
                     : "memory");
    return a0;
}
#elif defined(__i386__)
/* The sixth argument goes where the frame pointer may be: from the stack, at the last moment. */
static inline long coopdl_sys6(long nr, long a, long b, long c, long d, long e, long f)
{
    long result;
    __asm__ volatile("pushl %[f]\n\tpushl %%ebp\n\tmovl 4(%%esp), %%ebp\n\tint $0x80\n\t"
                     "popl %%ebp\n\taddl $4, %%esp"
                     : "=a"(result)
                     : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), [f] "g"(f)
                     : "memory");
    return result;
}
#else
#error "sys.h: no raw system call for this architecture yet"
#endif

/* coopdl_sys(SYS_read, fd, buffer, size): from none to six arguments, each made a long. */
#define COOPDL_SYS_PICK(nr, a, b, c, d, e, f, ...)                                                 \
    coopdl_sys6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define coopdl_sys(...) COOPDL_SYS_PICK(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

/* Newer than the headers of some; the number is the same on every architecture. */
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

#ifdef __i386__
/* The plain ones are older calls that take their arguments in memory.  mmap2's offset counts pages;
 * ours is always 0. */
#undef SYS_mmap
#undef SYS_select
#define SYS_mmap SYS_mmap2
#define SYS_select SYS__newselect
#endif

/*
 * A file that is compiled with 64-bit times and offsets on a 32-bit machine: struct timespec and
 * off_t are not those of the plain numbers, so the plain names stand for the kernel's newer calls.
 * (Linux 5.1 has all of them.)
 */
#if defined(_TIME_BITS) && _TIME_BITS == 64 && !defined(__LP64__)
#define COOPDL_WIDE 1
#undef SYS_clock_nanosleep
#undef SYS_fcntl
#undef SYS_futex
#undef SYS_mq_timedreceive
#undef SYS_mq_timedsend
#undef SYS_ppoll
#undef SYS_pselect6
#undef SYS_recvmmsg
#undef SYS_rt_sigtimedwait
#undef SYS_sendfile
#undef SYS_semtimedop
#undef SYS_timer_settime
#define SYS_clock_nanosleep SYS_clock_nanosleep_time64
#define SYS_fcntl SYS_fcntl64
#define SYS_futex SYS_futex_time64
#define SYS_mq_timedreceive SYS_mq_timedreceive_time64
#define SYS_mq_timedsend SYS_mq_timedsend_time64
#define SYS_ppoll SYS_ppoll_time64
#define SYS_pselect6 SYS_pselect6_time64
#define SYS_recvmmsg SYS_recvmmsg_time64
#define SYS_rt_sigtimedwait SYS_rt_sigtimedwait_time64
#define SYS_sendfile SYS_sendfile64
#define SYS_semtimedop SYS_semtimedop_time64
#define SYS_timer_settime SYS_timer_settime64
#endif

/* The size of the kernel's signal set, and the bit of one signal in it. */
#define COOPDL_SIGSET_SIZE 8
#define COOPDL_SIGSET_BIT(signal) (UINT64_C(1) << ((signal)-1))

#endif
