/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_wrappers.c -- every wrapped call, through each of its names: cut when it
 * would wait, unharmed by a far deadline, performed after expiry when it does
 * not wait, and with the kernel's errors for bad arguments.
 */
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

TestSuite(wrappers, .timeout = 60);

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
    expect(FD_ISSET(f.reader, &set), "a select that failed has changed the sets");
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
    expect(FD_ISSET(f.reader, &set), "a select that failed has changed the sets");
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

Test(wrappers, none_is_left_out)
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

static void begin(int i)
{
    set_up();
    *(void **)&f.call = dlsym(RTLD_DEFAULT, cases[i].name);
    expect(f.call, "%s", cases[i].name);
}

Test(wrappers, cut_at_the_deadline)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i))
            continue;
        coopdl_scope scope;
        begin(i);
        int64_t deadline = coopdl_after(20 * MS);
        coopdl_enter(&scope, deadline);
        int error = cases[i].call();
        assert_on_time(deadline, cases[i].name);
        expect(error == EINTR, "%s, case %d: first %s", cases[i].name, i, strerror(error));
        error = cases[i].call();
        expect(error == ETIMEDOUT, "%s, case %d: then %s", cases[i].name, i, strerror(error));
        expect(coopdl_leave(&scope) == 1);
        tear_down();
    }
}

Test(wrappers, unharmed_by_a_far_deadline)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i))
            continue;
        coopdl_scope scope;
        begin(i);
        make_ready();
        coopdl_enter(&scope, coopdl_after(3600 * COOPDL_SECOND));
        int error = cases[i].call();
        expect(error == 0, "%s, case %d: %s", cases[i].name, i, strerror(error));
        expect(coopdl_leave(&scope) == 0);
        tear_down();
    }
}

Test(wrappers, what_would_not_wait_is_performed)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i))
            continue;
        coopdl_scope scope;
        if (cases[i].flags & NEVER_AFTER_EXPIRY)
            continue;
        begin(i);
        make_ready();
        coopdl_enter(&scope, 0);
        await_expiry(&scope);
        int error = cases[i].call();
        expect(error == 0, "%s, case %d: %s", cases[i].name, i, strerror(error));
        coopdl_leave(&scope);
        tear_down();
    }
}

/* The kernel's log: a device that has offsets and waits at its end. */
static ssize_t read_log(int log, bool vector)
{
    static char record[8192];
    struct iovec into = {.iov_base = record, .iov_len = sizeof(record)};
    return vector ? AS(ssize_t(*)(int, const struct iovec *, int, off_t))(log, &into, 1, 0)
                  : AS(ssize_t(*)(int, void *, size_t, off_t, size_t))(log, record, sizeof(record),
                                                                       0, sizeof(record));
}

Test(wrappers, pread_of_a_device)
{
    static const char *names[] = {"pread",         "pread64", "__pread64", "__pread_chk",
                                  "__pread64_chk", "preadv",  "preadv64"};
    int log = open("/dev/kmsg", O_RDONLY);
    if (log < 0 || lseek(log, 0, SEEK_END) < 0)
        cr_skip_test("/dev/kmsg cannot be read here");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        coopdl_scope scope;
        if (!is_here(names[i]))
            continue;
        *(void **)&f.call = dlsym(RTLD_DEFAULT, names[i]);
        int64_t deadline = coopdl_after(20 * MS);
        coopdl_enter(&scope, deadline);
        ssize_t got; /* the kernel may have something to say meanwhile */
        while ((got = read_log(log, strstr(names[i], "preadv"))) > 0)
            ;
        expect(got == -1 && errno == EINTR, "%s: %s", names[i], strerror(errno));
        assert_on_time(deadline, names[i]);
        while ((got = read_log(log, strstr(names[i], "preadv"))) > 0)
            ;
        expect(got == -1 && errno == ETIMEDOUT, "%s: %s", names[i], strerror(errno));
        coopdl_leave(&scope);
    }
}

Test(wrappers, own_timeouts_keep)
{
    /* A shorter timeout of the call's own ends it normally, neither early nor by our hand. */
    coopdl_scope scope;
    struct pollfd fds;
    set_up();
    fds = pollfd();
    coopdl_enter(&scope, coopdl_after(10 * COOPDL_SECOND));
    int64_t until = coopdl_after(20 * MS);
    expect(poll(&fds, 1, 20) == 0);
    assert_on_time(until, "poll");
    struct timespec wait = {.tv_nsec = 20 * MS};
    until = coopdl_after(20 * MS);
    expect(ppoll(&fds, 1, &wait, NULL) == 0);
    assert_on_time(until, "ppoll");
    until = coopdl_after(20 * MS);
    expect(nanosleep(&wait, NULL) == 0);
    assert_on_time(until, "nanosleep");
    until = coopdl_after(20 * MS);
    expect(epoll_wait(f.epoll, events, 4, 20) == 0);
    assert_on_time(until, "epoll_wait");

    /* SO_RCVTIMEO ends a recv with EAGAIN, inside a scope as outside. */
    struct timeval receive = {.tv_usec = 20000};
    setsockopt(f.socket, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof(receive));
    until = coopdl_after(20 * MS);
    expect(recv(f.socket, buffer, 1, 0) == -1 && errno == EAGAIN);
    assert_on_time(until, "recv");
    coopdl_leave(&scope);
}

