/* SPDX-License-Identifier: Apache-2.0 */
/* wrappers_calls.h -- the calls of test_wrappers.c, and the table of them: each waits for what
 * make_ready makes ready. */
#ifndef COOPDL_TESTS_WRAPPERS_CALLS_H
#define COOPDL_TESTS_WRAPPERS_CALLS_H

#include "cancel.h"
#include "emulator.h"
#include "names.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>

/* What the calls work on.  Nothing is ready until make_ready. */
static struct {
    int reader, writer, socket, peer, listener, epoll;
    struct sockaddr_in address;
    void (*call)(void); /* the name under test, as the program's symbol */
} f;

static struct timespec two_seconds = {.tv_sec = 2}, half_ms = {.tv_nsec = 500000};
static char buffer[64];
static struct iovec iov = {.iov_base = buffer, .iov_len = sizeof(buffer)};
static bool ready;

static void set_up(void)
{
    int ends[2];
    socklen_t length = sizeof(f.address);
    expect(pipe(ends) == 0);
    f.reader = ends[0];
    f.writer = ends[1];
    expect(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    f.socket = ends[0];
    f.peer = ends[1];
    f.listener = socket(AF_INET, SOCK_STREAM, 0);
    f.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    expect(bind(f.listener, (struct sockaddr *)&f.address, sizeof(f.address)) == 0);
    expect(listen(f.listener, 1) == 0);
    expect(getsockname(f.listener, (struct sockaddr *)&f.address, &length) == 0);
    f.epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    expect(epoll_ctl(f.epoll, EPOLL_CTL_ADD, f.reader, &event) == 0);
    ready = false;
}

static void make_ready(void)
{
    expect(write(f.writer, "x", 1) == 1);
    expect(write(f.peer, "x", 1) == 1);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)connect(client, (struct sockaddr *)&f.address, sizeof(f.address));
    ready = true;
}

static void tear_down(void)
{
    int fds[] = {f.reader, f.writer, f.socket, f.peer, f.listener, f.epoll};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        close(fds[i]);
}

#define AS(type) ((type)f.call)

static int result(ssize_t value)
{
    return value < 0 ? errno : 0;
}

static struct pollfd pollfd(void)
{
    return (struct pollfd){.fd = f.reader, .events = POLLIN};
}

static int call_poll(void)
{
    struct pollfd fds = pollfd();
    return result(AS(int (*)(struct pollfd *, nfds_t, int))(&fds, 1, -1));
}

static int call_poll_timed(void)
{
    struct pollfd fds = pollfd();
    return result(AS(int (*)(struct pollfd *, nfds_t, int))(&fds, 1, 2000));
}

static int call_poll_chk(void)
{
    struct pollfd fds = pollfd();
    return result(AS(int (*)(struct pollfd *, nfds_t, int, size_t))(&fds, 1, -1, sizeof(fds)));
}

static int ppoll_with(const struct timespec *timeout, bool masked)
{
    struct pollfd fds = pollfd();
    sigset_t all;
    sigfillset(&all);
    return result(AS(int (*)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *,
                             size_t))(&fds, 1, timeout, masked ? &all : NULL, sizeof(fds)));
}

static int call_ppoll(void)
{
    return ppoll_with(NULL, false);
}

static int call_ppoll_masked(void)
{
    return ppoll_with(&two_seconds, true);
}

static int call_select(void)
{
    fd_set set;
    struct timeval timeout = {.tv_sec = 2};
    FD_ZERO(&set);
    FD_SET(f.reader, &set);
    int error = result(AS(int (*)(int, fd_set *, fd_set *, fd_set *, struct timeval *))(
        f.reader + 1, &set, NULL, NULL, &timeout));
    expect(!error || FD_ISSET(f.reader, &set), "a select that failed has changed the sets");
    return error;
}

static int pselect_with(bool masked)
{
    fd_set set;
    sigset_t all;
    FD_ZERO(&set);
    FD_SET(f.reader, &set);
    sigfillset(&all);
    int error = result(
        AS(int (*)(int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *))(
            f.reader + 1, &set, NULL, NULL, &two_seconds, masked ? &all : NULL));
    expect(!error || FD_ISSET(f.reader, &set), "a select that failed has changed the sets");
    return error;
}

static int call_pselect(void)
{
    return pselect_with(false);
}

static int call_pselect_masked(void)
{
    return pselect_with(true);
}

