/* SPDX-License-Identifier: Apache-2.0 */
/*
 * plain.c -- a program that knows nothing of the library: it is run by
 * `coopdl`, and makes calls by the names that the headers give them for its
 * size, fortified or not.  It reports in TAP.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What is asked for, and what the run may take in all: `coopdl` is told 100 ms. */
enum { WANTED = 5, SECONDS_IN_ALL = 4 };

static const struct timespec wanted = {.tv_sec = WANTED};
static int ends[2], sockets[2], number;
static char buffer[64];
static volatile size_t length = 1; /* so that the compiler cannot know that it fits */

static void report(long got, int error, int expected, const char *name)
{
    bool cut = got == -1 && error == expected;
    printf("%sok %d - %s\n", cut ? "" : "not ", ++number, name);
    if (!cut)
        printf("# %ld, %s\n", got, strerror(error));
}

#define CUT(call, expected)                                                                        \
    do {                                                                                           \
        errno = 0;                                                                                 \
        long got = (call);                                                                         \
        report(got, errno, expected, #call);                                                       \
    } while (0)

static void wait_for_data(void)
{
    struct pollfd pollfd = {.fd = ends[0], .events = POLLIN};
    struct timeval timeout = {.tv_sec = WANTED};
    struct epoll_event event;
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    int epoll = epoll_create1(0);
    CUT(poll(&pollfd, (nfds_t)length, WANTED * 1000), ETIMEDOUT);
/* Before 2.37 the headers send a fortified one to the name of the other size. */
#if !defined(_TIME_BITS) || __USE_FORTIFY_LEVEL == 0 || __GLIBC_MINOR__ >= 37
    CUT(ppoll(&pollfd, (nfds_t)length, &wanted, NULL), ETIMEDOUT);
#endif
    CUT(select(ends[0] + 1, &set, NULL, NULL, &timeout), ETIMEDOUT);
    /* The fifth cut, if none was left out: with a timeout it is told that this has run out. */
    long answer = pselect(ends[0] + 1, &set, NULL, NULL, &wanted, NULL);
    report(answer == 0 ? -1 : answer, answer == 0 ? ETIMEDOUT : errno, ETIMEDOUT, "pselect");
    CUT(epoll_pwait(epoll, &event, 1, WANTED * 1000, NULL),
        EINTR); /* event loops take no other error */
#ifdef EMULATED
    printf("ok %d - epoll_pwait2 # SKIP qemu-user does not have it\n", ++number);
#elif defined(__GLIBC__) && __GLIBC_MINOR__ >= 35
    CUT(epoll_pwait2(epoll, &event, 1, &wanted, NULL), EINTR);
#endif
}

static void take_data(void)
{
    struct iovec iov = {.iov_base = buffer, .iov_len = 1};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
    CUT(read(ends[0], buffer, length), ETIMEDOUT);
    CUT(pread(ends[0], buffer, length, 0), ESPIPE);
    CUT(recv(sockets[0], buffer, length, 0), ETIMEDOUT);
    CUT(recvmsg(sockets[0], &message.msg_hdr, 0), ETIMEDOUT);
    CUT(recvmmsg(sockets[0], &message, 1, 0, NULL), ETIMEDOUT);
}

static void wait_for_time_and_others(void)
{
    struct timespec until;
    sem_t semaphore;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WANTED;
    sem_init(&semaphore, 0, 0);
    CUT(nanosleep(&wanted, NULL), ETIMEDOUT);
    CUT(sem_timedwait(&semaphore, &until), ETIMEDOUT);
    pid_t child = fork();
    if (child == 0) /* it has inherited the deadline, which has passed */
        _exit(nanosleep(&wanted, NULL) == -1 && (errno == EINTR || errno == ETIMEDOUT) ? 0 : 1);
    int status = -1;
    while (waitpid(child, &status, 0) < 0)
        ;
    printf("%sok %d - in a forked child too\n", status == 0 ? "" : "not ", ++number);
}

int main(void)
{
    struct timespec begun, ended, rest = {0};
    clock_gettime(CLOCK_MONOTONIC, &begun);
    if (pipe(ends) != 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets) != 0)
        return 1;
    CUT(nanosleep(&wanted, &rest), EINTR);
    printf("%sok %d - and the rest is written back\n",
           rest.tv_sec == WANTED - 1 && rest.tv_nsec > 0 ? "" : "not ", ++number);
    wait_for_data();
    take_data();
    wait_for_time_and_others();
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("%sok %d - and all of it in time\n",
           ended.tv_sec - begun.tv_sec < SECONDS_IN_ALL ? "" : "not ", ++number);
    printf("1..%d\n", number);
    return 0;
}