Test(wrappers, non_blocking_is_never_cut)
{
    coopdl_scope scope;
    set_up();
    int fds[] = {f.reader, f.socket, f.listener};
    for (size_t i = 0; i < 3; i++)
        fcntl(fds[i], F_SETFL, O_NONBLOCK | fcntl(fds[i], F_GETFL));
    coopdl_enter(&scope, 0);
    await_expiry(&scope);
    for (int round = 0; round < 3; round++) {
        struct pollfd fd = pollfd();
        struct timeval zero = {0};
        struct timespec none = {0};
        expect(read_errno(f.reader) == EAGAIN);
        expect(readv(f.reader, &iov, 1) == -1 && errno == EAGAIN);
        expect(recv(f.socket, buffer, 1, 0) == -1 && errno == EAGAIN);
        expect(recv(f.socket, buffer, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
        expect(accept(f.listener, NULL, NULL) == -1 && errno == EAGAIN);
        expect(poll(&fd, 1, 0) == 0);
        expect(ppoll(&fd, 1, &none, NULL) == 0);
        expect(select(0, NULL, NULL, NULL, &zero) == 0);
        expect(epoll_wait(f.epoll, events, 4, 0) == 0);
        expect(nanosleep(&none, NULL) == 0);
        expect(usleep(0) == 0);
        expect(sleep(0) == 0);
    }
    /* Regular files and directories. */
    int file = open("/proc/self/exe", O_RDONLY);
    expect(read(file, buffer, 4) == 4 && memcmp(buffer, "\177ELF", 4) == 0);
    expect(pread(file, buffer, 4, 1) == 4);
    expect(read(f.reader, buffer, 0) == 0);
    expect(read_errno(silent_pipe()) == EINTR, "the first call that is cut");
    coopdl_leave(&scope);
}

Test(wrappers, the_rest_of_a_sleep)
{
    coopdl_scope scope;
    struct timespec wanted = {.tv_sec = 10}, rest;
    coopdl_enter(&scope, coopdl_after(50 * MS));
    expect(nanosleep(&wanted, &rest) == -1 && errno == EINTR);
    expect(rest.tv_sec == 9 && rest.tv_nsec < 999 * MS && rest.tv_nsec > 0, "%ld.%09ld left",
           (long)rest.tv_sec, rest.tv_nsec);
    coopdl_leave(&scope);
    coopdl_enter(&scope, coopdl_after(50 * MS));
    unsigned int left = sleep(10);
    expect(left == 10 || left == 9, "%u s left", left);
    expect(sleep(left) == 0, "then 0, so that a loop ends");
    coopdl_leave(&scope);
}

Test(wrappers, errors_are_the_kernels)
{
    /* Before and after expiry; a pointer that cannot be read is the kernel's to refuse. */
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        struct timespec bad = {.tv_nsec = -1}, too_many = {.tv_nsec = 1000000000}, rest;
        struct pollfd *volatile no_fds = (struct pollfd *)16;
        volatile int minus_one = -1;
        struct timeval bad_timeval = {.tv_sec = -1};
        struct pollfd fd;
        set_up();
        fd = pollfd();
        coopdl_enter(&scope, expired ? 0 : coopdl_after(10 * COOPDL_SECOND));
        if (expired)
            await_expiry(&scope);
        expect(read(-1, buffer, 1) == -1 && errno == EBADF);
        expect(read(f.writer, buffer, 1) == -1 && errno == EBADF);
        expect(pread(f.reader, buffer, 1, 0) == -1 && errno == ESPIPE);
        expect(readv(f.reader, &iov, minus_one) == -1 && errno == EINVAL);
        expect(recv(f.reader, buffer, 1, 0) == -1 && errno == ENOTSOCK);
        expect(recv(-1, buffer, 1, 0) == -1 && errno == EBADF);
        expect(accept(f.reader, NULL, NULL) == -1 && errno == ENOTSOCK);
        expect(accept(f.socket, NULL, NULL) == -1 && errno == EINVAL);
        expect(connect(f.socket, (struct sockaddr *)&f.address, 2) == -1 && errno == EINVAL);
        expect(connect(-1, (struct sockaddr *)&f.address, 16) == -1 && errno == EBADF);
        expect(poll(no_fds, 1, 1000) == -1 && errno == EFAULT);
        expect(ppoll(&fd, 1, &bad, NULL) == -1 && errno == EINVAL);
        expect(ppoll(&fd, 1, NULL, (sigset_t *)16) == -1 && errno == EFAULT);
        expect(select(-1, NULL, NULL, NULL, NULL) == -1 && errno == EINVAL);
        expect(select(0, NULL, NULL, NULL, &bad_timeval) == -1 && errno == EINVAL);
        expect(epoll_wait(f.reader, events, 1, 1000) == -1 && errno == EINVAL);
        expect(epoll_wait(-1, events, 1, 1000) == -1 && errno == EBADF);
        expect(epoll_wait(f.epoll, events, 0, 1000) == -1 && errno == EINVAL);
        expect(nanosleep(&bad, &rest) == -1 && errno == EINVAL);
        expect(nanosleep(&too_many, &rest) == -1 && errno == EINVAL);
#ifdef __LP64__ /* elsewhere libc reads them itself */
        struct timespec *unreadable = (struct timespec *)16;
        expect(nanosleep(unreadable, &rest) == -1 && errno == EFAULT);
        expect(clock_nanosleep(CLOCK_MONOTONIC, 0, unreadable, NULL) == EFAULT);
#endif
        expect(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &bad, NULL) == EINVAL);
        expect(clock_nanosleep(12345, 0, &two_seconds, NULL) == EINVAL);
        if (expired)
            expect(read_errno(f.reader) == EINTR, "the first call that is cut");
        coopdl_leave(&scope);
        tear_down();
    }
}

