/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blocking_calls.h -- the calls that test_blocking.c tries.
 *
 * Each case brings what it works on: `prepare(ready)` makes it so that the call
 * waits, or does not; `call` makes the call through f.call and gives its errno.
 */
#ifndef COOPDL_TESTS_BLOCKING_CALLS_H
#define COOPDL_TESTS_BLOCKING_CALLS_H

#include "alarm.h"
#include "cancel.h"
#include "names.h"

#include <aio.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

static struct {
    void (*call)(void);
    long number; /* of the system call, for syscall() */
    int pipe[2], other[2], socket[2], event, file, locked;
    pid_t child;
    sem_t semaphore;
    int queue, semaphores;
    mqd_t mq;
    struct aiocb aio;
    char fifo[64];
} f;

static char buffer[1 << 16];
static struct iovec iov = {.iov_base = buffer, .iov_len = 100};

#define AS(type) ((type)f.call)

static int result(ssize_t value)
{
    return value < 0 ? errno : 0;
}

/* Fills a pipe or socket until it takes no more. */
static void fill(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    while (write(fd, buffer, sizeof(buffer)) > 0 || write(fd, buffer, 1) > 0)
        ;
    fcntl(fd, F_SETFL, flags);
}

static void prepare_output(bool ready)
{
    cr_assert(pipe(f.pipe) == 0 && pipe(f.other) == 0);
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, f.socket) == 0);
    f.file = open("/proc/self/exe", O_RDONLY);
    cr_assert(write(f.other[1], "x", 1) == 1);
    if (!ready) {
        fill(f.pipe[1]);
        fill(f.socket[0]);
    }
}

static int call_write(void)
{
    return result(AS(ssize_t(*)(int, const void *, size_t))(f.pipe[1], buffer, 100));
}

static int call_writev(void)
{
    return result(AS(ssize_t(*)(int, const struct iovec *, int))(f.pipe[1], &iov, 1));
}

static int call_pwritev2(void)
{
    return result(
        AS(ssize_t(*)(int, const struct iovec *, int, off_t, int))(f.pipe[1], &iov, 1, -1, 0));
}

static int call_send(void)
{
    return result(AS(ssize_t(*)(int, const void *, size_t, int))(f.socket[0], buffer, 100, 0));
}

static int call_sendto(void)
{
    return result(AS(ssize_t(*)(int, const void *, size_t, int, void *, socklen_t))(
        f.socket[0], buffer, 100, 0, NULL, 0));
}

static int call_sendmsg(void)
{
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    return result(AS(ssize_t(*)(int, const struct msghdr *, int))(f.socket[0], &message, 0));
}

static int call_sendmmsg(void)
{
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
    return result(AS(int (*)(int, struct mmsghdr *, unsigned, int))(f.socket[0], &message, 1, 0));
}

static int call_sendfile(void)
{
    off_t from = 0;
    return result(AS(ssize_t(*)(int, int, off_t *, size_t))(f.socket[0], f.file, &from, 100));
}

static int call_splice(void)
{
    return result(AS(ssize_t(*)(int, void *, int, void *, size_t, unsigned))(
        f.other[0], NULL, f.pipe[1], NULL, 1, 0));
}

static int call_tee(void)
{
    return result(AS(ssize_t(*)(int, int, size_t, unsigned))(f.other[0], f.pipe[1], 1, 0));
}

static int call_vmsplice(void)
{
    return result(
        AS(ssize_t(*)(int, const struct iovec *, size_t, unsigned))(f.pipe[1], &iov, 1, 0));
}

static void prepare_event(bool ready)
{
    f.event = eventfd(0, 0);
    if (ready)
        cr_assert(eventfd_write(f.event, 1) == 0);
}

static int call_eventfd_read(void)
{
    eventfd_t value;
    return result(AS(int (*)(int, eventfd_t *))(f.event, &value));
}

static void prepare_full_event(bool ready)
{
    f.event = eventfd(0, 0);
    cr_assert(ready || eventfd_write(f.event, UINT64_MAX - 1) == 0);
}

