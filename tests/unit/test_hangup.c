/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_hangup.c -- who ignores errors is told that the peer has gone away; nobody
 * else is.
 */
#include "emulator.h"
#include "filter.h"
#include "support.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

TestSuite(hangup, .timeout = 30);

/* A connection of this process's own, at both ends. */
struct connection {
    int client, server, listener;
};

static int listen_at(struct sockaddr *address, socklen_t length)
{
    int listener = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(listener, address, length) == 0 && listen(listener, 5) == 0);
    return listener;
}

static struct connection connected(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    struct connection c = {.listener = listen_at((struct sockaddr *)&address, length)};
    getsockname(c.listener, (struct sockaddr *)&address, &length);
    c.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(connect(c.client, (struct sockaddr *)&address, length) == 0);
    c.server = accept(c.listener, (struct sockaddr *)&address, &length);
    cr_assert(c.server >= 0);
    return c;
}

static struct connection connected_by_name(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/coopdl-test-%d.sock", gettid());
    unlink(address.sun_path);
    struct connection c = {.listener = listen_at((struct sockaddr *)&address, sizeof(address))};
    c.client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(connect(c.client, (struct sockaddr *)&address, sizeof(address)) == 0);
    c.server = accept(c.listener, NULL, NULL);
    unlink(address.sun_path);
    return c;
}

static void close_all(struct connection *c)
{
    close(c->client);
    close(c->server);
    close(c->listener);
}

/* Whether a byte gets from one end to the other, and back. */
static bool works(int one, int other)
{
    char byte;
    return send(one, "x", 1, MSG_NOSIGNAL) == 1 && recv(other, &byte, 1, 0) == 1 &&
           send(other, "y", 1, MSG_NOSIGNAL) == 1 && recv(one, &byte, 1, 0) == 1;
}