Test(wrappers, errors_that_are_not_everywhere)
{
    SKIP_IF_EMULATED("drops unknown flags, and has no epoll_pwait2");
    for (int expired = 0; expired < 2; expired++) {
        coopdl_scope scope;
        set_up();
        coopdl_enter(&scope, expired ? 0 : coopdl_after(10 * COOPDL_SECOND));
        if (expired)
            await_expiry(&scope);
#ifdef __GLIBC__ /* others try again without the flags */
        expect(accept4(f.listener, NULL, NULL, 1 << 30) == -1 && errno == EINVAL);
#endif
#ifdef __LP64__ /* elsewhere libc reads it itself */
        struct timespec *unreadable = (struct timespec *)16;
        expect(epoll_pwait2(f.epoll, events, 1, unreadable, NULL) == -1 && errno == EFAULT);
#endif
        if (expired)
            expect(read_errno(f.reader) == EINTR, "the first call that is cut");
        coopdl_leave(&scope);
        tear_down();
    }
}

Test(wrappers, partial_data_is_kept)
{
    coopdl_scope scope;
    set_up();
    expect(write(f.peer, "abc", 3) == 3);
    int64_t deadline = coopdl_after(20 * MS);
    coopdl_enter(&scope, deadline);
    expect(recv(f.socket, buffer, 10, MSG_WAITALL) == 3, "what had come is not lost");
    assert_on_time(deadline, "recv");
    expect(memcmp(buffer, "abc", 3) == 0);
    expect(write(f.peer, "def", 3) == 3);
    expect(recv(f.socket, buffer, 10, MSG_WAITALL) == 3, "nor after expiry");
    expect(recv(f.socket, buffer, 10, MSG_WAITALL) == -1);
    coopdl_leave(&scope);
}

Test(wrappers, connections_that_do_not_wait)
{
    /* After expiry: a listener on this machine, a datagram socket, a UNIX socket. */
    coopdl_scope scope;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t length = sizeof(name);
    set_up();
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0),
        datagram = socket(AF_INET, SOCK_DGRAM, 0), stream = socket(AF_INET, SOCK_STREAM, 0);
    expect(bind(listener, (struct sockaddr *)&name, sizeof(sa_family_t)) == 0);
    expect(listen(listener, 5) == 0);
    expect(getsockname(listener, (struct sockaddr *)&name, &length) == 0);
    coopdl_enter(&scope, 0);
    await_expiry(&scope);
    expect(connect(client, (struct sockaddr *)&name, length) == 0);
    expect(connect(datagram, (struct sockaddr *)&f.address, sizeof(f.address)) == 0);
    expect(connect(stream, (struct sockaddr *)&f.address, sizeof(f.address)) == 0);
    expect(connect(stream, (struct sockaddr *)&f.address, sizeof(f.address)) == -1 &&
           errno == EISCONN);
    int accepted_fd = accept(f.listener, NULL, NULL);
    expect(accepted_fd >= 0);
    expect(read_errno(silent_pipe()) == EINTR, "the first call that is cut");
    coopdl_leave(&scope);
}

Test(wrappers, a_local_connection_that_waits_is_cut)
{
    /* After expiry, with the listener's queue full: such a socket polls as ready all the while. */
    coopdl_scope scope;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t length = sizeof(name);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    expect(bind(listener, (struct sockaddr *)&name, sizeof(sa_family_t)) == 0);
    expect(listen(listener, 0) == 0);
    expect(getsockname(listener, (struct sockaddr *)&name, &length) == 0);
    while (connect(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), (struct sockaddr *)&name,
                   length) == 0)
        ;
    int64_t deadline = coopdl_now();
    coopdl_enter(&scope, deadline);
    await_expiry(&scope);
    expect(connect(client, (struct sockaddr *)&name, length) == -1 && errno == EINTR);
    expect(connect(client, (struct sockaddr *)&name, length) == -1 && errno == ETIMEDOUT);
    assert_on_time(deadline, "connect");
    coopdl_leave(&scope);
}

Test(wrappers, cancelled)
{
    for (int i = 0; i < CASES; i++) {
        if (!is_tried(i) || is_raw(cases[i].name))
            continue;
        begin(i);
        assert_cancellable(cases[i].call, cases[i].name);
        tear_down();
    }
}