static struct epoll_event events[4];

static int call_epoll_wait(void)
{
    return result(AS(int (*)(int, struct epoll_event *, int, int))(f.epoll, events, 4, 2000));
}

static int call_epoll_pwait(void)
{
    sigset_t all;
    sigfillset(&all);
    return result(AS(int (*)(int, struct epoll_event *, int, int, const sigset_t *))(
        f.epoll, events, 4, -1, &all));
}

static int call_epoll_pwait2(void)
{
    sigset_t all;
    sigfillset(&all);
    return result(AS(int (*)(int, struct epoll_event *, int, const struct timespec *,
                             const sigset_t *))(f.epoll, events, 4, &two_seconds, &all));
}

static int call_read(void)
{
    return result(AS(ssize_t(*)(int, void *, size_t, size_t))(f.reader, buffer, 1, sizeof(buffer)));
}

static int call_readv(void)
{
    return result(AS(ssize_t(*)(int, struct iovec *, int))(f.reader, &iov, 1));
}

static int call_recv(void)
{
    return result(AS(ssize_t(*)(int, void *, size_t, int))(f.socket, buffer, 1, 0));
}

static int call_recv_all(void)
{
    return result(AS(ssize_t(*)(int, void *, size_t, int))(f.socket, buffer, 1, MSG_WAITALL));
}

static int call_recv_chk(void)
{
    return result(
        AS(ssize_t(*)(int, void *, size_t, size_t, int))(f.socket, buffer, 1, sizeof(buffer), 0));
}

static int call_recvfrom(void)
{
    return result(AS(ssize_t(*)(int, void *, size_t, int, struct sockaddr *, socklen_t *))(
        f.socket, buffer, 1, 0, NULL, NULL));
}

static int call_recvfrom_chk(void)
{
    return result(AS(ssize_t(*)(int, void *, size_t, size_t, int, struct sockaddr *, socklen_t *))(
        f.socket, buffer, 1, sizeof(buffer), 0, NULL, NULL));
}

static int call_recvmsg(void)
{
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    return result(AS(ssize_t(*)(int, struct msghdr *, int))(f.socket, &message, 0));
}

static int call_recvmmsg(void)
{
    struct mmsghdr messages[2] = {{.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}}};
    return result(AS(int (*)(int, struct mmsghdr *, unsigned, int, struct timespec *))(
        f.socket, messages, 1, 0, NULL));
}

static int accepted(int fd)
{
    int error = result(fd);
    if (fd >= 0)
        close(fd);
    return error;
}

static int call_accept(void)
{
    return accepted(AS(int (*)(int, struct sockaddr *, socklen_t *))(f.listener, NULL, NULL));
}

static int call_accept4(void)
{
    return accepted(AS(int (*)(int, struct sockaddr *, socklen_t *, int))(f.listener, NULL, NULL,
                                                                          SOCK_CLOEXEC));
}

