/* SPDX-License-Identifier: Apache-2.0 */
/* soak_calls.h -- what a thread of the soak works on, and the calls that it makes. */
#ifndef COOPDL_TESTS_SOAK_CALLS_H
#define COOPDL_TESTS_SOAK_CALLS_H

#include "coopdl.h"
#include "unit/names.h"

#include <aio.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum { DEEPEST = 4, LATENESSES = 6, PROMPT_CUTS = 4 };

struct counts {
    uint64_t rounds, calls, cuts, in_time, expired, shields, moves;
    uint64_t early, stray, late, wrong;
    uint64_t lateness[LATENESSES]; /* the prompt cuts by how late: see bounds */
    int64_t worst;
};

static const int64_t bounds[LATENESSES] = {100 * COOPDL_MICROSECOND, COOPDL_MILLISECOND,
                                           5 * COOPDL_MILLISECOND,   10 * COOPDL_MILLISECOND,
                                           50 * COOPDL_MILLISECOND,  COOPDL_NEVER};

struct worker {
    pthread_t thread;
    uint64_t random;
    int silent[2], socket[2];    /* nobody writes there */
    int full[2], full_socket[2]; /* nobody reads there */
    int busy[2], epoll, listener, event;
    int file, locked; /* one file opened twice; the second has it locked */
    int queue, full_queue, semaphores, full_event;
    mqd_t mq, full_mq;
    char aio_byte;
    struct aiocb aio;           /* reads where nobody writes */
    struct sockaddr_un crowded; /* a listener whose queue is full */
    socklen_t crowded_length;
    sem_t semaphore;
    char fifo[64]; /* nobody opens it for writing */
    unsigned char next_in, next_out;
    int cut;         /* calls, since the outermost scope was entered */
    uint64_t called; /* the last of them, in the table of calls */
    struct counts counts;
};

static atomic_bool stop;
static pid_t stuck_child;
static sigset_t no_signals, some_signals;
static const struct timespec second = {.tv_sec = 1};

static uint64_t next_random(struct worker *worker, uint64_t below)
{
    worker->random ^= worker->random << 13;
    worker->random ^= worker->random >> 7;
    worker->random ^= worker->random << 17;
    return worker->random % below;
}

/*
 * The calls: each would wait for ever, or for longer than any deadline here.
 * They give the errno that they failed with, 0 if they did not.
 */
static int failure(ssize_t result)
{
    return result < 0 ? errno : 0;
}

/* One that has a time-out of its own, which lies far behind any deadline here, may be told in the
 * end that it has run out. */
static int timed_failure(ssize_t result)
{
    return result == 0 ? ETIMEDOUT : failure(result);
}

static int wait_read(struct worker *worker)
{
    char byte;
    return failure(read(worker->silent[0], &byte, 1));
}

static int wait_readv(struct worker *worker)
{
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    return failure(readv(worker->silent[0], &iov, 1));
}

static int wait_recv(struct worker *worker)
{
    char byte;
    return failure(recv(worker->socket[0], &byte, 1, 0));
}

static int wait_recvmsg(struct worker *worker)
{
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    return failure(recvmsg(worker->socket[0], &message, 0));
}

static int wait_accept(struct worker *worker)
{
    return failure(accept(worker->listener, NULL, NULL));
}

static int wait_poll(struct worker *worker)
{
    struct pollfd pollfd = {.fd = worker->silent[0], .events = POLLIN};
    return next_random(worker, 2) ? failure(poll(&pollfd, 1, -1))
                                  : timed_failure(poll(&pollfd, 1, 1000));
}

static int wait_ppoll(struct worker *worker)
{
    struct pollfd pollfd = {.fd = worker->silent[0], .events = POLLIN};
    return timed_failure(ppoll(&pollfd, 1, &second, NULL));
}

static int wait_select(struct worker *worker)
{
    struct timeval timeout = {.tv_sec = 1};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(worker->silent[0], &set);
    return timed_failure(select(worker->silent[0] + 1, &set, NULL, NULL, &timeout));
}

static int wait_pselect(struct worker *worker)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(worker->silent[0], &set);
    return failure(pselect(worker->silent[0] + 1, &set, NULL, NULL, NULL, &no_signals));
}

static int wait_epoll(struct worker *worker)
{
    struct epoll_event event;
    return failure(epoll_wait(worker->epoll, &event, 1, 1000));
}

static int wait_nanosleep(struct worker *worker)
{
    (void)worker;
    return failure(nanosleep(&second, NULL));
}

static int wait_clock_nanosleep(struct worker *worker)
{
    (void)worker;
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &second, NULL);
}

static int wait_write(struct worker *worker)
{
    return failure(write(worker->full[1], "x", 1));
}

static int wait_send(struct worker *worker)
{
    return failure(send(worker->full_socket[0], "x", 1, 0));
}

static int wait_eventfd(struct worker *worker)
{
    eventfd_t value;
    return failure(eventfd_read(worker->event, &value));
}

