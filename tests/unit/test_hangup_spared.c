/* SPDX-License-Identifier: Apache-2.0 */
/* test_hangup_spared.c -- the connections that a hang-up leaves alone. */
#include "connections.h"

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

/* Also where the process tries to connect what it has accepted. */
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
