/* SPDX-License-Identifier: Apache-2.0 */
/* blocking_cases.h -- the table of test_blocking.c: each name of a call, and how it is tried. */
#ifndef COOPDL_TESTS_BLOCKING_CASES_H
#define COOPDL_TESTS_BLOCKING_CASES_H

#include "blocking_numbers.h"
#include "emulator.h"

enum {
    WAITS_ALWAYS = 1, /* by its nature: it is never ready */
    OWN_TIMEOUT = 2,  /* cut with ETIMEDOUT, as when its own time runs out */
    OWN_EAGAIN = 4,   /* the same with EAGAIN */
    EINTR_ONLY = 8,
    NO_CANCEL = 16, /* no cancellation point in libc */
#if defined(__GLIBC__) && !EMULATED
    GNU_CANCEL = 0, /* one in glibc alone, and only on the kernel itself */
#else
    GNU_CANCEL = NO_CANCEL,
#endif
};

static const struct {
    const char *name;
    void (*prepare)(bool ready);
    int (*call)(void);
    int flags;
} cases[] = {
    {"write", prepare_output, call_write, 0},
    {"__write", prepare_output, call_write, 0},
    {"writev", prepare_output, call_writev, 0},
    {"pwritev2", prepare_output, call_pwritev2, UNEMULATED},
    {"pwritev64v2", prepare_output, call_pwritev2, UNEMULATED},
    {"send", prepare_output, call_send, 0},
    {"__send", prepare_output, call_send, 0},
    {"sendto", prepare_output, call_sendto, 0},
    {"sendmsg", prepare_output, call_sendmsg, 0},
    {"sendmmsg", prepare_output, call_sendmmsg, 0},
    {"__sendmmsg", prepare_output, call_sendmmsg, 0},
    {"sendfile", prepare_output, call_sendfile, NO_CANCEL},
    {"sendfile64", prepare_output, call_sendfile, NO_CANCEL},
    {"splice", prepare_output, call_splice, GNU_CANCEL},
    {"tee", prepare_output, call_tee, GNU_CANCEL},
    {"vmsplice", prepare_output, call_vmsplice, GNU_CANCEL},
    {"preadv2", prepare_pipe, call_preadv2, UNEMULATED},
    {"preadv64v2", prepare_pipe, call_preadv2, UNEMULATED},
    {"__recv", prepare_pipe, call_recv, 0},
    {"eventfd_read", prepare_event, call_eventfd_read, 0},
    {"eventfd_write", prepare_full_event, call_eventfd_write, 0},
    {"open", prepare_fifo, call_open, 0},
    {"__open", prepare_fifo, call_open, 0},
    {"open64", prepare_fifo, call_open_for_writing, 0},
    {"__open64", prepare_fifo, call_open, 0},
    {"__open_2", prepare_fifo, call_open, 0},
    {"__open64_2", prepare_fifo, call_open, 0},
    {"openat", prepare_fifo, call_openat, 0},
    {"openat64", prepare_fifo, call_openat, 0},
    {"__openat_2", prepare_fifo, call_openat, 0},
    {"__openat64_2", prepare_fifo, call_openat, 0},
    {"openat2", prepare_fifo, call_openat2, NO_CANCEL | UNEMULATED},
    {"creat", prepare_fifo, call_creat, 0},
    {"creat64", prepare_fifo, call_creat, 0},
    {"wait", prepare_child, call_wait, 0},
    {"__wait", prepare_child, call_wait, 0},
    {"waitpid", prepare_child, call_waitpid, 0},
    {"__waitpid", prepare_child, call_waitpid, 0},
    {"waitid", prepare_child, call_waitid, 0},
    {"wait3", prepare_child, call_wait3, GNU_CANCEL},
    {"wait4", prepare_child, call_wait4, GNU_CANCEL},
    {"flock", prepare_flock, call_flock, NO_CANCEL},
    {"lockf", prepare_record_lock, call_lockf, 0},
    {"lockf64", prepare_record_lock, call_lockf, 0},
    {"fcntl", prepare_record_lock, call_fcntl, 0},
    {"__fcntl", prepare_record_lock, call_fcntl, 0},
    {"fcntl", prepare_record_lock, call_fcntl_ofd, GNU_CANCEL},
    {"fcntl64", prepare_record_lock, call_fcntl, 0},
    {"fcntl64", prepare_record_lock, call_fcntl_ofd, GNU_CANCEL},
    {"sem_wait", prepare_semaphore, call_sem_wait, EINTR_ONLY},
    {"sem_timedwait", prepare_semaphore, call_sem_timedwait, OWN_TIMEOUT},
    {"sem_clockwait", prepare_semaphore, call_sem_clockwait, OWN_TIMEOUT},
    {"msgrcv", prepare_empty_queue, call_msgrcv, 0},
    {"msgsnd", prepare_full_queue, call_msgsnd, 0},
    {"semop", prepare_semaphores, call_semop, NO_CANCEL},
    {"semtimedop", prepare_semaphores, call_semtimedop, NO_CANCEL},
    {"mq_receive", prepare_empty_mq, call_mq_receive, 0},
    {"mq_timedreceive", prepare_empty_mq, call_mq_timedreceive, OWN_TIMEOUT},
    {"mq_send", prepare_full_mq, call_mq_send, 0},
    {"mq_timedsend", prepare_full_mq, call_mq_timedsend, OWN_TIMEOUT},
    {"aio_suspend", prepare_aio, call_aio_suspend, 0},
    {"aio_suspend64", prepare_aio, call_aio_suspend, 0},
    {"sigwaitinfo", prepare_signal, call_sigwaitinfo, 0},
    {"sigtimedwait", prepare_signal, call_sigtimedwait, OWN_EAGAIN},
    {"__sigtimedwait", prepare_signal, call_sigtimedwait, OWN_EAGAIN},
    {"sigwait", prepare_signal, call_sigwait, 0},
    {"pause", prepare_nothing, call_pause, WAITS_ALWAYS},
    {"sigsuspend", prepare_nothing, call_sigsuspend, WAITS_ALWAYS},
    {"__sigsuspend", prepare_nothing, call_sigsuspend, WAITS_ALWAYS},
    {"sigpause", prepare_nothing, call_sigpause, WAITS_ALWAYS},
    {"__xpg_sigpause", prepare_nothing, call_xpg_sigpause, WAITS_ALWAYS},
    {"thrd_sleep", prepare_nothing, call_thrd_sleep, WAITS_ALWAYS},
#if defined(__TIMESIZE) && __TIMESIZE == 32
    {"__sendmsg64", prepare_output, call_sendmsg, 0},
    {"__sendmmsg64", prepare_output, call_sendmmsg, 0},
    {"__wait3_time64", prepare_child, call_wait3, 0},
    {"__wait4_time64", prepare_child, call_wait4, 0},
    {"__fcntl_time64", prepare_record_lock, call_fcntl, 0},
    {"__sem_timedwait64", prepare_semaphore, call_sem_timedwait, OWN_TIMEOUT},
    {"__sem_clockwait64", prepare_semaphore, call_sem_clockwait, OWN_TIMEOUT},
    {"__semtimedop64", prepare_semaphores, call_semtimedop, NO_CANCEL},
    {"__mq_timedreceive_time64", prepare_empty_mq, call_mq_timedreceive, OWN_TIMEOUT},
    {"__mq_timedsend_time64", prepare_full_mq, call_mq_timedsend, OWN_TIMEOUT},
    {"__aio_suspend_time64", prepare_aio, call_aio_suspend, 0},
    {"__sigtimedwait64", prepare_signal, call_sigtimedwait, OWN_EAGAIN},
    {"__thrd_sleep64", prepare_nothing, call_thrd_sleep, WAITS_ALWAYS},
#endif
    {"syscall", prepare_pipe, number_read, NO_CANCEL},
    {"syscall", prepare_pipe, number_readv, NO_CANCEL},
    {"syscall", prepare_pipe, number_recvfrom, NO_CANCEL},
    {"syscall", prepare_pipe, number_ppoll, NO_CANCEL},
    {"syscall", prepare_pipe, number_pselect6, NO_CANCEL},
    {"syscall", prepare_pipe, number_epoll_pwait, EINTR_ONLY | NO_CANCEL},
    {"syscall", prepare_output, number_write, NO_CANCEL},
    {"syscall", prepare_flock, number_flock, NO_CANCEL},
    {"syscall", prepare_record_lock, number_fcntl, NO_CANCEL},
    {"syscall", prepare_child, number_wait4, NO_CANCEL},
#ifdef SYS_waitpid
    {"syscall", prepare_child, number_waitpid, NO_CANCEL},
#endif
#if defined(SYS_select) && !defined(COOPDL_WIDE)
    {"syscall", prepare_pipe, number_select, NO_CANCEL},
#endif
#if defined(__LP64__) || defined(COOPDL_WIDE)
    {"syscall", prepare_pipe, number_epoll_pwait2, EINTR_ONLY | NO_CANCEL | UNEMULATED},
    {"syscall", prepare_semaphores, number_semtimedop, NO_CANCEL},
#endif
    {"syscall", prepare_pipe, number_recvmmsg, NO_CANCEL},
    {"syscall", prepare_empty_mq, number_mq_timedreceive, OWN_TIMEOUT | NO_CANCEL},
    {"syscall", prepare_full_mq, number_mq_timedsend, OWN_TIMEOUT | NO_CANCEL},
    {"syscall", prepare_fifo, number_openat, NO_CANCEL},
    {"syscall", prepare_fifo, number_openat2, NO_CANCEL | UNEMULATED},
    {"syscall", prepare_signal, number_rt_sigtimedwait, NO_CANCEL},
#ifndef COOPDL_WIDE
    {"syscall", prepare_nothing, number_nanosleep, WAITS_ALWAYS | NO_CANCEL},
#endif
    {"syscall", prepare_nothing, number_clock_nanosleep, WAITS_ALWAYS | NO_CANCEL},
};

enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static bool is_tried(int i)
{
    return is_here(cases[i].name) && !(cases[i].flags & UNEMULATED);
}

#endif
