/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soak.c -- threads that enter random nested scopes, from 0 to 3 ms, around all
 * kinds of blocking calls: soak [SECONDS [THREADS]].
 *
 * Checked in each round:
 * - never early: a call fails only after the deadline that ruled it;
 * - never stray: once the outermost scope is left, no call is interrupted;
 * - never late: a call returns at most 50 ms after its deadline;
 * - never wrong: what is written is read, once, in order, expired or not.
 *
 * - never open: with the trap a thread is kicked again only for what is never
 *   cut or cannot be looked at beforehand, though some of the calls go past the
 *   wrappers.  Without it (COOPDL_TRAP=0) kicks are repeated for all that one did
 *   not end.
 *
 * It prints the counts, and a line of TAP for each of the five.
 *
 * Sanitizers.  Under AddressSanitizer it runs as it is.  ThreadSanitizer's
 * interceptors sit between the program and the wrappers; they let through both
 * the calls and the kick, whose handler is installed with a system call of our
 * own, so that it is not held back until the next interceptor.  What they do
 * not allow: TSan cannot see that handler's accesses happen before those of the
 * thread that it interrupts; these are atomics only.  Both make everything
 * slower: there the bound for "late" is 500 ms.
 */
#include "coopdl.h"

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

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LATEST (500 * COOPDL_MILLISECOND)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LATEST (500 * COOPDL_MILLISECOND)
#endif
#endif
#ifndef LATEST
#define LATEST (50 * COOPDL_MILLISECOND)
#endif

#ifdef __x86_64__
#define TRAP true
#else
#define TRAP false
#endif

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
    int cut; /* calls, since the outermost scope was entered */
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
    return failure(select(worker->silent[0] + 1, &set, NULL, NULL, &timeout));
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

static int wait_splice(struct worker *worker)
{
    return failure(splice(worker->silent[0], NULL, worker->busy[1], NULL, 1, 0));
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

static int wait_sem_clock(struct worker *worker)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    return failure(sem_clockwait(&worker->semaphore, CLOCK_MONOTONIC, &until));
}

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

