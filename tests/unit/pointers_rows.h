/* SPDX-License-Identifier: Apache-2.0 */
/* pointers_rows.h -- the table of test_pointers.c: good arguments for each call. */
#ifndef COOPDL_TESTS_POINTERS_ROWS_H
#define COOPDL_TESTS_POINTERS_ROWS_H

#include "support.h"

#include "core/sys.h"

#include <aio.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>

enum { ARGUMENTS = 6, MQ_SIZE = 16 };

/* What the arguments point to, and the descriptors that they name. */
static struct {
    int empty[2], full[2], socket[2], full_socket[2], listener, unconnected, epoll, event, file;
    int queue, full_queue, semaphores;
    mqd_t mq, full_mq;
    struct pollfd pollfd;
    struct timespec time, rest;
    struct timeval timeval;
    fd_set sets[3];
    sigset_t mask, old;
    struct {
        const sigset_t *mask;
        size_t size;
    } masked;
    struct epoll_event events[2];
    struct iovec iov;
    struct msghdr message;
    struct mmsghdr messages[1];
    struct sockaddr_in address;
    socklen_t length;
    off_t offset, other_offset;
    uint64_t how[3]; /* a struct open_how, which glibc 2.43 declares */
    struct flock lock;
    sem_t semaphore;
    struct {
        long type;
        char text[MQ_SIZE];
    } msg;
    struct sembuf down;
    struct aiocb aio;
    const struct aiocb *aios[1];
    struct sigaction action, old_action;
    siginfo_t info;
    struct rusage usage;
    int status;
    unsigned int priority;
    eventfd_t value;
    pid_t pid;
    FILE *stream;
    posix_spawn_file_actions_t file_actions;
    posix_spawnattr_t attributes;
    char program[8], *argv[3], *envp[2];
    char buffer[65536];
} f;

static void fill(int fd)
{
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (write(fd, f.buffer, sizeof(f.buffer)) > 0 || write(fd, f.buffer, 1) > 0)
        ;
    fcntl(fd, F_SETFL, 0);
}

static mqd_t make_mq(bool full)
{
    struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = MQ_SIZE};
    char name[64];
    snprintf(name, sizeof(name), "/coopdl-pointers-%d-%d", (int)getpid(), full);
    mqd_t mq = mq_open(name, O_RDWR | O_CREAT, 0600, &attributes);
    mq_unlink(name);
    if (full)
        mq_send(mq, "x", 1, 0);
    return mq;
}

static void fill_queue(int queue)
{
    f.msg.type = 1;
    while (msgsnd(queue, &f.msg, sizeof(f.msg.text), IPC_NOWAIT) == 0)
        ;
}

static pid_t locker;

static void lock_elsewhere(int fd)
{
    int ready[2];
    char byte;
    cr_assert(pipe(ready) == 0);
    locker = fork();
    if (locker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct flock all = {.l_type = F_WRLCK};
        fcntl(fd, F_SETLK, &all);
        (void)!write(ready[1], "x", 1);
        for (;;)
            pause();
    }
    cr_assert(read(ready[0], &byte, 1) == 1);
}

static void set_up(void)
{
    f.address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    f.length = sizeof(f.address);
    f.listener = socket(AF_INET, SOCK_STREAM, 0);
    f.unconnected = socket(AF_INET, SOCK_STREAM, 0);
    f.epoll = epoll_create1(0);
    f.event = eventfd(0, 0);
    f.file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    f.queue = msgget(IPC_PRIVATE, 0600);
    f.full_queue = msgget(IPC_PRIVATE, 0600);
    f.semaphores = semget(IPC_PRIVATE, 1, 0600);
    f.mq = make_mq(false);
    f.full_mq = make_mq(true);
    cr_assert(pipe(f.empty) == 0 && pipe(f.full) == 0 &&
              socketpair(AF_UNIX, SOCK_STREAM, 0, f.socket) == 0 &&
              socketpair(AF_UNIX, SOCK_STREAM, 0, f.full_socket) == 0);
    cr_assert(bind(f.listener, (struct sockaddr *)&f.address, f.length) == 0);
    cr_assert(listen(f.listener, 1) == 0);
    cr_assert(getsockname(f.listener, (struct sockaddr *)&f.address, &f.length) == 0);
    cr_assert(write(f.file, f.buffer, sizeof(f.buffer)) > 0);
    fill(f.full[1]);
    fill(f.full_socket[0]);
    fill_queue(f.full_queue);
    lock_elsewhere(f.file);

    f.pollfd = (struct pollfd){.fd = f.empty[0], .events = POLLIN};
    f.time = (struct timespec){.tv_sec = 2};
    f.timeval = (struct timeval){.tv_sec = 2};
    f.masked.mask = &f.mask;
    f.masked.size = 8;
    f.iov = (struct iovec){.iov_base = f.buffer, .iov_len = 1};
    f.message = (struct msghdr){.msg_iov = &f.iov, .msg_iovlen = 1};
    f.messages[0].msg_hdr = f.message;
    f.lock = (struct flock){.l_type = F_WRLCK};
    f.down = (struct sembuf){.sem_op = -1};
    f.aio = (struct aiocb){.aio_fildes = f.empty[0], .aio_buf = f.buffer, .aio_nbytes = 1};
    f.aios[0] = &f.aio;
    f.argv[0] = f.program;
    f.stream = fdopen(dup(f.file), "r");
    posix_spawn_file_actions_init(&f.file_actions);
    posix_spawnattr_init(&f.attributes);
    sem_init(&f.semaphore, 0, 0);
}

