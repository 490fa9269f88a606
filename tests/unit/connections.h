/* SPDX-License-Identifier: Apache-2.0 */
/* connections.h -- for the tests of the hang-up: connections, and calls that wait on them. */
#ifndef COOPDL_TESTS_CONNECTIONS_H
#define COOPDL_TESTS_CONNECTIONS_H

#include "support.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>

/* A connection of this process's own, at both ends. */
struct connection {
    int client, server, listener;
};

static inline int listen_at(struct sockaddr *address, socklen_t length)
{
    int listener = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(listener, address, length) == 0 && listen(listener, 5) == 0);
    return listener;
}

static inline struct connection connected(void)
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

static inline struct connection connected_by_name(void)
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

static inline void close_all(struct connection *c)
{
    close(c->client);
    close(c->server);
    close(c->listener);
}

/* Whether a byte gets from one end to the other, and back. */
static inline bool works(int one, int other)
{
    char byte;
    return send(one, "x", 1, MSG_NOSIGNAL) == 1 && recv(other, &byte, 1, 0) == 1 &&
           send(other, "y", 1, MSG_NOSIGNAL) == 1 && recv(one, &byte, 1, 0) == 1;
}

/* Each waits once: whether the end has been seen.  TCP says ECONNRESET first. */
static inline bool by_recv(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

static inline bool by_read(int fd)
{
    char byte;
    ssize_t got = read(fd, &byte, 1);
    return got == 0 || (got < 0 && errno == ECONNRESET);
}

static inline bool by_poll(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    return poll(&pollfd, 1, 1000) == 1 && pollfd.revents & POLLHUP;
}

static inline bool by_ppoll(int fd)
{
    struct pollfd pollfds[] = {{.fd = -1}, {.fd = fd, .events = POLLIN}};
    return ppoll(pollfds, 2, NULL, NULL) == 1 && pollfds[1].revents & POLLHUP;
}

static inline bool by_select(int fd)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    return select(fd + 1, &set, NULL, NULL, NULL) == 1;
}

static inline bool by_epoll(int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    int ready = epoll_wait(epoll, &event, 1, 1000);
    close(epoll);
    return ready == 1 && event.events & EPOLLHUP;
}

enum { MOST_CALLS = 12 };

/* The eighth cut hangs up, and the ninth call sees it; returns which call did. */
static inline int calls_until_the_end(bool (*wait)(int), int fd)
{
    int calls = 1;
    while (!wait(fd) && calls < MOST_CALLS)
        calls++;
    return calls;
}

static inline void enter_expired(coopdl_scope *scope)
{
    coopdl_enter(scope, 0);
    await_expiry(scope);
}

#endif