static int wait_child(struct worker *worker)
{
    (void)worker;
    return failure(waitpid(stuck_child, NULL, 0));
}

static int wait_flock(struct worker *worker)
{
    return failure(flock(worker->file, LOCK_EX));
}

static int wait_fcntl(struct worker *worker)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return failure(fcntl(worker->file, F_SETLKW, &lock));
}

static int wait_sem(struct worker *worker)
{
    return failure(sem_wait(&worker->semaphore));
}

#ifdef __GLIBC__
static int wait_sem_clock(struct worker *worker)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    return failure(sem_clockwait(&worker->semaphore, CLOCK_MONOTONIC, &until));
}
#endif

static int wait_msgrcv(struct worker *worker)
{
    struct {
        long type;
        char text[8];
    } message;
    return failure(msgrcv(worker->queue, &message, sizeof(message.text), 0, 0));
}

static int wait_mq(struct worker *worker)
{
    char text[8];
    return failure(mq_receive(worker->mq, text, sizeof(text), NULL));
}

static int wait_open(struct worker *worker)
{
    int fd = open(worker->fifo, O_RDONLY);
    if (fd >= 0)
        close(fd);
    return failure(fd);
}

static int wait_semop(struct worker *worker)
{
    struct sembuf down = {.sem_op = -1};
    return failure(semop(worker->semaphores, &down, 1));
}

static int wait_signal(struct worker *worker)
{
    (void)worker;
    int error = failure(sigtimedwait(&some_signals, NULL, &second));
    return error == EAGAIN ? ETIMEDOUT : error; /* its own time-out */
}

static int wait_sigsuspend(struct worker *worker)
{
    (void)worker;
    return failure(sigsuspend(&no_signals));
}

static int wait_recvfrom(struct worker *worker)
{
    char byte;
    return failure(recvfrom(worker->socket[0], &byte, 1, 0, NULL, NULL));
}

static int wait_recvmmsg(struct worker *worker)
{
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
    return failure(recvmmsg(worker->socket[0], &message, 1, 0, NULL));
}

static int wait_accept4(struct worker *worker)
{
    return failure(accept4(worker->listener, NULL, NULL, SOCK_CLOEXEC));
}

static int wait_epoll_pwait(struct worker *worker)
{
    struct epoll_event event;
    return failure(epoll_pwait(worker->epoll, &event, 1, -1, &no_signals));
}

#ifndef EMULATED
static int wait_splice(struct worker *worker)
{
    return failure(splice(worker->silent[0], NULL, worker->busy[1], NULL, 1, 0));
}

static int wait_vmsplice(struct worker *worker)
{
    char byte = 'x';
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    return failure(vmsplice(worker->full[1], &iov, 1, 0));
}

static int wait_tee(struct worker *worker)
{
    return failure(tee(worker->silent[0], worker->busy[1], 1, 0));
}

static int wait_sendfile(struct worker *worker)
{
    off_t from = 0;
    return failure(sendfile(worker->full_socket[0], worker->file, &from, 1));
}

static int wait_preadv2(struct worker *worker)
{
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    return failure(preadv2(worker->silent[0], &iov, 1, -1, 0));
}

static int wait_epoll_pwait2(struct worker *worker)
{
    struct epoll_event event;
    return failure(epoll_pwait2(worker->epoll, &event, 1, &second, NULL));
}
#endif

static int wait_usleep(struct worker *worker)
{
    (void)worker;
    return failure(usleep(900000));
}

/* It has no way to fail: only whether it ends in time can be seen. */
static int wait_sleep(struct worker *worker)
{
    (void)worker;
    sleep(10);
    return EINTR;
}

static int wait_thrd_sleep(struct worker *worker)
{
    (void)worker;
    return thrd_sleep(&second, NULL) < 0 ? EINTR : 0;
}

static int wait_writev(struct worker *worker)
{
    char byte = 'x';
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    return failure(writev(worker->full[1], &iov, 1));
}

static int wait_sendto(struct worker *worker)
{
    return failure(sendto(worker->full_socket[0], "x", 1, 0, NULL, 0));
}

static int wait_sendmsg(struct worker *worker)
{
    char byte = 'x';
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    return failure(sendmsg(worker->full_socket[0], &message, 0));
}

static int wait_waitid(struct worker *worker)
{
    siginfo_t info;
    (void)worker;
    return failure(waitid(P_PID, (id_t)stuck_child, &info, WEXITED));
}

static int wait_wait4(struct worker *worker)
{
    (void)worker;
    return failure(wait4(stuck_child, NULL, 0, NULL));
}

static int wait_lockf(struct worker *worker)
{
    return failure(lockf(worker->file, F_LOCK, 0));
}

static int wait_sem_timed(struct worker *worker)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    return failure(sem_timedwait(&worker->semaphore, &until));
}

static int wait_semtimedop(struct worker *worker)
{
    struct sembuf down = {.sem_op = -1};
    return failure(semtimedop(worker->semaphores, &down, 1, &second));
}