static int call_eventfd_write(void)
{
    return result(AS(int (*)(int, eventfd_t))(f.event, 1));
}

/* A FIFO without its other end, or with it. */
static void prepare_fifo(bool ready)
{
    snprintf(f.fifo, sizeof(f.fifo), "/tmp/coopdl-test-fifo-%d", (int)getpid());
    unlink(f.fifo);
    cr_assert(mkfifo(f.fifo, 0600) == 0);
    f.file = ready ? open(f.fifo, O_RDWR) : -1;
}

static int opened(int fd)
{
    int error = result(fd);
    if (fd >= 0)
        close(fd);
    return error;
}

static int call_open(void)
{
    return opened(AS(int (*)(const char *, int, mode_t))(f.fifo, O_RDONLY, 0));
}

static int call_open_for_writing(void)
{
    return opened(AS(int (*)(const char *, int, mode_t))(f.fifo, O_WRONLY, 0));
}

static int call_openat(void)
{
    return opened(AS(int (*)(int, const char *, int, mode_t))(AT_FDCWD, f.fifo, O_RDONLY, 0));
}

/* Of glibc 2.43; struct open_how is this. */
static int call_openat2(void)
{
    const uint64_t how[] = {O_RDONLY, 0, 0};
    return opened(
        AS(int (*)(int, const char *, const void *, size_t))(AT_FDCWD, f.fifo, how, sizeof(how)));
}

static int call_creat(void)
{
    return opened(AS(int (*)(const char *, mode_t))(f.fifo, 0600));
}

/* A child that runs for ever, or has ended. */
static void prepare_child(bool ready)
{
    siginfo_t info;
    f.child = fork();
    if (f.child == 0) {
        signal(SIGALRM, SIG_DFL);
        alarm(60);
        if (!ready)
            pause();
        _exit(0);
    }
    if (ready)
        cr_assert(waitid(P_PID, (id_t)f.child, &info, WEXITED | WNOWAIT) == 0);
}

static int waited(pid_t pid)
{
    int error = result(pid);
    if (pid > 0)
        f.child = 0;
    return error;
}

static int call_wait(void)
{
    return waited(AS(pid_t(*)(int *))(NULL));
}

static int call_waitpid(void)
{
    return waited(AS(pid_t(*)(pid_t, int *, int))(f.child, NULL, 0));
}

static int call_waitid(void)
{
    siginfo_t info;
    int error =
        result(AS(int (*)(idtype_t, id_t, siginfo_t *, int))(P_PID, (id_t)f.child, &info, WEXITED));
    if (!error)
        f.child = 0;
    return error;
}

static int call_wait3(void)
{
    struct rusage usage;
    return waited(AS(pid_t(*)(int *, int, struct rusage *))(NULL, 0, &usage));
}

static int call_wait4(void)
{
    struct rusage usage;
    return waited(AS(pid_t(*)(pid_t, int *, int, struct rusage *))(f.child, NULL, 0, &usage));
}

static void prepare_flock(bool ready)
{
    char name[] = "/tmp/coopdl-test-lock-XXXXXX";
    f.file = mkstemp(name);
    f.locked = open(name, O_RDWR);
    unlink(name);
    cr_assert(ready || flock(f.locked, LOCK_EX) == 0);
}

static int call_flock(void)
{
    return result(AS(int (*)(int, int))(f.file, LOCK_EX));
}

/* A lock of another open file, which both other kinds wait for. */
static void prepare_record_lock(bool ready)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char name[] = "/tmp/coopdl-test-lock-XXXXXX";
    f.file = mkstemp(name);
    f.locked = open(name, O_RDWR);
    unlink(name);
    cr_assert(ready || fcntl(f.locked, F_OFD_SETLK, &lock) == 0);
}

static int call_lockf(void)
{
    return result(AS(int (*)(int, int, off_t))(f.file, F_LOCK, 0));
}

static int lock_by(int command)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return result(AS(int (*)(int, int, void *))(f.file, command, &lock));
}

