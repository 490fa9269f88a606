/* SPDX-License-Identifier: Apache-2.0 */
/* test_hangup.c -- a thread that ignores errors gets its connection closed: when, and which one. */
#include "connections.h"
#include "emulator.h"
#include "filter.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/uio.h>

TestSuite(hangup, .timeout = 30);

static bool (*const waits[])(int) = {by_recv, by_read, by_poll, by_ppoll, by_select, by_epoll};
enum { WAITS = sizeof(waits) / sizeof(waits[0]) };

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

static ssize_t reads_at_no_offset(int fd, void *byte)
{
    struct iovec part = {.iov_base = byte, .iov_len = 1};
    return preadv2(fd, &part, 1, -1, 0);
}

static ssize_t splices(int fd, void *byte)
{
    int ends[2];
    cr_assert(pipe(ends) == 0);
    ssize_t moved = splice(fd, NULL, ends[1], NULL, 1, 0);
    int error = errno;
    if (moved > 0)
        cr_assert(read(ends[0], byte, 1) == 1);
    close(ends[0]);
    close(ends[1]);
    errno = error;
    return moved;
}

/* An answer without a length would look complete if its end came without an error. */
Test(hangup, unread_data_is_not_dropped_and_its_end_is_an_error_first)
{
    ssize_t (*const read_by[])(int, void *) = {receives,    receives_message,   reads,
                                               reads_parts, reads_at_no_offset, splices};
    for (size_t i = 0; i < sizeof(read_by) / sizeof(read_by[0]); i++) {
        struct connection c = connected();
        coopdl_scope scope;
        char byte = 0;
        enter_expired(&scope);
        cr_expect(calls_until_it_is_shut(&c) == 9);
        ssize_t got = read_by[i](c.client, &byte);
        cr_expect(got == 1 && byte == 'x', "%zu: %zd", i, got);
        expect(recv(c.client, &byte, 1, MSG_PEEK) == -1 && errno == ECONNRESET);
        expect(readv(c.client, &(struct iovec){.iov_base = &byte}, 1) == 0); /* asks for nothing */
        got = read_by[i](c.client, &byte);
        cr_expect(got == -1 && errno == ECONNRESET, "%zu: %zd", i, got);
        expect(read_by[i](c.client, &byte) == 0);
        coopdl_leave(&scope);
        close_all(&c);
    }
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