static int wait_mq_timed(struct worker *worker)
{
    char text[8];
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    return failure(mq_timedreceive(worker->mq, text, sizeof(text), NULL, &until));
}

static int wait_openat(struct worker *worker)
{
    int fd = openat(AT_FDCWD, worker->fifo, O_WRONLY);
    if (fd >= 0)
        close(fd);
    return failure(fd);
}

static int wait_sigwaitinfo(struct worker *worker)
{
    (void)worker;
    return failure(sigwaitinfo(&some_signals, NULL));
}

static int wait_sigwait(struct worker *worker)
{
    int number;
    (void)worker;
    return sigwait(&some_signals, &number);
}

static int wait_pause(struct worker *worker)
{
    (void)worker;
    return failure(pause());
}

static int wait_sendmmsg(struct worker *worker)
{
    char byte = 'x';
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
    return failure(sendmmsg(worker->full_socket[0], &message, 1, 0));
}

static int wait_connect(struct worker *worker)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int error = failure(connect(fd, (struct sockaddr *)&worker->crowded, worker->crowded_length));
    close(fd);
    return error;
}

static int wait_eventfd_write(struct worker *worker)
{
    return failure(eventfd_write(worker->full_event, 1));
}

static int wait_wait(struct worker *worker)
{
    (void)worker;
    return failure(wait(NULL));
}

static int wait_wait3(struct worker *worker)
{
    (void)worker;
    return failure(wait3(NULL, 0, NULL));
}

static int wait_creat(struct worker *worker)
{
    int fd = creat(worker->fifo, 0600);
    if (fd >= 0)
        close(fd);
    return failure(fd);
}

static int wait_mq_send(struct worker *worker)
{
    return failure(mq_send(worker->full_mq, "x", 1, 0));
}

static int wait_msgsnd(struct worker *worker)
{
    static const struct {
        long type;
        char text[1000];
    } message = {.type = 1};
    return failure(msgsnd(worker->full_queue, &message, sizeof(message.text), 0));
}

static int wait_aio(struct worker *worker)
{
    const struct aiocb *list[] = {&worker->aio};
    return failure(aio_suspend(list, 1, NULL));
}

static int wait_syscall(struct worker *worker)
{
    char byte;
    return failure(syscall(SYS_read, worker->silent[0], &byte, 1));
}

/* Past the wrappers: libc's own, and an instruction of our own. */
static struct {
    int (*poll)(struct pollfd *, nfds_t, int);
    int (*sem_wait)(sem_t *);
} libcs;

static int wait_libcs_poll(struct worker *worker)
{
    struct pollfd pollfd = {.fd = worker->silent[0], .events = POLLIN};
    return failure(libcs.poll(&pollfd, 1, -1));
}

static int wait_libcs_sem(struct worker *worker)
{
    return failure(libcs.sem_wait(&worker->semaphore));
}

static int wait_inline(struct worker *worker)
{
#ifdef __x86_64__
    char byte;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(SYS_read), "D"(worker->silent[0]), "S"(&byte), "d"(1)
                     : "rcx", "r11", "memory");
    return result < 0 ? (int)-result : 0;
#else
    return wait_libcs_poll(worker);
#endif
}

static int (*const calls[])(struct worker *) = {
    wait_read,
    wait_readv,
    wait_recv,
    wait_recvmsg,
    wait_accept,
    wait_poll,
    wait_ppoll,
    wait_select,
    wait_pselect,
    wait_epoll,
    wait_nanosleep,
    wait_nanosleep,
    wait_clock_nanosleep,
    wait_write,
    wait_send,
    wait_eventfd,
    wait_child,
    wait_flock,
    wait_fcntl,
    wait_sem,
    wait_msgrcv,
    wait_mq,
    wait_open,
    wait_semop,
    wait_signal,
    wait_sigsuspend,
    wait_syscall,
    wait_recvfrom,
    wait_recvmmsg,
    wait_accept4,
    wait_epoll_pwait,
    wait_usleep,
    wait_sleep,
    wait_thrd_sleep,
    wait_writev,
    wait_sendto,
    wait_sendmsg,
    wait_waitid,
    wait_wait4,
    wait_lockf,
    wait_sem_timed,
    wait_semtimedop,
    wait_mq_timed,
    wait_openat,
    wait_sigwaitinfo,
    wait_sigwait,
    wait_pause,
    wait_sendmmsg,
    wait_connect,
    wait_eventfd_write,
    wait_wait,
    wait_wait3,
    wait_creat,
    wait_mq_send,
    wait_msgsnd,
    wait_aio,
    wait_libcs_poll,
    wait_libcs_sem,
    wait_inline,
#ifdef __GLIBC__
    wait_sem_clock,
#endif
#ifndef EMULATED
    wait_preadv2,
    wait_epoll_pwait2,
    wait_splice,
    wait_vmsplice,
    wait_tee,
    wait_sendfile,
#endif
};

#endif
