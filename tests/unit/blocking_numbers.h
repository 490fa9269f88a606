/* SPDX-License-Identifier: Apache-2.0 */
/* blocking_numbers.h -- the system calls that test_blocking.c makes with syscall(). */
#ifndef COOPDL_TESTS_BLOCKING_NUMBERS_H
#define COOPDL_TESTS_BLOCKING_NUMBERS_H

#include "blocking_calls.h"

static int number_read(void)
{
    return result(syscall(SYS_read, f.pipe[0], buffer, 1));
}

static int number_readv(void)
{
    return result(syscall(SYS_readv, f.pipe[0], &iov, 1));
}

static int number_recvfrom(void)
{
    return result(syscall(SYS_recvfrom, f.socket[0], buffer, 1, 0, NULL, NULL));
}

static int number_ppoll(void)
{
    struct pollfd pollfd = {.fd = f.pipe[0], .events = POLLIN};
    struct timespec wait = {.tv_sec = 2};
    sigset_t none;
    sigemptyset(&none);
    return result(syscall(SYS_ppoll, &pollfd, 1, &wait, &none, 8));
}

static int number_pselect6(void)
{
    struct {
        const sigset_t *mask;
        size_t size;
    } pair = {NULL, 8};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(f.pipe[0], &set);
    return result(syscall(SYS_pselect6, f.pipe[0] + 1, &set, NULL, NULL, NULL, &pair));
}

static int number_epoll_pwait(void)
{
    struct epoll_event event;
    return result(syscall(SYS_epoll_pwait, f.event, &event, 1, 2000, NULL, 8));
}

static int number_write(void)
{
    return result(syscall(SYS_write, f.pipe[1], buffer, 100));
}

static int number_flock(void)
{
    return result(syscall(SYS_flock, f.file, LOCK_EX));
}

static int number_fcntl(void)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return result(syscall(SYS_fcntl, f.file, F_SETLKW, &lock));
}

static int number_wait4(void)
{
    return waited((pid_t)syscall(SYS_wait4, f.child, NULL, 0, NULL));
}

#ifdef SYS_waitpid
static int number_waitpid(void)
{
    return waited((pid_t)syscall(SYS_waitpid, f.child, NULL, 0));
}
#endif

#if defined(SYS_select) && !defined(COOPDL_WIDE) /* which has no number for it */
static int number_select(void)
{
    struct timeval wait = {.tv_sec = 2};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(f.pipe[0], &set);
    return result(syscall(SYS_select, f.pipe[0] + 1, &set, NULL, NULL, &wait));
}
#endif

#if defined(__LP64__) || defined(COOPDL_WIDE) /* the other size has no number for these */
static int number_epoll_pwait2(void)
{
    struct epoll_event event;
    struct timespec wait = {.tv_sec = 2};
    return result(syscall(SYS_epoll_pwait2, f.event, &event, 1, &wait, NULL, 8));
}

static int number_semtimedop(void)
{
    struct sembuf down = {.sem_op = -1};
    struct timespec wait = {.tv_sec = 2};
    return result(syscall(SYS_semtimedop, f.semaphores, &down, 1, &wait));
}
#endif

static int number_recvmmsg(void)
{
    struct mmsghdr one = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
    struct timespec wait = {.tv_sec = 2};
    return result(syscall(SYS_recvmmsg, f.socket[0], &one, 1, 0, &wait));
}

static int number_mq_timedreceive(void)
{
    struct timespec until = in_two_seconds(CLOCK_REALTIME);
    return result(syscall(SYS_mq_timedreceive, f.mq, buffer, 10, NULL, &until));
}

static int number_mq_timedsend(void)
{
    struct timespec until = in_two_seconds(CLOCK_REALTIME);
    return result(syscall(SYS_mq_timedsend, f.mq, "y", 1, 0, &until));
}

static int number_openat2(void)
{
    const uint64_t how[] = {O_RDONLY, 0, 0};
    return opened((int)syscall(SYS_openat2, AT_FDCWD, f.fifo, how, sizeof(how)));
}

static int number_openat(void)
{
    return opened((int)syscall(SYS_openat, AT_FDCWD, f.fifo, O_RDONLY, 0));
}

#ifndef COOPDL_WIDE /* which has no number for it */
static int number_nanosleep(void)
{
    struct timespec wait = {.tv_sec = 2};
    return result(syscall(SYS_nanosleep, &wait, NULL));
}
#endif

static int number_clock_nanosleep(void)
{
    struct timespec wait = {.tv_sec = 2};
    return result(syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &wait, NULL));
}

static int number_rt_sigtimedwait(void)
{
    sigset_t set = all_signals();
    return result(syscall(SYS_rt_sigtimedwait, &set, NULL, NULL, 8));
}

#endif
