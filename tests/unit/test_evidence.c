/* SPDX-License-Identifier: Apache-2.0 */
/* What a deadline has ended first: the call, what it was on, its caller, how long it had waited. */
#include "support.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SOON (30 * MS)

/* A connection to a listener on this machine that never says anything, and its port. */
static int silent_connection(int family, int *port)
{
    struct sockaddr_in6 address = {.sin6_family = (sa_family_t)family};
    struct sockaddr_in *ipv4 = (struct sockaddr_in *)(void *)&address;
    socklen_t size = sizeof(address);
    if (family == AF_INET)
        ipv4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        address.sin6_addr = in6addr_loopback;
    int listener = socket(family, SOCK_STREAM, 0), connection = socket(family, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, size) != 0)
        cr_skip_test("there is no loopback address of this family");
    cr_assert(listen(listener, 5) == 0);
    cr_assert(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    cr_assert(connect(connection, (struct sockaddr *)&address, size) == 0);
    *port = ntohs(address.sin6_port); /* at the same place in both */
    return connection;
}

/* AddressSanitizer wraps the wrappers. */
#if defined(__SANITIZE_ADDRESS__) && __GNUC__ < 12
#define CALLER "libasan.so.6"
#elif defined(__SANITIZE_ADDRESS__)
#define CALLER "libasan.so.8"
#else
#define CALLER "test_evidence"
#endif

/* What a call is described by that is made in a scope, and cut there. */
#define CUT(cut, call)                                                                             \
    do {                                                                                           \
        coopdl_scope scope_;                                                                       \
        coopdl_enter(&scope_, coopdl_after(SOON));                                                 \
        (void)!(call);                                                                             \
        int left_ = coopdl_leave(&scope_);                                                         \
        cr_assert_eq(left_, 1);                                                                    \
        cr_assert_eq(coopdl_cut_of(&scope_, cut), 1, #call);                                       \
    } while (0)

Test(evidence, a_connection_is_named_by_its_peer)
{
    char byte, expected[64];
    int port, fd = silent_connection(AF_INET, &port);
    struct coopdl_cut cut;
    CUT(&cut, recv(fd, &byte, 1, 0));
    snprintf(expected, sizeof(expected), "tcp 127.0.0.1:%d", port);
#if defined(__x86_64__) || defined(__i386__)
    cr_expect_str_eq(cut.target, expected);
    cr_expect_eq(cut.descriptor, fd);
    cr_expect_geq(cut.silent, 0);
#endif
    cr_expect_str_eq(cut.call, "recv");
    cr_expect_eq(cut.owner, COOPDL_OWNER_SCOPE);
    cr_expect_eq(cut.thread, getpid());
    cr_expect_eq(cut.cuts, 1);
    cr_expect_geq(cut.at, cut.deadline);
    cr_expect_eq(cut.waited, -1, "a call that reads no clock does not know");
    cr_expect_str_eq(cut.library, CALLER, "%s", cut.library);

    /* It is asked when the call is cut: clean-up may have closed it. */
    char text[300];
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(SOON));
    (void)!read(fd, &byte, 1);
    close(fd);
    coopdl_leave(&scope);
    int length = coopdl_describe(&scope, text, sizeof(text));
    snprintf(expected, sizeof(expected), "in read() on tcp 127.0.0.1:%d", port);
    cr_expect(strncmp(text, expected, strlen(expected)) == 0, "%s", text);
    cr_expect(strstr(text, ", called by " CALLER), "%s", text);
    cr_expect_eq(length, (int)strlen(text));
    char part[8];
    cr_expect_eq(coopdl_describe(&scope, part, sizeof(part)), length);
    cr_expect_str_eq(part, "in read");
}

Test(evidence, six_groups_are_written_short)
{
    char byte, expected[64];
    int port, fd = silent_connection(AF_INET6, &port);
    struct coopdl_cut cut;
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    (void)byte;
    CUT(&cut, poll(&pollfd, 1, -1));
    snprintf(expected, sizeof(expected), "tcp [::1]:%d", port);
    cr_expect_str_eq(cut.target, expected);
}

