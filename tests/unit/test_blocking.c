/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_blocking.c -- the calls that test_wrappers.c does not have: output,
 * files, children, locks, queues, signals and syscall(), through each of their
 * names: cut when they would wait, unharmed by a far deadline, performed after
 * expiry when they do not wait.
 *
 * Each case brings what it works on: `prepare(ready)` makes it so that the call
 * waits, or does not; `call` makes the call through f.call and gives its errno.
 */
#include "cancel.h"
#include "emulator.h"
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

TestSuite(blocking, .timeout = 60);

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

static void on_alarm(int number)
{
    (void)number;
}

static void set_alarm(void)
{
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval soon = {.it_value = {.tv_usec = 10000}};
    alarmed = true;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
}

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

/* syscall(): f.number and these. */
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
    {"syscall", prepare_pipe, number_epoll_pwait, NO_CANCEL},
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
    {"syscall", prepare_pipe, number_epoll_pwait2, NO_CANCEL | UNEMULATED},
    {"syscall", prepare_semaphores, number_semtimedop, NO_CANCEL},
#endif
    {"syscall", prepare_pipe, number_recvmmsg, NO_CANCEL},
    {"syscall", prepare_empty_mq, number_mq_timedreceive, OWN_TIMEOUT | NO_CANCEL},
    {"syscall", prepare_full_mq, number_mq_timedsend, OWN_TIMEOUT | NO_CANCEL},
    {"syscall", prepare_fifo, number_openat, NO_CANCEL},
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

Test(blocking, none_is_left_out)
{
    int left_out = 0;
    for (int i = 0; i < CASES; i++)
        if (cases[i].flags & UNEMULATED) {
            cr_log_info("%s, case %d", cases[i].name, i);
            left_out++;
        }
    if (EMULATED)
        cr_skip_test("qemu-user does not have these");
    cr_expect(left_out == 0);
}

static void begin(int i, bool ready)
{
    memset(&f, 0, sizeof(f));
    *(void **)&f.call = dlsym(RTLD_DEFAULT, cases[i].name);
    cr_assert(f.call, "%s", cases[i].name);
    cases[i].prepare(ready);
}

static void end(void)
{
    /* A request that is under way has our memory. */
    if (f.aio.aio_buf && write(f.pipe[1], "x", 1) == 1)
        while (aio_error(&f.aio) == EINPROGRESS)
            sched_yield();
    int *fds[] = {&f.pipe[0],   &f.pipe[1], &f.other[0], &f.other[1], &f.socket[0],
                  &f.socket[1], &f.event,   &f.file,     &f.locked};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (*fds[i] > 2)
            close(*fds[i]);
    if (f.child > 0) {
        kill(f.child, SIGKILL);
        waitpid(f.child, NULL, 0);
    }
    if (f.queue)
        msgctl(f.queue, IPC_RMID, NULL);
    if (f.semaphores)
        semctl(f.semaphores, 0, IPC_RMID);
    if (f.mq)
        mq_close(f.mq);
    if (*f.fifo)
        unlink(f.fifo);
}

Test(blocking, cut_at_the_deadline)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i))
            continue;
        int first = cases[i].flags & OWN_TIMEOUT  ? ETIMEDOUT
                    : cases[i].flags & OWN_EAGAIN ? EAGAIN
                                                  : EINTR;
        int then = cases[i].flags & (EINTR_ONLY | OWN_EAGAIN) ? first : ETIMEDOUT;
        coopdl_scope scope;
        begin(i, false);
        int64_t deadline = coopdl_after(20 * MS);
        coopdl_enter(&scope, deadline);
        int error = cases[i].call();
        assert_on_time(deadline, cases[i].name);
        expect(error == first, "%s, case %d: first %s", cases[i].name, i, strerror(error));
        int64_t now = coopdl_now();
        error = cases[i].call();
        assert_on_time(now, cases[i].name);
        expect(error == then, "%s, case %d: then %s", cases[i].name, i, strerror(error));
        expect(coopdl_leave(&scope) == 1);
        end();
    }
}

Test(blocking, unharmed_by_a_far_deadline)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i))
            continue;
        coopdl_scope scope;
        int expected = cases[i].flags & WAITS_ALWAYS ? EINTR : 0;
        begin(i, true);
        coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
        if (expected)
            set_alarm();
        int error = cases[i].call();
        expect(error == expected, "%s, case %d: %s", cases[i].name, i, strerror(error));
        expect(coopdl_leave(&scope) == 0);
        end();
    }
}

Test(blocking, what_would_not_wait_is_performed)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i))
            continue;
        coopdl_scope scope;
        if (cases[i].flags & WAITS_ALWAYS)
            continue;
        begin(i, true);
        coopdl_enter(&scope, 0);
        await_expiry(&scope);
        int error = cases[i].call();
        expect(error == 0, "%s, case %d: %s", cases[i].name, i, strerror(error));
        coopdl_leave(&scope);
        end();
    }
}

Test(blocking, cancelled)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i))
            continue;
        if (cases[i].flags & NO_CANCEL || is_raw(cases[i].name))
            continue;
        begin(i, false);
        assert_cancellable(cases[i].call, cases[i].name);
        end();
    }
}

/* No file here makes a write at an offset wait, and no machine that is up getrandom. */
Test(blocking, what_cannot_be_made_to_wait_is_unharmed)
{
    static const char *names[] = {"pwrite", "pwrite64", "__pwrite64", "pwritev", "pwritev64"};
    char path[] = "/tmp/coopdl-test-file-XXXXXX";
    int fd = mkstemp(path);
    cr_assert(fd >= 0);
    unlink(path);
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        coopdl_enter(&scope, expired ? 0 : coopdl_after(3600 * COOPDL_SECOND));
        if (expired)
            await_expiry(&scope);
        for (int i = 0; i < 5; i++) {
            if (!is_here(names[i]))
                continue;
            *(void **)&f.call = dlsym(RTLD_DEFAULT, names[i]);
            ssize_t put =
                i < 3 ? AS(ssize_t(*)(int, const void *, size_t, off_t))(fd, "x", 1, 5)
                      : AS(ssize_t(*)(int, const struct iovec *, int, off_t))(fd, &iov, 1, 5);
            expect(put == (i < 3 ? 1 : 100), "%s, expired %d", names[i], expired);
        }
        *(void **)&f.call = dlsym(RTLD_DEFAULT, "getrandom");
        ssize_t got = AS(ssize_t(*)(void *, size_t, unsigned))(buffer, 16, 0);
        expect(got == 16);
        coopdl_leave(&scope);
    }
}

/* The names by which old programs know them. */
Test(blocking, streams_by_their_other_names)
{
    static const char *closers[] = {"fclose", "_IO_fclose", "pclose"};
    FILE *(*open_stream)(const char *, const char *);
    if (!is_here("_IO_popen"))
        cr_skip_test("this libc has no other names for them");
    *(void **)&open_stream = dlsym(RTLD_DEFAULT, "_IO_popen");
    for (int inside = 0; inside < 2; inside++)
        for (int i = 0; i < 3; i++) {
            coopdl_scope scope;
            int (*close_stream)(FILE *);
            *(void **)&close_stream = dlsym(RTLD_DEFAULT, closers[i]);
            if (inside)
                coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
            FILE *stream = open_stream("exit 3", "r");
            int status = stream ? close_stream(stream) : -1;
            if (inside)
                coopdl_leave(&scope);
            cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 3, "%s: %x", closers[i], status);
        }
}