static int wait_preadv2(struct worker *worker)
{
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    return failure(preadv2(worker->silent[0], &iov, 1, -1, 0));
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

static int wait_epoll_pwait2(struct worker *worker)
{
    struct epoll_event event;
    return failure(epoll_pwait2(worker->epoll, &event, 1, &second, NULL));
}

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

static int wait_sendfile(struct worker *worker)
{
    off_t from = 0;
    return failure(sendfile(worker->full_socket[0], worker->file, &from, 1));
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
    wait_splice,
    wait_eventfd,
    wait_child,
    wait_flock,
    wait_fcntl,
    wait_sem,
    wait_sem_clock,
    wait_msgrcv,
    wait_mq,
    wait_open,
    wait_semop,
    wait_signal,
    wait_sigsuspend,
    wait_syscall,
    wait_recvfrom,
    wait_recvmmsg,
    wait_preadv2,
    wait_accept4,
    wait_epoll_pwait,
    wait_epoll_pwait2,
    wait_usleep,
    wait_sleep,
    wait_thrd_sleep,
    wait_writev,
    wait_vmsplice,
    wait_tee,
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
    wait_sendfile,
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
};

static int wait_somehow(struct worker *worker)
{
    return calls[next_random(worker, sizeof(calls) / sizeof(calls[0]))](worker);
}

static void check_cut(struct worker *worker, int64_t deadline, int64_t begun, int error)
{
    struct counts *counts = &worker->counts;
    int64_t late = coopdl_now() - (deadline > begun ? deadline : begun);
    counts->calls++;
    if (error != EINTR && error != ETIMEDOUT)
        counts->wrong++;
    if (late < 0)
        counts->early++;
    if (late > LATEST)
        counts->late++;
    counts->cuts++;
    if (++worker->cut > PROMPT_CUTS) /* it may have paused on purpose */
        return;
    if (late > counts->worst)
        counts->worst = late;
    for (int i = 0; i < LATENESSES; i++)
        if (late <= bounds[i]) {
            counts->lateness[i]++;
            break;
        }
}

/* What does not wait is never cut, and no byte is lost or repeated. */
static void exchange(struct worker *worker)
{
    unsigned char out = worker->next_out++, in;
    worker->counts.calls++;
    if (write(worker->busy[1], &out, 1) != 1 || read(worker->busy[0], &in, 1) != 1 ||
        in != worker->next_in++)
        worker->counts.wrong++;
}

/* `deadline` is what must rule here, by the test's own reckoning. */
static void act(struct worker *worker, int64_t deadline)
{
    int64_t begun = coopdl_now();
    switch (next_random(worker, 4)) {
    case 0:
        exchange(worker);
        break;
    case 1: /* no call at all: the expiry lands here, or while leaving */
        while (coopdl_now() < begun + (int64_t)next_random(worker, 1000) * 1000)
            ;
        break;
    default:
        if (deadline != COOPDL_NEVER)
            check_cut(worker, deadline, begun, wait_somehow(worker));
    }
}

static int64_t soon(struct worker *worker)
{
    return coopdl_now() + (int64_t)next_random(worker, 3000) * COOPDL_MICROSECOND;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void nest(struct worker *worker, int depth, int64_t outer)
{
    coopdl_scope scope;
    bool shield = depth > 0 && next_random(worker, 8) == 0;
    int64_t deadline = shield ? COOPDL_NEVER : soon(worker);
    int64_t ruling = shield ? COOPDL_NEVER : earlier(deadline, outer);
    if (shield) {
        coopdl_shield(&scope);
        worker->counts.shields++;
    } else {
        coopdl_enter(&scope, deadline);
    }
    act(worker, ruling);
    if (depth + 1 < DEEPEST && next_random(worker, 2))
        nest(worker, depth + 1, ruling);
    if (!shield && next_random(worker, 8) == 0) {
        deadline = soon(worker);
        ruling = earlier(deadline, outer);
        coopdl_move(&scope, deadline);
        worker->counts.moves++;
    }
    act(worker, ruling);
    int left = coopdl_leave(&scope);
    if (left < 0)
        worker->counts.wrong++;
    else if (left)
        worker->counts.expired++;
    else
        worker->counts.in_time++;
}

/* Outside all scopes: whatever is interrupted here was interrupted by a kick that came late. */
static void check_stray(struct worker *worker)
{
    struct pollfd pollfd = {.fd = worker->silent[0], .events = POLLIN};
    struct timespec moment = {.tv_nsec = 50000};
    bool disturbed = coopdl_deadline() != COOPDL_NEVER;
    if (next_random(worker, 2))
        disturbed |= nanosleep(&moment, NULL) != 0;
    else
        disturbed |= poll(&pollfd, 1, next_random(worker, 4) == 0) != 0;
    worker->counts.stray += disturbed;
}

static void *work(void *argument)
{
    struct worker *worker = argument;
    while (!atomic_load(&stop)) {
        worker->cut = 0;
        nest(worker, 0, COOPDL_NEVER);
        check_stray(worker);
        worker->counts.rounds++;
    }
    return NULL;
}

static void fill(int fd)
{
    static const char block[4096];
    int flags = fcntl(fd, F_GETFL);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    while (write(fd, block, sizeof(block)) > 0 || write(fd, block, 1) > 0)
        ;
    fcntl(fd, F_SETFL, flags);
}

static bool lock_file(struct worker *worker)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char name[] = "/tmp/coopdl-soak-XXXXXX";
    worker->file = mkstemp(name);
    worker->locked = open(name, O_RDWR);
    unlink(name);
    if (write(worker->file, "x", 1) != 1)
        return false;
    return flock(worker->locked, LOCK_EX) == 0 && fcntl(worker->locked, F_OFD_SETLK, &lock) == 0;
}

static bool make_names(struct worker *worker, unsigned number)
{
    struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 8};
    char name[48];
    snprintf(name, sizeof(name), "/coopdl-soak-%d-%u", (int)getpid(), number);
    worker->mq = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
    mq_unlink(name);
    worker->full_mq = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
    mq_unlink(name);
    if (mq_send(worker->full_mq, "x", 1, 0))
        return false;
    snprintf(worker->fifo, sizeof(worker->fifo), "/tmp%s", name);
    return worker->mq >= 0 && mkfifo(worker->fifo, 0600) == 0;
}

