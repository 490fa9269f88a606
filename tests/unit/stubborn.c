/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stubborn.c -- ignores every error, and says when its connections end.
 *
 * Of two, it waits for one; the other it only looks at.  Prints, in ms after the
 * deadline in the environment, when each ended, and with what connecting anew
 * fails.  Its standard input is a socket that it was born with: it answers there
 * at the end.  A plain program, with the library preloaded.
 */
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in address;
static socklen_t length = sizeof(address);

static long long since_deadline(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const char *deadline = getenv("COOPDL_DEADLINE");
    return (now.tv_sec * 1000000000LL + now.tv_nsec -
            strtoll(deadline ? deadline : "0", NULL, 10)) /
           1000000;
}

static int connect_once(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&address, length) == 0 ? fd : -1;
}

static void *look(void *argument)
{
    char byte;
    while (recv(*(int *)argument, &byte, 1, MSG_DONTWAIT) != 0)
        usleep(1000);
    printf("%lld looked at\n", since_deadline());
    return NULL;
}

int main(void)
{
    char byte;
    pthread_t thread;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 5) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        err(1, "a listener");
    setvbuf(stdout, NULL, _IOLBF, 0);
    int looked_at = connect_once(),
        waited_for = connect_once(); /* the lower number is the other one */
    if (waited_for < 0 || looked_at < 0 ||
        (errno = pthread_create(&thread, NULL, look, &looked_at)) != 0)
        err(1, "a connection");
    while (recv(waited_for, &byte, 1, 0) != 0)
        ;
    printf("%lld waited for\n", since_deadline());
    errno = 0;
    int fd = connect_once();
    printf("%d connected anew\n", fd < 0 ? errno : 0);
    pthread_join(thread, NULL);
    int listening = 0;
    socklen_t size = sizeof(listening);
    getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
    printf("%d still listens\n", listening);
    fflush(stdout);
    if (write(0, "alive", 5) != 5)
        err(1, "standard input");
    _exit(0);
}