static int call_fcntl(void)
{
    return lock_by(F_SETLKW);
}

static int call_fcntl_ofd(void)
{
    return lock_by(F_OFD_SETLKW);
}

static void prepare_semaphore(bool ready)
{
    cr_assert(sem_init(&f.semaphore, 0, ready) == 0);
}

static int call_sem_wait(void)
{
    return result(AS(int (*)(sem_t *))(&f.semaphore));
}

static struct timespec in_two_seconds(clockid_t clock)
{
    struct timespec until;
    clock_gettime(clock, &until);
    until.tv_sec += 2;
    return until;
}

static int call_sem_timedwait(void)
{
    struct timespec until = in_two_seconds(CLOCK_REALTIME);
    return result(AS(int (*)(sem_t *, const struct timespec *))(&f.semaphore, &until));
}

static int call_sem_clockwait(void)
{
    struct timespec until = in_two_seconds(CLOCK_MONOTONIC);
    return result(AS(int (*)(sem_t *, clockid_t, const struct timespec *))(
        &f.semaphore, CLOCK_MONOTONIC, &until));
}

struct message {
    long type;
    char text[1000];
};

static struct message message = {.type = 1};

static void prepare_empty_queue(bool ready)
{
    f.queue = msgget(IPC_PRIVATE, 0600);
    cr_assert(f.queue >= 0);
    cr_assert(!ready || msgsnd(f.queue, &message, 10, 0) == 0);
}

static int call_msgrcv(void)
{
    return result(AS(ssize_t(*)(int, void *, size_t, long, int))(f.queue, &message, 1000, 0, 0));
}

static void prepare_full_queue(bool ready)
{
    f.queue = msgget(IPC_PRIVATE, 0600);
    while (!ready && msgsnd(f.queue, &message, 1000, IPC_NOWAIT) == 0)
        ;
}

static int call_msgsnd(void)
{
    return result(AS(int (*)(int, const void *, size_t, int))(f.queue, &message, 1000, 0));
}

static void prepare_semaphores(bool ready)
{
    struct sembuf up = {.sem_op = 1};
    f.semaphores = semget(IPC_PRIVATE, 1, 0600);
    cr_assert(f.semaphores >= 0 && (!ready || semop(f.semaphores, &up, 1) == 0));
}

static int call_semop(void)
{
    struct sembuf down = {.sem_op = -1};
    return result(AS(int (*)(int, struct sembuf *, size_t))(f.semaphores, &down, 1));
}

static int call_semtimedop(void)
{
    struct sembuf down = {.sem_op = -1};
    struct timespec wait = {.tv_sec = 2};
    return result(AS(int (*)(int, struct sembuf *, size_t, const struct timespec *))(
        f.semaphores, &down, 1, &wait));
}

static void open_mq(void)
{
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 10};
    char name[64];
    snprintf(name, sizeof(name), "/coopdl-test-%d", (int)getpid());
    f.mq = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
    cr_assert(f.mq >= 0);
    mq_unlink(name);
}

static void prepare_empty_mq(bool ready)
{
    open_mq();
    cr_assert(!ready || mq_send(f.mq, "x", 1, 0) == 0);
}

static void prepare_full_mq(bool ready)
{
    open_mq();
    for (int i = 0; i < 2 && !ready; i++)
        cr_assert(mq_send(f.mq, "x", 1, 0) == 0);
}

static int call_mq_receive(void)
{
    return result(AS(ssize_t(*)(mqd_t, char *, size_t, unsigned *))(f.mq, buffer, 10, NULL));
}

static int call_mq_timedreceive(void)
{
    struct timespec until = in_two_seconds(CLOCK_REALTIME);
    return result(AS(ssize_t(*)(mqd_t, char *, size_t, unsigned *, const struct timespec *))(
        f.mq, buffer, 10, NULL, &until));
}

static int call_mq_send(void)
{
    return result(AS(int (*)(mqd_t, const char *, size_t, unsigned))(f.mq, "y", 1, 0));
}