static bool crowd(struct worker *worker)
{
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    sa_family_t name = AF_UNIX;
    worker->crowded_length = sizeof(worker->crowded);
    if (bind(listener, (struct sockaddr *)&name, sizeof(name)) || listen(listener, 0) ||
        getsockname(listener, (struct sockaddr *)&worker->crowded, &worker->crowded_length))
        return false;
    int client, connected;
    do {
        client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        connected =
            connect(client, (struct sockaddr *)&worker->crowded, worker->crowded_length) == 0;
    } while (connected);
    return true;
}

static bool fill_queues(struct worker *worker)
{
    static const struct {
        long type;
        char text[1000];
    } message = {.type = 1};
    worker->full_queue = msgget(IPC_PRIVATE, 0600);
    worker->full_event = eventfd(0, 0);
    worker->aio = (struct aiocb){
        .aio_fildes = worker->silent[0], .aio_buf = &worker->aio_byte, .aio_nbytes = 1};
    if (worker->full_queue < 0 || eventfd_write(worker->full_event, UINT64_MAX - 1) ||
        aio_read(&worker->aio))
        return false;
    while (msgsnd(worker->full_queue, &message, sizeof(message.text), IPC_NOWAIT) == 0)
        ;
    return true;
}

static bool set_up(struct worker *worker, unsigned number)
{
    struct epoll_event event = {.events = EPOLLIN};
    worker->random = (uint64_t)coopdl_now() * 2654435761u + number + 1;
    worker->epoll = epoll_create1(0);
    worker->event = eventfd(0, 0);
    worker->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    worker->queue = msgget(IPC_PRIVATE, 0600);
    worker->semaphores = semget(IPC_PRIVATE, 1, 0600);
    sa_family_t name = AF_UNIX;
    if (pipe(worker->silent) || pipe(worker->busy) || pipe(worker->full) ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, worker->socket) ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, worker->full_socket) ||
        bind(worker->listener, (struct sockaddr *)&name, sizeof(name)) ||
        listen(worker->listener, 1) || sem_init(&worker->semaphore, 0, 0) ||
        epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->silent[0], &event))
        return false;
    fill(worker->full[1]);
    fill(worker->full_socket[0]);
    return worker->queue >= 0 && worker->semaphores >= 0 && lock_file(worker) &&
           make_names(worker, number) && crowd(worker) && fill_queues(worker);
}

static void tear_down(struct worker *worker)
{
    msgctl(worker->queue, IPC_RMID, NULL);
    msgctl(worker->full_queue, IPC_RMID, NULL);
    semctl(worker->semaphores, 0, IPC_RMID);
    unlink(worker->fifo);
}

/* A child for waitpid, which ends with its parent; libc's own functions; and two sets of signals.
 */
