/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_wrappers.c -- every wrapped call, through each of its names: cut when it
 * would wait, unharmed by a far deadline, performed after expiry when it does
 * not wait, and with the kernel's errors for bad arguments.
 */
#include "wrappers_calls.h"

TestSuite(wrappers, .timeout = 60);

Test(wrappers, no_case_is_skipped_but_under_the_emulator)
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
        int then = strstr(cases[i].name, "epoll") ? EINTR : ETIMEDOUT;
        expect(error == then, "%s, case %d: then %s", cases[i].name, i, strerror(error));
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
    struct timespec wanted = {.tv_sec = 10}, rest = {0};
    int64_t begun = 0, took = 0;
    /* On a busy machine the deadline may pass before the sleep begins: then nothing was slept. */
    for (int64_t delay = 50 * MS; delay < 5 * COOPDL_SECOND && rest.tv_sec != 9; delay *= 2) {
        begun = coopdl_now();
        coopdl_enter(&scope, coopdl_after(delay));
        expect(nanosleep(&wanted, &rest) == -1 && errno == EINTR);
        took = coopdl_now() - begun;
        coopdl_leave(&scope);
    }
    int64_t slept = (10 - rest.tv_sec) * COOPDL_SECOND - rest.tv_nsec;
    expect(slept > MS && slept <= took, "%ld.%09ld left", (long)rest.tv_sec, rest.tv_nsec);
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