/* Each waits once: whether the end has been seen.  TCP says ECONNRESET first. */
static bool by_recv(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

static bool by_read(int fd)
{
    char byte;
    ssize_t got = read(fd, &byte, 1);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

static bool by_poll(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    return poll(&pollfd, 1, 1000) == 1 && pollfd.revents & POLLHUP;
}

static bool by_ppoll(int fd)
{
    struct pollfd pollfds[] = {{.fd = -1}, {.fd = fd, .events = POLLIN}};
    return ppoll(pollfds, 2, NULL, NULL) == 1 && pollfds[1].revents & POLLHUP;
}

static bool by_select(int fd)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return select(fd + 1, &set, NULL, NULL, NULL) == 1;
}

static bool by_epoll(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    int ready = epoll_wait(epoll, &event, 1, 1000);
    close(epoll);
    return ready == 1 && event.events & EPOLLHUP;
}

static bool (*const waits[])(int) = {by_recv, by_read, by_poll, by_ppoll, by_select, by_epoll};
enum { WAITS = sizeof(waits) / sizeof(waits[0]), MOST_CALLS = 12 };

/* The eighth cut hangs up, and the ninth call sees it; returns which call did. */
static int calls_until_the_end(bool (*wait)(int), int fd)
{
    int calls = 1;
    while (!wait(fd) && calls < MOST_CALLS)
        calls++;
    return calls;
}

static void enter_expired(coopdl_scope *scope)
{
    coopdl_enter(scope, 0);
    await_expiry(scope);
}

Test(hangup, after_the_eighth_cut_of_a_scope)
{
    for (int i = 0; i < WAITS; i++)
        for (int family = 0; family < 2; family++) {
            struct connection c = family ? connected_by_name() : connected();
            coopdl_scope scope;
            int64_t begun = coopdl_now();
            enter_expired(&scope);
            int calls = calls_until_the_end(waits[i], c.client);
            int64_t took = coopdl_now() - begun;
            coopdl_leave(&scope);
            cr_expect(calls == 9, "wait %d, family %d: %d calls", i, family, calls);
            cr_expect(took < LATEST, "%lld us", (long long)took / 1000);
            close_all(&c);
        }
}

Test(hangup, a_reset_comes_before_the_end_of_file)
{
    struct connection c = connected();
    coopdl_scope scope;
    char byte;
    enter_expired(&scope);
    for (int i = 0; i < 8; i++)
        expect(!by_recv(c.client));
    expect(recv(c.client, &byte, 1, 0) == -1 && errno == ECONNRESET);
    expect(recv(c.client, &byte, 1, 0) == 0);
    coopdl_leave(&scope);
    close_all(&c);
}

Test(hangup, what_was_written_is_not_dropped)
{
    /* More than the peer's window: some of it is not acknowledged when the scope gives up. */
    enum { MUCH = 1 << 20 };
    static char data[MUCH];
    struct connection c = connected();
    coopdl_scope scope;
    ssize_t sent = 0, got, received = 0, more;
    while ((more = send(c.client, data, MUCH, MSG_DONTWAIT)) > 0)
        sent += more;
    enter_expired(&scope);
    expect(calls_until_the_end(by_recv, c.client) == 9);
    coopdl_leave(&scope);
    while ((got = recv(c.server, data, MUCH, 0)) > 0)
        received += got;
    cr_expect(got == 0 && received == sent, "%zd of %zd", received, sent);
}

/* A reset would drop what has come and is unread: so the socket is only shut down. */
static int calls_until_it_is_shut(struct connection *c)
{
    struct pollfd urgent = {.fd = c->client, .events = POLLPRI};
    int calls = 1;
    cr_assert(send(c->server, "x", 1, 0) == 1);
    while (poll(&urgent, 1, -1) != 1 && calls < MOST_CALLS)
        calls++;
    expect(urgent.revents & POLLHUP);
    return calls;
}

static ssize_t receives(int fd, void *byte)
{
    return recv(fd, byte, 1, 0);
}

static ssize_t receives_message(int fd, void *byte)
{
    struct iovec part = {.iov_base = byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    return recvmsg(fd, &message, 0);
}

static ssize_t reads(int fd, void *byte)
{
    return read(fd, byte, 1);
}

static ssize_t reads_parts(int fd, void *byte)
{
    struct iovec part = {.iov_base = byte, .iov_len = 1};
    return readv(fd, &part, 1);
}

/* An answer without a length would look complete if its end came without an error. */
Test(hangup, unread_data_is_not_dropped_and_its_end_is_an_error_first)
{
    ssize_t (*const read_by[])(int, void *) = {receives, receives_message, reads, reads_parts};
    for (size_t i = 0; i < sizeof(read_by) / sizeof(read_by[0]); i++) {
        struct connection c = connected();
        coopdl_scope scope;
        char byte = 0;
        enter_expired(&scope);
        cr_expect(calls_until_it_is_shut(&c) == 9);
        ssize_t got = read_by[i](c.client, &byte);
        cr_expect(got == 1 && byte == 'x', "%zu: %zd", i, got);
        expect(recv(c.client, &byte, 1, MSG_PEEK) == -1 && errno == ECONNRESET);
        got = read_by[i](c.client, &byte);
        cr_expect(got == -1 && errno == ECONNRESET, "%zu: %zd", i, got);
        expect(read_by[i](c.client, &byte) == 0);
        coopdl_leave(&scope);
        close_all(&c);
    }
}

Test(hangup, what_was_accepted_of_unix_is_left_alone)
{
    coopdl_scope scope;
    enter_expired(&scope);
    coopdl_leave(&scope);
    struct connection c = connected_by_name(); /* noted at once, from the first deadline on */
    struct sockaddr_un address;
    socklen_t length = sizeof(address);
    getsockname(c.listener, (struct sockaddr *)&address, &length);
    for (int again = 0; again < 2; again++) {
        enter_expired(&scope);
        int calls = calls_until_the_end(by_ppoll, c.server);
        coopdl_leave(&scope);
        cr_expect(calls == MOST_CALLS, "%d", calls);
        cr_expect(connect(c.server, (struct sockaddr *)&address, length) == -1);
    }
    cr_expect(works(c.server, c.client));
    enter_expired(&scope);
    int calls = calls_until_the_end(by_ppoll, c.client);
    coopdl_leave(&scope);
    cr_expect(calls == 9, "%d", calls);
}

/* The same where its peer has a name, by which it is noted before there is a deadline. */
Test(hangup, what_was_accepted_of_unix_by_name_is_left_alone)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX}, peer;
    socklen_t length = sizeof(sa_family_t), size = sizeof(peer);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* Both get abstract names of the kernel's choice. */
    cr_assert(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0);
    cr_assert(bind(client, (struct sockaddr *)&address, length) == 0);
    length = sizeof(address);
    cr_assert(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    cr_assert(connect(client, (struct sockaddr *)&address, length) == 0);
    int server = accept(listener, (struct sockaddr *)&peer, &size);
    cr_assert(server >= 0 && size > sizeof(sa_family_t));
    coopdl_scope scope;
    enter_expired(&scope);
    int calls = calls_until_the_end(by_ppoll, server);
    coopdl_leave(&scope);
    cr_expect(calls == MOST_CALLS, "%d", calls);
}

/* A full queue of a listener's: the kernel drops what asks for more. */
Test(hangup, a_connection_that_is_being_made_is_left_alone)
{
    enum { TRIES = 8 };
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(listener, (struct sockaddr *)&address, length) == 0);
    cr_assert(listen(listener, 0) == 0);
    getsockname(listener, (struct sockaddr *)&address, &length);
    struct pollfd pollfd = {.events = POLLOUT};
    bool pending = false;
    for (int i = 0; i < TRIES && !pending; i++) {
        pollfd.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(pollfd.fd, (struct sockaddr *)&address, length);
        pending = poll(&pollfd, 1, 50) == 0;
    }
    if (!pending)
        cr_skip_test("this kernel's queues are never full");
    coopdl_scope scope;
    enter_expired(&scope);
    int calls = 1;
    while (poll(&pollfd, 1, -1) != 1 && calls < MOST_CALLS)
        calls++;
    coopdl_leave(&scope);
    cr_expect(calls == MOST_CALLS, "%d: %x", calls, (unsigned)pollfd.revents);
}