static bool set_up_process(void)
{
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    *(void **)&libcs.poll = libc ? dlsym(libc, "poll") : NULL;
    *(void **)&libcs.sem_wait = libc ? dlsym(libc, "sem_wait") : NULL;
    if (!libcs.poll || !libcs.sem_wait)
        return false;
    sigemptyset(&no_signals);
    sigemptyset(&some_signals);
    sigaddset(&some_signals, SIGUSR2);
    stuck_child = fork();
    if (stuck_child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    return stuck_child > 0;
}

static void add(struct counts *sum, const struct counts *one)
{
    sum->rounds += one->rounds;
    sum->calls += one->calls;
    sum->cuts += one->cuts;
    sum->in_time += one->in_time;
    sum->expired += one->expired;
    sum->shields += one->shields;
    sum->moves += one->moves;
    sum->early += one->early;
    sum->stray += one->stray;
    sum->late += one->late;
    sum->wrong += one->wrong;
    for (int i = 0; i < LATENESSES; i++)
        sum->lateness[i] += one->lateness[i];
    if (one->worst > sum->worst)
        sum->worst = one->worst;
}

static int verdict(int number, const char *what, uint64_t bad)
{
    printf("%sok %d - %s (%" PRIu64 ")\n", bad ? "not " : "", number, what, bad);
    return bad != 0;
}

int main(int count, char **arguments)
{
    int seconds = count > 1 ? atoi(arguments[1]) : 20;
    int threads = count > 2 ? atoi(arguments[2]) : 8;
    if (count > 3 || seconds < 1 || threads < 1 || threads > 1000) {
        fprintf(stderr, "usage: soak [SECONDS [THREADS]], from 1 up; at most 1000 threads\n");
        return 125;
    }
    struct worker *workers = calloc((size_t)threads, sizeof(*workers));
    if (!workers || !set_up_process()) {
        perror("soak: cannot start");
        exit(1);
    }
    for (int i = 0; i < threads; i++)
        if (!set_up(&workers[i], (unsigned)i) ||
            pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            perror("soak: cannot start");
            exit(1);
        }
    sleep((unsigned)seconds);
    atomic_store(&stop, true);

    struct counts sum = {0};
    for (int i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        add(&sum, &workers[i].counts);
        tear_down(&workers[i]);
    }
    kill(stuck_child, SIGKILL);
    free(workers);
    printf("1..6\n");
    printf("# %d s, %d threads, %" PRIu64 " rounds, %" PRIu64 " calls, %" PRIu64 " cut\n", seconds,
           threads, sum.rounds, sum.calls, sum.cuts);
    printf("# scopes: %" PRIu64 " in time, %" PRIu64 " expired; %" PRIu64 " shields, %" PRIu64
           " moved\n",
           sum.in_time, sum.expired, sum.shields, sum.moves);
    printf("# late: %" PRIu64 " to 0.1 ms, %" PRIu64 " to 1 ms, %" PRIu64 " to 5 ms, %" PRIu64
           " to 10 ms, %" PRIu64 " to 50 ms, %" PRIu64 " more; worst %.3f ms\n",
           sum.lateness[0], sum.lateness[1], sum.lateness[2], sum.lateness[3], sum.lateness[4],
           sum.lateness[5], (double)sum.worst / (double)COOPDL_MILLISECOND);
    printf("# kicked: %" PRIu64 " for an expiry; again: %" PRIu64 " untrapped, %" PRIu64
           " in a futex, %" PRIu64 " for a moment, %" PRIu64 " in a call\n",
           coopdl_kicks(COOPDL_KICK_EXPIRY), coopdl_kicks(COOPDL_KICK_UNTRAPPED),
           coopdl_kicks(COOPDL_KICK_FUTEX), coopdl_kicks(COOPDL_KICK_MOMENT),
           coopdl_kicks(COOPDL_KICK_CALL));
    const char *trap = getenv("COOPDL_TRAP");
    bool trapping = TRAP && (!trap || strcmp(trap, "0") != 0);
    int failed = verdict(1, "never early", sum.early) + verdict(2, "never stray", sum.stray) +
                 verdict(3, "never late", sum.late) + verdict(4, "never wrong", sum.wrong) +
                 verdict(5, trapping ? "never open" : "never open # SKIP there is no trap",
                         trapping ? coopdl_kicks(COOPDL_KICK_UNTRAPPED) : 0) +
                 verdict(6, "something was cut", sum.cuts == 0);
    return failed != 0;
}
