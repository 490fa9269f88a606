/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ends.c -- what each call says, after the deadline, of an end whose writer is gone.
 *
 * For each kind of pair: one byte is written after the deadline, and the writing end
 * closed; the byte is read, and then each call is asked once.  Prints a line for each
 * kind, with a word for each call: its errno, `end` for the end of file, or what is
 * ready.  With an argument it writes to a pipe instead, by stdio.  A plain program, with the
 * library preloaded and a budget.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static void say(const char *call, ssize_t result)
{
    printf(" %s=", call);
    if (result < 0)
        printf("%s", errno == ETIMEDOUT ? "ETIMEDOUT" : errno == EINTR ? "EINTR" : strerror(errno));
    else if (result == 0)
        printf("end");
    else
        printf("%zd", result);
}

static void ask_socket(int fd)
{
    char byte;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    say("recv", recv(fd, &byte, 1, 0));
    say("recvfrom", recvfrom(fd, &byte, 1, MSG_DONTWAIT, NULL, NULL));
    say("recvmsg", recvmsg(fd, &message, 0));
}

static void ask_pipe(int fd)
{
    int ends[2];
    if (pipe(ends) != 0)
        err(1, "pipe");
    say("splice", splice(fd, NULL, ends[1], NULL, 1, 0));
    say("tee", tee(fd, ends[1], 1, 0));
    close(ends[0]);
    close(ends[1]);
}

static void ask_waits(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    struct epoll_event event = {.events = EPOLLIN};
    struct timeval second = {.tv_sec = 1};
    fd_set set;
    int loop = epoll_create1(0);
    if (loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event) != 0)
        err(1, "epoll");
    FD_ZERO(&set);
    FD_SET(fd, &set);
    say("poll", poll(&pollfd, 1, -1));
    say("select", select(fd + 1, &set, NULL, NULL, &second));
    say("epoll", epoll_wait(loop, &event, 1, -1));
    close(loop);
}

static void ask(const char *kind, int reader, int writer, int how)
{
    char byte;
    struct iovec vector = {&byte, 1};
    if (write(writer, "x", 1) != 1)
        err(1, "write");
    /* Half of a connection, by a peer that is still there; or all of it. */
    if (how < 0)
        close(writer);
    else
        shutdown(writer, how);
    printf("%s:", kind);
    say("first", read(reader, &byte, 1));
    say("read", read(reader, &byte, 1));
    say("readv", readv(reader, &vector, 1));
    if (recv(reader, &byte, 0, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == ENOTSOCK)
        ask_pipe(reader);
    else
        ask_socket(reader);
    ask_waits(reader);
    printf("\n");
    close(reader);
}

static void connect_local(int pair[2])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    /* An abstract name: no file is left. */
    int size = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "coopdl-ends-%d",
                        (int)getpid());
    socklen_t length = (socklen_t)(sizeof(address.sun_family) + 1 + (size_t)size);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    pair[0] = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 1) != 0 ||
        connect(pair[0], (struct sockaddr *)&address, length) != 0 ||
        (pair[1] = accept(listener, NULL, NULL)) < 0)
        err(1, "a local connection");
    close(listener);
}

/* stdio's writes to a pipe, which the kick finds at their ends again and again. */
static void write_for_a_while(void)
{
    int ends[2];
    char byte;
    if (pipe(ends) != 0)
        err(1, "pipe");
    FILE *stream = fdopen(ends[1], "w");
    for (int i = 0; i < 100000; i++)
        if (fputc('x', stream) == EOF || fflush(stream) != 0 || read(ends[0], &byte, 1) != 1)
            err(1, "a write that does not wait");
    _exit(0);
}

int main(int argc, char **argv)
{
    (void)argv;
    int fifo[2], stream[2], packets[2], made[2], accepted[2], half[2];
    if (pipe(fifo) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, stream) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM, 0, half) != 0)
        err(1, "pairs");
    connect_local(made);
    connect_local(accepted);
    setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
    if (poll(NULL, 0, -1) != -1 || errno != EINTR)
        errx(1, "no deadline has come");
    if (argc > 1)
        write_for_a_while();
    ask("pipe", fifo[0], fifo[1], -1);
    ask("stream", stream[0], stream[1], -1);
    ask("packets", packets[0], packets[1], -1);
    ask("accepted", accepted[1], accepted[0], -1);
    ask("made", made[0], made[1], -1);
    ask("half", half[0], half[1], SHUT_WR);
    fflush(stdout);
    _exit(0);
}