Test(hangup, of_ipv6_too)
{
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) != 0)
        cr_skip_test("there is no IPv6");
    cr_assert(listen(listener, 1) == 0);
    getsockname(listener, (struct sockaddr *)&address, &length);
    int client = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(connect(client, (struct sockaddr *)&address, length) == 0);
    coopdl_scope scope;
    enter_expired(&scope);
    int calls = calls_until_the_end(by_recv, client);
    coopdl_leave(&scope);
    cr_expect(calls == 9, "%d", calls);
}

/* The descriptor that it is done to is closed again, and lies low where there is no room above. */
Test(hangup, leaves_no_descriptor)
{
    enum { FIRST_DUPLICATE = 64, SMALL = 40 };
    struct rlimit limit;
    cr_assert(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int small = 0; small < 2; small++) {
        struct connection c = connected();
        if (c.listener >= SMALL || c.client >= SMALL || c.server >= SMALL)
            cr_skip_test("too many descriptors are open");
        int free = dup(0), after;
        close(free);
        if (small) {
            limit.rlim_cur = SMALL;
            cr_assert(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        }
        coopdl_scope scope;
        enter_expired(&scope);
        int calls = calls_until_the_end(by_recv, c.client);
        coopdl_leave(&scope);
        cr_expect(calls == 9, "%d", calls);
        after = dup(0);
        close(after);
        cr_expect(after == free && fcntl(FIRST_DUPLICATE, F_GETFD) == -1, "%d %d", free, after);
        close_all(&c);
    }
}

Test(hangup, a_duplicate_is_the_same_socket)
{
    struct connection c = connected();
    coopdl_scope scope;
    int copy = dup(c.client);
    enter_expired(&scope);
    int calls = calls_until_the_end(by_recv, copy);
    coopdl_leave(&scope);
    cr_expect(calls == 9, "%d", calls);
}

#ifdef __LP64__
Test(hangup, where_there_is_no_statx)
{
    SKIP_IF_EMULATED("has no filters of system calls");
    filter_call(SYS_statx, FILTER_ERROR(ENOSYS));
    struct connection c = connected();
    coopdl_scope scope;
    enter_expired(&scope);
    int calls = calls_until_the_end(by_recv, c.client);
    coopdl_leave(&scope);
    cr_expect(calls == 9, "%d", calls);
}
#endif

/* The call that the deadline finds waiting is none of the eight. */
Test(hangup, by_a_deadline_that_is_lent_too)
{
    struct connection c = connected();
    cr_assert(coopdl_lend(gettid(), coopdl_after(20 * MS)) == 0);
    int calls = calls_until_the_end(by_recv, c.client);
    cr_assert(coopdl_lend(gettid(), COOPDL_NEVER) == 0);
    cr_expect(calls == 9 || calls == 10, "%d", calls);
}

Test(hangup, of_the_accepting_side_too)
{
    struct connection c = connected();
    coopdl_scope scope;
    enter_expired(&scope);
    int calls = calls_until_the_end(by_poll, c.server);
    coopdl_leave(&scope);
    cr_expect(calls == 9, "%d", calls);
}

Test(hangup, a_peer_that_was_not_asked_for_is_noted_from_the_first_deadline_on)
{
    coopdl_scope scope;
    enter_expired(&scope);
    coopdl_leave(&scope);
    struct connection c = connected();
    struct sockaddr_in address;
    socklen_t length = sizeof(address);
    getsockname(c.listener, (struct sockaddr *)&address, &length);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(connect(client, (struct sockaddr *)&address, length) == 0);
    int server = accept(c.listener, NULL, NULL);
    enter_expired(&scope);
    int calls = calls_until_the_end(by_poll, server);
    coopdl_leave(&scope);
    cr_expect(calls == 9, "%d", calls);
}

Test(hangup, without_a_deadline_a_note_makes_no_system_call)
{
    SKIP_IF_EMULATED("has no filters of system calls");
    filter_call(SYS_statx, FILTER_KILL);
    struct connection c = connected(), other = connected_by_name();
    cr_expect(works(c.client, c.server) && works(other.client, other.server));
}

Test(hangup, after_a_deadline_a_note_makes_one, .signal = SIGSYS)
{
    /* That is what the filter would see. */
    SKIP_IF_EMULATED("has no filters of system calls");
    coopdl_scope scope;
    enter_expired(&scope);
    coopdl_leave(&scope);
    filter_call(SYS_statx, FILTER_KILL);
    connected();
}

Test(hangup, what_is_not_of_our_making_is_left_alone)
{
    struct connection c = connected_by_name(), other = connected();
    struct sockaddr_in nowhere = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int pair[2], datagram = socket(AF_INET, SOCK_DGRAM, 0);
    coopdl_scope scope;
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    cr_assert(connect(datagram, (struct sockaddr *)&nowhere, sizeof(nowhere)) == 0);
    /* A pair, what was accepted of UNIX, a listener, a datagram socket. */
    int fds[] = {pair[0], c.server, c.listener, datagram};
    enter_expired(&scope);
    for (size_t i = 0; i < 4; i++)
        expect(calls_until_the_end(by_ppoll, fds[i]) == MOST_CALLS);
    coopdl_leave(&scope);
    cr_expect(works(pair[0], pair[1]));
    cr_expect(works(c.server, c.client));
    cr_expect(works(other.server, other.client));
    int listening = 0;
    socklen_t size = sizeof(listening);
    cr_expect(getsockopt(c.listener, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0);
    cr_expect(listening);
}

Test(hangup, the_parents_connection_is_left_alone)
{
    struct connection c = connected();
    pid_t child = fork();
    if (child == 0) {
        coopdl_scope scope;
        coopdl_enter(&scope, 0);
        await_expiry(&scope);
        _exit(calls_until_the_end(by_recv, c.client) == MOST_CALLS ? 0 : 1);
    }
    cr_expect(status_of(child) == 0);
    cr_expect(works(c.client, c.server));
}

Test(hangup, who_believes_an_error_keeps_the_connection)
{
    struct connection c = connected();
    for (int i = 0; i < 20; i++) {
        coopdl_scope scope;
        enter_expired(&scope);
        for (int j = 0; j < 7; j++)
            expect(!by_recv(c.client));
        coopdl_leave(&scope);
    }
    cr_expect(works(c.client, c.server));
}

Test(hangup, a_number_that_stands_for_another_socket)
{
    /* What was connected is closed; its number is a pair's now. */
    struct connection c = connected();
    coopdl_scope scope;
    int pair[2], number = c.client;
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    close(c.client);
    cr_assert(dup2(pair[0], number) == number);
    enter_expired(&scope);
    cr_expect(calls_until_the_end(by_recv, number) == MOST_CALLS);
    coopdl_leave(&scope);
    cr_expect(works(number, pair[1]));
}

#ifndef __SANITIZE_ADDRESS__
/* Runs stubborn.c under a budget of 100 ms, with a socket for its standard input. */
struct outcome {
    int status, waited_for, looked_at, error, listens;
    bool alive;
};

static struct outcome be_stubborn(const char *settings)
{
    struct outcome o = {.status = -1, .waited_for = -1, .looked_at = -1, .error = -1};
    int pair[2], output[2];
    char line[4096], word[64];
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(output) == 0);
    snprintf(line, sizeof(line), "exec env %s COOPDL_BUDGET=100ms LD_PRELOAD='%s' '%s'", settings,
             getenv("COOPDL_LIBRARY"), getenv("COOPDL_STUBBORN"));
    pid_t child = fork();
    if (child == 0) {
        dup2(pair[0], 0);
        dup2(output[1], 1);
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(126);
    }
    close(output[1]);
    FILE *lines = fdopen(output[0], "r");
    int number;
    while (fscanf(lines, "%d %63[^\n]", &number, word) == 2)
        *(*word == 'w'   ? &o.waited_for
          : *word == 'l' ? &o.looked_at
          : *word == 'c' ? &o.error
                         : &o.listens) = number;
    fclose(lines);
    o.status = status_of(child);
    o.alive = recv(pair[1], word, sizeof(word), MSG_DONTWAIT) == 5;
    close(pair[0]);
    close(pair[1]);
    return o;
}

static void expect_ends(struct outcome o, int first, int second)
{
    int latest = LATEST / MS;
    cr_expect(o.status == 0, "status %x", o.status);
    cr_expect(o.waited_for >= first && o.waited_for < first + latest, "%d ms", o.waited_for);
    cr_expect(o.looked_at >= second && o.looked_at < second + latest, "%d ms", o.looked_at);
    cr_expect(o.error == ETIMEDOUT, "%s", strerror(o.error));
    cr_expect(o.listens == 1 && o.alive);
}

/* By the order of the log and not by the time: those that a call was cut on come first, although
 * the other one has the lower number. */
Test(hangup, under_a_budget_in_two_rounds)
{
    char path[] = "/tmp/coopdl-test-XXXXXX", settings[100], log[8192];
    int file = mkstemp(path);
    cr_assert(file >= 0);
    snprintf(settings, sizeof(settings), "COOPDL_LOG=%s", path);
    struct outcome o = be_stubborn(settings);
    ssize_t size = read(file, log, sizeof(log) - 1);
    close(file);
    unlink(path);
    cr_expect(o.status == 0 && size > 0);
    log[size > 0 ? size : 0] = '\0';
    const char *first = strstr(log, "coopdl=hangup "),
               *second = first ? strstr(first + 1, "coopdl=hangup ") : NULL;
    cr_assert(second, "%s", log);
    cr_expect(atoi(strstr(first, " fd=") + 4) > atoi(strstr(second, " fd=") + 4), "%s", log);
}

Test(hangup, under_a_budget)
{
    expect_ends(be_stubborn(""), 250, 500);
    expect_ends(be_stubborn("COOPDL_HANGUP=50ms"), 50, 300);
}

Test(hangup, under_a_budget_it_can_be_turned_off)
{
    struct outcome o = be_stubborn("COOPDL_HANGUP=off COOPDL_GRACE=700ms");
    cr_expect(WIFSIGNALED(o.status) && WTERMSIG(o.status) == SIGTERM, "%x", o.status);
    cr_expect(o.waited_for == -1 && o.looked_at == -1);
}
#endif