/* A listener that is full never answers.  A fresh one does at once. */
static int call_connect(void)
{
    static int filled[8];
    struct sockaddr_in address = f.address;
    socklen_t length = sizeof(address);
    int target = -1;
    if (ready) {
        target = socket(AF_INET, SOCK_STREAM, 0);
        address.sin_port = 0;
        expect(bind(target, (struct sockaddr *)&address, sizeof(address)) == 0);
        expect(listen(target, 5) == 0);
        expect(getsockname(target, (struct sockaddr *)&address, &length) == 0);
    } else {
        for (size_t i = 0; i < 8; i++) {
            filled[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
            (void)connect(filled[i], (struct sockaddr *)&address, sizeof(address));
        }
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int error = result(AS(int (*)(int, const struct sockaddr *, socklen_t))(
        fd, (struct sockaddr *)&address, sizeof(address)));
    expect((fcntl(fd, F_GETFL) & O_NONBLOCK) == 0, "the socket was left non-blocking");
    close(fd);
    for (size_t i = 0; i < 8 && !ready; i++)
        close(filled[i]);
    if (target >= 0)
        close(target);
    return error;
}

static const struct timespec *nap(void)
{
    return ready ? &half_ms : &two_seconds;
}

static int call_nanosleep(void)
{
    struct timespec rest = {0};
    int error = result(AS(int (*)(const struct timespec *, struct timespec *))(nap(), &rest));
    expect(error != EINTR || rest.tv_sec || rest.tv_nsec, "the rest was not filled in");
    return error;
}

static int clock_nanosleep_on(clockid_t clock, int flags)
{
    struct timespec until = *nap();
    if (flags) {
        clock_gettime(clock, &until);
        until.tv_sec += ready ? 0 : 2;
    }
    errno = 0;
    int error = AS(int (*)(clockid_t, int, const struct timespec *, struct timespec *))(
        clock, flags, &until, &until);
    expect(errno == 0, "clock_nanosleep leaves errno alone");
    return error;
}

static int call_clock_nanosleep(void)
{
    return clock_nanosleep_on(CLOCK_MONOTONIC, 0);
}

static int call_clock_nanosleep_until(void)
{
    return clock_nanosleep_on(CLOCK_MONOTONIC, TIMER_ABSTIME);
}

static int call_clock_nanosleep_until_real(void)
{
    return clock_nanosleep_on(CLOCK_REALTIME, TIMER_ABSTIME);
}

static int call_usleep(void)
{
    return result(AS(int (*)(useconds_t))(ready ? 500 : 900000));
}

enum { NEVER_AFTER_EXPIRY = 1 }; /* it waits by its nature: a sleep is never "ready" */

static const struct {
    const char *name;
    int (*call)(void);
    int flags;
} cases[] = {
    {"poll", call_poll, 0},
    {"poll", call_poll_timed, 0},
    {"__poll", call_poll, 0},
    {"__poll_chk", call_poll_chk, 0},
    {"ppoll", call_ppoll, 0},
    {"ppoll", call_ppoll_masked, 0},
    {"__ppoll_chk", call_ppoll_masked, 0},
    {"select", call_select, 0},
    {"__select", call_select, 0},
    {"pselect", call_pselect, 0},
    {"pselect", call_pselect_masked, 0},
    {"epoll_wait", call_epoll_wait, 0},
    {"epoll_pwait", call_epoll_pwait, 0},
    {"epoll_pwait2", call_epoll_pwait2, UNEMULATED},
    {"read", call_read, 0},
    {"__read", call_read, 0},
    {"__read_chk", call_read, 0},
    {"readv", call_readv, 0},
    {"recv", call_recv, 0},
    {"recv", call_recv_all, 0},
    {"__recv_chk", call_recv_chk, 0},
    {"recvfrom", call_recvfrom, 0},
    {"__recvfrom_chk", call_recvfrom_chk, 0},
    {"recvmsg", call_recvmsg, 0},
    {"recvmmsg", call_recvmmsg, 0},
    {"accept", call_accept, 0},
    {"accept4", call_accept4, 0},
    {"connect", call_connect, 0},
    {"__connect", call_connect, 0},
    {"nanosleep", call_nanosleep, NEVER_AFTER_EXPIRY},
    {"__nanosleep", call_nanosleep, NEVER_AFTER_EXPIRY},
    {"clock_nanosleep", call_clock_nanosleep, NEVER_AFTER_EXPIRY},
    {"clock_nanosleep", call_clock_nanosleep_until, 0},
    {"clock_nanosleep", call_clock_nanosleep_until_real, 0},
    {"usleep", call_usleep, NEVER_AFTER_EXPIRY},
#if defined(__TIMESIZE) && __TIMESIZE == 32
    {"__ppoll64", call_ppoll, 0},
    {"__ppoll64", call_ppoll_masked, 0},
#if __GLIBC_PREREQ(2, 37)
    {"__ppoll64_chk", call_ppoll_masked, 0},
#endif
    {"__select64", call_select, 0},
    {"__pselect64", call_pselect_masked, 0},
    {"__epoll_pwait2_time64", call_epoll_pwait2, 0},
    {"__recvmsg64", call_recvmsg, 0},
    {"__recvmmsg64", call_recvmmsg, 0},
    {"__nanosleep64", call_nanosleep, NEVER_AFTER_EXPIRY},
    {"__clock_nanosleep_time64", call_clock_nanosleep, NEVER_AFTER_EXPIRY},
    {"__clock_nanosleep_time64", call_clock_nanosleep_until, 0},
    {"__clock_nanosleep_time64", call_clock_nanosleep_until_real, 0},
#endif
};

enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static bool is_tried(int i)
{
    return is_here(cases[i].name) && !(cases[i].flags & UNEMULATED);
}

#endif