Test(evidence, calls_that_read_the_clock_know_how_long_they_waited)
{
#if defined(__SANITIZE_ADDRESS__) && __GNUC__ < 12
    cr_skip_test("this AddressSanitizer makes another call that reads no clock");
#endif
    struct coopdl_cut cut;
    struct pollfd pollfd = {.fd = silent_pipe(), .events = POLLIN};
    CUT(&cut, poll(&pollfd, 1, 60000));
    cr_expect_str_eq(cut.call, "poll");
    cr_expect_str_eq(cut.target, "pipe");
    cr_expect(cut.waited >= SOON - MS && cut.waited < LATEST + SOON, "%lld", (long long)cut.waited);
    CUT(&cut, usleep(900000));
    cr_expect(cut.waited >= SOON - MS && cut.waited < LATEST + SOON, "%lld", (long long)cut.waited);
    cr_expect_str_eq(cut.target, "");
    cr_expect_eq(cut.descriptor, -1);
}

Test(evidence, of_several_descriptors_the_connection_is_named)
{
    char expected[64];
    int port, silent = silent_pipe(), fd = silent_connection(AF_INET, &port);
    int epoll = epoll_create1(0);
    struct coopdl_cut cut;
    struct epoll_event event = {.events = EPOLLIN};
    struct pollfd fds[] = {
        {.fd = -1}, {.fd = silent, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    snprintf(expected, sizeof(expected), "tcp 127.0.0.1:%d", port);
    CUT(&cut, poll(fds, 3, -1));
    cr_expect_str_eq(cut.target, expected);
    epoll_ctl(epoll, EPOLL_CTL_ADD, silent, &event);
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    CUT(&cut, epoll_wait(epoll, &event, 1, -1));
    cr_expect_str_eq(cut.target, expected);
#if defined(__x86_64__) || defined(__i386__)
    fd_set set;
    FD_ZERO(&set);
    FD_SET(silent, &set);
    FD_SET(fd, &set);
    CUT(&cut, select(fd + 1, &set, NULL, NULL, NULL));
    cr_expect_str_eq(cut.target, expected);
#endif
}

Test(evidence, an_eventfd_is_named_only_if_it_is_alone)
{
    struct coopdl_cut cut;
    struct pollfd fds[] = {{.fd = eventfd(0, 0), .events = POLLIN},
                           {.fd = eventfd(0, 0), .events = POLLIN},
                           {.fd = silent_pipe(), .events = POLLIN},
                           {.fd = silent_pipe(), .events = POLLIN}};
    CUT(&cut, poll(fds, 4, -1));
    cr_expect_str_eq(cut.target, "pipe");
    cr_expect_eq(cut.descriptor, fds[2].fd);
    CUT(&cut, poll(fds, 2, -1));
    cr_expect_str_eq(cut.target, "eventfd");
}

#if defined(__x86_64__) || defined(__i386__)
Test(evidence, files_and_local_sockets_are_named_by_their_path)
{
    char directory[] = "/tmp/coopdl-test-XXXXXX", path[64], byte;
    struct coopdl_cut cut;
    cr_assert(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/fifo", directory);
    cr_assert(mkfifo(path, 0600) == 0);
    CUT(&cut, open(path, O_RDONLY));
    cr_expect_str_eq(cut.target, path);
    int fd = open(path, O_RDWR);
    CUT(&cut, read(fd, &byte, 1));
    cr_expect_str_eq(cut.target, path);
    unlink(path);

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", directory);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), connection = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    cr_assert(listen(listener, 1) == 0);
    cr_assert(connect(connection, (struct sockaddr *)&address, sizeof(address)) == 0);
    CUT(&cut, read(connection, &byte, 1));
    cr_expect(strncmp(cut.target, "unix ", 5) == 0, "%s", cut.target);
    cr_expect_str_eq(cut.target + 5, address.sun_path);
    unlink(address.sun_path);
    rmdir(directory);
}
#endif

Test(evidence, a_child_is_named_by_its_command)
{
    char expected[64];
    struct coopdl_cut cut;
    pid_t child = fork();
    if (child == 0) {
        execlp("sleep", "sleep", "60", NULL);
        _exit(127);
    }
    /* It is the command once it has been executed. */
    for (char path[32], text[8] = ""; strncmp(text, "sleep", 5) != 0;) {
        snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)child);
        int fd = open(path, O_RDONLY);
        (void)!read(fd, text, sizeof(text));
        close(fd);
    }
    CUT(&cut, waitpid(child, NULL, 0));
    snprintf(expected, sizeof(expected), "pid %d sleep 60", (int)child);
    cr_expect_str_eq(cut.target, expected);
    CUT(&cut, waitpid(-1, NULL, 0));
    cr_expect_str_eq(cut.target, "any child");
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

Test(evidence, cuts_are_counted_and_the_first_is_told)
{
    struct coopdl_cut cut;
    char byte;
    int fd = silent_pipe();
    coopdl_scope scope;
    coopdl_enter(&scope, coopdl_after(SOON));
    (void)!read(fd, &byte, 1);
    usleep(1000000);
    (void)!read(fd, &byte, 1);
    expect(coopdl_cut_of(&scope, &cut) == 1);
    coopdl_leave(&scope);
    cr_expect_str_eq(cut.call, "read");
    cr_expect_eq(cut.cuts, 3);
}

Test(evidence, nothing_is_said_of_what_was_not_cut)
{
    struct coopdl_cut cut;
    char text[8] = "before";
    coopdl_scope scope;
    for (int i = 0; i < 2; i++) { /* the same place in memory, cut and then not */
        coopdl_enter(&scope, coopdl_after(i == 0 ? SOON : COOPDL_SECOND));
        if (i == 0)
            usleep(1000000);
        coopdl_leave(&scope);
    }
    cr_expect_eq(coopdl_cut_of(&scope, &cut), 0);
    cr_expect_eq(coopdl_describe(&scope, text, sizeof(text)), 0);
    cr_expect_str_eq(text, "");
    coopdl_enter(&scope, coopdl_after(SOON));
    spin_until(coopdl_after(2 * SOON));
    coopdl_leave(&scope);
    cr_expect_eq(coopdl_cut_of(&scope, &cut), 0, "it computed");
    cr_expect_eq(coopdl_cut_of(NULL, &cut), 0, "there is no budget");
    cr_expect_eq(coopdl_cuts_of_budget(&cut, 1), 0);
}

Test(evidence, the_outer_scope_owns_what_both_have_ended)
{
    struct coopdl_cut cut;
    coopdl_scope outer, inner;
    int64_t deadline = coopdl_after(SOON);
    coopdl_enter(&outer, deadline);
    coopdl_enter(&inner, deadline);
    usleep(1000000);
    expect(coopdl_cut_of(&inner, &cut) == 0);
    expect(coopdl_cut_of(&outer, &cut) == 1);
    coopdl_leave(&outer);
}

Test(evidence, a_lent_deadline_is_told_as_one)
{
    struct coopdl_cut cut;
    coopdl_scope scope;
    coopdl_enter(&scope, COOPDL_NEVER); /* a call that began before the library knew the thread is
                                           no wrapper's */
    coopdl_lend(gettid(), coopdl_after(SOON));
    usleep(1000000);
    expect(coopdl_cut_of(NULL, &cut) == 1);
    coopdl_lend(gettid(), COOPDL_NEVER);
    cr_expect_eq(cut.owner, COOPDL_OWNER_LENT);
    cr_expect_str_eq(cut.call, "usleep");
}
