/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm.c -- loops that ignore errors: how often each tries.
 *
 *     storm MILLISECONDS    each loop in a thread of its own, in a scope that ends then
 *     storm budget          each in the budget that the environment gives
 *     storm once            one read, and how many microseconds it took
 *
 * Prints a line for each loop: its name, its tries in the first second after
 * the deadline, and in the second one.  A plain program, with the library
 * preloaded.
 */
#include "coopdl.h"

#include <dlfcn.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int silent[2], sockets[2], epoll, locked, held;
static struct sockaddr_in idle, full;
static pid_t child;
static sem_t semaphore;
static char buffer[16];

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * COOPDL_SECOND + time.tv_nsec;
}

static void try_read(void)
{
    (void)!read(silent[0], buffer, 1);
}

static void try_recv(void)
{
    recv(sockets[0], buffer, 1, 0);
}

static void try_poll(void)
{
    struct pollfd pollfd = {.fd = silent[0], .events = POLLIN};
    poll(&pollfd, 1, -1);
}

static void try_poll_timed(void)
{
    struct pollfd pollfd = {.fd = silent[0], .events = POLLIN};
    poll(&pollfd, 1, 10);
}

static void try_select(void)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(silent[0], &set);
    select(silent[0] + 1, &set, NULL, NULL, NULL);
}

static void try_epoll(void)
{
    struct epoll_event event;
    epoll_wait(epoll, &event, 1, -1);
}

static void try_epoll_timed(void)
{
    struct epoll_event event;
    epoll_wait(epoll, &event, 1, 200);
}

static void try_epoll_slice(void)
{
    struct epoll_event event;
    epoll_wait(epoll, &event, 1, 10);
}

static void connect_to(const struct sockaddr_in *address, int then_receive)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 && then_receive)
        recv(fd, buffer, 1, 0);
    close(fd);
}

static void try_connect(void)
{
    connect_to(&idle, 0);
}

static void try_connect_full(void)
{
    connect_to(&full, 0);
}

static void try_request(void)
{
    connect_to(&idle, 1);
}

static int listen_at(struct sockaddr_in *address, int backlog)
{
    socklen_t length = sizeof(*address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(fd, (struct sockaddr *)address, length) || listen(fd, backlog) ||
        getsockname(fd, (struct sockaddr *)address, &length))
        err(1, "a listener");
    return fd;
}

static void try_accept(void)
{
    static _Thread_local struct sockaddr_in address;
    static _Thread_local int listener;
    if (!listener)
        listener = listen_at(&address, 1);
    (void)accept(listener, NULL, NULL);
}

static void try_waitpid(void)
{
    waitpid(child, NULL, 0);
}

static void try_flock(void)
{
    flock(locked, LOCK_EX);
}

static void try_sem_wait(void)
{
    sem_wait(&semaphore);
}

static void try_sigwait(void)
{
    sigset_t set;
    int number;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigwait(&set, &number);
}

static void try_poll_and_sleep(void)
{
    try_poll();
    usleep(1000);
}

static void try_many(void)
{
    try_poll();
    try_recv();
    try_request();
    try_flock();
}

static const struct {
    const char *name;
    void (*once)(void);
} loops[] = {
    {"read", try_read},
    {"recv", try_recv},
    {"poll", try_poll},
    {"poll for 10 ms", try_poll_timed},
    {"select", try_select},
    {"epoll_wait", try_epoll},
    {"epoll_wait for 200 ms", try_epoll_timed},
    {"epoll_wait for 10 ms", try_epoll_slice},
    {"connect", try_connect},
    {"connect to a full queue", try_connect_full},
    {"connect and recv", try_request},
    {"accept", try_accept},
    {"waitpid", try_waitpid},
    {"flock", try_flock},
    {"sem_wait", try_sem_wait},
    {"sigwait", try_sigwait},
    {"poll and usleep", try_poll_and_sleep},
    {"poll, recv, connect, flock", try_many},
};

enum { LOOPS = sizeof(loops) / sizeof(loops[0]) };

static int64_t deadline;
static int (*enter)(coopdl_scope *, int64_t);
static int counts[LOOPS][2];

static void *loop(void *argument)
{
    int i = *(int *)argument;
    coopdl_scope scope;
    if (enter)
        enter(&scope, deadline);
    for (int64_t begun; (begun = now()) < deadline + 2 * COOPDL_SECOND;) {
        if (begun >= deadline)
            counts[i][begun >= deadline + COOPDL_SECOND]++;
        loops[i].once();
    }
    return NULL;
}

static void set_up(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    char path[] = "/tmp/coopdl-storm-XXXXXX";
    if (pipe(silent) || socketpair(AF_UNIX, SOCK_STREAM, 0, sockets))
        err(1, "a pipe");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, silent[0], &event);
    locked = mkstemp(path);
    held = open(path, O_RDWR);
    unlink(path);
    flock(held, LOCK_EX);
    listen_at(&idle, 1000);
    listen_at(&full, 0);
    for (int i = 0; i < 4; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(fd, (struct sockaddr *)&full, sizeof(full));
    }
    sem_init(&semaphore, 0, 0);
    child = fork();
    while (child == 0)
        pause();
}

static int read_once(void)
{
    if (pipe(silent))
        err(1, "a pipe");
    int64_t begun = now();
    try_read();
    printf("%lld\n", (long long)(now() - begun) / 1000);
    return 0;
}

int main(int argc, char **argv)
{
    static int numbers[LOOPS];
    pthread_t threads[LOOPS];
    if (argc != 2)
        errx(1, "usage: storm MILLISECONDS | budget | once");
    if (strcmp(argv[1], "once") == 0)
        return read_once();
    set_up();
    const char *end = getenv("COOPDL_DEADLINE");
    if (strcmp(argv[1], "budget") == 0 && end) {
        deadline = strtoll(end, NULL, 10);
    } else {
        *(void **)&enter = dlsym(RTLD_DEFAULT, "coopdl_enter");
        deadline = now() + strtoll(argv[1], NULL, 10) * COOPDL_MILLISECOND;
        if (!enter)
            errx(1, "the library is not here");
    }
    for (int i = 0; i < LOOPS; i++) {
        numbers[i] = i;
        if ((errno = pthread_create(&threads[i], NULL, loop, &numbers[i])) != 0)
            err(1, "a thread");
    }
    /* Not by pthread_join: the loops end by themselves, whatever becomes of a wait for them. */
    while (now() < deadline + 2200 * COOPDL_MILLISECOND)
        usleep(50000);
    kill(child, SIGKILL);
    for (int i = 0; i < LOOPS; i++)
        printf("%d %d %s\n", counts[i][0], counts[i][1], loops[i].name);
    fflush(stdout);
    _exit(0);
}