static int call_mq_timedsend(void)
{
    struct timespec until = in_two_seconds(CLOCK_REALTIME);
    return result(AS(int (*)(mqd_t, const char *, size_t, unsigned, const struct timespec *))(
        f.mq, "y", 1, 0, &until));
}

static void prepare_aio(bool ready)
{
    cr_assert(pipe(f.pipe) == 0);
    if (ready)
        cr_assert(write(f.pipe[1], "x", 1) == 1);
    f.aio = (struct aiocb){.aio_fildes = f.pipe[0], .aio_buf = buffer, .aio_nbytes = 1};
    cr_assert(aio_read(&f.aio) == 0);
    while (ready && aio_error(&f.aio) == EINPROGRESS)
        sched_yield();
}

static int call_aio_suspend(void)
{
    const struct aiocb *list[] = {&f.aio};
    return result(
        AS(int (*)(const struct aiocb *const[], int, const struct timespec *))(list, 1, NULL));
}

/* SIGUSR2 is blocked, and pending or not. */
static void prepare_signal(bool ready)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (ready)
        raise(SIGUSR2);
}

/* All signals, as programs do that have a thread for them: the kick is not to be taken for one. */
static sigset_t all_signals(void)
{
    sigset_t set;
    sigfillset(&set);
    return set;
}

static int call_sigwaitinfo(void)
{
    sigset_t set = all_signals();
    siginfo_t info;
    int number = AS(int (*)(const sigset_t *, siginfo_t *))(&set, &info);
    cr_assert(number < 0 || number == SIGUSR2, "signal %d", number);
    return result(number);
}

static int call_sigtimedwait(void)
{
    sigset_t set = all_signals();
    struct timespec wait = {.tv_sec = 2};
    int number =
        AS(int (*)(const sigset_t *, siginfo_t *, const struct timespec *))(&set, NULL, &wait);
    cr_assert(number < 0 || number == SIGUSR2, "signal %d", number);
    return result(number);
}

static int call_sigwait(void)
{
    sigset_t set = all_signals();
    int number = SIGUSR2;
    int error = AS(int (*)(const sigset_t *, int *))(&set, &number);
    cr_assert(number == SIGUSR2, "signal %d", number);
    return error;
}

static void prepare_nothing(bool ready)
{
    (void)ready;
}

static int call_pause(void)
{
    return result(AS(int (*)(void))());
}

/* What waits by its nature is ended by the program's own alarm where no deadline does. */
static bool alarmed;

static int call_sigsuspend(void)
{
    sigset_t set = all_signals();
    if (alarmed)
        sigdelset(&set, SIGALRM);
    return result(AS(int (*)(const sigset_t *))(&set));
}

static int call_sigpause(void)
{
    /* A mask, or where there is but one of them the number of a signal. */
    return result(AS(int (*)(int))(is_here("__xpg_sigpause") ? 0 : SIGUSR1));
}

static int call_xpg_sigpause(void)
{
    return result(AS(int (*)(int))(SIGUSR1));
}

static int call_thrd_sleep(void)
{
    struct timespec wait = {.tv_sec = 2};
    int slept = AS(int (*)(const struct timespec *, struct timespec *))(&wait, NULL);
    return slept == -1 ? EINTR : slept == -2 ? ETIMEDOUT : slept;
}

static void prepare_pipe(bool ready)
{
    cr_assert(pipe(f.pipe) == 0);
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, f.socket) == 0);
    f.event = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    cr_assert(epoll_ctl(f.event, EPOLL_CTL_ADD, f.pipe[0], &event) == 0);
    if (ready)
        cr_assert(write(f.pipe[1], "x", 1) == 1 && write(f.socket[1], "x", 1) == 1);
}

static int call_preadv2(void)
{
    return result(
        AS(ssize_t(*)(int, const struct iovec *, int, off_t, int))(f.pipe[0], &iov, 1, -1, 0));
}

static int call_recv(void)
{
    return result(AS(ssize_t(*)(int, void *, size_t, int))(f.socket[0], buffer, 1, 0));
}

#endif