static void tear_down(void)
{
    msgctl(f.queue, IPC_RMID, NULL);
    msgctl(f.full_queue, IPC_RMID, NULL);
    semctl(f.semaphores, 0, IPC_RMID);
    kill(locker, SIGKILL);
    status_of(locker);
}

/* The arguments of each row, good ones; those of a system call by its name with SYS_ before it. */
struct row {
    const char *name;
    const char *pointers; /* of a system call: 'p' for each argument that is one */
    long arguments[ARGUMENTS];
};

#define A(x) ((long)(x))
#define MASK_ROWS(name)                                                                            \
    {                                                                                              \
        name, "",                                                                                  \
        {                                                                                          \
            SIG_BLOCK, A(&f.mask), A(&f.old)                                                       \
        }                                                                                          \
    }

static const struct row *find(const char *name)
{
    static struct row rows[160];
    const struct row all[] = {
        {"poll", "", {A(&f.pollfd), 1, 2000}},
        {"ppoll", "", {A(&f.pollfd), 1, A(&f.time), A(&f.mask)}},
        {"select", "", {1, A(&f.sets[0]), A(&f.sets[1]), A(&f.sets[2]), A(&f.timeval)}},
        {"pselect", "", {1, A(&f.sets[0]), A(&f.sets[1]), A(&f.sets[2]), A(&f.time), A(&f.mask)}},
        {"epoll_wait", "", {f.epoll, A(f.events), 1, 2000}},
        {"epoll_pwait", "", {f.epoll, A(f.events), 1, 2000, A(&f.mask)}},
        {"epoll_pwait2", "", {f.epoll, A(f.events), 1, A(&f.time), A(&f.mask)}},
        {"read", "", {f.empty[0], A(f.buffer), 1}},
        {"readv", "", {f.empty[0], A(&f.iov), 1}},
        {"pread", "", {f.file, A(f.buffer), 1}},
        {"recv", "", {f.socket[0], A(f.buffer), 1}},
        {"recvfrom", "", {f.socket[0], A(f.buffer), 1, 0, A(&f.address), A(&f.length)}},
        {"recvmsg", "", {f.socket[0], A(&f.message)}},
        {"recvmmsg", "", {f.socket[0], A(f.messages), 1, 0, A(&f.time)}},
        {"preadv", "", {f.file, A(&f.iov), 1}},
        {"preadv2", "", {f.file, A(&f.iov), 1}},
        {"eventfd_read", "", {f.event, A(&f.value)}},
        {"getrandom", "", {A(f.buffer), 8}},
        {"accept", "", {f.listener, A(&f.address), A(&f.length)}},
        {"accept4", "", {f.listener, A(&f.address), A(&f.length)}},
        {"connect", "", {f.unconnected, A(&f.address), sizeof(f.address)}},
        {"nanosleep", "", {A(&f.time), A(&f.rest)}},
        {"clock_nanosleep", "", {CLOCK_MONOTONIC, 0, A(&f.time), A(&f.rest)}},
        {"thrd_sleep", "", {A(&f.time), A(&f.rest)}},
        {"write", "", {f.full[1], A(f.buffer), 1}},
        {"writev", "", {f.full[1], A(&f.iov), 1}},
        {"pwrite", "", {f.file, A(f.buffer), 1}},
        {"pwritev", "", {f.file, A(&f.iov), 1}},
        {"pwritev2", "", {f.file, A(&f.iov), 1}},
        {"send", "", {f.full_socket[0], A(f.buffer), 1}},
        {"sendto", "", {f.full_socket[0], A(f.buffer), 1, 0, A(&f.address), sizeof(f.address)}},
        {"sendmsg", "", {f.full_socket[0], A(&f.message)}},
        {"sendmmsg", "", {f.full_socket[0], A(f.messages), 1}},
        {"sendfile", "", {f.full[1], f.file, A(&f.offset), 10}},
        {"splice", "", {f.file, A(&f.offset), f.full[1], 0, 10}},
        {"vmsplice", "", {f.full[1], A(&f.iov), 1}},
        {"open", "", {A("/dev/null"), O_RDONLY}},
        {"openat", "", {AT_FDCWD, A("/dev/null"), O_RDONLY}},
        {"openat2", "", {AT_FDCWD, A("/dev/null"), A(&f.how), sizeof(f.how)}},
        {"creat", "", {A("/dev/null"), 0600}},
        {"wait", "", {A(&f.status)}},
        {"waitpid", "", {-1, A(&f.status)}},
        {"waitid", "", {P_ALL, 0, A(&f.info), WEXITED}},
        {"wait3", "", {A(&f.status), 0, A(&f.usage)}},
        {"wait4", "", {-1, A(&f.status), 0, A(&f.usage)}},
        {"fcntl", "", {f.file, F_SETLKW, A(&f.lock)}},
        {"sem_wait", "", {A(&f.semaphore)}},
        {"sem_timedwait", "", {A(&f.semaphore), A(&f.time)}},
        {"sem_clockwait", "", {A(&f.semaphore), CLOCK_REALTIME, A(&f.time)}},
        {"msgrcv", "", {f.queue, A(&f.msg), MQ_SIZE}},
        {"msgsnd", "", {f.full_queue, A(&f.msg), MQ_SIZE}},
        {"semop", "", {f.semaphores, A(&f.down), 1}},
        {"semtimedop", "", {f.semaphores, A(&f.down), 1, A(&f.time)}},
        {"mq_receive", "", {f.mq, A(f.buffer), MQ_SIZE, A(&f.priority)}},
        {"mq_timedreceive", "", {f.mq, A(f.buffer), MQ_SIZE, A(&f.priority), A(&f.time)}},
        {"mq_send", "", {f.full_mq, A(f.buffer), 1}},
        {"mq_timedsend", "", {f.full_mq, A(f.buffer), 1, 0, A(&f.time)}},
        {"aio_suspend", "", {A(f.aios), 1, A(&f.time)}},
        {"sigsuspend", "", {A(&f.mask)}},
        {"sigwaitinfo", "", {A(&f.mask), A(&f.info)}},
        {"sigtimedwait", "", {A(&f.mask), A(&f.info), A(&f.time)}},
        {"sigwait", "", {A(&f.mask), A(&f.status)}},
        MASK_ROWS("pthread_sigmask"),
        MASK_ROWS("sigprocmask"),
        {"sigaction", "", {SIGRTMAX - 5, A(&f.action), A(&f.old_action)}},
        {"sigpending", "", {A(&f.old)}},
        {"signalfd", "", {-1, A(&f.mask)}},
        {"execve", "", {A("/bin/true"), A(f.argv), A(f.envp)}},
        {"execv", "", {A("/bin/true"), A(f.argv)}},
        {"execvpe", "", {A("true"), A(f.argv), A(f.envp)}},
        {"execvp", "", {A("true"), A(f.argv)}},
        {"fexecve", "", {f.file, A(f.argv), A(f.envp)}},
        {"execveat", "", {AT_FDCWD, A("/bin/true"), A(f.argv), A(f.envp)}},
        {"posix_spawn",
         "",
         {A(&f.pid), A("/bin/true"), A(&f.file_actions), A(&f.attributes), A(f.argv), A(f.envp)}},
        {"posix_spawnp",
         "",
         {A(&f.pid), A("true"), A(&f.file_actions), A(&f.attributes), A(f.argv), A(f.envp)}},
        {"system", "", {A("true")}},
        {"popen", "", {A("true"), A("r")}},
        {"pclose", "", {A(f.stream)}},
        {"fclose", "", {A(f.stream)}},
#ifdef SYS_poll
        {"SYS_poll", "p", {A(&f.pollfd), 1, 2000}},
        {"SYS_select", " pppp", {1, A(&f.sets[0]), A(&f.sets[1]), A(&f.sets[2]), A(&f.timeval)}},
        {"SYS_epoll_wait", " p", {f.epoll, A(f.events), 1, 2000}},
        {"SYS_pause", "", {0}},
        {"SYS_open", "p", {A("/dev/null"), O_RDONLY}},
        {"SYS_creat", "p", {A("/dev/null"), 0600}},
#endif
        {"SYS_ppoll", "p pp", {A(&f.pollfd), 1, A(&f.time), A(&f.mask), 8}},
        {"SYS_pselect6",
         " ppppp",
         {1, A(&f.sets[0]), A(&f.sets[1]), A(&f.sets[2]), A(&f.time), A(&f.masked)}},
        {"SYS_epoll_pwait", " p  p", {f.epoll, A(f.events), 1, 2000, A(&f.mask), 8}},
        {"SYS_epoll_pwait2", " p pp", {f.epoll, A(f.events), 1, A(&f.time), A(&f.mask), 8}},
        {"SYS_read", " p", {f.empty[0], A(f.buffer), 1}},
        {"SYS_readv", " p", {f.empty[0], A(&f.iov), 1}},
        {"SYS_pread64", " p", {f.file, A(f.buffer), 1}},
        {"SYS_preadv", " p", {f.file, A(&f.iov), 1}},
        {"SYS_preadv2", " p", {f.file, A(&f.iov), 1}},
        {"SYS_recvfrom", " p  pp", {f.socket[0], A(f.buffer), 1, 0, A(&f.address), A(&f.length)}},
        {"SYS_recvmsg", " p", {f.socket[0], A(&f.message)}},
        {"SYS_recvmmsg", " p  p", {f.socket[0], A(f.messages), 1, 0, A(&f.time)}},
        {"SYS_getrandom", "p", {A(f.buffer), 8}},
        {"SYS_accept", " pp", {f.listener, A(&f.address), A(&f.length)}},
        {"SYS_accept4", " pp", {f.listener, A(&f.address), A(&f.length)}},
        {"SYS_connect", " p", {f.unconnected, A(&f.address), sizeof(f.address)}},
        {"SYS_nanosleep", "pp", {A(&f.time), A(&f.rest)}},
        {"SYS_clock_nanosleep", "  pp", {CLOCK_MONOTONIC, 0, A(&f.time), A(&f.rest)}},
        {"SYS_write", " p", {f.full[1], A(f.buffer), 1}},
        {"SYS_writev", " p", {f.full[1], A(&f.iov), 1}},
        {"SYS_pwrite64", " p", {f.file, A(f.buffer), 1}},
        {"SYS_pwritev", " p", {f.file, A(&f.iov), 1}},
        {"SYS_pwritev2", " p", {f.file, A(&f.iov), 1}},
        {"SYS_sendto",
         " p  p",
         {f.full_socket[0], A(f.buffer), 1, 0, A(&f.address), sizeof(f.address)}},
        {"SYS_sendmsg", " p", {f.full_socket[0], A(&f.message)}},
        {"SYS_sendmmsg", " p", {f.full_socket[0], A(f.messages), 1}},
        {"SYS_sendfile", "  p", {f.full[1], f.file, A(&f.offset), 10}},
        {"SYS_splice", " p p", {f.file, A(&f.offset), f.full[1], 0, 10}},
        {"SYS_tee", "", {f.empty[0], f.full[1], 1}},
        {"SYS_vmsplice", " p", {f.full[1], A(&f.iov), 1}},
        {"SYS_openat", " p", {AT_FDCWD, A("/dev/null"), O_RDONLY}},
        {"SYS_openat2", " pp", {AT_FDCWD, A("/dev/null"), A(&f.how), sizeof(f.how)}},
        {"SYS_wait4", " p p", {-1, A(&f.status), 0, A(&f.usage)}},
        {"SYS_waitid", "  p p", {P_ALL, 0, A(&f.info), WEXITED, A(&f.usage)}},
        {"SYS_flock", "", {f.file, 0}},
        {"SYS_fcntl", "  p", {f.file, F_SETLKW, A(&f.lock)}},
        {"SYS_msgrcv", " p", {f.queue, A(&f.msg), MQ_SIZE}},
        {"SYS_msgsnd", " p", {f.full_queue, A(&f.msg), MQ_SIZE}},
        {"SYS_semop", " p", {f.semaphores, A(&f.down), 1}},
        {"SYS_semtimedop", " p p", {f.semaphores, A(&f.down), 1, A(&f.time)}},
        {"SYS_mq_timedreceive", " p pp", {f.mq, A(f.buffer), MQ_SIZE, A(&f.priority), A(&f.time)}},
        {"SYS_mq_timedsend", " p  p", {f.full_mq, A(f.buffer), 1, 0, A(&f.time)}},
        {"SYS_rt_sigsuspend", "p", {A(&f.mask), 8}},
        {"SYS_rt_sigtimedwait", "ppp", {A(&f.mask), A(&f.info), A(&f.time), 8}},
    };
    memcpy(rows, all, sizeof(all));
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    return NULL;
}

#endif
