/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hangup.c -- scopes whose connections are hung up, beside bystanders whose are not
 * to be.
 *
 *     hangup SECONDS [SCOPES]
 *
 * It ends after SECONDS, or once so many SCOPES have been hung up.
 *
 * Half of the threads enter expired scopes and ignore every error, until their
 * connection is hung up.  The others make connections and pairs all the time, and
 * close them, so that the numbers of descriptors change hands; each sends a byte to
 * and fro.  What one of them finds shut down is a bystander that was hit: 0 is
 * wanted.  So is of the listener, and of standard input if that is a socket.
 */
#include "coopdl.h"

#include <err.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS = 16 };

static struct sockaddr_in address;
static socklen_t length = sizeof(address);
static int listener;
static int64_t until;
static long wanted = LONG_MAX;
static _Atomic long hung, never_hung, exchanged, hit;

static bool goes_on(void)
{
    return coopdl_now() < until && hung < wanted;
}

static int connect_once(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, length) == 0)
        return fd;
    close(fd);
    return -1;
}

/* The other ends are taken, and closed with the connection. */
static void *serve(void *unused)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL), keep = fd % 64;
        static int kept[64];
        if (fd < 0)
            continue;
        if (kept[keep])
            close(kept[keep]);
        kept[keep] = fd;
    }
    return unused;
}

static void *ignore_errors(void *unused)
{
    while (goes_on()) {
        char byte;
        coopdl_scope scope;
        int fd = connect_once(), rounds = 0;
        if (fd < 0)
            continue;
        coopdl_enter(&scope, 0);
        while (recv(fd, &byte, 1, 0) != 0 && ++rounds < 20)
            ;
        coopdl_leave(&scope);
        atomic_fetch_add(rounds < 20 ? &hung : &never_hung, 1);
        close(fd);
    }
    return unused;
}

static bool passes(int from, int to)
{
    char byte;
    return send(from, "x", 1, MSG_NOSIGNAL) == 1 && recv(to, &byte, 1, 0) == 1;
}

static void exchange(int one, int other)
{
    bool works = passes(one, other) && passes(other, one);
    atomic_fetch_add(works ? &exchanged : &hit, 1);
    close(one);
    close(other);
}

/* A pair, and a connection to a listener of the thread's own. */
static void *stand_by(void *unused)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int at = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), pair[2];
    if (bind(at, (struct sockaddr *)&own, length) || listen(at, 5) ||
        getsockname(at, (struct sockaddr *)&own, &(socklen_t){sizeof(own)}))
        err(1, "a listener");
    while (goes_on()) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0)
            exchange(pair[0], pair[1]);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&own, length) == 0)
            exchange(fd, accept(at, NULL, NULL));
        else
            close(fd);
        usleep(200); /* the ports are not to run out */
    }
    return unused;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS] = {0}, server;
    if (argc != 2 && argc != 3)
        errx(125, "usage: hangup SECONDS [SCOPES]");
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 100) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        err(1, "a listener");
    until = coopdl_after(strtoll(argv[1], NULL, 10) * COOPDL_SECOND);
    if (argc == 3)
        wanted = strtol(argv[2], NULL, 10);
    errno = pthread_create(&server, NULL, serve, NULL);
    for (int i = 0; i < THREADS && errno == 0; i++)
        errno = pthread_create(&threads[i], NULL, i % 2 ? ignore_errors : stand_by, NULL);
    if (errno)
        err(1, "a thread");
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("1..2\n# %ld scopes were hung up, %ld bystanders exchanged a byte\n", hung, exchanged);
    printf("%sok 1 - each scope was: %ld were not\n", hung && !never_hung ? "" : "not ",
           never_hung);
    printf("%sok 2 - no bystander was: %ld were hit\n", exchanged && !hit ? "" : "not ", hit);
    return 0;
}
